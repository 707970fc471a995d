//! An engine with a real server, through the API and by a client from outside.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use berth_tests::not_tried;
use berth_tests::real::{DataDir, Host};
use berth_tests::wait_for;
use serde_json::{Value, json};

use super::again::bootstrap_twice;
use super::client::Client;
use super::{Suite, suites};
use crate::access::{rdb, running, uuid};
use crate::lifecycle::{credentials, destroy};

/// Of every user that is made.
pub const PASSWORD: &str = "Correct-horse-7!";

/// An instance of the engine, below `/rdb/v1`.
struct Tried<'a> {
    host: &'a Host,
    path: String,
    suite: &'a Suite,
    /// The first user.
    first: Client,
}

#[tokio::test]
async fn users_may_what_their_privileges_say_and_nothing_is_left() {
    for suite in suites() {
        if suite.client.program().is_none() {
            let programs = suite.client.programs.join(", ");
            not_tried(&format!("{}: there is no {programs}", suite.engine));
            continue;
        }
        println!("{} {}", suite.engine, suite.version);
        let data = DataDir::new();
        let host = Host::start(&data).await;
        let more = json!({"db_type": suite.engine, "version": suite.version});
        let id = running(&host, "conformance", more).await;
        let host = bootstrapped_again(host, &data, &id).await;
        let tried = Tried::of(&host, &data, &suite, &id).await;
        tried.first.may(true, &suite.commands.connect);
        tried.wrong_values_are_refused().await;
        let database = tried.databases().await;
        tried.privileges(&database).await;
        tried.settings().await;
        tried.leave_something(&database).await;
        let now = tried.rotation_and_restart(&id).await;
        let host = bootstrapped_again(host, &data, &id).await;
        now.may(true, &suite.commands.connect);
        now.sees(&suite.setting);
        destroy(&host, &id).await;
        data.nothing_but_the_host().await;
    }
}

/// By another process while the host is away: its databases go on, and it finds them as it left them.
async fn bootstrapped_again(mut host: Host, data: &DataDir, id: &str) -> Host {
    let uuid = uuid(&host, "conformance").await;
    let before = seen(&host, &uuid).await;
    host.kill9();
    let kept = bootstrap_twice(data, &uuid).await;
    let host = Host::start(data).await;
    host.wait_status(id, "running").await;
    assert_eq!(seen(&host, &uuid).await, before);
    kept.stands_nowhere(data);
    host
}

/// All that callers see of what is in an instance, but for sizes, which change by themselves.
async fn seen(host: &Host, uuid: &str) -> Value {
    let path = format!("/rdb/v1/regions/fr-par/instances/{uuid}");
    let mut all = json!({});
    for what in ["users", "databases", "privileges"] {
        let (status, mut found) = rdb(host, "GET", &format!("{path}/{what}"), &Value::Null).await;
        assert_eq!(status, 200, "{what}: {found}");
        for item in found[what].as_array_mut().unwrap() {
            item.as_object_mut().unwrap().remove("size");
        }
        assert_eq!(found["total_count"], found[what].as_array().unwrap().len());
        all[what] = found[what].take();
    }
    let (_, shown) = rdb(host, "GET", &path, &Value::Null).await;
    for what in ["settings", "init_settings"] {
        assert!(shown[what].is_array(), "{shown}");
        all[what] = shown[what].clone();
    }
    all
}

impl<'a> Tried<'a> {
    async fn of(host: &'a Host, data: &DataDir, suite: &'a Suite, id: &str) -> Self {
        let uuid = uuid(host, "conformance").await;
        let path = format!("/rdb/v1/regions/fr-par/instances/{uuid}");
        let given = credentials(host, id).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (_, users) = rdb(host, "GET", &format!("{path}/users"), &Value::Null).await;
        assert_eq!(users["total_count"], 1, "{users}");
        let (_, shown) = rdb(host, "GET", &format!("{path}/certificate"), &Value::Null).await;
        let ca = data.path().join("ca.pem");
        let pem = BASE64_STANDARD.decode(text(&shown["content"])).unwrap();
        fs::write(&ca, pem).unwrap();
        let first = Client {
            words: suite.client.clone(),
            host: text(&given["host"]),
            port: given["port"].to_string(),
            user: text(&users["users"][0]["name"]),
            password: text(&given["password"]),
            database: text(&given["database"]),
            ca,
        };
        Self {
            host,
            path,
            suite,
            first,
        }
    }

