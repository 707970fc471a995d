//! Commits with what they mean for the read model, and the loading of it.
//!
//! A commit and its update of the read model run in a task of their own: a caller that is dropped between them
//! (a client that hung up) must not leave a read model that misses what the store has. When the backend
//! failed and nobody knows whether a commit was taken, the records are read again until they can be.

use std::sync::Arc;
use std::time::Duration;

use tracing::Instrument;

use super::encoding::{
    READ_AGAIN, READ_AGAIN_MOST, Record, Stored, StoredApiKey, decode, encode, store_error,
};
use super::records::StoredOperation;
use super::{Repo, Tracked, keys};
use crate::model::{Error, Instance, InstanceId, KeyId, Operation, OperationId, Result};
use crate::store::view::{OperationBrief, Update};
use crate::store::{Commit, Expect, StoreError, Versioned, Write};

/// How often a commit is made anew after another writer was first. Each conflict means that somebody else
/// went forward, so this many in a row mean a defect.
pub(super) const ATTEMPTS: usize = 32;

/// How long a caller waits for a commit. Then it is not known to the caller whether it was taken; the read model
/// learns it all the same.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Records that are read at once.
const PAGE: usize = 512;

/// The version of a removal that was found, not made. Ids are never used twice, so what is gone from the
/// store outdates everything that was shown of it.
const GONE: u64 = u64::MAX;

/// A commit in the making.
#[derive(Default)]
pub(super) struct Draft {
    commit: Commit,
    updates: Vec<Update>,
    work: bool,
}

impl Draft {
    pub fn expect_absent(&mut self, key: String) {
        self.commit.expect.push((key, Expect::Absent));
    }

    pub fn expect_version(&mut self, key: String, version: u64) {
        self.commit.expect.push((key, Expect::Version(version)));
    }

    pub fn put<T: Record>(&mut self, key: String, value: &T) -> Result<()> {
        let bytes = encode(value)?;
        self.put_bytes(key, bytes);
        Ok(())
    }

    pub fn put_bytes(&mut self, key: String, bytes: Vec<u8>) {
        self.commit.writes.push((key, Write::Put(bytes)));
    }

    pub fn delete(&mut self, key: String) {
        self.commit.writes.push((key, Write::Delete));
    }

    pub fn put_instance(&mut self, instance: Arc<Instance>) -> Result<()> {
        self.put(keys::instance(instance.id), instance.as_ref())?;
        self.updates.push(Update::Instance(instance));
        Ok(())
    }

    pub fn delete_instance(&mut self, id: InstanceId) {
        self.delete(keys::instance(id));
        self.delete(keys::health(id));
        self.updates.push(Update::InstanceRemoved(id));
    }

    pub fn put_operation(&mut self, operation: &Operation, journal: u64) -> Result<()> {
        let stored = StoredOperation {
            journal,
            operation: operation.clone(),
        };
        self.put(keys::operation(operation.id), &stored)?;
        self.updates
            .push(Update::Operation(OperationBrief::from(operation)));
        Ok(())
    }

    pub fn delete_operation(&mut self, id: OperationId) {
        self.delete(keys::operation(id));
        self.updates.push(Update::OperationRemoved(id));
    }

    pub fn put_api_key(&mut self, stored: StoredApiKey) -> Result<()> {
        self.put(keys::api_key(stored.key.id), &stored)?;
        self.updates.push(Update::ApiKey(stored.mac, stored.key));
        Ok(())
    }

    pub fn delete_api_key(&mut self, id: KeyId) {
        self.delete(keys::api_key(id));
        self.updates.push(Update::ApiKeyRemoved(id));
    }

    /// Executors have something to do after it.
    pub fn leaves_work(&mut self) {
        self.work = true;
    }
}

impl Repo {
    /// Commit, then update the read model. Both happen even if the caller is dropped or has waited too long.
    pub(super) async fn commit(&self, draft: Draft) -> Result<u64, StoreError> {
        let repo = self.clone();
        let commit = async move {
            let shared = &repo.0;
            match shared.store.commit(draft.commit).await {
                Ok(version) => {
                    shared.view.apply(version, draft.updates);
                    if draft.work {
                        shared.work.notify_one();
                    }
                    Ok(version)
                }
                Err(error) => {
                    if matches!(error, StoreError::Backend(_)) {
                        let unsure = Unsure::begin(&repo);
                        let again = unsure.0.clone().look_again(draft.updates, draft.work);
                        let again = again.in_current_span();
                        tokio::spawn(async move {
                            again.await;
                            drop(unsure);
                        });
                    }
                    Err(error)
                }
            }
        };
        let mut task = tokio::spawn(commit.in_current_span());
        // The task is never aborted, so it fails to answer only when it panicked or the runtime ends.
        match tokio::time::timeout(ANSWER_WITHIN, &mut task).await {
            Ok(answer) => answer.unwrap_or_else(|error| Err(StoreError::Backend(Box::new(error)))),
            Err(_) => {
                let unsure = Unsure::begin(self);
                tokio::spawn(async move {
                    // Whatever it answers: by then it is in the read model, or that is being looked at.
                    let _answer = task.await;
                    drop(unsure);
                });
                Err(StoreError::Backend("the disk does not answer".into()))
            }
        }
    }

