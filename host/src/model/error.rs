//! The one error type of the core.
//!
//! It says who must act. The public text is written for callers; the internal cause is for the log and
//! never reaches an answer. Dialects map `Kind` to their own bodies at their edge.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// One field of a request that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    pub field: String,
    pub reason: String,
    /// What would be right; empty when there is nothing to add.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help: String,
}

impl FieldProblem {
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

/// Why the state of things forbids a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictReason {
    /// What was to be made is there already.
    AlreadyExists,
    /// A live instance of the project has this name.
    NameTaken,
    /// The instance is not in a phase that allows it.
    WrongPhase,
    /// Another operation holds the instance, or another writer was first.
    Busy,
    /// The idempotency key was used with another body.
    IdempotencyMismatch,
    /// The database is not ready to answer.
    NotReady,
    /// The password was changed outside of Berth.
    PasswordUnknown,
    /// The operation's kind or step cannot be cancelled or retried.
    NotAllowedNow,
}

/// What went wrong, by who must act.
#[derive(Debug)]
pub enum Kind {
    /// The caller must change these fields.
    Invalid(Vec<FieldProblem>),
    /// No key, or one that is not known.
    Unauthenticated,
    /// The key does not allow it.
    Denied,
    NotFound,
    Conflict(ConflictReason),
    /// A quota of the project is used up.
    QuotaExceeded,
    /// Nothing here can do it.
    Unsupported,
    /// Not yet; the operation or the caller tries again.
    Retry(Duration),
    /// Something Berth needs is not there now: the store, a plugin that is compiling.
    Unavailable,
    /// It went wrong and a repetition will not help.
    Failed,
    /// A defect or an environment failure of Berth itself.
    Internal,
}

/// See the module's text. `Display` shows the public message only.
pub struct Error {
    pub kind: Kind,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            cause: None,
        }
    }

    pub fn invalid(problems: Vec<FieldProblem>) -> Self {
        let message = problems
            .iter()
            .map(|p| format!("{}: {}", p.field, p.reason))
            .collect::<Vec<_>>()
            .join("; ");
        Self::new(Kind::Invalid(problems), message)
    }

    pub fn invalid_field(
        field: impl Into<String>,
        reason: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::invalid(vec![FieldProblem::new(field, reason, help)])
    }

    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    pub fn conflict(reason: ConflictReason, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict(reason), message)
    }

    pub fn quota(message: impl Into<String>) -> Self {
        Self::new(Kind::QuotaExceeded, message)
    }

    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    pub fn retry(after: Duration, message: impl Into<String>) -> Self {
        Self::new(Kind::Retry(after), message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A fault of Berth itself. The public text says only that.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "an internal error occurred").caused_by(cause)
    }

    /// Keep what is behind it, for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// The text a caller may read.
    pub fn public(&self) -> &str {
        &self.message
    }

    /// Whether doing the same again may succeed without anybody acting.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            Kind::Retry(_) | Kind::Unavailable => true,
            Kind::Invalid(_)
            | Kind::Unauthenticated
            | Kind::Denied
            | Kind::NotFound
            | Kind::Conflict(_)
            | Kind::QuotaExceeded
            | Kind::Unsupported
            | Kind::Failed
            | Kind::Internal => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)?;
        if let Some(cause) = &self.cause {
            write!(f, " (cause: {cause})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