    async fn ask(&self, method: &str, what: &str, body: Value, status: u16) -> Value {
        let (answered, said) =
            rdb(self.host, method, &format!("{}/{what}", self.path), &body).await;
        assert_eq!(answered, status, "{method} {what} {body}: {said}");
        said
    }

    async fn wrong_values_are_refused(&self) {
        let user = |name: &str, password: &str| json!({"name": name, "password": password});
        for (name, password) in [("", PASSWORD), ("a b", PASSWORD), ("fine", "short")] {
            self.ask("POST", "users", user(name, password), 400).await;
        }
        let long = "a".repeat(200);
        self.ask("POST", "users", user(&long, PASSWORD), 400).await;
        let unknown = json!({"settings": [{"name": "no_such_setting", "value": "1"}]});
        self.ask("PUT", "settings", unknown, 400).await;
    }

    /// One to try privileges in, which the suite made where that can be.
    async fn databases(&self) -> String {
        let wanted = json!({"name": "conform"});
        if !self.suite.rules.logical_databases {
            self.ask("POST", "databases", wanted, 412).await;
            let listed = self.ask("GET", "databases", Value::Null, 200).await;
            assert_eq!(listed["total_count"], 1, "{listed}");
            return listed["databases"][0]["name"].as_str().unwrap().to_owned();
        }
        let made = self.ask("POST", "databases", wanted.clone(), 200).await;
        assert_eq!(made["managed"], true, "{made}");
        self.ask("POST", "databases", wanted, 409).await;
        "conform".to_owned()
    }

    async fn privileges(&self, database: &str) {
        let commands = &self.suite.commands;
        let user = json!({"name": "conny", "password": PASSWORD, "is_admin": false});
        self.ask("POST", "users", user.clone(), 200).await;
        self.ask("POST", "users", user, 409).await;
        let admin = Client {
            database: database.to_owned(),
            ..self.first.clone()
        };
        admin.may(true, &commands.prepare);
        let mut conny = Client {
            user: "conny".to_owned(),
            password: PASSWORD.to_owned(),
            ..admin.clone()
        };
        let connects = self.suite.rules.connects_without_privilege;
        if !connects {
            conny.may(false, &commands.connect);
        }
        let ranks = ["none", "readonly", "readwrite", "all"];
        for permission in [
            "readonly",
            "readwrite",
            "all",
            "readwrite",
            "readonly",
            "none",
            "all",
        ] {
            let rank = ranks.iter().position(|r| *r == permission).unwrap();
            let wanted = json!({
                "database_name": database, "user_name": "conny", "permission": permission
            });
            // Said again, it is the same.
            for _ in 0..2 {
                let set = self.ask("PUT", "privileges", wanted.clone(), 200).await;
                assert_eq!(set, wanted);
            }
            let query = format!("privileges?user_name=conny&database_name={database}");
            let listed = self.ask("GET", &query, Value::Null, 200).await;
            assert_eq!(listed["privileges"], json!([wanted]));
            conny.may(rank >= 1, &commands.read);
            conny.may(rank >= 2, &commands.write);
            conny.may(rank >= 3, &commands.ddl);
            assert_eq!(admin.ask(&commands.read).as_deref(), Ok(&*commands.reads));
        }
        // A password that is no more, an admin, and nobody.
        let before = conny.clone();
        conny.password = "Another-horse-8!".to_owned();
        let change = json!({"password": conny.password});
        self.ask("PATCH", "users/conny", change, 200).await;
        conny.may(true, &commands.read);
        before.may(false, &commands.read);
        for is_admin in [true, false] {
            let change = json!({"is_admin": is_admin});
            for _ in 0..2 {
                let changed = self.ask("PATCH", "users/conny", change.clone(), 200).await;
                assert_eq!(changed["is_admin"], is_admin, "{changed}");
            }
        }
        self.ask("DELETE", "users/conny", Value::Null, 204).await;
        self.ask("DELETE", "users/conny", Value::Null, 404).await;
        conny.may(false, &commands.read);
        if self.suite.rules.logical_databases {
            let what = format!("databases/{database}");
            self.ask("DELETE", &what, Value::Null, 204).await;
            self.ask("DELETE", &what, Value::Null, 404).await;
        }
    }

