//! API keys: kept as keyed hashes, found in memory. Every request checks one.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLockWriteGuard};

use super::commit::Draft;
use super::encoding::{StoredApiKey, store_error};
use super::{Repo, keys};
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
        draft.put(keys::api_key(stored.key.id), &stored)?;
        self.commit(draft).await.map_err(store_error)?;
        self.index_api_key(stored);
        Ok(())
    }

    pub async fn delete_api_key(&self, id: KeyId) -> Result<()> {
        let mut draft = Draft::default();
        draft.delete(keys::api_key(id));
        self.commit(draft).await.map_err(store_error)?;
        self.index().retain(|_, key| key.id != id);
        Ok(())
    }

    /// The key with this secret.
    pub fn api_key(&self, secret: &str) -> Option<ApiKey> {
        let mac = self.0.sealer.mac(secret);
        let index = self.0.api_keys.read();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        index.get(&mac).cloned()
    }

    /// All keys, oldest first.
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let index = self.0.api_keys.read();
        let index = index.unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<ApiKey> = index.values().cloned().collect();
        keys.sort_by_key(|key| (key.created_at, key.id));
        keys
    }

    pub(super) fn index_api_key(&self, stored: StoredApiKey) {
        let mut index = self.index();
        index.retain(|_, key| key.id != stored.key.id);
        index.insert(stored.mac, stored.key);
    }

    fn index(&self) -> RwLockWriteGuard<'_, HashMap<[u8; 32], ApiKey>> {
        let index = self.0.api_keys.write();
        index.unwrap_or_else(PoisonError::into_inner)
    }
}
