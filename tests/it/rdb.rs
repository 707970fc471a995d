//! The dialect below `/rdb/v1` with the clients that it is for, unmodified, against the real binary with real servers:
//! every method of the one for Python, and what the one for JavaScript does in its own way.

use std::fs;
use std::path::{Path, PathBuf};

use berth_tests::not_tried;
use berth_tests::real::{DataDir, Host, berth_binary, psql_binary};
use serde_json::{Value, json};
use tokio::process::Command;

const PROJECT: &str = "0d6f2c1e-6c57-4a8e-9a44-3f6f5f6b7c10";
const ORGANIZATION: &str = "5b1f3c52-9d1b-4f0e-8a52-7a5d0f6c2e31";

/// Two projects, one disabled node type and one that is out of stock.
fn config(ports: &str) -> String {
    format!(
        r#"
[node]
ports = "{ports}"
[node_types]
db-dev-s = {{ vcpus = 2, memory_gb = 2, local_gb = 5, generation = "v1", range = "Cost Optimized" }}
db-dev-m = {{ vcpus = 3, memory_gb = 4, local_gb = 25, generation = "v1", range = "Cost Optimized" }}
db-gp-xs = {{ vcpus = 4, memory_gb = 16, local_gb = 135, generation = "v1", range = "", disabled = true }}
db-gp-m = {{ vcpus = 16, memory_gb = 64, local_gb = 585, generation = "v1", range = "", stock = "out_of_stock" }}
[projects.proj_default]
id = "{PROJECT}"
organization = "{ORGANIZATION}"
max_instances = 2
[projects.proj_other]
id = "7b0f3c52-9d1b-4f0e-8a52-7a5d0f6c2e31"
organization = "{ORGANIZATION}"
"#
    )
}

#[tokio::test]
async fn every_method_of_the_python_client() {
    let python = installed("python/bin/python");
    if !python.exists() {
        return skipped(&python);
    }
    let data = DataDir::new();
    let host = start(&data, "30520-30529").await;
    let mut command = Command::new(python);
    command.arg(script("every_method.py"));
    run(&host, &data, command).await;
}

#[tokio::test]
async fn what_the_javascript_client_does_in_its_own_way() {
    let modules = installed("js/node_modules");
    if !modules.exists() {
        return skipped(&modules);
    }
    let data = DataDir::new();
    let host = start(&data, "30530-30539").await;
    let mut command = Command::new("node");
    command.arg(script("where_it_differs.cjs"));
    run(&host, &data, command).await;
}

async fn start(data: &DataDir, ports: &str) -> Host {
    let path = data.path().join("berth.toml");
    fs::write(&path, config(ports)).unwrap();
    Host::start_with(data, &["--config", path.to_str().unwrap()]).await
}

/// Run the client, and see that what it made and removed left nothing behind.
async fn run(host: &Host, data: &DataDir, mut command: Command) {
    let mine = key(host, "proj_default").await;
    let other = key(host, "proj_other").await;
    let output = command
        .env("BERTH_URL", host.base())
        .env("BERTH_PROJECT", PROJECT)
        .env("BERTH_ORGANIZATION", ORGANIZATION)
        .env("BERTH_ACCESS_KEY", mine["access_key"].as_str().unwrap())
        .env("BERTH_SECRET_KEY", mine["secret_key"].as_str().unwrap())
        .env(
            "BERTH_OTHER_SECRET_KEY",
            other["secret_key"].as_str().unwrap(),
        )
        .env("BERTH_ADMIN_KEY", host.key())
        .env("BERTH_SDKS", installed(""))
        .env("PSQL", psql_binary())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "*")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{complaints}", output.status);
    println!("{complaints}");
    let log = fs::read_to_string(data.path().join("host.log")).unwrap();
    for bad in ["panicked", "not served"] {
        let line = log.lines().find(|line| line.contains(bad));
        assert_eq!(line, None);
    }
    data.nothing_but_the_host().await;
}

async fn key(host: &Host, project: &str) -> Value {
    let wanted = json!({ "project": project, "description": "for a client" });
    host.post("/admin/v1/keys", &wanted).await.expect(201)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("sdks")
        .join(name)
}

/// Where `make test` puts the clients: beside the profiles.
pub fn installed(what: &str) -> PathBuf {
    let target = berth_binary();
    let target = target
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/berth");
    target.join("sdks").join(what)
}

fn skipped(missing: &Path) {
    let missing = missing.display();
    not_tried(&format!(
        "there is no {missing}; scripts/install-sdks.sh says why"
    ));
}
