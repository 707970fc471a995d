//! Hostile components, and good ones that must not notice them: a runtime with both, and a way to let an attack run
//! while good calls are made. For the tests and for the figure of the benchmarks.

mod api;
pub mod cases;
pub mod components;
mod victim;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth::model::instance::{Endpoint, Name, Spec};
use berth::model::plugin::{InstanceContext, MemberDial, PluginState, Secrets, TargetContext};
use berth::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize};
use berth::model::workload::{Dial, Workload};
use berth::model::{Error, InstanceId, Kind, Secret};
use berth::runtime::{
    Capability, Engine, InstanceBounds, Limits, OnCall, Plugins, Program, Programs, Runtime,
    RuntimeConfig,
};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;

use crate::fixture;
use crate::wait::elapse;
use api::Api;
use cases::{Attack, Case, Whom};
use victim::Victim;

/// What the hostile component is given to keep.
pub const SECRET: &str = "correct-horse-battery";
/// Good calls that are made while an attack runs, at least.
pub const GOOD_CALLS: usize = 50;
/// Where the hostile instance's calls find its own member.
const OWN_ADDRESS: &str = "10.0.0.1:4000";
/// Attacks that run at the same time.
const ATTACKERS: usize = 2;

/// See the module's text.
pub struct Arena {
    dir: tempfile::TempDir,
    runtime: Runtime,
    good: Arc<dyn Engine>,
    hostile: Arc<dyn Engine>,
    /// A member of the hostile instance, that accepts and is silent.
    own: InstanceId,
    victim: Victim,
    api: Api,
}

/// The good calls.
#[derive(Clone, Copy, Debug)]
enum Good {
    /// Another plugin plans.
    Beside,
    /// The attacking one plans.
    Same,
    /// Another plugin connects to every member of its instance.
    Socket,
    /// The API lists databases.
    Request,
}

/// How an attack ended for whoever made the call.
#[derive(Debug)]
pub enum End {
    /// With this error.
    Refused { kind: Kind, text: String },
    /// The file in the plugins folder was not taken, and its status says why.
    NotLoaded(String),
    /// It should not have.
    Success,
}

/// What came of one case.
pub struct Report {
    /// How long each good call took.
    pub good: Vec<Duration>,
    pub ends: Vec<End>,
}

