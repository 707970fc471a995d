//! What the sweep does not vary: time, limits, stopping, newer records, other drivers.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::Duration;

use berth::model::operation::{NewOperation, StepState};
use berth::model::{ConflictReason, Kind, NodeName, OperationKind, OperationStatus, Phase};
use berth_tests::fake::{Call, Fault, When};
use berth_tests::node::{Machine, Node};
use tokio::time::{Instant, sleep};

/// The number of the call in a creation that nothing disturbs.
const APPLY: usize = 2;
const FIRST_LOOK: usize = 3;

#[tokio::test(start_paused = true)]
async fn a_server_that_fails_ends_its_creation_at_once_with_its_last_words_and_no_secret() {
    let machine = Machine::new();
    machine.world.behave(|behaviour| {
        behaviour.servers_die = Some("it ended with status 1".to_owned());
        behaviour.log = "FATAL: no disk for ${secret:app}\n".to_owned();
    });
    let node = started(&machine).await;
    let began = Instant::now();
    let (instance, operation) = node.create("doomed").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(ended.status, OperationStatus::Failed);
    assert_eq!(
        ended.last_error.as_deref(),
        Some("the server did not start: it ended with status 1\nFATAL: no disk for [secret]")
    );
    let instance = node.repo.instance(instance.id).await.unwrap().unwrap();
    assert_eq!(instance.phase(), Phase::Failed);
    assert_eq!(instance.failure, ended.last_error);
    assert_eq!(machine.world.live_count(), 0);

    // What failed can be deleted, and its name used again.
    let deletion = node.delete(instance.id).await.unwrap();
    assert_eq!(
        node.ended(deletion.id).await.status,
        OperationStatus::Succeeded
    );
    node.create("doomed").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_is_not_done_in_time_is_undone_and_says_what_it_waited_for() {
    let machine = Machine::new();
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = u32::MAX);
    let node = started(&machine).await;
    let began = Instant::now();
    let (_, operation) = node.create("slow").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    let error = ended.last_error.unwrap();
    assert!(
        error.contains("in time") && error.contains("set up"),
        "{error}"
    );
    let took = began.elapsed().as_secs();
    assert!((600..620).contains(&took), "{took}");
    assert_eq!(machine.world.live_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_start_takes_as_long_as_its_server_does() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    let stop = node.begin(OperationKind::Stop, instance).await.unwrap();
    node.ended(stop.id).await;
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = u32::MAX);
    let start = node.begin(OperationKind::Start, instance).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    let open = node.operation(start.id).await;
    assert_eq!(open.status, OperationStatus::Running);
    assert_eq!(open.deadline, None);
    let waits_for = open.last_error.unwrap();
    assert!(waits_for.contains("set up"), "{waits_for}");
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = 0);
    let ended = node.ended(start.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_ends_no_start_that_goes_well_and_looks_that_keep_failing_do() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    let stop = node.begin(OperationKind::Stop, instance).await.unwrap();
    node.ended(stop.id).await;
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = u32::MAX);
    let start = node.begin(OperationKind::Start, instance).await.unwrap();
    // Each comes long after the start began, and long after the one before.
    for _ in 0..3 {
        sleep(Duration::from_secs(90)).await;
        let next = machine.world.calls().len() + 1;
        machine.world.fault_at(next, Fault::Fails, When::Before);
        let failed = node.until(start.id, |op| says(op, "failed")).await;
        assert!(!failed.status.is_terminal(), "{failed:?}");
        let began = Instant::now();
        node.until(start.id, |op| says(op, "set up")).await;
        assert!(began.elapsed() < Duration::from_secs(5), "looked again");
    }
    // For half a minute nothing can be seen; a host that was killed then gives it its time anew.
    machine
        .world
        .behave(|behaviour| behaviour.looks_fail = Some("it cannot be seen".to_owned()));
    node.until(start.id, |op| says(op, "seen")).await;
    sleep(Duration::from_secs(50)).await;
    node.kill().await;
    let node = started(&machine).await;
    sleep(Duration::from_secs(50)).await;
    assert!(!node.operation(start.id).await.status.is_terminal());
    let ended = node.ended(start.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(says(&ended, "seen"), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_does_not_wait_until_what_it_removes_can_be_stopped() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine
        .world
        .behave(|behaviour| behaviour.stop_fails = Some("it hangs".to_owned()));
    for kind in [
        OperationKind::Stop,
        OperationKind::Start,
        OperationKind::Stop,
    ] {
        let operation = node.begin(kind, instance).await.unwrap();
        node.until(operation.id, |op| {
            op.last_error.is_some() || op.status.is_terminal()
        })
        .await;
    }
    let began = Instant::now();
    let deletion = node.delete(instance).await.unwrap();
    let ended = node.ended(deletion.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded);
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(machine.world.live_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_answers_is_cut_at_the_deadline_and_its_claim_held_until_then() {
    let machine = Machine::new();
    machine.world.fault_at(APPLY, Fault::Hangs, When::After);
    let node = started(&machine).await;
    let (_, operation) = node.create("stuck").await.unwrap();
    for _ in 0..9 {
        sleep(Duration::from_secs(60)).await;
        let claim = node.operation(operation.id).await.claim.unwrap();
        assert!(claim.until > machine.config.clock.now());
    }
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert_eq!(machine.world.live_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_stored_and_a_cancellation_or_a_retry_cuts_it_short() {
    for cancels in [true, false] {
        let machine = Machine::new();
        machine.world.fault_at(APPLY, Fault::MuchLater, When::After);
        let node = started(&machine).await;
        let began = Instant::now();
        let (_, operation) = node.create("waiting").await.unwrap();
        let waiting = node.until(operation.id, |op| op.not_before.is_some()).await;
        assert_eq!(waiting.claim, None, "nobody holds what waits");
        assert_eq!(waiting.last_error.as_deref(), Some("Apply: later"));
        let expected = if cancels {
            node.repo.request_cancel(operation.id).await.unwrap();
            OperationStatus::Cancelled
        } else {
            node.repo.retry_now(operation.id).await.unwrap();
            OperationStatus::Succeeded
        };
        assert_eq!(node.ended(operation.id).await.status, expected);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_never_gives_up_and_says_why_it_is_not_done() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine.world.forget_calls();
    machine
        .world
        .behave(|behaviour| behaviour.removal_fails = Some("the disk is read-only".to_owned()));
    let deletion = node.delete(instance).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    let open = node.operation(deletion.id).await;
    assert_eq!(open.status, OperationStatus::Running);
    assert_eq!(open.last_error.as_deref(), Some("the disk is read-only"));
    let attempts = machine
        .world
        .calls()
        .iter()
        .filter(|call| **call == Call::Remove)
        .count();
    assert!(
        (60..80).contains(&attempts),
        "{attempts} attempts in an hour"
    );
    let refused = node.repo.request_cancel(deletion.id).await.unwrap_err();
    assert!(matches!(
        refused.kind,
        Kind::Conflict(ConflictReason::NotAllowedNow)
    ));

    machine
        .world
        .behave(|behaviour| behaviour.removal_fails = None);
    let ended = node.ended(deletion.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded);
    assert_eq!(ended.last_error, None);
    assert_eq!(machine.world.live_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_is_away_is_waited_for() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine.plugins.set_loaded(false);
    let deletion = node.delete(instance).await.unwrap();
    let waiting = node.until(deletion.id, |op| op.last_error.is_some()).await;
    assert_eq!(
        waiting.last_error.as_deref(),
        Some("the plugin is being compiled")
    );
    sleep(Duration::from_secs(300)).await;
    machine.plugins.set_loaded(true);
    let began = Instant::now();
    node.ended(deletion.id).await;
    assert!(began.elapsed() <= Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_berth_recorded_is_left_as_it_is_and_reported() {
    let machine = Machine::new();
    let node = started(&machine).await;
    let newer = NewOperation {
        steps: vec!["plan".to_owned(), "warp".to_owned()],
        ..node.executor.new_operation(OperationKind::Create, None)
    };
    let new = node.new_instance("newer");
    node.repo.begin_create(new, newer, None).await.unwrap();
    let (_, other) = node.create("other").await.unwrap();
    node.ended(other.id).await;
    sleep(Duration::from_secs(200)).await;
    let reported: BTreeMap<_, _> = node.executor.untouched();
    let [(id, why)] = reported.iter().collect::<Vec<_>>()[..] else {
        panic!("{reported:?}");
    };
    assert!(why.contains("warp"), "{why}");
    let left = node.operation(*id).await;
    assert_eq!(left.status, OperationStatus::Pending);
    assert_eq!(left.claim, None);
    assert!(
        left.steps
            .iter()
            .all(|step| step.state == StepState::Pending)
    );
    assert_eq!(node.repo.open_operations().await.unwrap(), [*id]);
}

#[tokio::test(start_paused = true)]
async fn a_stopping_host_lets_go_and_the_next_one_goes_on_at_once() {
    for hangs in [false, true] {
        let machine = Machine::new();
        machine
            .world
            .behave(|behaviour| behaviour.looks_until_running = 100);
        if hangs {
            machine
                .world
                .fault_at(FIRST_LOOK, Fault::Hangs, When::Before);
        }
        let node = started(&machine).await;
        let (_, operation) = node.create("interrupted").await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        node.stop().await;
        assert!(began.elapsed() <= machine.config.shutdown_grace);
        let mut next = machine.boot().await;
        let left = next.operation(operation.id).await;
        assert_eq!(left.claim, None);
        assert_eq!(left.status, OperationStatus::Running);
        let began = Instant::now();
        next.start();
        next.until(operation.id, |op| op.claim.is_some()).await;
        assert!(began.elapsed() < Duration::from_secs(1));
        let ended = next.ended(operation.id).await;
        assert_eq!(ended.status, OperationStatus::Succeeded);
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_lost_its_claim_stops_acting() {
    let machine = Machine::new();
    let gate = machine.world.hold(APPLY);
    let first = started(&machine).await;
    let (instance, operation) = first.create("contested").await.unwrap();
    gate.reached().await;
    // The first one hangs in a call, and another process of the node takes over.
    let second = started(&machine).await;
    let ended = second.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded);
    let calls = machine.world.calls().len();
    gate.open();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(machine.world.calls().len(), calls, "the first one went on");
    assert_eq!(second.operation(operation.id).await, ended);
    assert_eq!(machine.world.violations(), Vec::<String>::new());
    assert!(machine.world.live(instance.id).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_operation_of_another_node_is_not_touched() {
    let machine = Machine::new();
    let node = machine.boot().await;
    let (_, operation) = node.create("theirs").await.unwrap();
    let mut config = machine.config.clone();
    config.node = NodeName::new("node-2");
    let mut other = machine.boot_as(config).await;
    other.start();
    sleep(Duration::from_secs(300)).await;
    assert_eq!(other.operation(operation.id).await, operation);
}

#[tokio::test(start_paused = true)]
async fn ports_that_others_use_are_passed_over_and_none_left_is_said() {
    let mut machine = Machine::new();
    // An instance needs two: one for its endpoint, one for the member behind it.
    let (taken, port) = std::iter::repeat_with(|| TcpListener::bind(("127.0.0.1", 0)).unwrap())
        .map(|listener| (listener.local_addr().unwrap().port(), listener))
        .find(|(port, _)| *port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok())
        .map(|(port, listener)| (listener, port))
        .unwrap();
    machine.config.ports = port..=port + 1;
    let node = started(&machine).await;
    let (_, operation) = node.create("portless").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    let error = ended.last_error.unwrap();
    assert!(error.contains("no free port"), "{error}");
    drop(taken);
    let (instance, operation) = node.create("lucky").await.unwrap();
    assert_eq!(
        node.ended(operation.id).await.status,
        OperationStatus::Succeeded
    );
    let instance = node.repo.instance(instance.id).await.unwrap().unwrap();
    let endpoint = &instance.endpoints[0];
    let mut ports = [endpoint.port, endpoint.inner_port.unwrap()];
    ports.sort_unstable();
    assert_eq!(ports, [port, port + 1]);
    // Held by the first, it is nobody else's; given back with it, it is the next one's.
    let (_, operation) = node.create("late").await.unwrap();
    assert_eq!(
        node.ended(operation.id).await.status,
        OperationStatus::Failed
    );
    let deletion = node.delete(instance.id).await.unwrap();
    node.ended(deletion.id).await;
    let (_, operation) = node.create("next").await.unwrap();
    assert_eq!(
        node.ended(operation.id).await.status,
        OperationStatus::Succeeded
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_its_user_is_not_handed_over() {
    let machine = Machine::new();
    machine
        .world
        .behave(|behaviour| behaviour.refuses_passwords = true);
    let node = started(&machine).await;
    let (_, operation) = node.create("locked").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert_eq!(machine.world.live_count(), 0);
}

pub fn says(operation: &berth::model::Operation, what: &str) -> bool {
    let error = operation.last_error.as_deref();
    error.is_some_and(|error| error.contains(what))
}

pub async fn started(machine: &Machine) -> Node {
    let mut node = machine.boot().await;
    node.start();
    node
}

pub async fn running(machine: &Machine) -> (Node, berth::model::InstanceId) {
    let node = started(machine).await;
    let (instance, operation) = node.create("running").await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded, "{ended:?}");
    (node, instance.id)
}
