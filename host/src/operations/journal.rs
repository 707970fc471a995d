//! The record of an operation that this process drives. Every write renews the claim and is fenced by
//! the record's version: when another writer was first, the record is read again, and either it is
//! still ours (a caller asked to cancel or to retry) or this process must not act any more.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::config::NodeConfig;
use crate::model::operation::Claim;
use crate::model::{
    ConflictReason, Error, InstanceId, Kind, Operation, OperationId, OperationStatus, Outcome,
    Result,
};
use crate::store::repo::{Changes, Repo, Tracked};

pub struct Journal {
    repo: Repo,
    config: NodeConfig,
    process: Uuid,
    id: OperationId,
    instance: InstanceId,
    record: Mutex<Tracked<Operation>>,
}

/// Why a driver must stop acting.
#[derive(Debug)]
pub enum Gone {
    /// Another process holds the operation, or it has ended.
    Lost,
    /// It is unknown what is recorded. To be looked at again.
    Store(Error),
}

/// What came of an attempt to finish.
#[derive(Debug, PartialEq, Eq)]
pub enum Finish {
    Finished,
    /// Somebody changed the record meanwhile: it may want something else now.
    Changed,
}

/// What keeps this process from driving an operation.
#[derive(Debug)]
pub enum Refusal {
    Over,
    /// Not before this time: it pauses, or somebody else's claim holds until then.
    Until(Timestamp),
    /// Not before that operation has ended.
    After(OperationId),
    /// Nothing for this node.
    Elsewhere,
    /// It cannot be understood, and why.
    Unreadable(String),
    Store(Error),
}

impl Journal {
    /// Take the operation, unless it is somebody else's or its time has not come.
    pub async fn claim(
        repo: &Repo,
        config: &NodeConfig,
        process: Uuid,
        id: OperationId,
    ) -> Result<Self, Refusal> {
        let record = repo.operation(id).await.map_err(unread)?;
        let record = record.ok_or(Refusal::Over)?;
        may_drive(repo, config, process, &record.value).await?;
        Ok(Self {
            repo: repo.clone(),
            config: config.clone(),
            process,
            id,
            instance: record.value.instance,
            record: Mutex::new(record),
        })
    }

    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// What is recorded, as far as this process knows.
    pub async fn read(&self) -> Operation {
        self.record.lock().await.value.clone()
    }

    /// Count an attempt of a step. Recorded with whatever is recorded next.
    pub async fn note_attempt(&self, step: &str) -> Operation {
        let mut record = self.record.lock().await;
        let steps = &mut record.value.steps;
        if let Some(step) = steps.iter_mut().find(|record| record.name == step) {
            step.attempts = step.attempts.saturating_add(1);
        }
        record.value.clone()
    }

    /// Look whether somebody changed the record.
    pub async fn reload(&self) -> Result<(), Gone> {
        let mut record = self.record.lock().await;
        self.catch_up(&mut record).await
    }

    /// Write, holding the claim for another lease. `edit` says what shall be, whatever was before.
    pub async fn record(
        &self,
        changes: Changes,
        edit: impl Fn(&mut Operation),
    ) -> Result<(), Gone> {
        self.write(changes, |operation| {
            edit(operation);
            operation.claim = Some(self.own_claim());
        })
        .await
    }

    /// Write, and let go of the operation.
    pub async fn release(&self, edit: impl Fn(&mut Operation)) -> Result<(), Gone> {
        self.write(Changes::default(), |operation| {
            edit(operation);
            operation.claim = None;
        })
        .await
    }

    /// Hold the claim for another lease.
    pub async fn renew(&self) -> Result<(), Gone> {
        self.record(Changes::default(), |_| {}).await
    }

    /// End the operation, and with it what it was to the instance.
    pub async fn finish(
        &self,
        outcome: Outcome,
        failure: Option<String>,
        changes: Changes,
        edit: impl Fn(&mut Operation),
    ) -> Result<Finish, Gone> {
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        edit(&mut next.value);
        next.value.claim = None;
        match self.repo.finish(&mut next, outcome, failure, changes).await {
            Ok(()) => {
                *record = next;
                self.config.on_end.tell(&record.value);
                Ok(Finish::Finished)
            }
            Err(error) if is_fenced(&error) => {
                self.catch_up(&mut record).await?;
                Ok(Finish::Changed)
            }
            Err(error) => Err(Gone::Store(error)),
        }
    }

