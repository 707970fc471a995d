//! What runs in the tests where `mongod` is planned: no registry has one. A real one where `BERTH_TEST_MONGOD` names it; otherwise
//! a stand-in, which is told to the hosts of tests alone (`tests/stand-ins`).

use std::path::PathBuf;
use std::process::Command;

/// A real one's path.
const REAL: &str = "BERTH_TEST_MONGOD";

/// Below one of the folders that `scripts/install-servers.sh` fills.
fn installed(name: &str) -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = [
        "/opt/berth/servers".to_owned(),
        format!("{home}/.local/share/berth/servers"),
    ];
    folders
        .map(|folder| PathBuf::from(folder).join("secantusdb/bin").join(name))
        .into_iter()
        .find(|path| path.exists())
}

/// None where neither can be had.
pub fn mongod() -> Option<PathBuf> {
    let real = std::env::var_os(REAL).map(PathBuf::from);
    real.or_else(|| installed("mongod-by-secantusdb"))
}

/// For a host's configuration.
pub fn programs() -> Option<String> {
    let path = mongod()?;
    Some(format!(
        "[[program]]\nname = \"mongod\"\npaths = [{:?}]\n",
        path.to_string_lossy()
    ))
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
