//! The servers that run in the tests: those that the project's script installed, or those that the environment names instead.

use std::path::PathBuf;
use std::process::Command;

use crate::stand_ins;

/// A MySQL's path.
pub const MYSQLD: &str = "BERTH_TEST_MYSQLD";
/// A MongoDB's path.
pub const MONGOD: &str = "BERTH_TEST_MONGOD";

/// What is below one of the folders that `scripts/install-servers.sh` fills.
pub fn installed(path: &str) -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    let folders = [
        "/opt/berth/servers".to_owned(),
        format!("{home}/.local/share/berth/servers"),
    ];
    let mut places = folders
        .iter()
        .map(|folder| PathBuf::from(folder).join(path));
    places.find(|path| path.exists())
}

/// The program that a variable names, if it does.
pub fn named_by(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}

/// Its version: its first two numbers.
pub fn version_named_by(variable: &str) -> Option<String> {
    let mut command = Command::new(named_by(variable)?);
    if variable == MYSQLD {
        // The machine's own configuration is another server's.
        command.arg("--no-defaults");
    }
    let output = command.arg("--version").output();
    let output = output.unwrap_or_else(|error| panic!("{variable}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    let version = first_numbers(&said);
    Some(version.unwrap_or_else(|| panic!("{variable} says no version: {said}")))
}

/// For a host's configuration, where it is not to run what is installed.
pub fn programs() -> String {
    let others = [
        ("mongod", stand_ins::mongod()),
        ("mysqld", named_by(MYSQLD)),
    ];
    let programs = others.into_iter().filter_map(|(name, path)| {
        let path = path?;
        let path = path.to_string_lossy();
        Some(format!(
            "[[program]]\nname = {name:?}\npaths = [{path:?}]\n"
        ))
    });
    programs.collect()
}

/// Of `db version v8.0.4` and the like.
fn first_numbers(said: &str) -> Option<String> {
    said.split_whitespace().find_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.');
        let mut number = || numbers.next()?.parse::<u32>().ok();
        Some(format!("{}.{}", number()?, number()?))
    })
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
