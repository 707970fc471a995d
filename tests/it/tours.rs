//! The tours that a newcomer is shown run as they stand in `examples/`, against the real binary with a real server, and
//! leave nothing behind.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use berth_tests::not_tried;
use berth_tests::real::{DataDir, Host, psql_binary};
use serde_json::json;
use tokio::process::Command;

use crate::rdb::installed;

#[tokio::test]
async fn tours_go_to_their_end() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let wanted = json!({ "project": "proj_default", "description": "for a tour" });
    let key = host.post("/admin/v1/keys", &wanted).await.expect(201);
    for mut tour in tours(&host, &data) {
        let name = format!("{tour:?}");
        let output = tour
            .env("SCW_API_URL", host.base())
            .env("SCW_ACCESS_KEY", key["access_key"].as_str().unwrap())
            .env("SCW_SECRET_KEY", key["secret_key"].as_str().unwrap())
            .env(
                "SCW_DEFAULT_PROJECT_ID",
                key["project_id"].as_str().unwrap(),
            )
            .env("PATH", path_with(&psql_binary()))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}\n{complaints}");
    }
    data.nothing_but_the_host().await;
}

fn tours(host: &Host, data: &DataDir) -> Vec<Command> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut tours = Vec::new();
    for script in ["curl-tour.sh", "curl-rdb-tour.sh"] {
        let mut tour = Command::new(examples.join(script));
        tour.arg(host.base()).arg(data.path().join("admin.key"));
        tours.push(tour);
    }
    let python = installed("python/bin/python");
    if python.exists() {
        let mut tour = Command::new(python);
        tour.arg(examples.join("python-tour.py"));
        tours.push(tour);
    } else {
        not_tried("the tour with the client for Python: it is not installed");
    }
    let modules = installed("js/node_modules");
    if modules.exists() {
        // Modules are looked for beside the script.
        let folder = data.path().join("tour");
        fs::create_dir(&folder).unwrap();
        symlink(modules, folder.join("node_modules")).unwrap();
        let script = folder.join("javascript-tour.mjs");
        fs::copy(examples.join("javascript-tour.mjs"), &script).unwrap();
        let mut tour = Command::new("node");
        tour.arg(script);
        tours.push(tour);
    } else {
        not_tried("the tour with the client for JavaScript: it is not installed");
    }
    tours
}

/// With the folder of this program before all others.
fn path_with(program: &Path) -> std::ffi::OsString {
    let first = program.parent().map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = first.into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(all.collect::<Vec<PathBuf>>()).unwrap()
}
