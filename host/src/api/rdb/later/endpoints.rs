//! Endpoints that are made, moved and removed.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::later;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::rdb::body::Body;
use crate::api::rdb::catalogue::{OfEndpoint, endpoint};
use crate::api::rdb::later::endpoint_spec;
use crate::api::rdb::scope::{InRegion, OfInstance, Scope};
use crate::api::rdb::wire::instance::Endpoint;
use crate::api::rdb::wire::requests::{CreateEndpoint, MigrateEndpoint};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(destroy))
        .routes(routes!(migrate))
        .routes(routes!(create))
}

/// Delete an endpoint
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/endpoints/{endpoint_id}", operation_id = "rdb_delete_endpoint", tag = "rdb",
    params(InRegion, OfEndpoint),
    responses((status = 204, description = "It is done.")),
)]
async fn destroy(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfEndpoint>,
) -> ApiResult<Response> {
    endpoint(&api, &scope, &of)?;
    later("rdb_delete_endpoint", Body::default())
}

/// Move an endpoint
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/endpoints/{endpoint_id}/migrate", operation_id = "rdb_migrate_endpoint", tag = "rdb",
    params(InRegion, OfEndpoint),
    request_body(content = MigrateEndpoint, content_type = "application/json"),
    responses((status = 200, description = "The endpoint.", body = Endpoint)),
)]
async fn migrate(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfEndpoint>,
    mut body: Body,
) -> ApiResult<Response> {
    endpoint(&api, &scope, &of)?;
    body.required_id("instance_id");
    later("rdb_migrate_endpoint", body)
}

/// Create an endpoint
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/endpoints", operation_id = "rdb_create_endpoint", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = CreateEndpoint, content_type = "application/json"),
    responses((status = 200, description = "The endpoint.", body = Endpoint)),
)]
async fn create(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    if let Some(mut spec) = body.object("endpoint_spec") {
        endpoint_spec(&mut spec, "load_balancer");
        body.close(spec);
    }
    later("rdb_create_endpoint", body)
}
