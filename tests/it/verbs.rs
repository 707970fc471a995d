//! Stop, start and restart of a real database: what is kept, what ends, and what happens when it is disturbed.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use berth_tests::real::{Answer, DataDir, Host, Process, psql};
use berth_tests::wait::elapse;
use berth_tests::wait_for;
use serde_json::{Value, json};

use crate::lifecycle::{body, credentials, destroy, running};

const STARTED: &str = "select pg_postmaster_start_time()";

#[tokio::test]
async fn a_stopped_database_keeps_what_it_has_and_stays_stopped_until_it_is_started() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let id = running(&host, "paused").await;
    let given = credentials(&host, &id).await;
    psql(
        &given,
        "create table kept (v int); insert into kept values (7)",
    )
    .unwrap();

    verb(&host, &id, "stop").await.expect(202);
    host.wait_status(&id, "stopped").await;
    assert!(TcpStream::connect(address(&given)).is_err());
    no_servers(&data).await;
    let path = format!("/api/v1/databases/{id}");
    let refused = host.get(&format!("{path}/credentials")).await.expect(409);
    assert_eq!(refused["code"], "not_ready");
    let hint = format!("POST {path}/start");
    assert!(refused["message"].as_str().unwrap().contains(&hint));
    verb(&host, &id, "stop").await.expect(202);
    assert_eq!(count(&host, &id, "stop").await, 1);

    host.kill9();
    let host = Host::start(&data).await;
    // Its port is nobody else's, and the one beside it is looked after meanwhile.
    let other = running(&host, "beside").await;
    assert_ne!(credentials(&host, &other).await["port"], given["port"]);
    let shown = host.get(&path).await.expect(200);
    assert_eq!(shown["status"], "stopped");
    destroy(&host, &other).await;
    no_servers(&data).await;

    verb(&host, &id, "start").await.expect(202);
    host.wait_status(&id, "running").await;
    assert_eq!(credentials(&host, &id).await, given);
    assert_eq!(psql(&given, "select v from kept").unwrap(), "7");
    verb(&host, &id, "start").await.expect(202);
    assert_eq!(count(&host, &id, "start").await, 1);

    verb(&host, &id, "stop").await.expect(202);
    host.wait_status(&id, "stopped").await;
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_password_that_was_changed_while_it_ran_outlives_a_stop_and_a_start() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "rotated").await;
    let rotate = format!("/api/v1/databases/{id}/credentials/rotate");
    let given = host.post(&rotate, &json!({})).await.expect(200);
    verb(&host, &id, "stop").await.expect(202);
    host.wait_status(&id, "stopped").await;
    verb(&host, &id, "start").await.expect(202);
    host.wait_status(&id, "running").await;
    assert_eq!(credentials(&host, &id).await, given);
    psql(&given, "select 1").unwrap();

    // One that Berth does not know keeps it from nothing either.
    psql(&given, "alter role app_user password 'of my own choice'").unwrap();
    verb(&host, &id, "restart").await.expect(202);
    host.wait_status(&id, "running").await;
    let unknown = host
        .get(&format!("/api/v1/databases/{id}/credentials"))
        .await;
    assert_eq!(unknown.expect(409)["code"], "password_unknown");
    destroy(&host, &id).await;
}

