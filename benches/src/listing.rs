//! What many databases cost: a page of a list, memory, a start after a crash.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth::store::repo::Repo;
use berth::store::view::{InstanceQuery, Order, OrderBy};

use crate::host::{Host, directory};
use crate::load::{Connection, get};
use crate::seed::{self, seed_and_crash};
use crate::stats::{Samples, measure, measure_async, show};
use crate::table::Table;

const FEW: usize = 100;
const MANY: usize = 100_000;
const PAGE: usize = 50;
const TIMES: usize = 2000;
const MOST_TIMES_AS_LONG: f64 = 1.5;
const MOST_BYTES: u64 = 4096;
const LONGEST_START: Duration = Duration::from_secs(2);

/// What was measured with one number of databases.
struct Findings {
    start_after_seeding: Duration,
    start_after_kill: Duration,
    memory: u64,
    page: Samples,
    orders: Vec<(String, Samples)>,
}

pub async fn run() {
    let folder = directory();
    let few = findings(&folder.path().join("few"), FEW).await;
    let many = findings(&folder.path().join("many"), MANY).await;

    let title = format!("a page of {PAGE}, median");
    let mut table = Table::new(&title, &["list", "100", "100 000", "ratio"]);
    let mut worst: f64 = 0.0;
    let pages = [(
        "GET /api/v1/databases?limit=50".to_owned(),
        &few.page,
        &many.page,
    )];
    let orders = few.orders.iter().zip(&many.orders);
    let orders = orders.map(|((name, few), (_, many))| (format!("read model, {name}"), few, many));
    for (name, few, many) in pages.into_iter().chain(orders) {
        let ratio = many.median().as_secs_f64() / few.median().as_secs_f64();
        worst = worst.max(ratio);
        table.row([
            name,
            show(few.median()),
            show(many.median()),
            format!("{ratio:.2}"),
        ]);
    }
    table.target(worst <= MOST_TIMES_AS_LONG, "within 1.5 times the same");
    table.print(folder.path());

    let each = many.memory.saturating_sub(few.memory) / (MANY - FEW) as u64;
    let mut table = Table::new("many databases", &["what", "100", "100 000"]);
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    table.row([
        "resident memory of the host".into(),
        mib(few.memory),
        mib(many.memory),
    ]);
    table.row([
        "of it per database".into(),
        String::new(),
        format!("{each} B"),
    ]);
    table.row([
        "start until ready, after the crash of what wrote them".into(),
        show(few.start_after_seeding),
        show(many.start_after_seeding),
    ]);
    table.row([
        "start until ready, after kill -9 of the host".into(),
        show(few.start_after_kill),
        show(many.start_after_kill),
    ]);
    table.target(each <= MOST_BYTES, "at most 4 KiB of memory each");
    let longest = many.start_after_kill.max(many.start_after_seeding);
    table.target(
        longest <= LONGEST_START,
        "a start within 2 s after a kill -9",
    );
    table.print(folder.path());
}

async fn findings(data: &Path, count: usize) -> Findings {
    std::fs::create_dir(data).expect("a directory");
    // The first start compiles the components and stamps the store; it is not what is asked about.
    let (host, _) = Host::start(data).await;
    host.kill9();
    seed_and_crash(data, count);
    let (host, start_after_seeding) = Host::start(data).await;
    host.kill9();
    let (host, start_after_kill) = Host::start(data).await;
    let request = get(&format!("/api/v1/databases?limit={PAGE}"), &host.key);
    let mut connection = Connection::open(host.address).await;
    let page = measure_async(TIMES, async || connection.send(&request).await).await;
    let memory = host.memory();
    host.kill9();
    Findings {
        start_after_seeding,
        start_after_kill,
        memory,
        page,
        orders: by_each_order(data).await,
    }
}

/// The read model itself, in this process: the API offers no other order yet.
async fn by_each_order(data: &Path) -> Vec<(String, Samples)> {
    let store = Arc::new(seed::open(data));
    let repo = Repo::open_with_key_file(store, &data.join("seal.key"))
        .await
        .expect("it loads");
    let mut found = Vec::new();
    for by in [
        OrderBy::CreatedAt,
        OrderBy::Name,
        OrderBy::Region,
        OrderBy::Phase,
    ] {
        for descending in [false, true] {
            let query = InstanceQuery {
                order: Order { by, descending },
                limit: Some(PAGE),
                ..InstanceQuery::default()
            };
            let samples = measure(TIMES, || {
                let page = repo.view().list(&query);
                assert_eq!(page.items.len(), PAGE);
            });
            let direction = if descending {
                "descending"
            } else {
                "ascending"
            };
            found.push((format!("by {by:?}, {direction}").to_lowercase(), samples));
        }
    }
    found
}
