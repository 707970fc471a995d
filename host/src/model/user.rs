//! Users, logical databases and privileges of an instance. They live in its engine and nowhere else: these are
//! what an engine says of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::FieldProblem;
use super::secret::Secret;

/// Somebody who can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// Reaches all logical databases, and may make databases and users.
    pub admin: bool,
}

/// What of a user is to be changed.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub password: Option<Secret>,
    pub admin: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalDatabase {
    pub name: String,
    pub owner: String,
    /// Its privileges can be set.
    pub managed: bool,
    /// None when it was not asked for.
    pub size_bytes: Option<u64>,
}

/// What a user may do in a database.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    Readonly,
    Readwrite,
    All,
    /// Something else that was granted in the engine's own language. Reported, never set.
    Custom,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    pub user: String,
    pub database: String,
    pub permission: Permission,
}

/// Which names an engine allows for users, or for logical databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameRules {
    pub longest: u32,
    /// Regardless of case.
    pub reserved_prefixes: Vec<String>,
    pub reserved: Vec<String>,
}

/// What no name may begin with, whatever the engine.
const RESERVED_PREFIX: &str = "_rdb";

impl NameRules {
    /// Whether something new may have this name; otherwise what is wrong with it as the field `field`.
    pub fn check(&self, field: &str, name: &str) -> Result<(), FieldProblem> {
        let problem = |reason: &str, help: String| Err(FieldProblem::new(field, reason, help));
        let longest = usize::try_from(self.longest).unwrap_or(usize::MAX);
        if !(1..=longest).contains(&name.len()) {
            return problem(
                "is too short or too long",
                format!("1 to {longest} characters"),
            );
        }
        let lower = name.to_ascii_lowercase();
        let prefixes = self.reserved_prefixes.iter().map(String::as_str);
        if let Some(prefix) = prefixes
            .chain([RESERVED_PREFIX])
            .find(|prefix| lower.starts_with(&prefix.to_ascii_lowercase()))
        {
            return problem(
                "is reserved",
                format!("one that does not begin with {prefix}"),
            );
        }
        if self.reserved.contains(&lower) {
            return problem("is reserved", "another name".to_owned());
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(allowed) {
            let help = "a letter, then letters, digits, '_', '$' or '-'";
            return problem("has characters that are not allowed", help.to_owned());
        }
        Ok(())
    }
}

/// Shortest and longest password.
const PASSWORD: std::ops::RangeInclusive<usize> = 8..=128;

/// Whether a password is strong enough; otherwise what is wrong with it as the field `field`.
pub fn check_password(field: &str, password: &Secret) -> Result<(), FieldProblem> {
    let text = password.expose();
    let has = |what: fn(&char) -> bool| text.chars().any(|c| what(&c));
    let strong = PASSWORD.contains(&text.chars().count())
        && has(char::is_ascii_digit)
        && has(char::is_ascii_uppercase)
        && has(char::is_ascii_lowercase)
        && text.chars().any(|c| !c.is_ascii_alphanumeric())
        && !text.chars().any(char::is_control);
    if strong {
        return Ok(());
    }
    Err(FieldProblem::new(
        field,
        "is not strong enough",
        "8 to 128 characters, with at least one digit, one upper case letter, one lower case letter and one special character",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_by_the_rules() {
        let rules = NameRules {
            longest: 8,
            reserved_prefixes: vec!["pg_".to_owned()],
            reserved: vec!["owner".to_owned()],
        };
        for good in ["a", "bob$-x_9", "eightlon"] {
            assert_eq!(rules.check("name", good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ninelong_",
            "9a",
            "_a",
            "-a",
            "a b",
            "é",
            "pg_a",
            "PG_a",
            "_rdb_x",
            "owner",
            "Owner",
            "a/b",
        ] {
            let problem = rules.check("name", bad).unwrap_err();
            assert_eq!(problem.field, "name");
            assert!(!problem.help.is_empty(), "{bad}");
        }
    }

    #[test]
    fn passwords_need_all_kinds_of_characters() {
        let check = |text: &str| check_password("password", &Secret::new(text.to_owned()));
        assert_eq!(check("S3cret!pw"), Ok(()));
        for bad in [
            "S3cre!p",
            "s3cret!pw",
            "S3CRET!PW",
            "Secret!pw",
            "S3cretpw1",
            "S3cret!p\n",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check(&format!("S3!a{}", "x".repeat(125))).is_err());
    }
}
