//! Builds that are swapped by putting a file into the folder: no call notices, whatever is put there.

mod keeping;
mod refusals;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use berth::model::instance::NewInstance;
use berth::model::plugin::{PluginAttempt, PluginStatus};
use berth::model::policy::Policy;
use berth::model::{Instance, NodeName, OperationId, ProjectId};
use berth::runtime::builds::Builds;
use berth::runtime::{InUse, Timing};
use berth_tests::wait::{PATIENCE, elapse};
use berth_tests::wait_for;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const FILE: &str = "probe.wasm";
const SWAPS: u32 = 1_000;
/// So many of them bring a build that was never seen before.
const BUILDS: u32 = 25;

/// Looks so often that a test need not wait.
const EAGER: Timing = Timing {
    look_every: Duration::from_millis(2),
    whole_after: Duration::from_millis(30),
    retry_after: Duration::from_millis(100),
    kept_for: Duration::from_secs(3600),
    purge_every: Duration::from_millis(50),
};

/// The instances that the tests say there are.
#[derive(Default)]
struct Book(Mutex<Vec<Arc<Instance>>>);

impl InUse for Book {
    fn instances(&self) -> Vec<Arc<Instance>> {
        self.0.lock().unwrap().clone()
    }
}

impl Book {
    /// An instance that was made with this build, in this version.
    fn enter(&self, engine: &Digest, version: &str) -> String {
        let spec = Spec {
            version: version.into(),
            ..told("nothing")
        };
        let new = NewInstance {
            project: ProjectId::generate(),
            spec,
            plan: "small".into(),
            region: "here".into(),
            target: "paper".into(),
            storage_class: DEFAULT_STORAGE_CLASS.into(),
            policy: Policy::default(),
            node: NodeName::new("node-1"),
            engine_digest: engine.clone(),
            target_digest: Digest::from_hex("0".repeat(64)),
        };
        let instance = Instance::create(new, OperationId::generate(), Timestamp::now());
        let alias = instance.alias.to_string();
        self.0.lock().unwrap().push(Arc::new(instance));
        alias
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Place {
    /// A runtime that watches its folder.
    async fn watch(&self, book: &Arc<Book>, timing: Timing) -> Runtime {
        let runtime = Runtime::watch(self.config(), Arc::clone(book) as _, timing)
            .await
            .unwrap();
        runtime.settled().await;
        runtime
    }

    /// Put a file into the folder as one should: made before, and renamed into place.
    fn put(&self, name: &str, bytes: &[u8]) {
        let unfinished = self.plugins().join(format!("{name}.new"));
        std::fs::write(&unfinished, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&unfinished);
        let made = SystemTime::now() - Duration::from_secs(60);
        file.unwrap().set_modified(made).unwrap();
        std::fs::rename(unfinished, self.plugins().join(name)).unwrap();
    }

    /// Files that are kept of a build.
    fn kept(&self, digest: &Digest) -> usize {
        let entries = std::fs::read_dir(self.data().join("plugins")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(digest.as_str()))
            .count()
    }
}

/// Another build of the fixture engine, which does the same: a custom section stands at its end.
fn build(n: u32) -> Vec<u8> {
    let mut bytes = fixture::engine();
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(n.to_le_bytes());
    bytes
}

fn live(runtime: &Runtime) -> Option<Digest> {
    let engine = runtime.engine("probe").ok()?;
    Some(engine.digest().clone())
}

fn status(runtime: &Runtime, file: &str) -> Option<PluginStatus> {
    let mut statuses = runtime.statuses();
    statuses.retain(|status| status.file == file);
    statuses.pop()
}

fn attempt(runtime: &Runtime) -> Option<PluginAttempt> {
    status(runtime, FILE)?.attempt
}

/// Why the newest build in the file was refused.
async fn refused(runtime: &Runtime) -> String {
    wait_for("a refusal", async || match attempt(runtime)?.state {
        PluginState::Refused(reason) => Some(reason),
        PluginState::Compiling | PluginState::Ready | PluginState::Removed(_) => None,
    })
    .await
}

/// Wait until this is the live build.
async fn becomes_live(runtime: &Runtime, bytes: &[u8]) -> Digest {
    let digest = Builds::digest_of(bytes);
    wait_for("the build to be live", async || {
        (live(runtime)? == digest).then_some(())
    })
    .await;
    digest
}

async fn works(runtime: &Runtime) {
    engine(runtime)
        .validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_swaps_under_load_fail_no_call() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    // What was replaced is purged while the others go on.
    let timing = Timing {
        kept_for: Duration::from_secs(4),
        ..EAGER
    };
    let runtime = place.watch(&book, timing).await;
    let began_with = becomes_live(&runtime, &build(0)).await;
    book.enter(&began_with, "1");

    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..2)
        .map(|n| {
            let (runtime, stop) = (runtime.clone(), Arc::clone(&stop));
            let (calls, began_with) = (Arc::clone(&calls), began_with.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let id = InstanceId::generate();
                    // As a request has it, and as an operation that began with the first build.
                    let engine = if n % 2 == 0 {
                        runtime.engine("probe").unwrap()
                    } else {
                        let engine = runtime.engine_build(&began_with).unwrap();
                        assert_eq!(*engine.digest(), began_with);
                        engine
                    };
                    engine.validate(id, &told("nothing")).await.unwrap();
                    engine.plan(id, &told("nothing")).await.unwrap();
                    calls.fetch_add(2, Ordering::Relaxed);
                }
            })
        })
        .collect();

    let started = Instant::now();
    let (mut compiled, mut spent) = (0, Duration::ZERO);
    for n in 1..=SWAPS {
        // A new one, and then it and the one before in turns: an operator who goes back and forth.
        let newest = (n - 1) / (SWAPS / BUILDS) + 1;
        let bytes = build(newest - (n - 1) % 2);
        let digest = Builds::digest_of(&bytes);
        let is_new = place.kept(&digest) == 0;
        let put = Instant::now();
        place.put(FILE, &bytes);
        // Closer than `wait_for` looks, or the test would take as long as its pauses.
        while live(&runtime).unwrap() != digest {
            assert!(
                put.elapsed() < PATIENCE,
                "swap {n}: {:?}",
                attempt(&runtime)
            );
            elapse(Duration::from_millis(1)).await;
        }
        if is_new {
            compiled += 1;
            spent += put.elapsed();
        }
    }
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    let calls = calls.load(Ordering::Relaxed);
    println!(
        "{SWAPS} swaps in {took:.1?}, {calls} calls meanwhile, none failed; {compiled} builds were \
         compiled, in {spent:.1?} under load"
    );
    assert!(calls > SWAPS as usize, "there was load: {calls}");
    assert!(compiled >= BUILDS, "{compiled} were compiled");
    // What nothing names goes, and what an instance names or is live does not.
    let last = live(&runtime).unwrap();
    wait_for("the old builds to be purged", async || {
        let old = (1..=BUILDS).map(|n| Builds::digest_of(&build(n)));
        let mut old = old.filter(|digest| *digest != last);
        old.all(|digest| place.kept(&digest) == 0).then_some(())
    })
    .await;
    assert_eq!(place.kept(&began_with), 2);
    assert_eq!(place.kept(&last), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_flight_finishes_on_the_old_build() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let timing = Timing {
        kept_for: Duration::ZERO,
        ..EAGER
    };
    let runtime = place.watch(&book, timing).await;
    let old = engine(&runtime);
    let weak = Arc::downgrade(&old);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut context = instance(InstanceId::generate(), "chat", Dial::Tcp(address));
    context.endpoints = vec![endpoint(address.port())];
    let call = tokio::spawn(async move { old.bootstrap(&context).await });
    let (mut stream, _) = listener.accept().await.unwrap();

    place.put(FILE, &build(1));
    let new = becomes_live(&runtime, &build(1)).await;
    works(&runtime).await;
    assert!(!call.is_finished());
    // Now the server answers the call that began before.
    tokio::spawn(async move {
        let mut buffer = [0; 1 << 10];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    });
    call.await.unwrap().unwrap();
    wait_for("the old build to be let go", async || {
        weak.upgrade().is_none().then_some(())
    })
    .await;
    assert_eq!(live(&runtime), Some(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_slowly_is_taken_when_it_is_whole() {
    let (old, new) = (build(0), build(1));
    let place = Place::with(&[(FILE, &old)]);
    let book = Arc::new(Book::default());
    let patient = Timing {
        whole_after: Duration::from_secs(2),
        ..EAGER
    };
    let runtime = place.watch(&book, patient).await;
    let before = becomes_live(&runtime, &old).await;
    let mut file = std::fs::File::create(place.plugins().join(FILE)).unwrap();
    for chunk in new.chunks(new.len() / 40) {
        std::io::Write::write_all(&mut file, chunk).unwrap();
        elapse(Duration::from_millis(5)).await;
        assert_eq!(live(&runtime), Some(before.clone()));
        assert!(attempt(&runtime).is_none(), "{:?}", attempt(&runtime));
    }
    drop(file);
    becomes_live(&runtime, &new).await;
    works(&runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_stops_half_way_harms_nobody() {
    let (old, new) = (build(0), build(1));
    let place = Place::with(&[(FILE, &old)]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, EAGER).await;
    let before = becomes_live(&runtime, &old).await;
    let mut file = std::fs::File::create(place.plugins().join(FILE)).unwrap();
    let (first, second) = new.split_at(new.len() / 2);
    std::io::Write::write_all(&mut file, first).unwrap();
    let reason = refused(&runtime).await;
    assert!(reason.contains("not a valid"), "{reason}");
    assert_eq!(live(&runtime), Some(before));
    works(&runtime).await;

    std::io::Write::write_all(&mut file, second).unwrap();
    drop(file);
    becomes_live(&runtime, &new).await;
    let status = status(&runtime, FILE).unwrap();
    assert_eq!(status.state, PluginState::Ready);
    assert!(status.attempt.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_files_that_overtake_each_other_the_last_one_is_live() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, EAGER).await;
    for round in 0..3 {
        for n in 1..=5 {
            // While the one before compiles.
            place.put(FILE, &build(round * 10 + n));
            elapse(Duration::from_millis(u64::from(n) * 5)).await;
        }
        becomes_live(&runtime, &build(round * 10 + 5)).await;
        runtime.settled().await;
        assert_eq!(
            live(&runtime),
            Some(Builds::digest_of(&build(round * 10 + 5)))
        );
    }
    // The same size, in place, within what may be one tick of the clock.
    for n in [100, 101, 102] {
        std::fs::write(place.plugins().join(FILE), build(n)).unwrap();
    }
    becomes_live(&runtime, &build(102)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_turned_swaps_too() {
    let place = Place::with(&[]);
    for n in [0, 1] {
        let dir = place.dir.path().join(format!("revision-{n}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join(FILE), build(n)).unwrap();
    }
    // As Kubernetes mounts a ConfigMap: the file is a link through a link that is replaced.
    let turn = |n: u32| {
        let (new, link) = (
            place.dir.path().join("data.new"),
            place.dir.path().join("revision"),
        );
        std::os::unix::fs::symlink(format!("revision-{n}"), &new).unwrap();
        std::fs::rename(new, link).unwrap();
    };
    turn(0);
    std::os::unix::fs::symlink(
        place.dir.path().join("revision").join(FILE),
        place.plugins().join(FILE),
    )
    .unwrap();
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    becomes_live(&runtime, &build(0)).await;
    turn(1);
    becomes_live(&runtime, &build(1)).await;
}
