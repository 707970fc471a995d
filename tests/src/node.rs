//! Berth in process, on fakes: a machine that survives, and one life after another of the host on it.

use std::sync::Arc;
use std::time::Duration;

use berth::model::access::AccessRule;
use berth::model::instance::{Name, NewInstance, Spec};
use berth::model::policy::Policy;
use berth::model::resources::{DEFAULT_STORAGE_CLASS, GIB, NodeSize};
use berth::model::{
    Digest, Instance, InstanceId, NodeName, Operation, OperationId, OperationKind, ProjectId,
    Result,
};
use berth::operations::{Clock, Executor, NodeConfig};
use berth::runtime::Plugins;
use berth::store::memory::Memory;
use berth::store::repo::{Begun, Repo};
use berth::store::seal::Sealer;
use berth::supervisor::{HealthBook, Supervisor, SupervisorConfig};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake::{FakePlugins, GatedStore, World};

/// What is left when the host is killed: the store, the seal key, and what lives on the machine.
pub struct Machine {
    pub world: World,
    pub plugins: Arc<FakePlugins>,
    pub project: ProjectId,
    pub config: NodeConfig,
    store: Memory,
    sealer: Sealer,
}

/// One life of the host.
pub struct Node {
    pub store: Memory,
    pub gated: GatedStore,
    pub repo: Repo,
    pub executor: Executor,
    pub health: HealthBook,
    pub plugins: Arc<FakePlugins>,
    config: NodeConfig,
    project: ProjectId,
    digests: (Digest, Digest),
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Machine {
    /// Must be made inside a runtime: its clock goes with the runtime's time, also when that is paused.
    pub fn new() -> Self {
        let world = World::new();
        let node = NodeName::new("node-1");
        Self {
            plugins: Arc::new(FakePlugins::new(&world)),
            world,
            project: ProjectId::generate(),
            config: NodeConfig {
                uids: Some(70_000..=70_999),
                clock: runtime_clock(),
                ..NodeConfig::local(node)
            },
            store: Memory::new(),
            sealer: Sealer::ephemeral(),
        }
    }

    /// A new life of the host; it drives nothing before it is told to.
    pub async fn boot(&self) -> Node {
        self.boot_as(self.config.clone()).await
    }

    /// The same on another configuration, such as that of another node with the same store.
    pub async fn boot_as(&self, config: NodeConfig) -> Node {
        let store = self.store.restart();
        let gated = GatedStore::new(store.clone());
        let repo = Repo::open(Arc::new(gated.clone()), self.sealer.clone());
        let repo = repo.await.expect("a store in memory opens");
        let executor = Executor::new(repo.clone(), self.plugins.clone(), config.clone());
        Node {
            store,
            gated,
            repo,
            executor,
            health: HealthBook::default(),
            plugins: self.plugins.clone(),
            config,
            project: self.project,
            digests: self.digests(),
            stop: CancellationToken::new(),
            tasks: Vec::new(),
        }
    }

    /// All keys of the store.
    pub fn keys(&self) -> Vec<String> {
        self.store.keys()
    }

    fn digests(&self) -> (Digest, Digest) {
        let engine = self.plugins.engines().remove(0);
        let target = self.plugins.target(crate::fake::TARGET);
        let target = target.expect("the fake target is loaded when a machine is made");
        (engine.digest().clone(), target.digest().clone())
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Node {
    /// Begin to drive operations.
    pub fn start(&mut self) {
        let (executor, stop) = (self.executor.clone(), self.stop.clone());
        let task = tokio::spawn(async move { executor.run(stop).await });
        self.tasks.push(task);
    }

    /// Begin to look after what runs.
    pub fn supervise(&mut self, change: impl FnOnce(&mut SupervisorConfig)) {
        let mut config = SupervisorConfig::new(self.config.node.clone());
        config.clock = self.config.clock.clone();
        change(&mut config);
        let supervisor = Supervisor::new(
            self.repo.clone(),
            self.plugins.clone(),
            self.health.clone(),
            config,
        );
        let stop = self.stop.clone();
        let task = tokio::spawn(async move { supervisor.run(stop).await });
        self.tasks.push(task);
    }

    /// Stop as a host does that was asked to.
    pub async fn stop(mut self) {
        self.stop.cancel();
        for task in self.tasks.drain(..) {
            task.await.expect("nothing panics while it stops");
        }
    }

    /// Die here and now.
    pub async fn kill(mut self) {
        self.store.kill();
        for task in self.tasks.drain(..) {
            task.abort();
            // An error only says that it was aborted.
            let _ = task.await;
        }
    }

    pub async fn create(&self, name: &str) -> Result<(Arc<Instance>, Operation)> {
        let operation = self.executor.new_operation(OperationKind::Create, None);
        let new = self.new_instance(name);
        match self.repo.begin_create(new, operation, None).await? {
            Begun::New(instance, operation) => Ok((instance, operation)),
            Begun::Replayed(_) => unreachable!("there was no idempotency key"),
        }
    }

    /// Have an operation on an instance accepted.
    pub async fn begin(&self, kind: OperationKind, id: InstanceId) -> Result<Operation> {
        let operation = self.executor.new_operation(kind, None);
        Ok(self.repo.begin(id, operation).await?.1)
    }

    /// Have it run with these settings and no others.
    pub async fn configure(&self, id: InstanceId, settings: &[(&str, &str)]) -> Result<Operation> {
        let wanted = settings
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()));
        let operation = self.executor.configure_operation(wanted.collect(), None)?;
        Ok(self.repo.begin(id, operation).await?.1)
    }

    /// Let clients in from these networks and from no others.
    pub async fn set_access(&self, id: InstanceId, networks: &[&str]) -> Result<Operation> {
        let rules: Vec<AccessRule> = networks
            .iter()
            .map(|network| AccessRule {
                network: network.parse().expect("tests use valid networks"),
                description: String::new(),
            })
            .collect();
        let operation = self.executor.new_operation(OperationKind::SetAccess, None);
        let set = move |instance: &mut Instance| {
            instance.policy.access.clone_from(&rules);
            Ok(())
        };
        Ok(self.repo.begin_with(id, operation, &set).await?.1)
    }

    pub async fn delete(&self, id: InstanceId) -> Result<Operation> {
        self.begin(OperationKind::Delete, id).await
    }

    pub fn new_instance(&self, name: &str) -> NewInstance {
        NewInstance {
            project: self.project,
            spec: Spec {
                name: Name::parse(name).expect("tests use valid names"),
                engine: crate::fake::ENGINE.to_owned(),
                version: crate::fake::VERSION.to_owned(),
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
            plan: "small".to_owned(),
            region: "here".to_owned(),
            target: crate::fake::TARGET.to_owned(),
            storage_class: DEFAULT_STORAGE_CLASS.to_owned(),
            policy: Policy::default(),
            node: self.config.node.clone(),
            engine_digest: self.digests.0.clone(),
            target_digest: self.digests.1.clone(),
        }
    }

    pub async fn operation(&self, id: OperationId) -> Operation {
        let operation = self.repo.operation(id).await;
        let operation = operation.expect("the store can be read");
        operation.expect("operations stay recorded").value
    }

    /// Wait until the operation is as asked for. In paused time this costs none.
    pub async fn until(&self, id: OperationId, is_so: impl Fn(&Operation) -> bool) -> Operation {
        let mut pause = Duration::from_millis(1);
        let mut waited = Duration::ZERO;
        loop {
            let operation = self.operation(id).await;
            if is_so(&operation) {
                return operation;
            }
            assert!(
                waited < Duration::from_secs(7200),
                "waited in vain; the operation stands at {operation:?}"
            );
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    pub async fn ended(&self, id: OperationId) -> Operation {
        self.until(id, |operation| operation.status.is_terminal())
            .await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A clock that stands still when the runtime's time does.
fn runtime_clock() -> Clock {
    let (epoch, start) = (Timestamp::now(), tokio::time::Instant::now());
    Clock::from_fn(move || {
        let elapsed = SignedDuration::try_from(start.elapsed()).unwrap_or_default();
        epoch + elapsed
    })
}
