//! Berth in process, with keys of two projects and of both roles.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use berth::api::Counters;
use berth::app::{App, Parts};
use berth::config::Config;
use berth::model::project::Role;
use berth::model::{InstanceId, ProjectId};
use berth::service::keys;
use berth::store::{Memory, Repo, Sealer};
use berth_tests::fake::World;
use berth_tests::wait_for;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::offer::Offer;

pub const DATABASES: &str = "/api/v1/databases";
pub const FIRST: &str = "proj_first";
pub const SECOND: &str = "proj_second";

const CONFIG: &str = r#"
default_project = "proj_first"
[server]
body_limit_bytes = 4096
[operations]
concurrency = 16
[supervisor]
period = "50ms"
[storage]
default_gb = 10
min_gb = 5
max_gb = 100
[regions.here]
target = "fake-machine"
[regions.there]
target = "fake-machine"
[regions.nowhere]
target = "not-installed"
[plans.small]
cpu_millis = 1000
memory_mib = 1024
[plans.tiny]
cpu_millis = 100
memory_mib = 64
[node_types]
[projects.proj_first]
id = "11111111-1111-4111-8111-111111111111"
organization = "99999999-9999-4999-8999-999999999999"
[projects.proj_second]
id = "22222222-2222-4222-8222-222222222222"
organization = "99999999-9999-4999-8999-999999999999"
max_instances = 2
max_storage_gb = 30
"#;

pub struct Berth {
    pub app: App,
    pub world: World,
    pub store: Memory,
    pub plugins: Arc<Offer>,
    /// Opens everything, and belongs to the first project.
    pub admin: String,
    /// Of the first project.
    pub member: String,
    /// Of the second project.
    pub other: String,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

/// A request in the making.
pub struct Ask<'a> {
    berth: &'a Berth,
    request: axum::http::request::Builder,
    body: Body,
}

impl Berth {
    pub async fn start() -> Self {
        Self::start_on(CONFIG).await
    }

    /// Without the region that no plugin provides.
    pub async fn start_complete() -> Self {
        let nowhere = "[regions.nowhere]\ntarget = \"not-installed\"\n";
        assert!(CONFIG.contains(nowhere));
        Self::start_on(&CONFIG.replace(nowhere, "")).await
    }

    /// With one more setting in a section that the configuration has.
    pub async fn start_with(section: &str, setting: &str) -> Self {
        assert!(CONFIG.contains(section));
        Self::start_on(&CONFIG.replace(section, &format!("{section}\n{setting}"))).await
    }

    pub async fn start_on(config: &str) -> Self {
        let config = Config::parse(config, "test").unwrap();
        let world = World::new();
        let store = Memory::new();
        let plugins = Arc::new(Offer::new(&world));
        let repo = Repo::open(Arc::new(store.clone()), Sealer::ephemeral())
            .await
            .unwrap();
        let admin = key(&repo, &config, FIRST, Role::Admin).await;
        let member = key(&repo, &config, FIRST, Role::Member).await;
        let other = key(&repo, &config, SECOND, Role::Member).await;
        let parts = Parts {
            repo,
            plugins: plugins.clone(),
            counters: Counters::default(),
        };
        Self {
            app: App::start(&config, parts).await.unwrap(),
            world,
            store,
            plugins,
            admin,
            member,
            other,
        }
    }

    pub fn ask(&self, method: Method, path: &str) -> Ask<'_> {
        Ask {
            berth: self,
            request: Request::builder().method(method).uri(path),
            body: Body::empty(),
        }
    }

    /// With the key of the first project's member.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).key(&self.member).send().await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path)
            .key(&self.member)
            .send()
            .await
    }

    pub async fn create(&self, body: Value) -> Answer {
        let ask = self.ask(Method::POST, DATABASES).key(&self.member);
        ask.json(&body).send().await
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).key(&self.admin).send().await
    }

    pub async fn admin_post(&self, path: &str) -> Answer {
        self.ask(Method::POST, path).key(&self.admin).send().await
    }

    /// The answer to who has no key, not taken for text.
    pub async fn raw(&self, path: &str) -> (HeaderMap, axum::body::Bytes) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.app.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let (parts, body) = response.into_parts();
        (parts.headers, to_bytes(body, usize::MAX).await.unwrap())
    }

    /// Create a database and wait until it runs. Answers its alias.
    pub async fn running(&self, name: &str) -> String {
        let created = self.create(wanted(name)).await.expect(201);
        let id = created["id"].as_str().unwrap().to_owned();
        self.wait_status(&id, "running").await;
        id
    }

    pub async fn wait_status(&self, id: &str, status: &str) -> Value {
        let path = format!("{DATABASES}/{id}");
        wait_for(&format!("{id} to be {status}"), async || {
            let body = self
                .ask(Method::GET, &path)
                .key(&self.admin)
                .send()
                .await
                .body;
            (body["status"] == status).then_some(body)
        })
        .await
    }

    /// The identity behind an alias.
    pub async fn uuid(&self, alias: &str) -> InstanceId {
        let shown = self
            .admin_get(&format!("/admin/v1/instances/{alias}"))
            .await
            .expect(200);
        shown["id"].as_str().unwrap().parse().unwrap()
    }
}

impl Ask<'_> {
    pub fn key(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// As if over a connection from there.
    pub fn from(mut self, address: SocketAddr) -> Self {
        self.request = self.request.extension(ConnectInfo(address));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json")
            .text(body.to_string())
    }

    pub fn text(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Answer {
        let request = self.request.body(self.body).unwrap();
        let response = self.berth.app.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// An error of this status and code, with all that every error has.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Value {
        let id = self.header("x-request-id").expect("an id").to_owned();
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["request_id"], id, "{body}");
        assert!(
            body["message"].as_str().is_some_and(|m| !m.is_empty()),
            "{body}"
        );
        assert!(body["fields"].is_array(), "{body}");
        let mut keys: Vec<_> = body.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(keys, ["code", "fields", "message", "request_id"]);
        body
    }

    /// A refusal of these fields, in this order.
    #[track_caller]
    pub fn refused_fields(self, expected: &[&str]) -> Value {
        let body = self.refused(422, "invalid");
        let fields = body["fields"].as_array().unwrap().clone();
        let names: Vec<_> = fields
            .iter()
            .map(|f| f["field"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{body}");
        body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request that can be carried out.
pub fn wanted(name: &str) -> Value {
    json!({ "name": name, "db_type": "fake", "plan_id": "small", "region": "here" })
}

/// The same with other fields.
pub fn with(mut body: Value, changes: Value) -> Value {
    let fields = body.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        fields.insert(name.clone(), value.clone());
    }
    body
}

pub fn names(body: &Value) -> Vec<&str> {
    let items = body.as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

async fn key(repo: &Repo, config: &Config, project: &str, role: Role) -> String {
    let secret = keys::generate();
    let project = ProjectId(config.projects[project].id);
    keys::put(repo, &secret, project, role, "test")
        .await
        .unwrap();
    secret.expose().to_owned()
}
