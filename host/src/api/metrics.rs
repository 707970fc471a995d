//! Counts and times for Prometheus. What is counted lives here; what is read at the moment of asking is taken
//! from the control plane then.

mod calls;
mod now;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::callers::Met;
use crate::model::{Operation, Result};
use crate::service::Control;
pub use calls::Calls;
use now::Now;

/// Upper bounds in seconds: from a read out of memory to a request that waits for a server.
const BUCKETS: [f64; 12] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5, 10.0,
];

/// The same for work that goes on in the background.
const LONG_BUCKETS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

pub struct Metrics {
    pub http: Http,
    registry: Registry,
}

/// Requests by route.
#[derive(Clone)]
pub struct Http {
    requests: Family<Answered, Counter>,
    seconds: Family<Asked, Histogram>,
    refused: Family<Refused, Counter>,
}

/// Operations that have ended in this process.
#[derive(Clone)]
pub struct Operations {
    ended: Family<Ended, Counter>,
    seconds: Family<Ended, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: Route,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: Route,
}

/// The pattern that matched, never a path: a path has no end of values.
#[derive(Clone, Debug)]
pub struct Route(Option<MatchedPath>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    limit: &'static str,
}

/// What is told from elsewhere as it happens, and so is there before there is anything to ask. Clones are the same.
#[derive(Clone, Default)]
pub struct Counters {
    pub operations: Operations,
    pub calls: Calls,
    /// Connections of clients that are open.
    pub connections: Gauge,
}

impl Metrics {
    pub fn new(control: Control, counters: Counters) -> Self {
        let mut registry = Registry::with_prefix("berth");
        let http = Http {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            refused: Family::default(),
        };
        registry.register("http_requests", "Requests answered", http.requests.clone());
        registry.register(
            "http_request_seconds",
            "Time from a request to its answer",
            http.seconds.clone(),
        );
        registry.register(
            "http_requests_refused",
            "Requests that were turned away because of a limit on their caller",
            http.refused.clone(),
        );
        registry.register(
            "http_connections",
            "Connections of clients that are open",
            counters.connections.clone(),
        );
        let ended = counters.operations.ended.clone();
        registry.register("operations", "Operations that have ended", ended);
        registry.register(
            "operation_seconds",
            "Time from the request for an operation to its end",
            counters.operations.seconds.clone(),
        );
        counters.calls.register(&mut registry);
        registry.register_collector(Box::new(Now(control)));
        Self { http, registry }
    }

    pub fn encode(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)
            .map_err(crate::model::Error::internal)?;
        Ok(text)
    }
}

impl Http {
    pub fn count(&self, method: &Method, route: Route, status: StatusCode, took: Duration) {
        let method = known(method);
        let answered = Answered {
            method,
            route: route.clone(),
            status: status.as_u16(),
        };
        let asked = Asked { method, route };
        self.requests.get_or_create(&answered).inc();
        self.seconds
            .get_or_create(&asked)
            .observe(took.as_secs_f64());
    }

    pub fn count_refused(&self, met: Met) {
        let limit = met.as_str();
        self.refused.get_or_create(&Refused { limit }).inc();
    }
}

impl Route {
    pub fn of(request: &Request) -> Self {
        Self(request.extensions().get::<MatchedPath>().cloned())
    }

    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("unmatched", MatchedPath::as_str)
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Route {}

impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl EncodeLabelValue for Route {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        EncodeLabelValue::encode(&self.as_str(), encoder)
    }
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            ended: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(LONG_BUCKETS)),
        }
    }
}

impl Operations {
    pub fn count(&self, operation: &Operation) {
        let labels = Ended {
            kind: operation.kind.as_str(),
            outcome: operation.status.as_str(),
        };
        let ended = operation.finished_at.unwrap_or(operation.updated_at);
        let took = ended.duration_since(operation.created_at).as_secs_f64();
        self.ended.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(took);
    }
}

/// Anybody may send any word as a method.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
