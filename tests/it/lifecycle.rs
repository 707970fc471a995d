//! A real database through the API: create, use, survive, delete.

use berth_tests::real::{DataDir, Host, psql};
use serde_json::{Value, json};

use crate::access::{self, rdb};

#[tokio::test]
async fn a_database_is_created_used_and_destroyed() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "main-postgres").await;
    let given = credentials(&host, &id).await;

    assert_eq!(given["username"], "app_user");
    assert_eq!(given["database"], "main_postgres");
    assert_eq!(given["ssl_mode"], "require");
    let tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&given, tls).unwrap(), "t");
    psql(&given, "create table t (v int); insert into t values (42)").unwrap();
    assert_eq!(psql(&given, "select v from t").unwrap(), "42");

    let without_tls = changed(&given, "sslmode=require", "sslmode=disable");
    let refused = psql(&without_tls, "select 1").unwrap_err();
    assert!(refused.contains("no encryption"), "{refused}");
    let wrong = changed(&given, given["password"].as_str().unwrap(), "wrong");
    let refused = psql(&wrong, "select 1").unwrap_err();
    assert!(
        refused.contains("password authentication failed"),
        "{refused}"
    );

    destroy(&host, &id).await;
    assert!(data.instance_dirs().is_empty());
    let left: Vec<_> = data
        .processes()
        .into_iter()
        .filter(|p| !p.is_host())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn killing_the_host_cuts_no_query_and_the_database_is_adopted() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let id = running(&host, "survivor").await;
    let before = credentials(&host, &id).await;
    let started = psql(&before, "select pg_postmaster_start_time()").unwrap();

    let held = before.clone();
    let query = tokio::task::spawn_blocking(move || psql(&held, "select pg_sleep(2), 'done'"));
    host.kill9();
    let host = Host::start(&data).await;
    assert!(query.await.unwrap().unwrap().ends_with("done"));

    host.wait_status(&id, "running").await;
    let after = credentials(&host, &id).await;
    assert_eq!(after, before);
    let now = psql(&after, "select pg_postmaster_start_time()").unwrap();
    assert_eq!(now, started, "the server was started again");
    destroy(&host, &id).await;
}

#[tokio::test]
async fn credentials_name_no_logical_database_that_was_deleted() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = access::running(&host, "moved-on", json!({})).await;
    let uuid = access::uuid(&host, "moved-on").await;
    let databases = format!("/rdb/v1/regions/fr-par/instances/{uuid}/databases");
    let (status, made) = rdb(&host, "POST", &databases, &json!({ "name": "next" })).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(credentials(&host, &id).await["database"], "moved_on");

    let current = "select current_database()";
    for (deleted, left) in [("moved_on", "next"), ("next", "postgres")] {
        let (status, refused) = rdb(
            &host,
            "DELETE",
            &format!("{databases}/{deleted}"),
            &Value::Null,
        )
        .await;
        assert_eq!(status, 204, "{refused}");
        let given = credentials(&host, &id).await;
        assert_eq!(given["database"], left);
        assert_eq!(psql(&given, current).unwrap(), left);
    }
    destroy(&host, &id).await;
}

/// A request for a small database.
pub fn body(name: &str) -> Value {
    json!({
        "name": name, "db_type": "postgresql", "plan_id": "db-s-1vcpu-1gb",
        "region": "nyc1", "storage_gb": 10,
    })
}

/// Create a database and wait until it runs.
pub async fn running(host: &Host, name: &str) -> String {
    let created = host.post("/api/v1/databases", &body(name)).await;
    let id = created.expect(201)["id"].as_str().unwrap().to_owned();
    host.wait_status(&id, "running").await;
    id
}

pub async fn credentials(host: &Host, id: &str) -> Value {
    let path = format!("/api/v1/databases/{id}/credentials");
    host.get(&path).await.expect(200)
}

/// Delete a database and wait until it is gone.
pub async fn destroy(host: &Host, id: &str) {
    let path = format!("/api/v1/databases/{id}");
    host.delete(&path).await.expect(202);
    host.wait_status(id, "destroyed").await;
}

fn changed(credentials: &Value, from: &str, to: &str) -> Value {
    let uri = credentials["connection_string"].as_str().unwrap();
    let mut changed = credentials.clone();
    changed["connection_string"] = uri.replace(from, to).into();
    changed
}
