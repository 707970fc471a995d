//! Backups of logical databases.

use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::later;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::json::Json;
use crate::api::rdb::body::Body;
use crate::api::rdb::query::Query;
use crate::api::rdb::scope::{InRegion, Scope};
use crate::api::rdb::wire::later::{DatabaseBackup, DatabaseBackups};
use crate::api::rdb::wire::requests::{
    BackupFilters, CreateBackup, Nothing, Paging, RestoreBackup, UpdateDated,
};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, destroy))
        .routes(routes!(export))
        .routes(routes!(restore))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes: there is none yet")]
struct OfBackup {
    /// The backup.
    database_backup_id: Uuid,
}

/// List backups
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/backups", operation_id = "rdb_list_database_backups", tag = "rdb",
    params(InRegion, BackupFilters, Paging),
    responses((status = 200, description = "There are none yet.", body = DatabaseBackups)),
)]
async fn list(_: Scope, mut query: Query) -> ApiResult<Response> {
    query.text("name");
    query.id("instance_id");
    query.id("organization_id");
    query.id("project_id");
    query.order(&ORDERS);
    query.page();
    query.finish()?;
    Ok(Json(DatabaseBackups::default()).into_response())
}

/// Create a backup
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/backups", operation_id = "rdb_create_database_backup", tag = "rdb",
    params(InRegion),
    request_body(content = CreateBackup, content_type = "application/json"),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn create(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.required_id("instance_id");
    body.required("database_name");
    body.text("name");
    body.moment("expires_at");
    later("rdb_create_database_backup", body)
}

/// Read a backup
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/backups/{database_backup_id}", operation_id = "rdb_get_database_backup", tag = "rdb",
    params(InRegion, OfBackup),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn show(_: Scope) -> ApiResult<Response> {
    later("rdb_get_database_backup", Body::default())
}

/// Change a backup
#[utoipa::path(
    patch, path = "/rdb/v1/regions/{region}/backups/{database_backup_id}", operation_id = "rdb_update_database_backup", tag = "rdb",
    params(InRegion, OfBackup),
    request_body(content = UpdateDated, content_type = "application/json"),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn update(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.text("name");
    body.moment("expires_at");
    later("rdb_update_database_backup", body)
}

/// Delete a backup
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/backups/{database_backup_id}", operation_id = "rdb_delete_database_backup", tag = "rdb",
    params(InRegion, OfBackup),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn destroy(_: Scope) -> ApiResult<Response> {
    later("rdb_delete_database_backup", Body::default())
}

/// Export a backup
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/backups/{database_backup_id}/export", operation_id = "rdb_export_database_backup", tag = "rdb",
    params(InRegion, OfBackup),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn export(_: Scope, body: Body) -> ApiResult<Response> {
    later("rdb_export_database_backup", body)
}

/// Restore a backup
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/backups/{database_backup_id}/restore", operation_id = "rdb_restore_database_backup", tag = "rdb",
    params(InRegion, OfBackup),
    request_body(content = RestoreBackup, content_type = "application/json"),
    responses((status = 200, description = "The backup.", body = DatabaseBackup)),
)]
async fn restore(_: Scope, mut body: Body) -> ApiResult<Response> {
    body.required_id("instance_id");
    body.text("database_name");
    later("rdb_restore_database_backup", body)
}

const ORDERS: [(&str, ()); 6] = [
    ("created_at_asc", ()),
    ("created_at_desc", ()),
    ("name_asc", ()),
    ("name_desc", ()),
    ("status_asc", ()),
    ("status_desc", ()),
];