    pub(super) async fn read<T: Stored>(&self, key: &str) -> Result<Option<(T, u64)>> {
        let record = self.0.store.get(key).await.map_err(store_error)?;
        record
            .map(|Versioned { version, value }| Ok((decode(key, &value)?, version)))
            .transpose()
    }

    pub(super) async fn read_operation(
        &self,
        id: OperationId,
    ) -> Result<Option<Tracked<Operation>>> {
        let stored = self.read::<StoredOperation>(&keys::operation(id)).await?;
        Ok(stored.map(|(stored, version)| Tracked {
            value: stored.operation,
            version,
            journal: stored.journal,
        }))
    }

    /// Fill the read model from the store.
    pub(super) async fn load(&self) -> Result<()> {
        let view = &self.0.view;
        self.each_page::<Instance>(keys::INSTANCES, |page| {
            let shown = |(_, version, instance)| (version, Update::Instance(Arc::new(instance)));
            view.fill(page.into_iter().map(shown));
        })
        .await?;
        self.each_page::<OperationBrief>(keys::OPERATIONS, |page| {
            let shown = |(_, version, brief)| (version, Update::Operation(brief));
            view.fill(page.into_iter().map(shown));
        })
        .await?;
        self.each_page::<StoredApiKey>(keys::API_KEYS, |page| {
            let shown = |(_, version, stored): (_, _, StoredApiKey)| {
                (version, Update::ApiKey(stored.mac, stored.key))
            };
            view.fill(page.into_iter().map(shown));
        })
        .await
    }

    /// Every record of a kind, with its key and version. The next page is read while one is looked at, and
    /// the store is never in memory as a whole.
    pub(super) async fn each_page<T: Stored>(
        &self,
        prefix: &'static str,
        mut visit: impl FnMut(Vec<(String, u64, T)>),
    ) -> Result<()> {
        let read = |after: Option<String>| {
            let store = self.0.store.clone();
            tokio::spawn(async move { store.scan(prefix, after.as_deref(), PAGE).await })
        };
        let mut next = Some(read(None));
        while let Some(reading) = next.take() {
            let page = reading.await.map_err(Error::internal)?;
            let page = page.map_err(store_error)?;
            if let Some((last, _)) = page.last()
                && page.len() == PAGE
            {
                next = Some(read(Some(last.clone())));
            }
            let decoded = page.into_iter().map(|(key, record)| {
                let value = decode(&key, &record.value)?;
                Ok((key, record.version, value))
            });
            visit(decoded.collect::<Result<_>>()?);
        }
        Ok(())
    }

    /// Bring the read model to what the store has, after a commit of which nobody knows whether it was
    /// taken. Goes on until the store can be read.
    async fn look_again(self, updates: Vec<Update>, work: bool) {
        for update in updates {
            let mut wait = READ_AGAIN;
            while let Err(error) = self.refresh(&update).await {
                tracing::warn!(%error, "a record whose commit was not confirmed cannot be read yet");
                tokio::time::sleep(wait).await;
                wait = Duration::min(wait * 2, READ_AGAIN_MOST);
            }
        }
        if work {
            self.0.work.notify_one();
        }
    }

    async fn refresh(&self, update: &Update) -> Result<()> {
        let (version, update) = match update {
            Update::Instance(instance) => self.current_instance(instance.id).await?,
            Update::InstanceRemoved(id) => self.current_instance(*id).await?,
            Update::Operation(brief) => self.current_operation(brief.id).await?,
            Update::OperationRemoved(id) => self.current_operation(*id).await?,
            Update::ApiKey(_, key) => self.current_api_key(key.id).await?,
            Update::ApiKeyRemoved(id) => self.current_api_key(*id).await?,
        };
        self.0.view.apply(version, vec![update]);
        Ok(())
    }

    async fn current_instance(&self, id: InstanceId) -> Result<(u64, Update)> {
        let key = keys::instance(id);
        Ok(match self.read::<Instance>(&key).await? {
            Some((instance, version)) => (version, Update::Instance(Arc::new(instance))),
            None => (GONE, Update::InstanceRemoved(id)),
        })
    }

    async fn current_api_key(&self, id: KeyId) -> Result<(u64, Update)> {
        let stored = self.read::<StoredApiKey>(&keys::api_key(id)).await?;
        Ok(match stored {
            Some((stored, version)) => (version, Update::ApiKey(stored.mac, stored.key)),
            None => (GONE, Update::ApiKeyRemoved(id)),
        })
    }

    async fn current_operation(&self, id: OperationId) -> Result<(u64, Update)> {
        Ok(match self.read_operation(id).await? {
            Some(tracked) => {
                let brief = OperationBrief::from(&tracked.value);
                (tracked.version, Update::Operation(brief))
            }
            None => (GONE, Update::OperationRemoved(id)),
        })
    }
}

/// A commit of which it is not known whether it was taken, for [`Repo::sure`].
struct Unsure(Repo);

impl Unsure {
    fn begin(repo: &Repo) -> Self {
        repo.0.unsure.send_modify(|count| *count += 1);
        Self(repo.clone())
    }
}

impl Drop for Unsure {
    fn drop(&mut self) {
        self.0.0.unsure.send_modify(|count| *count -= 1);
    }
}

/// What a loop of attempts ends with when each lost against another writer.
pub(super) fn gave_up(conflict: StoreError) -> Error {
    store_error(conflict)
}
