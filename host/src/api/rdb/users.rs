//! Users of an instance. They live in its engine: each of these asks it, and is answered when it is done.

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
use super::wire::requests::{CreateUser, Paging, UpdateUser, UserFilters};
use super::wire::{User, Users};
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::Secret;
use crate::model::user::{self, UserChange};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(update, destroy))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct OfUser {
    /// The instance.
    #[param(format = "uuid")]
    instance_id: String,
    /// The user.
    name: String,
}

type Compare = fn(&user::User, &user::User) -> std::cmp::Ordering;

const ORDERS: [(&str, Compare); 4] = [
    ("name_asc", |a, b| a.name.cmp(&b.name)),
    ("name_desc", |a, b| b.name.cmp(&a.name)),
    ("is_admin_asc", |a, b| {
        (a.admin, &a.name).cmp(&(b.admin, &b.name))
    }),
    ("is_admin_desc", |a, b| {
        (b.admin, &b.name).cmp(&(a.admin, &a.name))
    }),
];

/// List users
///
/// Those who can log in, however they were made.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/users", operation_id = "rdb_list_users", tag = "rdb",
    params(InRegion, OfInstance, UserFilters, Paging),
    responses((status = 200, description = "The users.", body = Users)),
)]
async fn list(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let (name, order, page) = (query.text("name"), query.order(&ORDERS), query.page());
    query.finish()?;
    let about = About::new(&api, &instance);
    let users = api.control.list_users(&scope.caller, &about.which()).await;
    let mut users = users.map_err(|error| about.refused(error))?;
    users.retain(|user| name.as_ref().is_none_or(|name| *name == user.name));
    if let Some(order) = order {
        users.sort_by(order);
    }
    let total_count = users.len();
    let users = page.of(users).into_iter().map(User::from).collect();
    Ok(Json(Users { users, total_count }).into_response())
}

/// Create a user
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/users", operation_id = "rdb_create_user",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = CreateUser, content_type = "application/json"),
    responses((status = 200, description = "The user.", body = User)),
)]
async fn create(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let name = body.required("name").unwrap_or_default();
    let password = Secret::new(body.required("password").unwrap_or_default());
    let admin = body.boolean("is_admin").unwrap_or(false);
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let made = api
        .control
        .create_user(caller, &which, name.clone(), password, admin);
    let made = made.await;
    let user = made.map_err(|error| about.refused_of(error, "user", &name))?;
    Ok(Json(User::from(user)).into_response())
}

/// Change a user
///
/// Sessions that are open stay open.
#[utoipa::path(
    patch, path = "/rdb/v1/regions/{region}/instances/{instance_id}/users/{name}", operation_id = "rdb_update_user",
    tag = "rdb",
    params(InRegion, OfUser),
    request_body(content = UpdateUser, content_type = "application/json"),
    responses((status = 200, description = "The user.", body = User)),
)]
async fn update(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfUser>,
    mut body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let change = UserChange {
        password: body.text("password").map(Secret::new),
        admin: body.boolean("is_admin"),
    };
    body.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let changed = api
        .control
        .change_user(caller, &which, of.name.clone(), change)
        .await;
    let user = changed.map_err(|error| about.refused_of(error, "user", &of.name))?;
    Ok(Json(User::from(user)).into_response())
}

/// Delete a user
///
/// Its sessions are ended. What it owns in managed databases goes to their owner; what it owns elsewhere is in the way.
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/instances/{instance_id}/users/{name}", operation_id = "rdb_delete_user",
    tag = "rdb",
    params(InRegion, OfUser),
    responses((status = 204, description = "It is gone.")),
)]
async fn destroy(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfUser>,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let gone = api
        .control
        .delete_user(caller, &which, of.name.clone())
        .await;
    gone.map_err(|error| about.refused_of(error, "user", &of.name))?;
    Ok(done(None))
}
