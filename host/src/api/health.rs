//! For whoever watches Berth itself. Without a key: they show no names and no secrets.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Api;
use super::error::ApiError;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Serialize)]
struct Readiness {
    ready: bool,
    /// What is not there yet, in plain words.
    waiting_for: Vec<String>,
}

/// The process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// Requests can be accepted and carried out.
pub async fn ready(State(api): State<Api>) -> Response {
    let waiting_for = api.control.waiting_for().await;
    let ready = waiting_for.is_empty();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(Readiness { ready, waiting_for })).into_response()
}

pub async fn metrics(State(api): State<Api>) -> Result<Response, ApiError> {
    let text = api.metrics.encode()?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
