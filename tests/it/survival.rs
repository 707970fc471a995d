//! What a database outlives, each aimed at its moment. The kill rounds hit random ones.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use berth_tests::real::{
    DataDir, Host, Process, berth_binary, plugins_dir, postgresql_program, psql,
};
use berth_tests::wait_for;

use crate::lifecycle::{body, credentials, destroy, running};

const STARTED: &str = "select pg_postmaster_start_time()";

#[tokio::test]
async fn another_build_adopts_what_runs_and_a_replaced_binary_still_starts_servers() {
    let data = DataDir::new();
    let installed = data.path().join("berth-installed");
    install(&installed, b"");
    let plugins = plugins_dir();
    let flags = ["--plugins", plugins.to_str().unwrap()];
    let mut host = Host::start_binary(&installed, &data, &flags).await;
    let first = running(&host, "first").await;
    let server = psql(&credentials(&host, &first).await, STARTED).unwrap();

    // As a package manager does it: the old file has no name any more, and its process goes on.
    install(&installed, b"another build");
    let second = running(&host, "second").await;
    host.kill9();

    let host = Host::start_binary(&installed, &data, &flags).await;
    for id in [&first, &second] {
        host.wait_status(id, "running").await;
        psql(&credentials(&host, id).await, "select 1").unwrap();
    }
    let now = psql(&credentials(&host, &first).await, STARTED).unwrap();
    assert_eq!(now, server, "the server was started again");
    for id in [&first, &second] {
        destroy(&host, id).await;
    }
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_host_that_dies_while_a_shim_starts_loses_nothing() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    for with_shim in [false, true, false, true] {
        let created = host.post("/api/v1/databases", &body("begun")).await;
        let id = created.expect(201)["id"].as_str().unwrap().to_owned();
        // Looked for without a pause: the first process of a shim lives for some milliseconds.
        let shim = loop {
            if let Some(shim) = data.processes().into_iter().find(Process::is_shim) {
                break shim;
            }
            assert!(host.is_alive());
            tokio::task::yield_now().await;
        };
        host.kill9();
        if with_shim {
            shim.kill9();
        }
        host = Host::start(&data).await;
        host.wait_status(&id, "running").await;
        psql(&credentials(&host, &id).await, "select 1").unwrap();
        let shims = data.processes().into_iter().filter(Process::is_shim);
        assert_eq!(shims.count(), 2, "the server's and the proxy's");
        destroy(&host, &id).await;
        data.nothing_but_the_host().await;
    }
}

#[tokio::test]
async fn shim_and_server_that_die_together_are_back() {
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let id = running(&host, "both").await;
    let given = credentials(&host, &id).await;
    let before = psql(&given, STARTED).unwrap();
    // The shim first, so that it cannot start the server itself.
    let (shims, servers): (Vec<_>, Vec<_>) = data
        .processes()
        .into_iter()
        .filter(|p| !p.is_host())
        .partition(Process::is_shim);
    assert!(!shims.is_empty() && !servers.is_empty());
    for process in shims.iter().chain(&servers) {
        process.kill9();
    }
    let now = wait_for("the server to be back", async || psql(&given, STARTED).ok()).await;
    assert_ne!(now, before);
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn every_version_that_is_installed_can_be_had() {
    let installed: Vec<String> = (14..=18)
        .filter(|major| postgresql_program(*major, "postgres").is_some())
        .map(|major| major.to_string())
        .collect();
    assert!(installed.len() >= 2, "`make test` installs several");
    let data = DataDir::new();
    let host = Host::start(&data).await;
    let mut ids = Vec::new();
    for version in &installed {
        let mut wanted = body(&format!("version-{version}"));
        wanted["version"] = version.as_str().into();
        let created = host.post("/api/v1/databases", &wanted).await.expect(201);
        ids.push((version, created["id"].as_str().unwrap().to_owned()));
    }
    for (version, id) in &ids {
        let shown = host.wait_status(id, "running").await;
        assert_eq!(shown["version"], version.as_str());
        let given = credentials(&host, id).await;
        let runs = psql(&given, "show server_version").unwrap();
        assert!(runs.starts_with(version.as_str()), "{version}: {runs}");
        psql(&given, "create table mine (v int)").unwrap();
    }
    for (_, id) in &ids {
        destroy(&host, id).await;
    }
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_missing_program_is_named_with_the_command_that_installs_it() {
    let data = DataDir::new();
    let config = data.path().join("berth.toml");
    let nowhere = r#"
        [[program]]
        name = "initdb"
        paths = ["/nonexistent/{version}/initdb"]
        install = "make the-server-{version}"
    "#;
    fs::write(&config, nowhere).unwrap();
    let host = Host::start_with(&data, &["--config", config.to_str().unwrap()]).await;
    let refused = host.post("/api/v1/databases", &body("nowhere")).await;
    let refused = refused.expect(422);
    let field = &refused["fields"][0];
    assert_eq!(field["field"], "version", "{refused}");
    let said = format!("{} {}", field["reason"], field["help"]);
    assert!(said.contains("`initdb`"), "{said}");
    assert!(said.contains("make the-server-18"), "{said}");
    let all = host.get("/api/v1/databases").await.expect(200);
    assert_eq!(all, serde_json::json!([]));
    data.nothing_but_the_host().await;
}

/// Put the binary there under a name of its own, changed by what is appended, in one step.
fn install(path: &Path, appended: &[u8]) {
    let beside = path.with_extension("new");
    fs::copy(berth_binary(), &beside).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(&beside).unwrap();
    file.write_all(appended).unwrap();
    drop(file);
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, path).unwrap();
}
