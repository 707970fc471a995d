//! The real binary, asked all that its own document allows and much that it does not: Schemathesis reads
//! `/openapi.json`, makes requests of it, valid and invalid, alone and in sequences, and holds every answer to what is
//! written there. Real servers stand behind it, as many as the quota allows; afterwards nothing of them is left.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use berth_tests::real::{DataDir, Host, berth_binary};
use berth_tests::{not_tried, wait_for};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::lifecycle::{body, destroy};

const CONFIG: &str = r#"
[node]
ports = "30500-30509"
[projects.proj_default]
id = "0d6f2c1e-6c57-4a8e-9a44-3f6f5f6b7c10"
organization = "5b1f3c52-9d1b-4f0e-8a52-7a5d0f6c2e31"
max_instances = 3
max_storage_gb = 1000
# Of what is there from the beginning, so that the quota is for what comes and goes.
[projects.residents]
id = "7d0a3c55-2b9e-4a57-9d5f-c0f3a2d4e811"
organization = "5b1f3c52-9d1b-4f0e-8a52-7a5d0f6c2e31"
# So that nothing hides behind an answer that says: not so fast.
[callers]
requests_per_second = 10000
burst = 10000
strangers_per_second = 10000
strangers_burst = 10000
"#;
const PROJECT: &str = "0d6f2c1e-6c57-4a8e-9a44-3f6f5f6b7c10";
const RESIDENTS: &str = "7d0a3c55-2b9e-4a57-9d5f-c0f3a2d4e811";
/// Another than the usual one: what is asked differs with it.
const SEED: &str = "BERTH_TEST_SEED";
const PORTS: std::ops::RangeInclusive<u16> = 30500..=30509;

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let program = installed();
    if !program.exists() {
        return not_tried("there is no Schemathesis; scripts/install-schemathesis.sh says why");
    }
    let data = DataDir::new();
    let config = data.path().join("berth.toml");
    fs::write(&config, CONFIG).unwrap();
    let mut host = Host::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    // So that there is always something to read in both dialects, something to start, and three more can come and go.
    let resident = settled(&host, "resident").await;
    let asleep = settled(&host, "asleep").await;
    host.post(&format!("/api/v1/databases/{asleep}/stop"), &json!({}))
        .await
        .expect(202);
    host.wait_status(&asleep, "stopped").await;
    let (offer_of_rdb, places) = other_offer(&host).await;

    let keys = host.get("/admin/v1/keys").await.expect(200);
    let own = &keys["keys"][0];
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis");
    let output = Command::new(&program)
        .arg("--config-file")
        .arg(home.join("schemathesis.toml"))
        .args(["--no-color", "run"])
        .args(std::env::var(SEED).map(|seed| format!("--seed={seed}")))
        .arg(format!("{}/openapi.json", host.base()))
        .env("BERTH_HOOKS", home.join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BERTH_KEY", data.admin_key())
        .env("BERTH_OFFER", offer(&host).await.to_string())
        .env(
            "BERTH_EXAMPLES",
            examples(&host, &resident, &asleep).await.to_string(),
        )
        .env("BERTH_OTHER_OFFER", offer_of_rdb.to_string())
        .env("BERTH_OTHER_PLACES", places.to_string())
        .env(
            "BERTH_OWN_KEY",
            json!([own["id"], own["access_key"]]).to_string(),
        )
        .current_dir(data.path())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    // The last that is printed, and whole: the request that was answered wrongly stands in it, and may not be made again.
    assert!(
        output.status.success(),
        "{complaints}\n{said}\n{}",
        output.status
    );
    println!("{said}");
    assert!(host.is_alive());

    let made = host
        .get("/admin/v1/operations?kind=create")
        .await
        .expect(200);
    println!("it had {} databases made", made["total"]);
    assert!(
        made["total"].as_u64().unwrap() > 3,
        "only the residents were there"
    );
    // One of the stops was our own. Whether one gets to its end depends on what is asked for meanwhile.
    for (kind, least) in [("stop", 2), ("start", 1), ("restart", 1)] {
        let path = format!("/admin/v1/operations?kind={kind}");
        let begun = host.get(&path).await.expect(200);
        println!("{} operations of kind {kind} were begun", begun["total"]);
        assert!(begun["total"].as_u64().unwrap() >= least, "no {kind}");
    }
    let metrics = host.get("/metrics").await.expect(200);
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("berth_http_requests_total"), "{metrics}");
    let refused = metrics
        .lines()
        .find(|line| line.starts_with("berth_http_requests_refused_total"));
    assert_eq!(refused, None, "nobody was held up");
    let log = fs::read_to_string(data.path().join("host.log")).unwrap();
    for bad in ["panicked", "not served"] {
        let line = log.lines().find(|line| line.contains(bad));
        assert_eq!(line, None);
    }
    nothing_is_left(&host, &data).await;
}

/// A database of the residents' project that runs.
async fn settled(host: &Host, name: &str) -> String {
    let key = json!({ "project": "residents", "role": "member", "description": "" });
    let key = host.post("/admin/v1/keys", &key).await.expect(201);
    let request = reqwest::Client::new().post(format!("{}/api/v1/databases", host.base()));
    let made = request
        .bearer_auth(key["secret_key"].as_str().unwrap())
        .json(&body(name));
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let id = made["id"].as_str().unwrap_or_else(|| panic!("{made}"));
    host.wait_status(id, "running").await;
    id.to_owned()
}

