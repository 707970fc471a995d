//! A real server, run from the plugin's own plan as a target would run it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use berth_plugin_mysql::MySql;
use berth_sdk::engine::{Credentials, Instance, Login, MemberAddress, Provisioning};
use berth_sdk::types::{self, Endpoint, NodeSize, Secret, Setting, Spec, Workload};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

/// How long anything may take on a busy machine before it counts as never.
const PATIENCE: Duration = Duration::from_secs(120);

/// An unprivileged user: MySQL refuses to run as root.
const NOBODY: u32 = 65_534;

/// A program to test, and the version that it is planned as.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub label: String,
}

pub struct Server {
    pub spec: Spec,
    pub instance: Instance,
    pub endpoint: Endpoint,
    workload: Workload,
    values: BTreeMap<String, String>,
    program: Program,
    dir: tempfile::TempDir,
    process: Option<Child>,
}

/// The one that `BERTH_TEST_MYSQLD` names, or the newest that the project's script installed.
pub fn program() -> Option<Program> {
    let path = match std::env::var_os("BERTH_TEST_MYSQLD") {
        Some(path) => PathBuf::from(path),
        None => installed()?,
    };
    let output = Command::new(&path)
        .args(["--no-defaults", "--version"])
        .output()
        .expect("a mysqld that runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let label = match said.split_once("Ver ").expect("a version").1 {
        text if text.starts_with("8.0.") => "8.0",
        text if text.starts_with("8.4.") => "8.4",
        text if text.starts_with("9.") => "9.7",
        other => panic!("Berth knows no MySQL {other}"),
    };
    Some(Program {
        path,
        label: label.into(),
    })
}

