//! The real binary on a real data directory: start it, talk to it, kill it, and look for what it left behind.

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{compiled, servers, wait_for};

/// A data directory of its own. Dropping it ends every process that still belongs to it.
pub struct DataDir {
    dir: tempfile::TempDir,
}

impl DataDir {
    pub fn new() -> Self {
        // Short, because unix sockets live below it; traversable, because instances have users of their own.
        let dir = tempfile::Builder::new()
            .prefix("berth-")
            .tempdir_in("/tmp")
            .expect("a directory in /tmp");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Living processes that work below it or name it in their arguments.
    pub fn processes(&self) -> Vec<Process> {
        Process::all()
            .into_iter()
            .filter(|p| p.belongs_to(self.path()))
            .collect()
    }

    /// Wait until the host is the only process, and see that no instance has a directory any more.
    pub async fn nothing_but_the_host(&self) {
        wait_for("every process to be gone", async || {
            self.processes().iter().all(Process::is_host).then_some(())
        })
        .await;
        assert_eq!(self.instance_dirs(), Vec::<PathBuf>::new());
        assert_eq!(entries(&self.path().join("run")), Vec::<PathBuf>::new());
    }

    /// Directories of instances that are still there.
    pub fn instance_dirs(&self) -> Vec<PathBuf> {
        entries(&self.path().join("instances"))
    }

    /// End every process that belongs to it.
    pub fn end_processes(&self) {
        // Shims first, or they would start their servers again.
        for _ in 0..50 {
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for shims in [true, false] {
                for process in left.iter().filter(|p| p.is_shim() == shims) {
                    process.kill9();
                }
            }
            std::thread::yield_now();
        }
    }

    /// Directories of the control groups that its members have, or had.
    pub fn groups(&self) -> Vec<PathBuf> {
        let children = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
        let homes = self.instance_dirs().into_iter();
        let homes = homes.flat_map(|dir| children(dir.join(".berth")));
        let records = homes.filter_map(|home| fs::read(home.path().join("group.json")).ok());
        let parts = records.filter_map(|bytes| serde_json::from_slice::<Vec<Value>>(&bytes).ok());
        let dirs = parts
            .flatten()
            .filter_map(|part| Some(part["dir"].as_str()?.into()));
        dirs.collect()
    }

    pub fn admin_key(&self) -> String {
        let text = fs::read_to_string(self.path().join("admin.key")).expect("admin.key");
        text.trim().to_owned()
    }
}

impl Default for DataDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("BERTH_KEEP").is_some() {
            eprintln!("kept {}", self.path().display());
            self.dir.disable_cleanup(true);
        }
        self.end_processes();
        for group in self.groups() {
            // The kernel may take a moment to notice that the last process is gone.
            for _ in 0..1000 {
                match fs::remove_dir(&group) {
                    Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                        std::thread::yield_now();
                    }
                    Ok(()) | Err(_) => break,
                }
            }
            let _ = group.parent().map(fs::remove_dir);
        }
    }
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("cannot list {}: {error}", dir.display()),
    }
}

/// A process of this machine, as /proc shows it.
#[derive(Clone, Debug)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub args: Vec<String>,
    cwd: Option<PathBuf>,
}

impl Process {
    pub fn all() -> Vec<Self> {
        fs::read_dir("/proc")
            .expect("/proc")
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Self::read)
            .collect()
    }

    /// None when it is gone or a zombie. One whose first thread has ended and whose others have not yet is neither: it
    /// still has its sockets.
    fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // Fields 3, 4 and 20 of proc(5).
        let (state, parent, threads) = (fields.first()?, fields.get(1)?, fields.get(17)?);
        if *state == "Z" && matches!(*threads, "0" | "1") {
            return None;
        }
        let parent = parent.parse().ok()?;
        let args = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some(Self {
            pid,
            parent,
            args: args
                .split(|b| *b == 0)
                .map(|arg| String::from_utf8_lossy(arg).into_owned())
                .collect(),
            cwd: fs::read_link(format!("/proc/{pid}/cwd")).ok(),
        })
    }

    fn belongs_to(&self, dir: &Path) -> bool {
        let below = self.cwd.as_deref().is_some_and(|cwd| cwd.starts_with(dir));
        let text = dir.to_string_lossy();
        below || self.args.iter().any(|arg| arg.contains(text.as_ref()))
    }

    pub fn is_shim(&self) -> bool {
        self.args.get(1).is_some_and(|arg| arg == "shim")
    }

    /// What the target itself puts in front of servers.
    pub fn is_proxy(&self) -> bool {
        self.args
            .first()
            .is_some_and(|program| program.ends_with("haproxy"))
    }

    pub fn is_host(&self) -> bool {
        self.args.get(1).is_some_and(|arg| arg == "serve")
    }

    pub fn kill9(&self) {
        self.signal(Signal::SIGKILL);
    }

    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself in the meantime.
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

/// A running `berth serve`.
pub struct Host {
    child: Child,
    base: String,
    key: String,
    client: reqwest::Client,
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

impl Host {
    /// Start it and wait until it is ready.
    pub async fn start(data: &DataDir) -> Self {
        Self::start_with(data, &[]).await
    }

