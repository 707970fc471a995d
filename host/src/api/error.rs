//! From the core's errors to HTTP: the one table of statuses and codes.
//!
//! A handler answers with `ApiError`; the edge renders it, because only the edge knows the request's id.
//! An internal cause is logged there and never stands in an answer.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::json::Json;
use crate::model::{ConflictReason, Error, FieldProblem, Kind};

pub type ApiResult<T> = Result<T, ApiError>;

/// Why a request was not served.
#[derive(Clone, Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    fields: Vec<FieldProblem>,
    retry_after_seconds: Option<u64>,
    /// What is behind it, for the log alone.
    cause: Option<String>,
    /// As its dialect has it; none for the common one.
    body: Option<Arc<serde_json::Value>>,
}

/// Why a request was not served.
#[derive(Serialize, ToSchema)]
#[schema(as = Error)]
pub struct Body<'a> {
    /// For programs: what kind of problem it is.
    #[schema(pattern = "^[a-z_]+$")]
    code: &'static str,
    /// For people.
    #[schema(min_length = 1)]
    message: &'a str,
    /// What is wrong with which field; empty for other problems.
    fields: &'a [FieldProblem],
    /// Names the request, in the log too.
    #[schema(pattern = "^[A-Za-z0-9._:-]{1,128}$")]
    request_id: &'a str,
}

impl ApiError {
    /// A problem of the request as HTTP, before the core is asked.
    pub fn http(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            fields: Vec::new(),
            retry_after_seconds: None,
            cause: None,
            body: None,
        }
    }

    pub fn timeout() -> Self {
        let message = "the request took too long; what it had begun goes on";
        let mut error = Self::http(StatusCode::SERVICE_UNAVAILABLE, "timeout", message);
        error.retry_after_seconds = Some(1);
        error
    }

    /// Call fields as a dialect does.
    #[must_use]
    pub fn rename_fields(mut self, rename: impl Fn(&str) -> Option<&'static str>) -> Self {
        for problem in &mut self.fields {
            if let Some(name) = rename(&problem.field) {
                problem.field = name.to_owned();
            }
        }
        if self.code == "invalid" {
            self.message = Error::invalid(self.fields.clone()).public().to_owned();
        }
        self
    }

    /// The same refusal as a dialect with bodies of its own has it.
    #[must_use]
    pub fn in_other_words(mut self, status: StatusCode, body: serde_json::Value) -> Self {
        self.status = status;
        self.body = Some(Arc::new(body));
        self
    }

    /// Whether a dialect has given it a body of its own.
    pub fn has_own_body(&self) -> bool {
        self.body.is_some()
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer, with the id that the caller can name when asking about it.
    pub fn render(&self, request_id: &str) -> Response {
        let mut response = match &self.body {
            Some(body) => (self.status, Json(body.as_ref())).into_response(),
            None => {
                let body = Body {
                    code: self.code,
                    message: &self.message,
                    fields: &self.fields,
                    request_id,
                };
                (self.status, Json(body)).into_response()
            }
        };
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let (status, code) = place(&error.kind);
        let message = error.public().to_owned();
        let cause = std::error::Error::source(&error).map(|cause| cause.to_string());
        let (fields, retry_after_seconds) = match error.kind {
            Kind::Invalid(fields) => (fields, None),
            Kind::Retry(after) => (Vec::new(), Some(after.as_secs().max(1))),
            Kind::Unavailable => (Vec::new(), Some(1)),
            Kind::Unauthenticated
            | Kind::Denied
            | Kind::NotFound
            | Kind::Conflict(_)
            | Kind::QuotaExceeded
            | Kind::Unsupported
            | Kind::Failed
            | Kind::Internal => (Vec::new(), None),
        };
        Self {
            status,
            code,
            message,
            fields,
            retry_after_seconds,
            cause,
            body: None,
        }
    }
}

/// Leaves the body to the edge.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

fn place(kind: &Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Denied => (StatusCode::FORBIDDEN, "denied"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::Conflict(reason) => place_conflict(*reason),
        // Not 429: clients repeat that one by themselves, and repeating does not free a quota.
        Kind::QuotaExceeded => (StatusCode::FORBIDDEN, "quota_exceeded"),
        Kind::Unsupported => (StatusCode::UNPROCESSABLE_ENTITY, "unsupported"),
        Kind::Retry(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

fn place_conflict(reason: ConflictReason) -> (StatusCode, &'static str) {
    match reason {
        ConflictReason::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        ConflictReason::NameTaken => (StatusCode::CONFLICT, "name_taken"),
        ConflictReason::WrongPhase => (StatusCode::CONFLICT, "wrong_phase"),
        ConflictReason::Busy => (StatusCode::CONFLICT, "busy"),
        ConflictReason::IdempotencyMismatch => {
            (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
        }
        ConflictReason::NotReady => (StatusCode::CONFLICT, "not_ready"),
        ConflictReason::PasswordUnknown => (StatusCode::CONFLICT, "password_unknown"),
        ConflictReason::NotAllowedNow => (StatusCode::CONFLICT, "not_allowed_now"),
    }
}
