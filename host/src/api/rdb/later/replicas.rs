//! Read replicas.

use axum::response::Response;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::later;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::rdb::body::Body;
use crate::api::rdb::later::endpoint_spec;
use crate::api::rdb::scope::{InRegion, Scope};
use crate::api::rdb::wire::instance::Instance;
use crate::api::rdb::wire::later::ReadReplica;
use crate::api::rdb::wire::requests::{CreateReadReplica, CreateReplicaEndpoint, Nothing};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(show, destroy))
        .routes(routes!(create_endpoint))
        .routes(routes!(reset))
        .routes(routes!(promote))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes: there is none yet")]
struct OfReplica {
    /// The read replica.
    read_replica_id: Uuid,
}

/// Create a read replica
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/read-replicas", operation_id = "rdb_create_read_replica", tag = "rdb",
    params(InRegion),
    request_body(content = CreateReadReplica, content_type = "application/json"),
    responses((status = 200, description = "The read replica.", body = ReadReplica)),
)]
async fn create(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.required_id("instance_id");
    body.boolean("same_zone");
    let specs = body.objects("endpoint_spec");
    endpoint_specs(&mut body, specs);
    later("rdb_create_read_replica", body)
}

/// Read a read replica
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/read-replicas/{read_replica_id}", operation_id = "rdb_get_read_replica", tag = "rdb",
    params(InRegion, OfReplica),
    responses((status = 200, description = "The read replica.", body = ReadReplica)),
)]
async fn show(_: Scope) -> ApiResult<Response> {
    later("rdb_get_read_replica", Body::default())
}

/// Delete a read replica
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/read-replicas/{read_replica_id}", operation_id = "rdb_delete_read_replica", tag = "rdb",
    params(InRegion, OfReplica),
    responses((status = 200, description = "The read replica.", body = ReadReplica)),
)]
async fn destroy(_: Scope) -> ApiResult<Response> {
    later("rdb_delete_read_replica", Body::default())
}

/// Create an endpoint of a read replica
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/read-replicas/{read_replica_id}/endpoints", operation_id = "rdb_create_read_replica_endpoint", tag = "rdb",
    params(InRegion, OfReplica),
    request_body(content = CreateReplicaEndpoint, content_type = "application/json"),
    responses((status = 200, description = "The read replica.", body = ReadReplica)),
)]
async fn create_endpoint(_: Scope, mut body: Body) -> ApiResult<Response> {
    let specs = body.required_objects("endpoint_spec");
    endpoint_specs(&mut body, specs);
    later("rdb_create_read_replica_endpoint", body)
}

/// Make a read replica anew
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/read-replicas/{read_replica_id}/reset", operation_id = "rdb_reset_read_replica", tag = "rdb",
    params(InRegion, OfReplica),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The read replica.", body = ReadReplica)),
)]
async fn reset(_: Scope, body: Body) -> ApiResult<Response> {
    later("rdb_reset_read_replica", body)
}

/// Make a read replica an instance
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/read-replicas/{read_replica_id}/promote", operation_id = "rdb_promote_read_replica", tag = "rdb",
    params(InRegion, OfReplica),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn promote(_: Scope, body: Body) -> ApiResult<Response> {
    later("rdb_promote_read_replica", body)
}

fn endpoint_specs(body: &mut Body, specs: Option<Vec<Body>>) {
    for mut spec in specs.unwrap_or_default() {
        endpoint_spec(&mut spec, "direct_access");
        body.close(spec);
    }
}