    pub async fn start_with(data: &DataDir, more: &[&str]) -> Self {
        Self::start_binary(&berth_binary(), data, more).await
    }

    /// The same with a binary of the caller's.
    pub async fn start_binary(binary: &Path, data: &DataDir, more: &[&str]) -> Self {
        compiled::share(data.path()).await;
        let mut host = Self::spawn(binary, data, more);
        host.wait_ready(data).await;
        host
    }

    /// The same with these variables in its environment.
    pub async fn start_under(data: &DataDir, variables: &[(&str, &Path)]) -> Self {
        let mut host = Self::spawn_under(&berth_binary(), data, &[], variables);
        host.wait_ready(data).await;
        host
    }

    pub(crate) fn spawn(binary: &Path, data: &DataDir, more: &[&str]) -> Self {
        Self::spawn_under(binary, data, more, &[])
    }

    fn spawn_under(
        binary: &Path,
        data: &DataDir,
        more: &[&str],
        variables: &[(&str, &Path)],
    ) -> Self {
        let port = free_port();
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(data.path().join("host.log"))
            .expect("host.log");
        let mut command = Command::new(binary);
        command.arg("serve");
        // A test that has a configuration of its own says there what it needs.
        if !more.contains(&"--config") {
            let path = data.path().join("servers.toml");
            fs::write(&path, servers::programs()).expect("a configuration");
            command.arg("--config").arg(path);
        }
        let child = command
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(more)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("berth starts");
        Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
            key: String::new(),
            // A kept connection may be closed by the host just when it is used again.
            client: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .build()
                .expect("a client"),
        }
    }

    pub(crate) async fn wait_ready(&mut self, data: &DataDir) {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                let log = fs::read_to_string(data.path().join("host.log")).unwrap_or_default();
                panic!("berth ended with {status}:\n{log}");
            }
            let url = format!("{}/readyz", self.base);
            if let Ok(answer) = self.client.get(url).send().await
                && answer.status().is_success()
            {
                self.key = data.admin_key();
                return;
            }
            assert!(Instant::now() < deadline, "berth did not become ready");
            crate::pause().await;
        }
    }

    /// Wait until no plugin is being compiled any more.
    pub(crate) async fn wait_compiled(&self) {
        wait_for("the plugins to be compiled", async || {
            let listed = self.get("/admin/v1/plugins").await.expect(200);
            let plugins = listed["plugins"].as_array()?;
            let done = plugins.iter().all(|p| p["state"] != "compiling");
            (done && !plugins.is_empty()).then_some(())
        })
        .await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    /// The key that opens everything.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("it can be signalled");
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("wait")
    }

    /// As a power cut would, but for the page cache.
    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(self.url(path)))
            .await
            .expect("an answer")
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.client.delete(self.url(path)))
            .await
            .expect("an answer")
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).await.expect("an answer")
    }

    /// An error when the host died before it answered.
    pub async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Answer> {
        self.send(self.client.post(self.url(path)).json(body)).await
    }

    /// The same with an idempotency key.
    pub async fn post_once(&self, path: &str, body: &Value, key: &str) -> Answer {
        let request = self.client.post(self.url(path)).json(body);
        self.send(request.header("Idempotency-Key", key))
            .await
            .expect("an answer")
    }

    pub async fn try_delete(&self, path: &str) -> reqwest::Result<Answer> {
        self.send(self.client.delete(self.url(path))).await
    }

    /// Poll the database until its status is this one.
    pub async fn wait_status(&self, id: &str, status: &str) -> Value {
        let path = format!("/api/v1/databases/{id}");
        wait_for(&format!("{id} to be {status}"), async || {
            let body = self.get(&path).await.body;
            (body["status"] == status).then_some(body)
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let answer = request.bearer_auth(&self.key).send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status, body })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Run SQL through psql, from outside, with what `GET …/credentials` answered.
pub fn psql(credentials: &Value, sql: &str) -> Result<String, String> {
    let uri = credentials["connection_string"]
        .as_str()
        .expect("a connection string");
    let output = Command::new(psql_binary())
        .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .env("PGCONNECT_TIMEOUT", "10")
        .arg(uri)
        .output()
        .expect("psql runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The client of the newest server that is installed.
pub fn psql_binary() -> PathBuf {
    (14..=18)
        .rev()
        .find_map(|major| postgresql_program(major, "psql"))
        .expect("psql, which `make test` installs")
}

/// A program of this PostgreSQL, where the project's script or the distribution puts it.
pub fn postgresql_program(major: u16, program: &str) -> Option<PathBuf> {
    let below = format!("postgresql/{major}/bin/{program}");
    let distributions = || Some(Path::new("/usr/lib").join(&below)).filter(|path| path.exists());
    servers::installed(&below).or_else(distributions)
}

/// The binary under test: `BERTH_BIN`, or the one cargo built beside the tests.
pub fn berth_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("BERTH_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("own path");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps");
    let path = profile.join("berth");
    assert!(
        path.exists(),
        "{} is missing: run `make test`",
        path.display()
    );
    path
}

/// The components that were built beside it.
pub fn plugins_dir() -> PathBuf {
    berth_binary().with_file_name("plugins")
}

/// A port that nothing listens on right now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
