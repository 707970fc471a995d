//! What users and databases may be called, and what they are called when nobody says.

use berth_sdk::names::{self, RESERVED, kept};
use berth_sdk::types::{FieldProblem, Spec};

pub use berth_sdk::names::user;

/// The superuser, which is Berth's alone: it logs in over the instance's unix socket only.
pub const SUPERUSER: &str = "berth";

/// Databases that every server has.
const OWN_DATABASES: [&str; 3] = ["postgres", "template0", "template1"];

/// Names that the server or Berth keeps for itself: `CREATE ROLE` refuses the first two even in quotes.
const OWN_ROLES: [&str; 3] = ["none", "public", SUPERUSER];

/// NAMEDATALEN − 1: a longer one would be cut silently.
const LONGEST: usize = 63;

/// The first database's name.
pub fn database(spec: &Spec) -> String {
    names::database(spec, &OWN_DATABASES)
}

/// Whether a caller may have this user or meddle with it.
pub fn check_user(name: &str) -> Result<(), FieldProblem> {
    if OWN_ROLES.contains(&name) || name.starts_with("pg_") || name.starts_with(RESERVED) {
        return Err(kept("user", &["pg_", RESERVED]));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    #[test]
    fn whatever_an_instance_is_called_its_database_may_be_called_so() {
        let mut spec = spec("16");
        for slug in ["postgres", "template1", "1st", "main-postgres"] {
            spec.slug = slug.into();
            assert!(check_database(&database(&spec)).is_ok(), "{slug}");
        }
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
