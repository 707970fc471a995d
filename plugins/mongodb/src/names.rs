//! What users and databases may be called, and what is called so already.

use berth_sdk::names::{self, RESERVED, check_made_of, kept};
use berth_sdk::types::{FieldProblem, Spec};

pub use berth_sdk::names::user;

/// Berth's own user.
pub const SUPERUSER: &str = "_rdb_superadmin";

/// What the members of a replica set log in to each other as, with the key that they share. There before any user is made.
pub const MEMBERS: &str = "__system";
pub const MEMBERS_DATABASE: &str = "local";

/// Where all users are.
pub const USERS_DATABASE: &str = "admin";

/// A role of this name, with the database's after it, says that somebody made the database. It holds nothing, and nobody
/// has it: what counts is that no user but Berth's makes or removes roles.
pub const MADE: &str = "_rdb_database_";

/// Where earlier builds noted the names of databases that were made: every admin may write to it.
pub const BERTH_DATABASE: &str = "_rdb";
pub const NOTED: &str = "databases";

/// A role of this name says that those were taken over.
pub const TAKEN_OVER: &str = "_rdb_noted_databases_were_taken_over";

/// The server's own databases.
pub const OWN_DATABASES: [&str; 3] = ["admin", "config", "local"];

/// Of a database the manual says so; users have the same here.
pub const LONGEST: usize = 63;

/// The first database's name.
pub fn database(spec: &Spec) -> String {
    names::database(spec, &OWN_DATABASES)
}

/// Whether a caller may have this user or meddle with it.
pub fn check_user(name: &str) -> Result<(), FieldProblem> {
    check_made_of("user", name, LONGEST, "", "_-.@")
}

/// Whether a caller may have this database or meddle with it. Of a name with a dot or a blank the server makes trouble.
pub fn check_database(name: &str) -> Result<(), FieldProblem> {
    if is_own(name) || name.to_ascii_lowercase().starts_with(RESERVED) {
        return Err(kept("database", &[RESERVED]));
    }
    check_made_of("database", name, LONGEST, "", "_-")
}

/// Whether a database is the server's, whatever its capitals: the server tells no two names apart by them.
pub fn is_own(name: &str) -> bool {
    OWN_DATABASES.contains(&&*name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    #[test]
    fn whatever_an_instance_is_called_its_database_may_be_called_so() {
        let mut spec = spec("7.0");
        for slug in ["local", "1st", "main-mongo"] {
            spec.slug = slug.into();
            assert!(check_database(&database(&spec)).is_ok(), "{slug}");
        }
    }

    #[test]
    fn names_of_the_server_and_of_berth_are_refused() {
        for name in ["admin", "Admin", "local", "config", "_rdb", "_RDB_x"] {
            assert!(check_database(name).is_err(), "{name}");
        }
        for name in ["__system", "_rdb_superadmin"] {
            assert!(check_user(name).is_err(), "{name}");
        }
    }

    #[test]
    fn odd_names_are_refused() {
        let too_long = "a".repeat(64);
        for name in [
            "", "1st", "-a", "a b", "a\"b", "a$b", "a/b", "a\0b", "naïve", &too_long,
        ] {
            assert!(check_user(name).is_err(), "{name:?}");
            assert!(check_database(name).is_err(), "{name:?}");
        }
        assert!(check_database("a.b").is_err());
        for name in ["app", "User", "shop-eu", "ann@example.org"] {
            assert!(check_user(name).is_ok(), "{name}");
        }
    }
}
