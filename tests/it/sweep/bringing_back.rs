//! Changes of an instance whose server does not come up, before them or because of them: they end, and say how it is.

use std::time::Duration;

use berth::model::{OperationKind, OperationStatus, Phase};
use berth_tests::fake::BAD;
use berth_tests::node::Machine;
use tokio::time::Instant;

use super::cases::{running, says};

#[tokio::test(start_paused = true)]
async fn other_settings_for_a_dead_server_end_and_say_that_it_is_dead() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine
        .world
        .behave(|behaviour| behaviour.servers_die = Some("it ended with status 1".to_owned()));
    let wanted = [("live", "2"), ("slow", "2")];
    let operation = node.configure(instance, &wanted).await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(says(&ended, "it ended with status 1"), "{ended:?}");
    assert!(says(&ended, "does not come up with them"), "{ended:?}");
    let shown = node.repo.instance(instance).await.unwrap().unwrap();
    assert_eq!(shown.phase(), Phase::Running);
    assert!(shown.spec.settings.is_empty(), "{:?}", shown.spec.settings);

    machine
        .world
        .behave(|behaviour| behaviour.servers_die = None);
    let operation = node.configure(instance, &wanted).await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded, "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn settings_that_a_server_does_not_come_up_with_are_taken_back_in_time() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine
        .world
        .behave(|behaviour| behaviour.looks_until_running = u32::MAX);
    let began = Instant::now();
    let operation = node.configure(instance, &[("slow", "2")]).await.unwrap();
    node.until(operation.id, |op| op.status == OperationStatus::Unwinding)
        .await;
    let took = began.elapsed().as_secs();
    assert!((600..620).contains(&took), "{took}");
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(says(&ended, "in time"), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(1_800));
    let shown = node.repo.instance(instance).await.unwrap().unwrap();
    assert_eq!(shown.phase(), Phase::Running);
    assert!(shown.spec.settings.is_empty(), "{:?}", shown.spec.settings);
}

#[tokio::test(start_paused = true)]
async fn settings_that_a_server_cannot_run_with_are_taken_back_and_that_is_said() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    let operation = node.configure(instance, &[("slow", BAD)]).await.unwrap();
    let ended = node.ended(operation.id).await;
    assert_eq!(ended.status, OperationStatus::Failed);
    assert!(says(&ended, "it cannot run with that"), "{ended:?}");
    let back = "The database runs with the settings that it had before.";
    assert!(says(&ended, back), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_holds_up_no_renewal_of_its_certificate() {
    let machine = Machine::new();
    let (node, instance) = running(&machine).await;
    machine
        .world
        .behave(|behaviour| behaviour.servers_die = Some("it ended with status 1".to_owned()));
    let renewal = node.begin(OperationKind::RenewCertificate, instance);
    let ended = node.ended(renewal.await.unwrap().id).await;
    assert_eq!(ended.status, OperationStatus::Succeeded, "{ended:?}");
}
