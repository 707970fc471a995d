//! What runs in the tests where `mongod` is planned: no registry has one. A real one where `BERTH_TEST_MONGOD` names it; otherwise
//! a stand-in, which is told to the hosts of tests alone (`tests/stand-ins`).

use std::path::PathBuf;
use std::process::Command;

use crate::servers::{self, MONGOD, named_by, version_named_by};

/// None where neither can be had.
pub fn mongod() -> Option<PathBuf> {
    named_by(MONGOD).or_else(|| installed("mongod-by-secantusdb"))
}

/// The version to plan for where it runs: the stand-in says that it is this one.
pub fn version() -> String {
    version_named_by(MONGOD).unwrap_or_else(|| "8.0".to_owned())
}

/// Where Python finds pymongo.
pub fn libraries() -> PathBuf {
    let client = installed("mongo-client").expect("the client, which `make test` installs");
    let place = client.ancestors().nth(2).expect("its place");
    place.join("lib")
}

/// What pymongo answers to an expression with `client` and `db`. Without a `ca` it trusts everybody.
pub fn pymongo(uri: &str, ca: Option<&str>, expression: &str) -> Result<String, String> {
    let program = installed("mongo-client").expect("the client, which `make test` installs");
    let output = Command::new(program)
        .arg(expression)
        .env("MONGO_URI", uri)
        .envs(ca.map(|path| ("MONGO_CA", path)))
        .output()
        .expect("the client runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

fn installed(name: &str) -> Option<PathBuf> {
    servers::installed(&format!("secantusdb/bin/{name}"))
}
