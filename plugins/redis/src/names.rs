//! What users may be called, and what the one keyspace is called.

use berth_sdk::names::{check_made_of, kept};
use berth_sdk::types::{FieldProblem, Spec};

/// Berth's own user.
pub const BERTH: &str = "berth";

/// Who logs in with a password and no name. The first user, unless the caller named one.
pub const DEFAULT: &str = "default";

/// What privileges are about. The server has numbered databases, but its users may do the same in all of them.
pub const KEYSPACE: &str = "keyspace";

/// The server has no limit of its own.
pub const LONGEST: usize = 63;

/// The first user's name.
pub fn user(spec: &Spec) -> String {
    spec.user.clone().unwrap_or_else(|| DEFAULT.to_owned())
}

/// Whether a caller may have this user or meddle with it.
pub fn check_user(name: &str) -> Result<(), FieldProblem> {
    if name == BERTH {
        return Err(kept("user", &[]));
    }
    check_made_of("user", name, LONGEST, "", "_-.@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_refused() {
        let too_long = "a".repeat(64);
        for name in [
            "", "1st", "-a", "a b", "a\"b", "a:b", "a\nb", "naïve", "berth", &too_long,
        ] {
            assert!(check_user(name).is_err(), "{name:?}");
        }
        for name in ["default", "User", "shop-eu", "ann@example.org"] {
            assert!(check_user(name).is_ok(), "{name}");
        }
    }
}
