//! The supervisor: what it says of running instances, and how evenly it looks.

use std::time::Duration;

use berth::model::health::Condition;
use berth::model::{InstanceId, OperationKind};
use berth::operations::Clock;
use berth::store::memory::Fault as StoreFault;
use berth_tests::fake::{Call, Fault, When};
use berth_tests::node::{Machine, Node};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn health_follows_what_is_observed() {
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1).await;
    let health = node.health.get(id).unwrap();
    assert_eq!(health.condition, Condition::Healthy);
    assert_eq!(health.version.as_deref(), Some("1.2"));
    assert_eq!(health.used_bytes, 1_000);

    machine.world.kill_server(id);
    sleep(Duration::from_secs(2)).await;
    let down = node.health.get(id).unwrap();
    assert!(matches!(down.condition, Condition::Down(_)), "{down:?}");
    sleep(Duration::from_secs(10)).await;
    let still = node.health.get(id).unwrap();
    assert_eq!(still.since, down.since);
    assert!(still.observed_at > down.observed_at);

    machine.world.revive_server(id);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(node.health.get(id).unwrap().condition, Condition::Healthy);
}

#[tokio::test(start_paused = true)]
async fn its_history_outlives_the_host_and_goes_with_the_instance() {
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1).await;
    machine.world.kill_server(id);
    sleep(Duration::from_secs(2)).await;
    machine.world.revive_server(id);
    sleep(Duration::from_secs(2)).await;
    let before = node.health.history(id).unwrap();
    let states: Vec<_> = before.clone().into_newest_first();
    let states: Vec<_> = states.iter().map(|t| t.condition.as_str()).collect();
    assert_eq!(states.first(), Some(&"healthy"), "{states:?}");
    assert_eq!(states.last(), Some(&"healthy"), "{states:?}");
    assert!(states.contains(&"down"), "{states:?}");
    node.kill().await;

    let mut node = machine.boot().await;
    node.start();
    node.supervise(|_| {});
    sleep(Duration::from_secs(3)).await;
    assert_eq!(node.health.history(id).as_ref(), Some(&before));
    let since = before.newest().map(|newest| newest.at);
    assert_eq!(node.health.get(id).map(|health| health.since), since);

    let deletion = node.delete(id).await.unwrap();
    node.ended(deletion.id).await;
    assert_eq!(node.repo.health_history(id).await.unwrap(), before);
    node.supervise(|config| config.retention = Duration::ZERO);
    sleep(Duration::from_secs(1200)).await;
    let left: Vec<_> = machine.keys();
    assert!(
        !left.iter().any(|key| key.starts_with("health/")),
        "{left:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_before_a_stop_or_a_restart_is_over() {
    let machine = Machine::new();
    let mut node = machine.boot().await;
    node.start();
    let (instance, creation) = node.create("watched").await.unwrap();
    node.ended(creation.id).await;
    // The store dates records by the system's clock, which does not stand still here.
    node.supervise(|config| config.clock = Clock::system());
    sleep(Duration::from_secs(3)).await;
    let mut since = vec![node.health.get(instance.id).unwrap().since];
    for kinds in [
        &[OperationKind::Stop, OperationKind::Start][..],
        // Over before the next look: nobody saw it stand still.
        &[OperationKind::Restart],
    ] {
        for kind in kinds {
            let operation = node.begin(*kind, instance.id).await.unwrap();
            node.ended(operation.id).await;
        }
        sleep(Duration::from_secs(3)).await;
        let health = node.health.get(instance.id).unwrap();
        assert_eq!(health.condition, Condition::Healthy);
        assert!(health.since > *since.last().unwrap(), "{health:?}");
        since.push(health.since);
    }
    let history = node.repo.health_history(instance.id).await.unwrap();
    let mut recorded: Vec<_> = history.into_newest_first();
    recorded.reverse();
    let recorded: Vec<_> = recorded.iter().map(|t| t.at).collect();
    assert_eq!(recorded, since);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_could_not_be_recorded_is_so_later_also_of_what_was_stopped() {
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1).await;
    let next = node.store.commits() + 1;
    node.store.fault_at(next, StoreFault::Lost);
    machine.world.kill_server(id);
    let down = |condition: &Condition| matches!(condition, Condition::Down(_));
    while !node.health.get(id).is_some_and(|h| down(&h.condition)) {
        sleep(Duration::from_millis(1)).await;
    }
    let recorded = node.repo.health_history(id).await.unwrap();
    assert!(!down(&recorded.newest().unwrap().condition), "it was lost");
    let stop = node.begin(OperationKind::Stop, id).await.unwrap();
    node.ended(stop.id).await;
    sleep(Duration::from_secs(3)).await;
    let recorded = node.repo.health_history(id).await.unwrap();
    assert!(down(&recorded.newest().unwrap().condition), "{recorded:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_running_has_no_health() {
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1).await;
    let deletion = node.delete(id).await.unwrap();
    node.ended(deletion.id).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(node.health.get(id), None);
    let calls = machine.world.calls().len();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(
        machine.world.calls().len(),
        calls,
        "looked at what is deleted"
    );
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_or_panics_holds_up_nobody_else() {
    for fault in [Fault::Hangs, Fault::Panics] {
        let machine = Machine::new();
        let (node, id) = supervised(&machine, 5).await;
        machine.world.forget_calls();
        machine.world.fault_at(2, fault, When::Before);
        sleep(Duration::from_secs(10)).await;
        let looks = count(&machine, Call::TargetObserve);
        assert!(
            (40..=55).contains(&looks),
            "{looks} looks at 5 instances in 10 s"
        );
        sleep(Duration::from_secs(20)).await;
        assert_eq!(node.health.get(id).unwrap().condition, Condition::Healthy);
    }
}

#[tokio::test(start_paused = true)]
async fn however_many_looks_hang_the_others_are_looked_at() {
    const HANGING: usize = 40;
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1 + HANGING).await;
    let all = node.repo.view().list(&Default::default()).items;
    let all: Vec<InstanceId> = all.iter().map(|instance| instance.id).collect();
    let others = || all.iter().copied().filter(|other| *other != id);
    machine.world.behave(|b| b.hanging = others().collect());
    let condition = |id| node.health.get(id).unwrap().condition;
    let healthy = |id| condition(id) == Condition::Healthy;
    for round in 0..18 {
        let before = node.health.get(id).unwrap().observed_at;
        sleep(Duration::from_secs(5)).await;
        let seen = node.health.get(id).unwrap().observed_at;
        assert!(seen > before, "not looked at in round {round}");
    }
    assert!(healthy(id));
    for other in others() {
        assert_eq!(
            condition(other),
            Condition::Down("does not answer".to_owned())
        );
    }
    machine.world.kill_server(id);
    sleep(Duration::from_secs(3)).await;
    assert!(!healthy(id), "it is seen at once");
    // And it is seen, too, that they answer again.
    machine.world.behave(|b| b.hanging.clear());
    sleep(Duration::from_secs(60)).await;
    assert!(others().all(healthy));
}

