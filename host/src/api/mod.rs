//! The REST APIs. A dialect owns its wire types, its names of fields and its statuses; what is common to all
//! stands beside them. Handlers take a request apart, ask the service, and render what it says.
//!
//! Never decides what is allowed, and never shows an error's cause.

mod admin;
mod auth;
mod callers;
mod databases;
mod docs;
mod edge;
mod error;
mod health;
mod held;
mod input;
mod json;
mod metrics;
mod openapi;
mod paging;
mod rdb;
mod unread;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use utoipa_axum::router::OpenApiRouter;

use crate::service::Control;
use callers::Callers;
pub use callers::{CallerLimits, Pace};
use error::ApiError;
pub use metrics::{Counters, Metrics};

/// What every handler shares. Clones are the same one; each request makes several.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

pub struct Shared {
    pub control: Control,
    pub metrics: Metrics,
    pub limits: Limits,
    callers: Callers,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub body_bytes: usize,
    pub request_timeout: Duration,
    /// For a client to send a whole body.
    pub body_timeout: Duration,
    pub callers: CallerLimits,
}

impl Api {
    pub fn new(control: Control, counters: Counters, limits: Limits) -> Self {
        Self(Arc::new(Shared {
            metrics: Metrics::new(control.clone(), counters),
            control,
            limits,
            callers: Callers::new(limits.callers),
        }))
    }

    /// All routes of Berth.
    pub fn router(self) -> Router {
        let (described, _) = described().split_for_parts();
        described
            .merge(docs::routes())
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(edge::Surround(self.clone()))
            .with_state(self)
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Every route with its description; only the page that shows the descriptions has none.
fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(databases::routes())
        .merge(rdb::routes())
        .merge(admin::routes())
        .merge(health::routes())
        .merge(openapi::routes())
}

async fn nowhere(uri: Uri) -> ApiError {
    let message = format!("there is nothing at {}", uri.path());
    ApiError::http(StatusCode::NOT_FOUND, "no_such_route", message)
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{} cannot be asked for {method}", uri.path());
    ApiError::http(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
