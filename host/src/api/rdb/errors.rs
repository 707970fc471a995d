//! What this dialect answers to what it refuses: one kind of body per type, with the fields that clients choose their
//! class of error by. Clients go by the body alone, so a body is never without them.
//!
//! A handler refuses with a `Refusal`, or with the core's error put in these words (`of`); what the edge refuses before
//! a handler is asked is put in them by `in_its_words`. Causes stay in the log.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::status::Status;
use crate::api::error::ApiError;
use crate::model::{ConflictReason, Error, FieldProblem, Kind};

/// What a field is told that must be there, and what one is told that nobody knows: clients get these as the reasons
/// `required` and `unknown`.
pub const REQUIRED: &str = "is required";
pub const UNKNOWN: &str = "is not known";
/// How the reason of a value begins that is not even of the right form.
pub const NOT_A: &str = "must be ";

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    Arguments(Vec<FieldProblem>),
    NotFound(Named),
    /// It is being changed: ask again when it is not.
    Transient(Named, Status),
    /// It is stopped until somebody starts it.
    Locked(Named),
    AlreadyExists(Named, String),
    /// What must be so and is not, and what helps.
    Precondition(&'static str, String),
    Quotas(Vec<Quota>),
    /// The key may not do this to that.
    Denied {
        resource: &'static str,
        action: &'static str,
    },
    OutOfStock(String),
    /// Why a key is no good.
    Unauthenticated(KeyProblem),
    TooMany {
        help: String,
        reset_seconds: u64,
    },
    Conflict(String),
    Other(StatusCode, &'static str, String),
}

/// A thing and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub resource: &'static str,
    pub id: String,
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub resource: &'static str,
    pub quota: u64,
    pub current: u64,
    pub project: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// There is none, or it has not the form of one.
    Malformed,
    /// It is not known, any more or at all.
    NotFound,
}

impl Named {
    pub fn new(resource: &'static str, id: impl Into<String>) -> Self {
        let id = id.into();
        Self { resource, id }
    }
}

impl Refusal {
    pub fn argument(name: &str, reason: &str, help: &str) -> Self {
        Self::Arguments(vec![FieldProblem::new(name, reason, help)])
    }

    /// In place of an error of the core's, whose cause the log keeps.
    pub fn because_of(self, error: Error) -> ApiError {
        ApiError::from(error).in_other_words(self.status(), self.body())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Arguments(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Transient(..) | Self::AlreadyExists(..) | Self::Conflict(_) => {
                StatusCode::CONFLICT
            }
            Self::Locked(_) => StatusCode::LOCKED,
            Self::Precondition(..) => StatusCode::PRECONDITION_FAILED,
            Self::Quotas(_) | Self::Denied { .. } => StatusCode::FORBIDDEN,
            Self::OutOfStock(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Other(status, ..) => *status,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "invalid_arguments",
            Self::NotFound(_) => "not_found",
            Self::Transient(..) => "transient_state",
            Self::Locked(_) => "locked",
            Self::AlreadyExists(..) => "already_exists",
            Self::Precondition(..) => "precondition_failed",
            Self::Quotas(_) => "quotas_exceeded",
            Self::Denied { .. } => "permissions_denied",
            Self::OutOfStock(_) => "out_of_stock",
            Self::Unauthenticated(_) => "denied_authentication",
            Self::TooMany { .. } => "too_many_requests",
            Self::Conflict(_) => "conflict",
            Self::Other(_, kind, _) => kind,
        }
    }

    fn message(&self) -> &str {
        match self {
            Self::Arguments(_) => "invalid argument(s)",
            Self::NotFound(_) => "resource is not found",
            Self::Transient(..) => "resource is in a transient state",
            Self::Locked(_) => "resource is locked",
            Self::AlreadyExists(..) => "resource already exists",
            Self::Precondition(..) => "a precondition is not met",
            Self::Quotas(_) => "quota(s) exceeded for this resource",
            Self::Denied { .. } => "insufficient permissions",
            Self::OutOfStock(_) => "resource is out of stock",
            Self::Unauthenticated(_) => "authentication is denied",
            Self::TooMany { .. } => "too many requests",
            Self::Conflict(message) | Self::Other(_, _, message) => message,
        }
    }

    fn body(&self) -> Value {
        let mut body = match self {
            Self::Arguments(problems) => {
                json!({ "details": problems.iter().map(detail).collect::<Vec<_>>() })
            }
            Self::NotFound(Named { resource, id }) | Self::Locked(Named { resource, id }) => {
                json!({ "resource": resource, "resource_id": id })
            }
            Self::Transient(Named { resource, id }, state) => {
                json!({ "resource": resource, "resource_id": id, "current_state": state })
            }
            Self::AlreadyExists(Named { resource, id }, help) => {
                json!({ "resource": resource, "resource_id": id, "help_message": help })
            }
            Self::Precondition(precondition, help) => {
                json!({ "precondition": precondition, "help_message": help })
            }
            Self::Quotas(quotas) => {
                let details = quotas.iter().map(|q| {
                    json!({
                        "resource": q.resource,
                        "quota": q.quota,
                        "current": q.current,
                        "project_id": q.project,
                    })
                });
                json!({ "details": details.collect::<Vec<_>>() })
            }
            Self::Denied { resource, action } => {
                json!({ "details": [{ "resource": resource, "action": action }] })
            }
            Self::OutOfStock(resource) => json!({ "resource": resource }),
            Self::Unauthenticated(problem) => {
                json!({ "method": "api_key", "reason": problem.as_str() })
            }
            Self::TooMany {
                help,
                reset_seconds,
            } => json!({ "help_message": help, "reset_seconds": reset_seconds }),
            Self::Conflict(_) | Self::Other(..) => json!({}),
        };
        body["type"] = self.kind().into();
        body["message"] = self.message().into();
        body
    }
}

impl KeyProblem {
    fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "invalid_argument",
            Self::NotFound => "not_found",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let error = Self::http(refusal.status(), refusal.kind(), refusal.message());
        error.in_other_words(refusal.status(), refusal.body())
    }
}

