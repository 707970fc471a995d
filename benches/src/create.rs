//! From `POST` to `running`, beside a shell script that does the same with the same programs, flags and settings.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, directory};
use crate::peer::Peer;
use crate::stats::{Samples, show};
use crate::table::Table;

const ROUNDS: usize = 9;
const MOST_ABOVE: Duration = Duration::from_millis(250);

/// The body of a creation.
pub fn wanted(name: &str) -> Value {
    json!({
        "name": name, "db_type": "postgresql", "plan_id": "db-s-1vcpu-1gb",
        "region": "nyc1", "storage_gb": 10,
    })
}

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let (ours, theirs, peer) = beside(&host, folder.path(), "postgresql", ROUNDS).await;

    let (our, their) = (ours.median(), theirs.median());
    let mut table = Table::new("create until running", &["how", "min", "median", "max"]);
    table.row(cells(
        "berth: POST /api/v1/databases until `running`",
        &ours,
    ));
    table.row(cells(
        "shell script: initdb, start, createuser, createdb",
        &theirs,
    ));
    table.note(format!("{ROUNDS} alternating rounds; {}", peer.describe()));
    let above = our.saturating_sub(their);
    table.target(
        our <= their + MOST_ABOVE,
        &format!("the script + 250 ms (it is + {})", show(above)),
    );
    table.print(folder.path());
}

/// So many times of a creation of this engine, and of the same by script.
pub async fn beside(
    host: &Host,
    folder: &Path,
    engine: &str,
    rounds: usize,
) -> (Samples, Samples, Peer) {
    let mut peer = None;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    // The first round brings files into the page cache and is not counted.
    for round in 0..=rounds {
        let mut body = wanted(&format!("round-{round}"));
        body["db_type"] = engine.into();
        let start = Instant::now();
        let (status, created) = host.post("/api/v1/databases", &body).await;
        assert_eq!(status, 201, "{created}");
        let id = created["id"].as_str().expect("an id").to_owned();
        host.wait_status(&id, "running").await;
        ours.keep(round > 0, start.elapsed());
        // The peer is made of what Berth runs, so it can only be learnt once something runs.
        let learnt = peer.get_or_insert_with(|| Peer::learn(folder, engine));
        host.remove(&id).await;
        let their = learnt.create(&folder.join(format!("peer-{round}")));
        theirs.keep(round > 0, their);
    }
    (ours, theirs, peer.expect("there was a round"))
}

fn cells(name: &str, samples: &Samples) -> [String; 4] {
    [
        name.to_owned(),
        show(samples.min()),
        show(samples.median()),
        show(samples.quantile(1.0)),
    ]
}
