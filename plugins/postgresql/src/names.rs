//! What users and databases may be called, and what they are called when nobody says.

use berth_sdk::names;
use berth_sdk::types::{FieldProblem, Spec};

use crate::internal::RESERVED;

/// The superuser, which is Berth's alone: it logs in over the instance's unix socket only.
pub const SUPERUSER: &str = "berth";

/// The first user, unless the caller named one.
const DEFAULT_USER: &str = "app_user";

/// Databases that every server has.
const OWN_DATABASES: [&str; 3] = ["postgres", "template0", "template1"];

/// Names that the server or Berth keeps for itself: `CREATE ROLE` refuses the first two even in quotes.
const OWN_ROLES: [&str; 3] = ["none", "public", SUPERUSER];

/// NAMEDATALEN − 1: a longer one would be cut silently.
const LONGEST: usize = 63;

/// The first user's name.
pub fn user(spec: &Spec) -> String {
    spec.user.clone().unwrap_or_else(|| DEFAULT_USER.to_owned())
}

/// The first database's name.
pub fn database(spec: &Spec) -> String {
    spec.database
        .clone()
        .unwrap_or_else(|| database_of(&spec.slug))
}

/// Whether a caller may have this user or meddle with it.
pub fn check_user(name: &str) -> Result<(), FieldProblem> {
    if OWN_ROLES.contains(&name) || name.starts_with("pg_") || name.starts_with(RESERVED) {
        return Err(FieldProblem::new(
            "user",
            "is a name that the server keeps for itself",
            "another name, not beginning with 'pg_' or '_rdb'",
        ));
    }
    names::check("user", name, LONGEST)
}

pub fn check_database(name: &str) -> Result<(), FieldProblem> {
    if OWN_DATABASES.contains(&name) {
        return Err(FieldProblem::new(
            "database",
            "is a database that every server has already",
            "another name",
        ));
    }
    names::check("database", name, LONGEST)
}

/// A slug is lower-case letters, digits and hyphens, so this needs no quoting in SQL.
fn database_of(slug: &str) -> String {
    let name = slug.replace('-', "_");
    if OWN_DATABASES.contains(&name.as_str()) {
        // An instance may well be called `postgres`.
        return format!("{name}_db");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_called_after_the_slug() {
        assert_eq!(database_of("main-postgres"), "main_postgres");
        assert_eq!(database_of("postgres"), "postgres_db");
        assert_eq!(database_of("template1"), "template1_db");
        let longest = "a".repeat(63);
        assert_eq!(database_of(&longest), longest);
    }

    #[test]
    fn names_of_the_server_are_refused() {
        for name in ["postgres", "template0", "template1"] {
            assert!(check_database(name).is_err(), "{name}");
        }
        for name in ["pg_monitor", "pg_", "public", "none", "berth", "_rdb_x"] {
            assert!(check_user(name).is_err(), "{name}");
        }
    }

    #[test]
    fn odd_names_are_refused_and_reserved_words_are_not() {
        let too_long = "a".repeat(64);
        for name in [
            "", "1st", "-a", "a b", "a\"b", "a'b", "a;b", "naïve", "a\0b", &too_long,
        ] {
            assert!(check_user(name).is_err(), "{name:?}");
            assert!(check_database(name).is_err(), "{name:?}");
        }
        for name in ["select", "User", "_x", "shop-eu", "a$1"] {
            assert!(check_user(name).is_ok(), "{name}");
            assert!(check_database(name).is_ok(), "{name}");
        }
    }
}
