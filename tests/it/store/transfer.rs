//! `berth store export` and `import` with the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use berth_tests::real::{DataDir, Host, berth_binary, psql};

use crate::lifecycle::{credentials, destroy, running};

fn store(words: &[&str], data: &Path) -> Output {
    Command::new(berth_binary())
        .arg("store")
        .args(words)
        .arg("--data-dir")
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn done(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[track_caller]
fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{words:?} is not in: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[tokio::test]
async fn a_database_is_adopted_by_what_was_exported_and_imported() {
    let data = DataDir::new();
    let at = data.path().to_owned();
    let text = at.join("records");
    let text_name = text.to_str().unwrap();
    let host = Host::start(&data).await;
    let id = running(&host, "carried").await;
    let given = credentials(&host, &id).await;
    let started = psql(&given, "select pg_postmaster_start_time()").unwrap();
    refused(
        &store(&["export", "--output", text_name], &at),
        "another berth",
    );
    drop(host);

    let said = done(&store(&["export", "--output", text_name], &at));
    assert!(said.contains("seal.key"), "{said}");
    assert_eq!(
        fs::metadata(&text).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let exported = fs::read_to_string(&text).unwrap();
    let password = given["password"].as_str().unwrap();
    let key = fs::read_to_string(at.join("seal.key")).unwrap();
    assert!(!exported.contains(password) && !exported.contains(key.trim()));
    refused(
        &store(&["export", "--output", text_name], &at),
        "exists already",
    );
    refused(
        &store(&["import", "--input", text_name], &at),
        "has records already",
    );

    fs::rename(at.join("store"), at.join("store.old")).unwrap();
    done(&store(&["import", "--input", text_name], &at));
    assert!(!at.join("store.importing").exists());
    let host = Host::start(&data).await;
    host.wait_status(&id, "running").await;
    assert_eq!(credentials(&host, &id).await, given);
    let now = psql(&given, "select pg_postmaster_start_time()").unwrap();
    assert_eq!(now, started, "the server was started again");
    destroy(&host, &id).await;
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn an_import_is_whole_or_nothing() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    let text = data.path().join("records");
    let exporting = [
        "export",
        "--with-seal-key",
        "--output",
        text.to_str().unwrap(),
    ];
    let said = done(&store(&exporting, data.path()));
    assert!(said.contains("can read every password"), "{said}");
    let whole = fs::read_to_string(&text).unwrap();

    let other = DataDir::new();
    let into = other.path().join("data");
    let input = other.path().join("input");
    let import = |text: &str| {
        fs::write(&input, text).unwrap();
        store(&["import", "--input", input.to_str().unwrap()], &into)
    };
    refused(&import("a dump of something else\n"), "line 1 of the input");
    assert!(!into.exists(), "nothing was begun");
    let lines = whole.lines().count();
    let cut = &whole[..whole.trim_end().rfind('\n').unwrap() + 1];
    refused(&import(cut), &format!("line {lines} of the input"));
    let altered = whole.replacen("\"value\":\"AA", "\"value\":\"AB", 1);
    refused(&import(&altered), "line 2 of the input");
    for left in ["store", "store.importing", "seal.key"] {
        assert!(!into.join(left).exists(), "{left}");
    }
    // What an import that was killed leaves behind is neither taken for a store nor in the way.
    fs::create_dir(into.join("store.importing")).unwrap();
    fs::write(into.join("store.importing/db"), "half").unwrap();
    done(&import(&whole));
    let key = |data: &Path| fs::read_to_string(data.join("seal.key")).unwrap();
    assert_eq!(key(&into), key(data.path()));

    // The same records come out as went in.
    let again = other.path().join("again");
    let exporting = [
        "export",
        "--with-seal-key",
        "--output",
        again.to_str().unwrap(),
    ];
    done(&store(&exporting, &into));
    let again = fs::read_to_string(again).unwrap();
    let records = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1).map(str::to_owned);
        lines.filter(|line| line.starts_with("{\"key\"")).collect()
    };
    assert!(!records(&whole).is_empty());
    assert_eq!(records(&again), records(&whole));

    let third = DataDir::new();
    drop(Host::start(&third).await);
    fs::remove_dir_all(third.path().join("store")).unwrap();
    fs::write(&input, &whole).unwrap();
    let output = store(
        &["import", "--input", input.to_str().unwrap()],
        third.path(),
    );
    refused(&output, "is sealed with the key");
    assert!(!third.path().join("store").exists());
}

#[tokio::test]
async fn the_standard_output_and_input_are_files_too() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    let exported = store(&["export"], data.path());
    done(&exported);
    let other = DataDir::new();
    let mut importing = Command::new(berth_binary())
        .args(["store", "import", "--data-dir"])
        .arg(other.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = importing.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &exported.stdout).unwrap();
    drop(input);
    let said = done(&importing.wait_with_output().unwrap());
    assert!(said.contains("put the seal key"), "{said}");
    refused(
        &store(&["export"], &other.path().join("nowhere")),
        "there is no store",
    );
    assert!(!other.path().join("nowhere").exists());
}
