//! One run of one operation in which something goes wrong, and the check of what is there afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use berth::model::operation::StepState;
use berth::model::plugin::Secrets;
use berth::model::{
    ConflictReason, Instance, Kind, Operation, OperationId, OperationKind, OperationStatus,
    Outcome, Phase,
};
use berth::store::memory::Fault as StoreFault;
use berth::store::view::{InstanceQuery, OperationQuery};
use berth_tests::fake::{Call, Fault, Gate, Live, When};
use berth_tests::node::{Machine, Node};

use super::rows::{self, After};

#[derive(Clone, Debug)]
pub struct Scenario {
    pub kind: OperationKind,
    /// Calls of plugins that go wrong, by their numbers.
    pub calls: Vec<(usize, Fault, When)>,
    /// In each life of the host, a commit at which something happens, counted from the life's first.
    pub commits: Vec<(u64, StoreFault)>,
    pub meddle: Option<Meddle>,
}

/// Somebody else wants something of the instance meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Meddle {
    pub at: Point,
    pub act: Act,
}

#[derive(Clone, Copy, Debug)]
pub enum Point {
    /// A commit after the acceptance: it is taken and not yet answered.
    Commit(u64),
    /// A plugin's call, before it acts.
    Call(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Cancel,
    /// Have another operation begun.
    Begin(OperationKind),
    /// By two callers at once.
    BeginTwice(OperationKind),
}

/// What is known after a scenario whose check passed.
#[derive(Clone, Debug)]
pub struct Report {
    /// How the newest operation ended; `None` when none was accepted.
    pub outcome: Option<OperationStatus>,
    pub calls: usize,
    pub called: Vec<Call>,
    /// Of the first life.
    pub commits: u64,
    pub deaths: usize,
    pub meddled: bool,
}

/// What callers were promised.
#[derive(Default)]
struct Promises {
    cancelled: bool,
    /// What was accepted while the operation was under way.
    begun: Vec<OperationId>,
}

impl Scenario {
    pub fn of(kind: OperationKind) -> Self {
        Self {
            kind,
            calls: Vec::new(),
            commits: Vec::new(),
            meddle: None,
        }
    }

    pub async fn run(&self) -> Report {
        let machine = Machine::new();
        let instance = rows::prepare(self.kind, &machine).await;
        machine.world.forget_calls();
        for (number, fault, when) in &self.calls {
            machine.world.fault_at(*number, *fault, *when);
        }
        let mut deaths = 0;
        let mut promises = Promises::default();
        let mut node = self.boot(&machine, deaths).await;
        let booted = node.store.commits();
        tokio::select! {
            begun = rows::begin(self.kind, &node, instance) => {
                // A lost answer is no acceptance and no refusal; what is recorded counts.
                if let Err(error) = begun {
                    assert!(error.is_retryable(), "{error:?}");
                }
            }
            () = node.store.killed() => {}
        }
        let mut meddle = self
            .meddle
            .map(|meddle| (meddle, gate(&meddle, &machine, &node)));
        node.start();
        let mut first_life = None;
        loop {
            let ended = tokio::select! {
                biased;
                () = node.store.killed() => false,
                () = async {
                    if let Some((meddle, gate)) = &meddle {
                        meddle.carry_out(gate, &node, &mut promises).await;
                    }
                    all_ended(&node).await;
                } => true,
            };
            first_life.get_or_insert_with(|| node.store.commits() - booted);
            if ended {
                break;
            }
            if let Some((_, gate)) = meddle.take() {
                gate.open();
            }
            node.kill().await;
            deaths += 1;
            node = self.boot(&machine, deaths).await;
            node.start();
        }
        let called = machine.world.calls();
        let newest = check(&machine, &node, &promises).await;
        Report {
            outcome: newest.map(|operation| operation.status),
            calls: called.len(),
            called,
            commits: first_life.unwrap_or_default(),
            deaths,
            meddled: promises.cancelled || !promises.begun.is_empty(),
        }
    }

