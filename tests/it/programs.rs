//! A program of another series is not let at a database's data, whatever the operator's list says today.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use berth::runtime::Programs;
use berth_tests::real::{DataDir, Host};
use berth_tests::servers::installed;
use berth_tests::{not_tried, wait_for};
use serde_json::{Value, json};

use crate::access::running;
use crate::lifecycle::{credentials, destroy};

#[tokio::test]
async fn a_program_of_another_series_is_not_let_at_the_data() {
    let Some(earlier) = server("7.0").filter(|_| server("7.2").is_some()) else {
        return not_tried("there are no two series of Redis");
    };
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let wanted = json!({"db_type": "redis", "version": "7.2"});
    let id = running(&host, "kept", wanted).await;
    let given = credentials(&host, &id).await;
    verb(&host, &id, "stop").await;
    host.wait_status(&id, "stopped").await;
    let before = volume(&data);
    assert!(!before.is_empty());

    host.kill9();
    let config = data.path().join("berth.toml");
    let text = format!("[[program]]\nname = \"redis-server\"\npaths = [{earlier:?}]\n");
    fs::write(&config, text).unwrap();
    let mut host = Host::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    verb(&host, &id, "start").await;
    let path = format!("/admin/v1/operations?instance={id}");
    let why = wait_for("the start to fail", async || {
        let listed = host.get(&path).await.expect(200);
        let newest = &listed["operations"][0];
        assert_ne!(newest["status"], "succeeded", "{newest}");
        let failed = newest["kind"] == "start" && newest["status"] == "failed";
        failed.then(|| newest["last_error"].as_str().unwrap().to_owned())
    })
    .await;
    for part in ["another version than the data", "v=7.0.", "not \"v=7.2.\""] {
        assert!(why.contains(part), "{why}");
    }
    assert!(!why.contains("/opt") && !why.contains("/root"), "{why}");
    host.wait_status(&id, "error").await;
    assert_eq!(volume(&data), before, "nothing has touched the data");

    // With the list mended it is what it was.
    host.kill9();
    let host = Host::start(&data).await;
    verb(&host, &id, "start").await;
    host.wait_status(&id, "running").await;
    assert_eq!(credentials(&host, &id).await, given);
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

/// What is known of them is what they say, and no other version of theirs says it.
#[test]
fn the_list_that_is_shipped_knows_what_programs_say() {
    let shipped = include_str!("../../host/data/programs.toml");
    let programs = Programs::from_toml(shipped).unwrap();
    let versions = ["6.0", "7.0", "7.2", "8.0", "8.4", "9.7", "valkey-8"];
    for (name, version, said) in [
        (
            "mysqld",
            "8.0",
            "/usr/sbin/mysqld  Ver 8.0.36 for Linux on x86_64",
        ),
        ("mysqld", "8.4", "mysqld  Ver 8.4.9 for Linux on x86_64"),
        (
            "mysqld",
            "9.7",
            "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
        ),
        // A server of a series between two of Berth's is of neither.
        ("mysqld", "", "mysqld  Ver 9.6.0 for Linux on x86_64"),
        ("mysqld", "", "mysqld  Ver 9.8.0 for Linux on x86_64"),
        ("mysqld", "", "mysqld  Ver 10.11.19-MariaDB-0+deb12u1"),
        (
            "redis-server",
            "7.0",
            "Redis server v=7.0.15 sha=00000000:0",
        ),
        ("redis-server", "7.2", "Redis server v=7.2.4 sha=00000000:0"),
        (
            "valkey-server",
            "valkey-8",
            "Valkey server v=8.0.1 sha=00000000:0",
        ),
        ("mongod", "6.0", "db version v6.0.19"),
        ("mongod", "7.0", "db version v7.0.14"),
        ("mongod", "8.0", "db version v8.0.3"),
        ("mongod", "", "db version v8.2.1"),
    ] {
        let fits = |version: &&str| {
            let asks = programs.asks(name, version);
            asks.is_some_and(|asks| said.contains(&asks.says))
        };
        let fitting: Vec<_> = versions.iter().copied().filter(|v| fits(v)).collect();
        let wanted: Vec<_> = Some(version)
            .filter(|v| !v.is_empty())
            .into_iter()
            .collect();
        assert_eq!(fitting, wanted, "{name}: {said}");
    }
}

async fn verb(host: &Host, id: &str, verb: &str) {
    let path = format!("/api/v1/databases/{id}/{verb}");
    host.post(&path, &Value::Null).await.expect(202);
}

fn server(version: &str) -> Option<PathBuf> {
    installed(&format!("redis/{version}/usr/bin/redis-server"))
}

/// Every file of the only instance's volume, with what is in it.
fn volume(data: &DataDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut next = data.instance_dirs();
    while let Some(path) = next.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            next.extend(entries.map(|entry| entry.unwrap().path()));
        } else if path.is_file() && path.iter().any(|part| part == "volumes") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}