/// The core's error in these words. `about` is what the request was about, `status` how that fares.
pub fn of(error: Error, about: Named, status: impl FnOnce() -> Status) -> ApiError {
    let said = error.public().to_owned();
    let refusal = match &error.kind {
        Kind::Invalid(problems) => Refusal::Arguments(problems.clone()),
        Kind::Unauthenticated => Refusal::Unauthenticated(KeyProblem::NotFound),
        Kind::Denied => Refusal::Denied {
            resource: about.resource,
            action: "write",
        },
        Kind::NotFound => Refusal::NotFound(about),
        Kind::Conflict(reason) => conflict(*reason, about, said, status),
        // The handler that can meet one says which.
        Kind::QuotaExceeded => Refusal::Quotas(Vec::new()),
        Kind::Unsupported => Refusal::Precondition("unknown_precondition", said),
        Kind::Retry(after) => Refusal::TooMany {
            help: said,
            reset_seconds: after.as_secs().max(1),
        },
        Kind::Unavailable => Refusal::Other(StatusCode::SERVICE_UNAVAILABLE, "unavailable", said),
        Kind::Failed | Kind::Internal => {
            Refusal::Other(StatusCode::INTERNAL_SERVER_ERROR, "internal", said)
        }
    };
    refusal.because_of(error)
}

/// What was refused before this dialect was asked.
pub fn in_its_words(error: ApiError, path: &str) -> ApiError {
    if error.has_own_body() {
        return error;
    }
    let said = error.message().to_owned();
    let refusal = match error.status() {
        StatusCode::NOT_FOUND => Refusal::NotFound(Named::new("path", path)),
        StatusCode::BAD_REQUEST => Refusal::argument("path", NOT_A, &said),
        StatusCode::UNAUTHORIZED => Refusal::Unauthenticated(KeyProblem::NotFound),
        StatusCode::TOO_MANY_REQUESTS => Refusal::TooMany {
            help: said,
            reset_seconds: error.retry_after_seconds().unwrap_or(1),
        },
        other => Refusal::Other(other, error.code(), said),
    };
    error.in_other_words(refusal.status(), refusal.body())
}

