//! Looks after what runs: observes every running instance, keeps the book of their health, and forgets
//! what was deleted long ago. It may start operations and change nothing else; that a look at an instance
//! lets its target mend a lost shim is the target's part.

mod health;
mod judge;

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use health::HealthBook;

use crate::model::plugin::{MemberDial, TargetContext};
use crate::model::{self, health::Condition};
use crate::model::{Instance, InstanceId, NodeName, Phase};
use crate::operations::{self, Clock};
use crate::runtime::{Plugins, Target};
use crate::store::repo::Repo;
use crate::store::view::InstanceQuery;
use health::Finding;

#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    pub node: NodeName,
    /// Every instance is looked at once in this time, evenly spread over it.
    pub period: Duration,
    /// How often its engine is asked, while nothing seems wrong.
    pub engine_every: Duration,
    /// How often its volumes are measured.
    pub usage_every: Duration,
    /// Most instances that are looked at in one moment, and as many again of those that took their time the last time.
    pub concurrency: usize,
    /// A look that takes longer is given up, and the next one at the same instance is made among its like.
    pub prompt: Duration,
    /// An instance that cannot be looked at within this time does not serve.
    pub patience: Duration,
    /// How long a deleted instance can be read.
    pub retention: Duration,
    pub purge_every: Duration,
    pub clock: Clock,
}

pub struct Supervisor {
    repo: Repo,
    plugins: Arc<dyn Plugins>,
    config: SupervisorConfig,
    health: HealthBook,
}

/// Where a look is taken from.
enum Place {
    Taken(OwnedSemaphorePermit),
    /// One of these, when its turn comes.
    InLine(Arc<Semaphore>),
}

/// What a look found.
struct Seen {
    condition: Condition,
    /// Who can measure its volumes, while its servers are there.
    measurable: Option<(Arc<dyn Target>, TargetContext)>,
}

/// What is remembered of an instance from look to look.
#[derive(Clone, Debug)]
struct Memory {
    /// What is remembered is of the servers that were brought up then.
    up_since: Option<Timestamp>,
    /// The last look took its time.
    slow: bool,
    restarts: u32,
    version: Option<String>,
    engine: Condition,
    engine_at: Option<Instant>,
    volumes: Condition,
    used_bytes: u64,
    usage_at: Option<Instant>,
}

impl SupervisorConfig {
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            period: Duration::from_secs(1),
            engine_every: Duration::from_secs(15),
            usage_every: Duration::from_secs(60),
            concurrency: 16,
            prompt: Duration::from_secs(1),
            patience: Duration::from_secs(15),
            retention: Duration::from_secs(7 * 24 * 3600),
            purge_every: Duration::from_secs(600),
            clock: Clock::system(),
        }
    }
}

impl Supervisor {
    pub fn new(
        repo: Repo,
        plugins: Arc<dyn Plugins>,
        health: HealthBook,
        config: SupervisorConfig,
    ) -> Self {
        Self {
            repo,
            plugins,
            config,
            health,
        }
    }

