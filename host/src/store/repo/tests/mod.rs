//! The repository over the memory store: races, lost answers, deaths, and what is left behind.

mod accepting;
mod driving;
mod keeping;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Begun, Changes, Idempotency, Repo, Tracked, keys};
use crate::model::instance::NewInstance;
use crate::model::project::{ApiKey, Role};
use crate::model::{
    ConflictReason, Error, Instance, InstanceId, KeyId, Kind, Operation, OperationKind,
    OperationStatus, Outcome, Phase, Secret,
};
use crate::store::memory::Fault;
use crate::store::samples::{new_instance, new_operation, workload};
use crate::store::view::InstanceQuery;
use crate::store::{Commit, Memory, Sealer, Store, Write};

struct Bench {
    memory: Memory,
    sealer: Sealer,
    repo: Repo,
}

impl Bench {
    async fn new() -> Self {
        let (memory, sealer) = (Memory::new(), Sealer::ephemeral());
        let repo = open(&memory, &sealer).await.unwrap();
        Self {
            memory,
            sealer,
            repo,
        }
    }

    /// What a new process sees.
    async fn restarted(&self) -> Self {
        self.memory.kill();
        let memory = self.memory.restart();
        let repo = open(&memory, &self.sealer).await.unwrap();
        Self {
            memory,
            sealer: self.sealer.clone(),
            repo,
        }
    }

    async fn create(&self, name: &str) -> (Arc<Instance>, Tracked<Operation>) {
        let begun = self
            .repo
            .begin_create(new_instance(name), create(), None)
            .await
            .unwrap();
        let Begun::New(instance, operation) = begun else {
            panic!("replayed without a key");
        };
        (instance, self.tracked(&operation).await)
    }

    async fn running(&self, name: &str) -> Arc<Instance> {
        let (instance, mut op) = self.create(name).await;
        self.finish(&mut op, Outcome::Succeeded).await;
        self.repo.view().get(instance.id).unwrap()
    }

    async fn tracked(&self, operation: &Operation) -> Tracked<Operation> {
        self.repo.operation(operation.id).await.unwrap().unwrap()
    }

    async fn finish(&self, op: &mut Tracked<Operation>, outcome: Outcome) {
        self.repo
            .finish(op, outcome, None, Changes::default())
            .await
            .unwrap();
    }

    async fn delete(&self, id: InstanceId) -> Tracked<Operation> {
        let (_, operation) = self.repo.begin(id, delete()).await.unwrap();
        self.tracked(&operation).await
    }

    fn phase(&self, id: InstanceId) -> Phase {
        self.repo.view().get(id).unwrap().phase()
    }

    /// Keys that do not belong to the store itself.
    fn keys(&self) -> BTreeSet<String> {
        let keys = self.memory.keys().into_iter();
        keys.filter(|key| key != keys::META).collect()
    }
}

async fn open(memory: &Memory, sealer: &Sealer) -> Result<Repo, Error> {
    Repo::open(Arc::new(memory.clone()), sealer.clone()).await
}

fn create() -> crate::model::operation::NewOperation {
    new_operation(OperationKind::Create)
}

fn delete() -> crate::model::operation::NewOperation {
    new_operation(OperationKind::Delete)
}

fn idempotency(new: &NewInstance, key: &str, body: u8) -> Idempotency {
    Idempotency {
        project: new.project,
        key: key.to_owned(),
        digest: [body; 32],
    }
}

fn reason(error: &Error) -> ConflictReason {
    match error.kind {
        Kind::Conflict(reason) => reason,
        _ => panic!("not a conflict: {error:?}"),
    }
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..5000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("never: {what}");
}
