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
        FieldProblem::new(field, reason, help).into()
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

/// What every engine has to say, in the words that callers know.
impl Error {
    /// An instance has a version that this build of the engine does not know.
    pub fn unknown_version(product: &str) -> Self {
        Self::unsupported(format!("this version of {product} is not known"))
    }

    /// There is none, or none that a caller could have.
    pub fn no_user(name: &str) -> Self {
        Self::not_found(format!("there is no user '{name}'"))
    }

    /// There is none, or none that a caller could have.
    pub fn no_database(name: &str) -> Self {
        Self::not_found(format!("there is no database '{name}'"))
    }

    /// It was to be made.
    pub fn user_exists(name: &str) -> Self {
        Self::AlreadyExists(format!("there is a user '{name}' already"))
    }

    /// It was to be made.
    pub fn database_exists(name: &str) -> Self {
        Self::AlreadyExists(format!("there is a database '{name}' already"))
    }

    /// `custom` was to be set. `language` is what privileges are granted in, past Berth.
    pub fn custom_is_not_set(language: &str) -> Self {
        Self::unsupported(format!(
            "'custom' says that something else was granted in {language}; it cannot be set"
        ))
    }

    /// It was to be allowed less than all, and stays an admin.
    pub fn admin_may_all(user: &str) -> Self {
        Self::conflict(format!("'{user}' is an admin, and admins may do all"))
    }

    /// It was to be an admin no more, in an engine whose roles have members.
    pub fn admin_by_another_role(name: &str) -> Self {
        Self::conflict(format!(
            "'{name}' is an admin by way of another role that it is a member of; revoke that in SQL first"
        ))
    }
}

impl From<FieldProblem> for Error {
    fn from(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
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

    /// A setting whose value a running server would not take, and what it said to that.
    pub fn not_accepted(setting: &str, said: &str, product: &str) -> Self {
        Self::new(
            setting,
            format!("is not accepted by the server: {said}"),
            format!("a value that this version of {product} takes"),
        )
    }
}
