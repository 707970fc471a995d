//! Servers that take more than they were given, planned by an engine, through the real binary and its API: what the
//! caller sees of it, and that another instance sees nothing.

use std::fs;
use std::time::{Duration, Instant};

use berth_tests::real::{DataDir, Host, plugins_dir};
use berth_tests::wait::elapse;
use berth_tests::{fixture, not_tried, wait_for};
use serde_json::{Value, json};

use crate::lifecycle::destroy;

const CONFIG: &str = r#"
[plans.tiny]
cpu_millis = 500
memory_mib = 64
[plans.wide]
cpu_millis = 500
memory_mib = 256
[[program]]
name = "probe-server"
paths = ["/bin/sh"]
"#;
/// What a spinner may take of a second's processor time, by its plan, and some for how it is counted.
const MOST: f64 = 0.5 * 1.3;

#[tokio::test]
async fn who_takes_more_than_its_plan_is_ended_or_slowed_down_and_nobody_else() {
    let data = DataDir::new();
    let host = start(&data, "").await;

    let calm = created(&host, "calm").await;
    host.wait_status(&calm, "running").await;
    let undisturbed = servers(&data);
    assert_eq!(undisturbed.len(), 1);
    let held = &instance(&host, &calm).await["confinement"][0];
    if !held["limits_missing"].is_null() {
        return not_tried(&held["limits_missing"].to_string());
    }

    let eater = created(&host, "eater").await;
    let forker = created(&host, "forker").await;
    for (id, why) in [
        (&forker, "exited with status"),
        (&eater, "at its memory limit of 64 MiB"),
    ] {
        let said = wait_for("it to be down", async || {
            let shown = instance(&host, id).await;
            let condition = &shown["health"]["condition"];
            let said = condition["reason"].as_str()?.to_owned();
            (condition["state"] == "down" && said.contains(why)).then_some(said)
        })
        .await;
        println!("{said}");
        assert!(said.contains("here is one that"), "{said}");
        if id == &eater {
            host.wait_status(id, "error").await;
        }
        destroy(&host, id).await;
    }
    // Nothing of either is left.
    assert_eq!(servers(&data), undisturbed);

    let spinner = created(&host, "spinner").await;
    host.wait_status(&spinner, "running").await;
    let spinning = wait_for("one, and three of its making", async || {
        let servers = servers(&data).into_iter();
        let spinning: Vec<i32> = servers.filter(|pid| !undisturbed.contains(pid)).collect();
        (spinning.len() == 4).then_some(spinning)
    })
    .await;
    let (began, before) = (Instant::now(), processor_time(&spinning));
    elapse(Duration::from_secs(3)).await;
    let took = processor_time(&spinning) - before;
    let share = took / began.elapsed().as_secs_f64();
    println!("a spinner of four processes and half a core takes {share:.2} cores");
    assert!(share < MOST, "{share}");
    assert!(share > 0.05, "it did not spin: {share}");

    let shown = instance(&host, &calm).await;
    assert_eq!(shown["health"]["condition"]["state"], "healthy", "{shown}");
    assert_eq!(shown["health"]["restarts"], 0, "{shown}");
    assert_eq!(shown["confinement"][0]["memory_kills"], 0, "{shown}");
    assert!(
        servers(&data).contains(&undisturbed[0]),
        "it was started again"
    );
    for id in [calm, spinner] {
        destroy(&host, &id).await;
    }
    data.nothing_but_the_host().await;
}

/// A host whose one engine is the fixture. What more is said of it stands first: tables follow.
pub async fn start(data: &DataDir, more: &str) -> Host {
    let folder = data.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("probe.wasm"), fixture::engine()).unwrap();
    let local = plugins_dir().join("local.wasm");
    fs::copy(local, folder.join("local.wasm")).unwrap();
    let config = data.path().join("berth.toml");
    fs::write(&config, format!("{more}{CONFIG}")).unwrap();
    let given = [
        "--config",
        config.to_str().unwrap(),
        "--plugins",
        folder.to_str().unwrap(),
    ];
    Host::start_with(data, &given).await
}

/// A request for a small one.
pub fn wanted(name: &str) -> Value {
    // Enough memory for as many processes as there may be.
    let plan = if name == "forker" { "wide" } else { "tiny" };
    json!({
        "name": name, "db_type": "probe", "plan_id": plan, "region": "nyc1", "storage_gb": 1,
    })
}

async fn created(host: &Host, name: &str) -> String {
    let created = host
        .post("/api/v1/databases", &wanted(name))
        .await
        .expect(201);
    created["id"].as_str().unwrap().to_owned()
}

async fn instance(host: &Host, id: &str) -> Value {
    let shown = host.get(&format!("/admin/v1/instances/{id}")).await;
    shown.expect(200)
}

/// What runs that is neither the host nor a shim.
fn servers(data: &DataDir) -> Vec<i32> {
    let others = data.processes().into_iter();
    let mut servers: Vec<i32> = others
        .filter(|process| !process.is_host() && !process.is_shim() && !process.is_proxy())
        .map(|process| process.pid)
        .collect();
    servers.sort_unstable();
    servers
}

/// Seconds that they have had of the processors.
fn processor_time(pids: &[i32]) -> f64 {
    let ticks = pids.iter().map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // The 14th and 15th of all, the first two of which stand before the parenthesis.
        fields[11..13]
            .iter()
            .map(|n| n.parse::<u64>().unwrap())
            .sum::<u64>()
    });
    // The kernel counts in hundredths for all programs, whatever it does inside.
    ticks.sum::<u64>() as f64 / 100.0
}
