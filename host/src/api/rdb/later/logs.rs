//! Logs of instances, to download.

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
use crate::api::rdb::query::Query;
use crate::api::rdb::scope::{InRegion, OfInstance, Scope};
use crate::api::rdb::wire::later::{InstanceLog, InstanceLogs, InstanceLogsDetails};
use crate::api::rdb::wire::requests::{LogFilters, PrepareLogs, PurgeLogs};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(details))
        .routes(routes!(prepare))
        .routes(routes!(purge))
        .routes(routes!(show))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "it describes: there is none yet")]
struct OfLog {
    /// The log.
    instance_log_id: Uuid,
}

/// List logs
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/logs", operation_id = "rdb_list_instance_logs", tag = "rdb",
    params(InRegion, OfInstance, LogFilters),
    responses((status = 200, description = "There are none yet.", body = InstanceLogs)),
)]
async fn list(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    query.order(&[("created_at_asc", ()), ("created_at_desc", ())]);
    query.finish()?;
    Ok(Json(InstanceLogs::default()).into_response())
}

/// List what logs there are
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/logs-details", operation_id = "rdb_list_instance_logs_details", tag = "rdb",
    params(InRegion, OfInstance),
    responses((status = 200, description = "There are none yet.", body = InstanceLogsDetails)),
)]
async fn details(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    query: Query,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    query.finish()?;
    Ok(Json(InstanceLogsDetails::default()).into_response())
}

/// Prepare logs
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/prepare-logs", operation_id = "rdb_prepare_instance_logs", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = PrepareLogs, content_type = "application/json"),
    responses((status = 200, description = "The logs.", body = InstanceLogs)),
)]
async fn prepare(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    body.moment("start_date");
    body.moment("end_date");
    later("rdb_prepare_instance_logs", body)
}

/// Purge logs
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/purge-logs", operation_id = "rdb_purge_instance_logs", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = PurgeLogs, content_type = "application/json"),
    responses((status = 204, description = "It is done.")),
)]
async fn purge(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    scope.instance(&api, &of.instance_id)?;
    body.text("log_name");
    later("rdb_purge_instance_logs", body)
}

/// Read a log
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/logs/{instance_log_id}", operation_id = "rdb_get_instance_log", tag = "rdb",
    params(InRegion, OfLog),
    responses((status = 200, description = "The log.", body = InstanceLog)),
)]
async fn show(_: Scope) -> ApiResult<Response> {
    later("rdb_get_instance_log", Body::default())
}
