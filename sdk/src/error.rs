//! Errors by who must act, without the noise of building them.

use std::time::Duration;

use crate::types::{Error, FieldProblem, Retry};

/// What nearly every function of a plugin answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One field that the caller must change. `help` says what would be right; it may be empty.
    pub fn invalid_field(
        field: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Invalid(vec![FieldProblem::new(field, reason, help)])
    }

    /// `Ok` when there are no problems, otherwise all of them at once.
    pub fn unless_empty(problems: Vec<FieldProblem>) -> Result<()> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self::Invalid(problems))
        }
    }

    /// Not yet: the host calls again after this time. `reason` says what is being waited for.
    pub fn retry(after: Duration, reason: impl Into<String>) -> Self {
        Self::RetryAfter(Retry {
            after_ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
            reason: reason.into(),
        })
    }

    /// It went wrong and a repetition will not help.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The named thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(message.into())
    }

    /// The state of the instance forbids it for now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(message.into())
    }

    /// This engine, version or target cannot do it at all.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::Unsupported(message.into())
    }
}

impl FieldProblem {
    /// A field that cannot be accepted. `help` says what would be right; it may be empty.
    pub fn new(
        field: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
            help: help.into(),
        }
    }
}
