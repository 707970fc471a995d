//! How many reads per second Berth answers, beside a bare handler that returns the same bytes.

use std::time::Duration;

use crate::bare::Bare;
use crate::create::wanted;
use crate::host::{Host, directory};
use crate::load::{Connection, get, requests_per_second};
use crate::table::Table;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
const CONNECTIONS: usize = 16;
const LEAST_SHARE: f64 = 0.6;

pub async fn run() {
    let folder = directory();
    let (host, _) = Host::start(folder.path()).await;
    let (status, created) = host.post("/api/v1/databases", &wanted("read-me")).await;
    assert_eq!(status, 201, "{created}");
    let id = created["id"].as_str().expect("an id").to_owned();
    host.wait_status(&id, "running").await;

    let request = get(&format!("/api/v1/databases/{id}"), &host.key);
    let mut connection = Connection::open(host.address).await;
    connection.send(&request).await;
    let body = connection.body().to_vec();
    let bare = Bare::start(&body);

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // The first round of each warms up and is not counted.
    for round in 0..=ROUNDS {
        let our = requests_per_second(host.address, &request, CONNECTIONS, ROUND).await;
        let their = requests_per_second(bare.address, &request, CONNECTIONS, ROUND).await;
        if round > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    host.remove(&id).await;

    let (our, their) = (middle(ours), middle(theirs));
    let title = format!(
        "GET /api/v1/databases/{{id}}, {} bytes, {CONNECTIONS} connections, load from the same machine",
        body.len()
    );
    let mut table = Table::new(&title, &["who", "requests/s", "share"]);
    table.row([
        "berth".into(),
        format!("{our:.0}"),
        format!("{:.0} %", 100.0 * our / their),
    ]);
    table.row([
        "bare axum handler".into(),
        format!("{their:.0}"),
        "100 %".into(),
    ]);
    table.note(format!(
        "median of {ROUNDS} alternating rounds of {ROUND:?}"
    ));
    table.target(
        our >= LEAST_SHARE * their,
        "at least 60 % of the bare handler",
    );
    table.print(folder.path());
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
