//! What an owner may change of an instance without anything happening to its servers.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::instances::shown;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::instance::Instance;
use super::wire::requests::UpdateInstance;
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::service::Patch;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(update))
}

/// Change an instance
///
/// What is left out or null stays as it is.
#[utoipa::path(
    patch, path = "/rdb/v1/regions/{region}/instances/{instance_id}", operation_id = "rdb_update_instance", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = UpdateInstance, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn update(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let patch = Patch {
        name: body.text("name"),
        tags: body.texts("tags"),
        backup_disabled: body.boolean("is_backup_schedule_disabled"),
        backup_frequency_hours: number(&mut body, "backup_schedule_frequency"),
        backup_retention_days: number(&mut body, "backup_schedule_retention"),
        backup_start_hour: number(&mut body, "backup_schedule_start_hour"),
        backup_same_region: body.boolean("backup_same_region"),
        ..logs(&mut body)
    };
    body.finish()?;
    let about = About::new(&api, &instance);
    let changed = api
        .control
        .patch_instance(&scope.caller, &about.which(), patch)
        .await;
    let changed = changed.map_err(|error| about.refused(error))?;
    shown(&changed, &api)
}

/// One that is too large stays too large: the core says so.
fn number(body: &mut Body, name: &str) -> Option<u32> {
    let number = body.whole(name)?;
    Some(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Clients write 0 for what they leave unset: the age stays as it is then, and the disk is without limit.
fn logs(body: &mut Body) -> Patch {
    let Some(mut logs) = body.object("logs_policy") else {
        return Patch::default();
    };
    let patch = Patch {
        log_days: number(&mut logs, "max_age_retention").filter(|days| *days > 0),
        log_bytes: logs
            .whole("total_disk_retention")
            .map(|bytes| Some(bytes).filter(|bytes| *bytes > 0)),
        ..Patch::default()
    };
    body.close(logs);
    patch
}
