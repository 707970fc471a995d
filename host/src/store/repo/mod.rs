//! The records of Berth, and every commit on them by its name.
//!
//! Only this module knows keys and encodings, and only it seals. Each accepted request and each step of an
//! operation is one commit; the read model follows before the call returns, also when its caller has gone
//! away meanwhile. Never decides what may be asked for: that is the services' and the operations' part.

mod api_keys;
mod commit;
mod encoding;
mod health;
mod instances;
mod keys;
mod operations;
mod probe;
mod purge;
mod records;
mod reservations;
mod secrets;
#[cfg(test)]
mod tests;

pub(super) use encoding::{schema_in, schema_of, seal_key, store_error};
pub(super) use keys::{META, kind};

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tokio::sync::{Notify, watch};

use super::Store;
use super::seal::Sealer;
use super::view::View;
use crate::model::instance::Endpoint;
use crate::model::plugin::Secrets;
use crate::model::setting::Settings;
use crate::model::workload::Workload;
use crate::model::{Digest, Instance, InstanceId, Operation, ProjectId, Result};

/// Clones share one repository.
#[derive(Clone)]
pub struct Repo(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    sealer: Sealer,
    view: View,
    work: Notify,
    /// How many commits there are of which nobody knows yet whether they were taken.
    unsure: watch::Sender<usize>,
    /// Where the search for a free port or user id goes on: one that was just given back rests a while.
    next_port: AtomicU32,
    next_uid: AtomicU32,
}

/// A value with what fences the next write of it.
#[derive(Clone, Debug)]
pub struct Tracked<T> {
    pub value: T,
    /// Version of the record.
    version: u64,
    /// How often its driver wrote it. Wishes of callers (cancel, retry) do not count here, so they
    /// never fence the driver out.
    journal: u64,
}

/// A caller's own name for a request, so that repeating it does not do it twice.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub project: ProjectId,
    pub key: String,
    /// Digest of the body: the same key with another body is a mistake.
    pub digest: [u8; 32],
}

/// How a creation was accepted.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
pub enum Begun {
    New(Arc<Instance>, Operation),
    /// It was accepted before, under the same idempotency key.
    Replayed(Arc<Instance>),
}

/// What a step changes beside its operation, in the same commit. None leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub workload: Option<Workload>,
    /// All of the instance's secrets, not only new ones.
    pub secrets: Option<Secrets>,
    pub endpoints: Option<Vec<Endpoint>>,
    /// The settings that are in force from now on, by name.
    pub settings: Option<Settings>,
    pub engine_digest: Option<Digest>,
    pub target_digest: Option<Digest>,
    /// Nothing of the instance exists on its node: give ports and user id back, and forget its plan,
    /// endpoints and secrets. No other change may stand beside it.
    pub release: bool,
}

impl Repo {
    /// Check that the store is one that this build and this key can read, and load the read model.
    pub async fn open(store: Arc<dyn Store>, sealer: Sealer) -> Result<Self> {
        let repo = Self(Arc::new(Shared {
            store,
            sealer,
            view: View::default(),
            work: Notify::new(),
            unsure: watch::Sender::new(0),
            // Anywhere: another Berth on this machine, with records of its own, looks from elsewhere.
            next_port: AtomicU32::new(rand::random()),
            next_uid: AtomicU32::new(rand::random()),
        }));
        repo.check_or_stamp().await?;
        repo.load().await?;
        Ok(repo)
    }

    /// Open the store with the key in the file, which is made for a store that is empty, and for no other.
    pub async fn open_with_key_file(store: Arc<dyn Store>, key_file: &Path) -> Result<Self> {
        let sealer = encoding::sealer_for(store.as_ref(), key_file).await?;
        Self::open(store, sealer).await
    }

    pub fn view(&self) -> &View {
        &self.0.view
    }

    /// Notified after each commit that leaves work for an executor: also when the request
    /// that made it was dropped before it could say so.
    pub fn work(&self) -> &Notify {
        &self.0.work
    }

    /// Returns once the read model has what became of every commit whose answer was lost until now.
    pub async fn sure(&self) {
        let mut unsure = self.0.unsure.subscribe();
        // The sender lives as long as `self`.
        let _open = unsure.wait_for(|count| *count == 0).await;
    }

    /// As the store has it: for who acts on it. The read model may be behind after a commit whose answer
    /// was lost.
    pub async fn instance(&self, id: InstanceId) -> Result<Option<Arc<Instance>>> {
        let record = self.read::<Instance>(&keys::instance(id)).await?;
        Ok(record.map(|(instance, _)| Arc::new(instance)))
    }
}

impl Changes {
    fn touch_instance(&self) -> bool {
        self.endpoints.is_some()
            || self.settings.is_some()
            || self.engine_digest.is_some()
            || self.target_digest.is_some()
            || self.release
    }
}
