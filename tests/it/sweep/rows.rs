//! What the sweep must know of each kind of operation: how it comes to begin, and what must be there when it
//! has ended. The matches are exhaustive, so a new kind does not compile before it has its row.

use berth::model::{InstanceId, Operation, OperationKind, Outcome, Phase, Result};
use berth_tests::node::{Machine, Node};

/// What must be there when an operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub phase: Phase,
    /// Whether the instance exists on the machine: then it does so exactly once.
    pub lives: bool,
    /// Whether its name is still taken. Ports, user, plan and secrets are held by what lives, and by nothing else.
    pub named: bool,
}

const RUNNING: After = After {
    phase: Phase::Running,
    lives: true,
    named: true,
};
const FAILED: After = After {
    phase: Phase::Failed,
    lives: false,
    named: true,
};
const DELETED: After = After {
    phase: Phase::Deleted,
    lives: false,
    named: false,
};

/// Bring the machine to where an operation of the kind can begin; answers what it will be about.
pub async fn prepare(kind: OperationKind, machine: &Machine) -> Option<InstanceId> {
    match kind {
        OperationKind::Create => None,
        OperationKind::Delete => Some(running(machine).await),
    }
}

/// Have it accepted.
pub async fn begin(
    kind: OperationKind,
    node: &Node,
    instance: Option<InstanceId>,
) -> Result<Operation> {
    let instance = || instance.expect("it was prepared");
    match kind {
        OperationKind::Create => Ok(node.create("swept").await?.1),
        OperationKind::Delete => node.delete(instance()).await,
    }
}

/// What must be there when it has ended so; `None` when it must never end so.
pub fn after(kind: OperationKind, outcome: Outcome) -> Option<After> {
    match (kind, outcome) {
        (OperationKind::Create, Outcome::Succeeded) => Some(RUNNING),
        (OperationKind::Create, Outcome::Failed) => Some(FAILED),
        (OperationKind::Create, Outcome::Cancelled) => Some(DELETED),
        (OperationKind::Delete, Outcome::Succeeded) => Some(DELETED),
        (OperationKind::Delete, Outcome::Failed | Outcome::Cancelled) => None,
    }
}

/// How it ends when a plugin's call says that a repetition will not help.
pub fn after_failure(kind: OperationKind) -> Outcome {
    match kind {
        OperationKind::Create => Outcome::Failed,
        OperationKind::Delete => Outcome::Succeeded,
    }
}

async fn running(machine: &Machine) -> InstanceId {
    let mut node = machine.boot().await;
    node.start();
    let (instance, operation) = node.create("swept").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, Outcome::Succeeded.into(), "{ended:?}");
    node.stop().await;
    instance.id
}
