//! Settings that an instance's engine runs with. A change is an operation: the instance is `configuring` meanwhile.

use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::Settings;
use super::wire::requests::{DeleteSettings, SetSettings};
use crate::api::Api;
use crate::api::edge::began;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::setting;
use crate::service::SettingsChange;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(add, set, remove))
}

/// Add settings
///
/// Or give them other values. Answers all that are chosen.
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/settings",
    operation_id = "rdb_add_instance_settings", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = SetSettings, content_type = "application/json"),
    responses((status = 200, description = "All settings that are chosen.", body = Settings)),
)]
async fn add(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| {
        SettingsChange::Add(chosen(body, "settings"))
    })
    .await
}

/// Set settings
///
/// These and no others.
#[utoipa::path(
    put, path = "/rdb/v1/regions/{region}/instances/{instance_id}/settings",
    operation_id = "rdb_set_instance_settings", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = SetSettings, content_type = "application/json"),
    responses((status = 200, description = "All settings that are chosen.", body = Settings)),
)]
async fn set(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| {
        SettingsChange::Set(chosen(body, "settings"))
    })
    .await
}

/// Delete settings
///
/// Back to what holds without a choice.
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/instances/{instance_id}/settings",
    operation_id = "rdb_delete_instance_settings", tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = DeleteSettings, content_type = "application/json"),
    responses((status = 200, description = "All settings that are chosen.", body = Settings)),
)]
async fn remove(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    change(api, scope, &of, body, |body| {
        SettingsChange::Delete(body.required_texts("setting_names").unwrap_or_default())
    })
    .await
}

/// Settings with their values, out of a list of the body's.
pub fn chosen(body: &mut Body, name: &str) -> setting::Settings {
    read(body, name, true)
}

/// The same; there need not be a list.
pub fn chosen_if_any(body: &mut Body, name: &str) -> setting::Settings {
    read(body, name, false)
}

fn read(body: &mut Body, name: &str, required: bool) -> setting::Settings {
    let items = if required {
        body.required_objects(name)
    } else {
        body.objects(name)
    };
    let mut settings = setting::Settings::new();
    for mut item in items.unwrap_or_default() {
        if let (Some(name), Some(value)) = (item.required("name"), item.required("value")) {
            settings.push((name, value));
        }
        body.close(item);
    }
    settings
}

async fn change(
    api: Api,
    scope: Scope,
    of: &OfInstance,
    mut body: Body,
    wanted: impl FnOnce(&mut Body) -> SettingsChange,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let change = wanted(&mut body);
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let changed = api.control.change_settings(caller, &which, change).await;
    let (instance, settings) = changed.map_err(|error| about.refused(error))?;
    let body = Json(Settings::of(&settings));
    Ok(began(instance.operation, body))
}
