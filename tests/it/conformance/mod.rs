//! What every engine plugin must do, tried on each that is in `plugins/` with a `conformance.toml`. Nothing here knows one by
//! name. An engine does not grade itself: whether users get in, and may do what their privileges say, is seen by a client from
//! outside, whose words that file has.

mod again;
mod client;
mod live;
mod pure;
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use berth_tests::servers::version_named_by;
use serde::Deserialize;

/// An engine's file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suite {
    /// Out of the folder's name.
    #[serde(skip)]
    engine: String,
    /// Which version is run.
    version: String,
    /// A variable that may name another server's program: then its version is run.
    version_of: Option<String>,
    client: ClientWords,
    commands: Commands,
    setting: SettingWords,
    rules: Rules,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientWords {
    /// Where it may be; the first that is there counts.
    programs: Vec<String>,
    /// Before each command. `{host}`, `{port}`, `{user}`, `{password}`, `{database}` and `{ca}` are filled in.
    arguments: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Said by one that failed and does not end with an error.
    complaint: Option<String>,
    /// One of these is said to whoever may not.
    refusals: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commands {
    connect: Vec<String>,
    /// By an admin, once, before `read` and `write`.
    prepare: Vec<String>,
    read: Vec<String>,
    /// What is read, also after `write`.
    reads: String,
    write: Vec<String>,
    /// What `all` may and `readwrite` may not. Leaves nothing.
    ddl: Vec<String>,
}

/// A setting that the server takes while it runs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingWords {
    name: String,
    /// None that it has anyway.
    value: String,
    /// By an admin; the last word of the answer is the value.
    show: Vec<String>,
}

/// In what engines differ by right.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    /// Databases are made and deleted; otherwise that is refused, and there is one that stands for all.
    logical_databases: bool,
    connects_without_privilege: bool,
}

/// One for each engine that has a file.
fn suites() -> Vec<Suite> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("conformance.toml").exists())
        .collect();
    found.sort();
    found.iter().map(|path| read(path)).collect()
}

fn read(plugin: &Path) -> Suite {
    let path = plugin.join("conformance.toml");
    let text = fs::read_to_string(&path).unwrap();
    let mut suite: Suite =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let named = suite.version_of.as_deref().and_then(version_named_by);
    suite.version = named.unwrap_or(suite.version);
    suite.engine = plugin.file_name().unwrap().to_str().unwrap().to_owned();
    suite
}

/// Whoever plans has a file, so that none is forgotten.
#[test]
fn every_engine_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(manifest) = fs::read_to_string(path.join("plugin.toml")) else {
            continue;
        };
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        if manifest["kind"].as_str() == Some("engine") {
            let has = path.join("conformance.toml").exists();
            assert!(has, "{} has no conformance.toml", path.display());
        }
    }
    assert!(!suites().is_empty());
}
