//! The operator's API, `/admin/v1`: operations, plugins, and instances with what stands behind them.

mod keys;
mod wire;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::auth::Admin;
use super::edge::began;
use super::error::ApiResult;
use super::input::{Params, Path};
use super::json::Json;
use super::paging;
use crate::model::{self, Error, OperationId};
use crate::service::InstanceRef;
use wire::{Filters, Instance, InstanceName, Operation, OperationPage, Plugin, PluginList};

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_operations))
        .routes(routes!(show_operation))
        .routes(routes!(cancel_operation))
        .routes(routes!(retry_operation))
        .routes(routes!(show_instance))
        .routes(routes!(stop_instance))
        .routes(routes!(start_instance))
        .routes(routes!(restart_instance))
        .routes(routes!(list_plugins))
        .merge(keys::routes())
}

/// List operations
///
/// Newest first.
#[utoipa::path(
    get, path = "/admin/v1/operations", operation_id = "list_operations", tag = "admin",
    params(Filters),
    responses(
        (status = 200, description = "The list, or a page of it.", body = OperationPage,
            headers(("Link" = String, description = "The address of the next page, `rel=\"next\"`, when there is one."))),
    ),
)]
async fn list_operations(
    State(api): State<Api>,
    Admin(caller): Admin,
    uri: Uri,
    params: Params,
) -> ApiResult<Response> {
    let query = wire::operation_query(params, &api.control, &caller)?;
    let page = api.control.list_operations(&caller, query).await?;
    let items: Vec<_> = page
        .items
        .iter()
        .map(|o| Operation::of(o, &api.control))
        .collect();
    let body = OperationPage {
        operations: items,
        total: page.total,
    };
    Ok(paging::with_next(
        &uri,
        page.next.map(|id| id.to_string()),
        &body,
    ))
}

/// Read an operation
#[utoipa::path(
    get, path = "/admin/v1/operations/{id}", operation_id = "show_operation", tag = "admin",
    params(("id" = inline(OperationId), Path, description = "The operation.")),
    responses((status = 200, description = "The operation, as far as it is.", body = Operation)),
)]
async fn show_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api.control.operation(&caller, operation_id(&id)?).await?;
    Ok(Json(Operation::of(&operation, &api.control)).into_response())
}

/// Cancel an operation
///
/// What it has done is undone. Not every kind can be: see `cancellable`.
#[utoipa::path(
    post, path = "/admin/v1/operations/{id}/cancel", operation_id = "cancel_operation", tag = "admin",
    params(("id" = inline(OperationId), Path, description = "The operation.")),
    responses(
        (status = 202, description = "It is recorded and will be done.", body = Operation),
        (status = 409, description = "It has ended, or cannot be cancelled."),
    ),
)]
async fn cancel_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api
        .control
        .cancel_operation(&caller, operation_id(&id)?)
        .await?;
    let body = Json(Operation::of(&operation, &api.control));
    Ok(began(Some(operation.id), (StatusCode::ACCEPTED, body)))
}

/// Retry an operation
///
/// One that waits goes on at once. A creation, a start or a restart that failed is begun again, as a new operation,
/// unless something else was done to the database since: then what is wanted is to be asked for anew.
#[utoipa::path(
    post, path = "/admin/v1/operations/{id}/retry", operation_id = "retry_operation", tag = "admin",
    params(("id" = inline(OperationId), Path, description = "The operation.")),
    responses(
        (status = 202, description = "It goes on, or a new one does: the answer names which.", body = Operation),
        (status = 409, description = "It has ended and there is nothing to retry, or it is not the database's newest."),
    ),
)]
async fn retry_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api
        .control
        .retry_operation(&caller, operation_id(&id)?)
        .await?;
    let body = Json(Operation::of(&operation, &api.control));
    Ok(began(Some(operation.id), (StatusCode::ACCEPTED, body)))
}

/// Read an instance
///
/// A database with all that stands behind it.
#[utoipa::path(
    get, path = "/admin/v1/instances/{id}", operation_id = "show_instance", tag = "admin",
    params(("id" = inline(InstanceName), Path, description = "A database's id, or the instance's own.")),
    responses((status = 200, description = "The instance.", body = Instance)),
)]
async fn show_instance(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let instance = api.control.instance(&caller, &named_by(&id)?)?;
    shown(&instance, &api, StatusCode::OK).await
}

/// Stop an instance
///
/// Its servers end; port, data and credentials are kept. Asking for what is so already changes nothing.
#[utoipa::path(
    post, path = "/admin/v1/instances/{id}/stop", operation_id = "stop_instance", tag = "admin",
    params(("id" = inline(InstanceName), Path, description = "A database's id, or the instance's own.")),
    responses(
        (status = 202, description = "The instance, with the operation that does it.", body = Instance),
        (status = 409, description = "The instance is not in a state that allows it."),
    ),
)]
async fn stop_instance(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api.control.stop_instance(&caller, &named_by(&id)?).await?;
    shown(&begun, &api, StatusCode::ACCEPTED).await
}

/// Start an instance
///
/// With the port, data and credentials that it had. Asking for what is so already changes nothing.
#[utoipa::path(
    post, path = "/admin/v1/instances/{id}/start", operation_id = "start_instance", tag = "admin",
    params(("id" = inline(InstanceName), Path, description = "A database's id, or the instance's own.")),
    responses(
        (status = 202, description = "The instance, with the operation that does it.", body = Instance),
        (status = 409, description = "The instance is not in a state that allows it."),
    ),
)]
async fn start_instance(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api.control.start_instance(&caller, &named_by(&id)?).await?;
    shown(&begun, &api, StatusCode::ACCEPTED).await
}

/// Restart an instance
///
/// A stop and a start in one. Asking again while that goes on changes nothing.
#[utoipa::path(
    post, path = "/admin/v1/instances/{id}/restart", operation_id = "restart_instance", tag = "admin",
    params(("id" = inline(InstanceName), Path, description = "A database's id, or the instance's own.")),
    responses(
        (status = 202, description = "The instance, with the operation that does it.", body = Instance),
        (status = 409, description = "The instance is not in a state that allows it."),
    ),
)]
async fn restart_instance(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api
        .control
        .restart_instance(&caller, &named_by(&id)?)
        .await?;
    shown(&begun, &api, StatusCode::ACCEPTED).await
}

async fn shown(instance: &model::Instance, api: &Api, status: StatusCode) -> ApiResult<Response> {
    let operation = api.control.current_operation(instance).await?;
    let confinement = api.control.confinement(instance).await?;
    let history = api.control.health_history(instance.id).await?;
    let begun = operation.as_ref().map(|operation| operation.id);
    let body = Instance::of(
        instance,
        operation.as_ref(),
        confinement,
        history,
        &api.control,
    );
    Ok(began(begun, (status, Json(body))))
}

/// List plugins
///
/// What is loaded, what is being compiled, and what was refused and why.
#[utoipa::path(
    get, path = "/admin/v1/plugins", operation_id = "list_plugins", tag = "admin",
    responses((status = 200, description = "All of them.", body = PluginList)),
)]
async fn list_plugins(State(api): State<Api>, _: Admin) -> ApiResult<Response> {
    let statuses = api.control.plugin_statuses();
    let plugins = statuses.into_iter().map(Plugin::of).collect();
    Ok(Json(PluginList { plugins }).into_response())
}

fn named_by(id: &str) -> Result<InstanceRef, Error> {
    InstanceRef::parse(id).ok_or_else(|| Error::not_found("there is no such database"))
}

fn operation_id(id: &str) -> Result<OperationId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such operation"))
}
