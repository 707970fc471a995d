//! The simple dialect, `/api/v1/databases`.

mod status;
mod wire;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::edge::began;
use super::error::{ApiError, ApiResult};
use super::input::{Fields, Params, Path};
use super::json::Json;
use super::paging;
use crate::model::{Alias, Error, Instance};
use crate::service::{Caller, InstanceRef};
use wire::{Accepted, Credentials, Database, Filters, NewDatabase, Once};

const REPLAYED: &str = "idempotent-replayed";

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, destroy))
        .routes(routes!(stop))
        .routes(routes!(start))
        .routes(routes!(restart))
        .routes(routes!(credentials))
        .routes(routes!(rotate))
}

/// List databases
///
/// Those of the key's project, or of all projects for an admin, in the order of their creation.
#[utoipa::path(
    get, path = "/api/v1/databases", operation_id = "list_databases", tag = "databases",
    params(Filters),
    responses(
        (status = 200, description = "The list, or a page of it.", body = [Database],
            headers(("Link" = String, description = "The address of the next page, `rel=\"next\"`, when there is one."))),
    ),
)]
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
                .is_none_or(|wanted| wanted == status::of(instance, health))
        });
    let items: Vec<_> = listed
        .items
        .iter()
        .map(|i| Database::of(i, &api.control))
        .collect();
    let next = listed.next.map(|next| next.encode());
    Ok(paging::with_next(&uri, next, &items))
}

/// Create a database
///
/// Answers as soon as the request is recorded; what was answered is carried out, whatever happens to the host. The
/// database is `running` a moment later, and its credentials can be had then.
#[utoipa::path(
    post, path = "/api/v1/databases", operation_id = "create_database", tag = "databases",
    params(Once),
    request_body(content = NewDatabase, content_type = "application/json"),
    responses(
        (status = 201, description = "It is recorded and being made.", body = Accepted,
            headers(("Idempotent-Replayed" = String, description = "`true` when the request was carried out before, under the same `Idempotency-Key`."))),
        (status = 403, description = "A quota of the project is used up, or its key's project is not configured any more."),
        (status = 409, description = "A database of the project has this name, or another request was first."),
    ),
)]
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
    let body = Json(Accepted::of(&created.instance, &api.control));
    let begun = (!created.replayed).then_some(created.instance.operation);
    let mut response = began(begun.flatten(), (StatusCode::CREATED, body));
    if created.replayed {
        let value = header::HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, value);
    }
    Ok(response)
}

/// Read a database
///
/// One that was deleted can be read for a while, as `destroyed`.
#[utoipa::path(
    get, path = "/api/v1/databases/{id}", operation_id = "show_database", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses((status = 200, description = "The database.", body = Database)),
)]
async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let instance = api.control.instance(&caller, &named_by(&id)?)?;
    Ok(Json(Database::of(&instance, &api.control)).into_response())
}

/// Delete a database
///
/// Its data is gone for good. Asking again while that goes on, or when it is done, changes nothing.
#[utoipa::path(
    delete, path = "/api/v1/databases/{id}", operation_id = "delete_database", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 202, description = "It is recorded and will be done, whatever happens to the host.", body = Database),
        (status = 409, description = "Another operation holds the database."),
    ),
)]
async fn destroy(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api
        .control
        .delete_instance(&caller, &named_by(&id)?)
        .await?;
    Ok(accepted(&begun, &api))
}

/// Stop a database
///
/// Its servers end; port, data and credentials are kept. Asking for what is so already changes nothing.
#[utoipa::path(
    post, path = "/api/v1/databases/{id}/stop", operation_id = "stop_database", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 202, description = "It is recorded and will be done, whatever happens to the host.", body = Database),
        (status = 409, description = "The database is not in a state that allows it."),
    ),
)]
async fn stop(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api.control.stop_instance(&caller, &named_by(&id)?).await?;
    Ok(accepted(&begun, &api))
}

/// Start a database
///
/// With the port, data and credentials that it had. Asking for what is so already changes nothing.
#[utoipa::path(
    post, path = "/api/v1/databases/{id}/start", operation_id = "start_database", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 202, description = "It is recorded and will be done, whatever happens to the host.", body = Database),
        (status = 409, description = "The database is not in a state that allows it."),
    ),
)]
async fn start(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api.control.start_instance(&caller, &named_by(&id)?).await?;
    Ok(accepted(&begun, &api))
}

/// Restart a database
///
/// A stop and a start in one. Asking again while that goes on changes nothing.
#[utoipa::path(
    post, path = "/api/v1/databases/{id}/restart", operation_id = "restart_database", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 202, description = "It is recorded and will be done, whatever happens to the host.", body = Database),
        (status = 409, description = "The database is not in a state that allows it."),
    ),
)]
async fn restart(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let begun = api
        .control
        .restart_instance(&caller, &named_by(&id)?)
        .await?;
    Ok(accepted(&begun, &api))
}

/// How to connect
///
/// The password is shown only after the server has just accepted it.
#[utoipa::path(
    get, path = "/api/v1/databases/{id}/credentials", operation_id = "show_credentials", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 200, description = "All that a client needs.", body = Credentials,
            headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 409, description = "The database is not running, or its password was changed by other means."),
    ),
)]
async fn credentials(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let connection = api.control.credentials(&caller, &named_by(&id)?).await?;
    Ok(uncached(&Credentials::of(&connection)))
}

/// Set a new password
///
/// Connections that are open stay open. The old password is refused from now on, whatever it was.
#[utoipa::path(
    post, path = "/api/v1/databases/{id}/credentials/rotate", operation_id = "rotate_credentials", tag = "databases",
    params(("id" = inline(Alias), Path, description = "The database.")),
    responses(
        (status = 200, description = "All that a client needs, with the new password.", body = Credentials,
            headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 409, description = "The database is not running."),
    ),
)]
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

/// The database as it now is: what was asked for is recorded, and will be carried out.
fn accepted(instance: &Instance, api: &Api) -> Response {
    let body = Json(Database::of(instance, &api.control));
    began(instance.operation, (StatusCode::ACCEPTED, body))
}

/// A password must not stay in a proxy.
fn uncached(body: &Credentials<'_>) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
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
