//! API keys: kept as keyed hashes, found in memory. Every request checks one.

use std::sync::Arc;

use super::commit::{ATTEMPTS, Draft, gave_up};
use super::encoding::{StoredApiKey, store_error};
use super::{Repo, keys};
use crate::model::project::{ApiKey, Role};
use crate::model::{ConflictReason, Error, KeyId, Result, Secret};
use crate::store::StoreError;

impl Repo {
    /// Record a key. Its secret is kept as a keyed hash only.
    pub async fn put_api_key(&self, key: ApiKey, secret: &Secret) -> Result<()> {
        let stored = StoredApiKey {
            mac: self.0.sealer.mac(secret.expose()),
            key,
        };
        let mut draft = Draft::default();
        draft.put_api_key(stored)?;
        self.commit(draft).await.map_err(store_error)?;
        Ok(())
    }

    /// Forget a key. An admin key goes only while another one is there, and two that are to go at the same time do
    /// not count on each other: without one, the next start would take the first key's file for one to record.
    pub async fn delete_api_key(&self, id: KeyId) -> Result<()> {
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            let (key, version) = self
                .read::<StoredApiKey>(&keys::api_key(id))
                .await?
                .ok_or_else(|| Error::not_found("there is no such key"))?;
            let mut draft = Draft::default();
            draft.expect_version(keys::api_key(id), version);
            if key.key.role == Role::Admin {
                let (other, version) = self.other_admin_key(id).await?;
                draft.expect_version(keys::api_key(other), version);
            }
            draft.delete_api_key(id);
            match self.commit(draft).await {
                Ok(_) => return Ok(()),
                Err(conflict @ StoreError::Conflict { .. }) => lost = Some(conflict),
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(lost.unwrap_or_else(|| StoreError::Conflict {
            key: keys::api_key(id),
        })))
    }

    /// One that is in the store itself: the read model may be a moment behind.
    async fn other_admin_key(&self, than: KeyId) -> Result<(KeyId, u64)> {
        let known = self.api_keys().into_iter();
        for key in known.filter(|key| key.role == Role::Admin && key.id != than) {
            let stored = self.read::<StoredApiKey>(&keys::api_key(key.id)).await?;
            if let Some((_, version)) = stored {
                return Ok((key.id, version));
            }
        }
        Err(Error::conflict(
            ConflictReason::NotAllowedNow,
            "it is the only admin key: make another one first",
        ))
    }

    /// The key with this secret.
    pub fn api_key(&self, secret: &str) -> Option<Arc<ApiKey>> {
        self.view().api_key(&self.0.sealer.mac(secret))
    }

    /// All keys, oldest first.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let mut keys = self.view().api_keys();
        keys.sort_by_key(|key| (key.created_at, key.id));
        keys
    }
}
