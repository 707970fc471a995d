//! Instances: listed, made, read, restarted, deleted.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::Body;
use super::creation;
use super::engines::Titles;
use super::query::{Page, Query};
use super::scope::{About, InRegion, OfInstance, Scope};
use super::status;
use super::wire::instance::{Instance, Instances};
use super::wire::requests::{CreateInstance, InstanceFilters, Nothing, Paging};
use crate::api::Api;
use crate::api::edge::began;
use crate::api::error::ApiResult;
use crate::api::input::Path;
use crate::api::json::Json;
use crate::model::{self, ProjectId};
use crate::service::{InstanceQuery, InstanceRef, Order, OrderBy};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, destroy))
        .routes(routes!(restart))
}

/// In what order a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    By(OrderBy, bool),
    /// What health decides about too, which the read model does not know.
    Status {
        descending: bool,
    },
}

const ORDERS: [(&str, Sort); 7] = [
    ("created_at_asc", Sort::By(OrderBy::CreatedAt, false)),
    ("created_at_desc", Sort::By(OrderBy::CreatedAt, true)),
    ("name_asc", Sort::By(OrderBy::Name, false)),
    ("name_desc", Sort::By(OrderBy::Name, true)),
    ("region", Sort::By(OrderBy::Region, false)),
    ("status_asc", Sort::Status { descending: false }),
    ("status_desc", Sort::Status { descending: true }),
];

/// List instances
///
/// Those of the region that the key may see.
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances", operation_id = "rdb_list_instances", tag = "rdb",
    params(InRegion, InstanceFilters, Paging),
    responses((status = 200, description = "The instances.", body = Instances)),
)]
async fn list(State(api): State<Api>, scope: Scope, mut query: Query) -> ApiResult<Response> {
    let filters = filters(&mut query, &api, &scope);
    let page = query.page();
    query.finish()?;
    let (items, total_count) = match filters {
        Some((sort, query)) => sorted(&api, &scope, query, sort, page),
        None => (Vec::new(), 0),
    };
    let titles = Titles::now(&api.control);
    let shown = items.iter();
    let shown = shown.filter_map(|instance| Instance::of(instance, &api.control, &titles));
    let instances = shown.collect();
    Ok(Json(Instances {
        instances,
        total_count,
    })
    .into_response())
}

/// Create an instance
///
/// Answers as soon as the request is recorded; what was answered is carried out, whatever happens to the host.
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances", operation_id = "rdb_create_instance", tag = "rdb",
    params(InRegion),
    request_body(content = CreateInstance, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn create(State(api): State<Api>, scope: Scope, body: Body) -> ApiResult<Response> {
    let titles = Titles::now(&api.control);
    let created = creation::create(&api, scope, body, &titles).await?;
    shown(&created, &api)
}

/// Read an instance
#[utoipa::path(
    get, path = "/rdb/v1/regions/{region}/instances/{instance_id}", operation_id = "rdb_get_instance", tag = "rdb",
    params(InRegion, OfInstance),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn show(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    shown(&instance, &api)
}

/// Delete an instance
///
/// Its data is gone for good. Until it is, it can be read, as `deleting`.
#[utoipa::path(
    delete, path = "/rdb/v1/regions/{region}/instances/{instance_id}", operation_id = "rdb_delete_instance",
    tag = "rdb",
    params(InRegion, OfInstance),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn destroy(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    let about = About::new(&api, &instance);
    let which = InstanceRef::Id(instance.id);
    let begun = api.control.delete_instance(&scope.caller, &which).await;
    let begun = begun.map_err(|error| about.refused(error))?;
    shown(&begun, &api)
}

/// Restart an instance
#[utoipa::path(
    post, path = "/rdb/v1/regions/{region}/instances/{instance_id}/restart", operation_id = "rdb_restart_instance",
    tag = "rdb",
    params(InRegion, OfInstance),
    request_body(content = Nothing, content_type = "application/json"),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn restart(
    State(api): State<Api>,
    scope: Scope,
    Path(of): Path<OfInstance>,
    body: Body,
) -> ApiResult<Response> {
    let instance = scope.instance(&api, &of.instance_id)?;
    body.finish()?;
    let about = About::new(&api, &instance);
    let which = InstanceRef::Id(instance.id);
    let begun = api.control.restart_instance(&scope.caller, &which).await;
    let begun = begun.map_err(|error| about.refused(error))?;
    shown(&begun, &api)
}

/// The instance as it now is, with the operation that it is held by.
pub fn shown(instance: &model::Instance, api: &Api) -> ApiResult<Response> {
    let titles = Titles::now(&api.control);
    match Instance::of(instance, &api.control, &titles) {
        Some(body) => Ok(began(instance.operation, Json(body))),
        None => Err(super::errors::Refusal::NotFound(super::errors::Named::new(
            "instance",
            instance.id.to_string(),
        ))
        .into()),
    }
}

/// None when nothing can fit.
fn filters(query: &mut Query, api: &Api, scope: &Scope) -> Option<(Sort, InstanceQuery)> {
    let sort = query.order(&ORDERS);
    let organization = query.id("organization_id");
    let projects = organization.map(|organization| {
        let projects = api.control.catalogue().projects.iter();
        let its = projects.filter(|project| project.organization == organization);
        its.map(|project| project.id).collect()
    });
    let wanted = InstanceQuery {
        project: query.id("project_id").map(ProjectId),
        projects,
        region: Some(scope.region.clone()),
        name_contains: query.text("name"),
        tags: query.texts("tags"),
        ..InstanceQuery::default()
    };
    // There are no maintenances.
    let none = query.boolean("has_maintenances") == Some(true);
    sort.filter(|_| !none).map(|sort| (sort, wanted))
}

/// A page of what fits, and how many fit.
fn sorted(
    api: &Api,
    scope: &Scope,
    mut query: InstanceQuery,
    sort: Sort,
    page: Page,
) -> (Vec<std::sync::Arc<model::Instance>>, usize) {
    match sort {
        Sort::By(by, descending) => {
            query.order = Order { by, descending };
            query.skip = page.skip;
            query.limit = Some(page.size);
            let found = api.control.page_of_instances(&scope.caller, query);
            (found.items, found.total)
        }
        Sort::Status { descending } => {
            let mut items = api.control.page_of_instances(&scope.caller, query).items;
            let health = api.control.health();
            // Equals stay in the order of their creation, so that pages fit together.
            items.sort_by_cached_key(|one| status::of(one, health.get(one.id).as_ref()));
            if descending {
                items.reverse();
            }
            let total = items.len();
            (page.of(items), total)
        }
    }
}
