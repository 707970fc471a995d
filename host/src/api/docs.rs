//! `/docs`: a page for people, to read the APIs' document and to try it. All of it comes out of the binary: it loads
//! nothing from elsewhere and can send nothing elsewhere, and a key that is entered stays in the page's memory.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::Api;
use super::error::{ApiError, ApiResult};
use super::input::Path;
use crate::model::Error;

const PAGE: &str = include_str!("../../data/docs/index.html");
const START: &str = include_str!("../../data/docs/start.js");
/// Of everything that the library carries, the page needs these.
const FROM_THE_LIBRARY: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];
/// The library sets styles from its script, and its style sheet holds small pictures.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const GUARDS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/docs", get(page))
        .route("/docs/{file}", get(file))
}

async fn page() -> Response {
    guarded("text/html; charset=utf-8", PAGE.as_bytes().into())
}

async fn file(Path(name): Path<String>) -> ApiResult<Response> {
    if name == "start.js" {
        return Ok(guarded(
            "text/javascript; charset=utf-8",
            START.as_bytes().into(),
        ));
    }
    if !FROM_THE_LIBRARY.contains(&name.as_str()) {
        return Err(nowhere());
    }
    let found = utoipa_swagger_ui::serve(&name, Arc::new(Config::default()));
    let found = found.map_err(|error| Error::internal(error.to_string()))?;
    let found = found.ok_or_else(nowhere)?;
    let mut response = guarded(&found.content_type, found.bytes);
    if found.gzpipped {
        let gzip = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, gzip);
    }
    Ok(response)
}

fn guarded(content_type: &str, body: Cow<'static, [u8]>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.extend(GUARDS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    response
}

fn nowhere() -> ApiError {
    Error::not_found("there is no such file").into()
}
