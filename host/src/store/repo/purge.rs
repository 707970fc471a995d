//! Forgetting what ended long ago. Never touches what lives, and leaves aliases taken.

use jiff::Timestamp;

use super::commit::Draft;
use super::encoding::{StoredIdempotency, store_error};
use super::{Repo, keys};
use crate::model::{Phase, Result};
use crate::store::view::InstanceQuery;
use crate::store::{Commit, StoreError};

/// How many finished operations of an instance are kept, however young they are: a client that stops and starts a
/// database in turn makes them without end.
pub(super) const KEPT_OPERATIONS: usize = 100;

impl Repo {
    /// Remove the records of instances that were deleted before `older_than`, of operations that ended before
    /// it or have `KEPT_OPERATIONS` newer ones on their instance, and of idempotency keys that were used before it.
    /// Answers how many instances went.
    pub async fn purge_deleted(&self, older_than: Timestamp) -> Result<usize> {
        self.view().sweep();
        self.purge_idempotency(older_than).await?;
        self.purge_operations(older_than).await?;

        let deleted = self.view().list(&InstanceQuery {
            phases: vec![Phase::Deleted],
            ..InstanceQuery::default()
        });
        let mut purged = 0;
        for instance in deleted.items {
            if instance.deleted_at.is_none_or(|at| at >= older_than) {
                continue;
            }
            let (stored, version) = self.read_instance(instance.id).await?;
            if stored.phase() != Phase::Deleted {
                continue;
            }
            let mut draft = Draft::default();
            draft.expect_version(keys::instance(instance.id), version);
            draft.delete_instance(instance.id);
            match self.commit(draft).await {
                Ok(_) => purged += 1,
                // Somebody wrote it: the next purge looks again.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Ok(purged)
    }

    async fn purge_operations(&self, older_than: Timestamp) -> Result<()> {
        let view = self.view();
        let ended = view.forgettable_operations(older_than, KEPT_OPERATIONS);
        for chunk in ended.chunks(Commit::MAX_WRITES) {
            let mut draft = Draft::default();
            for id in chunk {
                draft.delete_operation(*id);
            }
            self.commit(draft).await.map_err(store_error)?;
        }
        Ok(())
    }

    async fn purge_idempotency(&self, older_than: Timestamp) -> Result<()> {
        let mut old = Vec::new();
        self.each_page::<StoredIdempotency>(keys::IDEMPOTENCY, |page| {
            for (key, _, stored) in page {
                if stored.created_at < older_than {
                    old.push(key);
                }
            }
        })
        .await?;
        for chunk in old.chunks(Commit::MAX_WRITES) {
            let mut draft = Draft::default();
            for key in chunk {
                draft.delete(key.clone());
            }
            self.commit(draft).await.map_err(store_error)?;
        }
        Ok(())
    }
}
