//! What goes wrong around a real database: races of callers, things that are taken, full, missing or corrupt.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use berth_tests::real::{DataDir, Host, Process, berth_binary, psql};
use berth_tests::{not_tried, wait::elapse, wait_for};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::lifecycle::{body, credentials, destroy, running};

#[tokio::test]
async fn deleting_during_creation_leaves_nothing() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    for delay_ms in [0, 60, 250, 600, 1200] {
        let name = format!("short-lived-{delay_ms}");
        let created = host
            .post("/api/v1/databases", &body(&name))
            .await
            .expect(201);
        let path = format!("/api/v1/databases/{}", created["id"].as_str().unwrap());
        elapse(std::time::Duration::from_millis(delay_ms)).await;
        let (one, two) = tokio::join!(host.delete(&path), host.delete(&path));
        one.expect(202);
        two.expect(202);
        host.wait_status(created["id"].as_str().unwrap(), "destroyed")
            .await;
        data.nothing_but_the_host().await;

        let query = "/admin/v1/operations?kind=delete";
        let deletes = host.get(query).await.expect(200);
        let ours = |op: &&Value| op["database_id"] == created["id"];
        let count = deletes["operations"]
            .as_array()
            .unwrap()
            .iter()
            .filter(ours)
            .count();
        assert_eq!(count, 1, "{deletes}");
    }
}

#[tokio::test]
async fn one_of_many_creates_with_one_name_wins() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let wanted = body("contested");
    let posts = (0..8).map(|_| host.post("/api/v1/databases", &wanted));
    let answers = futures::future::join_all(posts).await;
    let won: Vec<_> = answers.iter().filter(|a| a.status == 201).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    for lost in answers.iter().filter(|a| a.status != 201) {
        assert_eq!(
            (lost.status, &lost.body["code"]),
            (409, &json!("name_taken"))
        );
    }
    let id = won[0].body["id"].as_str().unwrap();
    host.wait_status(id, "running").await;
    destroy(&host, id).await;

    let keyed = body("repeated");
    let posts = (0..8).map(|_| host.post_once("/api/v1/databases", &keyed, "key-1"));
    let answers = futures::future::join_all(posts).await;
    let first = &answers[0].body["id"];
    for answer in &answers {
        assert_eq!((answer.status, &answer.body["id"]), (201, first));
    }
    host.wait_status(first.as_str().unwrap(), "running").await;
    destroy(&host, first.as_str().unwrap()).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_port_that_somebody_took_is_passed_over() {
    let data = DataDir::new();
    let taken = (30_000..32_000).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let taken_port = taken.as_ref().unwrap().local_addr().unwrap().port();
    let (first, last) = (taken_port, taken_port + 5);
    let config = data.path().join("berth.toml");
    fs::write(&config, format!("[node]\nports = \"{first}-{last}\"\n")).unwrap();
    let host = Host::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    let mut ids = Vec::new();
    for name in ["first", "second"] {
        let id = running(&host, name).await;
        let given = credentials(&host, &id).await;
        assert_ne!(given["port"].as_u64(), Some(u64::from(taken_port)));
        psql(&given, "select 1").unwrap();
        ids.push(id);
    }
    for id in ids {
        destroy(&host, &id).await;
    }
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_port_that_is_taken_while_its_server_is_away_is_waited_for() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "robbed").await;
    let given = credentials(&host, &id).await;
    let port = u16::try_from(given["port"].as_u64().unwrap()).unwrap();
    let (shims, servers): (Vec<_>, Vec<_>) = data
        .processes()
        .into_iter()
        .filter(|p| !p.is_host())
        .partition(Process::is_shim);
    // The shim must not be quicker than the thief.
    shims.iter().for_each(|shim| shim.signal(Signal::SIGSTOP));
    servers.iter().for_each(Process::kill9);
    let thief = wait_for("the port to be free", async || {
        TcpListener::bind(("127.0.0.1", port)).ok()
    })
    .await;
    shims.iter().for_each(|shim| shim.signal(Signal::SIGCONT));
    host.wait_status(&id, "error").await;
    drop(thief);
    host.wait_status(&id, "running").await;
    wait_for("the server to answer", async || {
        psql(&given, "select 1").ok()
    })
    .await;
    destroy(&host, &id).await;
}

