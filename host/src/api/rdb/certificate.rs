//! What clients trust an instance by.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::done;
use super::query::Query;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::File;
use super::wire::requests::{CertificateForm, Nothing};
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;

const NAME: &str = "ssl_certificate";
const CONTENT_TYPE: &str = "application/x-pem-file";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(show))
        .routes(routes!(renew))
}

/// Read the certificate
///
/// Of the authority that signed the one of the instance's endpoints: as JSON, or with `dl=1` as a file.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/certificate",
    operation_id = "rdb_get_instance_certificate", tag = "rdb",
    params(InRegion, OfInstance, CertificateForm),
    responses(
        (status = 200, description = "The certificate.", content(
            (File = "application/json"),
            (String = "application/x-pem-file"),
        )),
    ),
)]
async fn show(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let raw = query.one("dl");
    if raw.as_ref().is_some_and(|raw| raw != "1") {
        query.refuse::<()>("dl", "is not 1", "1, or leave it out");
    }
    query.finish()?;
    let about = About::new(&api, &instance);
    let found = api.control.certificate(&scope.caller, &about.which()).await;
    let pem = found.map_err(|error| about.not_yet(error, "certificate"))?;
    if raw.is_some() {
        return Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], pem).into_response());
    }
    let file = File {
        name: NAME,
        content_type: CONTENT_TYPE,
        content: STANDARD.encode(pem),
    };
    Ok(Json(file).into_response())
}

/// Renew the certificate
///
/// Clients that trust the old one are refused once it is done.
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/renew-certificate",
    operation_id = "rdb_renew_instance_certificate", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 204, description = "It is recorded and will be done, whatever happens to the host.")),
)]
async fn renew(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let begun = api.control.renew_certificate(caller, &which).await;
    let begun = begun.map_err(|error| about.refused(error))?;
    Ok(done(begun.operation))
}
