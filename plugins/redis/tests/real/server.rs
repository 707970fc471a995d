//! A real server, run from the plugin's own plan as a target would run it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use berth_plugin_redis::Redis;
use berth_sdk::engine::{Credentials, Instance, Login, MemberAddress, Provisioning};
use berth_sdk::types::{self, Endpoint, NodeSize, Secret, Setting, Spec, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::relay::relay;

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// An unprivileged user, as a target runs servers.
const NOBODY: u32 = 65_534;

pub struct Server {
    pub spec: Spec,
    pub instance: Instance,
    pub endpoint: Endpoint,
    workload: Workload,
    values: BTreeMap<String, String>,
    programs: PathBuf,
    dir: tempfile::TempDir,
    process: Option<Child>,
}

/// Where a version's programs are, if they are installed.
pub fn programs(version: &str) -> Option<PathBuf> {
    let (product, number, server) = match version.strip_prefix("valkey-") {
        Some(number) => ("valkey", number, "valkey-server"),
        None => ("redis", version, "redis-server"),
    };
    let home = std::env::var("HOME").unwrap_or_default();
    [
        format!("/opt/berth/servers/{product}/{number}/usr/bin"),
        format!("{home}/.local/share/berth/servers/{product}/{number}/usr/bin"),
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|dir| dir.join(server).exists())
}

pub fn spec(version: &str) -> Spec {
    Spec {
        id: "0198c0de-0000-7000-8000-000000000001".into(),
        name: "real one".into(),
        slug: "real-one".into(),
        version: version.into(),
        node: NodeSize {
            cpu_millis: 1000,
            memory_bytes: 256 << 20,
        },
        storage_bytes: 1 << 30,
        members: 1,
        user: None,
        database: None,
        settings: Vec::new(),
        init_settings: Vec::new(),
    }
}

impl Server {
    /// Initialise and start one; it is not ready yet when this returns.
    pub fn start(version: &str, programs: PathBuf) -> Self {
        let spec = spec(version);
        let workload = Redis::plan(spec.clone()).expect("a plan");
        let dir = tempfile::Builder::new()
            .prefix("berth-redis-")
            .tempdir_in("/tmp")
            .expect("a directory");
        let port = free_port(version);
        let secrets = secrets();
        let mut values = BTreeMap::from([
            ("volume:data".to_owned(), path(&dir, "data")),
            ("run".to_owned(), path(&dir, "run")),
            ("port:redis".to_owned(), port.to_string()),
            ("listen:redis".to_owned(), "127.0.0.1".to_owned()),
        ]);
        for secret in &secrets {
            values.insert(format!("secret:{}", secret.name), secret.value.clone());
        }
        for file in &workload.members[0].files {
            values.insert(format!("file:{}", file.name), path(&dir, &file.name));
        }
        let socket = dir.path().join("run").join("redis.sock");
        let endpoint = Endpoint {
            name: "redis".into(),
            member: "node-0".into(),
            port_name: "redis".into(),
            bind_address: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            port,
            inner_port: None,
        };
        let instance = Instance {
            spec: spec.clone(),
            members: vec![MemberAddress {
                member: "node-0".into(),
                port_name: "redis".into(),
                address: relay(socket).to_string(),
            }],
            endpoints: vec![endpoint.clone()],
            secrets,
        };
        let mut server = Self {
            spec,
            instance,
            endpoint,
            workload,
            values,
            programs,
            dir,
            process: None,
        };
        server.initialise();
        server.run();
        server
    }

    /// Start its main program.
    pub fn run(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("the log");
        let errors = log.try_clone().expect("the log");
        let mut command = self.command(&self.workload.members[0].main);
        let process = command.stdout(log).stderr(errors).spawn();
        self.process = Some(process.expect("a server"));
    }

    /// Write the files of a plan with these settings, as a target does before a reload.
    pub fn configure(&mut self, settings: &[(&str, &str)]) {
        self.spec.settings = settings
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect();
        self.instance.spec = self.spec.clone();
        self.workload = Redis::plan(self.spec.clone()).expect("a plan");
        for file in &self.workload.members[0].files {
            let target = self.dir.path().join(&file.name);
            fs::write(target, fill(&file.content, &self.values)).expect("a file");
        }
    }

    /// Stop it as its plan says, and start it anew.
    pub fn restart(&mut self) {
        let status = self.stop();
        assert!(status.success(), "{status}\n{}", self.log());
        self.run();
        self.ready();
    }

    pub fn stop(&mut self) -> ExitStatus {
        let signal = format!("SIG{}", self.workload.members[0].stop.signal);
        self.signal(signal.parse().expect("a signal"))
    }

    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        let mut process = self.process.take().expect("a running server");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("a pid"));
        kill(pid, signal).expect("a signal");
        process.wait().expect("an end")
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("a running server").id()
    }

    /// Collect it after somebody else killed it.
    pub fn reap(&mut self) {
        let mut process = self.process.take().expect("a server");
        process.wait().expect("an end");
    }

    /// More at the end of the log of changes.
    pub fn append_to_log(&self, bytes: &[u8]) {
        let dir = self.dir.path().join("data/appendonlydir");
        let entries = fs::read_dir(dir).expect("its log").flatten();
        let newest = entries
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max()
            .expect("its log");
        let mut log = fs::File::options()
            .append(true)
            .open(newest)
            .expect("its log");
        io::Write::write_all(&mut log, bytes).expect("more of it");
    }

    /// Whether its directory can be written to: as root it is the server's user who may not.
    pub fn let_write(&self, may: bool) {
        let mode = if may { 0o755 } else { 0o555 };
        let data = self.dir.path().join("data");
        fs::set_permissions(data, fs::Permissions::from_mode(mode)).expect("chmod");
    }

    pub fn users_file(&self) -> String {
        fs::read_to_string(self.dir.path().join("data/users.acl")).expect("the users")
    }

    /// Another certificate in the files, as a target writes it.
    pub fn renew_certificate(&mut self) {
        for secret in secrets() {
            if secret.name.starts_with("tls.") {
                self.values
                    .insert(format!("secret:{}", secret.name), secret.value);
            }
        }
        let chosen: Vec<_> = self.spec.settings.drain(..).collect();
        let chosen: Vec<_> = chosen.iter().map(|s| (&*s.name, &*s.value)).collect();
        self.configure(&chosen);
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        let shown = Command::new("openssl")
            .args(["s_client", "-connect"])
            .arg(format!("127.0.0.1:{}", self.endpoint.port))
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let begin = text.find("-----BEGIN").expect("a certificate");
        let end = text.find("-----END").expect("a certificate's end");
        text[begin..end].to_owned()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }

    pub fn secret(&self, name: &str) -> String {
        self.instance.secret(name).expect("a secret").to_owned()
    }

    pub fn login(&self) -> Login {
        Redis::first_login(self.spec.clone()).expect("a login")
    }

    /// Bootstrap, as often as the plugin asks for it.
    pub fn bootstrap(&self) {
        self.until(|| Redis::bootstrap(self.instance.clone()));
    }

    /// Wait until it serves, changing nothing.
    pub fn ready(&self) {
        let observe = || {
            let seen = Redis::observe(self.instance.clone())?;
            if seen[0].ready {
                return Ok(());
            }
            Err(types::Error::retry(
                Duration::from_millis(10),
                "it is not ready",
            ))
        };
        self.until(observe);
    }

    /// Ask the server's own client, as this user over TLS.
    pub fn as_user(&self, user: &str, password: &str, command: &[&str]) -> Result<String, String> {
        self.client(
            &["--tls", "--cacert", &self.values["file:server.crt"]],
            user,
            password,
            command,
        )
    }

    /// Ask as Berth does.
    pub fn ask(&self, command: &[&str]) -> String {
        self.try_ask(command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    pub fn try_ask(&self, command: &[&str]) -> Result<String, String> {
        self.client(
            &["-s", &self.socket()],
            "berth",
            &self.secret("berth"),
            command,
        )
    }

    pub fn socket(&self) -> String {
        format!("{}/redis.sock", self.values["run"])
    }

    pub fn uri(&self) -> String {
        Redis::connect(
            self.spec.clone(),
            self.endpoint.clone(),
            self.login(),
            self.secret("app"),
        )
        .expect("a connection")
        .uri
    }

    /// Ask at this URI.
    pub fn at(&self, uri: &str, command: &[&str]) -> Result<String, String> {
        let certificate = &self.values["file:server.crt"];
        let mut client = Command::new(self.client_program());
        client.args(["-u", uri, "--cacert", certificate, "-e"]);
        said(client.args(command))
    }

    pub fn client_program(&self) -> PathBuf {
        let names = ["redis-cli", "valkey-cli"].map(|name| self.programs.join(name));
        let found = names.into_iter().find(|path| path.exists());
        found.expect("the server's own client")
    }

    fn client(
        &self,
        how: &[&str],
        user: &str,
        password: &str,
        command: &[&str],
    ) -> Result<String, String> {
        let port = self.endpoint.port.to_string();
        let mut client = Command::new(self.client_program());
        client
            .args(["-h", "localhost", "-p", &port, "-e", "--user", user])
            .args(how)
            .args(command)
            .env("REDISCLI_AUTH", password)
            .env("VALKEYCLI_AUTH", password);
        said(&mut client)
    }

    fn until(&self, what: impl Fn() -> Result<(), types::Error>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match what() {
                Ok(()) => return,
                Err(types::Error::RetryAfter(retry)) => {
                    let said = &retry.reason;
                    assert!(Instant::now() < deadline, "{said}\n{}", self.log());
                    thread::sleep(Duration::from_millis(retry.after_ms.into()));
                }
                Err(error) => panic!("{error:?}\n{}", self.log()),
            }
        }
    }

    fn initialise(&self) {
        let member = &self.workload.members[0];
        for name in ["", "data", "run"] {
            let dir = self.dir.path().join(name);
            fs::create_dir_all(&dir).expect("a directory");
            own(&dir);
        }
        for file in &member.files {
            let target = self.dir.path().join(&file.name);
            let mode = if file.sensitive { 0o600 } else { 0o640 };
            let opened = fs::File::options()
                .create_new(true)
                .write(true)
                .mode(mode)
                .open(&target);
            let content = fill(&file.content, &self.values);
            io::Write::write_all(&mut opened.expect("a file"), content.as_bytes())
                .expect("its content");
            own(&target);
        }
        for task in &member.init.as_ref().expect("an init").tasks {
            let output = self.command(task).output().expect("an init task");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
    }

    fn command(&self, planned: &types::Command) -> Command {
        let program = match &*planned.program {
            "cp" => "/bin/cp".into(),
            server => self.programs.join(server),
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .args(planned.args.iter().map(|text| fill(text, &self.values)));
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// What a client says: with `-e` its status is that of the command.
fn said(client: &mut Command) -> Result<String, String> {
    let output = client.output().expect("the client");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    // One that could not log in goes on without, and says so.
    if output.status.success() && !errors.contains("AUTH failed") {
        return Ok(out);
    }
    Err(format!("{out}\n{errors}"))
}

/// The first user's password with everything that wants quoting, and a certificate.
fn secrets() -> Vec<Secret> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
        .expect("a certificate");
    [
        ("berth", "SecretOfBerthAlone0123456789".to_owned()),
        ("app", "o'dd \"pass\\word\" ${x} %41".to_owned()),
        ("tls.ca", key.cert.pem()),
        ("tls.cert", key.cert.pem()),
        ("tls.key", key.signing_key.serialize_pem()),
    ]
    .map(|(name, value)| Secret {
        name: name.into(),
        value,
    })
    .into()
}

fn fill(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("${{{name}}}"), value);
    }
    assert!(!text.contains("${"), "a placeholder is left in {text}");
    text
}

/// Below those that the system gives to whoever asks for any, and for each version others.
fn free_port(version: &str) -> u16 {
    let first = match version {
        "7.0" => 25_000,
        "7.2" => 25_100,
        _ => 25_200,
    };
    (first..first + 100)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

fn path(dir: &tempfile::TempDir, name: &str) -> String {
    dir.path().join(name).display().to_string()
}

fn own(path: &Path) {
    if Uid::effective().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("chown");
    }
}
