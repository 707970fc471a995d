//! What goes wrong around a real database: races of callers, things that are taken, full, missing or corrupt.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use berth_tests::real::{DataDir, Host, berth_binary, psql};
use berth_tests::{wait::elapse, wait_for};
use nix::mount::{MsFlags, mount, umount};
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
    let host = Host::start(&data).await;
    let id = running(&host, "first").await;
    let port = credentials(&host, &id).await["port"].as_u64().unwrap();
    destroy(&host, &id).await;

    let address = ("127.0.0.1", u16::try_from(port).unwrap());
    let _taken = TcpListener::bind(address).expect("the freed port");
    let id = running(&host, "second").await;
    let second = credentials(&host, &id).await;
    assert_ne!(second["port"].as_u64(), Some(port));
    psql(&second, "select 1").unwrap();
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
        println!("skipped: mounting a small file system needs root");
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

    let filler = data.path().join("filler");
    fill(&filler);
    let answer = host.post("/api/v1/databases", &body("too-much")).await;
    let refused = answer.status >= 500;
    if !refused {
        let body = answer.expect(201);
        let id = body["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/databases/{id}");
        wait_for("the creation to say why", async || {
            let status = host.get(&path).await.body["status"].clone();
            (status == "error" || host.get("/healthz").await.status != 200).then_some(())
        })
        .await;
    }
    host.get("/healthz").await.expect(200);

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
