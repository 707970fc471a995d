//! A running host gets a new build of its engine while it has a database.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use berth_tests::real::{DataDir, Host, plugins_dir, psql};
use berth_tests::wait::elapse;
use berth_tests::{fixture, wait_for};
use serde_json::Value;

use super::lifecycle::{credentials, destroy, running};
use super::limits;

const FILE: &str = "postgresql.wasm";

#[tokio::test]
async fn an_engine_is_swapped_under_a_running_database() {
    let data = DataDir::new();
    let folder = data.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for name in [FILE, "local.wasm"] {
        fs::copy(plugins_dir().join(name), folder.join(name)).unwrap();
    }
    let given = ["--plugins", folder.to_str().unwrap()];
    let mut host = Host::start_with(&data, &given).await;
    let before = plugin(&host).await;
    assert_eq!(before["state"], "ready", "{before}");
    let first = running(&host, "before-the-swap").await;
    let login = credentials(&host, &first).await;
    psql(&login, "create table t (v int); insert into t values (42)").unwrap();
    let started = psql(&login, "select pg_postmaster_start_time()").unwrap();

    // A broken one changes nothing.
    let wasm = fs::read(plugins_dir().join(FILE)).unwrap();
    fs::write(folder.join(FILE), &wasm[..wasm.len() / 2]).unwrap();
    let refused = wait_for("a refusal", async || {
        let shown = plugin(&host).await;
        (shown["attempt"]["state"] == "refused").then_some(shown)
    })
    .await;
    assert_eq!(refused["state"], "ready", "{refused}");
    assert_eq!(refused["digest"], before["digest"], "{refused}");
    assert!(refused["attempt"]["reason"].is_string(), "{refused}");
    host.kill9();
    let host = Host::start_with(&data, &given).await;
    // It serves at once, and loads meanwhile.
    wait_for("the build that was live to be live again", async || {
        (plugin(&host).await["digest"] == before["digest"]).then_some(())
    })
    .await;

    // Another build of the same engine: a custom section stands at its end.
    let mut newer = wasm;
    newer.extend([0, 3, 1, b'n', 0]);
    fs::write(folder.join("whole"), &newer).unwrap();
    fs::rename(folder.join("whole"), folder.join(FILE)).unwrap();
    let after = wait_for("the new build", async || {
        let shown = plugin(&host).await;
        (shown["digest"] != before["digest"]).then_some(shown)
    })
    .await;
    assert_eq!(after["state"], "ready", "{after}");
    assert_eq!(after["attempt"], Value::Null, "{after}");

    let second = running(&host, "after-the-swap").await;
    for (id, made_by, drift) in [(&first, &before, true), (&second, &after, false)] {
        let shown = host.get(&format!("/admin/v1/instances/{id}")).await;
        let shown = shown.expect(200);
        assert_eq!(shown["engine_build"]["digest"], made_by["digest"], "{id}");
        assert_eq!(shown["engine_build"]["drift"], drift, "{id}");
    }
    assert_eq!(credentials(&host, &first).await, login);
    assert_eq!(psql(&login, "select v from t").unwrap(), "42");
    let now = psql(&login, "select pg_postmaster_start_time()").unwrap();
    assert_eq!(now, started, "the server was started again");
    let login = credentials(&host, &second).await;
    assert_eq!(psql(&login, "select 1").unwrap(), "1");

    destroy(&host, &first).await;
    destroy(&host, &second).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn requests_and_creations_go_on_while_builds_are_swapped() {
    const SWAPS: u8 = 10;
    const PROBE: &str = "probe.wasm";
    let data = DataDir::new();
    let host = limits::start(&data, "").await;
    let folder = data.path().join("folder");
    wait_for("the engine to be live", async || {
        (plugin_of(&host, PROBE).await["state"] == "ready").then_some(())
    })
    .await;
    let swapped = AtomicBool::new(false);
    let swaps = async {
        for number in 0..SWAPS {
            let before = plugin_of(&host, PROBE).await["digest"].clone();
            // Another build of the same engine: a custom section stands at its end.
            let bytes = [fixture::engine(), vec![0, 3, 1, b'n', number]].concat();
            fs::write(folder.join("whole"), bytes).unwrap();
            fs::rename(folder.join("whole"), folder.join(PROBE)).unwrap();
            wait_for("the next build", async || {
                let shown = plugin_of(&host, PROBE).await;
                (shown["digest"] != before).then_some(())
            })
            .await;
        }
        swapped.store(true, Ordering::Relaxed);
    };
    let requests = async {
        let mut made = 0;
        while !swapped.load(Ordering::Relaxed) {
            host.get("/api/v1/databases").await.expect(200);
            // Asks the engine, which finds nothing wrong with a request that is refused for another reason.
            let taken = limits::wanted("calm 0");
            host.post("/api/v1/databases", &taken).await.expect(409);
            made += 2;
            elapse(Duration::from_millis(5)).await;
        }
        made
    };
    let creations = async {
        let mut made = 0;
        while !swapped.load(Ordering::Relaxed) {
            made += 1;
            let id = created(&host, &format!("calm {made}")).await;
            destroy(&host, &id).await;
        }
        made
    };
    let first = created(&host, "calm 0").await;
    let ((), requests, creations) = tokio::join!(swaps, requests, creations);
    println!("{SWAPS} swaps, {requests} requests and {creations} databases meanwhile");
    assert!(requests > 100 && creations > 3, "there was load");
    let failed = host.get("/admin/v1/operations?status=failed").await;
    assert_eq!(failed.expect(200)["total"], 0);
    host.wait_status(&first, "running").await;
    destroy(&host, &first).await;
    data.nothing_but_the_host().await;
}

async fn created(host: &Host, name: &str) -> String {
    let wanted = limits::wanted(name);
    let created = host.post("/api/v1/databases", &wanted).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    host.wait_status(&id, "running").await;
    id
}

/// What the host shows of the engine.
async fn plugin(host: &Host) -> Value {
    plugin_of(host, FILE).await
}

async fn plugin_of(host: &Host, file: &str) -> Value {
    let shown = host.get("/admin/v1/plugins").await.expect(200);
    let plugins = shown["plugins"].as_array().unwrap().iter();
    let mut found: Vec<&Value> = plugins.filter(|plugin| plugin["file"] == file).collect();
    found.pop().expect("the engine is shown").clone()
}
