//! Bodies of requests, taken apart. Every problem is kept with the name of its argument, so that a caller learns of all
//! of them at once.
//!
//! Clients of this dialect send bodies where others send none, with and without a content type, and write null or
//! nothing for what they leave unset: the header is not looked at, and absent, null and unset are one.

use axum::extract::rejection::{BytesRejection, FailedToBufferBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::timeout;
use uuid::Uuid;

use super::errors::{NOT_A, REQUIRED, Refusal, UNKNOWN};
use super::moments;
use crate::api::Api;
use crate::api::error::ApiError;
use crate::model::FieldProblem;

/// An object of a request's body, with the arguments that nobody has taken yet.
#[derive(Default)]
pub struct Body {
    rest: Map<String, Value>,
    /// What stands before the names of its arguments: `rules[0].` for one in a list.
    prefix: String,
    pub problems: Vec<FieldProblem>,
}

impl Body {
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => self.not_a(name, "a string", &other),
        }
    }

    /// A text that must be there.
    pub fn required(&mut self, name: &str) -> Option<String> {
        self.there(name)?;
        self.text(name)
    }

    pub fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            other => self.not_a(name, "a boolean", &other),
        }
    }

    /// A whole number that is not negative.
    pub fn whole(&mut self, name: &str) -> Option<u64> {
        let value = self.take(name)?;
        match value.as_f64() {
            Some(float) if float >= 0.0 && float.fract() == 0.0 => match whole(&value, float) {
                Some(number) => Some(number),
                None => self.refuse(name, "is out of bounds", "a number of a sensible size"),
            },
            Some(_) | None => self.not_a(name, "a whole number that is not negative", &value),
        }
    }

    pub fn id(&mut self, name: &str) -> Option<Uuid> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(id) => Some(id),
            Err(_) => self.refuse(name, &format!("{NOT_A}a UUID"), ""),
        }
    }

    pub fn required_id(&mut self, name: &str) -> Option<Uuid> {
        self.there(name)?;
        self.id(name)
    }

    pub fn moment(&mut self, name: &str) -> Option<Timestamp> {
        let text = self.text(name)?;
        match moments::parse(&text) {
            Some(moment) => Some(moment),
            None => self.refuse(name, &format!("{NOT_A}a date and time"), moments::HELP),
        }
    }

    /// One of a set of names.
    pub fn choice<T>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T>
    where
        T: Copy,
    {
        let text = self.text(name)?;
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, value)) => Some(*value),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                let help = format!("one of {}", names.join(", "));
                self.refuse(name, "is not one of the values there are", &help)
            }
        }
    }

    /// A list of texts. An empty one is not the same as none.
    pub fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let items = self.list(name)?;
        let mut texts = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let _: Option<()> = self.not_a(&format!("{name}[{at}]"), "a string", &other);
                }
            }
        }
        Some(texts)
    }

    pub fn object(&mut self, name: &str) -> Option<Self> {
        match self.take(name)? {
            Value::Object(rest) => Some(self.inner(format!("{name}."), rest)),
            other => self.not_a(name, "an object", &other),
        }
    }

    /// A list of objects. What is wrong with one is reported by `close`.
    pub fn objects(&mut self, name: &str) -> Option<Vec<Self>> {
        let items = self.list(name)?;
        let mut objects = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::Object(rest) => objects.push(self.inner(format!("{name}[{at}]."), rest)),
                other => {
                    let _: Option<()> = self.not_a(&format!("{name}[{at}]"), "an object", &other);
                }
            }
        }
        Some(objects)
    }

    pub fn required_objects(&mut self, name: &str) -> Option<Vec<Self>> {
        self.there(name)?;
        self.objects(name)
    }

    pub fn required_texts(&mut self, name: &str) -> Option<Vec<String>> {
        self.there(name)?;
        self.texts(name)
    }

    /// An inner object is done with: take over what was wrong with it, and what nobody knows.
    pub fn close(&mut self, inner: Self) {
        self.problems.extend(inner.with_unknown());
    }

    pub fn refuse<T>(&mut self, name: &str, reason: &str, help: &str) -> Option<T> {
        let name = format!("{}{name}", self.prefix);
        self.problems.push(FieldProblem::new(name, reason, help));
        None
    }

    /// Refused when anything was wrong. An argument that nobody knows is wrong when it has a value: it asks for
    /// something that would not be done.
    pub fn finish(self) -> Result<(), Refusal> {
        let problems = self.with_unknown();
        if problems.is_empty() {
            return Ok(());
        }
        Err(Refusal::Arguments(problems))
    }

    /// All problems, with the arguments that nobody knows.
    pub fn with_unknown(mut self) -> Vec<FieldProblem> {
        for (name, value) in std::mem::take(&mut self.rest) {
            if !is_unset(&value) {
                let name: String = name.chars().take(64).collect();
                let _: Option<()> = self.refuse(&name, UNKNOWN, "");
            }
        }
        self.problems
    }

    fn list(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            other => self.not_a(name, "an array", &other),
        }
    }

    fn inner(&self, prefix: String, rest: Map<String, Value>) -> Self {
        Self {
            rest,
            prefix: format!("{}{prefix}", self.prefix),
            problems: Vec::new(),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    fn there(&mut self, name: &str) -> Option<()> {
        match self.rest.get(name) {
            Some(Value::Null) | None => self.refuse(name, REQUIRED, ""),
            Some(_) => Some(()),
        }
    }

    /// Never with the value: it may be a secret in the wrong place.
    fn not_a<T>(&mut self, name: &str, what: &str, value: &Value) -> Option<T> {
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        let reason = if what.starts_with(is) {
            format!("{NOT_A}{what}")
        } else {
            format!("{NOT_A}{what}, not {is}")
        };
        self.refuse(name, &reason, "")
    }
}

impl FromRequest<Api> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, api);
        let bytes = timeout(api.limits.body_timeout, bytes).await;
        let bytes = bytes.map_err(|_| {
            let message = "the body did not arrive in time".to_owned();
            Refusal::Other(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
        })?;
        Ok(parse(&bytes.map_err(|rejection| unread(&rejection))?)?)
    }
}

