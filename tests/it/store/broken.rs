//! A disk that fails under a store: full, unreadable, torn in the middle of a write, not synced.

use berth_tests::wait_for;

use super::power::look;
use super::work::{Model, Stand, Step, WRITERS, sizes};

const FULL: i32 = nix::libc::ENOSPC;
const BROKEN: i32 = nix::libc::EIO;

/// What fails, and whether the process dies of it.
fn rules() -> Vec<(String, bool)> {
    vec![
        (format!("write db 0 {FULL}"), false),
        (format!("write db 3 {BROKEN}"), false),
        (format!("write db 2 {FULL} 700"), false),
        (format!("write db 5 {BROKEN} 4096"), false),
        (format!("write db 1 {BROKEN} 1 once"), false),
        ("write db 4 kill 300".to_owned(), true),
        ("write db 7 kill 4096".to_owned(), true),
        (format!("sync db 0 {BROKEN}"), false),
        (format!("sync db 2 {BROKEN} 0 once"), false),
        (format!("sync db 3 {FULL}"), false),
        ("sync db 5 kill".to_owned(), true),
        (format!("range db 1 {BROKEN}"), false),
        (format!("write acknowledged 2 {BROKEN}"), false),
        (format!("write acknowledged 1 {FULL} 7 once"), false),
    ]
}

/// A child that commits until the rule strikes, and what it said when it had ended.
async fn struck(stand: &Stand, steps: &[Step], rule: &str) -> (std::process::Output, bool) {
    let child = stand.start(steps);
    wait_for("commits to be acknowledged", async || {
        (stand.acknowledged().iter().min()? > &15).then_some(())
    })
    .await;
    stand.set_rule(rule);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = ended.await.unwrap();
    let struck = stand.rule().with_extension("struck").exists();
    (output, struck)
}

/// The store is opened, and holds what was acknowledged and nothing half.
fn intact(stand: &Stand, steps: &[Step], rule: &str) {
    let _ = std::fs::remove_file(stand.rule());
    let sizes = sizes(steps);
    let models: Vec<Model> = (0..WRITERS)
        .map(|writer| Model::new(writer, &sizes))
        .collect();
    match std::thread::scope(|scope| {
        let look = || look(&stand.root(), &models, stand.acknowledged());
        scope.spawn(look).join().unwrap()
    }) {
        Ok(None) => {}
        Ok(Some(refusal)) => panic!("{rule}: {refusal}"),
        Err(wrong) => panic!("{rule}: {wrong}"),
    }
}

#[tokio::test]
async fn after_a_fault_nothing_counts_as_taken_that_is_not_on_the_disk() {
    for (rule, dies) in rules() {
        let stand = Stand::new();
        let steps = [Step::UntilItFails];
        let (output, struck) = struck(&stand, &steps, &rule).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(struck, "{rule} did not strike: {said}{errors}");
        assert_ne!(output.status.success(), dies, "{rule}: {said}{errors}");
        if !dies {
            let failed = said.matches("\nfailed backend").count();
            assert_eq!(failed, WRITERS, "{rule}: {said}{errors}");
        }
        intact(&stand, &steps, &rule);
    }
}

#[tokio::test]
async fn a_store_that_failed_works_again_when_the_disk_does() {
    for (rule, dies) in rules() {
        if dies {
            continue;
        }
        let stand = Stand::new();
        let steps = [Step::UntilItFails, Step::Mended, Step::Small(30), Step::Die];
        let (output, struck) = struck(&stand, &steps, &rule).await;
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(struck, "{rule} did not strike: {said}{errors}");
        assert!(said.contains("\nmended"), "{rule}: {said}{errors}");
        assert_eq!(said.matches("\nfailed").count(), WRITERS, "{rule}: {said}");
        intact(&stand, &steps, &rule);
    }
}
