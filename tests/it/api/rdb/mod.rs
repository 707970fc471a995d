//! The dialect below `/rdb/v1`, in process: every route and refusal, lists against a naive model, and two callers who
//! want the same. That real clients can use it is shown with them (`tests/it/rdb`).

mod catalogue;
mod instances;
mod lists;
mod races;
mod refusals;
mod routes;
mod users;

use axum::http::Method;
use berth_tests::wait_for;
use serde_json::{Value, json};

use super::harness::{Answer, Berth};

pub const REGION: &str = "/rdb/v1/regions/fr-par";
pub const FIRST: &str = "11111111-1111-4111-8111-111111111111";
pub const SECOND: &str = "22222222-2222-4222-8222-222222222222";
pub const ORGANIZATION: &str = "99999999-9999-4999-8999-999999999999";
pub const NOBODY: &str = "018f0000-0000-4000-8000-000000000000";

const CONFIG: &str = r#"
default_project = "proj_first"
[server]
body_limit_bytes = 4096
[supervisor]
period = "50ms"
[callers]
requests_per_second = 100000
burst = 100000
strangers_per_second = 100000
strangers_burst = 100000
[storage]
default_gb = 10
min_gb = 5
max_gb = 10000
[regions.fr-par]
target = "fake-machine"
[regions.nl-ams]
target = "fake-machine"
[regions.here]
target = "fake-machine"
[plans.small]
cpu_millis = 1000
memory_mib = 1024
[node_types]
node = { vcpus = 2, memory_gb = 2, local_gb = 5, generation = "v1", range = "Cost Optimized" }
block = { vcpus = 1, memory_gb = 2, generation = "v2", range = "Cost Optimized", beta = true, stock = "low_stock" }
old = { vcpus = 1, memory_gb = 2, local_gb = 5, generation = "v1", range = "", disabled = true }
rare = { vcpus = 1, memory_gb = 2, local_gb = 5, generation = "v3", range = "", stock = "out_of_stock" }
[storage.classes.bssd]
dir = "bssd"
[projects.proj_first]
id = "11111111-1111-4111-8111-111111111111"
organization = "99999999-9999-4999-8999-999999999999"
[projects.proj_second]
id = "22222222-2222-4222-8222-222222222222"
organization = "99999999-9999-4999-8999-999999999999"
max_instances = 2
max_storage_gb = 12
"#;

pub async fn start() -> Berth {
    Berth::start_on(CONFIG).await
}

/// A request that can be carried out.
pub fn wanted(name: &str) -> Value {
    json!({
        "name": name, "engine": "Fake-3", "user_name": "somebody", "password": "S3cret!pw",
        "node_type": "node", "is_ha_cluster": false, "disable_backup": false, "volume_size": 0,
        "backup_same_region": false,
    })
}

/// With a key, as the dialect's clients send it.
pub async fn ask(berth: &Berth, key: &str, method: &str, path: &str, body: &Value) -> Answer {
    let method: Method = method.to_uppercase().parse().unwrap();
    let ask = berth.ask(method, &format!("{REGION}{path}"));
    let ask = ask.header("x-auth-token", key);
    if body.is_null() { ask } else { ask.json(body) }
        .send()
        .await
}

pub async fn get(berth: &Berth, path: &str) -> Answer {
    ask(berth, &berth.member, "get", path, &Value::Null).await
}

pub async fn post(berth: &Berth, path: &str, body: Value) -> Answer {
    ask(berth, &berth.member, "post", path, &body).await
}

/// Make one and wait until it is ready. Answers its id.
pub async fn ready(berth: &Berth, name: &str) -> String {
    let made = post(berth, "/instances", wanted(name)).await.expect(200);
    let id = made["id"].as_str().unwrap().to_owned();
    status(berth, &id, "ready").await;
    id
}

pub async fn status(berth: &Berth, id: &str, status: &str) -> Value {
    let path = format!("/instances/{id}");
    wait_for(&format!("{id} to be {status}"), async || {
        let shown = get(berth, &path).await.body;
        (shown["status"] == status).then_some(shown)
    })
    .await
}

impl Answer {
    /// An error of this status and type, in the form that every client can read.
    #[track_caller]
    pub fn refused_as(self, status: u16, kind: &str) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert!(self.header("x-request-id").is_some());
        let body = self.expect(status);
        assert_eq!(body["type"], kind, "{body}");
        assert!(
            body["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{body}"
        );
        body
    }

    /// A refusal of these arguments, with a reason for each.
    #[track_caller]
    pub fn refused_arguments(self, expected: &[(&str, &str)]) -> Value {
        let body = self.refused_as(400, "invalid_arguments");
        let details = body["details"].as_array().unwrap().iter();
        let found: Vec<(&str, &str)> = details
            .map(|detail| {
                assert!(
                    detail["help_message"]
                        .as_str()
                        .is_some_and(|h| !h.is_empty())
                );
                (
                    detail["argument_name"].as_str().unwrap(),
                    detail["reason"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expected, "{body}");
        body
    }
}
