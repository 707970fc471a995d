//! A server, and a client from outside: pymongo.

use std::io::Write;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use berth_plugin_mongodb::MongoDb;
use berth_sdk_testing::{self as testing, chosen, installed, spec};
use bson::{Document, doc};

pub struct Server {
    server: testing::Server<MongoDb>,
    client: Mutex<Child>,
}

/// Beside the stand-in, with the client.
const STAND_IN: &str = "secantusdb/bin/mongod-by-secantusdb";

/// Answers each document {uri, ca, script} with one {done, said}: Python takes longer to start than the rest of it.
const CLIENT: &str = "
import bson, contextlib, io, sys, pymongo
from pymongo.errors import *
def run(uri, ca, script):
    trust = {'tlsCAFile': ca} if 'tls=true' in uri else {}
    said = io.StringIO()
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=3000, **trust) as client, contextlib.redirect_stdout(said):
        try:
            exec(script, {'client': client, 'db': client.get_default_database()})
        except PyMongoError as error:
            details = getattr(error, 'details', None) or {}
            return {'done': False, 'said': f\"{details.get('codeName')}: {error}\"}
    return {'done': True, 'said': said.getvalue().strip()}
while head := sys.stdin.buffer.read(4):
    asked = bson.decode(head + sys.stdin.buffer.read(int.from_bytes(head, 'little') - 4))
    sys.stdout.buffer.write(bson.encode(run(**asked)))
    sys.stdout.buffer.flush()
";

/// What stands for `mongod`, and the version to plan for: a real one when `BERTH_TEST_MONGOD` names it.
pub fn program() -> Option<(String, PathBuf)> {
    if let Some(path) = std::env::var_os("BERTH_TEST_MONGOD") {
        let said = Command::new(&path)
            .arg("--version")
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let (_, version) = said.split_once("db version v").expect("a version");
        let mut numbers = version.split('.');
        let mut number = || numbers.next().expect("a number");
        return Some((format!("{}.{}", number(), number()), path.into()));
    }
    Some(("8.0".into(), installed(STAND_IN)?))
}

impl Server {
    /// Start one; it is not ready yet when this returns.
    pub fn start(version: &str, program: PathBuf) -> Self {
        let mut spec = spec(version);
        spec.storage_bytes = 10 << 30;
        // Each call logs in, and this is no build for speed.
        spec.settings = chosen(&[("scramSHA256IterationCount", "5000")]);
        let client = Command::new("/usr/bin/python3")
            .args(["-c", CLIENT])
            .env("PYTHONPATH", libraries())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        Self {
            server: testing::Server::start(spec, move |_| program.clone()),
            client: Mutex::new(client),
        }
    }

    /// The first user, in the first database.
    pub fn client(&self, script: &str) -> Result<String, String> {
        self.at(&self.uri(), script)
    }

    /// What a script prints that finds `client` and `db`.
    pub fn at(&self, uri: &str, script: &str) -> Result<String, String> {
        let asked = doc! {"uri": uri, "ca": self.value("file:ca.pem"), "script": script};
        let mut client = self.client.lock().expect("one at a time");
        let mut stdin = client.stdin.take().expect("its input");
        stdin
            .write_all(&asked.to_vec().expect("a document"))
            .expect("it listens");
        client.stdin = Some(stdin);
        let said = client.stdout.as_mut().expect("its output");
        let said = Document::from_reader(said).expect("an answer");
        let text = said.get_str("said").expect("a text").to_owned();
        if said.get_bool("done").expect("a verdict") {
            Ok(text)
        } else {
            Err(text)
        }
    }

    /// The certificate that clients are shown now.
    pub fn certificate(&self) -> String {
        self.server.certificate(&[])
    }
}

fn libraries() -> PathBuf {
    let program = installed(STAND_IN).expect("the client, which comes with the stand-in");
    let place = program.ancestors().nth(2).map(Path::to_owned);
    place.expect("its place").join("lib")
}

impl Deref for Server {
    type Target = testing::Server<MongoDb>;

    fn deref(&self) -> &Self::Target {
        &self.server
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(client) = self.client.get_mut() {
            drop(client.kill());
            drop(client.wait());
        }
    }
}
