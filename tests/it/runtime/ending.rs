//! That an instance has ended is not its target's word alone: the host looks for what still runs. The target that lies is
//! `paper`, of which nothing ever runs.

use berth::model::Error;
use berth::model::workload::Member;
use berth_tests::real::{DataDir, berth_binary};
use berth_tests::wait_for;

use super::access::{SERVER, member, own_uid};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_says_it_ended_what_still_runs_is_not_believed() {
    let data = DataDir::new();
    let folder = data.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for (file, bytes) in [
        ("probe.wasm", fixture::engine()),
        ("local.wasm", fixture::local()),
        ("paper.wasm", fixture::target()),
    ] {
        std::fs::write(folder.join(file), bytes).unwrap();
    }
    let both = BTreeSet::from([Capability::Process, Capability::Files]);
    let config = RuntimeConfig {
        data_dir: data.path().to_owned(),
        plugins_dir: folder,
        grants: BTreeMap::from([
            ("local".to_owned(), both),
            ("paper".to_owned(), BTreeSet::from([Capability::Files])),
        ]),
        programs: Programs::from_toml(SERVER).unwrap(),
        berth_exe: berth_binary(),
        limits: Limits::default(),
        ..Place::with(&[]).config()
    };
    let runtime = Runtime::open(config).await.unwrap();
    runtime.settled().await;
    let context = context(&runtime);
    let [honest, liar] = ["local", "paper"].map(|name| runtime.target(name).unwrap());
    let runs = || {
        let processes = data.processes();
        processes.iter().any(|p| p.args[0].ends_with("/tail"))
    };
    let started = async || {
        honest.apply(&context).await.unwrap();
        wait_for("its server", async || runs().then_some(())).await;
    };

    started().await;
    not_believed(liar.stop(&context).await);
    assert!(runs());
    wait_for("it to stop", async || honest.stop(&context).await.ok()).await;
    assert!(!runs());
    liar.stop(&context).await.unwrap();

    started().await;
    // It removes the files, so that nobody could tell by them.
    not_believed(liar.remove(&context).await);
    assert!(runs());
    wait_for("it to be gone", async || honest.remove(&context).await.ok()).await;
    assert!(!runs());
    liar.remove(&context).await.unwrap();
}

fn not_believed(lie: Result<(), Error>) {
    let error = lie.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(error.public().contains("still run"), "{error:?}");
}

fn context(runtime: &Runtime) -> TargetContext {
    let mut context = deployment(InstanceId::generate(), "create/provision");
    context.uid = nix::unistd::geteuid().is_root().then(own_uid);
    context.engine = engine(runtime).digest().clone();
    context.workload.members = vec![Member {
        ports: Vec::new(),
        ..member()
    }];
    context.endpoints = Vec::new();
    context
}
