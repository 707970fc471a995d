//! The API beside attacks: the same plugins behind the real router, with a key and a database to list.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use berth::api::Counters;
use berth::app::{App, Parts};
use berth::config::Config;
use berth::model::ProjectId;
use berth::model::project::Role;
use berth::runtime::Runtime;
use berth::service::keys;
use berth::store::{Memory, Repo, Sealer};
use serde_json::Value;
use tower::ServiceExt;

/// A key that may ask as often as it likes.
const CONFIG: &str = r#"
default_project = "good"
[callers]
requests_per_second = 1000000
burst = 1000000
[regions.here]
target = "paper"
[projects.good]
id = "11111111-1111-4111-8111-111111111111"
organization = "99999999-9999-4999-8999-999999999999"
"#;

/// See the module's text.
pub struct Api {
    app: App,
    key: String,
}

impl Api {
    pub async fn open(runtime: &Runtime) -> Self {
        let config = Config::parse(CONFIG, "arena").expect("a configuration");
        let repo = Repo::open(Arc::new(Memory::new()), Sealer::ephemeral()).await;
        let repo = repo.expect("an empty store opens");
        let secret = keys::generate();
        let project = ProjectId(config.projects["good"].id);
        let put = keys::put(&repo, &secret, project, Role::Member, "good").await;
        put.expect("a key");
        let parts = Parts {
            repo,
            plugins: Arc::new(runtime.clone()),
            counters: Counters::default(),
        };
        Self {
            app: App::start(&config, parts).await.expect("it starts"),
            key: format!("Bearer {}", secret.expose()),
        }
    }

    /// List what databases there are, which are none.
    pub async fn list(&self) -> Result<(), String> {
        let request = Request::get("/api/v1/databases").header("authorization", &self.key);
        let request = request.body(Body::empty()).expect("a request");
        let Ok(answer) = self.app.router().oneshot(request).await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), usize::MAX).await;
        let body = body.map_err(|error| error.to_string())?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(Value::Array(all)) if status == StatusCode::OK && all.is_empty() => Ok(()),
            other => Err(format!("{status}: {other:?}")),
        }
    }
}
