//! Names that need no thought wherever they stand.

use crate::Error;
use crate::types::{FieldProblem, Spec};

/// What names of Berth's own begin with, in engines that have such.
pub const RESERVED: &str = "_rdb";

/// The first user's name: what was asked for, or `app_user`.
pub fn user(spec: &Spec) -> String {
    spec.user.clone().unwrap_or_else(|| "app_user".to_owned())
}

/// The first database's name: what was asked for, or one after the slug that needs no quoting. `own` are the databases that
/// every server has: an instance may well be called as one of them, and may be called `1st`.
pub fn database(spec: &Spec, own: &[&str]) -> String {
    if let Some(name) = &spec.database {
        return name.clone();
    }
    let name = spec.slug.replace('-', "_");
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return format!("db_{name}");
    }
    if own.contains(&name.as_str()) {
        return format!("{name}_db");
    }
    name
}

/// That nobody may have this name. `prefixes` are what names must not begin with.
pub fn kept(field: &str, prefixes: &[&str]) -> FieldProblem {
    let quoted: Vec<_> = prefixes
        .iter()
        .map(|prefix| format!("'{prefix}'"))
        .collect();
    let help = if quoted.is_empty() {
        "another name".to_owned()
    } else {
        format!("another name, not beginning with {}", quoted.join(" or "))
    };
    let reason = "is a name that the server or Berth keeps for itself";
    FieldProblem::new(field, reason, help)
}

/// Whether it is letters, digits, `_`, `$` and `-`, of at most so many, and begins with a letter or `_`; `field` is where it
/// was given. What is reserved is the engine's own to look at.
pub fn check(field: &str, name: &str, longest: usize) -> Result<(), FieldProblem> {
    check_made_of(field, name, longest, "_", "_$-")
}

/// The same with other characters than these: what a name may begin with besides letters, and what it may hold besides
/// letters and digits.
pub fn check_made_of(
    field: &str,
    name: &str,
    longest: usize,
    first: &str,
    further: &str,
) -> Result<(), FieldProblem> {
    let begins = |c: char| c.is_ascii_alphabetic() || first.contains(c);
    let goes_on = |c: char| c.is_ascii_alphanumeric() || further.contains(c);
    if name.len() <= longest && name.starts_with(begins) && name.chars().all(goes_on) {
        return Ok(());
    }
    let rule = format!(
        "1 to {longest} {}, beginning with {}, in ASCII",
        one_of("letters, digits", further),
        one_of("a letter", first)
    );
    Err(FieldProblem::new(field, "is not a valid name", rule))
}

/// What is said to whoever would delete the instance's first user.
pub fn first_user_stays(name: &str) -> Error {
    Error::conflict(format!(
        "'{name}' is the instance's first user, which it is reached with; it can be changed and not deleted"
    ))
}

fn one_of(before: &str, characters: &str) -> String {
    let mut text = before.to_owned();
    let last = characters.chars().count();
    for (position, character) in characters.chars().enumerate() {
        let and = if position + 1 == last { " or" } else { "," };
        text.push_str(&format!("{and} '{character}'"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_database_is_called_after_the_slug() {
        let mut spec = Spec::of_size(0, 0);
        let mut named = |slug: &str| {
            spec.slug = slug.into();
            database(&spec, &["local", "sys"])
        };
        assert_eq!(named("main-db"), "main_db");
        assert_eq!(named("local"), "local_db");
        assert_eq!(named("1st"), "db_1st");
        spec.database = Some("shop".into());
        assert_eq!(database(&spec, &["shop"]), "shop");
        assert_eq!(user(&spec), "app_user");
        spec.user = Some("ann".into());
        assert_eq!(user(&spec), "ann");
    }

    #[test]
    fn a_name_that_is_kept_says_what_no_name_begins_with() {
        assert_eq!(kept("user", &[]).help, "another name");
        let help = kept("user", &["pg_", RESERVED]).help;
        assert_eq!(help, "another name, not beginning with 'pg_' or '_rdb'");
    }

    #[test]
    fn a_name_that_is_refused_says_what_is_right() {
        let help = |problem: Result<(), FieldProblem>| problem.map_err(|problem| problem.help);
        assert_eq!(
            help(check("user", "1st", 63)).unwrap_err(),
            "1 to 63 letters, digits, '_', '$' or '-', beginning with a letter or '_', in ASCII"
        );
        assert_eq!(
            help(check_made_of("user", "_x", 9, "", "_@")).unwrap_err(),
            "1 to 9 letters, digits, '_' or '@', beginning with a letter, in ASCII"
        );
        assert!(check("user", "_x$", 3).is_ok() && check("user", "_x$y", 3).is_err());
        assert!(check_made_of("user", "a@b", 3, "", "@").is_ok());
    }
}
