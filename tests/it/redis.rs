//! Redis and Valkey through the API, by clients from outside over TLS: create, use, change, survive, delete.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use berth_tests::real::{DataDir, Host};
use berth_tests::{not_tried, servers, wait_for};
use serde_json::{Value, json};

use crate::access::{rdb, running, uuid};
use crate::kill::{self, Ledger};
use crate::lifecycle::{body, credentials, destroy};
use crate::rdb::installed;

const PASSWORD: &str = "Correct-horse-7!";

/// A user at an endpoint, with what vouches for it.
pub struct Client {
    pub uri: String,
    /// None trusts everybody.
    pub ca: Option<PathBuf>,
}

#[tokio::test]
async fn a_redis_is_created_used_changed_and_destroyed() {
    let Some(_) = cli() else {
        return not_tried("there is no Redis; scripts/install-servers.sh --all says why");
    };
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(
        &host,
        "cache-redis",
        json!({"db_type": "redis", "version": "7.2"}),
    )
    .await;
    let given = credentials(&host, &id).await;
    let mut fields: Vec<_> = given.as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["connection_string", "host", "password", "port"]);

    let path = format!(
        "/rdb/v1/regions/fr-par/instances/{}",
        uuid(&host, "cache-redis").await
    );
    let client = client(&host, &data, &path, &given).await;
    assert_eq!(client.ask(&["PING"]).unwrap(), "PONG");
    assert_eq!(client.ask(&["SET", "v", "42"]).unwrap(), "OK");
    assert_eq!(client.ask(&["GET", "v"]).unwrap(), "42");
    assert!(
        client
            .ask(&["INFO", "server"])
            .unwrap()
            .contains("redis_version:7.2.")
    );
    let plain = client.with("rediss://", "redis://");
    plain.ask(&["PING"]).unwrap_err();
    let wrong = client.with(given["password"].as_str().unwrap(), "wrong");
    assert!(wrong.ask(&["PING"]).unwrap_err().contains("WRONGPASS"));
    python(&client).await;

    users(&host, &path, &client).await;
    settings(&host, &path, &client).await;
    rotation(&host, &id, &client).await;
    killed(&host, &data, &id, &client).await;

    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_valkey_is_one_that_is_made_by_the_other_dialect() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let wanted = json!({
        "name": "of-rdb", "engine": "Redis-valkey-8", "node_type": "db-s-1vcpu-1gb", "is_ha_cluster": false,
        "disable_backup": true, "user_name": "owner", "password": PASSWORD, "volume_size": 10_000_000_000_u64,
        "init_settings": [{"name": "databases", "value": "4"}],
    });
    let (status, made) = rdb(&host, "POST", "/rdb/v1/regions/fr-par/instances", &wanted).await;
    if made.to_string().contains("install-servers") {
        return not_tried(&format!("{made}"));
    }
    assert_eq!(status, 200, "{made}");
    let path = format!(
        "/rdb/v1/regions/fr-par/instances/{}",
        made["id"].as_str().unwrap()
    );
    wait_for("it to be ready", async || {
        let (_, shown) = rdb(&host, "GET", &path, &Value::Null).await;
        assert_ne!(shown["status"], "error", "{shown}");
        (shown["status"] == "ready").then_some(())
    })
    .await;
    let all = host.get("/api/v1/databases").await.expect(200);
    assert_eq!(all[0]["db_type"], "redis");
    assert_eq!(all[0]["version"], "valkey-8");
    let id = all[0]["id"].as_str().unwrap().to_owned();
    let given = credentials(&host, &id).await;
    assert_eq!(given["username"], "owner");
    assert_eq!(given["password"], PASSWORD);
    let client = client(&host, &data, &path, &given).await;
    assert_eq!(client.ask(&["ACL", "WHOAMI"]).unwrap(), "owner");
    assert!(
        client
            .ask(&["INFO", "server"])
            .unwrap()
            .contains("valkey_version:8.")
    );
    assert!(
        client
            .ask(&["SELECT", "4"])
            .unwrap_err()
            .contains("out of range")
    );
    let (_, listed) = rdb(&host, "GET", &format!("{path}/users"), &Value::Null).await;
    assert_eq!(
        listed["users"],
        json!([{"name": "owner", "is_admin": true}]),
        "{listed}"
    );
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_leave_nothing() {
    if cli().is_none() {
        return not_tried("there is no Redis; scripts/install-servers.sh --all says why");
    }
    kill::rounds(&Ledger {
        body: |name| {
            let mut wanted = body(name);
            wanted["db_type"] = "redis".into();
            wanted
        },
        is_served: |credentials| Client::unsure(credentials).ask(&["PING"]).is_ok(),
        write: |credentials| {
            let written = Client::unsure(credentials).ask(&["SET", "ledger", "7"]);
            assert_eq!(written.unwrap(), "OK");
        },
        read: |credentials| Client::unsure(credentials).ask(&["GET", "ledger"]).unwrap(),
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
    let as_ann = Client {
        uri: format!(
            "rediss://ann:{}@{}",
            "Correct-horse-7%21",
            client.uri.split_once('@').unwrap().1
        ),
        ca: client.ca.clone(),
    };
    let refused = |answer: Result<String, String>| {
        let why = answer.unwrap_err();
        assert!(why.contains("NOPERM"), "{why}");
    };
    refused(as_ann.ask(&["GET", "v"]));
    let privilege = |permission: &str| json!({"database_name": "keyspace", "user_name": "ann", "permission": permission});
    ask("PUT", "privileges", privilege("readonly"), 200).await;
    assert_eq!(as_ann.ask(&["GET", "v"]).unwrap(), "42");
    refused(as_ann.ask(&["SET", "v", "43"]));
    ask("PUT", "privileges", privilege("readwrite"), 200).await;
    assert_eq!(as_ann.ask(&["SET", "w", "43"]).unwrap(), "OK");
    refused(as_ann.ask(&["FLUSHALL"]));
    let listed = ask("GET", "privileges?user_name=ann", Value::Null, 200).await;
    assert_eq!(
        listed["privileges"],
        json!([privilege("readwrite")]),
        "{listed}"
    );

    // What is not Redis's is said clearly.
    let shop = ask("POST", "databases", json!({"name": "shop"}), 412).await;
    assert!(shop.to_string().contains("no logical databases"), "{shop}");
    let listed = ask("GET", "databases", Value::Null, 200).await;
    assert_eq!(listed["databases"][0]["name"], "keyspace", "{listed}");
    ask("DELETE", "databases/keyspace", Value::Null, 412).await;

    ask("PATCH", "users/ann", json!({"is_admin": true}), 200).await;
    assert!(as_ann.ask(&["CLIENT", "LIST"]).is_ok());
    ask("DELETE", "users/ann", Value::Null, 204).await;
    assert!(as_ann.ask(&["PING"]).unwrap_err().contains("WRONGPASS"));
}

async fn settings(host: &Host, path: &str, client: &Client) {
    let show = |name: &str| client.ask(&["CONFIG", "GET", name]).unwrap();
    let began = client.ask(&["INFO", "server"]).unwrap();
    let run = |info: &str| {
        info.lines()
            .find(|l| l.starts_with("run_id"))
            .unwrap()
            .to_owned()
    };
    let wanted = json!({"settings": [{"name": "maxmemory-policy", "value": "allkeys-lru"},
        {"name": "appendfsync", "value": "always"}]});
    set(host, path, &wanted).await;
    let shown = show("maxmemory-policy");
    assert!(shown.ends_with("allkeys-lru"), "{shown}");
    assert!(show("appendfsync").ends_with("always"));
    let now = client.ask(&["INFO", "server"]).unwrap();
    assert_eq!(run(&now), run(&began), "it was not restarted");
    set(
        host,
        path,
        &json!({"settings": [{"name": "io-threads", "value": "2"}]}),
    )
    .await;
    wait_for("it to be restarted", async || {
        client.ask(&["PING"]).is_ok().then_some(())
    })
    .await;
    assert!(show("io-threads").ends_with('2'));
    assert_eq!(client.ask(&["GET", "v"]).unwrap(), "42");
    let bad = json!({"settings": [{"name": "maxmemory-policy", "value": "whatever"}]});
    let (status, why) = rdb(host, "PUT", &format!("{path}/settings"), &bad).await;
    assert_eq!(status, 400, "{why}");
}

pub async fn set(host: &Host, path: &str, wanted: &Value) {
    let (status, said) = rdb(host, "PUT", &format!("{path}/settings"), wanted).await;
    assert_eq!(status, 200, "{said}");
    wait_for("the settings to be taken", async || {
        let (_, shown) = rdb(host, "GET", path, &Value::Null).await;
        (shown["status"] == "ready").then_some(())
    })
    .await;
    let all = host.get("/admin/v1/operations").await.expect(200);
    assert_eq!(all["operations"][0]["kind"], "configure", "{all}");
    assert_eq!(all["operations"][0]["status"], "succeeded", "{all}");
}

/// A new password lets in, and the one before does not.
async fn rotation(host: &Host, id: &str, client: &Client) {
    let rotate = format!("/api/v1/databases/{id}/credentials/rotate");
    let given = host.post(&rotate, &Value::Null).await.expect(200);
    assert!(client.ask(&["PING"]).unwrap_err().contains("WRONGPASS"));
    assert_eq!(client.by(&given).ask(&["GET", "v"]).unwrap(), "42");
}

/// Nothing that was acknowledged is lost when every server is killed.
async fn killed(host: &Host, data: &DataDir, id: &str, client: &Client) {
    let given = credentials(host, id).await;
    let client = client.by(&given);
    for n in 0..100 {
        client.ask(&["RPUSH", "ledger", &n.to_string()]).unwrap();
    }
    for process in data.processes() {
        if process.args[0].contains("redis-server") {
            process.kill9();
        }
    }
    let length = wait_for("the server to be back", async || {
        client.ask(&["LLEN", "ledger"]).ok()
    });
    assert_eq!(length.await, "100");
}

pub async fn client(host: &Host, data: &DataDir, path: &str, given: &Value) -> Client {
    let (status, shown) = rdb(host, "GET", &format!("{path}/certificate"), &Value::Null).await;
    assert_eq!(status, 200, "{shown}");
    let pem = BASE64_STANDARD
        .decode(shown["content"].as_str().unwrap())
        .unwrap();
    let ca = data.path().join("ca.pem");
    fs::write(&ca, pem).unwrap();
    Client::of(given, &ca)
}

impl Client {
    fn of(given: &Value, ca: &Path) -> Self {
        Self {
            uri: given["connection_string"].as_str().unwrap().to_owned(),
            ca: Some(ca.to_owned()),
        }
    }

    pub fn unsure(given: &Value) -> Self {
        Self {
            ca: None,
            ..Self::of(given, Path::new(""))
        }
    }

    /// With other credentials.
    pub fn by(&self, given: &Value) -> Self {
        Self {
            ca: self.ca.clone(),
            ..Self::unsure(given)
        }
    }

    pub fn with(&self, from: &str, to: &str) -> Self {
        Self {
            uri: self.uri.replace(from, to),
            ca: self.ca.clone(),
        }
    }

    /// What the server's own client says; its status is that of the command.
    pub fn ask(&self, command: &[&str]) -> Result<String, String> {
        self.ask_by(&[], command)
    }

    /// The same with more options.
    pub fn ask_by(&self, options: &[&str], command: &[&str]) -> Result<String, String> {
        let output = Command::new(cli().expect("redis-cli"))
            .args(["-u", &self.uri, "-e", "--no-auth-warning"])
            .args(match &self.ca {
                Some(ca) => vec!["--cacert".as_ref(), ca.as_os_str()],
                None => vec!["--insecure".as_ref()],
            })
            .args(options)
            .args(command)
            .output()
            .expect("redis-cli runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (said, complaints) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() && complaints.is_empty() {
            return Ok(said);
        }
        Err(format!("{said}\n{complaints}"))
    }
}

/// And what applications use.
async fn python(client: &Client) {
    let python = installed("python/bin/python");
    if !python.exists() {
        return not_tried("there is no client for Python; scripts/install-sdks.sh says why");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("sdks/redis_client.py");
    let output = tokio::process::Command::new(python)
        .arg(script)
        .env("REDIS_URI", &client.uri)
        .env("REDIS_CA", client.ca.as_ref().unwrap())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
}

/// The client of the newest that is installed.
pub fn cli() -> Option<PathBuf> {
    let mut versions = ["7.2", "7.0"].iter();
    versions.find_map(|version| servers::installed(&format!("redis/{version}/usr/bin/redis-cli")))
}
