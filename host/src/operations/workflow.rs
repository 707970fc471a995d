//! What a kind of operation is made of: a closed list of steps, one typed state, and what a step may
//! answer. A workflow never claims, records or retries; the driver does that for all of them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::NodeConfig;
use super::contexts;
use super::journal::Journal;
use super::looks::Looks;
use crate::model::plugin::{InstanceContext, TargetContext};
use crate::model::{Error, Instance, Kind, OperationId, Result};
use crate::runtime::{Engine, Plugins, Target};
use crate::store::repo::{Changes, Repo};

/// One kind of operation. `run` and `undo` are repeated after a crash that hid how far they came, so
/// they must bear repetition; `undo` also that nothing was done yet.
pub trait Workflow: Send + Sync + 'static {
    type Step: Copy + Send + Sync + 'static;
    /// What must survive from step to step and is not in the instance's own records. Never a secret.
    type State: Serialize + DeserializeOwned + Clone + Default + Send + Sync + 'static;

    const STEPS: &'static [Self::Step];

    /// The step's stored name. Steps may be added, never renamed.
    fn name(step: Self::Step) -> &'static str;

    /// What becomes of the operation when this step cannot be done.
    fn on_failure(step: Self::Step) -> OnFailure;

    fn run(
        step: Self::Step,
        context: &Context<'_>,
        state: &mut Self::State,
    ) -> impl Future<Output = StepResult> + Send;

    /// Undo a step that was started, whether or not it came to act: because a step failed that unwinds, because
    /// the operation was cancelled, or because another takes its place.
    fn undo(
        step: Self::Step,
        context: &Context<'_>,
        state: &mut Self::State,
    ) -> impl Future<Output = StepResult> + Send;

    /// What is recorded of the instance once all is undone, in the commit that ends the operation.
    fn undone() -> Changes;

    /// Why it failed, as it is told once all is undone: also how the instance is left, where that is not plain.
    fn told(_: &Self::State, why: String) -> String {
        why
    }
}

/// What becomes of an operation when a step cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Every started step is undone, in reverse. Also when the operation is not done in time.
    Unwind,
    /// There is no way but forward: it is tried again, ever more slowly, and says why.
    Insist,
}

/// What is recorded of the instance with the step's completion, or with its being undone, in the same commit.
pub type StepResult = Result<Changes, Stop>;

/// Why a step is not done. The text is shown to whoever reads the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not yet. Without a time the driver chooses one, longer with each attempt.
    Retry {
        after: Option<Duration>,
        why: String,
    },
    /// A repetition will not help.
    Fail { why: String },
}

impl Stop {
    pub fn retry(after: Duration, why: impl Into<String>) -> Self {
        Self::Retry {
            after: Some(after),
            why: why.into(),
        }
    }

    pub fn fail(why: impl Into<String>) -> Self {
        Self::Fail { why: why.into() }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        // The cause is for the log alone; what is recorded is the public text.
        tracing::debug!(?error, "a step was stopped");
        let why = error.public().to_owned();
        match error.kind {
            Kind::Retry(after) => Self::retry(after, why),
            Kind::Unavailable => Self::Retry { after: None, why },
            Kind::Invalid(_)
            | Kind::Unauthenticated
            | Kind::Denied
            | Kind::NotFound
            | Kind::Conflict(_)
            | Kind::QuotaExceeded
            | Kind::Unsupported
            | Kind::Failed
            | Kind::Internal => Self::Fail { why },
        }
    }
}

/// What a step works with. Made anew for every attempt, so that it sees what was recorded last.
pub struct Context<'a> {
    pub repo: &'a Repo,
    pub plugins: &'a dyn Plugins,
    pub config: &'a NodeConfig,
    pub instance: Arc<Instance>,
    /// Counts from 1, and anew when the step is undone.
    pub attempt: u32,
    /// When the step was begun for the first time.
    pub started_at: Timestamp,
    pub(super) looks: &'a Looks,
    pub(super) operation: OperationId,
    pub(super) step: &'static str,
    pub(super) journal: &'a Journal,
}

impl Context<'_> {
    /// Names this step of this operation: repeating a call with the same key converges.
    pub fn key(&self) -> String {
        format!("{}/{}", self.operation, self.step)
    }

    pub fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Whether another operation has taken this one's place. It brings the instance to where it shall be, so
    /// what is left to do here is to get out of its way.
    pub fn is_preempted(&self) -> bool {
        self.instance.operation != Some(self.operation)
    }

    /// How long the step has been under way, over all its attempts.
    pub fn elapsed(&self) -> Duration {
        Duration::try_from(self.now().duration_since(self.started_at)).unwrap_or(Duration::ZERO)
    }

    /// For how long this step has been waiting for that, in this process.
    pub fn waited(&self, what: &'static str) -> Duration {
        self.looks.waited(self.step, what)
    }

    /// The engine build that the instance was begun with.
    pub fn engine(&self) -> Result<Arc<dyn Engine>> {
        self.plugins.engine_build(&self.instance.engine_digest)
    }

    pub fn target(&self) -> Result<Arc<dyn Target>> {
        self.plugins.target_build(&self.instance.target_digest)
    }

    pub async fn instance_context(&self) -> Result<InstanceContext> {
        contexts::instance_context(self.repo, self.plugins, &self.instance).await
    }

    pub async fn target_context(&self) -> Result<TargetContext> {
        contexts::target_context(self.repo, &self.instance, self.key()).await
    }

    /// Reserve ports of this machine for the instance; those it already has, if it has any.
    pub async fn reserve_ports(&self, want: usize) -> Result<Vec<u16>> {
        if self.instance.reservation.ports.len() == want {
            return Ok(self.instance.reservation.ports.clone());
        }
        let config = self.config;
        self.journal
            .reserve_ports(want, config.ports.clone(), |port| config.can_bind(port))
            .await
    }

    /// Reserve a system user for the instance, where each has its own.
    pub async fn reserve_uid(&self) -> Result<Option<u32>> {
        match (&self.config.uids, self.instance.reservation.uid) {
            (_, Some(uid)) => Ok(Some(uid)),
            (None, None) => Ok(None),
            (Some(range), None) => {
                let busy = NodeConfig::busy_users()?;
                let is_free = |uid| !busy.contains(&uid);
                let reserved = self.journal.reserve_uid(range.clone(), is_free).await;
                reserved.map(Some)
            }
        }
    }
}
