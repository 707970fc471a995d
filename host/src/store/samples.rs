//! Records for the tests of the store.

use crate::model::instance::{Name, NewInstance, Spec};
use crate::model::operation::NewOperation;
use crate::model::policy::Policy;
use crate::model::resources::{DEFAULT_STORAGE_CLASS, GIB, NodeSize};
use crate::model::workload::{Command, File, Init, Member, Port, Stop, Volume, Workload};
use crate::model::{Digest, NodeName, OperationKind, ProjectId};

pub fn new_instance(name: &str) -> NewInstance {
    NewInstance {
        project: ProjectId(uuid::Uuid::from_u128(1)),
        spec: Spec {
            name: Name::parse(name).unwrap(),
            engine: "an-engine".to_owned(),
            version: "16".to_owned(),
            size: NodeSize {
                cpu_millis: 2000,
                memory_bytes: 4 * GIB,
            },
            storage_gb: 50,
            replicas: 1,
            shards: 1,
            user: Some("app_user".to_owned()),
            database: Some(name.replace('-', "_")),
            settings: Vec::new(),
            init_settings: Vec::new(),
        },
        plan: "db-s-2vcpu-4gb".to_owned(),
        region: "nyc1".to_owned(),
        storage_class: DEFAULT_STORAGE_CLASS.to_owned(),
        policy: Policy::default(),
        target: "local".to_owned(),
        node: NodeName::new("node-1"),
        engine_digest: Digest::from_hex("e".repeat(64)),
        target_digest: Digest::from_hex("7".repeat(64)),
    }
}

pub fn new_operation(kind: OperationKind) -> NewOperation {
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
        kind,
        steps: steps.map(str::to_owned).into(),
        state: serde_json::json!({ "target": "local" }),
        deadline: None,
        after: None,
        request_id: Some("req-0123456789abcdef".to_owned()),
        trace: None,
    }
}

pub fn workload() -> Workload {
    let command = |program: &str| Command {
        program: program.to_owned(),
        version: "16".to_owned(),
        args: vec![
            "--directory=${volume:data}".to_owned(),
            "--listen".to_owned(),
        ],
        env: vec![("TZ".to_owned(), "UTC".to_owned())],
    };
    Workload {
        members: vec![Member {
            name: "main".to_owned(),
            main: command("server"),
            init: Some(Init {
                volume: "data".to_owned(),
                tasks: vec![command("init")],
            }),
            files: vec![File {
                name: "server.conf".to_owned(),
                content: "setting = value\n".repeat(60),
                sensitive: false,
            }],
            volumes: vec![Volume {
                name: "data".to_owned(),
                size_bytes: 50 * GIB,
            }],
            ports: vec![Port {
                name: "main".to_owned(),
                number: 7000,
                socket: None,
            }],
            stale_files: Vec::new(),
            stop: Stop {
                signal: "INT".to_owned(),
                grace_ms: 10_000,
            },
        }],
        endpoints: Vec::new(),
        secrets: Vec::new(),
    }
}