#[tokio::test]
async fn a_restart_starts_the_server_anew() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let id = running(&host, "again").await;
    let given = credentials(&host, &id).await;
    psql(
        &given,
        "create table kept (v int); insert into kept values (7)",
    )
    .unwrap();
    let mut before = psql(&given, STARTED).unwrap();
    for killed_after_ms in [None, Some(0), Some(150), Some(400)] {
        let (one, two) = tokio::join!(verb(&host, &id, "restart"), verb(&host, &id, "restart"));
        assert_eq!(one.expect(202)["status"], "provisioning");
        two.expect(202);
        if let Some(after) = killed_after_ms {
            elapse(std::time::Duration::from_millis(after)).await;
            host.kill9();
            host = Host::start(&data).await;
        }
        host.wait_status(&id, "running").await;
        let now = psql(&given, STARTED).unwrap();
        assert_ne!(now, before);
        assert_eq!(psql(&given, "select v from kept").unwrap(), "7");
        assert_eq!(credentials(&host, &id).await, given);
        before = now;
    }
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_host_that_dies_while_it_stops_or_starts_one_goes_on_with_it() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let id = running(&host, "disturbed").await;
    let given = credentials(&host, &id).await;
    for (killed_after_ms, with_shim) in [(0, false), (20, true), (60, false), (150, true)] {
        for (wish, status) in [("stop", "stopped"), ("start", "running")] {
            verb(&host, &id, wish).await.expect(202);
            elapse(std::time::Duration::from_millis(killed_after_ms)).await;
            host.kill9();
            if with_shim {
                let shims = data.processes().into_iter().filter(Process::is_shim);
                shims.for_each(|shim| shim.kill9());
            }
            host = Host::start(&data).await;
            host.wait_status(&id, status).await;
            match wish {
                "stop" => no_servers(&data).await,
                _ => drop(psql(&given, "select 1").unwrap()),
            }
        }
    }
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_can_be_tried_again() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "blocked").await;
    let given = credentials(&host, &id).await;
    psql(
        &given,
        "create table kept (v int); insert into kept values (7)",
    )
    .unwrap();
    verb(&host, &id, "stop").await.expect(202);
    host.wait_status(&id, "stopped").await;

    let taken = TcpListener::bind(address(&given)).expect("the port of a stopped one");
    verb(&host, &id, "start").await.expect(202);
    host.wait_status(&id, "error").await;
    no_servers(&data).await;
    let shown = host.get(&format!("/admin/v1/instances/{id}")).await;
    let shown = shown.expect(200);
    assert_eq!(shown["phase"], "start_failed");
    let failed = operations(&host, &id, "start").await.remove(0);
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["last_error"], shown["failure"]);
    let why = failed["last_error"].as_str().unwrap();
    assert!(why.contains("Address already in use"), "{why}");
    drop(taken);

    // It is stopped by then, and says so once that is what is asked for.
    verb(&host, &id, "stop").await.expect(202);
    host.wait_status(&id, "stopped").await;
    verb(&host, &id, "start").await.expect(202);
    host.wait_status(&id, "running").await;
    assert_eq!(psql(&given, "select v from kept").unwrap(), "7");

    // A restart that cannot start it again leaves the same, and can be retried as what it was.
    break_its_configuration(&data, true);
    verb(&host, &id, "restart").await.expect(202);
    host.wait_status(&id, "error").await;
    no_servers(&data).await;
    break_its_configuration(&data, false);
    let failed = operations(&host, &id, "restart").await.remove(0);
    let retry = format!(
        "/admin/v1/operations/{}/retry",
        failed["id"].as_str().unwrap()
    );
    host.post(&retry, &json!({})).await.expect(202);
    host.wait_status(&id, "running").await;
    assert_eq!(psql(&given, "select v from kept").unwrap(), "7");
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn wishes_that_meet_have_one_clear_end() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let created = host
        .post("/api/v1/databases", &body("wanted-by-many"))
        .await;
    let id = created.expect(201)["id"].as_str().unwrap().to_owned();
    for wish in ["stop", "start", "restart"] {
        let refused = verb(&host, &id, wish).await.expect(409);
        assert_eq!(refused["code"], "wrong_phase", "{refused}");
        let expected = format!("cannot {wish} the database: it is being created");
        assert_eq!(refused["message"], expected);
    }
    host.wait_status(&id, "running").await;

    let (one, two) = tokio::join!(verb(&host, &id, "stop"), verb(&host, &id, "stop"));
    one.expect(202);
    two.expect(202);
    assert_eq!(count(&host, &id, "stop").await, 1);
    // Of a stop and a start the newest counts.
    verb(&host, &id, "start").await.expect(202);
    verb(&host, &id, "stop").await.expect(202);
    verb(&host, &id, "start").await.expect(202);
    host.wait_status(&id, "running").await;
    psql(&credentials(&host, &id).await, "select 1").unwrap();

    let path = format!("/api/v1/databases/{id}");
    let (stopped, deleted) = tokio::join!(verb(&host, &id, "stop"), host.delete(&path));
    assert!([202, 409].contains(&stopped.status), "{stopped:?}");
    deleted.expect(202);
    host.wait_status(&id, "destroyed").await;
    let refused = verb(&host, &id, "start").await.expect(409);
    assert_eq!(
        refused["message"],
        "cannot start the database: it is deleted"
    );
    data.nothing_but_the_host().await;
}

async fn verb(host: &Host, id: &str, verb: &str) -> Answer {
    let path = format!("/api/v1/databases/{id}/{verb}");
    host.post(&path, &json!({})).await
}

/// Newest first.
async fn operations(host: &Host, id: &str, kind: &str) -> Vec<Value> {
    let path = format!("/admin/v1/operations?instance={id}&kind={kind}");
    let listed = host.get(&path).await.expect(200);
    listed["operations"].as_array().unwrap().clone()
}

async fn count(host: &Host, id: &str, kind: &str) -> usize {
    operations(host, id, kind).await.len()
}

fn address(credentials: &Value) -> (&str, u16) {
    let port = credentials["port"].as_u64().unwrap();
    let host = credentials["host"].as_str().unwrap();
    (host, u16::try_from(port).unwrap())
}

/// Shims end in their own time, which is a moment.
async fn no_servers(data: &DataDir) {
    wait_for("every server to be gone", async || {
        data.processes().iter().all(Process::is_host).then_some(())
    })
    .await;
}

/// In a file that is the server's own, and that no start writes anew.
fn break_its_configuration(data: &DataDir, broken: bool) {
    let mut dirs = data.instance_dirs();
    let file = loop {
        let dir = dirs.pop().expect("the file is somewhere");
        let entries = fs::read_dir(dir).unwrap().flatten();
        let (below, files): (Vec<_>, Vec<_>) = entries.map(|e| e.path()).partition(|p| p.is_dir());
        dirs.extend(below);
        let found = |path: &PathBuf| path.ends_with("postgresql.auto.conf");
        if let Some(file) = files.into_iter().find(found) {
            break file;
        }
    };
    fs::write(file, if broken { "nonsense = 1\n" } else { "" }).unwrap();
}