fn conflict(
    reason: ConflictReason,
    about: Named,
    said: String,
    status: impl FnOnce() -> Status,
) -> Refusal {
    match reason {
        ConflictReason::AlreadyExists | ConflictReason::NameTaken => {
            Refusal::AlreadyExists(about, said)
        }
        ConflictReason::WrongPhase | ConflictReason::Busy | ConflictReason::NotReady => {
            match status() {
                Status::Locked => Refusal::Locked(about),
                Status::Error => Refusal::Precondition("resource_not_usable", said),
                // It was busy a moment ago.
                Status::Ready => Refusal::Transient(about, Status::Configuring),
                state @ (Status::Provisioning
                | Status::Initializing
                | Status::Configuring
                | Status::Deleting
                | Status::Autohealing
                | Status::DiskFull
                | Status::Restarting) => Refusal::Transient(about, state),
            }
        }
        ConflictReason::IdempotencyMismatch
        | ConflictReason::PasswordUnknown
        | ConflictReason::NotAllowedNow => Refusal::Conflict(said),
    }
}

fn detail(problem: &FieldProblem) -> Value {
    let reason = match problem.reason.as_str() {
        REQUIRED => "required",
        UNKNOWN => "unknown",
        text if text.starts_with(NOT_A) => "format",
        _ => "constraint",
    };
    let said = problem.reason.trim_end();
    let help = if problem.help.is_empty() {
        said.to_owned()
    } else {
        format!("{said}: {}", problem.help)
    };
    json!({ "argument_name": problem.field, "reason": reason, "help_message": help })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_has_the_fields_that_clients_go_by() {
        let named = || Named::new("instance", "an-id");
        let all = [
            (
                Refusal::argument("name", REQUIRED, ""),
                400,
                &["details"][..],
            ),
            (
                Refusal::NotFound(named()),
                404,
                &["resource", "resource_id"],
            ),
            (
                Refusal::Transient(named(), Status::Configuring),
                409,
                &["resource", "resource_id", "current_state"],
            ),
            (Refusal::Locked(named()), 423, &["resource", "resource_id"]),
            (
                Refusal::AlreadyExists(named(), String::new()),
                409,
                &["resource", "resource_id", "help_message"],
            ),
            (
                Refusal::Precondition("attribute_must_be_set", String::new()),
                412,
                &["precondition", "help_message"],
            ),
            (Refusal::Quotas(Vec::new()), 403, &["details"]),
            (
                Refusal::Denied {
                    resource: "project",
                    action: "write",
                },
                403,
                &["details"],
            ),
            (Refusal::OutOfStock("node".into()), 503, &["resource"]),
            (
                Refusal::Unauthenticated(KeyProblem::Malformed),
                401,
                &["method", "reason"],
            ),
            (
                Refusal::TooMany {
                    help: "wait".into(),
                    reset_seconds: 1,
                },
                429,
                &["help_message", "reset_seconds"],
            ),
            (Refusal::Conflict("no".into()), 409, &[]),
        ];
        for (refusal, status, fields) in all {
            let body = refusal.body();
            assert_eq!(refusal.status().as_u16(), status, "{body}");
            for field in fields.iter().chain(&["type", "message"]) {
                assert!(!body[field].is_null(), "{field}: {body}");
            }
        }
    }

    #[test]
    fn reasons_are_those_that_clients_know() {
        for (reason, expected) in [
            (REQUIRED, "required"),
            (UNKNOWN, "unknown"),
            ("must be a string", "format"),
            ("is out of range", "constraint"),
        ] {
            let shown = detail(&FieldProblem::new("f", reason, "1 to 3"));
            assert_eq!(shown["reason"], expected);
            assert_eq!(shown["help_message"], format!("{reason}: 1 to 3"));
        }
    }

    #[test]
    fn what_is_being_changed_says_how_it_fares() {
        let refused = |status| {
            conflict(
                ConflictReason::Busy,
                Named::new("instance", "i"),
                "busy".to_owned(),
                || status,
            )
        };
        let named = || Named::new("instance", "i");
        assert_eq!(
            refused(Status::Deleting),
            Refusal::Transient(named(), Status::Deleting)
        );
        assert_eq!(refused(Status::Locked), Refusal::Locked(named()));
        assert_eq!(
            refused(Status::Ready),
            Refusal::Transient(named(), Status::Configuring)
        );
    }
}
