//! What users may do in logical databases, as the engine says and shall say.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::query::Query;
use super::scope::{About, InRegion, OfInstance, Scope};
use super::wire::requests::{Paging, PrivilegeFilters, SetPrivilege};
use super::wire::{Privilege, Privileges};
use crate::api::Api;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::user::{self, Permission};
use crate::service::PrivilegeQuery;

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list, set))
}

type Compare = fn(&user::Privilege, &user::Privilege) -> std::cmp::Ordering;

const ORDERS: [(&str, Compare); 4] = [
    ("user_name_asc", |a, b| by_user(a).cmp(&by_user(b))),
    ("user_name_desc", |a, b| by_user(b).cmp(&by_user(a))),
    ("database_name_asc", |a, b| {
        by_database(a).cmp(&by_database(b))
    }),
    ("database_name_desc", |a, b| {
        by_database(b).cmp(&by_database(a))
    }),
];

const PERMISSIONS: [(&str, Permission); 5] = [
    ("readonly", Permission::Readonly),
    ("readwrite", Permission::Readwrite),
    ("all", Permission::All),
    // Refused further down, where it is said why.
    ("custom", Permission::Custom),
    ("none", Permission::None),
];

/// List privileges
///
/// As they are now, however they came to be.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}/privileges", operation_id = "rdb_list_privileges",
    tag = "rdb",
    params(InRegion, OfInstance, PrivilegeFilters, Paging),
    responses((status = 200, description = "The privileges.", body = Privileges)),
)]
async fn list(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut query: Query,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let wanted = PrivilegeQuery {
        user: query.text("user_name"),
        database: query.text("database_name"),
    };
    let (order, page) = (query.order(&ORDERS), query.page());
    query.finish()?;
    let about = About::new(&api, &instance);
    let (caller, which) = (&scope.caller, about.which());
    let found = api.control.list_privileges(caller, &which, &wanted).await;
    let mut privileges = found.map_err(|error| about.refused(error))?;
    if let Some(order) = order {
        privileges.sort_by(order);
    }
    let total_count = privileges.len();
    let privileges = page.of(privileges).into_iter().map(Privilege::from);
    let privileges = privileges.collect();
    Ok(Json(Privileges {
        privileges,
        total_count,
    })
    .into_response())
}

/// Set a privilege
///
/// It holds for what is there and for what is made later.
#[utoipa::path(
    put, path = "/rdb/v1/regions/{region}/instances/{instance_id}/privileges", operation_id = "rdb_set_privilege",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = SetPrivilege, content_type = "application/json"),
    responses((status = 200, description = "The privilege.", body = Privilege)),
)]
async fn set(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    mut body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let wanted = user::Privilege {
        database: body.required("database_name").unwrap_or_default(),
        user: body.required("user_name").unwrap_or_default(),
        permission: body
            .choice("permission", &PERMISSIONS)
            .unwrap_or(Permission::Readonly),
    };
    body.finish()?;
    let about = About::new(&api, &instance);
    let named = format!("{} in {}", wanted.user, wanted.database);
    let (caller, which) = (&scope.caller, about.which());
    let set = api.control.set_privilege(caller, &which, wanted).await;
    let privilege = set.map_err(|error| about.refused_of(error, "privilege", &named))?;
    Ok(Json(Privilege::from(privilege)).into_response())
}

fn by_user(privilege: &user::Privilege) -> (&str, &str) {
    (&privilege.user, &privilege.database)
}

fn by_database(privilege: &user::Privilege) -> (&str, &str) {
    (&privilege.database, &privilege.user)
}
