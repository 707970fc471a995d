//! The real binary on a disk that fails: what callers are told, what the log says, and that it goes on by itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_tests::real::{DataDir, Host, psql};
use berth_tests::{fixture, wait_for};
use serde_json::Value;

use crate::lifecycle::{body, credentials, destroy, running};

#[tokio::test]
async fn a_host_whose_disk_fails_says_so_refuses_and_recovers() {
    let data = DataDir::new();
    let beside = tempfile::tempdir().unwrap();
    let rule = beside.path().join("rule");
    let store = data.path().join("store");
    let mut host = Host::start_under(
        &data,
        &[
            ("LD_PRELOAD", fixture::faultfs()),
            ("FAULTFS_WATCH", store.as_path()),
            ("FAULTFS_RULE", rule.as_path()),
        ],
    )
    .await;
    let id = running(&host, "before").await;
    let given = credentials(&host, &id).await;
    let path = format!("/api/v1/databases/{id}");

    for (name, failing) in [("one", "sync db 0 5"), ("two", "write db 0 28 100")] {
        let log_before = log(data.path()).len();
        fs::write(&rule, failing).unwrap();
        let refused = host.post("/api/v1/databases", &body(name)).await;
        assert_eq!(refused.status, 503, "{failing}: {}", refused.body);
        let said = refused.body.to_string();
        assert!(said.contains("store"), "{said}");
        assert!(!said.contains(data.path().to_str().unwrap()), "{said}");
        wait_for("readiness to turn red", async || {
            let ready = host.get("/readyz").await;
            (ready.status == 503 && ready.body.to_string().contains("the store")).then_some(())
        })
        .await;
        // Again and again it is refused, and said no more than once.
        for _ in 0..5 {
            let again = host.post("/api/v1/databases", &body(name)).await;
            assert_eq!(again.status, 503, "{}", again.body);
        }
        host.get("/healthz").await.expect(200);
        psql(&given, "select 1").unwrap();
        let said = log(data.path())[log_before..].to_owned();
        assert_eq!(
            said.matches("tries the store again by itself").count(),
            1,
            "{said}"
        );
        assert_eq!(
            said.matches("the store takes no writes").count(),
            1,
            "{said}"
        );

        fs::remove_file(&rule).unwrap();
        wait_for("readiness to be back", async || {
            (host.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        assert!(host.is_alive());
        assert_eq!(host.get(&path).await.expect(200)["status"], "running");
    }
    // A refused one may have been taken: nobody could know. The one whose sync failed was, and is shown, whole, as soon as
    // the store can be read; the one that could not be written was not.
    let names = |listed: &Value| -> BTreeSet<String> {
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        all(listed).iter().map(name).collect()
    };
    let expected = BTreeSet::from(["before", "one"].map(str::to_owned));
    wait_for("what was taken to be shown", async || {
        let listed = host.get("/api/v1/databases").await.expect(200);
        (names(&listed) == expected).then_some(())
    })
    .await;
    host.kill9();
    let host = Host::start(&data).await;
    let taken = host.get("/api/v1/databases").await.expect(200);
    assert_eq!(names(&taken), expected);
    for database in all(&taken) {
        let id = database["id"].as_str().unwrap();
        host.wait_status(id, "running").await;
        destroy(&host, id).await;
    }
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn the_store_is_its_owners_business() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    // As an older version, or a copy, may have left it.
    let store = data.path().join("store");
    for path in files(&store) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).unwrap();
    drop(Host::start(&data).await);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store), 0o700);
    let files = files(&store);
    assert!(files.len() >= 3, "{files:?}");
    for path in files {
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    for file in ["seal.key", "admin.key", "store.lock", "lock"] {
        assert_eq!(mode(&data.path().join(file)), 0o600, "{file}");
    }
}

fn all(listed: &Value) -> Vec<Value> {
    let databases = listed["databases"].as_array().or_else(|| listed.as_array());
    databases.unwrap_or_else(|| panic!("{listed}")).clone()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn log(data: &Path) -> String {
    fs::read_to_string(data.join("host.log")).unwrap()
}
