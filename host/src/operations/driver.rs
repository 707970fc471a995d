//! Drives one claimed operation: records, acts, waits, unwinds, finishes.
//!
//! *Started* is recorded before a step acts, and *Done* with the state after it in one commit with the
//! *Started* of the next. Undo covers every started step, the failing one too: it may have acted.

use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};

use super::clock::backoff;
use super::config::NodeConfig;
use super::journal::{Finish, Gone, Journal};
use super::plain::plain;
use super::workflow::{Context, OnFailure, Stop, Workflow};
use crate::model::operation::{StepRecord, StepState};
use crate::model::{Error, Operation, OperationStatus, Outcome};
use crate::runtime::Plugins;
use crate::store::repo::{Changes, Repo};

/// No pause is longer, whatever asked for it.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// Shorter pauses are waited out here, without a commit; longer ones are stored, and nobody waits.
const PARK_FROM: Duration = Duration::from_secs(2);

/// How a driver and its operation part.
#[derive(Debug)]
pub enum Parted {
    Finished,
    /// To be driven again at this time.
    Until(Timestamp),
    /// Stored by a newer Berth: left as it is, and why.
    Untouched(String),
}

pub struct Driver<'a> {
    pub repo: &'a Repo,
    pub plugins: &'a dyn Plugins,
    pub config: &'a NodeConfig,
    pub journal: &'a Journal,
    /// Says that the record may have changed.
    pub poke: &'a Notify,
    pub stopping: &'a CancellationToken,
    /// The newest reason for a pause, as it was given and as it is recorded: most pauses repeat it.
    pub reason: Mutex<Option<(String, String)>>,
}

/// What the record asks for.
enum Next<S> {
    Run(S),
    Undo(S),
    Finish(Outcome),
    Unwind(String),
}

/// What came of letting a step act.
enum Acted<T> {
    Answered(Result<T, Stop>),
    Overdue,
    Stopping,
}