    /// Go round until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let supervisor = Arc::new(self);
        let rounds = supervisor.clone().rounds();
        let purges = supervisor.purges();
        tokio::select! {
            () = stop.cancelled() => {}
            () = rounds => {}
            () = purges => {}
        }
    }

    async fn rounds(self: Arc<Self>) {
        let mut memories: HashMap<InstanceId, Memory> = HashMap::new();
        let mut in_flight: HashSet<InstanceId> = HashSet::new();
        let mut looks = JoinSet::new();
        let places = || Arc::new(Semaphore::new(self.config.concurrency.max(1)));
        let (turns, slow_turns) = (places(), places());
        loop {
            let began = Instant::now();
            let running = self.running();
            let ids: HashSet<InstanceId> = running.iter().map(|instance| instance.id).collect();
            memories.retain(|id, _| ids.contains(id));
            self.health.keep_only(|id| self.running_since(id).is_some());
            self.catch_up().await;
            let share = u32::try_from(running.len()).unwrap_or(u32::MAX).max(1);
            for (index, instance) in (0_u32..).zip(running) {
                // Spread over the period, so that many instances are not a stampede.
                sleep_until(began + self.config.period / share * index).await;
                while let Some(looked) = looks.try_join_next() {
                    settle(looked, &mut memories, &mut in_flight);
                }
                // A look that takes its time is not begun twice.
                if in_flight.contains(&instance.id) {
                    continue;
                }
                let slow = memories.get(&instance.id).is_some_and(|m| m.slow);
                let place = if slow {
                    Place::InLine(slow_turns.clone())
                } else {
                    match turns.clone().acquire_owned().await {
                        Ok(turn) => Place::Taken(turn),
                        Err(_) => return,
                    }
                };
                in_flight.insert(instance.id);
                let memory = memories.remove(&instance.id).unwrap_or_default();
                let supervisor = self.clone();
                looks.spawn(async move {
                    let id = instance.id;
                    let look = AssertUnwindSafe(supervisor.look_from(place, &instance, memory));
                    (id, look.catch_unwind().await.ok())
                });
            }
            sleep_until(began + self.config.period).await;
            while let Some(looked) = looks.try_join_next() {
                settle(looked, &mut memories, &mut in_flight);
            }
        }
    }

    async fn purges(&self) {
        loop {
            let clock = &self.config.clock;
            let older_than = clock.before(self.config.retention);
            match self.repo.purge_deleted(older_than).await {
                Ok(0) => {}
                Ok(purged) => info!(purged, "forgot databases that were deleted long ago"),
                Err(problem) => warn!(?problem, "cannot forget deleted databases yet"),
            }
            tokio::time::sleep(self.config.purge_every).await;
        }
    }

    /// Look at an instance from a place of its own. A look that takes its time is given up before it has found anything,
    /// and the next one waits for a place among its like, in their order, and has all its patience there: however many
    /// hang, the others are looked at, and no more of them are under way than there are places.
    async fn look_from(&self, place: Place, instance: &Instance, memory: Memory) -> Memory {
        let _turn = match place {
            Place::Taken(turn) => turn,
            Place::InLine(turns) => match turns.acquire_owned().await {
                Ok(turn) => turn,
                Err(_) => return memory,
            },
        };
        self.look(instance, memory).await
    }

    /// Look at an instance and enter what was found.
    async fn look(&self, instance: &Instance, mut memory: Memory) -> Memory {
        let up_since = instance.updated_at;
        // It may have waited for its place.
        if self.running_since(instance.id) != Some(up_since) {
            return memory;
        }
        if memory.up_since != Some(up_since) {
            memory = Memory {
                up_since: Some(up_since),
                used_bytes: memory.used_bytes,
                ..Memory::default()
            };
        }
        let (began, was_slow) = (Instant::now(), memory.slow);
        let most = if was_slow {
            self.config.patience
        } else {
            self.config.prompt
        };
        let looked = timeout(most, self.examine(instance, &mut memory)).await;
        let mut late = looked.is_err();
        if let Ok(Ok(seen)) = &looked
            && let Some((target, about)) = &seen.measurable
            && is_due(memory.usage_at, self.config.usage_every)
        {
            late = !measure(target.as_ref(), about, began + most, &mut memory).await;
        }
        memory.slow = late || began.elapsed() > self.config.prompt;
        if looked.is_err() && !was_slow {
            // What it was about to ask is asked by the next one.
            memory.engine_at = None;
            return memory;
        }
        let condition = self
            .plain(
                instance.id,
                match looked {
                    Ok(Ok(seen)) => judge::worse(seen.condition, memory.volumes.clone()),
                    Ok(Err(problem)) if problem.is_retryable() => {
                        Condition::Degraded(format!("cannot be looked at now: {problem}"))
                    }
                    Ok(Err(problem)) => Condition::Down(format!("cannot be looked at: {problem}")),
                    Err(_) => Condition::Down("does not answer".to_owned()),
                },
            )
            .await;
        // What was looked at may have been stopped since, and started again.
        if self.running_since(instance.id) != Some(up_since) {
            return memory;
        }
        let finding = Finding {
            condition: condition.clone(),
            used_bytes: memory.used_bytes,
            restarts: memory.restarts,
            version: memory.version.clone(),
        };
        let now = self.config.clock.now();
        self.recall(instance.id).await;
        if self.health.enter(instance.id, finding, up_since, now) {
            // Not written now, it is with the next round.
            let _written = self.record_history(instance.id).await;
            match condition {
                Condition::Healthy => info!(instance = %instance.id, "healthy"),
                Condition::Degraded(why) => {
                    warn!(instance = %instance.id, "degraded: {}", first_line(&why));
                }
                Condition::Down(why) => {
                    warn!(instance = %instance.id, "down: {}", first_line(&why));
                }
            }
        }
        memory
    }

    /// A server's last words may be in it, and they may hold anything.
    async fn plain(&self, id: InstanceId, condition: Condition) -> Condition {
        let plain = async |why: String| operations::plain(&self.repo, id, &why).await;
        match condition {
            Condition::Healthy => Condition::Healthy,
            Condition::Degraded(why) => Condition::Degraded(plain(why).await),
            Condition::Down(why) => Condition::Down(plain(why).await),
        }
    }

    async fn recall(&self, id: InstanceId) {
        if self.health.remembers(id) {
            return;
        }
        match self.repo.health_history(id).await {
            Ok(history) => self.health.recall(id, history),
            Err(problem) => warn!(instance = %id, ?problem, "its past cannot be read yet"),
        }
    }

    /// Write what could not be written before, also of those that do not run any more. A store that fails is not
    /// asked for each of them.
    async fn catch_up(&self) {
        for id in self.health.unwritten() {
            if !self.record_history(id).await {
                return;
            }
        }
    }

    async fn record_history(&self, id: InstanceId) -> bool {
        let Some(history) = self.health.history(id) else {
            return true;
        };
        match self.repo.put_health_history(id, &history).await {
            Ok(()) => {
                self.health.written(id, &history);
                true
            }
            Err(problem) => {
                warn!(instance = %id, ?problem, "a change of its health is not recorded yet");
                false
            }
        }
    }

    async fn examine(&self, instance: &Instance, memory: &mut Memory) -> model::Result<Seen> {
        let target = self.plugins.target_build(&instance.target_digest)?;
        let key = "supervise".to_owned();
        let about = operations::target_context(&self.repo, instance, key).await?;
        let statuses = target.observe(&about).await?;
        let processes = judge::processes(&about.workload, &statuses);
        let dials = operations::dials(&about.workload, &statuses);
        let reached = !matches!(processes, Condition::Down(_));
        self.health.see_dials(
            instance.id,
            instance.updated_at,
            reached.then(|| dials.clone()),
        );

        let restarts = statuses.iter().map(|status| status.restarts).sum();
        let restarted = std::mem::replace(&mut memory.restarts, restarts) != restarts;
        if let Condition::Down(_) = processes {
            // Asking the engine tells nothing new; once it is up again that is worth knowing at once.
            memory.engine_at = None;
            return Ok(Seen {
                condition: processes,
                measurable: None,
            });
        }
        let well = memory.engine == Condition::Healthy && !restarted;
        if !well || is_due(memory.engine_at, self.config.engine_every) {
            self.ask_engine(instance, dials, memory).await?;
        }
        Ok(Seen {
            condition: judge::worse(processes, memory.engine.clone()),
            measurable: Some((target, about)),
        })
    }

    async fn ask_engine(
        &self,
        instance: &Instance,
        dials: Vec<MemberDial>,
        memory: &mut Memory,
    ) -> model::Result<()> {
        let engine = self.plugins.engine_build(&instance.engine_digest)?;
        let context = operations::instance_context_by(&self.repo, instance, dials).await?;
        memory.engine = match engine.observe(&context).await {
            Ok(members) => {
                let version = members.iter().find(|member| !member.version.is_empty());
                memory.version = version.map(|member| member.version.clone());
                judge::members(&members)
            }
            Err(problem) => Condition::Down(format!("does not answer its engine: {problem}")),
        };
        memory.engine_at = Some(Instant::now());
        Ok(())
    }

    fn running(&self) -> Vec<Arc<Instance>> {
        let query = InstanceQuery {
            phases: vec![Phase::Running],
            ..InstanceQuery::default()
        };
        let mut running = self.repo.view().list(&query).items;
        running.retain(|instance| instance.node == self.config.node);
        running
    }

    /// When it was brought up, if it runs: an instance's record changes when an operation on it begins or ends.
    fn running_since(&self, id: InstanceId) -> Option<Timestamp> {
        let instance = self.repo.view().get(id);
        let running = instance.filter(|instance| instance.phase() == Phase::Running);
        running.map(|instance| instance.updated_at)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            up_since: None,
            slow: false,
            restarts: 0,
            version: None,
            engine: Condition::Healthy,
            engine_at: None,
            volumes: Condition::Healthy,
            used_bytes: 0,
            usage_at: None,
        }
    }
}

