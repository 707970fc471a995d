//! Finds open operations and has them driven, a bounded number at once.
//!
//! Nothing is remembered that the store does not know: after a restart, and on another replica, open
//! operations are found the same way. A wake-up carries nothing; it only means "look again".

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, error_span, warn};
use uuid::Uuid;

use super::config::NodeConfig;
use super::driver::{Driver, Parted};
use super::journal::{Gone, Journal, Refusal};
use super::looks::Looks;
use super::{configure, create, delete, renew_certificate, restart, set_access, start, stop};
use crate::model::operation::NewOperation;
use crate::model::setting::Settings;
use crate::model::{Error, OperationId, OperationKind, Result};
use crate::runtime::Plugins;
use crate::store::repo::Repo;
use crate::trace;

/// Looked at without being woken: another replica's claim may have ended.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Before an operation is looked at again that the store or a defect kept from being driven.
const AFTER_TROUBLE: Duration = Duration::from_secs(1);
/// Before one is looked at again that was changed under us.
const SOON: Duration = Duration::from_millis(10);
/// Before one is looked at again that a newer Berth stored.
const UNTOUCHED_FOR: Duration = Duration::from_secs(60);

/// The executor of this process. Clones are the same one.
#[derive(Clone)]
pub struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    repo: Repo,
    plugins: Arc<dyn Plugins>,
    config: NodeConfig,
    process: Uuid,
    untouched: Mutex<BTreeMap<OperationId, String>>,
    /// Operations are ready that no driver is free for.
    crowded: AtomicBool,
}

/// What the executor knows of the open operations. Only a cache: it may be lost at any time.
#[derive(Default)]
struct Board {
    ready: VecDeque<OperationId>,
    waiting: HashMap<OperationId, Wait>,
    driving: HashMap<OperationId, Arc<Notify>>,
    tasks: HashMap<Id, OperationId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Until(Instant),
    After(OperationId),
}

/// What to do with an operation that is not driven any more.
enum Verdict {
    Over,
    Again(Wait),
}

