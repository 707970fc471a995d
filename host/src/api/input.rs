//! What callers send, taken apart: JSON bodies and query strings. Every problem is collected with the
//! name of its field, so that a caller learns of all of them at once.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use tokio::time::timeout;

use super::Api;
use super::error::ApiError;
use crate::model::FieldProblem;

/// The fields of a JSON object that a dialect has not taken yet.
pub struct Fields {
    rest: Map<String, Value>,
    problems: Vec<FieldProblem>,
}

impl Fields {
    /// What tells the object from another: the same for every order of its fields and every way of spacing.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (name, value) in &self.rest {
            // A map of names and values has no two writings, and neither do the values in it.
            hasher.update(format!("{name:?}:{value}\n").as_bytes());
        }
        hasher.finalize().into()
    }

    /// A text; absent or null is none.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.rest.remove(name)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => self.refuse(name, &format!("must be a string, not {}", kind(&other))),
        }
    }

    pub fn required_text(&mut self, name: &str) -> Option<String> {
        if self.rest.get(name).is_none_or(Value::is_null) {
            self.rest.remove(name);
            return self.refuse(name, "is required");
        }
        self.text(name)
    }

    /// A whole number, also when it is written as `1.0`; absent or null is none. Bounds are the core's to say.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        match self.rest.remove(name)? {
            Value::Null => None,
            Value::Number(number) => match whole(&number) {
                Some(whole) => Some(whole),
                None => self.refuse(name, "must be a whole number of a sensible size"),
            },
            other => self.refuse(name, &format!("must be an integer, not {}", kind(&other))),
        }
    }

    /// All problems, with those of the fields that nobody knows.
    pub fn finish(mut self, known: &[&str]) -> Vec<FieldProblem> {
        let help = format!("one of {}", known.join(", "));
        for name in self.rest.keys() {
            let problem = FieldProblem::new(shorten(name), "is not known", help.clone());
            self.problems.push(problem);
        }
        self.problems
    }

    fn refuse<T>(&mut self, name: &str, reason: &str) -> Option<T> {
        self.problems.push(FieldProblem::new(name, reason, ""));
        None
    }
}

impl FromRequest<Api> for Fields {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Response> {
        if !is_json(request.headers()) {
            let message = "send the body as JSON, with the header `Content-Type: application/json`";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(ApiError::http(status, "unsupported_media_type", message).into_response());
        }
        let bytes = Bytes::from_request(request, api);
        let bytes = timeout(api.limits.body_timeout, bytes).await;
        let bytes = bytes.map_err(|_| too_slow().into_response())?;
        let bytes = bytes.map_err(|rejection| unread(&rejection).into_response())?;
        parse(&bytes).map_err(IntoResponse::into_response)
    }
}

/// The parameters of a query string that a dialect has not taken yet.
pub struct Params {
    rest: Vec<(String, String)>,
    problems: Vec<FieldProblem>,
}

impl Params {
    /// The parameter's value. Given twice it is refused: either could be meant.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut found = Vec::new();
        self.rest.retain_mut(|(key, value)| {
            let ours = key == name;
            if ours {
                found.push(std::mem::take(value));
            }
            !ours
        });
        if found.len() > 1 {
            self.refuse(name, "is given more than once", "");
        }
        found.pop()
    }

    /// The value as `parse` reads it; refused with `help` when it reads nothing.
    pub fn parsed<T>(
        &mut self,
        name: &str,
        help: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(&text);
        if value.is_none() {
            self.refuse(name, "is not valid", help);
        }
        value
    }

    pub fn refuse(&mut self, name: &str, reason: &str, help: &str) {
        self.problems.push(FieldProblem::new(name, reason, help));
    }

    /// Refused when anything was wrong or is left: a misspelled filter must not show everything.
    pub fn finish(mut self, known: &[&str]) -> Result<(), ApiError> {
        let help = format!("one of {}", known.join(", "));
        for (name, _) in std::mem::take(&mut self.rest) {
            let problem = FieldProblem::new(shorten(&name), "is not known", help.clone());
            self.problems.push(problem);
        }
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(crate::model::Error::invalid(self.problems).into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let rest = axum::extract::Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let message = format!("the query string cannot be read: {rejection}");
            ApiError::http(StatusCode::BAD_REQUEST, "malformed_query", message).into_response()
        })?;
        Ok(Self {
            rest: rest.0,
            problems: Vec::new(),
        })
    }
}

/// What a path names. As axum's own, but what is not text is refused with an error's body.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let taken = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(named) = taken.map_err(|_| {
            let message = "the path of the address is not text in UTF-8";
            ApiError::http(StatusCode::BAD_REQUEST, "malformed_path", message)
        })?;
        Ok(Self(named))
    }
}

fn parse(bytes: &[u8]) -> Result<Fields, ApiError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(rest)) => Ok(Fields {
            rest,
            problems: Vec::new(),
        }),
        Ok(other) => {
            let reason = format!("must be an object, not {}", kind(&other));
            Err(crate::model::Error::invalid_field("body", reason, "").into())
        }
        Err(error) => {
            let message = format!("the body is not JSON: {error}");
            Err(ApiError::http(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                message,
            ))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let essence = value
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    essence.is_some_and(|e| {
        e == "application/json" || (e.starts_with("application/") && e.ends_with("+json"))
    })
}

fn unread(rejection: &BytesRejection) -> ApiError {
    let too_large = matches!(
        rejection,
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))
    );
    if too_large {
        let message = "the body is larger than any request to this API may be";
        return ApiError::http(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
    }
    ApiError::http(
        StatusCode::BAD_REQUEST,
        "body_cut_off",
        "the body could not be read to its end",
    )
}

/// Beyond 2^53 a floating-point number does not say which whole number was meant.
fn whole(number: &Number) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let float = number.as_f64().filter(|float| float.abs() <= EXACT)?;
    (float.fract() == 0.0).then_some(float as i64)
}

fn too_slow() -> ApiError {
    let message = "the body did not arrive in time";
    ApiError::http(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
}

/// As people call it. Never the value: it may be a secret in the wrong place.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// An unknown name is repeated to its sender, but not without end.
fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}