    pub async fn reserve_ports(
        &self,
        want: usize,
        range: RangeInclusive<u16>,
        is_free: impl Fn(u16) -> bool + Send,
    ) -> Result<Vec<u16>> {
        let mut record = self.record.lock().await;
        let reserved = self
            .repo
            .reserve_ports(&mut record, want, range, is_free)
            .await;
        self.settle(&mut record, reserved).await
    }

    pub async fn reserve_uid(
        &self,
        range: RangeInclusive<u32>,
        is_free: impl Fn(u32) -> bool,
    ) -> Result<u32> {
        let mut record = self.record.lock().await;
        let reserved = self.repo.reserve_uid(&mut record, range, is_free).await;
        self.settle(&mut record, reserved).await
    }

    /// A step that was fenced out is tried again: by then the record is known, or the claim lost.
    async fn settle<T>(&self, record: &mut Tracked<Operation>, reserved: Result<T>) -> Result<T> {
        match reserved {
            Err(error) if is_fenced(&error) => match self.catch_up(record).await {
                Ok(()) => Err(Error::retry(
                    std::time::Duration::from_millis(10),
                    "the operation was changed meanwhile",
                )),
                Err(Gone::Store(error)) => Err(error),
                Err(Gone::Lost) => Err(Error::unavailable("another process took the operation")),
            },
            other => other,
        }
    }

    async fn write(&self, changes: Changes, edit: impl Fn(&mut Operation)) -> Result<(), Gone> {
        let mut record = self.record.lock().await;
        loop {
            let mut next = record.clone();
            edit(&mut next.value);
            match self.repo.record(&mut next, changes.clone()).await {
                Ok(()) => {
                    *record = next;
                    return Ok(());
                }
                Err(error) if is_fenced(&error) => self.catch_up(&mut record).await?,
                Err(error) => return Err(Gone::Store(error)),
            }
        }
    }

    async fn catch_up(&self, record: &mut Tracked<Operation>) -> Result<(), Gone> {
        let newest = self.repo.operation(self.id).await.map_err(Gone::Store)?;
        let newest = newest.ok_or(Gone::Lost)?;
        let ours = |claim: &Claim| claim.process == self.process;
        if newest.value.status.is_terminal() || !newest.value.claim.as_ref().is_some_and(ours) {
            return Err(Gone::Lost);
        }
        *record = newest;
        Ok(())
    }

    fn own_claim(&self) -> Claim {
        Claim {
            node: self.config.node.clone(),
            process: self.process,
            until: self.config.clock.after(self.config.lease),
        }
    }
}

async fn may_drive(
    repo: &Repo,
    config: &NodeConfig,
    process: Uuid,
    operation: &Operation,
) -> Result<(), Refusal> {
    if operation.status.is_terminal() {
        return Err(Refusal::Over);
    }
    let instance = repo.instance(operation.instance).await;
    let instance = instance.map_err(Refusal::Store)?;
    if instance.is_some_and(|instance| instance.node != config.node) {
        return Err(Refusal::Elsewhere);
    }
    let now = config.clock.now();
    if let Some(claim) = &operation.claim
        && claim.until > now
        && claim.process != process
        && claim.node != config.node
    {
        return Err(Refusal::Until(claim.until));
    }
    if let Some(first) = operation.after {
        let first_is = repo.operation(first).await.map_err(Refusal::Store)?;
        if first_is.is_some_and(|first| !first.value.status.is_terminal()) {
            return Err(Refusal::After(first));
        }
    }
    // A pause far in the future was written under another clock.
    let longest = config.clock.after(super::driver::LONGEST_PAUSE);
    match operation.not_before {
        Some(then) if then > now && then <= longest && !is_cut_short(operation) => {
            Err(Refusal::Until(then))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a pause is not waited for because the operation is to be undone.
fn is_cut_short(operation: &Operation) -> bool {
    operation.cancel_requested
        && operation.kind.gives_way()
        && operation.status != OperationStatus::Unwinding
}

/// A store that fails may be back soon; a record that cannot be decoded stays so.
fn unread(error: Error) -> Refusal {
    if error.is_retryable() {
        Refusal::Store(error)
    } else {
        Refusal::Unreadable(error.public().to_owned())
    }
}

fn is_fenced(error: &Error) -> bool {
    matches!(error.kind, Kind::Conflict(ConflictReason::Busy))
}