impl Executor {
    pub fn new(repo: Repo, plugins: Arc<dyn Plugins>, config: NodeConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                repo,
                plugins,
                config,
                process: Uuid::new_v4(),
                untouched: Mutex::default(),
                crowded: AtomicBool::default(),
            }),
        }
    }

    /// An operation of this kind, as it is to be recorded when it is accepted.
    pub fn new_operation(&self, kind: OperationKind, request_id: Option<&str>) -> NewOperation {
        let config = &self.shared.config;
        NewOperation {
            kind,
            steps: super::step_names(kind).map(str::to_owned).collect(),
            state: serde_json::Value::Null,
            deadline: config.deadline(kind),
            after: None,
            request_id: request_id.map(str::to_owned),
            trace: trace::current(),
        }
    }

    /// One that has the instance run with these settings: all of them, not only new ones.
    pub fn configure_operation(
        &self,
        wanted: Settings,
        request_id: Option<&str>,
    ) -> Result<NewOperation> {
        let state = configure::State::new(wanted);
        Ok(NewOperation {
            state: serde_json::to_value(state).map_err(Error::internal)?,
            ..self.new_operation(OperationKind::Configure, request_id)
        })
    }

    /// Look again now. The commits that leave work say so themselves.
    pub fn wake(&self) {
        self.shared.repo.work().notify_one();
    }

    /// Operations that a newer Berth stored, and what of them is not known here.
    pub fn untouched(&self) -> BTreeMap<OperationId, String> {
        self.shared.untouched().clone()
    }

    /// Drive operations until told to stop; then finish or park the steps under way and release
    /// the claims. Dropping it instead is as good as a kill.
    pub async fn run(&self, stop: CancellationToken) {
        let mut board = Board::default();
        let mut drivers = JoinSet::new();
        let mut look_at = Instant::now();
        let mut soonest = look_at;
        while !stop.is_cancelled() {
            let now = Instant::now();
            if now >= look_at {
                board.poke_drivers();
                let found = self.look(&mut board).await;
                // A look costs more the more is open. At most a fifth of the time goes into it.
                soonest = Instant::now() + now.elapsed() * 4;
                look_at = now + if found { LOOK_EVERY } else { AFTER_TROUBLE };
            }
            self.start_drivers(&mut board, &mut drivers, &stop);
            let next = board.next_due().map_or(look_at, |due| due.min(look_at));
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.shared.repo.work().notified() => look_at = look_at.min(soonest),
                Some(done) = drivers.join_next_with_id() => self.settle(&mut board, done),
                () = sleep_until(next) => {}
            }
        }
        while let Some(done) = drivers.join_next_with_id().await {
            self.settle(&mut board, done);
        }
    }

    /// Bring the board up to what is open.
    async fn look(&self, board: &mut Board) -> bool {
        let open = match self.shared.repo.open_operations().await {
            Ok(open) => open,
            Err(problem) => {
                warn!(?problem, "cannot list the open operations yet");
                return false;
            }
        };
        let still: HashSet<OperationId> = open.iter().copied().collect();
        board.ready.retain(|id| still.contains(id));
        board.waiting.retain(|id, _| still.contains(id));
        self.shared.untouched().retain(|id, _| still.contains(id));
        let queued: HashSet<OperationId> = board.ready.iter().copied().collect();
        for id in open {
            if board.driving.contains_key(&id) || queued.contains(&id) {
                continue;
            }
            // One that waits may have been cancelled or told to go on: its record says.
            #[expect(clippy::map_entry, reason = "an entry cannot be held across an await")]
            if board.waiting.contains_key(&id) {
                match Journal::claim(
                    &self.shared.repo,
                    &self.shared.config,
                    self.shared.process,
                    id,
                )
                .await
                {
                    Ok(_) => {}
                    Err(refusal) => {
                        match self.refused(id, refusal) {
                            Verdict::Over => board.waiting.remove(&id),
                            Verdict::Again(wait) => board.waiting.insert(id, wait),
                        };
                        continue;
                    }
                }
                if self.shared.untouched().contains_key(&id) {
                    continue;
                }
                board.waiting.remove(&id);
            }
            board.ready.push_back(id);
        }
        true
    }

    fn start_drivers(
        &self,
        board: &mut Board,
        drivers: &mut JoinSet<Verdict>,
        stop: &CancellationToken,
    ) {
        board.promote_due();
        while board.driving.len() < self.shared.config.concurrency.max(1) {
            let Some(id) = board.ready.pop_front() else {
                break;
            };
            let poke = Arc::new(Notify::new());
            board.driving.insert(id, poke.clone());
            let executor = self.clone();
            let stop = stop.clone();
            let task = drivers.spawn(async move { executor.drive(id, &poke, &stop).await });
            board.tasks.insert(task.id(), id);
        }
        let crowded = !board.ready.is_empty();
        self.shared.crowded.store(crowded, Ordering::Relaxed);
    }

    async fn drive(&self, id: OperationId, poke: &Notify, stopping: &CancellationToken) -> Verdict {
        let shared = &self.shared;
        let claimed = Journal::claim(&shared.repo, &shared.config, shared.process, id).await;
        let journal = match claimed {
            Ok(journal) => journal,
            Err(refusal) => return self.refused(id, refusal),
        };
        let operation = journal.read().await;
        let kind = operation.kind;
        // Of the highest level, so that no line within it goes without these ids, whatever is logged.
        let span = error_span!(
            parent: None,
            "operation",
            %id,
            kind = kind.as_str(),
            instance = %journal.instance(),
            request = operation.request_id.as_deref(),
        );
        if let Some(parent) = &operation.trace {
            trace::continue_from(&span, parent);
        }
        let driver = Driver {
            repo: &shared.repo,
            plugins: shared.plugins.as_ref(),
            config: &shared.config,
            journal: &journal,
            poke,
            stopping,
            crowded: &shared.crowded,
            looks: Looks::default(),
            reason: tokio::sync::Mutex::default(),
        };
        let parted = async {
            match kind {
                OperationKind::Create => driver.drive::<create::Create>().await,
                OperationKind::Stop => driver.drive::<stop::StopMembers>().await,
                OperationKind::Start => driver.drive::<start::Start>().await,
                OperationKind::Restart => driver.drive::<restart::Restart>().await,
                OperationKind::Configure => driver.drive::<configure::Configure>().await,
                OperationKind::SetAccess => driver.drive::<set_access::SetAccess>().await,
                OperationKind::RenewCertificate => {
                    driver.drive::<renew_certificate::RenewCertificate>().await
                }
                OperationKind::Delete => driver.drive::<delete::Delete>().await,
            }
        };
        match parted.instrument(span).await {
            Ok(Parted::Finished) => Verdict::Over,
            Ok(Parted::Until(then)) => Verdict::Again(in_(shared.config.clock.until(then))),
            Ok(Parted::Untouched(why)) => {
                self.leave_untouched(id, why);
                Verdict::Again(in_(UNTOUCHED_FOR))
            }
            // Whoever took it, or changed it before it was ours: the record says what to do.
            Err(Gone::Lost) => Verdict::Again(in_(SOON)),
            Err(Gone::Store(problem)) => {
                warn!(%id, ?problem, "the store failed; the operation is taken up again");
                Verdict::Again(in_(AFTER_TROUBLE))
            }
        }
    }

    fn refused(&self, id: OperationId, refusal: Refusal) -> Verdict {
        match refusal {
            Refusal::Over => Verdict::Over,
            Refusal::Until(then) => Verdict::Again(in_(self.shared.config.clock.until(then))),
            Refusal::After(first) => Verdict::Again(Wait::After(first)),
            Refusal::Elsewhere => Verdict::Again(in_(UNTOUCHED_FOR)),
            Refusal::Unreadable(why) => {
                self.leave_untouched(id, why);
                Verdict::Again(in_(UNTOUCHED_FOR))
            }
            Refusal::Store(problem) => {
                warn!(%id, ?problem, "cannot read an open operation yet");
                Verdict::Again(in_(AFTER_TROUBLE))
            }
        }
    }

    fn leave_untouched(&self, id: OperationId, why: String) {
        let mut untouched = self.shared.untouched();
        if untouched.get(&id) != Some(&why) {
            error!(%id, "the operation is left as it is: {why}");
            untouched.insert(id, why);
        }
    }

    fn settle(&self, board: &mut Board, done: Result<(Id, Verdict), JoinError>) {
        let (task, verdict) = match done {
            Ok(done) => done,
            Err(problem) => {
                error!(%problem, "a driver ended in a defect; its operation is taken up again");
                (problem.id(), Verdict::Again(in_(AFTER_TROUBLE)))
            }
        };
        let Some(id) = board.tasks.remove(&task) else {
            return;
        };
        board.driving.remove(&id);
        match verdict {
            // The other one may have ended since its record was read.
            Verdict::Again(Wait::After(first)) if !board.knows(first) => {
                board.waiting.insert(id, in_(SOON));
            }
            Verdict::Again(wait) => {
                board.waiting.insert(id, wait);
            }
            Verdict::Over => board.release_after(id),
        }
    }
}