fn settle(
    looked: Result<(InstanceId, Option<Memory>), JoinError>,
    memories: &mut HashMap<InstanceId, Memory>,
    in_flight: &mut HashSet<InstanceId>,
) {
    match looked {
        Ok((id, memory)) => {
            in_flight.remove(&id);
            match memory {
                Some(memory) => {
                    memories.insert(id, memory);
                }
                None => error!(instance = %id, "a look at an instance ended in a defect"),
            }
        }
        // Panics are caught above, and nobody aborts a look while the supervisor runs.
        Err(problem) => error!(%problem, "a look at an instance was lost"),
    }
}

/// Measure its volumes, in what is left of a look's time, and say whether that was enough. A large one takes longer:
/// what was known before holds on then, and it is no word on whether its server serves.
async fn measure(
    target: &dyn Target,
    about: &TargetContext,
    until: Instant,
    memory: &mut Memory,
) -> bool {
    // Before it is asked: a look after one that was late does not begin it all over.
    memory.usage_at = Some(Instant::now());
    match timeout_at(until, target.usage(about)).await {
        Ok(Ok(usage)) => {
            memory.used_bytes = usage.iter().map(|volume| volume.used_bytes).sum();
            memory.volumes = judge::volumes(&usage);
        }
        Ok(Err(problem)) => {
            let why = format!("its volumes cannot be measured: {problem}");
            memory.volumes = Condition::Degraded(why);
        }
        Err(_) => {
            if memory.slow {
                warn!(instance = %about.instance, "its volumes could not be measured in time");
            } else {
                // The next look is made among the slow ones, and has more time for it.
                memory.usage_at = None;
            }
            return false;
        }
    }
    true
}

/// What a server said last is in the admin API, and stays out of the host's log.
fn first_line(why: &str) -> &str {
    why.lines().next().unwrap_or_default()
}

fn is_due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}
