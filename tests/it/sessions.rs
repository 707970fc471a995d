//! The session that is kept with a real server, through the real host: one for all calls, and whatever ends it costs no
//! caller an error.

use berth_tests::real::{DataDir, Host, psql};
use berth_tests::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::access::{rdb, running, uuid};
use crate::lifecycle::{credentials, destroy};

/// A database of one host after another.
struct Place {
    id: String,
    users: String,
    first: Value,
}

impl Place {
    async fn list(&self, host: &Host) {
        let (status, listed) = rdb(host, "GET", &self.users, &Value::Null).await;
        assert_eq!(status, 200, "{listed}");
        assert_eq!(listed["total_count"], 2, "{listed}");
    }

    async fn change(&self, host: &Host, body: &Value) {
        let path = format!("{}/bob", self.users);
        let (status, changed) = rdb(host, "PATCH", &path, body).await;
        assert_eq!(status, 200, "{changed}");
    }

    /// The server's process for the only session of Berth's.
    async fn session(&self) -> i32 {
        let sql = "select string_agg(pid::text, ',') from pg_stat_activity where usename = 'berth' and datname = 'postgres'";
        // Beside it there is that of who looks after the database, now and then and for a moment.
        wait_for("one session", async || {
            psql(&self.first, sql).unwrap().parse().ok()
        })
        .await
    }
}

#[tokio::test]
async fn a_session_serves_all_calls_and_its_end_none_notices() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    let id = running(&host, "talked-to", json!({})).await;
    let uuid = uuid(&host, "talked-to").await;
    let mut place = Place {
        users: format!("/rdb/v1/regions/fr-par/instances/{uuid}/users"),
        first: credentials(&host, &id).await,
        id,
    };
    let bob = json!({ "name": "bob", "password": "Correct-horse-7", "is_admin": false });
    let (status, made) = rdb(&host, "POST", &place.users, &bob).await;
    assert_eq!(status, 200, "{made}");

    let first = place.session().await;
    for n in 0..25 {
        place.list(&host).await;
        let body = json!({ "password": format!("Correct-horse-{n}"), "is_admin": n % 2 == 0 });
        place.change(&host, &body).await;
    }
    assert_eq!(place.session().await, first, "one for all of them");

    // The server ends it: whoever comes next, reading or changing, gets an answer.
    for n in 0..10 {
        kill(Pid::from_raw(place.session().await), Signal::SIGTERM).unwrap();
        match n % 2 {
            0 => place.list(&host).await,
            _ => place.change(&host, &json!({ "is_admin": false })).await,
        }
    }
    let before = place.session().await;
    assert_ne!(before, first);

    // Credentials change.
    let path = format!("/api/v1/databases/{}/credentials/rotate", place.id);
    host.post(&path, &json!({})).await.expect(200);
    place.first = credentials(&host, &place.id).await;
    place.list(&host).await;
    assert_ne!(place.session().await, before);

    // The server is started again, and so is the host.
    let path = format!("/api/v1/databases/{}/restart", place.id);
    host.post(&path, &json!({})).await;
    host.wait_status(&place.id, "running").await;
    place.list(&host).await;
    let before = place.session().await;
    host.kill9();
    let host = Host::start(&data).await;
    host.wait_status(&place.id, "running").await;
    place.list(&host).await;
    assert_ne!(place.session().await, before);
    destroy(&host, &place.id).await;
    data.nothing_but_the_host().await;
}
