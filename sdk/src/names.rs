//! Names that need no thought wherever they stand.

use crate::Error;
use crate::types::FieldProblem;

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
