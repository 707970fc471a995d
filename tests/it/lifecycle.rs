//! A real database through the API: create, use, survive, delete.

use berth_tests::real::{DataDir, Host, psql};
use serde_json::{Value, json};

pub fn body(name: &str) -> Value {
    json!({
        "name": name, "db_type": "postgresql", "plan_id": "db-s-1vcpu-1gb",
        "region": "nyc1", "storage_gb": 10,
    })
}

async fn running(host: &Host, name: &str) -> (String, Value) {
    let created = host
        .post("/api/v1/databases", &body(name))
        .await
        .expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    host.wait_status(&id, "running").await;
    let credentials = host
        .get(&format!("/api/v1/databases/{id}/credentials"))
        .await
        .expect(200);
    (id, credentials)
}

#[tokio::test]
async fn a_database_is_created_used_and_destroyed() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let (id, credentials) = running(&host, "main-postgres").await;

    assert_eq!(credentials["username"], "app_user");
    assert_eq!(credentials["database"], "main_postgres");
    assert_eq!(credentials["ssl_mode"], "require");
    let tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(psql(&credentials, tls).unwrap(), "t");
    psql(
        &credentials,
        "create table t (v int); insert into t values (42)",
    )
    .unwrap();
    assert_eq!(psql(&credentials, "select v from t").unwrap(), "42");

    let mut plain = credentials.clone();
    let uri = credentials["connection_string"].as_str().unwrap();
    plain["connection_string"] = uri.replace("sslmode=require", "sslmode=disable").into();
    assert!(
        psql(&plain, "select 1").is_err(),
        "a connection without TLS was accepted"
    );
    let mut wrong = credentials.clone();
    let password = credentials["password"].as_str().unwrap();
    wrong["connection_string"] = uri.replace(password, "wrong").into();
    assert!(
        psql(&wrong, "select 1")
            .unwrap_err()
            .contains("password authentication failed")
    );

    host.delete(&format!("/api/v1/databases/{id}"))
        .await
        .expect(202);
    host.wait_status(&id, "destroyed").await;
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
    let (id, credentials) = running(&host, "survivor").await;
    let server = psql(&credentials, "select pg_postmaster_start_time()").unwrap();

    let held = credentials.clone();
    let query = tokio::task::spawn_blocking(move || psql(&held, "select pg_sleep(2), 'done'"));
    host.kill9();
    let host = Host::start(&data).await;
    assert!(query.await.unwrap().unwrap().ends_with("done"));

    host.wait_status(&id, "running").await;
    let again = host
        .get(&format!("/api/v1/databases/{id}/credentials"))
        .await
        .expect(200);
    assert_eq!(again, credentials);
    let now = psql(&again, "select pg_postmaster_start_time()").unwrap();
    assert_eq!(now, server, "the server was started again");
    host.delete(&format!("/api/v1/databases/{id}"))
        .await
        .expect(202);
    host.wait_status(&id, "destroyed").await;
}
