//! `berth` as an operator meets it: what it refuses and how it says so, and the first key.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use berth_tests::real::{DataDir, berth_binary, free_port};
use berth_tests::wait_for;

/// Run it to its end.
fn berth(args: &[&str]) -> Output {
    Command::new(berth_binary())
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// It refused with this status, and said all of these.
#[track_caller]
fn refused(output: &Output, status: i32, said: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert!(text.starts_with("berth: ") || status == 2, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for words in said {
        assert!(text.contains(words), "{words:?} is not in: {text}");
    }
}

fn serve(data: &Path, more: &[&str]) -> Output {
    let mut args = vec!["serve", "--data-dir", data.to_str().unwrap()];
    if !more.contains(&"--listen") {
        args.extend(["--listen", "127.0.0.1:0"]);
    }
    args.extend(more);
    berth(&args)
}

/// A host that needs no plugin, ended when dropped.
struct Serving {
    child: std::process::Child,
    base: String,
}

impl Serving {
    async fn start(data: &DataDir) -> Self {
        let port = free_port();
        let plugins = data.path().join("no-plugins");
        fs::create_dir_all(&plugins).unwrap();
        let child = Command::new(berth_binary())
            .args([
                "serve",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--data-dir",
            ])
            .arg(data.path())
            .arg("--plugins")
            .arg(plugins)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let base = format!("http://127.0.0.1:{port}");
        wait_for("berth to serve", async || {
            reqwest::get(format!("{base}/healthz")).await.ok()
        })
        .await;
        Self { child, base }
    }

    async fn status(&self, key: &str) -> u16 {
        let request = reqwest::Client::new().get(format!("{}/api/v1/databases", self.base));
        request
            .bearer_auth(key)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    /// Ask it to end, and take its exit status.
    fn end(mut self) -> i32 {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_explains_itself() {
    for args in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let output = berth(args);
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("berth"), "{text}");
        assert!(
            !text.contains("shim"),
            "what is not for people is not shown: {text}"
        );
    }
    refused(&berth(&[]), 2, &["Usage: berth"]);
    refused(&berth(&["serv"]), 2, &["serv"]);
    refused(&berth(&["serve", "--tls-cert", "x"]), 2, &["--tls-key"]);
}

#[test]
fn settings_are_checked_by_name_and_line() {
    let data = DataDir::new();
    let file = data.path().join("berth.toml");
    let file = file.to_str().unwrap();
    fs::write(file, "[server]\nlisten = \"127.0.0.1:0\"\nlitsen = 1\n").unwrap();
    for args in [
        &["config", "check", "--config", file][..],
        &["serve", "--config", file],
    ] {
        refused(
            &berth(args),
            2,
            &["berth.toml, line 3", "unknown field `litsen`"],
        );
    }
    fs::write(file, "[log]\nformat = \"json\"\n").unwrap();
    assert!(
        berth(&["config", "check", "--config", file])
            .status
            .success()
    );
    let printed = berth(&["config", "print", "--config", file]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        text.contains("format = \"json\"") && text.contains("[regions.nyc1]"),
        "{text}"
    );
    fs::write(file, text).unwrap();
    assert!(
        berth(&["config", "check", "--config", file])
            .status
            .success(),
        "it reads what it prints"
    );
    refused(
        &berth(&["config", "check", "--config", "/nowhere/x"]),
        2,
        &["/nowhere/x: cannot be read"],
    );
}

#[test]
fn a_listener_in_the_clear_stays_on_loopback() {
    let data = DataDir::new();
    let output = serve(data.path(), &["--listen", "0.0.0.0:0"]);
    refused(
        &output,
        1,
        &["0.0.0.0:0", "--tls-cert", "--insecure-listen"],
    );
    assert!(!data.path().join("admin.key").exists(), "nothing was begun");
}

#[test]
fn a_taken_port_is_named() {
    let data = DataDir::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    refused(
        &serve(data.path(), &["--listen", &address]),
        1,
        &[&address, "in use"],
    );
}

#[test]
fn a_data_directory_that_will_not_do_is_refused() {
    let data = DataDir::new();
    let long = data.path().join("x".repeat(80));
    refused(&serve(&long, &[]), 1, &["too long a path"]);
    let open = data.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&serve(&open, &[]), 1, &["chmod go-w"]);
    let file = data.path().join("file");
    fs::write(&file, "").unwrap();
    refused(&serve(&file, &[]), 1, &["cannot be"]);
    if nix::unistd::geteuid().is_root() {
        let closed = data.path().join("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let fix = format!("chmod o+x {}", closed.display());
        refused(&serve(&closed.join("data"), &[]), 1, &[&fix]);
    }
}

#[tokio::test]
async fn the_first_key_is_made_once_and_can_be_replaced() {
    let data = DataDir::new();
    let file = data.path().join("admin.key");
    let read = || fs::read_to_string(&file).unwrap().trim().to_owned();

    let serving = Serving::start(&data).await;
    let first = read();
    assert_eq!(uuid::Uuid::parse_str(&first).unwrap().get_version_num(), 4);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(serving.status(&first).await, 200);
    assert_eq!(
        serving.status("018f0000-0000-4000-8000-000000000000").await,
        401
    );
    let reset = [
        "admin-key",
        "reset",
        "--data-dir",
        data.path().to_str().unwrap(),
    ];
    refused(&berth(&reset), 1, &["another berth"]);
    assert_eq!(serving.end(), 0, "it ends in order");

    // Gone from the directory, it is known all the same and not made again.
    fs::remove_file(&file).unwrap();
    let serving = Serving::start(&data).await;
    assert!(!file.exists());
    assert_eq!(serving.status(&first).await, 200);
    serving.end();

    let output = berth(&reset);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("admin.key"));
    let second = read();
    assert_ne!(first, second);
    let serving = Serving::start(&data).await;
    assert_eq!(serving.status(&second).await, 200);
    assert_eq!(serving.status(&first).await, 401);
    serving.end();
}

#[tokio::test]
async fn a_start_that_was_cut_short_goes_on_with_the_key_in_the_file() {
    let data = DataDir::new();
    let file = data.path().join("admin.key");
    let key = "5b0ff1c5-8b36-4b0e-9a0c-0a5a3b6f7c11";
    fs::write(&file, key).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let serving = Serving::start(&data).await;
    assert_eq!(serving.status(key).await, 200);
    serving.end();

    let other = DataDir::new();
    fs::write(other.path().join("admin.key"), "swordfish").unwrap();
    let output = serve(other.path(), &[]);
    refused(&output, 1, &["admin.key holds no key"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("swordfish"));
}
