//! For whoever watches Berth itself. Without a key: they show no names and no secrets.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::error::ApiError;
use super::json::Json;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(alive))
        .routes(routes!(ready))
        .routes(routes!(metrics))
}

/// Whether requests can be accepted and carried out.
#[derive(Serialize, ToSchema)]
struct Readiness {
    ready: bool,
    /// What is not there yet, in plain words.
    waiting_for: Vec<String>,
}

/// The process answers
#[utoipa::path(
    get, path = "/healthz", operation_id = "alive", tag = "berth", security(()),
    responses((status = 200, description = "It does.", body = String, content_type = "text/plain")),
)]
async fn alive() -> &'static str {
    "ok\n"
}

/// Requests can be accepted and carried out
#[utoipa::path(
    get, path = "/readyz", operation_id = "ready", tag = "berth", security(()),
    responses(
        (status = 200, description = "They can.", body = Readiness),
        (status = 503, description = "Not yet, or not now.", body = Readiness),
    ),
)]
async fn ready(State(api): State<Api>) -> Response {
    let waiting_for = api.control.waiting_for().await;
    let ready = waiting_for.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(Readiness { ready, waiting_for })).into_response()
}

/// Counts and times for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "berth", security(()),
    responses(
        (status = 200, description = "In the format OpenMetrics.", body = String, content_type = "application/openmetrics-text"),
    ),
)]
async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let text = api.metrics.encode()?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
