//! Settings that do harm on a real server: what it cannot start with is taken back, and one that is down anyhow holds up
//! nobody.

use std::fs;

use berth_tests::real::{DataDir, Host, psql};
use berth_tests::wait_for;
use serde_json::{Value, json};

use crate::access::{rdb, running, uuid};
use crate::lifecycle::{credentials, destroy};

#[tokio::test]
async fn what_a_server_cannot_start_with_is_taken_back() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "rolled-back", json!({})).await;
    let path = path(&host, "rolled-back").await;
    let slots = |value: &str| json!({ "settings": [{ "name": "max_prepared_transactions", "value": value }] });
    assert_eq!(
        change(&host, &path, &slots("5")).await["status"],
        "succeeded"
    );

    // A transaction that waits for its second half keeps a server without slots from starting.
    let login = credentials(&host, &id).await;
    psql(&login, "create table t (v int)").unwrap();
    psql(
        &login,
        "begin; insert into t values (42); prepare transaction 'half'",
    )
    .unwrap();
    let operation = change(&host, &path, &slots("0")).await;
    assert_eq!(operation["status"], "failed", "{operation}");
    let why = operation["last_error"].as_str().unwrap();
    assert!(why.contains("max_prepared_transactions"), "{why}");
    assert!(
        why.contains("runs with the settings that it had before"),
        "{why}"
    );
    let (_, shown) = rdb(&host, "GET", &path, &Value::Null).await;
    assert_eq!(shown["status"], "ready", "{shown}");
    let settings = shown["settings"].as_array().unwrap();
    let kept = settings
        .iter()
        .find(|s| s["name"] == "max_prepared_transactions");
    assert_eq!(kept.unwrap()["value"], "5", "{shown}");
    assert_eq!(psql(&login, "show max_prepared_transactions").unwrap(), "5");
    psql(&login, "commit prepared 'half'").unwrap();
    assert_eq!(psql(&login, "select v from t").unwrap(), "42");

    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_server_that_is_down_holds_up_no_change() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "down", json!({})).await;
    let path = path(&host, "down").await;
    let files = data.instance_dirs().remove(0).join("pg-0/volumes/data");
    let (control, away) = (files.join("global/pg_control"), files.join("global/away"));
    fs::rename(&control, &away).unwrap();
    let pid = fs::read_to_string(files.join("postmaster.pid")).unwrap();
    let pid: i32 = pid.lines().next().unwrap().parse().unwrap();
    for process in data
        .processes()
        .into_iter()
        .filter(|process| process.pid == pid)
    {
        process.kill9();
    }
    let more = json!({ "settings": [{ "name": "work_mem", "value": "8" }] });
    let operation = change(&host, &path, &more).await;
    assert_eq!(operation["status"], "failed", "{operation}");
    let why = operation["last_error"].as_str().unwrap();
    assert!(why.contains("does not come up with them either"), "{why}");
    let (status, renewed) = rdb(
        &host,
        "POST",
        &format!("{path}/renew-certificate"),
        &json!({}),
    )
    .await;
    assert_eq!(status, 204, "{renewed}");
    assert_eq!(newest(&host).await["status"], "succeeded");

    fs::rename(&away, &control).unwrap();
    wait_for("it to be ready again", async || {
        let (_, shown) = rdb(&host, "GET", &path, &Value::Null).await;
        (shown["status"] == "ready").then_some(())
    })
    .await;
    assert_eq!(change(&host, &path, &more).await["status"], "succeeded");
    let login = credentials(&host, &id).await;
    assert_eq!(psql(&login, "show work_mem").unwrap(), "8MB");
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

async fn path(host: &Host, name: &str) -> String {
    let uuid = uuid(host, name).await;
    format!("/rdb/v1/regions/fr-par/instances/{uuid}")
}

/// Add settings, and answer how that ended.
async fn change(host: &Host, path: &str, settings: &Value) -> Value {
    let (status, answer) = rdb(host, "POST", &format!("{path}/settings"), settings).await;
    assert_eq!(status, 200, "{answer}");
    newest(host).await
}

/// The newest operation, once it has ended.
async fn newest(host: &Host) -> Value {
    wait_for("the operation to end", async || {
        let open = host.get("/admin/v1/operations?open=true").await.expect(200);
        (open["total"] == 0).then_some(())
    })
    .await;
    let all = host.get("/admin/v1/operations").await.expect(200);
    all["operations"][0].clone()
}