fn installed() -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let bases = [
        "/opt/berth/servers".to_owned(),
        format!("{home}/.local/share/berth/servers"),
    ];
    let mut found: Vec<_> = bases
        .iter()
        .filter_map(|base| fs::read_dir(Path::new(base).join("mysql")).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("usr/bin/mysqld"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop()
}

impl Server {
    /// Initialise and start one; it is not ready yet when this returns.
    pub fn start(program: Program, init_settings: &[(&str, &str)]) -> Self {
        let spec = Spec {
            id: "0198c0de-0000-7000-8000-000000000001".into(),
            name: "real one".into(),
            slug: "real-one".into(),
            version: program.label.clone(),
            node: NodeSize {
                cpu_millis: 1000,
                memory_bytes: 512 << 20,
            },
            storage_bytes: 1 << 30,
            members: 1,
            user: None,
            database: None,
            settings: Vec::new(),
            init_settings: chosen(init_settings),
        };
        let workload = MySql::plan(spec.clone()).expect("a plan");
        let dir = tempfile::Builder::new()
            .prefix("berth-my-")
            .tempdir_in("/tmp")
            .expect("a directory");
        let port = free_port();
        let secrets = secrets();
        let mut values = BTreeMap::from([
            ("volume:data".to_owned(), path(&dir, "data")),
            ("run".to_owned(), path(&dir, "run")),
            ("port:sql".to_owned(), port.to_string()),
            ("listen:sql".to_owned(), "127.0.0.1".to_owned()),
        ]);
        for secret in &secrets {
            values.insert(format!("secret:{}", secret.name), secret.value.clone());
        }
        for file in &workload.members[0].files {
            values.insert(format!("file:{}", file.name), path(&dir, &file.name));
        }
        let socket = workload.members[0].ports[0]
            .socket
            .clone()
            .expect("a socket");
        let socket = dir.path().join("run").join(fill(&socket, &values));
        let endpoint = Endpoint {
            name: "sql".into(),
            member: "mysql-0".into(),
            port_name: "sql".into(),
            bind_address: "127.0.0.1".into(),
            host: "127.0.0.1".into(),
            port,
            inner_port: None,
        };
        let instance = Instance {
            spec: spec.clone(),
            members: vec![MemberAddress {
                member: "mysql-0".into(),
                port_name: "sql".into(),
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
            program,
            dir,
            process: None,
        };
        server.initialise();
        server.run();
        server
    }

    /// Start its main program.
    pub fn run(&mut self) {
        let member = &self.workload.members[0];
        for stale in &member.stale_files {
            drop(fs::remove_file(self.dir.path().join(stale)));
        }
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("the log");
        let process = self.command(&member.main).stderr(log).spawn();
        self.process = Some(process.expect("a server"));
    }

    /// Write the files of a plan with these settings, as a target does before a reload.
    pub fn configure(&mut self, settings: &[(&str, &str)]) {
        self.spec.settings = chosen(settings);
        self.instance.spec = self.spec.clone();
        self.workload = MySql::plan(self.spec.clone()).expect("a plan");
        for file in &self.workload.members[0].files {
            let target = self.dir.path().join(&file.name);
            fs::write(target, fill(&file.content, &self.values)).expect("a file");
        }
    }

    /// Stop it as its plan says, and start it anew.
    pub fn restart(&mut self) {
        let status = self.signal(Signal::SIGTERM);
        assert!(status.success(), "{status}\n{}", self.log());
        self.run();
        self.bootstrap();
    }

    /// Another certificate in the files, as a target writes it.
    pub fn renew_certificate(&mut self) {
        for secret in secrets() {
            if secret.name.starts_with("tls.") {
                self.values
                    .insert(format!("secret:{}", secret.name), secret.value);
            }
        }
        self.configure(&[]);
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        let shown = Command::new("openssl")
            .args(["s_client", "-starttls", "mysql", "-connect"])
            .arg(format!("127.0.0.1:{}", self.endpoint.port))
            .stdin(Stdio::null())
            .output()
            .expect("openssl");
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let begin = text.find("-----BEGIN").expect("a certificate");
        let end = text.find("-----END").expect("a certificate's end");
        text[begin..end].to_owned()
    }

    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        let mut process = self.process.take().expect("a running server");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("a pid"));
        kill(pid, signal).expect("a signal");
        process.wait().expect("an end")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("the log")
    }

    /// What the system shows everybody of the running server.
    pub fn arguments(&self) -> String {
        let id = self.process.as_ref().expect("a running server").id();
        let read = fs::read(format!("/proc/{id}/cmdline")).expect("its arguments");
        String::from_utf8_lossy(&read).into_owned()
    }

    pub fn secret(&self, name: &str) -> String {
        self.instance.secret(name).expect("a secret").to_owned()
    }

    pub fn login(&self) -> Login {
        MySql::first_login(self.spec.clone()).expect("a login")
    }

    /// Bootstrap, as often as the plugin asks for it.
    pub fn bootstrap(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match MySql::bootstrap(self.instance.clone()) {
                Ok(()) => return,
                Err(types::Error::RetryAfter(retry)) => {
                    assert!(
                        Instant::now() < deadline,
                        "{}\n{}",
                        retry.reason,
                        self.log()
                    );
                    thread::sleep(Duration::from_millis(retry.after_ms.into()));
                }
                Err(error) => panic!("{error:?}\n{}", self.log()),
            }
        }
    }

    /// Ask the server's own client over TLS, as anybody.
    pub fn try_ask(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        self.mysql(user, password, "REQUIRED", sql)
    }

    pub fn mysql(
        &self,
        user: &str,
        password: &str,
        mode: &str,
        sql: &str,
    ) -> Result<String, String> {
        let port = self.endpoint.port;
        let at = [
            "--protocol=tcp".to_owned(),
            "--host=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--ssl-mode={mode}"),
        ];
        self.client(&at, user, password, sql)
    }

    /// Ask as the superuser.
    pub fn ask(&self, sql: &str) -> String {
        let socket = format!("--socket={}/mysqld.sock", self.values["run"]);
        self.client(&[socket], "berth", &self.secret("superuser"), sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    fn client(
        &self,
        at: &[String],
        user: &str,
        password: &str,
        sql: &str,
    ) -> Result<String, String> {
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(self.program.path.with_file_name("mysql"))
            .arg("--no-defaults")
            .args(at)
            .args([
                "--batch",
                "--skip-column-names",
                "--connect-timeout=10",
                "-u",
                user,
                "-e",
                sql,
            ])
            .env_clear()
            .env("MYSQL_PWD", password)
            .output()
            .expect("the client");
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
        }
        Err(String::from_utf8_lossy(&stderr).into_owned())
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
        let mut command = Command::new(&self.program.path);
        command
            .env_clear()
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .args(planned.args.iter().map(|text| fill(text, &self.values)))
            .envs(planned.env.iter().map(|(k, v)| (k, fill(v, &self.values))));
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

pub fn chosen(settings: &[(&str, &str)]) -> Vec<Setting> {
    settings
        .iter()
        .map(|(name, value)| Setting {
            name: (*name).into(),
            value: (*value).into(),
        })
        .collect()
}

/// What the host does: it carries an address that the plugin knows to the server's socket.
fn relay(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Without a server the client is cut off.
            if let Ok(server) = UnixStream::connect(&socket) {
                carry(client, server).expect("a relay");
            }
        }
    });
    address
}

fn carry(client: TcpStream, server: UnixStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        to_server.shutdown(std::net::Shutdown::Write)
    });
    thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        to_client.shutdown(std::net::Shutdown::Both)
    });
    Ok(())
}

/// A first user's password with everything that wants quoting, and a certificate.
fn secrets() -> Vec<Secret> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    [
        ("superuser", "super0secret0of0berth0123456789".to_owned()),
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

/// Below those that the system gives to whoever asks for any, and for each server of a run another.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 24_000 + u16::try_from(std::process::id() % 60).expect("a small number") * 10;
    (0..100)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
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
