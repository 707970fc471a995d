//! `berth store export` and `import` with the real binary.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use berth_tests::real::{DataDir, Host, berth_binary, psql};
use berth_tests::{fixture, wait_for};

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
    refused_by_the_disk(output, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
}

/// sled may panic about its disk, in a thread of its own, before Berth says how that ended.
fn refused_by_the_disk(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let berth = said.find("berth: ").map_or("", |at| &said[at..]);
    assert!(berth.contains(words), "{words:?} is not in: {said}");
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

    let others = at.join("records.new");
    fs::write(&others, "somebody else's").unwrap();
    let said = done(&store(&["export", "--output", text_name], &at));
    assert!(said.contains("seal.key"), "{said}");
    assert_eq!(fs::read_to_string(&others).unwrap(), "somebody else's");
    fs::remove_file(others).unwrap();
    let named = |name: &str| name.starts_with("records");
    let names = fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = names
        .filter(|name| named(&name.to_string_lossy()))
        .collect();
    assert_eq!(left, ["records"]);
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

/// In the middle of it, when half a store stands there.
#[tokio::test]
async fn an_import_that_is_killed_is_begun_again() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    let exported = store(&["export", "--with-seal-key"], data.path());
    done(&exported);
    let text = String::from_utf8(exported.stdout).unwrap();
    let other = DataDir::new();
    let into = other.path().join("data");
    let import = || {
        Command::new(berth_binary())
            .args(["store", "import", "--data-dir"])
            .arg(&into)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let last = text.trim_end().rfind('\n').unwrap();
    let mut importing = import();
    let mut input = importing.stdin.take().unwrap();
    input.write_all(&text.as_bytes()[..last]).unwrap();
    input.flush().unwrap();
    wait_for("half a store", async || {
        into.join("store.importing/db").exists().then_some(())
    })
    .await;
    importing.kill().unwrap();
    importing.wait().unwrap();
    assert!(into.join("store.importing").exists() && !into.join("store").exists());

    let mut importing = import();
    let mut input = importing.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    done(&importing.wait_with_output().unwrap());
    assert!(!into.join("store.importing").exists());
    let again = store(&["export", "--with-seal-key"], &into);
    done(&again);
    let records = |text: &str| text.lines().filter(|l| l.starts_with("{\"key\"")).count();
    let again = String::from_utf8(again.stdout).unwrap();
    assert_eq!(records(&again), records(&text));
}

#[tokio::test]
async fn what_a_failing_disk_keeps_from_being_whole_is_not_there() {
    let data = DataDir::new();
    drop(Host::start(&data).await);
    let (out, beside) = (DataDir::new(), tempfile::tempdir().unwrap());
    let (text, rule) = (out.path().join("records"), beside.path().join("rule"));
    let under = |words: &[&str], at: &Path, watched: &Path, told: &str| {
        fs::write(&rule, told).unwrap();
        let _ = fs::remove_file(rule.with_extension("struck"));
        let output = Command::new(berth_binary())
            .arg("store")
            .args(words)
            .arg("--data-dir")
            .arg(at)
            .stdin(Stdio::null())
            .env("LD_PRELOAD", fixture::faultfs())
            .env("FAULTFS_WATCH", watched.canonicalize().unwrap())
            .env("FAULTFS_RULE", &rule)
            .output()
            .unwrap();
        let struck = rule.with_extension("struck").exists();
        assert!(
            struck,
            "{told}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    };
    let export = [
        "export",
        "--with-seal-key",
        "--output",
        text.to_str().unwrap(),
    ];
    for (told, watched) in [
        ("write records* 0 28 100", out.path()),
        ("sync records* 0 5", out.path()),
        ("read db 0 5", data.path()),
    ] {
        let output = under(&export, data.path(), watched, told);
        refused(&output, of_the_disk(told));
        let names = fs::read_dir(out.path()).unwrap().flatten();
        let mut names = names.filter(|e| e.file_name().to_string_lossy().starts_with("rec"));
        assert!(names.next().is_none(), "{told}: something was left");
    }
    done(&store(&export, data.path()));

    let into = out.path().join("data");
    fs::create_dir(&into).unwrap();
    let import = ["import", "--input", text.to_str().unwrap()];
    for told in [
        "write db 0 28",
        "write db 1 5 100",
        "sync db 0 5",
        "rename store.importing 0 5",
    ] {
        let output = under(&import, &into, &into, told);
        refused_by_the_disk(&output, of_the_disk(told));
        for left in ["store", "store.importing"] {
            assert!(!into.join(left).exists(), "{told}: {left}");
        }
    }
    done(&store(&import, &into));
}

/// What a system says of the error in a rule: OPERATION FILE NUMBER ERROR ….
fn of_the_disk(rule: &str) -> &'static str {
    match rule.split(' ').nth(3) {
        Some("28") => "No space left on device",
        _ => "Input/output error",
    }
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