#[tokio::test]
async fn a_corrupt_plugin_is_refused_and_changes_nothing() {
    let data = DataDir::new();
    let plugins = tempfile::tempdir().unwrap();
    let shipped = berth_tests::real::plugins_dir();
    for entry in fs::read_dir(&shipped).unwrap().flatten() {
        fs::copy(entry.path(), plugins.path().join(entry.file_name())).unwrap();
    }
    fs::write(plugins.path().join("garbage.wasm"), b"\0asm not really").unwrap();
    let whole = fs::read(shipped.join("postgresql.wasm")).unwrap();
    fs::write(plugins.path().join("half.wasm"), &whole[..whole.len() / 2]).unwrap();

    let host = Host::start_with(&data, &["--plugins", plugins.path().to_str().unwrap()]).await;
    wait_for("both files to be refused", async || {
        let listed = host.get("/admin/v1/plugins").await.expect(200);
        let refused = |file: &str| {
            listed["plugins"].as_array().unwrap().iter().any(|p| {
                p["file"].as_str().is_some_and(|f| f.ends_with(file))
                    && p["state"] == "refused"
                    && p["reason"].as_str().is_some_and(|r| !r.is_empty())
            })
        };
        (refused("garbage.wasm") && refused("half.wasm")).then_some(())
    })
    .await;
    let id = running(&host, "unharmed").await;
    destroy(&host, &id).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_left_as_it_is() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    let store = data.path().join("store");
    for entry in fs::read_dir(&store).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::write(entry.path(), b"this is not a store").unwrap();
        }
    }
    let before = contents(&store);
    let output = Command::new(berth_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("store"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(contents(&store), before);
}

#[tokio::test]
async fn a_second_host_on_one_data_directory_is_refused() {
    let data = DataDir::new();
    let _host = Host::start(&data).await;
    let output = Command::new(berth_binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another"), "{said}");
}

#[tokio::test]
async fn a_full_disk_fails_the_creation_and_not_the_host() {
    if !nix::unistd::geteuid().is_root() {
        not_tried("mounting a small file system needs root");
        return;
    }
    let data = DataDir::new();
    let size = Some("size=160m,mode=0711");
    mount(
        Some("tmpfs"),
        data.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        size,
    )
    .expect("mount");
    let _unmount = Unmount(&data);
    let host = Host::start(&data).await;
    let id = running(&host, "before").await;
    let before = credentials(&host, &id).await;

    let filler = data.path().join("filler");
    fill(&filler);
    let answer = host.post("/api/v1/databases", &body("too-much")).await;
    if answer.status == 201 {
        let created = answer.body["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/databases/{created}");
        wait_for("the creation to be given up", async || {
            (host.get(&path).await.body["status"] == "error").then_some(())
        })
        .await;
        let query = format!("/admin/v1/operations?instance={created}");
        let operation = &host.get(&query).await.expect(200)["operations"][0];
        let why = operation["last_error"].as_str().unwrap().to_lowercase();
        assert!(why.contains("no space"), "{operation}");
    } else {
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("unavailable"))
        );
    }
    host.get("/healthz").await.expect(200);
    // Who has a database already notices nothing.
    psql(&before, "select 1").unwrap();

    fs::remove_file(&filler).unwrap();
    host.wait_status(&id, "running").await;
    let after = running(&host, "after").await;
    psql(&credentials(&host, &after).await, "select 1").unwrap();
}

struct Unmount<'a>(&'a DataDir);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        self.0.end_processes();
        // The kernel still holds it for as long as a process is on its way out.
        let _ = umount(self.0.path());
    }
}

fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let block = vec![1_u8; 1 << 20];
    while file.write_all(&block).is_ok() {}
}

fn contents(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|e| e.file_type().unwrap().is_file())
        .map(|e| (e.path(), fs::read(e.path()).unwrap()))
        .collect();
    all.sort();
    all
}
