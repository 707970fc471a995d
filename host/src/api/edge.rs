//! What surrounds every request: its id, its time limit, its count, and the body of its error.
//!
//! It is on the path of every read, so it logs nothing below an error unless debugging is asked for.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt;
use tracing::Instrument;

use super::Api;
use super::error::ApiError;
use crate::model::Error;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;

/// Names a request in its answer, its errors, the log and the operation it began.
#[derive(Clone, Debug)]
pub struct RequestId(Arc<str>);

impl RequestId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The caller's own, if it is fit for a log; otherwise a new one.
    fn of(headers: &HeaderMap) -> Self {
        let given = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|id| is_sane(id));
        match given {
            Some(id) => Self(id.into()),
            None => {
                let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
                Self(id.hyphenated().encode_lower(&mut [0; 36]).to_owned().into())
            }
        }
    }
}

/// The outermost layer.
pub async fn surround(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = RequestId::of(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    request.extensions_mut().insert(id.clone());

    let span = tracing::debug_span!("request", id = id.as_str(), %method, route);
    let served = AssertUnwindSafe(next.run(request)).catch_unwind();
    let served = tokio::time::timeout(api.limits.request_timeout, served);
    let mut response = match served.instrument(span).await {
        Ok(Ok(response)) => finish(response, &id),
        Ok(Err(_)) => complete(&Error::internal("the handler panicked").into(), &id),
        Err(_) => complete(&ApiError::timeout(), &id),
    };
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    api.metrics
        .http
        .count(&method, route, response.status(), begun.elapsed());
    response
}

/// Give an error its body, now that the request's id is known.
fn finish(mut response: Response, id: &RequestId) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else {
        return response;
    };
    let mut rendered = complete(&error, id);
    for (name, value) in response.headers() {
        if !rendered.headers().contains_key(name) {
            rendered.headers_mut().insert(name, value.clone());
        }
    }
    rendered
}

fn complete(error: &ApiError, id: &RequestId) -> Response {
    if error.status().is_server_error() {
        let cause = error.cause().unwrap_or("none given");
        tracing::error!(
            request = id.as_str(),
            cause,
            "not served: {}",
            error.message()
        );
    }
    error.render(id.as_str())
}

/// Letters, digits and a few marks: nothing that a log or a shell could take for more than a name.
fn is_sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(allowed)
}
