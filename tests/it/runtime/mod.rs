//! The plugin runtime on real components: what they may do, and what the host makes of those that try more.

mod abilities;
mod access;
mod calls;
mod ending;
mod files;
mod hostile;
mod loading;
mod network;
mod sandbox;
mod sessions;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth::model::instance::{Endpoint, Name, Spec};
use berth::model::plugin::{InstanceContext, MemberDial, PluginState, Secrets, TargetContext};
use berth::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize};
use berth::model::workload::{Dial, Workload};
use berth::model::{Digest, InstanceId, Secret};
use berth::runtime::{
    Capability, Engine, InstanceBounds, Limits, OnCall, Plugins, Programs, Runtime, RuntimeConfig,
    Target,
};
use berth_tests::fixture;

/// A data directory and a folder for plugins.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// With these files in the plugins folder.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(place.plugins()).unwrap();
        for (name, bytes) in files {
            std::fs::write(place.plugins().join(name), bytes).unwrap();
        }
        place
    }

    /// With the fixture engine `probe` and the fixture target `paper`.
    fn with_fixtures() -> Self {
        Self::with(&[
            ("probe.wasm", &fixture::engine()),
            ("paper.wasm", &fixture::target()),
        ])
    }

    fn plugins(&self) -> PathBuf {
        self.dir.path().join("folder")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn config(&self) -> RuntimeConfig {
        RuntimeConfig {
            storage: BTreeMap::new(),
            data_dir: self.data(),
            plugins_dir: self.plugins(),
            grants: BTreeMap::from([("paper".to_owned(), BTreeSet::from([Capability::Files]))]),
            programs: Programs::default(),
            on_call: OnCall::default(),
            limits: Limits {
                memory_bytes: 32 << 20,
                compute: Duration::from_millis(1500),
                talk: Duration::from_secs(20),
                ..Limits::default()
            },
            compile_threads: 2,
            berth_exe: Path::new("/proc/self/exe").to_owned(),
            bounds: InstanceBounds::default(),
        }
    }

    /// A runtime with every plugin ready or refused.
    async fn open(&self) -> Runtime {
        self.open_with(self.config()).await
    }

    pub async fn open_with(&self, config: RuntimeConfig) -> Runtime {
        let runtime = Runtime::open(config).await.unwrap();
        runtime.settled().await;
        runtime
    }
}

fn engine(runtime: &Runtime) -> Arc<dyn Engine> {
    runtime.engine("probe").unwrap()
}

fn target(runtime: &Runtime) -> Arc<dyn Target> {
    runtime.target("paper").unwrap()
}

/// Why a file of the folder was refused.
fn refusal(runtime: &Runtime, file: &str) -> String {
    let statuses = runtime.statuses();
    let status = statuses.iter().find(|s| s.file == file).unwrap();
    match &status.state {
        PluginState::Refused(reason) => reason.clone(),
        other @ (PluginState::Ready | PluginState::Compiling | PluginState::Removed(_)) => {
            panic!("{file} is {other:?}")
        }
    }
}

/// A spec whose settings tell the fixture engine what to do.
fn spec(settings: &[(&str, &str)]) -> Spec {
    Spec {
        name: Name::parse("Main").unwrap(),
        engine: "probe".into(),
        version: "1".into(),
        size: NodeSize {
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
        },
        storage_gb: 1,
        replicas: 1,
        shards: 1,
        user: None,
        database: None,
        settings: settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        init_settings: Vec::new(),
    }
}

fn told(what: &str) -> Spec {
    spec(&[("do", what)])
}

/// An instance whose one port is dialled so.
fn instance(id: InstanceId, what: &str, dial: Dial) -> InstanceContext {
    InstanceContext {
        id,
        spec: told(what),
        slug: "main".into(),
        endpoints: vec![endpoint(4100)],
        secrets: secrets(),
        dials: vec![MemberDial {
            member: "main".into(),
            port_name: "sql".into(),
            number: 4000,
            dial,
        }],
        uid: None,
    }
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        name: "sql".into(),
        member: "main".into(),
        port_name: "sql".into(),
        bind_address: "127.0.0.1".into(),
        host: "localhost".into(),
        port,
        inner_port: None,
        for_members: false,
    }
}

fn secrets() -> Secrets {
    Secrets::from([("app".to_owned(), Secret::new("correct-horse-battery"))])
}

/// A call to the fixture target, whose key tells it what to do.
fn deployment(id: InstanceId, key: &str) -> TargetContext {
    TargetContext {
        key: key.into(),
        instance: id,
        uid: None,
        size: NodeSize {
            cpu_millis: 1000,
            memory_bytes: 1 << 30,
        },
        workload: Workload::default(),
        endpoints: vec![endpoint(4100)],
        secrets: secrets(),
        access: Vec::new(),
        storage_class: DEFAULT_STORAGE_CLASS.to_owned(),
        engine: Digest::from_hex("0".repeat(64)),
    }
}