impl Driver<'_> {
    pub async fn drive<W: Workflow>(&self) -> Result<Parted, Gone> {
        let mut state = match restore::<W>(&self.journal.read().await) {
            Ok(state) => state,
            Err(why) => return Ok(Parted::Untouched(why)),
        };
        self.take_up().await?;
        loop {
            if self.stopping.is_cancelled() {
                return self.let_go().await;
            }
            let operation = self.journal.read().await;
            let parted = match next::<W>(&operation, self.config.clock.now()) {
                Next::Run(step) => self.run::<W>(step, &mut state).await?,
                Next::Undo(step) => self.undo::<W>(step, &mut state).await?,
                Next::Unwind(why) => self.unwind(&why).await?,
                Next::Finish(outcome) => {
                    let changes = match outcome {
                        Outcome::Succeeded => Changes::default(),
                        Outcome::Failed | Outcome::Cancelled => W::undone(),
                    };
                    let failure = operation.failure.clone();
                    self.finish(outcome, failure, changes, |_| {}).await?
                }
            };
            if let Some(parted) = parted {
                return Ok(parted);
            }
        }
    }

    async fn run<W: Workflow>(
        &self,
        step: W::Step,
        state: &mut W::State,
    ) -> Result<Option<Parted>, Gone> {
        let name = W::name(step);
        // What a failed attempt did to the state is not kept.
        let mut draft = state.clone();
        let operation = self.journal.note_attempt(name).await;
        let context = self.context(&operation, name).await?;
        let deadline = match W::ON_FAILURE {
            OnFailure::Unwind => operation.deadline,
            OnFailure::Insist => None,
        };
        let span = info_span!("step", step = name, attempt = context.attempt);
        let acted = self.act(W::run(step, &context, &mut draft), deadline);
        match acted.instrument(span).await? {
            Acted::Answered(Ok(changes)) => {
                *state = draft;
                self.complete(name, encode(state)?, changes).await
            }
            Acted::Answered(Err(Stop::Retry { after, why })) => {
                self.pause(&context, after, &why).await
            }
            Acted::Answered(Err(Stop::Fail { why })) => match W::ON_FAILURE {
                OnFailure::Insist => self.pause(&context, None, &why).await,
                OnFailure::Unwind => {
                    let why = self.recordable(&why).await;
                    warn!(step = name, "failed: {why}");
                    self.unwind(&why).await
                }
            },
            // Read again, the record says that it is overdue.
            Acted::Overdue => Ok(None),
            Acted::Stopping => self.let_go().await.map(Some),
        }
    }

    async fn undo<W: Workflow>(
        &self,
        step: W::Step,
        state: &mut W::State,
    ) -> Result<Option<Parted>, Gone> {
        let name = W::name(step);
        let operation = self.journal.note_attempt(name).await;
        let context = self.context(&operation, name).await?;
        let mut draft = state.clone();
        let span = info_span!("step", step = name, attempt = context.attempt, undo = true);
        let acted = self.act(W::undo(step, &context, &mut draft), None);
        match acted.instrument(span).await? {
            Acted::Answered(Ok(())) => {
                *state = draft;
                let state = encode(state)?;
                let now = self.config.clock.now();
                self.journal
                    .record(Changes::default(), |operation| {
                        operation.state = state.clone();
                        if let Some(record) = record_of(operation, name) {
                            record.state = StepState::Undone;
                            record.finished_at = Some(now);
                        }
                    })
                    .await?;
                Ok(None)
            }
            // An undo is never given up: what was made would be left behind.
            Acted::Answered(Err(Stop::Retry { after, why })) => {
                self.pause(&context, after, &why).await
            }
            Acted::Answered(Err(Stop::Fail { why })) => self.pause(&context, None, &why).await,
            Acted::Overdue => Ok(None),
            Acted::Stopping => self.let_go().await.map(Some),
        }
    }

    /// Record the claim, and that the first step is about to act.
    async fn take_up(&self) -> Result<(), Gone> {
        let now = self.config.clock.now();
        self.journal
            .record(Changes::default(), |operation| {
                // Waiting for its turn is not counted, and neither is a time without a host.
                operation.deadline = match (operation.status, operation.deadline) {
                    (OperationStatus::Pending, _) => self.config.deadline(operation.kind),
                    (_, Some(deadline)) => Some(deadline + self.unattended(operation, now)),
                    (_, None) => None,
                };
                operation.not_before = None;
                if operation.status != OperationStatus::Unwinding {
                    operation.status = OperationStatus::Running;
                    begin_next(operation, now);
                }
            })
            .await
    }

    /// How long nobody drove it though it could have been: a driver writes several times a lease.
    fn unattended(&self, operation: &Operation, now: Timestamp) -> SignedDuration {
        let due = operation.not_before.unwrap_or(operation.updated_at);
        let since = now.duration_since(due.max(operation.updated_at));
        let lease = SignedDuration::try_from(self.config.lease).unwrap_or(SignedDuration::MAX);
        if since > lease {
            since
        } else {
            SignedDuration::ZERO
        }
    }

    /// Record that a step is done and the next about to act; after the last one, finish.
    async fn complete(
        &self,
        name: &'static str,
        state: serde_json::Value,
        changes: Changes,
    ) -> Result<Option<Parted>, Gone> {
        let now = self.config.clock.now();
        let done = |operation: &mut Operation| {
            operation.state = state.clone();
            operation.last_error = None;
            if let Some(record) = record_of(operation, name) {
                record.state = StepState::Done;
                record.finished_at = Some(now);
            }
            begin_next(operation, now);
        };
        let operation = self.journal.read().await;
        if operation.steps.last().is_some_and(|last| last.name == name) {
            return self.finish(Outcome::Succeeded, None, changes, done).await;
        }
        self.journal.record(changes, done).await?;
        Ok(None)
    }

    async fn unwind(&self, why: &str) -> Result<Option<Parted>, Gone> {
        self.journal
            .record(Changes::default(), |operation| {
                operation.status = OperationStatus::Unwinding;
                operation.failure = Some(why.to_owned());
                operation.last_error = Some(why.to_owned());
                for step in &mut operation.steps {
                    step.attempts = 0;
                }
            })
            .await?;
        Ok(None)
    }

    async fn finish(
        &self,
        outcome: Outcome,
        failure: Option<String>,
        changes: Changes,
        edit: impl Fn(&mut Operation),
    ) -> Result<Option<Parted>, Gone> {
        let finished = self
            .journal
            .finish(outcome, failure.clone(), changes, |operation| {
                edit(operation);
                operation.last_error = failure.clone();
            })
            .await?;
        match finished {
            Finish::Finished => {
                info!(?outcome, failure, "finished");
                Ok(Some(Parted::Finished))
            }
            Finish::Changed => Ok(None),
        }
    }

    /// Wait before the next attempt: here when it is short, otherwise in the record.
    async fn pause(
        &self,
        context: &Context<'_>,
        after: Option<Duration>,
        why: &str,
    ) -> Result<Option<Parted>, Gone> {
        let why = self.recordable(why).await;
        let operation = self.journal.read().await;
        let mut pause = after
            .unwrap_or_else(|| backoff(context.attempt, LONGEST_PAUSE))
            .clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if let (Some(deadline), false) = (
            operation.deadline,
            operation.status == OperationStatus::Unwinding,
        ) && self.config.clock.until(deadline) > Duration::ZERO
        {
            pause = pause.min(self.config.clock.until(deadline));
        }
        if pause >= PARK_FROM {
            let then = self.config.clock.after(pause);
            info!(step = context.step, "waits until {then}: {why}");
            self.journal
                .release(|operation| {
                    operation.last_error = Some(why.clone());
                    operation.not_before = Some(then);
                })
                .await?;
            return Ok(Some(Parted::Until(then)));
        }
        if operation.last_error.as_deref() != Some(&why) {
            self.journal
                .record(Changes::default(), |operation| {
                    operation.last_error = Some(why.clone());
                })
                .await?;
        }
        self.wait(pause).await?;
        Ok(None)
    }

    async fn recordable(&self, why: &str) -> String {
        let mut reason = self.reason.lock().await;
        match reason.as_ref() {
            Some((given, recordable)) if given == why => recordable.clone(),
            Some(_) | None => {
                let recordable = plain(self.repo, self.journal.instance(), why).await;
                *reason = Some((why.to_owned(), recordable.clone()));
                recordable
            }
        }
    }

    /// Until the time is over, the operation is to be undone, or the host stops.
    async fn wait(&self, pause: Duration) -> Result<(), Gone> {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(end) => return Ok(()),
                () = self.stopping.cancelled() => return Ok(()),
                () = self.poke.notified() => {
                    self.journal.reload().await?;
                    let operation = self.journal.read().await;
                    if operation.cancel_requested && operation.status != OperationStatus::Unwinding {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Let a step act while the claim is kept. Dropping the work is as good as dying in the middle of it.
    async fn act<T>(
        &self,
        work: impl Future<Output = Result<T, Stop>>,
        deadline: Option<Timestamp>,
    ) -> Result<Acted<T>, Gone> {
        let overdue = async {
            match deadline {
                Some(deadline) => sleep(self.config.clock.until(deadline)).await,
                None => pending().await,
            }
        };
        let patience = async {
            self.stopping.cancelled().await;
            sleep(self.config.shutdown_grace).await;
        };
        tokio::select! {
            biased;
            answer = AssertUnwindSafe(work).catch_unwind() => {
                Ok(Acted::Answered(answer.unwrap_or_else(|_| {
                    error!("a step panicked");
                    Err(Stop::fail("a defect in Berth interrupted this step"))
                })))
            }
            gone = self.keep_claim() => Err(gone),
            () = overdue => Ok(Acted::Overdue),
            () = patience => Ok(Acted::Stopping),
        }
    }

    /// Renew the claim until that fails.
    async fn keep_claim(&self) -> Gone {
        loop {
            sleep(self.config.lease / 3).await;
            match self.journal.renew().await {
                Ok(()) => {}
                Err(Gone::Lost) => return Gone::Lost,
                Err(Gone::Store(problem)) => {
                    let claim = self.journal.read().await.claim;
                    if claim.is_none_or(|claim| claim.until <= self.config.clock.now()) {
                        return Gone::Store(problem);
                    }
                    warn!(?problem, "cannot renew the claim yet");
                }
            }
        }
    }

    async fn let_go(&self) -> Result<Parted, Gone> {
        self.journal.release(|_| {}).await?;
        Ok(Parted::Until(self.config.clock.now()))
    }

    async fn context(
        &self,
        operation: &Operation,
        step: &'static str,
    ) -> Result<Context<'_>, Gone> {
        let instance = self.repo.instance(operation.instance).await;
        let instance = instance.map_err(Gone::Store)?.ok_or_else(|| {
            Gone::Store(Error::internal(
                "an open operation's instance is not recorded",
            ))
        })?;
        let record = operation.steps.iter().find(|record| record.name == step);
        Ok(Context {
            repo: self.repo,
            plugins: self.plugins,
            config: self.config,
            instance,
            attempt: record.map_or(1, |record| record.attempts),
            started_at: record
                .and_then(|record| record.started_at)
                .unwrap_or(operation.created_at),
            operation: operation.id,
            step,
            journal: self.journal,
        })
    }
}

fn next<W: Workflow>(operation: &Operation, now: Timestamp) -> Next<W::Step> {
    if operation.status == OperationStatus::Unwinding {
        let touched = |record: &&StepRecord| match record.state {
            StepState::Started | StepState::Done => true,
            StepState::Pending | StepState::Undone => false,
        };
        let last = operation.steps.iter().rev().find(touched);
        return match last.and_then(|record| step_of::<W>(&record.name)) {
            Some(step) => Next::Undo(step),
            None if operation.cancel_requested => Next::Finish(Outcome::Cancelled),
            None => Next::Finish(Outcome::Failed),
        };
    }
    if operation.cancel_requested && operation.kind.cancellable() {
        return Next::Unwind("it was cancelled".to_owned());
    }
    let overdue = operation.deadline.is_some_and(|deadline| deadline <= now);
    if overdue && W::ON_FAILURE == OnFailure::Unwind {
        let waiting_for = operation.last_error.as_deref().unwrap_or("no error");
        return Next::Unwind(format!("it was not done in time; the last: {waiting_for}"));
    }
    let first = operation
        .steps
        .iter()
        .find(|record| record.state != StepState::Done);
    match first.and_then(|record| step_of::<W>(&record.name)) {
        Some(step) => Next::Run(step),
        None => Next::Finish(Outcome::Succeeded),
    }
}

/// The workflow's state, if this Berth knows all that is stored of it.
fn restore<W: Workflow>(operation: &Operation) -> Result<W::State, String> {
    let unknown = |record: &&StepRecord| step_of::<W>(&record.name).is_none();
    if let Some(record) = operation.steps.iter().find(unknown) {
        return Err(format!(
            "it has a step \"{}\" that this version of Berth does not know",
            record.name
        ));
    }
    if operation.state.is_null() {
        return Ok(W::State::default());
    }
    serde_json::from_value(operation.state.clone())
        .map_err(|_| "it has a state that this version of Berth does not understand".to_owned())
}

fn step_of<W: Workflow>(name: &str) -> Option<W::Step> {
    W::STEPS.iter().copied().find(|step| W::name(*step) == name)
}

fn encode<S: serde::Serialize>(state: &S) -> Result<serde_json::Value, Gone> {
    serde_json::to_value(state).map_err(|problem| Gone::Store(Error::internal(problem)))
}

pub(super) fn record_of<'a>(
    operation: &'a mut Operation,
    name: &str,
) -> Option<&'a mut StepRecord> {
    operation
        .steps
        .iter_mut()
        .find(|record| record.name == name)
}

fn begin_next(operation: &mut Operation, now: Timestamp) {
    let first = operation
        .steps
        .iter_mut()
        .find(|record| record.state != StepState::Done);
    if let Some(record) = first {
        record.state = StepState::Started;
        record.started_at.get_or_insert(now);
    }
}
