//! API keys: random UUIDs, recognised by a keyed hash that is in memory. The secret half is shown
//! to whoever made it and kept nowhere.

use jiff::Timestamp;
use uuid::Uuid;

use super::{Caller, Control};
use crate::model::project::{ApiKey, Role};
use crate::model::{Error, KeyId, ProjectId, Result, Secret};
use crate::store::repo::Repo;

impl Control {
    /// Who this key belongs to.
    pub fn authenticate(&self, secret: &str, request_id: Option<&str>) -> Result<Caller> {
        let key = self.repo().api_key(secret);
        let key = key.ok_or_else(|| Error::unauthenticated("this API key is not known"))?;
        Ok(Caller {
            key: key.id,
            project: key.project,
            role: key.role,
            request_id: request_id.map(str::to_owned),
        })
    }
}

/// A fresh secret half.
pub fn generate() -> Secret {
    Secret::new(Uuid::new_v4().to_string())
}

/// Record a key under this secret.
pub async fn put(
    repo: &Repo,
    secret: &Secret,
    project: ProjectId,
    role: Role,
    description: &str,
) -> Result<KeyId> {
    let id = KeyId::generate();
    let key = ApiKey {
        id,
        project,
        role,
        description: description.to_owned(),
        created_at: Timestamp::now(),
    };
    repo.put_api_key(key, secret).await?;
    Ok(id)
}
