//! Figures of the store, by hand:
//! `cargo test -p berth --release --lib store::measure -- --ignored --nocapture`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::repo::{Begun, Changes, Idempotency};
use super::view::{InstanceQuery, Order, OrderBy};
use super::{Repo, Sled};
use crate::model::instance::Endpoint;
use crate::model::{OperationStatus, Outcome, ProjectId, Secret};

const DIRECTORY: &str = "BERTH_MEASURE_DIRECTORY";
const COUNT: &str = "BERTH_MEASURE_COUNT";

fn count() -> usize {
    std::env::var(COUNT).map_or(100_000, |text| text.parse().unwrap())
}

async fn open(directory: &Path) -> Repo {
    let store = Arc::new(Sled::open(&directory.join("store")).unwrap());
    Repo::open_with_key_file(store, &directory.join("seal.key"))
        .await
        .unwrap()
}

/// One instance as its creation leaves it, commit by commit.
async fn create(repo: &Repo, project: ProjectId, number: usize) {
    let mut new = super::samples::new_instance(&format!("database-{number}"));
    new.project = project;
    new.region = ["nyc1", "fr-par", "nl-ams", "pl-waw"][number % 4].to_owned();
    let operation = super::samples::new_operation(crate::model::OperationKind::Create);
    let idempotency = Idempotency {
        project,
        key: format!("request-{number}"),
        digest: [7; 32],
    };
    let begun = repo
        .begin_create(new, operation, Some(idempotency))
        .await
        .unwrap();
    let Begun::New(instance, operation) = begun else {
        panic!("replayed");
    };
    let mut op = repo.operation(operation.id).await.unwrap().unwrap();
    op.value.status = OperationStatus::Running;
    for step in 0..op.value.steps.len() {
        repo.record(&mut op, Changes::default()).await.unwrap();
        let mut changes = Changes::default();
        match step {
            0 => changes.workload = Some(super::samples::workload()),
            1 => {
                repo.reserve_uid(&mut op, 100_000..=400_000, |_| true)
                    .await
                    .unwrap();
                changes.endpoints = Some(vec![Endpoint {
                    name: "main".into(),
                    member: "main".into(),
                    port_name: "main".into(),
                    bind_address: "127.0.0.1".into(),
                    host: "127.0.0.1".into(),
                    port: 20_000,
                    inner_port: None,
                    for_members: false,
                }]);
            }
            2 => {
                let secret = |(name, length): (&str, usize)| {
                    (name.to_owned(), Secret::new("x".repeat(length)))
                };
                let lengths = [
                    ("app", 32),
                    ("superuser", 32),
                    ("tls.ca", 700),
                    ("tls.cert", 800),
                    ("tls.key", 250),
                ];
                changes.secrets = Some(lengths.map(secret).into());
            }
            _ => {}
        }
        repo.record(&mut op, changes).await.unwrap();
    }
    repo.finish(&mut op, Outcome::Succeeded, None, Changes::default())
        .await
        .unwrap();
    assert!(repo.view().get(instance.id).is_some());
}

/// The child: fills a store and waits to be killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of the measurement"]
async fn fill() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let repo = open(&directory).await;
    let project = ProjectId::generate();
    let started = Instant::now();
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let (repo, next) = (repo.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= count() {
                    return;
                }
                create(&repo, project, number).await;
            }
        });
    }
    tasks.join_all().await;
    println!("\nfilled in {:?}", started.elapsed());
    std::future::pending::<()>().await;
}

fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .map(|time| {
            Duration::from_micros(
                u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap(),
            )
        })
        .iter()
        .sum()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn start_up_after_a_kill() {
    let kept = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let made = tempfile::tempdir().unwrap();
    let directory = kept.unwrap_or_else(|| made.path().to_owned());
    if !directory.join("store").exists() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "store::measure::fill",
            ])
            .env(DIRECTORY, &directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let filled = lines
            .map_while(Result::ok)
            .find(|line| line.starts_with("filled"));
        println!("{}", filled.expect("the child filled the store"));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for round in ["after a kill", "after a clean end"] {
        let before = resident_kib();
        let (started, worked) = (Instant::now(), processor_time());
        let store = Arc::new(Sled::open(&directory.join("store")).unwrap());
        let opened = started.elapsed();
        let repo = Repo::open_with_key_file(store, &directory.join("seal.key"))
            .await
            .unwrap();
        let elapsed = started.elapsed();
        let all = repo.view().list(&InstanceQuery::default()).items.len();
        println!(
            "{round}: {all} instances in {elapsed:?} (sled {opened:?}; processor {:?}), {:.2} KiB each",
            processor_time() - worked,
            (resident_kib() - before) as f64 / all as f64
        );
        for by in [
            OrderBy::CreatedAt,
            OrderBy::Name,
            OrderBy::Region,
            OrderBy::Phase,
        ] {
            let query = InstanceQuery {
                order: Order {
                    by,
                    descending: true,
                },
                limit: Some(50),
                ..InstanceQuery::default()
            };
            let times = 2000;
            let started = Instant::now();
            for _ in 0..times {
                assert_eq!(repo.view().list(&query).total, all);
            }
            println!("  page by {by:?}: {:?}", started.elapsed() / times);
        }
        drop(repo);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
