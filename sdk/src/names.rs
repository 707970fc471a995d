//! Names that need no thought wherever they stand.

use crate::types::FieldProblem;

/// Whether it is letters, digits, `_`, `$` and `-`, of at most so many, and begins with a letter or `_`; `field` is where it
/// was given. What is reserved is the engine's own to look at.
pub fn check(field: &str, name: &str, longest: usize) -> Result<(), FieldProblem> {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let further = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '-');
    if name.len() <= longest && name.starts_with(first) && name.chars().all(further) {
        return Ok(());
    }
    let rule = format!(
        "1 to {longest} letters, digits, '_', '$' or '-', beginning with a letter or '_', in ASCII"
    );
    Err(FieldProblem::new(field, "is not a valid name", rule))
}
