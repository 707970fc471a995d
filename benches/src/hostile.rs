//! How long good calls take while a hostile component attacks, beside the same calls alone. The attacks are those of the
//! tests; here as there a good call that fails ends the run.

use std::time::Duration;

use berth_tests::hostile::cases::CASES;
use berth_tests::hostile::{Arena, End, GOOD_CALLS, quantile};

use crate::host::directory;
use crate::stats::show;
use crate::table::Table;

/// Two attackers that compute have a core each for at most one tick at a time.
const LONGEST: Duration = Duration::from_millis(50);

pub async fn run() {
    let folder = directory();
    let arena = Arena::open().await;
    // Not counted: what the first calls of a process pay for.
    arena.alone(GOOD_CALLS).await;
    let title = format!(
        "good calls (plans of another plugin and of the hostile one, connections to members, lists of the API) beside {} attacks",
        CASES.len()
    );
    let mut table = Table::new(&title, &["beside", "good calls", "median", "p99"]);
    table.row(cells("nothing", &arena.alone(10 * GOOD_CALLS).await));
    let mut slowest = Duration::ZERO;
    for case in CASES {
        let report = arena.run(*case).await;
        assert!(
            !report.ends.iter().any(|end| matches!(end, End::Success)),
            "{}",
            case.name
        );
        let good = report.good;
        slowest = slowest.max(quantile(&good, 99));
        table.row(cells(case.name, &good));
    }
    table.row(cells("nothing, again", &arena.alone(10 * GOOD_CALLS).await));
    table.note("every attack ended with an error for its caller, and no good call failed".into());
    table.target(slowest <= LONGEST, "a p99 of at most 50 ms beside each");
    table.print(folder.path());
}

fn cells(beside: &str, good: &[Duration]) -> [String; 4] {
    [
        beside.to_owned(),
        good.len().to_string(),
        show(quantile(good, 50)),
        show(quantile(good, 99)),
    ]
}
