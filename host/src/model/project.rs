//! Projects and the keys that belong to them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::id::{KeyId, ProjectId};

/// The owner of instances. `alias` is what the simple dialect shows, e.g. `proj_default`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub alias: String,
    pub organization: Uuid,
    /// Most live instances; none is without limit.
    pub max_instances: Option<u32>,
    pub max_storage_gb: Option<u64>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, in every project, and the admin API.
    Admin,
    /// The instances of its own project.
    Member,
}

/// An API key as it is stored: its secret is kept as a keyed hash only.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: KeyId,
    pub project: ProjectId,
    pub role: Role,
    pub description: String,
    pub created_at: Timestamp,
}
