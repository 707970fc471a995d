//! Accepting requests on instances: one commit each.

use std::sync::Arc;

use jiff::Timestamp;

use super::commit::{ATTEMPTS, Draft, gave_up};
use super::encoding::{Mark, Owner, StoredIdempotency, store_error};
use super::{Begun, Idempotency, Repo, keys};
use crate::model::instance::NewInstance;
use crate::model::operation::NewOperation;
use crate::model::plugin::Secrets;
use crate::model::workload::Workload;
use crate::model::{
    Alias, ConflictReason, Error, Instance, InstanceId, Operation, OperationId, Result,
};
use crate::store::StoreError;

/// A change of an instance; made anew at each attempt.
pub type Edit<'a> = &'a (dyn Fn(&mut Instance) -> Result<()> + Send + Sync);

impl Repo {
    /// Accept a creation: the instance, its operation, its name and the idempotency record in one commit.
    pub async fn begin_create(
        &self,
        new: NewInstance,
        op: NewOperation,
        idempotency: Option<Idempotency>,
    ) -> Result<Begun> {
        let none = Secrets::new();
        self.begin_create_with(new, op, idempotency, &none).await
    }

    /// The same, with secrets that the caller chose.
    pub async fn begin_create_with(
        &self,
        new: NewInstance,
        op: NewOperation,
        idempotency: Option<Idempotency>,
        secrets: &Secrets,
    ) -> Result<Begun> {
        let now = Timestamp::now();
        let operation_id = OperationId::generate();
        let mut instance = Instance::create(new, operation_id, now);
        let operation = Operation::begin(op, operation_id, instance.id, instance.project, now);
        let slug_key = keys::slug(instance.project, &instance.spec.name.slug());

        for _ in 0..ATTEMPTS {
            if let Some(replayed) = self.replay(idempotency.as_ref()).await? {
                return Ok(Begun::Replayed(replayed));
            }
            let alias_key = keys::alias(&instance.alias);
            let shown = Arc::new(instance.clone());
            let mut draft = Draft::default();
            // First, so that the repetition of a request is told apart from a name that is taken.
            if let Some(idempotency) = &idempotency {
                let key = keys::idempotency(idempotency.project, &idempotency.key);
                let record = StoredIdempotency {
                    digest: idempotency.digest,
                    instance: instance.id,
                    created_at: now,
                };
                draft.expect_absent(key.clone());
                draft.put(key, &record)?;
            }
            draft.expect_absent(slug_key.clone());
            draft.put(slug_key.clone(), &Owner(instance.id))?;
            draft.expect_absent(alias_key.clone());
            draft.put(alias_key.clone(), &Owner(instance.id))?;
            draft.expect_absent(keys::instance(instance.id));
            draft.put_instance(shown.clone())?;
            if !secrets.is_empty() {
                let key = keys::secrets(instance.id);
                let sealed = self.seal_secrets(&key, secrets)?;
                draft.put_bytes(key, sealed);
            }
            draft.expect_absent(keys::operation(operation_id));
            draft.put_operation(&operation, 0)?;
            draft.put(keys::open(operation_id), &Mark)?;
            draft.leaves_work();

            match self.commit(draft).await {
                Ok(_) => return Ok(Begun::New(shown, operation)),
                Err(StoreError::Conflict { key }) if key == slug_key => {
                    return Err(name_taken(&instance));
                }
                Err(StoreError::Conflict { key }) if key == alias_key => {
                    instance.alias = Alias::generate();
                }
                // The same request was accepted meanwhile: the next turn replays it.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(StoreError::Conflict { key: slug_key }))
    }

    /// Accept an operation on an instance that exists.
    pub async fn begin(
        &self,
        instance: InstanceId,
        op: NewOperation,
    ) -> Result<(Arc<Instance>, Operation)> {
        self.begin_with(instance, op, &|_| Ok(())).await
    }

    /// The same, with a change of the instance in the same commit. What it refuses is not begun.
    pub async fn begin_with(
        &self,
        instance: InstanceId,
        op: NewOperation,
        edit: Edit<'_>,
    ) -> Result<(Arc<Instance>, Operation)> {
        let id = OperationId::generate();
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            match self.try_begin(instance, op.clone(), id, edit).await? {
                Ok(begun) => return Ok(begun),
                Err(conflict) => lost = Some(conflict),
            }
        }
        Err(gave_up(lost.unwrap_or_else(|| StoreError::Conflict {
            key: keys::instance(instance),
        })))
    }

    /// Change what needs no operation: a name, or what its owner decided. Answers it as it is then. What is known of
    /// its servers holds on, so `updated_at` stays.
    pub async fn edit(&self, id: InstanceId, edit: Edit<'_>) -> Result<Arc<Instance>> {
        let mut lost = None;
        for _ in 0..ATTEMPTS {
            let (before, version) = self.read_instance(id).await?;
            let mut instance = before.clone();
            edit(&mut instance)?;
            if instance == before {
                return Ok(Arc::new(instance));
            }
            let mut draft = Draft::default();
            draft.expect_version(keys::instance(id), version);
            let slug = |of: &Instance| keys::slug(of.project, &of.spec.name.slug());
            let (old, new) = (slug(&before), slug(&instance));
            if old != new {
                draft.expect_absent(new.clone());
                draft.put(new.clone(), &Owner(id))?;
                draft.delete(old);
            }
            let instance = Arc::new(instance);
            draft.put_instance(instance.clone())?;
            match self.commit(draft).await {
                Ok(_) => return Ok(instance),
                Err(StoreError::Conflict { key }) if key == new => {
                    return Err(name_taken(&instance));
                }
                Err(conflict @ StoreError::Conflict { .. }) => lost = Some(conflict),
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(gave_up(lost.unwrap_or_else(|| StoreError::Conflict {
            key: keys::instance(id),
        })))
    }

    /// An instance from the store itself, where the read model may be a moment behind.
    pub async fn stored_instance(&self, id: InstanceId) -> Result<Arc<Instance>> {
        Ok(Arc::new(self.read_instance(id).await?.0))
    }

    pub async fn workload(&self, id: InstanceId) -> Result<Option<Workload>> {
        let record = self.read::<Workload>(&keys::workload(id)).await?;
        Ok(record.map(|(workload, _)| workload))
    }

    /// The instance with the version of its record, from the store itself.
    pub(super) async fn read_instance(&self, id: InstanceId) -> Result<(Instance, u64)> {
        self.read::<Instance>(&keys::instance(id))
            .await?
            .ok_or_else(|| Error::not_found("there is no such database"))
    }

    async fn try_begin(
        &self,
        instance_id: InstanceId,
        mut new: NewOperation,
        id: OperationId,
        edit: Edit<'_>,
    ) -> Result<Result<(Arc<Instance>, Operation), StoreError>> {
        let now = Timestamp::now();
        let (mut instance, version) = self.read_instance(instance_id).await?;
        let held_by = instance.operation;
        instance.begin(new.kind, id, now)?;
        edit(&mut instance)?;

        let mut draft = Draft::default();
        draft.expect_version(keys::instance(instance_id), version);
        if let Some(held_by) = held_by {
            let mut held = self.read_operation(held_by).await?.ok_or_else(|| {
                Error::internal(format!(
                    "{instance_id} is held by {held_by}, which is not there"
                ))
            })?;
            if held.value.status.is_terminal() {
                // It ended between the two reads, so the instance has changed as well.
                return Ok(Err(StoreError::Conflict {
                    key: keys::operation(held_by),
                }));
            }
            if !new.kind.preempts(held.value.kind) {
                return Err(Error::conflict(
                    ConflictReason::Busy,
                    format!(
                        "cannot {} the database: another operation on it ({}) is not finished",
                        new.kind.as_str(),
                        held.value.kind.as_str()
                    ),
                ));
            }
            held.value.cancel_requested = true;
            held.value.not_before = None;
            held.value.updated_at = now;
            draft.expect_version(keys::operation(held_by), held.version);
            draft.put_operation(&held.value, held.journal)?;
            new.after = Some(held_by);
        }
        let operation = Operation::begin(new, id, instance_id, instance.project, now);
        let instance = Arc::new(instance);
        draft.put_instance(instance.clone())?;
        draft.expect_absent(keys::operation(id));
        draft.put_operation(&operation, 0)?;
        draft.put(keys::open(id), &Mark)?;
        draft.leaves_work();
        match self.commit(draft).await {
            Ok(_) => Ok(Ok((instance, operation))),
            Err(conflict @ StoreError::Conflict { .. }) => Ok(Err(conflict)),
            Err(error) => Err(store_error(error)),
        }
    }

    /// What an earlier request under this idempotency key made.
    pub async fn replay(&self, idempotency: Option<&Idempotency>) -> Result<Option<Arc<Instance>>> {
        let Some(idempotency) = idempotency else {
            return Ok(None);
        };
        let key = keys::idempotency(idempotency.project, &idempotency.key);
        let Some((stored, _)) = self.read::<StoredIdempotency>(&key).await? else {
            return Ok(None);
        };
        let mismatch = |why: &str| Error::conflict(ConflictReason::IdempotencyMismatch, why);
        if stored.digest != idempotency.digest {
            return Err(mismatch(
                "this idempotency key was used with another request",
            ));
        }
        // From the store: the request that made it may not have reached the read model yet.
        let made = self
            .read::<Instance>(&keys::instance(stored.instance))
            .await?;
        let (instance, _) = made.ok_or_else(|| {
            mismatch("this idempotency key was used for a database that is gone; use another")
        })?;
        Ok(Some(Arc::new(instance)))
    }
}

fn name_taken(instance: &Instance) -> Error {
    let name = instance.spec.name.as_str();
    let message = format!("a database named {name:?} exists in this project");
    Error::conflict(ConflictReason::NameTaken, message)
}
