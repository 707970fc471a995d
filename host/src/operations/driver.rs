//! Drives one claimed operation: records, acts, waits, unwinds, finishes.
//!
//! *Started* is recorded before a step acts, and *Done* with the state after it in one commit with the
//! *Started* of the next. Undo covers every started step, the failing one too: it may have acted.

mod next;
mod patience;

use std::sync::atomic::AtomicBool;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use super::config::NodeConfig;
use super::journal::{Finish, Gone, Journal};
use super::looks::Looks;
use super::workflow::{Context, OnFailure, Stop, Workflow};
use crate::model::operation::StepState;
use crate::model::{Error, Operation, OperationStatus, Outcome};
use crate::runtime::Plugins;
use crate::store::repo::{Changes, Repo};
use next::{Next, begin_next, encode, next, record_of, restore};
use patience::Acted;
pub use patience::LONGEST_PAUSE;

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
    /// Others wait for a driver.
    pub crowded: &'a AtomicBool,
    pub looks: Looks,
    /// The newest reason for a pause, as it was given and as it is recorded: most pauses repeat it.
    pub reason: Mutex<Option<(String, String)>>,
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
                    let failure = match outcome {
                        Outcome::Succeeded | Outcome::Cancelled => failure,
                        Outcome::Failed => failure.map(|why| W::told(&state, why)),
                    };
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
        let on_failure = W::on_failure(step);
        let deadline = match on_failure {
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
            Acted::Answered(Err(Stop::Fail { why })) => match on_failure {
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
            Acted::Answered(Ok(changes)) => {
                *state = draft;
                let state = encode(state)?;
                let now = self.config.clock.now();
                self.journal
                    .record(changes, |operation| {
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
            looks: &self.looks,
            operation: operation.id,
            step,
            journal: self.journal,
        })
    }
}
