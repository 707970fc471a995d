//! MySQL through the real binary, with the engine as the component that it is: made, used by clients from outside, changed
//! by the second dialect, killed, and removed without a trace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_tests::mysql::{self, mysql, mysql_binary, mysql_with};
use berth_tests::real::{DataDir, Host, berth_binary};
use berth_tests::{not_tried, wait_for};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::access::{rdb, uuid};
use crate::kill::{self, Ledger};
use crate::lifecycle::{body, credentials, destroy};

const PASSWORD: &str = "Correct-horse-7";

#[tokio::test]
async fn a_database_is_made_used_killed_and_destroyed() {
    if mysql_binary().is_none() {
        return not_tried("no MySQL is installed; scripts/install-servers.sh mysql says why");
    }
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "main-mysql").await;
    let given = credentials(&host, &id).await;
    assert_eq!(given["username"], "app_user");
    assert_eq!(given["database"], "main_mysql");
    assert_eq!(given["ssl_mode"], "REQUIRED");
    let uri = given["connection_string"].as_str().unwrap();
    assert!(uri.starts_with("mysql://app_user:"), "{uri}");
    let made = "CREATE TABLE t (v INT PRIMARY KEY); INSERT INTO t VALUES (42)";
    mysql(&given, made).unwrap();
    assert_eq!(mysql(&given, "SELECT v FROM t").unwrap(), "42");
    let refused = mysql_with(&given, &["--ssl-mode=DISABLED"], "SELECT 1").unwrap_err();
    assert!(
        refused.contains("3159") || refused.contains("2061"),
        "{refused}"
    );
    let mut wrong = given.clone();
    wrong["password"] = "wrong".into();
    let refused = mysql(&wrong, "SELECT 1").unwrap_err();
    assert!(refused.contains("1045"), "{refused}");
    let path = path(&host, "main-mysql").await;
    with_python(&data, &host, &path, &given).await;

    // What was acknowledged outlives a server that is killed.
    for process in data.processes() {
        if process.args[0].ends_with("mysqld") {
            process.kill9();
        }
    }
    wait_for("the server to be back", async || {
        mysql(&given, "SELECT 1").ok()
    })
    .await;
    assert_eq!(mysql(&given, "SELECT v FROM t").unwrap(), "42");

    nothing_secret_is_shown(&data, &given);
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn the_second_dialect_rules_users_databases_privileges_and_settings() {
    if mysql_binary().is_none() {
        return not_tried("no MySQL is installed; scripts/install-servers.sh mysql says why");
    }
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let engine = format!("MySQL-{}", mysql::version());
    let wanted = json!({
        "name": "ruled", "engine": engine, "node_type": "db-s-1vcpu-1gb", "is_ha_cluster": false,
        "disable_backup": true, "user_name": "owner", "password": PASSWORD,
        "volume_type": "lssd", "volume_size": 10_000_000_000_u64,
        "init_settings": [{ "name": "lower_case_table_names", "value": "1" }],
    });
    let all = "/rdb/v1/regions/fr-par/instances";
    let (status, made) = rdb(&host, "POST", all, &wanted).await;
    assert_eq!(status, 200, "{made}");
    let path = format!("{all}/{}", made["id"].as_str().unwrap());
    let shown = ready(&host, &path).await;
    assert_eq!(shown["engine"], engine);
    let owner = login(&shown, "owner", "information_schema");
    assert_eq!(
        mysql(&owner, "SELECT @@lower_case_table_names").unwrap(),
        "1"
    );

    users_and_privileges(&host, &path, &shown).await;
    settings(&host, &path, &owner).await;

    let (status, gone) = rdb(&host, "DELETE", &path, &Value::Null).await;
    assert_eq!(status, 200, "{gone}");
    wait_for("it to be gone", async || {
        let (status, _) = rdb(&host, "GET", &path, &Value::Null).await;
        (status == 404).then_some(())
    })
    .await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_leave_nothing() {
    if mysql_binary().is_none() {
        return not_tried("no MySQL is installed; scripts/install-servers.sh mysql says why");
    }
    kill::rounds(&Ledger {
        body: |name| {
            let mut wanted = body(name);
            wanted["db_type"] = "mysql".into();
            wanted["version"] = mysql::version().into();
            wanted
        },
        is_served: |credentials| mysql(credentials, "SELECT 1").is_ok(),
        write: |credentials| {
            let sql = "CREATE TABLE ledger (n INT PRIMARY KEY); INSERT INTO ledger VALUES (7)";
            mysql(credentials, sql).unwrap();
        },
        read: |credentials| mysql(credentials, "SELECT n FROM ledger").unwrap(),
    })
    .await;
}

async fn users_and_privileges(host: &Host, path: &str, shown: &Value) {
    let ask = async |method: &str, what: &str, body: Value| {
        let (status, answer) = rdb(host, method, &format!("{path}/{what}"), &body).await;
        assert!(status < 300, "{method} {what}: {status} {answer}");
        answer
    };
    let made = ask("POST", "databases", json!({ "name": "shop" })).await;
    assert_eq!(made["managed"], true);
    ask(
        "POST",
        "users",
        json!({ "name": "ann", "password": PASSWORD, "is_admin": false }),
    )
    .await;
    let (status, refused) = rdb(
        host,
        "POST",
        &format!("{path}/users"),
        &json!({ "name": "a".repeat(33), "password": PASSWORD, "is_admin": false }),
    )
    .await;
    assert_eq!(status, 400, "{refused}");
    let ann = login(shown, "ann", "shop");
    let owner = login(shown, "owner", "shop");
    mysql(
        &owner,
        "CREATE TABLE t (v INT PRIMARY KEY); INSERT INTO t VALUES (1)",
    )
    .unwrap();
    for (permission, reads, writes, makes) in [
        ("readonly", true, false, false),
        ("readwrite", true, true, false),
        ("all", true, true, true),
        ("none", false, false, false),
    ] {
        let wanted =
            json!({ "database_name": "shop", "user_name": "ann", "permission": permission });
        let set = ask("PUT", "privileges", wanted).await;
        assert_eq!(set["permission"], permission);
        assert_eq!(
            mysql(&ann, "SELECT * FROM t").is_ok(),
            reads,
            "{permission}"
        );
        assert_eq!(
            mysql(&ann, "REPLACE INTO t VALUES (1)").is_ok(),
            writes,
            "{permission}"
        );
        let made = mysql(&ann, "CREATE TABLE u (v INT PRIMARY KEY); DROP TABLE u");
        assert_eq!(made.is_ok(), makes, "{permission}");
    }
    mysql(&owner, "GRANT INSERT ON shop.t TO ann").unwrap();
    let seen = ask(
        "GET",
        "privileges?user_name=ann&database_name=shop",
        Value::Null,
    )
    .await;
    assert_eq!(seen["privileges"][0]["permission"], "custom");
    let changed = json!({ "password": "An0ther-horse!", "is_admin": true });
    assert_eq!(ask("PATCH", "users/ann", changed).await["is_admin"], true);
    let mut ann = ann;
    ann["password"] = "An0ther-horse!".into();
    assert_eq!(mysql(&ann, "SELECT * FROM t").unwrap(), "1");
    let (status, refused) = rdb(host, "DELETE", &format!("{path}/users/berth"), &Value::Null).await;
    assert_eq!(status, 404, "{refused}");
    ask("DELETE", "users/ann", Value::Null).await;
    // Nobody is hidden by a name that SQL alone takes.
    let odd = "CREATE USER 'two\nlines' IDENTIFIED BY 'Two-lines-1'; CREATE DATABASE `two\nlines`";
    mysql(&owner, odd).unwrap();
    for what in ["users", "databases"] {
        let listed = ask("GET", what, Value::Null).await;
        let mut all = listed[what].as_array().unwrap().iter();
        assert!(all.any(|one| one["name"] == "two\nlines"), "{listed}");
        ask("DELETE", &format!("{what}/two%0Alines"), Value::Null).await;
    }
    ask("DELETE", "databases/shop", Value::Null).await;
    let left = ask("GET", "databases", Value::Null).await;
    assert_eq!(left["total_count"], 1, "{left}");
}

async fn settings(host: &Host, path: &str, owner: &Value) {
    let change = async |settings: Value| {
        let body = json!({ "settings": settings });
        let (status, answer) = rdb(host, "POST", &format!("{path}/settings"), &body).await;
        if status == 200 {
            wait_for("the settings to be in force", async || {
                let open = host.get("/admin/v1/operations?open=true").await.expect(200);
                (open["total"] == 0).then_some(())
            })
            .await;
        }
        (status, answer)
    };
    let ask = |what: &str| mysql(owner, &format!("SELECT @@global.{what}")).unwrap();
    let (status, answer) = change(json!([{ "name": "wait_timeout", "value": "600" }])).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ask("wait_timeout"), "600");
    let (status, answer) =
        change(json!([{ "name": "innodb_ft_min_token_size", "value": "2" }])).await;
    assert_eq!(status, 200, "{answer}");
    ready(host, path).await;
    let (status, answer) = change(json!([{ "name": "wait_timeout", "value": "soon" }])).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = change(json!([{ "name": "secure_file_priv", "value": "/" }])).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(ask("wait_timeout"), "600");
    let (status, answer) = rdb(host, "POST", &format!("{path}/restart"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    ready(host, path).await;
    assert_eq!(ask("innodb_ft_min_token_size"), "2");
    assert_eq!(ask("wait_timeout"), "600");
}

/// A client in another language, which checks the server's certificate.
async fn with_python(data: &DataDir, host: &Host, path: &str, given: &Value) {
    let python = installed_python();
    if !python.exists() {
        return not_tried("there is no PyMySQL; scripts/install-sdks.sh says why");
    }
    let (status, file) = rdb(host, "GET", &format!("{path}/certificate"), &Value::Null).await;
    assert_eq!(status, 200, "{file}");
    let authority = data.path().join("authority.pem");
    let content = STANDARD.decode(file["content"].as_str().unwrap()).unwrap();
    fs::write(&authority, content).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks/with_pymysql.py");
    let mut child = Command::new(python)
        .arg(script)
        .env("HOST", given["host"].as_str().unwrap())
        .env("PORT", given["port"].to_string())
        .env("LOGIN", given["username"].as_str().unwrap())
        .env("DATABASE", given["database"].as_str().unwrap())
        .env("AUTHORITY", &authority)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let password = given["password"].as_str().unwrap();
    input.write_all(password.as_bytes()).await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
}

fn installed_python() -> PathBuf {
    let target = berth_binary();
    let target = target.parent().and_then(Path::parent);
    target
        .expect("target/PROFILE/berth")
        .join("sdks/python/bin/python")
}

/// In no argument list, and not in what servers and host log.
fn nothing_secret_is_shown(data: &DataDir, given: &Value) {
    let password = given["password"].as_str().unwrap();
    for process in data.processes() {
        let shown = process
            .args
            .iter()
            .any(|argument| argument.contains(password));
        assert!(!shown, "{:?}", process.args);
    }
    let mut logs = vec![data.path().join("host.log")];
    for dir in data.instance_dirs() {
        let members = fs::read_dir(dir).unwrap().flatten();
        logs.extend(members.map(|member| member.path().join(".berth/log")));
    }
    for log in logs {
        let text = fs::read(&log).unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&text).contains(password),
            "{log:?}"
        );
    }
}

async fn running(host: &Host, name: &str) -> String {
    let mut wanted = body(name);
    wanted["db_type"] = "mysql".into();
    wanted["version"] = mysql::version().into();
    wanted["region"] = "fr-par".into();
    let created = host.post("/api/v1/databases", &wanted).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    host.wait_status(&id, "running").await;
    id
}

async fn path(host: &Host, name: &str) -> String {
    let uuid = uuid(host, name).await;
    format!("/rdb/v1/regions/fr-par/instances/{uuid}")
}

async fn ready(host: &Host, path: &str) -> Value {
    wait_for("it to be ready", async || {
        let (_, shown) = rdb(host, "GET", path, &Value::Null).await;
        (shown["status"] == "ready").then_some(shown)
    })
    .await
}

/// As the first dialect shows credentials.
fn login(shown: &Value, user: &str, database: &str) -> Value {
    let endpoint = &shown["endpoints"][0];
    json!({
        "host": endpoint["ip"], "port": endpoint["port"], "username": user, "password": PASSWORD,
        "database": database,
    })
}
