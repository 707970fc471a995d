//! The simple dialect, `/api/v1/databases`.

mod status;
mod wire;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::Api;
use super::edge::began;
use super::error::{ApiError, ApiResult};
use super::input::{Fields, Params};
use super::paging;
use crate::model::Error;
use crate::service::{Caller, InstanceRef};
use wire::{Accepted, Credentials, Database};

const REPLAYED: &str = "idempotent-replayed";

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/databases", get(list).post(create))
        .route("/api/v1/databases/{id}", get(show).delete(destroy))
        .route("/api/v1/databases/{id}/credentials", get(credentials))
        .route("/api/v1/databases/{id}/credentials/rotate", post(rotate))
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    uri: Uri,
    params: Params,
) -> ApiResult<Response> {
    let asked = wire::query(params)?;
    let listed = api
        .control
        .list_instances(&caller, asked.query, |instance, health| {
            asked
                .status
                .is_none_or(|wanted| wanted == status::of(instance.phase(), health))
        });
    let items: Vec<_> = listed
        .items
        .iter()
        .map(|i| Database::of(i, &api.control))
        .collect();
    let next = listed.next.map(|next| next.encode());
    Ok(paging::with_next(&uri, next, &items))
}

async fn create(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    fields: Fields,
) -> ApiResult<Response> {
    let draft = wire::draft(fields, &headers);
    let created = api
        .control
        .create_instance(&caller, draft)
        .await
        .map_err(named)?;
    let body = axum::Json(Accepted::of(&created.instance, &api.control));
    let begun = (!created.replayed).then_some(created.instance.operation);
    let mut response = began(begun.flatten(), (StatusCode::CREATED, body));
    if created.replayed {
        let value = header::HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, value);
    }
    Ok(response)
}

async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let instance = api.control.instance(&caller, &named_by(&id)?)?;
    Ok(axum::Json(Database::of(&instance, &api.control)).into_response())
}

async fn destroy(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let instance = api
        .control
        .delete_instance(&caller, &named_by(&id)?)
        .await?;
    let body = axum::Json(Database::of(&instance, &api.control));
    Ok(began(instance.operation, (StatusCode::ACCEPTED, body)))
}

async fn credentials(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let connection = api.control.credentials(&caller, &named_by(&id)?).await?;
    Ok(uncached(&Credentials::of(&connection)))
}

async fn rotate(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let connection = api
        .control
        .rotate_credentials(&caller, &named_by(&id)?)
        .await?;
    Ok(uncached(&Credentials::of(&connection)))
}

/// A password must not stay in a proxy.
fn uncached(body: &Credentials<'_>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

/// The alias is this dialect's only name of a database.
fn named_by(id: &str) -> Result<InstanceRef, Error> {
    InstanceRef::alias(id).ok_or_else(|| Error::not_found("there is no such database"))
}

/// The core's and the contract's names of fields as this dialect has them.
fn named(error: Error) -> ApiError {
    ApiError::from(error).rename_fields(|field| match field {
        "engine" => Some("db_type"),
        "plan" | "node" | "node.memory-bytes" | "node.cpu-millis" => Some("plan_id"),
        "members" => Some("replicas"),
        "storage" | "storage.bytes" | "storage-bytes" => Some("storage_gb"),
        "slug" => Some("name"),
        _ => None,
    })
}
