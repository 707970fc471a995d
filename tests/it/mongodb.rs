//! MongoDB through the real binary, with the engine as the component that it is: made, used by a client from outside, changed
//! by the second dialect, killed, and removed without a trace. The server is a stand-in, unless `BERTH_TEST_MONGOD` names a
//! real one.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_tests::real::{DataDir, Host};
use berth_tests::stand_ins::{self, libraries, pymongo};
use berth_tests::{not_tried, wait_for};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::access::{rdb, running, uuid};
use crate::kill::{self, Ledger};
use crate::lifecycle::{body, credentials, destroy};

const PASSWORD: &str = "Correct-horse-7!";
const PASSED_OVER: &str =
    "there is neither a mongod nor its stand-in; scripts/install-servers.sh secantusdb says why";

/// A database at an endpoint, and what vouches for it.
struct Client {
    uri: String,
    ca: String,
}

#[tokio::test]
async fn a_mongodb_is_created_used_changed_and_destroyed() {
    if stand_ins::mongod().is_none() {
        return not_tried(PASSED_OVER);
    }
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(
        &host,
        "main-mongo",
        json!({"db_type": "mongodb", "version": stand_ins::version()}),
    )
    .await;
    let given = credentials(&host, &id).await;
    assert_eq!(given["username"], "app_user");
    assert_eq!(given["database"], "main_mongo");
    let all = "/rdb/v1/regions/fr-par/instances";
    let path = format!("{all}/{}", uuid(&host, "main-mongo").await);
    let client = Client::of(&host, &data, &path, &given).await;
    let made = "db.t.insert_one({'_id': 42}).acknowledged and db.t.find_one()['_id']";
    assert_eq!(client.ask(made).unwrap(), "42");
    let hello = "client.admin.command('hello')['setName']";
    assert_eq!(client.ask(hello).unwrap(), "rs0");
    let plain = client.with("tls=true", "tls=false");
    assert!(plain.ask("db.command('ping')").is_err());
    let wrong = client.with(given["password"].as_str().unwrap(), "wrong");
    let refused = wrong.ask("db.command('ping')").unwrap_err();
    assert!(refused.contains("AuthenticationFailed"), "{refused}");

    let mut load = client.load();
    users(&host, &path, &client).await;
    settings(&host, &path, &client).await;
    drop(load.stdin.take());
    let output = load.wait_with_output().await.unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{}", said(&output.stderr));
    let rounds: u64 = said(&output.stdout).parse().unwrap();
    println!("{rounds} writes and reads meanwhile");
    assert!(rounds > 100, "{rounds}");

    rotation(&host, &id, &client).await;
    killed(&host, &data, &id, &client).await;
    nothing_secret_is_shown(&data, &given);
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_leave_nothing() {
    if stand_ins::mongod().is_none() {
        return not_tried(PASSED_OVER);
    }
    kill::rounds(&Ledger {
        body: |name| {
            let mut wanted = body(name);
            wanted["db_type"] = "mongodb".into();
            wanted["version"] = stand_ins::version().into();
            wanted
        },
        is_served: |credentials| unsure(credentials, "db.command('ping')").is_ok(),
        write: |credentials| {
            let written = unsure(credentials, "db.ledger.insert_one({'_id': 7}).acknowledged");
            assert_eq!(written.unwrap(), "True");
        },
        read: |credentials| unsure(credentials, "db.ledger.find_one()['_id']").unwrap(),
    })
    .await;
}

async fn users(host: &Host, path: &str, client: &Client) {
    let ask = async |method: &str, what: &str, body: Value, status: u16| {
        let answer = rdb(host, method, &format!("{path}/{what}"), &body).await;
        assert_eq!(answer.0, status, "{method} {what}: {}", answer.1);
        answer.1
    };
    let ann = json!({"name": "ann", "password": PASSWORD, "is_admin": false});
    ask("POST", "users", ann.clone(), 200).await;
    ask("POST", "users", ann, 409).await;
    let made = ask("POST", "databases", json!({"name": "shop"}), 200).await;
    assert_eq!(made["managed"], true, "{made}");
    ask("POST", "databases", json!({"name": "admin"}), 400).await;
    let listed = ask("GET", "databases", Value::Null, 200).await;
    assert_eq!(listed["total_count"], 2, "{listed}");
    let as_ann = Client {
        uri: format!(
            "mongodb://ann:Correct-horse-7%21@{}",
            client.uri.split_once('@').unwrap().1
        ),
        ca: client.ca.clone(),
    };
    let as_ann = as_ann.with("/main_mongo?", "/shop?");
    let refused = |answer: Result<String, String>| {
        let why = answer.unwrap_err();
        assert!(why.contains("Unauthorized"), "{why}");
    };
    let write = "db.things.insert_one({}).acknowledged";
    let privilege = |permission: &str| json!({"database_name": "shop", "user_name": "ann", "permission": permission});
    refused(as_ann.ask("db.things.find_one()"));
    ask("PUT", "privileges", privilege("readonly"), 200).await;
    assert_eq!(as_ann.ask("db.things.find_one()").unwrap(), "None");
    refused(as_ann.ask(write));
    ask("PUT", "privileges", privilege("readwrite"), 200).await;
    assert_eq!(as_ann.ask(write).unwrap(), "True");
    refused(as_ann.ask("client.main_mongo.t.find_one()"));
    let listed = ask(
        "GET",
        "privileges?user_name=ann&database_name=shop",
        Value::Null,
        200,
    )
    .await;
    assert_eq!(
        listed["privileges"],
        json!([privilege("readwrite")]),
        "{listed}"
    );
    ask("PATCH", "users/ann", json!({"is_admin": true}), 200).await;
    assert!(as_ann.ask("client.main_mongo.t.find_one()").is_ok());
    ask("DELETE", "users/ann", Value::Null, 204).await;
    let why = as_ann.ask("db.things.find_one()").unwrap_err();
    assert!(why.contains("AuthenticationFailed"), "{why}");
    ask("DELETE", "databases/shop", Value::Null, 204).await;
    ask("DELETE", "databases/shop", Value::Null, 404).await;
}

/// Only what takes effect without a restart: the load goes on.
async fn settings(host: &Host, path: &str, client: &Client) {
    let show = "client.admin.command('getParameter', '*')['cursorTimeoutMillis']";
    for value in ["5000", "7000"] {
        let wanted = json!({"settings": [{"name": "cursorTimeoutMillis", "value": value}]});
        let (status, said) = rdb(host, "PUT", &format!("{path}/settings"), &wanted).await;
        assert_eq!(status, 200, "{said}");
        wait_for("the setting to be taken", async || {
            let (_, shown) = rdb(host, "GET", path, &Value::Null).await;
            (shown["status"] == "ready").then_some(())
        })
        .await;
        assert_eq!(client.ask(show).unwrap(), value);
    }
    let bad = json!({"settings": [{"name": "cursorTimeoutMillis", "value": "soon"}]});
    let (status, why) = rdb(host, "PUT", &format!("{path}/settings"), &bad).await;
    assert_eq!(status, 400, "{why}");
}

/// A new password lets in, and the one before does not.
async fn rotation(host: &Host, id: &str, client: &Client) {
    let rotate = format!("/api/v1/databases/{id}/credentials/rotate");
    let given = host.post(&rotate, &Value::Null).await.expect(200);
    let refused = client.ask("db.command('ping')").unwrap_err();
    assert!(refused.contains("AuthenticationFailed"), "{refused}");
    assert_eq!(
        client.by(&given).ask("db.t.find_one()['_id']").unwrap(),
        "42"
    );
}

/// What was acknowledged outlives a server that is killed.
async fn killed(host: &Host, data: &DataDir, id: &str, client: &Client) {
    let client = client.by(&credentials(host, id).await);
    let written = "len(db.kept.insert_many([{'_id': n} for n in range(100)]).inserted_ids)";
    assert_eq!(client.ask(written).unwrap(), "100");
    let servers: Vec<_> = data.processes();
    let is_server = |args: &[String]| args.iter().any(|arg| arg == "--unixSocketPrefix");
    let mut servers = servers
        .iter()
        .filter(|process| is_server(&process.args) && !process.is_shim());
    servers.next().expect("the server").kill9();
    let count = wait_for("the server to be back", async || {
        client.ask("db.kept.count_documents({})").ok()
    });
    assert_eq!(count.await, "100");
}

fn nothing_secret_is_shown(data: &DataDir, given: &Value) {
    let password = given["password"].as_str().unwrap();
    for process in data.processes() {
        assert!(!process.args.join(" ").contains(password));
    }
    let log = fs::read_to_string(data.path().join("host.log")).unwrap();
    assert!(!log.contains(password) && !log.contains(PASSWORD));
}

fn unsure(credentials: &Value, expression: &str) -> Result<String, String> {
    let uri = credentials["connection_string"].as_str().unwrap();
    pymongo(uri, None, expression)
}

impl Client {
    async fn of(host: &Host, data: &DataDir, path: &str, given: &Value) -> Self {
        let (status, shown) = rdb(host, "GET", &format!("{path}/certificate"), &Value::Null).await;
        assert_eq!(status, 200, "{shown}");
        let ca = data.path().join("ca.pem");
        let content = STANDARD.decode(shown["content"].as_str().unwrap());
        fs::write(&ca, content.unwrap()).unwrap();
        Self {
            uri: given["connection_string"].as_str().unwrap().to_owned(),
            ca: ca.to_string_lossy().into_owned(),
        }
    }

    fn ask(&self, expression: &str) -> Result<String, String> {
        pymongo(&self.uri, Some(&self.ca), expression)
    }

    fn with(&self, from: &str, to: &str) -> Self {
        Self {
            uri: self.uri.replace(from, to),
            ca: self.ca.clone(),
        }
    }

    /// With other credentials.
    fn by(&self, given: &Value) -> Self {
        Self {
            uri: given["connection_string"].as_str().unwrap().to_owned(),
            ca: self.ca.clone(),
        }
    }

    /// Somebody who does not cease to write and read until its input is closed.
    fn load(&self) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks/with_pymongo.py");
        Command::new("/usr/bin/python3")
            .arg(script)
            .env("PYTHONPATH", libraries())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("MONGO_URI", &self.uri)
            .env("MONGO_CA", &self.ca)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }
}