/// Delete what is there, and see that nothing of anything stays behind.
async fn nothing_is_left(host: &Host, data: &DataDir) {
    let list = host.get("/api/v1/databases").await.expect(200);
    for database in list.as_array().unwrap() {
        destroy(host, database["id"].as_str().unwrap()).await;
    }
    wait_for("every operation to end", async || {
        let open = host.get("/admin/v1/operations?open=true").await.expect(200);
        (open["total"] == 0).then_some(())
    })
    .await;
    data.nothing_but_the_host().await;
    let gone = host
        .get("/api/v1/databases?status=destroyed")
        .await
        .expect(200);
    for database in gone.as_array().unwrap() {
        let path = format!("/admin/v1/instances/{}", database["id"].as_str().unwrap());
        let shown = host.get(&path).await.expect(200);
        assert_eq!(
            shown["reservation"],
            json!({ "ports": [], "uid": null }),
            "{shown}"
        );
    }
    for port in PORTS {
        TcpListener::bind(("127.0.0.1", port)).unwrap_or_else(|error| panic!("{port}: {error}"));
    }
}

/// What a creation may name on this host, as it says itself to who names something else.
async fn offer(host: &Host) -> Value {
    let mut wrong = body("x");
    for field in ["db_type", "region"] {
        wrong[field] = "none".into();
    }
    let refused = host.post("/api/v1/databases", &wrong).await.expect(422);
    let regions = one_of(&refused, "region").expect("regions are configured");
    let engines = one_of(&refused, "db_type");
    let (mut can_run, mut versions) = (Vec::new(), Vec::new());
    for engine in engines.expect("engines are installed") {
        let mut wrong = body("x");
        wrong["db_type"] = engine.clone().into();
        wrong["version"] = "none".into();
        let refused = host.post("/api/v1/databases", &wrong).await.expect(422);
        // Of one whose server cannot be had here, nothing can be asked for.
        if let Some(labels) = one_of(&refused, "version") {
            can_run.push(engine);
            versions.extend(labels);
        }
    }
    assert!(!can_run.is_empty());
    json!({
        "db_type": can_run,
        "version": versions,
        "region": regions,
        // The smallest: larger ones ask for more memory than a machine of tests has.
        "plan_id": [body("x")["plan_id"]],
        "storage_gb": [1, 10, 16384],
    })
}

/// The same for the other dialect, and what its paths can name: an instance that stays, and one that is not there.
async fn other_offer(host: &Host) -> (Value, Value) {
    let region = "/rdb/v1/regions/fr-par";
    let engines = host.get(&format!("{region}/database-engines")).await;
    let engines = engines.expect(200);
    let all = engines["engines"].as_array().unwrap();
    let mut versions = all
        .iter()
        .filter_map(|engine| engine["versions"].as_array());
    // The first that can run here: what cannot is shown too, and disabled.
    let any = |versions: &&Vec<Value>| versions.iter().any(|v| v["disabled"] == false);
    let versions = versions.find(any).expect("an engine that can run here");
    let offered = versions
        .iter()
        .filter(|version| version["disabled"] == false);
    let offered: Vec<&Value> = offered.map(|version| &version["name"]).collect();
    let offer = json!({
        "engine": offered,
        "node_type": ["db-dev-s", body("x")["plan_id"]],
        "user_name": ["boss"],
        "password": ["S3cret!pw"],
        "volume_type": ["lssd", null],
        "volume_size": [0, null, 5_000_000_000_u64],
        "project_id": [null, PROJECT],
        "organization_id": [null],
    });
    let resident = json!({
        "name": "other resident", "engine": offered[0], "user_name": "boss", "password": "S3cret!pw",
        "node_type": "db-dev-s", "project_id": RESIDENTS,
    });
    let made = host
        .post(&format!("{region}/instances"), &resident)
        .await
        .expect(200);
    let path = format!("{region}/instances/{}", made["id"].as_str().unwrap());
    let ready = wait_for("the other resident", async || {
        let shown = host.get(&path).await.body;
        (shown["status"] == "ready").then_some(shown)
    });
    let ready = ready.await;
    let nobody = "018f0000-0000-4000-8000-000000000000";
    let places = json!({
        "region": ["fr-par"],
        "instance_id": [made["id"], nobody],
        "endpoint_id": [ready["endpoint"]["id"], nobody],
        "name": ["boss", "nobody", "shop"],
    });
    (offer, places)
}

/// What the answer says could stand there; none when there is nothing.
fn one_of(refused: &Value, field: &str) -> Option<Vec<String>> {
    let problems = refused["fields"].as_array().unwrap();
    let problem = problems.iter().find(|problem| problem["field"] == field);
    let help = problem.and_then(|problem| problem["help"].as_str());
    let help = help.unwrap_or_else(|| panic!("{field}: {refused}"));
    let names = help.split("; ").next()?.strip_prefix("one of ")?;
    Some(names.split(", ").map(str::to_owned).collect())
}

/// Something that is there, for operations that would find nothing under a name that was made up.
async fn examples(host: &Host, id: &str, asleep: &str) -> Value {
    let operations = host
        .get(&format!("/admin/v1/operations?instance={id}"))
        .await
        .expect(200);
    let operation = &operations["operations"][0]["id"];
    json!({
        "show_database": id,
        "stop_database": asleep,
        "start_database": asleep,
        "restart_database": id,
        "stop_instance": asleep,
        "start_instance": asleep,
        "restart_instance": id,
        "show_credentials": id,
        "rotate_credentials": id,
        "show_instance": id,
        "show_operation": operation,
        "cancel_operation": operation,
        "retry_operation": operation,
    })
}

/// Where `make test` puts it: beside the profiles.
fn installed() -> PathBuf {
    let target = berth_binary();
    let target = target
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/berth");
    target.join("schemathesis/bin/st")
}