fn parse(bytes: &[u8]) -> Result<Body, Refusal> {
    if bytes.is_empty() {
        return Ok(Body::default());
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(rest)) => Ok(Body {
            rest,
            ..Body::default()
        }),
        Ok(_) => Err(Refusal::argument("body", "must be an object", "")),
        Err(error) => {
            let reason = format!("must be JSON, and is not: {error}");
            Err(Refusal::argument("body", &reason, ""))
        }
    }
}

fn unread(rejection: &BytesRejection) -> Refusal {
    let too_large = matches!(
        rejection,
        BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_))
    );
    if too_large {
        let message = "the body is larger than any request to this API may be";
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Refusal::Other(status, "body_too_large", message.to_owned());
    }
    Refusal::argument("body", "must be sent whole", "")
}

/// Also one that is written as `1.0`. Beyond 2^53 a floating-point number does not say which one was meant.
fn whole(value: &Value, float: f64) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    value
        .as_u64()
        .or_else(|| (float <= EXACT).then_some(float as u64))
}

/// What clients write for "not set".
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn nothing_null_and_empty_are_unset() {
        for text in ["", "{}", r#"{"a": null, "tags": null, "unknown": []}"#] {
            let mut body = body(text);
            assert_eq!(body.text("a"), None);
            assert_eq!(body.texts("tags"), None);
            assert!(body.finish().is_ok(), "{text}");
        }
        let mut cleared = body(r#"{"tags": []}"#);
        assert_eq!(cleared.texts("tags"), Some(Vec::new()));
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let text =
            r#"{"a": 1, "n": -1, "d": "soon", "list": [{"ip": 3, "what": "x"}, 4], "more": 1}"#;
        let mut body = body(text);
        assert_eq!(body.text("a"), None);
        assert_eq!(body.whole("n"), None);
        assert_eq!(body.moment("d"), None);
        assert_eq!(body.required("missing"), None);
        for mut item in body.objects("list").unwrap() {
            item.text("ip");
            body.close(item);
        }
        let problems = body.with_unknown();
        let names: Vec<&str> = problems.iter().map(|p| p.field.as_str()).collect();
        let expected = [
            "a",
            "n",
            "d",
            "missing",
            "list[1]",
            "list[0].ip",
            "list[0].what",
            "more",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for text in ["[]", "3", "{", "\u{0}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
