//! What a caller may ask for: rules, quotas, the catalogue. Dialects come here with their requests taken apart
//! and get the model's own types back. Never knows HTTP, and changes nothing but through the repository's
//! named commits and an engine's own calls.

pub mod access;
pub mod catalogue;
mod certificate;
pub mod creation;
pub mod credentials;
pub mod instances;
pub mod keys;
pub mod offer;
pub mod operations;
pub mod plugins;
pub mod policies;
mod quota;
mod readiness;
pub mod settings;
pub mod users;

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tracing::Instrument;

use crate::model::plugin::InstanceContext;
use crate::model::project::Role;
use crate::model::{Error, Instance, InstanceId, KeyId, NodeName, Phase, ProjectId, Result};
use crate::operations::Executor;
use crate::runtime::Plugins;
use crate::store::repo::Repo;
use crate::supervisor::HealthBook;

pub use access::AccessChange;
pub use catalogue::Catalogue;
pub use creation::{Created, Draft};
pub use instances::InstanceRef;
pub use policies::Patch;
pub use settings::SettingsChange;
pub use users::PrivilegeQuery;

/// What lists can be asked for.
pub use crate::store::view::{Cursor, InstanceQuery, OperationQuery, Order, OrderBy};

/// How many may be in line for their turn with the users of one instance, the one whose turn it is among them.
const MOST_IN_LINE: usize = 64;
const IN_LINE_AGAIN: Duration = Duration::from_secs(5);

/// Everything that can be asked of Berth. Clones are the same one.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

pub struct Parts {
    pub repo: Repo,
    pub plugins: Arc<dyn Plugins>,
    pub executor: Executor,
    pub health: HealthBook,
    pub catalogue: Catalogue,
    /// The host that new instances are recorded under.
    pub node: NodeName,
    /// How many operations may be open before new ones are refused.
    pub max_open: usize,
    /// The task that drives operations.
    pub driving: tokio::task::AbortHandle,
}

struct Inner {
    parts: Parts,
    promised: quota::Promised,
    probed: readiness::Probed,
    /// One at a time may change the users of an instance and what is theirs, or learn the first one's password: an answer
    /// is true when it is given, and of two changes the later one holds.
    users_locks: Mutex<HashMap<InstanceId, Weak<tokio::sync::Mutex<()>>>>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    pub key: KeyId,
    pub project: ProjectId,
    pub role: Role,
    pub request_id: Option<Arc<str>>,
    pub held: Held,
}

/// What a request has of the host until the work for it is done, also when whoever asked has gone away: its place among
/// those of its key.
#[derive(Clone, Default)]
pub struct Held(Option<Arc<dyn Any + Send + Sync>>);

impl Held {
    pub fn new(place: Arc<impl Send + Sync + 'static>) -> Self {
        Self(Some(place))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "Held"
        } else {
            "Held nothing"
        })
    }
}

impl Caller {
    /// The project whose instances are shown; none for all of them.
    pub fn scope(&self) -> Option<ProjectId> {
        match self.role {
            Role::Admin => None,
            Role::Member => Some(self.project),
        }
    }

    fn may_see(&self, project: ProjectId) -> bool {
        self.scope().is_none_or(|own| own == project)
    }
}

impl Control {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            promised: quota::Promised::default(),
            probed: readiness::Probed::default(),
            users_locks: Mutex::default(),
        }))
    }

    pub fn repo(&self) -> &Repo {
        &self.0.parts.repo
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.0.parts.catalogue
    }

    pub fn health(&self) -> &HealthBook {
        &self.0.parts.health
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn plugins(&self) -> &dyn Plugins {
        self.0.parts.plugins.as_ref()
    }

    fn executor(&self) -> &Executor {
        &self.0.parts.executor
    }

    /// What a call to an instance's engine is to know. Where its members are is what the last look at them found, if
    /// that was a moment ago: asking the target takes longer than most calls.
    async fn context(&self, instance: &Instance) -> Result<InstanceContext> {
        let health = self.health();
        let seen = match instance.phase() == Phase::Running {
            true => health.dials(instance.id, instance.updated_at),
            // What is being done to it may change where they are.
            false => None,
        };
        match seen {
            Some(dials) => {
                crate::operations::instance_context_by(self.repo(), instance, dials).await
            }
            None => {
                crate::operations::instance_context(self.repo(), self.plugins(), instance).await
            }
        }
    }

    /// Held by one at a time. Whoever asked and hung up still has his turn, so there is an end to how many wait.
    fn users_lock(&self, id: InstanceId) -> Result<Arc<tokio::sync::Mutex<()>>> {
        let locks = &self.0.users_locks;
        let mut locks = locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&id).and_then(Weak::upgrade) {
            if Arc::strong_count(&lock) > MOST_IN_LINE {
                let message = "too many requests wait for this database to answer";
                return Err(Error::retry(IN_LINE_AGAIN, message));
            }
            return Ok(lock);
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(id, Arc::downgrade(&lock));
        Ok(lock)
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Control")
    }
}

/// Carry a change through, also when its caller has gone away in the middle of it.
async fn unbroken<T: Send + 'static>(
    held: Held,
    change: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let whole = async move {
        let done = change.await;
        drop(held);
        done
    };
    tokio::spawn(whole.in_current_span())
        .await
        .unwrap_or_else(|gone| Err(Error::internal(format!("a change was cut short: {gone}"))))
}

/// What an engine said that could not reach its server.
fn unanswered(error: Error) -> Error {
    let message = format!("the database does not answer now: {}", error.public());
    Error::unavailable(message).caused_by(error)
}