impl Arena {
    /// Needs a runtime of several threads, as the host has.
    pub async fn open() -> Arc<Self> {
        let dir = tempfile::Builder::new()
            .prefix("berth-")
            .tempdir_in("/tmp")
            .expect("a directory in /tmp");
        set_mode(dir.path(), 0o711);
        let setuid = dir.path().join("setuid");
        std::fs::write(&setuid, "#!/bin/sh\n").expect("a program");
        set_mode(&setuid, 0o4755);
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).expect("a folder");
        for (name, bytes) in [
            ("probe.wasm", fixture::engine()),
            ("hostile.wasm", fixture::hostile()),
            ("paper.wasm", fixture::target()),
            ("local.wasm", fixture::local()),
        ] {
            std::fs::write(folder.join(name), bytes).expect("a plugin");
        }
        let config = config(dir.path().join("data"), folder, &setuid);
        let runtime = Runtime::open(config).await.expect("the runtime opens");
        runtime.settled().await;
        let engine = |name: &str| runtime.engine(name).unwrap_or_else(|e| panic!("{e:?}"));
        let (good, hostile) = (engine("probe"), engine("hostile"));
        let own = InstanceId::generate();
        serve_silence(&runtime, own);
        let victim = Victim::open(&runtime, good.clone()).await;
        let api = Api::open(&runtime).await;
        Arc::new(Self {
            dir,
            good,
            hostile,
            own,
            victim,
            api,
            runtime,
        })
    }

    /// The data directory: what no error may name.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Let the attack run, again and again, while good calls are made of every kind.
    pub async fn run(self: &Arc<Self>, case: Case) -> Report {
        let ended = Arc::new(AtomicUsize::new(0));
        let done = Arc::new(AtomicUsize::new(0));
        let attackers: Vec<_> = (0..case.attackers())
            .map(|_| {
                let (arena, ended, done) = (self.clone(), ended.clone(), done.clone());
                tokio::spawn(async move {
                    let mut ends = Vec::new();
                    loop {
                        ends.push(arena.attack(case).await);
                        ended.fetch_add(1, Ordering::SeqCst);
                        // As a caller's next request would: without it, attacks that end at once keep every thread.
                        tokio::task::yield_now().await;
                        if done.load(Ordering::SeqCst) > 0 {
                            return ends;
                        }
                        // An attack that is refused before anything is waited for must not keep the runtime to itself.
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        let arena = self.clone();
        let good = tokio::spawn(async move {
            let mut good = Vec::new();
            while good.len() < GOOD_CALLS || ended.load(Ordering::SeqCst) < attackers.len() {
                arena.good_calls(&mut good).await;
                elapse(Duration::from_millis(4)).await;
            }
            done.store(1, Ordering::SeqCst);
            (good, attackers)
        });
        let (good, attackers) = good.await.expect("no good call fails");
        let mut ends = Vec::new();
        for attacker in attackers {
            ends.extend(attacker.await.expect("the attack can be made"));
        }
        Report { good, ends }
    }

    /// Good calls without any attack.
    pub async fn alone(&self, times: usize) -> Vec<Duration> {
        let mut good = Vec::new();
        while good.len() < times {
            self.good_calls(&mut good).await;
            elapse(Duration::from_millis(4)).await;
        }
        good
    }

    /// One of each kind: what an attacker keeps from others may be the processor, a plugin's places, sockets, or the API.
    async fn good_calls(&self, times: &mut Vec<Duration>) {
        for kind in [Good::Beside, Good::Same, Good::Socket, Good::Request] {
            let start = Instant::now();
            let made = match kind {
                Good::Beside => plan(&*self.good).await,
                Good::Same => plan(&*self.hostile).await,
                Good::Socket => self.victim.live().await,
                Good::Request => self.api.list().await,
            };
            times.push(start.elapsed());
            if let Err(problem) = made {
                panic!("a good call ({kind:?}) failed: {problem}");
            }
        }
    }

    /// Make the call.
    pub async fn attack(&self, case: Case) -> End {
        let told = |what| spec(&[("do", what)]);
        let id = InstanceId::generate();
        let ended = match case.attack {
            Attack::Validate(what) => self.hostile.validate(id, &told(what)).await,
            Attack::Plan(what) => self.hostile.plan(id, &told(what)).await.map(drop),
            Attack::PlanForeign(what) => {
                let other = self.runtime.directories().of(InstanceId::generate(), None);
                let path = other.instance_dir.join("main/data");
                let spec = spec(&[("do", what), ("path", &path.to_string_lossy())]);
                self.hostile.plan(id, &spec).await.map(drop)
            }
            Attack::Bootstrap(what) => self.hostile.bootstrap(&self.instance(told(what))).await,
            Attack::Observe(what) => {
                let instance = self.instance(told(what));
                self.hostile.observe(&instance).await.map(drop)
            }
            Attack::Connect(whom) => {
                let address = match whom {
                    Whom::Address(address) => address.to_owned(),
                    Whom::Victim => self.victim.address.to_string(),
                };
                let spec = spec(&[("do", "connect"), ("to", &address)]);
                let instance = self.instance(spec);
                // While the victim's own addresses are in use.
                let (attack, live) =
                    tokio::join!(self.hostile.bootstrap(&instance), self.victim.live());
                live.expect("its own members are reached");
                attack
            }
            Attack::DialVictim => {
                let spec = spec(&[("do", "connect"), ("to", OWN_ADDRESS)]);
                let mut instance = self.instance(spec);
                instance.dials[0].dial = Dial::Unix(self.victim.socket.clone());
                self.hostile.bootstrap(&instance).await
            }
            Attack::Write(path) => self.write(id, path).await,
            Attack::Setuid => self.setuid(id).await,
            Attack::Load(component) => return self.load(case.name, &component.bytes()).await,
        };
        match ended {
            Ok(()) => End::Success,
            Err(error) => End::Refused {
                text: error.public().to_owned(),
                kind: error.kind,
            },
        }
    }

    /// Whether anybody was reached who should not have been. To be asked once, when every attack is over.
    pub async fn somebody_connected(&self) -> bool {
        self.victim.was_reached().await
    }

    async fn write(&self, id: InstanceId, path: &str) -> Result<(), Error> {
        let paper = self.runtime.target("paper")?;
        paper.apply(&deployment(id, "create/provision")).await?;
        let dir = self.runtime.directories().of(id, None).instance_dir;
        symlink(self.dir.path(), dir.join("main/out")).expect("a link");
        let written = paper.apply(&deployment(id, &format!("write {path}"))).await;
        let escaped = [self.dir.path(), dir.parent().expect("a parent")]
            .iter()
            .any(|dir| dir.join("escaped").exists());
        assert!(!escaped, "{path} was written");
        paper.remove(&deployment(id, "delete/remove")).await?;
        written
    }

    async fn setuid(&self, id: InstanceId) -> Result<(), Error> {
        let local = self.runtime.target("local")?;
        let spec = spec(&[("do", "setuid")]);
        let mut context = deployment(id, "create/provision");
        context.workload = self.hostile.plan(id, &spec).await?;
        context.engine = self.hostile.digest().clone();
        context.uid = nix::unistd::geteuid().is_root().then_some(3_141_592);
        let applied = local.apply(&context).await;
        local.remove(&context).await?;
        applied
    }

    /// What becomes of a file in a plugins folder, next to which the others go on.
    async fn load(&self, name: &str, bytes: &[u8]) -> End {
        let dir = self.dir.path().join(name.replace([' ', '`'], "-"));
        let folder = dir.join("folder");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("hostile.wasm"), bytes).expect("a plugin");
        let mut config = config(dir.join("data"), folder, &dir);
        config.grants.clear();
        let runtime = Runtime::open(config).await.expect("the runtime opens");
        runtime.settled().await;
        let status = runtime.statuses().remove(0);
        match status.state {
            PluginState::Refused(text) | PluginState::Removed(text) => End::NotLoaded(text),
            PluginState::Ready | PluginState::Compiling => End::Success,
        }
    }

    fn instance(&self, spec: Spec) -> InstanceContext {
        InstanceContext {
            id: self.own,
            spec,
            slug: "main".into(),
            endpoints: vec![endpoint()],
            secrets: secrets(),
            dials: vec![MemberDial {
                member: "main".into(),
                port_name: "sql".into(),
                number: 4000,
                dial: Dial::Unix("hostile.sock".into()),
            }],
            uid: None,
        }
    }
}

impl Case {
    fn attackers(self) -> usize {
        match self.attack {
            // Each would read and compile the same file.
            Attack::Load(_) => 1,
            _ => ATTACKERS,
        }
    }
}

async fn plan(engine: &dyn Engine) -> Result<(), String> {
    let planned = engine.plan(InstanceId::generate(), &spec(&[])).await;
    planned.map(drop).map_err(|error| format!("{error:?}"))
}

/// The time that so many of a hundred calls stay below.
pub fn quantile(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = sorted.len().saturating_sub(1) * percent / 100;
    sorted.get(at).copied().unwrap_or_default()
}

fn config(data_dir: PathBuf, plugins_dir: PathBuf, setuid: &Path) -> RuntimeConfig {
    let all = BTreeSet::from([Capability::Files, Capability::Process]);
    let program = |name: &str, path: &Path| Program {
        name: name.to_owned(),
        paths: vec![path.to_string_lossy().into_owned()],
        install: None,
        version_args: Vec::new(),
        says: BTreeMap::new(),
    };
    let programs = [
        program("hostile-server", Path::new("/bin/true")),
        program("hostile-setuid", setuid),
    ];
    RuntimeConfig {
        storage: BTreeMap::new(),
        data_dir,
        plugins_dir,
        grants: BTreeMap::from([
            ("paper".to_owned(), BTreeSet::from([Capability::Files])),
            ("local".to_owned(), all),
        ]),
        programs: Programs::new(programs).expect("programs"),
        limits: Limits {
            // Room for the largest reply, so that it is refused as a reply.
            memory_bytes: 256 << 20,
            // On a busy machine, too: the largest reply takes half a second to be made.
            compute: Duration::from_secs(3),
            talk: Duration::from_secs(3),
            ..Limits::default()
        },
        compile_threads: 1,
        berth_exe: PathBuf::from("/proc/self/exe"),
        bounds: InstanceBounds::default(),
        on_call: OnCall::default(),
    }
}

/// A server that accepts and never says a word.
fn serve_silence(runtime: &Runtime, id: InstanceId) {
    let scope = runtime.directories().of(id, None);
    scope.prepare().expect("directories");
    let listener = UnixListener::bind(scope.run_dir.join("hostile.sock")).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut word = [0];
                // Until the other side ends.
                while let Ok(1..) = stream.read(&mut word).await {}
            });
        }
    });
}

fn spec(settings: &[(&str, &str)]) -> Spec {
    Spec {
        name: Name::parse("Main").expect("a name"),
        engine: "hostile".into(),
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
        endpoints: vec![endpoint()],
        secrets: secrets(),
        access: Vec::new(),
        storage_class: DEFAULT_STORAGE_CLASS.to_owned(),
        engine: berth::model::Digest::from_hex("0".repeat(64)),
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        name: "sql".into(),
        member: "main".into(),
        port_name: "sql".into(),
        bind_address: "127.0.0.1".into(),
        host: "localhost".into(),
        port: 4100,
        inner_port: None,
        for_members: false,
    }
}

fn secrets() -> Secrets {
    Secrets::from([("app".to_owned(), Secret::new(SECRET))])
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("chmod");
}
