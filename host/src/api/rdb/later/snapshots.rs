//! Snapshots of volumes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::later;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::api::rdb::body::Body;
use crate::api::rdb::later::high_availability;
use crate::api::rdb::query::Query;
use crate::api::rdb::scope::{InRegion, OfInstance, Scope};
use crate::api::rdb::wire::instance::Instance;
use crate::api::rdb::wire::later::{Snapshot, Snapshots};
use crate::api::rdb::wire::requests::{
    CreateSnapshot, InstanceFromSnapshot, Paging, SnapshotFilters, UpdateDated,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list))
        .routes(routes!(show, update, destroy))
        .routes(routes!(create_instance))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes: there is none yet")]
struct OfSnapshot {
    /// The snapshot.
    snapshot_id: Uuid,
}

/// Create a snapshot
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/snapshots", operation_id = "rdb_create_snapshot", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = CreateSnapshot, content_type = "application/json"),
    responses((status = 200, description = "The snapshot.", body = Snapshot)),
)]
async fn create(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    body.required("name");
    body.moment("expires_at");
    later("rdb_create_snapshot", body)
}

/// List snapshots
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/snapshots", operation_id = "rdb_list_snapshots", tag = "rdb",
    params(InRegion, SnapshotFilters, Paging),
    responses((status = 200, description = "There are none yet.", body = Snapshots)),
)]
async fn list(_: Scope, mut query: Query) -> ApiResult<Response> {
    query.text("name");
    query.id("instance_id");
    query.id("organization_id");
    query.id("project_id");
    query.order(&ORDERS);
    query.page();
    query.finish()?;
    Ok(Json(Snapshots::default()).into_response())
}

/// Read a snapshot
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/snapshots/{snapshot_id}", operation_id = "rdb_get_snapshot", tag = "rdb",
    params(InRegion, OfSnapshot),
    responses((status = 200, description = "The snapshot.", body = Snapshot)),
)]
async fn show(_: Scope) -> ApiResult<Response> {
    later("rdb_get_snapshot", Body::default())
}

/// Change a snapshot
#[utoipa::path(
    patch, path = "/rdb/v1/regions/{region}/snapshots/{snapshot_id}", operation_id = "rdb_update_snapshot", tag = "rdb",
    params(InRegion, OfSnapshot),
    request_body(content = UpdateDated, content_type = "application/json"),
    responses((status = 200, description = "The snapshot.", body = Snapshot)),
)]
async fn update(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.text("name");
    body.moment("expires_at");
    later("rdb_update_snapshot", body)
}

/// Delete a snapshot
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/snapshots/{snapshot_id}", operation_id = "rdb_delete_snapshot", tag = "rdb",
    params(InRegion, OfSnapshot),
    responses((status = 200, description = "The snapshot.", body = Snapshot)),
)]
async fn destroy(_: Scope) -> ApiResult<Response> {
    later("rdb_delete_snapshot", Body::default())
}

/// Create an instance from a snapshot
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/snapshots/{snapshot_id}/create-instance", operation_id = "rdb_create_instance_from_snapshot", tag = "rdb",
    params(InRegion, OfSnapshot),
    request_body(content = InstanceFromSnapshot, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn create_instance(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.required("instance_name");
    body.text("node_type");
    high_availability(&mut body);
    later("rdb_create_instance_from_snapshot", body)
}

const ORDERS: [(&str, ()); 6] = [
    ("created_at_asc", ()),
    ("created_at_desc", ()),
    ("name_asc", ()),
    ("name_desc", ()),
    ("expires_at_asc", ()),
    ("expires_at_desc", ()),
];
