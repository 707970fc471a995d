//! More operations than may be driven at once.

use std::time::Duration;

use berth::model::{OperationKind, OperationStatus};
use berth_tests::node::Machine;
use tokio::time::{Instant, sleep};

use super::cases::started;

#[tokio::test(start_paused = true)]
async fn no_more_operations_are_driven_at_once_than_allowed_and_all_get_their_turn() {
    let mut machine = Machine::new();
    machine.config.concurrency = 3;
    let node = started(&machine).await;
    let mut accepted = Vec::new();
    for number in 0..40 {
        accepted.push(node.create(&format!("many-{number}")).await.unwrap().1.id);
    }
    let mut most = 0;
    loop {
        let open = node.repo.open_operations().await.unwrap();
        let mut held = 0;
        for id in &open {
            held += usize::from(node.operation(*id).await.claim.is_some());
        }
        most = most.max(held);
        if open.is_empty() {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(most, 3);
    for id in accepted {
        assert_eq!(node.operation(id).await.status, OperationStatus::Succeeded);
    }
    assert_eq!(machine.world.live_count(), 40);
    assert_eq!(machine.world.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_ever_do_not_hold_up_the_others() {
    let mut machine = Machine::new();
    machine.config.concurrency = 3;
    let node = started(&machine).await;
    let mut stopped = Vec::new();
    for number in 0..6 {
        let (instance, created) = node.create(&format!("never-{number}")).await.unwrap();
        node.ended(created.id).await;
        let stop = node.begin(OperationKind::Stop, instance.id).await.unwrap();
        node.ended(stop.id).await;
        stopped.push(instance.id);
    }
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = u32::MAX);
    let mut starts = Vec::new();
    for id in stopped {
        starts.push(node.begin(OperationKind::Start, id).await.unwrap().id);
    }
    sleep(Duration::from_secs(60)).await;
    let (instance, _) = node.create("not-either").await.unwrap();
    let began = Instant::now();
    let delete = node.delete(instance.id).await.unwrap();
    let ended = node.ended(delete.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    for id in starts {
        let start = node.operation(id).await;
        assert_eq!(start.finished_at, None, "{start:?}");
    }
}
