//! The journal of operations: what their driver records, and what callers may wish of them.

use std::sync::Arc;

use jiff::Timestamp;

use super::commit::{ATTEMPTS, Draft, gave_up};
use super::encoding::store_error;
use super::{Changes, Repo, Tracked, keys};
use crate::model::resources::Reservation;
use crate::model::{
    ConflictReason, Error, Instance, InstanceId, Operation, OperationId, OperationStatus, Outcome,
    Phase, Result,
};
use crate::store::StoreError;
use crate::store::view::{OperationQuery, Page};

/// What is committed together with an operation's record. Made anew at each attempt.
pub(super) type Extra<'a> =
    &'a (dyn Fn(&mut Draft, Option<&mut Instance>) -> Result<()> + Send + Sync);

impl Repo {
    /// Operations that have not ended, oldest first.
    pub async fn open_operations(&self) -> Result<Vec<OperationId>> {
        let mut ids = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self
                .0
                .store
                .scan(keys::OPEN, after.as_deref(), 1024)
                .await
                .map_err(store_error)?;
            for (key, _) in &page {
                let id = key[keys::OPEN.len()..].parse();
                ids.push(id.map_err(|_| super::encoding::unreadable(key))?);
            }
            match page.into_iter().last() {
                Some((key, _)) => after = Some(key),
                None => return Ok(ids),
            }
        }
    }

    pub async fn operation(&self, id: OperationId) -> Result<Option<Tracked<Operation>>> {
        self.read_operation(id).await
    }

    /// Whole records of a list, newest first.
    pub async fn operations(&self, query: &OperationQuery) -> Result<Page<Operation, OperationId>> {
        let briefs = self.view().operations(query);
        let mut items = Vec::with_capacity(briefs.items.len());
        for brief in briefs.items {
            // One that was purged since is left out.
            if let Some(tracked) = self.read_operation(brief.id).await? {
                items.push(tracked.value);
            }
        }
        Ok(Page {
            items,
            next: briefs.next,
            total: briefs.total,
        })
    }

    /// Record how far the operation is, with what its step changed. `Conflict(Busy)` when another driver has
    /// written it since it was read: this one has lost its claim and must stop. A wish to cancel that came
    /// meanwhile is in `op` afterwards. After `Unavailable` it is not known whether it was recorded: read
    /// the operation again and go on from what it says.
    pub async fn record(&self, op: &mut Tracked<Operation>, changes: Changes) -> Result<()> {
        let id = op.value.instance;
        let sealed = self.seal_changed(id, &changes)?;
        let draft_changes = |draft: &mut Draft, instance: Option<&mut Instance>| {
            draft_changes(draft, id, instance, &changes, sealed.as_deref())
        };
        let lost = self
            .write(op, changes.touch_instance(), &draft_changes)
            .await?;
        lost.map_or(Ok(()), |conflict| Err(store_error(conflict)))
    }

    /// End the operation: its status, the instance's phase, the index of open work and, if the instance is
    /// deleted by it, everything that it held, in one commit.
    pub async fn finish(
        &self,
        op: &mut Tracked<Operation>,
        outcome: Outcome,
        failure: Option<String>,
        changes: Changes,
    ) -> Result<()> {
        let now = Timestamp::now();
        let before = op.value.clone();
        let value = &mut op.value;
        value.status = outcome.into();
        value.claim = None;
        value.not_before = None;
        value.finished_at = Some(now);
        if failure.is_some() {
            value.last_error.clone_from(&failure);
        }
        let (kind, id, instance_id) = (value.kind, value.id, value.instance);
        let sealed = self.seal_changed(instance_id, &changes)?;
        let written = self
            .write(op, true, &|draft, instance| {
                draft.delete(keys::open(id));
                let Some(instance) = instance else {
                    return draft_changes(draft, instance_id, None, &changes, sealed.as_deref());
                };
                let was = instance.phase();
                instance.end(kind, id, outcome, failure.clone(), now);
                if instance.phase() == Phase::Deleted {
                    if was != Phase::Deleted {
                        draft_end_of(draft, instance);
                    }
                    return Ok(());
                }
                let instance = Some(instance);
                draft_changes(draft, instance_id, instance, &changes, sealed.as_deref())
            })
            .await;
        let written = match written {
            Ok(None) => Ok(()),
            Ok(Some(conflict)) => Err(store_error(conflict)),
            Err(error) => Err(error),
        };
        if written.is_err() {
            op.value = before;
        }
        written
    }

    /// Ask for an end. The driver sees it with its next record.
    pub async fn request_cancel(&self, id: OperationId) -> Result<Operation> {
        self.wish(id, |operation| {
            if let Some(why) = operation.kind.why_not_cancelled() {
                return Err(not_now(format!(
                    "an operation of kind {} cannot be cancelled: {why}",
                    operation.kind.as_str()
                )));
            }
            operation.cancel_requested = true;
            operation.not_before = None;
            Ok(())
        })
        .await
    }

    /// Let an operation that waits for its next attempt go on at once.
    pub async fn retry_now(&self, id: OperationId) -> Result<Operation> {
        self.wish(id, |operation| {
            operation.not_before = None;
            Ok(())
        })
        .await
    }

    /// Write `op`, fenced, with what `extra` adds, and with the instance when `touch` says so and `extra`
    /// changes it. Answers the conflict when an expectation of `extra` did not hold.
    pub(super) async fn write(
        &self,
        op: &mut Tracked<Operation>,
        touch: bool,
        extra: Extra<'_>,
    ) -> Result<Option<StoreError>> {
        let operation_key = keys::operation(op.value.id);
        let instance_key = keys::instance(op.value.instance);
        op.value.updated_at = Timestamp::now();
        for _ in 0..ATTEMPTS {
            let mut draft = Draft::default();
            draft.expect_version(operation_key.clone(), op.version);
            draft.put_operation(&op.value, op.journal + 1)?;
            if op.value.status.is_terminal() {
                // A successor may wait for it.
                draft.leaves_work();
            }
            if touch {
                let (before, version) = self.read_instance(op.value.instance).await?;
                let mut instance = before.clone();
                extra(&mut draft, Some(&mut instance))?;
                if instance != before {
                    instance.updated_at = op.value.updated_at;
                    draft.expect_version(instance_key.clone(), version);
                    draft.put_instance(Arc::new(instance))?;
                }
            } else {
                extra(&mut draft, None)?;
            }
            match self.commit(draft).await {
                Ok(version) => {
                    op.version = version;
                    op.journal += 1;
                    return Ok(None);
                }
                Err(StoreError::Conflict { key }) if key == operation_key => {
                    self.take_wishes(op).await?;
                }
                Err(StoreError::Conflict { key }) if key == instance_key => {}
                Err(conflict @ StoreError::Conflict { .. }) => return Ok(Some(conflict)),
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(StoreError::Conflict { key: operation_key }))
    }

    /// After a conflict on the operation: if only callers' wishes came in between, take them over and go
    /// on; if another driver wrote it, this one is out. A wish to cancel keeps it from succeeding.
    async fn take_wishes(&self, op: &mut Tracked<Operation>) -> Result<()> {
        let stored = self.read_operation(op.value.id).await?;
        match stored {
            // Acknowledged before the success was recorded, so it counts.
            Some(stored)
                if stored.value.cancel_requested
                    && op.value.status == OperationStatus::Succeeded =>
            {
                Err(Error::conflict(
                    ConflictReason::Busy,
                    "the operation was cancelled meanwhile",
                ))
            }
            Some(stored) if stored.journal == op.journal => {
                op.version = stored.version;
                op.value.cancel_requested |= stored.value.cancel_requested;
                Ok(())
            }
            Some(_) | None => Err(Error::conflict(
                ConflictReason::Busy,
                "the operation was taken over by another driver",
            )),
        }
    }

    async fn wish(
        &self,
        id: OperationId,
        change: impl Fn(&mut Operation) -> Result<()>,
    ) -> Result<Operation> {
        for _ in 0..ATTEMPTS {
            let tracked = self
                .read_operation(id)
                .await?
                .ok_or_else(|| Error::not_found("there is no such operation"))?;
            if tracked.value.status.is_terminal() {
                return Err(not_now(format!(
                    "the operation has ended: {}",
                    tracked.value.status.as_str()
                )));
            }
            let mut operation = tracked.value.clone();
            change(&mut operation)?;
            if operation == tracked.value {
                self.0.work.notify_one();
                return Ok(operation);
            }
            operation.updated_at = Timestamp::now();
            let mut draft = Draft::default();
            draft.expect_version(keys::operation(id), tracked.version);
            draft.put_operation(&operation, tracked.journal)?;
            draft.leaves_work();
            match self.commit(draft).await {
                Ok(_) => return Ok(operation),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(StoreError::Conflict {
            key: keys::operation(id),
        }))
    }

    fn seal_changed(&self, id: InstanceId, changes: &Changes) -> Result<Option<Vec<u8>>> {
        let secrets = changes.secrets.as_ref();
        secrets
            .map(|secrets| self.seal_secrets(&keys::secrets(id), secrets))
            .transpose()
    }
}

fn draft_changes(
    draft: &mut Draft,
    id: InstanceId,
    instance: Option<&mut Instance>,
    changes: &Changes,
    sealed: Option<&[u8]>,
) -> Result<()> {
    if let Some(workload) = &changes.workload {
        draft.put(keys::workload(id), workload)?;
    }
    if let Some(sealed) = sealed {
        draft.put_bytes(keys::secrets(id), sealed.to_vec());
    }
    let Some(instance) = instance else {
        return Ok(());
    };
    if changes.release {
        draft_release(draft, instance);
        return Ok(());
    }
    if let Some(endpoints) = &changes.endpoints {
        instance.endpoints.clone_from(endpoints);
    }
    if let Some(settings) = &changes.settings {
        instance.spec.settings.clone_from(settings);
    }
    if let Some(digest) = &changes.engine_digest {
        instance.engine_digest.clone_from(digest);
    }
    if let Some(digest) = &changes.target_digest {
        instance.target_digest.clone_from(digest);
    }
    Ok(())
}

/// Everything that a deleted instance held. Its alias stays taken.
fn draft_end_of(draft: &mut Draft, instance: &mut Instance) {
    draft.delete(keys::slug(instance.project, &instance.spec.name.slug()));
    draft_release(draft, instance);
}

/// Everything that an instance held on its node, and what was recorded of it there.
fn draft_release(draft: &mut Draft, instance: &mut Instance) {
    let id = instance.id;
    draft.delete(keys::workload(id));
    draft.delete(keys::secrets(id));
    draft.delete(keys::pending_secrets(id));
    instance.endpoints.clear();
    let Reservation { ports, uid } = std::mem::take(&mut instance.reservation);
    for port in ports {
        draft.delete(keys::port(&instance.node, port));
    }
    if let Some(uid) = uid {
        draft.delete(keys::uid(&instance.node, uid));
    }
}

fn not_now(message: String) -> Error {
    Error::conflict(ConflictReason::NotAllowedNow, message)
}
