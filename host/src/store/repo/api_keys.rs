//! API keys: kept as keyed hashes, found in memory. Every request checks one.

use super::Repo;
use super::commit::Draft;
use super::encoding::{StoredApiKey, store_error};
use crate::model::project::ApiKey;
use crate::model::{KeyId, Result, Secret};

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

    pub async fn delete_api_key(&self, id: KeyId) -> Result<()> {
        let mut draft = Draft::default();
        draft.delete_api_key(id);
        self.commit(draft).await.map_err(store_error)?;
        Ok(())
    }

    /// The key with this secret.
    pub fn api_key(&self, secret: &str) -> Option<ApiKey> {
        self.view().api_key(&self.0.sealer.mac(secret))
    }

    /// All keys, oldest first.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let mut keys = self.view().api_keys();
        keys.sort_by_key(|key| (key.created_at, key.id));
        keys
    }
}
