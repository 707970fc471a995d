//! A real server, and its own client.

use std::fs;
use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use berth_plugin_redis::Redis;
use berth_sdk_testing::{self as testing, installed, spec};

pub struct Server(testing::Server<Redis>);

/// Where a version's programs are, if they are installed.
pub fn programs(version: &str) -> Option<PathBuf> {
    let (product, number) = match version.strip_prefix("valkey-") {
        Some(number) => ("valkey", number),
        None => ("redis", version),
    };
    installed(&format!("{product}/{number}/usr/bin"))
}

impl Server {
    /// Initialise and start one; it is not ready yet when this returns.
    pub fn start(version: &str, programs: PathBuf) -> Self {
        Self::start_shards(version, programs, 1)
    }

    /// So many that have the data between them.
    pub fn start_shards(version: &str, programs: PathBuf, shards: u32) -> Self {
        let mut spec = spec(version);
        spec.node.memory_bytes = 256 << 20;
        spec.shards = shards;
        let programs = move |name: &str| match name {
            "cp" => "/bin/cp".into(),
            server => programs.join(server),
        };
        Self(testing::Server::start(spec, programs))
    }

    /// More at the end of the log of changes.
    pub fn append_to_log(&self, bytes: &[u8]) {
        let dir = self.data().join("appendonlydir");
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
        log.write_all(bytes).expect("more of it");
    }

    /// Whether its directory can be written to: as root it is the server's user who may not.
    pub fn let_write(&self, may: bool) {
        let mode = if may { 0o755 } else { 0o555 };
        fs::set_permissions(self.data(), fs::Permissions::from_mode(mode)).expect("chmod");
    }

    pub fn users_file(&self) -> String {
        fs::read_to_string(self.data().join("users.acl")).expect("the users")
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        self.0.certificate(&[])
    }

    /// Ask the server's own client, as this user over TLS.
    pub fn as_user(&self, user: &str, password: &str, command: &[&str]) -> Result<String, String> {
        let certificate = self.value("file:server.crt");
        self.client(&["--tls", "--cacert", certificate], user, password, command)
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

    /// Ask one of several as Berth does, the first being number 0.
    pub fn ask_shard(&self, nth: usize, command: &[&str]) -> String {
        let run = self.value_at(nth, "run");
        let socket = format!("{run}/shard-{}.sock", nth + 1);
        let password = self.secret("berth");
        self.client(&["-s", &socket], "berth", &password, command)
            .unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Ask at the endpoint of one of several, as this user over TLS.
    pub fn as_user_at(
        &self,
        nth: usize,
        (user, password): (&str, &str),
        command: &[&str],
    ) -> Result<String, String> {
        let certificate = self.value("file:server.crt");
        let port = self.instance.endpoints[nth].port.to_string();
        let how = ["-p", &port, "--tls", "--cacert", certificate];
        self.client(&how, user, password, command)
    }

    /// Say all of this to a client that goes wherever it is sent to, beginning at any of several. What it hears, by line.
    pub fn follow(
        &self,
        nth: usize,
        (user, password): (&str, &str),
        commands: &[String],
    ) -> Vec<String> {
        let port = self.instance.endpoints[nth].port.to_string();
        let mut client = Command::new(self.client_program());
        client
            .args(["-c", "-h", "localhost", "-p", &port, "--user", user])
            .args(["--tls", "--cacert", self.value("file:server.crt")])
            .env("REDISCLI_AUTH", password)
            .env("VALKEYCLI_AUTH", password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut client = client.spawn().expect("the client");
        let mut stdin = client.stdin.take().expect("its input");
        let said = commands.join("\n") + "\n";
        let writer = thread::spawn(move || stdin.write_all(said.as_bytes()));
        let output = client.wait_with_output().expect("its output");
        writer.join().expect("a writer").expect("it listens");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    pub fn socket(&self) -> String {
        format!("{}/redis.sock", self.value("run"))
    }

    /// Ask at this URI.
    pub fn at(&self, uri: &str, command: &[&str]) -> Result<String, String> {
        let certificate = self.value("file:server.crt");
        let mut client = Command::new(self.client_program());
        client.args(["-u", uri, "--cacert", certificate, "-e"]);
        said(client.args(command))
    }

    fn client_program(&self) -> PathBuf {
        let names = ["redis-cli", "valkey-cli"].map(|name| self.program(name));
        let found = names.into_iter().find(|path| path.exists());
        found.expect("the server's own client")
    }

    fn data(&self) -> &Path {
        Path::new(self.value("volume:data"))
    }

    fn client(
        &self,
        how: &[&str],
        user: &str,
        password: &str,
        command: &[&str],
    ) -> Result<String, String> {
        let port = self.endpoint().port.to_string();
        let mut client = Command::new(self.client_program());
        client
            .args(["-h", "localhost", "-p", &port, "-e", "--user", user])
            .args(how)
            .args(command)
            .env("REDISCLI_AUTH", password)
            .env("VALKEYCLI_AUTH", password);
        said(&mut client)
    }
}

impl Deref for Server {
    type Target = testing::Server<Redis>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
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
