//! An instance's secrets: always sealed in the store, each under the key of its own record.
//!
//! A password that an engine is to be told is recorded as pending before the engine hears of it, and becomes
//! the current one after. Whatever dies in between, one of the two opens the database.

use zeroize::Zeroizing;

use super::commit::{ATTEMPTS, Draft, gave_up};
use super::encoding::{self, SEALED_SCHEMA, store_error};
use super::{Repo, keys};
use crate::model::plugin::Secrets;
use crate::model::{ConflictReason, Error, InstanceId, Phase, Result, Secret};
use crate::store::{StoreError, Versioned};

impl Repo {
    /// Empty when none were recorded.
    pub async fn secrets(&self, id: InstanceId) -> Result<Secrets> {
        Ok(self.read_secrets(&keys::secrets(id)).await?.0)
    }

    /// What the engine is being told, or was told without our hearing of its answer.
    pub async fn pending_secrets(&self, id: InstanceId) -> Result<Secrets> {
        Ok(self.read_secrets(&keys::pending_secrets(id)).await?.0)
    }

    /// Record a value before the engine is told. Another pending value of this name is a conflict: the
    /// engine may have taken that one, so it has to be promoted or dropped first.
    pub async fn put_pending_secret(
        &self,
        id: InstanceId,
        name: &str,
        value: &Secret,
    ) -> Result<()> {
        self.change_secrets(id, |_, pending| match pending.get(name) {
            Some(other) if other != value => Err(Error::conflict(
                ConflictReason::Busy,
                "another change of this password is not finished",
            )),
            Some(_) | None => {
                pending.insert(name.to_owned(), value.clone());
                Ok(())
            }
        })
        .await
    }

    /// The engine took `value`: it is the current one from now on.
    pub async fn promote_pending_secret(
        &self,
        id: InstanceId,
        name: &str,
        value: &Secret,
    ) -> Result<()> {
        self.change_secrets(id, |current, pending| {
            current.insert(name.to_owned(), value.clone());
            if pending.get(name) == Some(value) {
                pending.remove(name);
            }
            Ok(())
        })
        .await
    }

    /// The engine did not take the pending value.
    pub async fn drop_pending_secret(&self, id: InstanceId, name: &str) -> Result<()> {
        self.change_secrets(id, |_, pending| {
            pending.remove(name);
            Ok(())
        })
        .await
    }

    pub(super) fn seal_secrets(&self, key: &str, secrets: &Secrets) -> Result<Vec<u8>> {
        let plain = Zeroizing::new(serde_json::to_vec(secrets).map_err(Error::internal)?);
        Ok(encoding::wrap_sealed(&self.0.sealer.seal(key, &plain)?))
    }

    /// The secrets in a record, and its version if there is one.
    async fn read_secrets(&self, key: &str) -> Result<(Secrets, Option<u64>)> {
        let record = self.0.store.get(key).await.map_err(store_error)?;
        let Some(Versioned { version, value }) = record else {
            return Ok((Secrets::new(), None));
        };
        let sealed = encoding::body(key, SEALED_SCHEMA, &value)?;
        let plain = self.0.sealer.open(key, sealed)?;
        // The parser's error could quote the text, so it is not kept as a cause.
        let secrets = serde_json::from_slice(&plain).map_err(|_| encoding::unreadable(key))?;
        Ok((secrets, Some(version)))
    }

    async fn change_secrets(
        &self,
        id: InstanceId,
        change: impl Fn(&mut Secrets, &mut Secrets) -> Result<()>,
    ) -> Result<()> {
        let (current_key, pending_key) = (keys::secrets(id), keys::pending_secrets(id));
        for _ in 0..ATTEMPTS {
            let (instance, instance_version) = self.read_instance(id).await?;
            if instance.phase() == Phase::Deleted {
                return Err(Error::not_found("the database is deleted"));
            }
            let (mut current, current_version) = self.read_secrets(&current_key).await?;
            let (mut pending, pending_version) = self.read_secrets(&pending_key).await?;
            let before = (current.clone(), pending.clone());
            change(&mut current, &mut pending)?;
            if before == (current.clone(), pending.clone()) {
                return Ok(());
            }
            let mut draft = Draft::default();
            // A secret written while the instance is being deleted would outlive it.
            draft.expect_version(keys::instance(id), instance_version);
            for (key, secrets, version) in [
                (&current_key, &current, current_version),
                (&pending_key, &pending, pending_version),
            ] {
                match version {
                    Some(version) => draft.expect_version(key.clone(), version),
                    None => draft.expect_absent(key.clone()),
                }
                if secrets.is_empty() {
                    draft.delete(key.clone());
                } else {
                    draft.put_bytes(key.clone(), self.seal_secrets(key, secrets)?);
                }
            }
            match self.commit(draft).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(StoreError::Conflict { key: current_key }))
    }
}
