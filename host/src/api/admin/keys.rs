//! The operator's API to keys: who may call, and for which project.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::Api;
use crate::api::auth::Admin;
use crate::api::error::ApiResult;
use crate::api::input::{Fields, Path};
use crate::api::json::Json;
use crate::model::project::{ApiKey, Role};
use crate::model::{Error, FieldProblem, KeyId, ProjectId};
use crate::service::Control;
use crate::service::keys::{self, NewKey};

const FIELDS: [&str; 3] = ["project", "role", "description"];

/// A key without its secret half, which is kept nowhere.
#[derive(Serialize, ToSchema)]
struct Key {
    id: KeyId,
    /// What clients that send a pair of keys call the public half.
    #[schema(pattern = "^SCW[A-Z0-9]{17}$")]
    access_key: String,
    project_id: ProjectId,
    /// The project's alias; none when it is not configured any more.
    project: Option<String>,
    role: Role,
    description: String,
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct KeyList {
    keys: Vec<Key>,
}

/// A key that was just made. Its secret half is shown this once.
#[derive(Serialize, ToSchema)]
struct CreatedKey {
    #[serde(flatten)]
    key: Key,
    #[schema(format = Uuid)]
    secret_key: String,
}

/// What a new key shall be. `draft` reads it; this is its description.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it describes; `draft` reads")]
struct WantedKey {
    /// Alias or id of the project whose things it may use; the caller's own without it.
    project: Option<String>,
    /// `member` without it.
    role: Option<Role>,
    /// What it is for.
    #[schema(pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$", max_length = 200)]
    description: Option<String>,
}

pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_keys, create_key))
        .routes(routes!(revoke_key))
}

/// List keys
///
/// Oldest first.
#[utoipa::path(
    get, path = "/admin/v1/keys", operation_id = "list_keys", tag = "admin",
    responses((status = 200, description = "All of them.", body = KeyList)),
)]
async fn list_keys(State(api): State<Api>, _: Admin) -> ApiResult<Response> {
    let keys = api.control.list_keys().into_iter();
    let keys = keys.map(|key| Key::of(key, &api.control)).collect();
    Ok(Json(KeyList { keys }).into_response())
}

/// Make a key
///
/// The answer holds its secret half, which cannot be seen again.
#[utoipa::path(
    post, path = "/admin/v1/keys", operation_id = "create_key", tag = "admin",
    request_body = WantedKey,
    responses((status = 201, description = "It is known from now on.", body = CreatedKey)),
)]
async fn create_key(
    State(api): State<Api>,
    Admin(caller): Admin,
    fields: Fields,
) -> ApiResult<Response> {
    let new = draft(fields)?;
    let (key, secret) = api.control.create_key(&caller, new).await?;
    let body = CreatedKey {
        key: Key::of(key, &api.control),
        secret_key: secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Revoke a key
///
/// It is not known any more at once. The last admin key cannot be revoked.
#[utoipa::path(
    delete, path = "/admin/v1/keys/{id}", operation_id = "revoke_key", tag = "admin",
    params(("id" = String, Path, description = "The key's id, or its access key.")),
    responses(
        (status = 204, description = "It is not known any more."),
        (status = 409, description = "It is the only admin key."),
    ),
)]
async fn revoke_key(
    State(api): State<Api>,
    Admin(caller): Admin,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    api.control.revoke_key(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Key {
    fn of(key: ApiKey, control: &Control) -> Self {
        let project = control.catalogue().project(key.project);
        Self {
            id: key.id,
            access_key: key.id.access_key(),
            project_id: key.project,
            project: project.map(|project| project.alias.clone()),
            role: key.role,
            description: key.description,
            created_at: key.created_at,
        }
    }
}

fn draft(mut fields: Fields) -> Result<NewKey, Error> {
    let project = fields.text("project");
    let role = fields.text("role");
    let description = fields.text("description").unwrap_or_default();
    let mut problems = fields.finish(&FIELDS);
    let role = match role.as_deref() {
        None => Some(Role::Member),
        Some(text) => keys::role(text),
    };
    if role.is_none() {
        problems.push(FieldProblem::new(
            "role",
            "is not a role",
            "member or admin",
        ));
    }
    match role.filter(|_| problems.is_empty()) {
        Some(role) => Ok(NewKey {
            project,
            role,
            description,
        }),
        None => Err(Error::invalid(problems)),
    }
}
