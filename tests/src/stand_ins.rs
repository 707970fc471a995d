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

/// The version to plan for where it runs: the stand-in says that it is this one.
pub fn version() -> String {
    version_named_by(REAL).unwrap_or_else(|| "8.0".to_owned())
}

/// The version of the program that a variable names, if it does: its first two numbers.
pub fn version_named_by(variable: &str) -> Option<String> {
    let path = std::env::var_os(variable)?;
    let output = Command::new(path).arg("--version").output();
    let output = output.unwrap_or_else(|error| panic!("{variable}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let version = first_numbers(&said);
    Some(version.unwrap_or_else(|| panic!("{variable} says no version: {said}")))
}

/// Of `db version v8.0.4` and the like.
fn first_numbers(said: &str) -> Option<String> {
    said.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.');
        let mut number = || numbers.next()?.parse::<u32>().ok();
        Some(format!("{}.{}", number()?, number()?))
    })
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

#[cfg(test)]
mod tests {
    use super::first_numbers;

    #[test]
    fn a_program_says_its_version_among_other_words() {
        for (said, version) in [
            ("db version v7.0.14\nBuild Info: {}", Some("7.0")),
            ("/usr/sbin/mysqld  Ver 8.4.3 for Linux", Some("8.4")),
            ("db version v8", None),
        ] {
            assert_eq!(first_numbers(said).as_deref(), version, "{said}");
        }
    }
}
