//! A disk that fails under a store: full, unreadable, torn in the middle of a write, not synced.

use std::time::Duration;

use berth_tests::wait_for;
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::power::look;
use super::work::{Model, Stand, Step, WRITERS, sizes};

const FULL: i32 = nix::libc::ENOSPC;
const BROKEN: i32 = nix::libc::EIO;

/// Far more than any of it takes.
const LONGEST: Duration = Duration::from_secs(300);
/// More than it takes to see where the log ends: the last of them is of a record.
const READS_OF_OPENING: usize = 10;

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

/// What fails while a store that failed is being mended: the first line has it fail, the second is met then.
fn rules_of_mending() -> Vec<String> {
    let met = [
        format!("read db 0 {BROKEN}"),
        format!("read db 5 {BROKEN} 0 once"),
        format!("write snap.* 0 {FULL}"),
        format!("sync snap.* 0 {BROKEN} 0 once"),
        format!("rename snap.* 0 {BROKEN}"),
    ];
    met.map(|met| format!("sync db 2 {BROKEN} 0 once\n{met}"))
        .to_vec()
}

/// What fails while a store is opened: each of its first reads of the log, once, some of them for good, and what it writes.
fn rules_of_opening() -> Vec<String> {
    let reads = (0..READS_OF_OPENING).map(|skip| format!("read db {skip} {BROKEN} 0 once"));
    let others = [
        format!("read db 0 {BROKEN}"),
        format!("read db 2 {BROKEN}"),
        format!("read db 5 {BROKEN}"),
        format!("read snap.* 0 {BROKEN}"),
        format!("write db 0 {BROKEN} 4096 once"),
        format!("write snap.* 0 {FULL}"),
        "write snap.* 0 kill 5".to_owned(),
        format!("sync snap.* 0 {BROKEN}"),
        format!("rename snap.* 0 {BROKEN}"),
        "rename snap.* 0 kill".to_owned(),
    ];
    reads.chain(others).collect()
}

/// A child that commits until the rule strikes, and what it said when it had ended.
async fn struck(stand: &Stand, steps: &[Step], rule: &str) -> (std::process::Output, bool) {
    let child = stand.start(steps);
    wait_for("commits to be acknowledged", async || {
        (stand.acknowledged().iter().min()? > &15).then_some(())
    })
    .await;
    stand.set_rule(rule);
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let mut ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = match timeout(LONGEST, &mut ended).await {
        Ok(output) => output.unwrap(),
        Err(_) => {
            // A store that hangs must not hang its test: how it ended is not as it should then.
            kill(pid, Signal::SIGKILL).unwrap();
            ended.await.unwrap()
        }
    };
    (output, stand.struck())
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
    let rules = rules().into_iter().filter(|(_, dies)| !dies);
    let rules: Vec<String> = rules.map(|(rule, _)| rule).collect();
    // Some at a time: a store that failed waits a while before it is tried again.
    for rules in [rules, rules_of_mending()].concat().chunks(4) {
        join_all(rules.iter().map(|rule| mended(rule))).await;
    }
}

async fn mended(rule: &str) {
    let stand = Stand::new();
    let steps = [Step::UntilItFails, Step::Mended, Step::Small(30), Step::Die];
    let (output, struck) = struck(&stand, &steps, rule).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(struck, "{rule} did not strike: {said}{errors}");
    for (number, _) in rule.lines().enumerate() {
        let struck = stand.rule().with_extension(format!("struck-{number}"));
        assert!(struck.exists(), "line {number} of {rule} did not strike");
    }
    assert!(said.contains("\nmended"), "{rule}: {said}{errors}");
    assert_eq!(said.matches("\nfailed").count(), WRITERS, "{rule}: {said}");
    intact(&stand, &steps, rule);
}

/// sled takes what it cannot read for the end of its log, and writes over the rest: so each time there are commits that are
/// in its log only, and in no snapshot yet.
#[tokio::test]
async fn a_disk_that_fails_while_a_store_is_opened_costs_nothing_of_it() {
    let stand = Stand::new();
    let run = async |steps: &[Step]| {
        let child = stand.start(steps);
        let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        ended.await.unwrap()
    };
    let mut steps = Vec::new();
    for rule in rules_of_opening() {
        let before = [Step::Small(5), Step::Die];
        run(&before).await;
        steps.extend(before);
        let acknowledged = stand.acknowledged()[0];

        stand.set_rule(&rule);
        let output = run(&[Step::Small(1), Step::Die]).await;
        steps.push(Step::Small(1));
        let errors = [output.stdout, output.stderr].concat();
        let errors = String::from_utf8_lossy(&errors);
        assert!(stand.struck(), "{rule} did not strike: {errors}");
        // What opens and takes a commit, the fault did not count for.
        let opened = stand.acknowledged()[0] > acknowledged;
        if !opened && !rule.contains("kill") {
            let says_why = errors.contains("the store in") || errors.contains("os error 5");
            assert!(says_why, "{rule}: {errors}");
            let unchanged = !errors.contains("may have changed it");
            assert!(unchanged, "{rule}: {errors}");
        }
        println!("{rule}: {}", if opened { "opened" } else { "refused" });
        intact(&stand, &steps, &rule);
        stand.forget_rule();
    }
}
