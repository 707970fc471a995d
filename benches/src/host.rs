//! The real binary, built for release, on a data directory of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::net::TcpStream;

/// `berth serve`. Dropping it kills it; what it started goes on, so delete databases first.
pub struct Host {
    child: Child,
    pub address: SocketAddr,
    pub key: String,
    client: reqwest::Client,
}

impl Host {
    /// Start it and wait until it is ready. Also says how long that took.
    pub async fn start(data: &Path) -> (Self, Duration) {
        Self::start_with(data, "").await
    }

    /// The same, with more of a configuration.
    pub async fn start_with(data: &Path, more: &str) -> (Self, Duration) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let log = fs::File::create(data.join("host.log")).expect("a log");
        // One key asks for all that the machine can do.
        let config = data.join("berth.toml");
        let pace = "[callers]\nrequests_per_second = 10000000\nburst = 10000000\n";
        fs::write(&config, format!("{pace}{more}")).expect("a configuration");
        let start = Instant::now();
        let child = Command::new(binary())
            .arg("serve")
            .arg("--data-dir")
            .arg(data)
            .args(["--listen", &address.to_string()])
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("berth starts");
        let mut host = Self {
            child,
            address,
            key: String::new(),
            client: reqwest::Client::new(),
        };
        host.wait_ready(data).await;
        let took = start.elapsed();
        let key = fs::read_to_string(data.join("admin.key")).expect("admin.key");
        key.trim().clone_into(&mut host.key);
        (host, took)
    }

    async fn wait_ready(&mut self, data: &Path) {
        let deadline = Instant::now() + Duration::from_secs(120);
        let ready = format!("http://{}/readyz", self.address);
        loop {
            // A bare connect is cheaper than a request that fails.
            if TcpStream::connect(self.address).await.is_ok()
                && let Ok(answer) = self.client.get(&ready).send().await
                && answer.status().is_success()
            {
                return;
            }
            if let Some(status) = self.child.try_wait().expect("wait") {
                let log = fs::read_to_string(data.join("host.log")).unwrap_or_default();
                panic!("berth ended with {status}:\n{log}");
            }
            assert!(Instant::now() < deadline, "berth did not become ready");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("VmRSS");
        let kib: u64 = line
            .trim()
            .trim_end_matches("kB")
            .trim()
            .parse()
            .expect("a number");
        kib * 1024
    }

    pub fn kill9(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited");
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.client.get(self.url(path))).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.client.post(self.url(path)).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(self.client.delete(self.url(path))).await
    }

    /// Ask the other dialect. Whatever is asked for is there.
    pub async fn rdb(&self, method: &str, path: &str, body: &Value) -> Value {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, self.url(path));
        request = request.header("X-Auth-Token", &self.key);
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let shown = answer.json().await.expect("a body");
        assert!(status.is_success(), "{path}: {status} {shown}");
        shown
    }

    /// Poll the database closely until it has this status.
    pub async fn wait_status(&self, id: &str, wanted: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let (_, body) = self.get(&format!("/api/v1/databases/{id}")).await;
            if body["status"] == wanted {
                return body;
            }
            assert!(
                body["status"] != "error" && Instant::now() < deadline,
                "{wanted}? {body}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Delete the database and wait until nothing of it is left.
    pub async fn remove(&self, id: &str) {
        let (status, body) = self.delete(&format!("/api/v1/databases/{id}")).await;
        assert_eq!(status, 202, "{body}");
        self.wait_status(id, "destroyed").await;
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let answer = request
            .bearer_auth(&self.key)
            .send()
            .await
            .expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The release build: `BERTH_BIN`, or beside this program.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BERTH_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("own path");
    let path = own.with_file_name("berth");
    assert!(
        path.exists(),
        "{} is missing: run `make bench`",
        path.display()
    );
    path
}

/// A directory that users of instances can reach.
pub fn directory() -> tempfile::TempDir {
    let folder = std::env::var_os("BERTH_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let made = tempfile::Builder::new()
        .prefix("berth-")
        .tempdir_in(folder)
        .expect("a directory");
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
    made
}