impl Shared {
    fn untouched(&self) -> std::sync::MutexGuard<'_, BTreeMap<OperationId, String>> {
        self.untouched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn poke_drivers(&self) {
        for poke in self.driving.values() {
            poke.notify_one();
        }
    }

    fn knows(&self, id: OperationId) -> bool {
        self.driving.contains_key(&id) || self.waiting.contains_key(&id) || self.ready.contains(&id)
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting
            .values()
            .filter_map(|wait| match wait {
                Wait::Until(then) => Some(*then),
                Wait::After(_) => None,
            })
            .min()
    }

    fn promote_due(&mut self) {
        let now = Instant::now();
        self.promote(|wait| match wait {
            Wait::Until(then) => *then <= now,
            Wait::After(_) => false,
        });
    }

    fn release_after(&mut self, first: OperationId) {
        self.promote(|wait| *wait == Wait::After(first));
    }

    fn promote(&mut self, is_due: impl Fn(&Wait) -> bool) {
        let mut due: Vec<OperationId> = self
            .waiting
            .extract_if(|_, wait| is_due(wait))
            .map(|(id, _)| id)
            .collect();
        // Ids sort by age: the oldest first.
        due.sort_unstable();
        self.ready.extend(due);
    }
}

fn in_(pause: Duration) -> Wait {
    Wait::Until(Instant::now() + pause)
}
