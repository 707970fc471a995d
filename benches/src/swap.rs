//! A plugin is swapped while it is called: how long from the file to the live build, and what the callers notice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth::model::instance::{Name, NewInstance, Spec};
use berth::model::policy::Policy;
use berth::model::resources::{DEFAULT_STORAGE_CLASS, GIB, NodeSize};
use berth::model::{Digest, Instance, InstanceId, NodeName, OperationId, ProjectId};
use berth::runtime::builds::Builds;
use berth::runtime::{
    InUse, InstanceBounds, Limits, OnCall, Plugins, Programs, Runtime, RuntimeConfig, Timing,
};
use tokio::task::JoinHandle;

use crate::host::{binary, directory};
use crate::stats::{Samples, show};
use crate::table::Table;

const SWAPS: u32 = 50;
const CALLERS: usize = 2;
const QUIET: Duration = Duration::from_secs(3);
/// Looked for all the time, so that what is measured is the swap and not the wait for the next look.
const TIMING: Timing = Timing {
    look_every: Duration::from_millis(1),
    whole_after: Duration::ZERO,
    retry_after: Duration::from_secs(60),
    kept_for: Duration::from_secs(3600),
    purge_every: Duration::from_secs(3600),
};

pub async fn run() {
    let folder = directory();
    let plugins_dir = folder.path().join("plugins-in");
    std::fs::create_dir(&plugins_dir).expect("a directory");
    let built = binary().with_file_name("../wasm32-wasip2/plugin/fixture_engine.wasm");
    let wasm = std::fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    let builds: Vec<Vec<u8>> = (0..=SWAPS).map(|n| variant(&wasm, n)).collect();
    let named = Arc::new(Named::of(&builds));
    let put = |bytes: &[u8]| put(&plugins_dir, bytes);

    put(&builds[0]);
    let runtime = open(folder.path(), &plugins_dir, &named).await;
    let callers = Callers::start(&runtime);
    tokio::time::sleep(QUIET).await;
    let quiet = callers.stop().await;
    let compiled = swaps(&runtime, &builds[1..], put).await;
    drop(runtime);

    // Another life of the host: all that was compiled is on the disk, and nothing is loaded but what is live.
    put(&builds[0]);
    let runtime = open(folder.path(), &plugins_dir, &named).await;
    let cached = swaps(&runtime, &builds[1..], put).await;
    let loaded = swaps(&runtime, &builds[1..], put).await;

    let title = format!(
        "a plugin is swapped {SWAPS} times while {CALLERS} callers call it: a component of {} KiB",
        wasm.len() / 1024
    );
    let head = [
        "from the renamed file to the live build",
        "min",
        "median",
        "p99",
        "calls' median",
        "calls' p99",
    ];
    let mut table = Table::new(&title, &head);
    for (name, (swaps, calls)) in [
        ("compiled fresh", &compiled),
        ("its compiled code is kept", &cached),
        ("it was live a moment ago", &loaded),
    ] {
        table.row([
            name.to_owned(),
            show(swaps.min()),
            show(swaps.median()),
            show(swaps.quantile(0.99)),
            show(calls.median()),
            show(calls.quantile(0.99)),
        ]);
    }
    let none = String::new;
    table.row([
        "no swap".to_owned(),
        none(),
        none(),
        none(),
        show(quiet.median()),
        show(quiet.quantile(0.99)),
    ]);
    table.note("no call failed".to_owned());
    table.note(format!(
        "looked for every millisecond here; a host looks every {}",
        show(Timing::default().look_every)
    ));
    table.print(folder.path());
}

/// Swap to each build in turn, under load. Times of the swaps, and of the calls meanwhile.
async fn swaps(runtime: &Runtime, builds: &[Vec<u8>], put: impl Fn(&[u8])) -> (Samples, Samples) {
    let callers = Callers::start(runtime);
    let mut times = Samples::default();
    for bytes in builds {
        let digest = Builds::digest_of(bytes);
        put(bytes);
        let start = Instant::now();
        let deadline = start + Duration::from_secs(60);
        while runtime.engine("probe").expect("an engine").digest() != &digest {
            assert!(Instant::now() < deadline, "{:?}", runtime.statuses());
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        times.push(start.elapsed());
    }
    (times, callers.stop().await)
}

/// As one should: written beside, renamed.
fn put(folder: &Path, bytes: &[u8]) {
    let whole = folder.join("whole");
    std::fs::write(&whole, bytes).expect("written");
    std::fs::rename(whole, folder.join("probe.wasm")).expect("renamed");
}

/// Another build that does the same: a custom section stands at its end.
fn variant(wasm: &[u8], n: u32) -> Vec<u8> {
    let mut bytes = wasm.to_vec();
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(n.to_le_bytes());
    bytes
}

async fn open(data: &Path, plugins_dir: &Path, named: &Arc<Named>) -> Runtime {
    let config = RuntimeConfig {
        storage: BTreeMap::new(),
        data_dir: data.to_owned(),
        plugins_dir: PathBuf::from(plugins_dir),
        grants: BTreeMap::<String, BTreeSet<_>>::new(),
        programs: Programs::default(),
        limits: Limits::default(),
        compile_threads: 1,
        berth_exe: binary(),
        bounds: InstanceBounds::default(),
        on_call: OnCall::default(),
    };
    let runtime = Runtime::watch(config, Arc::clone(named) as _, TIMING);
    let runtime = runtime.await.expect("the runtime opens");
    runtime.settled().await;
    runtime
}

/// Those who call the plugin all the time.
struct Callers {
    stop: Arc<AtomicBool>,
    times: Arc<Mutex<Samples>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(runtime: &Runtime) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let times = Arc::new(Mutex::new(Samples::default()));
        let tasks = (0..CALLERS).map(|_| {
            let (runtime, stop) = (runtime.clone(), Arc::clone(&stop));
            let times = Arc::clone(&times);
            tokio::spawn(async move {
                let spec = spec();
                while !stop.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    let engine = runtime.engine("probe").expect("an engine");
                    let called = engine.validate(InstanceId::generate(), &spec).await;
                    called.expect("no call fails");
                    times.lock().expect("no panic").push(start.elapsed());
                    // A call seldom waits for anything: without this, two of them leave the runtime no time for timers.
                    tokio::task::yield_now().await;
                }
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            times,
        }
    }

    async fn stop(self) -> Samples {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("no call failed");
        }
        std::mem::take(&mut *self.times.lock().expect("no panic"))
    }
}

/// Instances that name every build, so that none is purged.
struct Named(Vec<Arc<Instance>>);

impl Named {
    fn of(builds: &[Vec<u8>]) -> Self {
        let instances = builds.iter().map(|bytes| {
            let new = NewInstance {
                project: ProjectId::generate(),
                spec: spec(),
                plan: "small".into(),
                region: "here".into(),
                target: "paper".into(),
                storage_class: DEFAULT_STORAGE_CLASS.into(),
                policy: Policy::default(),
                node: NodeName::new("node"),
                engine_digest: Builds::digest_of(bytes),
                target_digest: Digest::from_hex("0".repeat(64)),
            };
            let now = std::time::SystemTime::now().try_into().expect("a time");
            Arc::new(Instance::create(new, OperationId::generate(), now))
        });
        Self(instances.collect())
    }
}

impl InUse for Named {
    fn instances(&self) -> Vec<Arc<Instance>> {
        self.0.clone()
    }
}

fn spec() -> Spec {
    Spec {
        name: Name::parse("a-record").expect("a name"),
        engine: "probe".into(),
        version: "1".into(),
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
    }
}
