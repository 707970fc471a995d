//! The operator's API, `/admin/v1`: operations, plugins, and instances with what stands behind them.

mod wire;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;

use super::Api;
use super::auth::Admin;
use super::edge::began;
use super::error::ApiResult;
use super::input::Params;
use super::paging;
use crate::model::{Error, OperationId};
use crate::service::InstanceRef;
use wire::{Instance, Operation, Plugin};

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/admin/v1/operations", get(list_operations))
        .route("/admin/v1/operations/{id}", get(show_operation))
        .route("/admin/v1/operations/{id}/cancel", post(cancel_operation))
        .route("/admin/v1/operations/{id}/retry", post(retry_operation))
        .route("/admin/v1/instances/{id}", get(show_instance))
        .route("/admin/v1/plugins", get(list_plugins))
}

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
    let body = json!({ "operations": items, "total": page.total });
    Ok(paging::with_next(
        &uri,
        page.next.map(|id| id.to_string()),
        &body,
    ))
}

async fn show_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api.control.operation(&caller, operation_id(&id)?).await?;
    Ok(axum::Json(Operation::of(&operation, &api.control)).into_response())
}

async fn cancel_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api
        .control
        .cancel_operation(&caller, operation_id(&id)?)
        .await?;
    let body = axum::Json(Operation::of(&operation, &api.control));
    Ok(began(Some(operation.id), (StatusCode::ACCEPTED, body)))
}

async fn retry_operation(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let operation = api
        .control
        .retry_operation(&caller, operation_id(&id)?)
        .await?;
    let body = axum::Json(Operation::of(&operation, &api.control));
    Ok(began(Some(operation.id), (StatusCode::ACCEPTED, body)))
}

async fn show_instance(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let which = InstanceRef::parse(&id);
    let which = which.ok_or_else(|| Error::not_found("there is no such database"))?;
    let instance = api.control.instance(&caller, &which)?;
    let operation = api.control.current_operation(&instance).await?;
    let history = api.control.health_history(instance.id).await?;
    let body = Instance::of(&instance, operation.as_ref(), history, &api.control);
    Ok(axum::Json(body).into_response())
}

async fn list_plugins(State(api): State<Api>, _: Admin) -> ApiResult<Response> {
    let plugins: Vec<_> = api
        .control
        .plugin_statuses()
        .into_iter()
        .map(Plugin::of)
        .collect();
    Ok(axum::Json(json!({ "plugins": plugins })).into_response())
}

fn operation_id(id: &str) -> Result<OperationId, Error> {
    id.parse()
        .map_err(|_| Error::not_found("there is no such operation"))
}