    /// Each that is as it is by default is set to just that: the server takes all that is described.
    async fn settings(&self) {
        let name = format!("?version={}", self.suite.version);
        let engines = format!("/rdb/v1/regions/fr-par/database-engines{name}");
        let (_, listed) = rdb(self.host, "GET", &engines, &Value::Null).await;
        let mut versions = listed["engines"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|engine| engine["versions"].as_array().unwrap().iter());
        let version = versions.find(|v| v["version"] == self.suite.version.as_str());
        let offered = version.unwrap()["available_settings"].as_array().unwrap();
        let live = offered.iter().filter(|s| s["hot_configurable"] == true);
        let chosen: Vec<Value> = live
            .map(|s| json!({"name": s["name"], "value": s["default_value"]}))
            .collect();
        assert!(!chosen.is_empty(), "{listed}");
        for _ in 0..2 {
            self.set(json!({"settings": chosen})).await;
        }
        self.first.may(true, &self.suite.commands.connect);
    }

    async fn set(&self, settings: Value) {
        self.ask("PUT", "settings", settings, 200).await;
        wait_for("the settings to be taken", async || {
            let (_, shown) = rdb(self.host, "GET", &self.path, &Value::Null).await;
            (shown["status"] == "ready").then_some(())
        })
        .await;
        let all = self.host.get("/admin/v1/operations").await.expect(200);
        assert_eq!(all["operations"][0]["status"], "succeeded", "{all}");
    }

    /// For a bootstrap to undo, if it were one that does.
    async fn leave_something(&self, database: &str) {
        if self.suite.rules.logical_databases {
            let wanted = json!({"name": database});
            self.ask("POST", "databases", wanted, 200).await;
        }
        for (name, is_admin) in [("left", false), ("ruler", true)] {
            let user = json!({"name": name, "password": PASSWORD, "is_admin": is_admin});
            self.ask("POST", "users", user, 200).await;
        }
        let wanted =
            json!({"database_name": database, "user_name": "left", "permission": "readonly"});
        self.ask("PUT", "privileges", wanted, 200).await;
        let setting = &self.suite.setting;
        let wanted = json!({"settings": [{"name": setting.name, "value": setting.value}]});
        self.set(wanted).await;
        self.first.sees(setting);
    }

    /// Answers the first user, as it logs in now.
    async fn rotation_and_restart(&self, id: &str) -> Client {
        let path = format!("/api/v1/databases/{id}");
        let rotate = format!("{path}/credentials/rotate");
        let given = self.host.post(&rotate, &Value::Null).await.expect(200);
        let now = Client {
            password: given["password"].as_str().unwrap().to_owned(),
            ..self.first.clone()
        };
        now.may(true, &self.suite.commands.connect);
        self.first.may(false, &self.suite.commands.connect);
        let restart = format!("{path}/restart");
        self.host.post(&restart, &Value::Null).await.expect(202);
        self.host.wait_status(id, "running").await;
        wait_for("the credentials to be given", async || {
            let answer = self.host.get(&format!("{path}/credentials")).await;
            (answer.status == 200).then_some(())
        })
        .await;
        now.may(true, &self.suite.commands.connect);
        now
    }
}
