//! Many recorded databases, made through Berth's own repository: the commits of a creation that began and ended.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use berth::model::instance::{Endpoint, Name, NewInstance, Spec};
use berth::model::operation::NewOperation;
use berth::model::plugin::Secrets;
use berth::model::policy::Policy;
use berth::model::resources::{DEFAULT_STORAGE_CLASS, GIB, NodeSize};
use berth::model::workload::{
    Command as Program, EndpointPlan, File, Init, Member, Port, SecretKind, SecretRequest, Stop,
    Volume, Workload,
};
use berth::model::{Digest, NodeName, OperationKind, Outcome, Secret};
use berth::store::Sled;
use berth::store::repo::{Begun, Changes, Repo};
use tokio::task::JoinSet;

/// Commits under way at once; they share the disk's fsyncs.
const WRITERS: usize = 256;
/// The default configuration's project.
const PROJECT: &str = "0d6f2c1e-6c57-4a8e-9a44-3f6f5f6b7c10";
const REGIONS: [&str; 4] = ["nyc1", "fr-par", "nl-ams", "pl-waw"];

/// Seed in a process of its own that ends by being killed: the store is left as a crash leaves it.
pub fn seed_and_crash(data: &Path, count: usize) {
    let status = Command::new(std::env::current_exe().expect("own path"))
        .arg("seed")
        .arg(data)
        .arg(count.to_string())
        .status()
        .expect("a subprocess");
    assert_eq!(
        status.code(),
        None,
        "the seeding process was to end by a signal: {status}"
    );
}

/// The store of this data directory.
pub fn open(data: &Path) -> Sled {
    Sled::open(&data.join("store")).expect("the store opens")
}

/// The subprocess.
pub async fn seed(data: &Path, count: usize) {
    let store = Arc::new(open(data));
    let repo = Repo::open_with_key_file(store, &data.join("seal.key"))
        .await
        .expect("it loads");
    let next = Arc::new(AtomicUsize::new(0));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS.min(count) {
        let (repo, next) = (repo.clone(), next.clone());
        writers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                record(&repo, number).await;
            }
        });
    }
    writers.join_all().await;
    // As kill -9 would: nothing is closed, nothing is written on the way out.
    std::process::abort();
}

async fn record(repo: &Repo, number: usize) {
    let begun = repo
        .begin_create(instance(number), operation(), None)
        .await
        .expect("begun");
    let id = match begun {
        Begun::New(_, operation) => operation.id,
        Begun::Replayed(_) => unreachable!("no idempotency key was given"),
    };
    let mut operation = repo.operation(id).await.expect("read").expect("just begun");
    let changes = Changes {
        workload: Some(workload()),
        secrets: Some(secrets()),
        endpoints: Some(vec![endpoint(number)]),
        ..Changes::default()
    };
    repo.finish(&mut operation, Outcome::Succeeded, None, changes)
        .await
        .expect("finished");
}

fn instance(number: usize) -> NewInstance {
    let digest = Digest::from_hex("0".repeat(64));
    NewInstance {
        project: PROJECT.parse().expect("a project"),
        spec: Spec {
            // Spread over the alphabet, so that the order by name is not the order of creation.
            name: Name::parse(&format!("{}-orders-{number}", letters(number))).expect("a name"),
            engine: "postgresql".into(),
            version: "16".into(),
            size: NodeSize {
                cpu_millis: 1000,
                memory_bytes: GIB,
            },
            storage_gb: 10,
            replicas: 1,
            shards: 1,
            user: None,
            database: None,
            settings: Vec::new(),
            init_settings: Vec::new(),
        },
        plan: "db-s-1vcpu-1gb".into(),
        region: REGIONS[number % REGIONS.len()].into(),
        target: "local".into(),
        storage_class: DEFAULT_STORAGE_CLASS.into(),
        policy: Policy::default(),
        // Another host's: this one records and lists them, and looks after none of them.
        node: NodeName::new("elsewhere"),
        engine_digest: digest.clone(),
        target_digest: digest,
    }
}

fn letters(number: usize) -> String {
    let hash = number.wrapping_mul(0x9e37_79b9) >> 4;
    (0..4)
        .map(|place| char::from(b'a' + u8::try_from((hash >> (place * 5)) % 26).expect("below 26")))
        .collect()
}

fn operation() -> NewOperation {
    let steps = [
        "plan",
        "reserve",
        "secrets",
        "provision",
        "ready",
        "bootstrap",
        "verify",
    ];
    NewOperation {
        kind: OperationKind::Create,
        steps: steps.map(str::to_owned).into(),
        state: serde_json::Value::Null,
        deadline: None,
        after: None,
        request_id: None,
        trace: None,
    }
}

/// About as long as a real plan.
fn workload() -> Workload {
    let command = Program {
        program: "server".into(),
        version: "16".into(),
        args: vec!["x".repeat(40); 16],
        env: Vec::new(),
    };
    Workload {
        members: vec![Member {
            name: "main-0".into(),
            main: command.clone(),
            init: Some(Init {
                volume: "data".into(),
                tasks: vec![command],
            }),
            files: vec![File {
                name: "server.conf".into(),
                content: "setting = value\n".repeat(60),
                sensitive: false,
            }],
            volumes: vec![Volume {
                name: "data".into(),
                size_bytes: 10 * GIB,
            }],
            ports: vec![Port {
                name: "sql".into(),
                number: 5432,
                socket: Some("server.sock".into()),
            }],
            stale_files: vec!["data/server.pid".into()],
            stop: Stop {
                signal: "INT".into(),
                grace_ms: 60_000,
            },
        }],
        endpoints: vec![EndpointPlan {
            name: "sql".into(),
            member: "main-0".into(),
            port: "sql".into(),
            for_members: false,
        }],
        secrets: vec![SecretRequest {
            name: "app".into(),
            kind: SecretKind::Password(32),
        }],
    }
}

/// As many and as long as those of a real instance.
fn secrets() -> Secrets {
    [
        ("app", 32),
        ("superuser", 48),
        ("tls.ca", 600),
        ("tls.cert", 700),
        ("tls.key", 250),
    ]
    .into_iter()
    .map(|(name, length)| (name.to_owned(), Secret::new("s".repeat(length))))
    .collect()
}

fn endpoint(number: usize) -> Endpoint {
    Endpoint {
        name: "sql".into(),
        member: "main-0".into(),
        port_name: "sql".into(),
        bind_address: "127.0.0.1".into(),
        host: "127.0.0.1".into(),
        port: u16::try_from(20_000 + number % 10_000).expect("below 30 000"),
        inner_port: None,
        for_members: false,
    }
}
