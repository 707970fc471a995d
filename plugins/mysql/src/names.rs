//! What users and databases may be called, what they are called when nobody says, and how SQL is told.

use berth_sdk::names::{self, RESERVED, kept};
use berth_sdk::types::{FieldProblem, Spec};

pub use berth_sdk::names::user;

/// The superuser, which is Berth's alone: there is an account of it for the instance's own socket only.
pub const SUPERUSER: &str = "berth";

/// Whoever is a member of this role is an admin.
pub const ADMINS: &str = "_rdb_superadmin";

/// Databases that every server has.
pub const OWN_DATABASES: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Users of which somebody would believe that they are the server's.
pub const OWN_USERS: [&str; 4] = [SUPERUSER, "root", "event_scheduler", "system user"];

/// In characters; manual 8.2 and 11.2.
pub const LONGEST_USER: usize = 32;
pub const LONGEST_DATABASE: usize = 64;

/// The first database's name.
pub fn database(spec: &Spec) -> String {
    names::database(spec, &OWN_DATABASES)
}

/// Whether a caller may have this user or meddle with it.
pub fn check_user(name: &str) -> Result<(), FieldProblem> {
    if OWN_USERS.contains(&name) || name.starts_with(RESERVED) {
        return Err(kept("user", &[RESERVED]));
    }
    names::check("user", name, LONGEST_USER)
}

/// `lower` says that the server takes names of databases in lower case only.
pub fn check_database(name: &str, lower: bool) -> Result<(), FieldProblem> {
    let folded = name.to_ascii_lowercase();
    if OWN_DATABASES.contains(&&*folded) || folded.starts_with(RESERVED) {
        return Err(kept("database", &[RESERVED]));
    }
    if lower && folded != name {
        return Err(FieldProblem::new(
            "database",
            "has capitals, and this server keeps names in lower case (lower_case_table_names)",
            "the same in lower case",
        ));
    }
    names::check("database", name, LONGEST_DATABASE)
}

/// A text in a statement, whatever is in it, in a session whose `sql_mode` is empty.
pub fn literal(text: &str) -> String {
    let mut quoted = String::from("'");
    for character in text.chars() {
        if matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

/// A name in a statement.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    #[test]
    fn whatever_an_instance_is_called_its_database_may_be_called_so() {
        let mut spec = spec("8.4");
        for slug in ["mysql", "sys", "1st", "main-mysql"] {
            spec.slug = slug.into();
            assert!(check_database(&database(&spec), true).is_ok(), "{slug}");
        }
    }

    #[test]
    fn names_of_the_server_are_refused() {
        for name in ["mysql", "MySQL", "sys", "information_schema", "_rdb_x"] {
            assert!(check_database(name, false).is_err(), "{name}");
        }
        for name in ["root", "berth", "_rdb_superadmin", "mysql.sys"] {
            assert!(check_user(name).is_err(), "{name}");
        }
    }

    #[test]
    fn odd_names_are_refused_and_reserved_words_are_not() {
        let longest = "a".repeat(32);
        assert!(check_user(&longest).is_ok());
        assert!(check_user(&format!("{longest}a")).is_err());
        assert!(check_database(&longest.repeat(2), false).is_ok());
        for name in ["", "1st", "-a", "a b", "a`b", "a'b", "a;b", "naïve", "a\0b"] {
            assert!(check_user(name).is_err(), "{name:?}");
            assert!(check_database(name, false).is_err(), "{name:?}");
        }
        for name in ["select", "User", "_x", "shop-eu", "a$1"] {
            assert!(check_user(name).is_ok(), "{name}");
            assert!(check_database(name, false).is_ok(), "{name}");
        }
        assert!(check_database("User", true).is_err());
    }

    #[test]
    fn whatever_is_quoted_stays_inside() {
        assert_eq!(literal("it's \\ x"), "'it\\'s \\\\ x'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
