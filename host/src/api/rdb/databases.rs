//! Logical databases of an instance. They live in its engine, as its users do.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::done;
use super::query::Query;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::requests::{CreateDatabase, DatabaseFilters, Paging};
use super::wire::{Database, Databases};
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::user::LogicalDatabase;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(destroy))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct OfDatabase {
    /// The instance.
    #[param(format = "uuid")]
    instance_id: String,
    /// The database.
    name: String,
}

type Compare = fn(&LogicalDatabase, &LogicalDatabase) -> std::cmp::Ordering;

const ORDERS: [(&str, Compare); 4] = [
    ("name_asc", |a, b| a.name.cmp(&b.name)),
    ("name_desc", |a, b| b.name.cmp(&a.name)),
    ("size_asc", |a, b| {
        (a.size_bytes, &a.name).cmp(&(b.size_bytes, &b.name))
    }),
    ("size_desc", |a, b| {
        (b.size_bytes, &b.name).cmp(&(a.size_bytes, &a.name))
    }),
];

/// List databases
///
/// Those that were made here are `managed`; those made in the engine's own language are not, and can be read here.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/databases", operation_id = "rdb_list_databases",
    tag = "rdb",
    params(InRegion, OfInstance, DatabaseFilters, Paging),
    responses((status = 200, description = "The databases.", body = Databases)),
)]
async fn list(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let (name, owner) = (query.text("name"), query.text("owner"));
    let managed = query.boolean("managed");
    let sizes = query.boolean("skip_size_retrieval") != Some(true);
    let (order, page) = (query.order(&ORDERS), query.page());
    query.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let found = api.control.list_databases(caller, &which, sizes).await;
    let mut databases = found.map_err(|error| about.refused(error))?;
    databases.retain(|database| {
        name.as_ref().is_none_or(|name| *name == database.name)
            && owner.as_ref().is_none_or(|owner| *owner == database.owner)
            && managed.is_none_or(|managed| managed == database.managed)
    });
    if let Some(order) = order {
        databases.sort_by(order);
    }
    let total_count = databases.len();
    let databases = page.of(databases).into_iter().map(Database::from);
    let databases = databases.collect();
    Ok(Json(Databases {
        databases,
        total_count,
    })
    .into_response())
}

/// Create a database
///
/// Nobody but admins can use it before privileges on it are set.
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/databases", operation_id = "rdb_create_database",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = CreateDatabase, content_type = "application/json"),
    responses((status = 200, description = "The database.", body = Database)),
)]
async fn create(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let name = body.required("name").unwrap_or_default();
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let made = api
        .control
        .create_database(caller, &which, name.clone())
        .await;
    let database = made.map_err(|error| about.refused_of(error, "database", &name))?;
    Ok(Json(Database::from(database)).into_response())
}

/// Delete a database
///
/// With all that is in it. Sessions in it are ended.
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/instances/{instance_id}/databases/{name}",
    operation_id = "rdb_delete_database", tag = "rdb",
    params(InRegion, OfDatabase),
    responses((status = 204, description = "It is gone.")),
)]
async fn destroy(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfDatabase>,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let gone = api
        .control
        .delete_database(caller, &which, of.name.clone())
        .await;
    gone.map_err(|error| about.refused_of(error, "database", &of.name))?;
    Ok(done(None))
}
