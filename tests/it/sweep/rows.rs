//! What the sweep must know of each kind of operation: how it comes to begin, and what must be there when it
//! has ended. The matches are exhaustive, so a new kind does not compile before it has its row.

use berth::model::{InstanceId, Operation, OperationKind, Outcome, Phase, Result};
use berth_tests::fake::{Call, Fault};
use berth_tests::node::{Machine, Node};

/// What must be there when an operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    pub phase: Phase,
    /// Whether the instance exists on the machine: then it does so exactly once.
    pub lives: bool,
    /// Whether its server runs.
    pub runs: bool,
    /// Whether its name is still taken. Ports, user, plan and secrets are held by what lives, and by nothing else.
    pub named: bool,
}

const RUNNING: After = After {
    phase: Phase::Running,
    lives: true,
    runs: true,
    named: true,
};
const STOPPED: After = After {
    phase: Phase::Stopped,
    lives: true,
    runs: false,
    named: true,
};
const START_FAILED: After = After {
    phase: Phase::StartFailed,
    ..STOPPED
};
const FAILED: After = After {
    phase: Phase::Failed,
    lives: false,
    runs: false,
    named: true,
};
const DELETED: After = After {
    phase: Phase::Deleted,
    lives: false,
    runs: false,
    named: false,
};

/// Bring the machine to where an operation of the kind can begin; answers what it will be about.
pub async fn prepare(kind: OperationKind, machine: &Machine) -> Option<InstanceId> {
    match kind {
        OperationKind::Create => None,
        OperationKind::Start => Some(stopped(machine).await),
        OperationKind::Stop
        | OperationKind::Restart
        | OperationKind::Configure
        | OperationKind::SetAccess
        | OperationKind::RenewCertificate
        | OperationKind::Delete => Some(running(machine).await),
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
        OperationKind::Stop
        | OperationKind::Start
        | OperationKind::Restart
        | OperationKind::RenewCertificate
        | OperationKind::Delete => node.begin(kind, instance()).await,
        // One setting that is taken at once, and one that waits for a restart.
        OperationKind::Configure => {
            node.configure(instance(), &[("live", "2"), ("slow", "2")])
                .await
        }
        OperationKind::SetAccess => node.set_access(instance(), &["192.0.2.0/24"]).await,
    }
}

/// What must be there when it has ended so and is the newest; `None` when it must never be.
pub fn after(kind: OperationKind, outcome: Outcome) -> Option<After> {
    match (kind, outcome) {
        (OperationKind::Create, Outcome::Succeeded) => Some(RUNNING),
        (OperationKind::Create, Outcome::Failed) => Some(FAILED),
        (OperationKind::Create, Outcome::Cancelled) => Some(DELETED),
        (OperationKind::Stop, Outcome::Succeeded) => Some(STOPPED),
        // Both end as cancelled only when another has taken their place.
        (OperationKind::Stop, Outcome::Failed | Outcome::Cancelled)
        | (OperationKind::Restart, Outcome::Cancelled) => None,
        (OperationKind::Start | OperationKind::Restart, Outcome::Succeeded) => Some(RUNNING),
        (OperationKind::Start | OperationKind::Restart, Outcome::Failed) => Some(START_FAILED),
        (OperationKind::Start, Outcome::Cancelled) => Some(STOPPED),
        // Undone, it runs with what it had.
        (OperationKind::Configure, _) => Some(RUNNING),
        (OperationKind::SetAccess | OperationKind::RenewCertificate, Outcome::Succeeded) => {
            Some(RUNNING)
        }
        (
            OperationKind::SetAccess | OperationKind::RenewCertificate,
            Outcome::Failed | Outcome::Cancelled,
        ) => None,
        (OperationKind::Delete, Outcome::Succeeded) => Some(DELETED),
        (OperationKind::Delete, Outcome::Failed | Outcome::Cancelled) => None,
    }
}

/// Whether it fails for good when this call goes wrong so. Otherwise it goes on, and in the end it succeeds.
pub fn is_fatal(kind: OperationKind, call: Call, fault: Fault) -> bool {
    let is_final = match fault {
        Fault::Fails | Fault::Panics | Fault::Hangs => true,
        Fault::NotYet | Fault::MuchLater | Fault::Gone => false,
    };
    // A defect of Berth itself is none of the server's, but nobody can say what it has done.
    let is_defect = fault == Fault::Panics;
    match kind {
        OperationKind::Create => is_final,
        OperationKind::Stop
        | OperationKind::SetAccess
        | OperationKind::RenewCertificate
        | OperationKind::Delete => false,
        // A server that cannot be looked at is looked at again; one that cannot be told to end is told again.
        OperationKind::Start | OperationKind::Restart => match call {
            Call::Stop => false,
            Call::TargetObserve | Call::EngineObserve => is_defect,
            Call::Plan
            | Call::Bootstrap
            | Call::FirstLogin
            | Call::Verify
            | Call::Rotate
            | Call::Reload
            | Call::SetAccess
            | Call::Apply
            | Call::Start
            | Call::Remove
            | Call::Logs
            | Call::Usage => is_final,
        },
        // What cannot be done is undone, a stop among it.
        OperationKind::Configure => match call {
            Call::TargetObserve | Call::EngineObserve => is_defect,
            Call::Plan
            | Call::Bootstrap
            | Call::FirstLogin
            | Call::Verify
            | Call::Rotate
            | Call::Reload
            | Call::SetAccess
            | Call::Apply
            | Call::Start
            | Call::Stop
            | Call::Remove
            | Call::Logs
            | Call::Usage => is_final,
        },
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

async fn stopped(machine: &Machine) -> InstanceId {
    let id = running(machine).await;
    let mut node = machine.boot().await;
    node.start();
    let operation = node.begin(OperationKind::Stop, id).await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, Outcome::Succeeded.into(), "{ended:?}");
    node.stop().await;
    id
}
