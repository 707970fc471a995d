//! The document that describes the APIs, `/openapi.json`. It is put together from the handlers and the wire types
//! themselves; what all operations have in common is added in one place (`common`).
//!
//! Readable without a key: it says what can be asked of any Berth of this version, and nothing about this one.

mod common;

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::error::Body;
use super::rdb::ErrorBody;

/// The same bytes for every start of a build.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// What does not belong to one operation.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth",
        version = env!("CARGO_PKG_VERSION"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
        description = "\
Ask for databases, get connection strings.

Every answer carries `X-Request-Id`: the caller's own, when the request has one of 1 to 128 letters, digits, `-`, `_`, `.` \
and `:`, or a new one. Every error has the same body, `Error`; what is wrong with a request is told for all of its fields at \
once, and nothing is changed by a request that is refused. A `GET` can also be asked as `HEAD`. A method that a path does \
not have is answered with 405 and `Allow`, a path that is not there with 404. Unknown fields and parameters are refused.",
    ),
    security(("bearer" = []), ("token" = [])),
    modifiers(&Keys),
    components(schemas(Body, ErrorBody)),
    tags(
        (name = "databases", description = "What every key may ask for, about the databases of its project."),
        (name = "rdb", description = "The same databases as another service's clients know them, as they are. Errors have \
bodies of their own, `rdb.Error`, and what a request leaves unset may be null."),
        (name = "admin", description = "For operators: needs an admin key."),
        (name = "berth", description = "About Berth itself. Needs no key."),
    ),
)]
struct Base;

struct Keys;

impl Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("An API key: `Authorization: Bearer KEY`."))
            .build();
        let token =
            ApiKeyValue::with_description("X-Auth-Token", "An API key, in a header of its own.");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("token", SecurityScheme::ApiKey(ApiKey::Header(token)));
    }
}

pub fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(show))
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "describe", tag = "berth", security(()),
    responses((status = 200, description = "It.", body = Object, content_type = "application/json")),
)]
async fn show() -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (json, DOCUMENT.clone()).into_response()
}

fn document() -> Value {
    let described = super::described().into_openapi();
    // Maps with texts as keys can always be written.
    let mut document = serde_json::to_value(described).unwrap_or_default();
    common::complete(&mut document);
    document
}

#[cfg(test)]
mod tests;
