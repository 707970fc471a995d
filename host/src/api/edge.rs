//! What surrounds every request: its id, its span, what its caller may still ask for, its time limit, its count, and
//! the body of its error.
//!
//! It is on the path of every read, so it logs nothing below an error unless debugging is asked for.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::response::{IntoResponse, Response};
use axum::routing;
use axum::routing::future::RouteFuture;
use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};
use tracing::{Instrument, Span, error_span};

use super::callers::{self, Place};
use super::error::ApiError;
use super::metrics::Route;
use super::unread::Unread;
use super::{Api, auth, held, rdb};
use crate::model::{Error, OperationId};
use crate::service::{Caller, Held};
use crate::trace;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const OPERATION: HeaderName = HeaderName::from_static("x-operation-id");
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
                Self(Arc::from(&*id.hyphenated().encode_lower(&mut [0; 36])))
            }
        }
    }
}

/// Who asks, once the key was found to be a good one.
#[derive(Clone)]
pub struct Known(pub Caller);

/// What an answer needs to know of its request.
struct Asked {
    begun: Instant,
    id: RequestId,
    method: Method,
    route: Route,
    /// Its path, if it is one of the dialect that has bodies of its own for errors.
    rdb_path: Option<String>,
    span: Span,
}

/// The outermost layer. It is not a function made into one by axum, which costs two boxes more for each request.
#[derive(Clone)]
pub struct Surround(pub Api);

#[derive(Clone)]
pub struct Surrounded {
    api: Api,
    route: routing::Route,
}

impl Layer<routing::Route> for Surround {
    type Service = Surrounded;

    fn layer(&self, route: routing::Route) -> Surrounded {
        let api = self.0.clone();
        Surrounded { api, route }
    }
}

impl Service<Request> for Surrounded {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    /// Routes are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let asked = Asked::of(&request);
        // Said here: as a layer of its own it would be another box around every handler.
        DefaultBodyLimit::max(self.api.limits.body_bytes).apply(&mut request);
        let unread = Unread::of(&mut request);
        let admitted = admit(&self.api, &mut request, &asked);
        let admitted = admitted.map(|place| (place, self.route.call(request)));
        surround(self.api.clone(), asked, admitted, unread)
            .map(Ok)
            .boxed()
    }
}

async fn surround(
    api: Api,
    asked: Asked,
    admitted: Result<(Option<Arc<Place>>, RouteFuture<Infallible>), ApiError>,
    unread: Option<Unread>,
) -> Response {
    let (place, mut response) = match admitted {
        Ok((place, served)) => {
            let served = answer(&api, served, &asked).instrument(asked.span.clone());
            (place, served.await)
        }
        Err(refused) => (None, asked.complete(refused)),
    };
    if let Ok(value) = HeaderValue::from_str(asked.id.as_str()) {
        response.headers_mut().insert(HEADER, value);
    }
    let status = response.status();
    trace::answered(&asked.span, status.as_u16());
    let took = asked.begun.elapsed();
    let http = &api.metrics.http;
    http.count(&asked.method, asked.route, status, took);
    // What the client still has to send is no part of what the answer took.
    if let Some(unread) = unread {
        let time_left = api.limits.body_timeout.saturating_sub(took);
        unread.read(place.is_some(), time_left).await;
    }
    match place {
        Some(place) => held::until_written(response, place),
        None => response,
    }
}

/// An answer that names the operation which the request began.
pub fn began(operation: Option<OperationId>, response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let value = operation.and_then(|id| HeaderValue::try_from(id.to_string()).ok());
    if let Some(value) = value {
        response.headers_mut().insert(OPERATION, value);
    }
    response
}

/// Let the request in if its key, or else its address, has not had enough. Only who has a good key may have it
/// be part of a trace.
fn admit(api: &Api, request: &mut Request, asked: &Asked) -> Result<Option<Arc<Place>>, ApiError> {
    let known = auth::secret(request.headers()).and_then(|secret| {
        api.control
            .authenticate(secret, Some(asked.id.0.clone()))
            .ok()
    });
    let admitted = match &known {
        Some(caller) => api.callers.admit(caller.key).map(Some),
        None => {
            let address = callers::address_of(request.extensions());
            api.callers.admit_stranger(address).map(|()| None)
        }
    };
    let place = admitted.map_err(|(met, error)| {
        api.metrics.http.count_refused(met);
        ApiError::from(error)
    })?;
    let place = place.map(Arc::new);
    if let Some(mut caller) = known {
        caller.held = place.clone().map(Held::new).unwrap_or_default();
        if let Some(parent) = request.headers().get(trace::HEADER) {
            trace::continue_from(&asked.span, parent.to_str().unwrap_or_default());
        }
        request.extensions_mut().insert(Known(caller));
    }
    Ok(place)
}

async fn answer(api: &Api, served: RouteFuture<Infallible>, asked: &Asked) -> Response {
    let served = AssertUnwindSafe(served).catch_unwind();
    // What is answered at once, as every read is, never asks for a timer.
    let late = async { tokio::time::sleep(api.limits.request_timeout).await };
    tokio::select! {
        biased;
        served = served => match served {
            Ok(Ok(response)) => asked.finish(response),
            Ok(Err(never)) => match never {},
            Err(_) => asked.complete(Error::internal("the handler panicked").into()),
        },
        () = late => asked.complete(ApiError::timeout()),
    }
}

impl Asked {
    fn of(request: &Request) -> Self {
        let begun = Instant::now();
        let id = RequestId::of(request.headers());
        let method = request.method().clone();
        let route = Route::of(request);
        let path = request.uri().path();
        // Of the highest level, so that no line of the log goes without the id, whatever is logged.
        let span = error_span!(
            "request",
            id = id.as_str(),
            method = method.as_str(),
            route = route.as_str()
        );
        Self {
            begun,
            rdb_path: rdb::owns(path).then(|| path.to_owned()),
            id,
            method,
            route,
            span,
        }
    }

    /// Give an error its body, now that the request's id is known.
    fn finish(&self, mut response: Response) -> Response {
        let Some(error) = response.extensions_mut().remove::<ApiError>() else {
            return response;
        };
        let mut rendered = self.complete(error);
        for (name, value) in response.headers() {
            if !rendered.headers().contains_key(name) {
                rendered.headers_mut().insert(name, value.clone());
            }
        }
        rendered
    }

    fn complete(&self, error: ApiError) -> Response {
        // What a dialect refuses of itself, as what is out of stock, is no failure of ours.
        if error.status().is_server_error() && (error.cause().is_some() || !error.has_own_body()) {
            let cause = error.cause().unwrap_or("none given");
            tracing::error!(
                request = self.id.as_str(),
                cause,
                "not served: {}",
                error.message()
            );
        }
        let error = match &self.rdb_path {
            Some(path) => rdb::in_its_words(error, path),
            None => error,
        };
        error.render(self.id.as_str())
    }
}

/// Letters, digits and a few marks: nothing that a log or a shell could take for more than a name.
fn is_sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(allowed)
}
