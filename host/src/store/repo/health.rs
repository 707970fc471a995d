//! How instances have fared: a record of its own that no journal depends on. It goes with its instance's record,
//! and is written when something changes, never for a look.

use super::commit::{ATTEMPTS, Draft, gave_up};
use super::encoding::store_error;
use super::{Repo, keys};
use crate::model::health::History;
use crate::model::{Instance, InstanceId, Phase, Result};
use crate::store::StoreError;

impl Repo {
    /// Empty when nothing was recorded.
    pub async fn health_history(&self, id: InstanceId) -> Result<History> {
        let record = self.read::<History>(&keys::health(id)).await?;
        Ok(record.map(|(history, _)| history).unwrap_or_default())
    }

    /// Record it, unless the instance is deleted: what is written then could outlive its record.
    pub async fn put_health_history(&self, id: InstanceId, history: &History) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let found = self.read::<Instance>(&keys::instance(id)).await?;
            let Some((instance, version)) = found else {
                return Ok(());
            };
            if instance.phase() == Phase::Deleted {
                return Ok(());
            }
            let mut draft = Draft::default();
            draft.expect_version(keys::instance(id), version);
            draft.put(keys::health(id), history)?;
            match self.commit(draft).await {
                Ok(_) => return Ok(()),
                // An operation wrote the instance meanwhile.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        let key = keys::instance(id);
        Err(gave_up(StoreError::Conflict { key }))
    }
}