#[tokio::test(start_paused = true)]
async fn volumes_that_are_not_measured_in_time_say_nothing_of_their_server() {
    let machine = Machine::new();
    let (node, id) = supervised(&machine, 1).await;
    machine.world.forget_calls();
    machine.world.behave(|b| b.usage_hangs = true);
    for round in 0..24 {
        let before = node.health.get(id).unwrap().observed_at;
        for _ in 0..20 {
            sleep(Duration::from_secs(1)).await;
            let health = node.health.get(id).unwrap();
            assert_eq!(health.condition, Condition::Healthy, "in round {round}");
            assert_eq!(health.used_bytes, 1_000, "what was known holds on");
        }
        let seen = node.health.get(id).unwrap().observed_at;
        assert!(seen > before, "not looked at in round {round}");
    }
    // Once a minute for a moment, and once with patience.
    let asked = count(&machine, Call::Usage);
    assert!((10..=16).contains(&asked), "measured {asked} times");
    machine.world.kill_server(id);
    sleep(Duration::from_secs(20)).await;
    let down = node.health.get(id).unwrap();
    assert!(matches!(down.condition, Condition::Down(_)), "{down:?}");
}

#[tokio::test(start_paused = true)]
async fn many_instances_are_looked_at_evenly_and_engines_asked_rarely() {
    let machine = Machine::new();
    let (_node, _) = supervised(&machine, 200).await;
    sleep(Duration::from_secs(60)).await;
    machine.world.forget_calls();
    let mut most = 0;
    for _ in 0..300 {
        let before = count(&machine, Call::TargetObserve);
        sleep(Duration::from_millis(100)).await;
        most = most.max(count(&machine, Call::TargetObserve) - before);
    }
    // 200 a second are 20 in a tenth of it.
    assert!(most <= 30, "{most} looks in a tenth of a second");
    let looks = count(&machine, Call::TargetObserve);
    assert!((5_500..=6_200).contains(&looks), "{looks} looks in 30 s");
    let asked = count(&machine, Call::EngineObserve);
    assert!(
        (350..=450).contains(&asked),
        "engines were asked {asked} times"
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_instances_are_forgotten_after_their_time() {
    let machine = Machine::new();
    let (mut node, id) = supervised(&machine, 1).await;
    let deletion = node.delete(id).await.unwrap();
    node.ended(deletion.id).await;
    assert!(node.repo.instance(id).await.unwrap().is_some());
    node.supervise(|config| config.retention = Duration::ZERO);
    sleep(Duration::from_secs(1200)).await;
    assert!(node.repo.instance(id).await.unwrap().is_none());
}

/// So many running instances under a supervisor; answers the first of them.
async fn supervised(machine: &Machine, instances: usize) -> (Node, InstanceId) {
    let mut node = machine.boot().await;
    node.start();
    let mut first = None;
    for number in 0..instances {
        let (instance, operation) = node.create(&format!("watched-{number}")).await.unwrap();
        node.ended(operation.id).await;
        first.get_or_insert(instance.id);
    }
    node.supervise(|_| {});
    sleep(Duration::from_secs(3)).await;
    (node, first.expect("at least one was asked for"))
}

fn count(machine: &Machine, which: Call) -> usize {
    machine
        .world
        .calls()
        .iter()
        .filter(|call| **call == which)
        .count()
}
