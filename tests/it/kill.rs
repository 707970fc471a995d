//! Kill rounds: the real binary, real servers, and `kill -9` of host, shim or server at random moments.
//!
//! `BERTH_KILL_ROUNDS` and `BERTH_KILL_SEED` choose how many and which; a failure names its seed. Nothing that was
//! acknowledged may be lost, and nothing may be left behind.

use std::time::Duration;

use berth_tests::real::{DataDir, Host, Process, psql};
use berth_tests::{pause, wait_for};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::lifecycle::body;

#[derive(Clone, Copy, Debug)]
enum Victim {
    Host,
    Shim,
    Server,
    ShimAndServer,
    Everything,
}

impl Victim {
    const ALL: [Self; 5] = [
        Self::Host,
        Self::Shim,
        Self::Server,
        Self::ShimAndServer,
        Self::Everything,
    ];

    fn includes(self, process: &Process) -> bool {
        match self {
            Self::Host => process.is_host(),
            Self::Shim => process.is_shim(),
            Self::Server => !process.is_host() && !process.is_shim(),
            Self::ShimAndServer => !process.is_host(),
            Self::Everything => true,
        }
    }

    /// A process that has much memory to give back takes its time to die, and still seems alive meanwhile.
    async fn kill(self, data: &DataDir) {
        let all = data.processes().into_iter();
        let victims: Vec<_> = all.filter(|p| self.includes(p)).collect();
        for process in &victims {
            process.kill9();
        }
        wait_for("the killed to be gone", async || {
            let left = Process::all();
            let mut left = left
                .iter()
                .filter(|p| victims.iter().any(|v| v.pid == p.pid));
            left.next().is_none().then_some(())
        })
        .await;
    }
}

/// What is written into a database before the kills, and read from it after them, by credentials.
pub struct Ledger {
    pub body: fn(&str) -> Value,
    pub is_served: fn(&Value) -> bool,
    pub write: fn(&Value),
    /// What was written.
    pub read: fn(&Value) -> String,
}

#[tokio::test]
async fn kills_at_random_moments_lose_nothing_and_leave_nothing() {
    rounds(&Ledger {
        body,
        is_served: |credentials| psql(credentials, "select 1").is_ok(),
        write: |credentials| {
            let sql = "create table ledger (n int); insert into ledger values (7)";
            psql(credentials, sql).unwrap();
        },
        read: |credentials| psql(credentials, "select n from ledger").unwrap(),
    })
    .await;
}

pub async fn rounds(ledger: &Ledger) {
    let rounds = setting("BERTH_KILL_ROUNDS", 10);
    let seed = setting("BERTH_KILL_SEED", 20_241_121);
    let mut random = StdRng::seed_from_u64(seed);
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    for round in 0..rounds {
        let during_create = *Victim::ALL.choose(&mut random).expect("some");
        let while_running = *Victim::ALL.choose(&mut random).expect("some");
        let during_stop = *Victim::ALL.choose(&mut random).expect("some");
        let during_start = *Victim::ALL.choose(&mut random).expect("some");
        let during_delete = *Victim::ALL.choose(&mut random).expect("some");
        println!(
            "round {round} of {rounds}, seed {seed}: {during_create:?}, {while_running:?}, {during_stop:?}, \
             {during_start:?}, {during_delete:?}"
        );

        let name = format!("round-{round}");
        let wanted = (ledger.body)(&name);
        let request = host.try_post("/api/v1/databases", &wanted);
        let acknowledged = beside(request, during_create, 1500, &data, &mut random).await;
        revive(&mut host, &data).await;
        let Some(id) = created(&host, &name, acknowledged.ok()).await else {
            nothing_is_left(&host, &data, None).await;
            continue;
        };
        host.wait_status(&id, "running").await;
        let credentials = serving(&host, &id, ledger).await;
        (ledger.write)(&credentials);

        while_running.kill(&data).await;
        revive(&mut host, &data).await;
        let credentials = serving(&host, &id, ledger).await;
        assert_eq!((ledger.read)(&credentials), "7");

        let path = format!("/api/v1/databases/{id}");
        for (verb, victim, status) in [
            ("stop", during_stop, "stopped"),
            ("start", during_start, "running"),
        ] {
            let verb = format!("{path}/{verb}");
            let nothing = Value::Null;
            let request = host.try_post(&verb, &nothing);
            let asked = beside(request, victim, 600, &data, &mut random).await;
            revive(&mut host, &data).await;
            if asked.is_err() {
                host.post(&verb, &nothing).await.expect(202);
            }
            host.wait_status(&id, status).await;
        }
        let credentials = serving(&host, &id, ledger).await;
        assert_eq!((ledger.read)(&credentials), "7");

        let deleted = beside(
            host.try_delete(&path),
            during_delete,
            400,
            &data,
            &mut random,
        )
        .await;
        revive(&mut host, &data).await;
        if deleted.is_err() {
            host.delete(&path).await.expect(202);
        }
        host.wait_status(&id, "destroyed").await;
        nothing_is_left(&host, &data, Some(&id)).await;
    }
}

/// Run the request, and kill the victim at a random moment after it was sent.
async fn beside<T>(
    request: impl Future<Output = T>,
    victim: Victim,
    within_ms: u64,
    data: &DataDir,
    random: &mut StdRng,
) -> T {
    let delay = Duration::from_millis(random.random_range(0..within_ms));
    let kill = async {
        // Not a wait for a condition: the moment itself is what is being varied.
        berth_tests::wait::elapse(delay).await;
        victim.kill(data).await;
    };
    let (answer, ()) = tokio::join!(request, kill);
    answer
}

/// Start the host again if it was killed.
async fn revive(host: &mut Host, data: &DataDir) {
    pause().await;
    if !host.is_alive() {
        *host = Host::start(data).await;
    }
}

/// The id of what was created. Without an acknowledgement it may or may not be there.
async fn created(
    host: &Host,
    name: &str,
    answer: Option<berth_tests::real::Answer>,
) -> Option<String> {
    if let Some(answer) = answer {
        let body = answer.expect(201);
        let id = body["id"].as_str().expect("an id").to_owned();
        host.get(&format!("/api/v1/databases/{id}"))
            .await
            .expect(200);
        return Some(id);
    }
    let list = host.get("/api/v1/databases").await.expect(200);
    let found = list.as_array()?.iter().find(|item| item["name"] == name)?;
    found["id"].as_str().map(str::to_owned)
}

/// Credentials, once the server answers with them.
async fn serving(host: &Host, id: &str, ledger: &Ledger) -> Value {
    let path = format!("/api/v1/databases/{id}/credentials");
    wait_for("the server to be back", async || {
        let answer = host.get(&path).await;
        (answer.status == 200 && (ledger.is_served)(&answer.body)).then_some(answer.body)
    })
    .await
}

async fn nothing_is_left(host: &Host, data: &DataDir, id: Option<&str>) {
    data.nothing_but_the_host().await;
    let list = host.get("/api/v1/databases").await.expect(200);
    assert_eq!(list, serde_json::json!([]));
    let open = host.get("/admin/v1/operations?open=true").await.expect(200);
    assert_eq!(open["operations"], serde_json::json!([]), "{open}");
    if let Some(id) = id {
        let path = format!("/admin/v1/instances/{id}");
        let gone = host.get(&path).await.expect(200);
        let kept = &gone["reservation"];
        let none = serde_json::json!({"ports": [], "uid": null});
        assert_eq!(kept, &none, "{gone}");
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