    async fn boot(&self, machine: &Machine, life: usize) -> Node {
        let node = machine.boot().await;
        if let Some((number, fault)) = self.commits.get(life) {
            node.store.fault_at(node.store.commits() + number, *fault);
        }
        node
    }
}

impl Meddle {
    async fn carry_out(&self, gate: &Gate, node: &Node, promises: &mut Promises) {
        tokio::select! {
            () = gate.reached() => {}
            // It ended without coming to this point.
            () = all_ended(node) => return,
        }
        let operation = operations(node).await.pop().expect("one was accepted");
        match self.act {
            Act::Cancel => match node.repo.request_cancel(operation.id).await {
                Ok(_) => promises.cancelled = true,
                Err(error) => assert!(
                    matches!(error.kind, Kind::Conflict(ConflictReason::NotAllowedNow)),
                    "{error:?}"
                ),
            },
            Act::Begin(kind) => {
                let begun = accepted(node.begin(kind, operation.instance).await);
                promises.begun.extend(begun);
            }
            Act::BeginTwice(kind) => {
                let (one, other) = tokio::join!(
                    node.begin(kind, operation.instance),
                    node.begin(kind, operation.instance)
                );
                let begun: Vec<_> = [one, other].into_iter().filter_map(accepted).collect();
                assert!(begun.len() <= 1, "both were accepted");
                promises.begun.extend(begun);
            }
        }
        gate.open();
    }
}

fn gate(meddle: &Meddle, machine: &Machine, node: &Node) -> Gate {
    match meddle.at {
        Point::Commit(number) => node.gated.hold(number),
        Point::Call(number) => machine.world.hold(number),
    }
}

/// What was accepted; refused it may only be because of the phase, or of what is under way.
fn accepted(answer: berth::model::Result<Operation>) -> Option<OperationId> {
    match answer {
        Ok(operation) => Some(operation.id),
        Err(error) => {
            let expected = matches!(
                error.kind,
                Kind::Conflict(ConflictReason::WrongPhase | ConflictReason::Busy)
            );
            assert!(expected, "{error:?}");
            None
        }
    }
}

/// Oldest first.
async fn operations(node: &Node) -> Vec<Operation> {
    let page = node.repo.operations(&OperationQuery::default()).await;
    let mut operations = page.unwrap().items;
    operations.sort_by_key(|operation| operation.id);
    operations
}

async fn all_ended(node: &Node) {
    // A commit whose answer was lost may not be in the read model yet, but it is in the index.
    for id in node.repo.open_operations().await.unwrap() {
        node.ended(id).await;
    }
    for operation in operations(node).await {
        node.ended(operation.id).await;
    }
}

/// Everything that must hold once all has ended. Answers the newest operation.
async fn check(machine: &Machine, node: &Node, promises: &Promises) -> Option<Operation> {
    let world = &machine.world;
    assert_eq!(world.violations(), Vec::<String>::new());
    // What has ended is over: nobody acts on it any more.
    let calls = world.calls().len();
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(world.calls().len(), calls, "acted after the end");

    let operations = operations(node).await;
    let newest = operations.last().cloned();
    let expected = newest.as_ref().map(|operation| {
        let after = rows::after(operation.kind, outcome(operation));
        after.unwrap_or_else(|| panic!("must never end so: {operation:?}"))
    });
    let query = InstanceQuery {
        phases: Phase::ALL.to_vec(),
        ..InstanceQuery::default()
    };
    let shown = node.repo.view().list(&query).items;
    assert!(shown.len() <= 1, "{shown:?}");
    let shown = shown.first();
    assert_eq!(shown.is_some(), expected.is_some(), "{shown:?}");
    if let (Some(shown), Some(expected)) = (shown, expected) {
        let stored = node.repo.instance(shown.id).await.unwrap().unwrap();
        assert_eq!(&stored, shown, "the read model is not what the store has");
        check_instance(machine, node, &stored, expected).await;
    }
    check_keys(
        machine,
        shown.map(|shown| (shown.as_ref(), expected)),
        &operations,
    );
    for operation in &operations {
        check_operation(machine, operation);
    }
    for id in &promises.begun {
        let begun = operations.iter().find(|operation| operation.id == *id);
        let status = begun.map(|operation| operation.status);
        assert_eq!(
            status,
            Some(OperationStatus::Succeeded),
            "what was accepted was lost"
        );
    }
    if promises.cancelled {
        let newest = newest
            .as_ref()
            .expect("it was accepted before it was cancelled");
        assert_eq!(
            newest.status,
            OperationStatus::Cancelled,
            "a cancellation was lost"
        );
    }
    newest
}

async fn check_instance(machine: &Machine, node: &Node, instance: &Instance, expected: After) {
    assert_eq!(instance.phase(), expected.phase, "{instance:?}");
    assert_eq!(instance.operation, None);
    if let Some(failed) = failed(instance) {
        assert_eq!(instance.failure.is_some(), failed, "{instance:?}");
    }
    assert_eq!(machine.world.live_count(), usize::from(expected.lives));
    let secrets = node.repo.secrets(instance.id).await.unwrap();
    if !expected.lives {
        assert_eq!(instance.endpoints, Vec::new());
        assert_eq!(instance.reservation.ports, Vec::<u16>::new());
        assert_eq!(instance.reservation.uid, None);
        assert!(secrets.is_empty());
        return;
    }
    let live = machine.world.live(instance.id).expect("it lives");
    assert_eq!(live.running, expected.runs);
    // What is stopped may have been so before it was given a new certificate: it is given that when it is started.
    let given = |secrets: &Secrets| -> Secrets {
        let counts = |name: &str| expected.runs || !name.starts_with("tls.");
        let secrets = secrets.iter().filter(|(name, _)| counts(name));
        secrets
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    assert_eq!(
        given(&live.applied.secrets),
        given(&secrets),
        "it has other secrets than recorded"
    );
    assert_eq!(live.applied.endpoints, instance.endpoints);
    assert_eq!(live.applied.uid, instance.reservation.uid);
    let endpoints = instance.endpoints.iter();
    let inner = instance.endpoints.iter().filter_map(|e| e.inner_port);
    let ports: Vec<u16> = endpoints.map(|e| e.port).chain(inner).collect();
    assert_eq!(instance.reservation.ports, ports);
    assert_eq!(ports.len(), 2 * instance.endpoints.len());
    check_what_is_in_force(node, instance, &live, &secrets).await;
    assert_eq!(live.users.get("app_user"), secrets.get("app"));
}

/// What its record says of it is what it runs with, or will be started with.
async fn check_what_is_in_force(node: &Node, instance: &Instance, live: &Live, secrets: &Secrets) {
    let settings = &instance.spec.settings;
    let workload = node.repo.workload(instance.id).await.unwrap().unwrap();
    assert_eq!(&workload.members[0].main.env, settings);
    let networks = instance.policy.access.iter().map(|rule| rule.network);
    if live.running {
        assert_eq!(live.in_force.settings, settings.iter().cloned().collect());
        assert_eq!(live.in_force.certificate.as_ref(), secrets.get("tls.cert"));
        assert_eq!(live.applied.access, networks.collect::<Vec<_>>());
    }
}

/// Exactly the keys that must be there: anything else was left behind.
fn check_keys(
    machine: &Machine,
    shown: Option<(&Instance, Option<After>)>,
    operations: &[Operation],
) {
    let mut expected: BTreeSet<String> = BTreeSet::from(["meta/store".to_owned()]);
    expected.extend(
        operations
            .iter()
            .map(|operation| format!("operation/{}", operation.id)),
    );
    if let Some((instance, Some(after))) = shown {
        let id = instance.id;
        expected.insert(format!("instance/{id}"));
        expected.insert(format!("alias/{}", instance.alias));
        if after.named {
            let slug = instance.spec.name.slug();
            expected.insert(format!("slug/{}/{slug}", instance.project));
        }
        if after.lives {
            let node = &instance.node;
            expected.insert(format!("workload/{id}"));
            expected.insert(format!("secrets/{id}"));
            expected.extend(
                instance
                    .reservation
                    .ports
                    .iter()
                    .map(|n| format!("port/{node}/{n}")),
            );
            expected.extend(
                instance
                    .reservation
                    .uid
                    .iter()
                    .map(|n| format!("uid/{node}/{n}")),
            );
        }
    }
    let found: BTreeSet<String> = machine.keys().into_iter().collect();
    assert_eq!(found, expected);
}

fn check_operation(machine: &Machine, operation: &Operation) {
    assert!(operation.status.is_terminal(), "{operation:?}");
    assert_eq!(operation.claim, None);
    assert_eq!(operation.not_before, None);
    assert!(operation.finished_at.is_some());
    let states: Vec<StepState> = operation.steps.iter().map(|step| step.state).collect();
    let succeeded = operation.status == OperationStatus::Succeeded;
    for state in &states {
        let right = match state {
            StepState::Done => succeeded,
            StepState::Undone | StepState::Pending => !succeeded,
            StepState::Started => false,
        };
        assert!(right, "{operation:?}");
    }
    assert_eq!(operation.last_error.is_none(), succeeded, "{operation:?}");
    let text = format!("{operation:?}");
    assert!(!machine.world.shows_secret(&text), "shows a secret");
}

/// Whether it must say why it failed.
fn failed(instance: &Instance) -> Option<bool> {
    match instance.phase() {
        Phase::Failed | Phase::StartFailed => Some(true),
        Phase::Creating
        | Phase::Running
        | Phase::Stopping
        | Phase::Starting
        | Phase::Restarting
        | Phase::Configuring
        | Phase::Deleting => Some(false),
        // What was cancelled says so.
        Phase::Stopped | Phase::Deleted => None,
    }
}

fn outcome(operation: &Operation) -> Outcome {
    match operation.status {
        OperationStatus::Succeeded => Outcome::Succeeded,
        OperationStatus::Failed => Outcome::Failed,
        OperationStatus::Cancelled => Outcome::Cancelled,
        OperationStatus::Pending | OperationStatus::Running | OperationStatus::Unwinding => {
            panic!("not ended: {operation:?}")
        }
    }
}
