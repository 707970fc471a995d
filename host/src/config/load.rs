//! Reading `berth.toml`: its tables laid over the defaults, and every problem told with key and line.

use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};
use tracing_subscriber::filter::Targets;

use super::Config;
use crate::model::resources::DEFAULT_STORAGE_CLASS;

const DEFAULTS: &str = include_str!("../../data/defaults.toml");

/// Tables of named things that an operator's file replaces whole: who lists two regions has two.
const REPLACED_WHOLE: [&str; 4] = ["regions", "plans", "node_types", "projects"];

/// Ports that this and later ones are given to outgoing connections on Linux by default.
const FIRST_EPHEMERAL_PORT: u16 = 32_768;

/// Why a configuration was refused, for the person who wrote it.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    pub line: Option<usize>,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}, line {line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Default for Config {
    /// The defaults alone.
    fn default() -> Self {
        Self::parse("", "defaults").expect("the built-in defaults are checked by a test")
    }
}

impl Config {
    /// The file's settings over the defaults.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError {
            file: file.clone(),
            line: None,
            message: format!("cannot be read: {error}"),
        })?;
        Self::parse(&text, &file)
    }

    /// As `load`, from a text; `file` is its name in problems.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let refuse = |line, message| ConfigError {
            file: file.to_owned(),
            line,
            message,
        };
        let from_toml = |error: toml::de::Error| {
            let line = error.span().map(|span| line_at(text, span.start));
            refuse(line, describe(text, &error))
        };
        let given = DeTable::parse(text).map_err(from_toml)?;
        let mut merged =
            DeTable::parse(DEFAULTS).expect("the built-in defaults are checked by a test");
        let span = given.span();
        overlay(merged.get_mut(), given.get_ref().clone());
        let merged = Spanned::new(span, merged.into_inner());
        let config = Self::deserialize(Deserializer::from(merged)).map_err(from_toml)?;
        match config.problem() {
            None => Ok(config),
            Some((key, message)) => {
                let line = line_of(text, given.get_ref(), &key);
                Err(refuse(line, format!("`{}` {message}", key.join("."))))
            }
        }
    }

    /// The first thing that no type can rule out: the key and what is wrong with it.
    fn problem(&self) -> Option<(Vec<String>, String)> {
        let at = |key: &[&str], message: String| {
            Some((key.iter().map(|part| (*part).to_owned()).collect(), message))
        };
        if self.server.tls_cert.is_some() != self.server.tls_key.is_some() {
            let message = "and `server.tls_key` go together: give both or neither".to_owned();
            return at(&["server", "tls_cert"], message);
        }
        if let Err(error) = self.log.level.parse::<Targets>() {
            return at(&["log", "level"], format!("is not understood: {error}"));
        }
        for (key, value) in [
            ("max_connections", self.server.max_connections),
            (
                "max_connections_per_address",
                self.server.max_connections_per_address,
            ),
        ] {
            if value == 0 {
                return at(&["server", key], "must be at least 1".to_owned());
            }
        }
        if self.callers.concurrent == 0 {
            return at(&["callers", "concurrent"], "must be at least 1".to_owned());
        }
        if self.traces.sample_percent > 100 {
            return at(
                &["traces", "sample_percent"],
                "must be at most 100".to_owned(),
            );
        }
        let plain = |url: &String| {
            let host = url.strip_prefix("http://");
            host.is_some_and(|host| !host.is_empty() && !host.starts_with('/'))
        };
        if self
            .traces
            .otlp_endpoint
            .as_ref()
            .is_some_and(|url| !plain(url))
        {
            let message = "must be a URL like \"http://127.0.0.1:4318/v1/traces\": a collector near by, which can \
                           pass traces on over TLS";
            return at(&["traces", "otlp_endpoint"], message.to_owned());
        }
        if self.node.name.is_empty() {
            return at(&["node", "name"], "must not be empty".to_owned());
        }
        if self.node.ports.first < 1024 || self.node.ports.last >= FIRST_EPHEMERAL_PORT {
            let message = format!(
                "must lie between 1024 and {}: ports above are taken by outgoing connections at random",
                FIRST_EPHEMERAL_PORT - 1
            );
            return at(&["node", "ports"], message);
        }
        if self.node.uids.first < 1000 {
            let message =
                "must begin at 1000 or above: users below belong to the system".to_owned();
            return at(&["node", "uids"], message);
        }
        if self.node.public_address.is_none() && self.node.endpoint_address.is_unspecified() {
            let message = "must be given when `node.endpoint_address` is every address: clients cannot be told that one";
            return at(&["node", "public_address"], message.to_owned());
        }
        for (key, value) in [
            ("concurrency", self.operations.concurrency),
            ("max_open", self.operations.max_open),
        ] {
            if value == 0 {
                return at(&["operations", key], "must be at least 1".to_owned());
            }
        }
        if self.sandbox.kept_sessions > 1024 {
            let message = "must be at most 1024".to_owned();
            return at(&["sandbox", "kept_sessions"], message);
        }
        if self.sandbox.compile_threads == 0 {
            return at(
                &["sandbox", "compile_threads"],
                "must be at least 1".to_owned(),
            );
        }
        let storage = &self.storage;
        if !(1..=storage.default_gb).contains(&storage.min_gb)
            || storage.default_gb > storage.max_gb
        {
            let message =
                "must lie between `storage.min_gb` (1 or more) and `storage.max_gb`".to_owned();
            return at(&["storage", "default_gb"], message);
        }
        self.problem_in_names()
    }

    fn problem_in_names(&self) -> Option<(Vec<String>, String)> {
        let at = |key: &[&str], message: &str| {
            let key = key.iter().map(|part| (*part).to_owned()).collect();
            Some((key, message.to_owned()))
        };
        for (table, is_empty) in [
            ("regions", self.regions.is_empty()),
            ("plans", self.plans.is_empty()),
        ] {
            if is_empty {
                return at(&[table], "must name at least one");
            }
        }
        for (name, plan) in &self.plans {
            if plan.cpu_millis == 0 || plan.memory_mib == 0 {
                return at(
                    &["plans", name],
                    "must have processor and memory above zero",
                );
            }
        }
        for (name, class) in &self.storage.classes {
            let table: &[&str] = &["storage", "classes", name];
            if name == DEFAULT_STORAGE_CLASS {
                return at(table, "is the data directory and has no other");
            }
            if !is_class_name(name) {
                return at(
                    table,
                    "must be 1 to 32 lower-case letters, digits and hyphens",
                );
            }
            if !class.dir.components().all(is_plain) {
                return at(
                    &[table, &["dir"]].concat(),
                    "must be a directory, without `..`",
                );
            }
        }
        for (name, node) in &self.node_types {
            if node.vcpus == 0 || node.memory_gb == 0 {
                return at(
                    &["node_types", name],
                    "must have processor and memory above zero",
                );
            }
            if self.plans.contains_key(name) {
                return at(&["node_types", name], "is the name of a plan too");
            }
        }
        for (name, project) in &self.projects {
            let same_id =
                |(other, p): (&String, &super::Project)| other != name && p.id == project.id;
            if self.projects.iter().any(same_id) {
                return at(
                    &["projects", name, "id"],
                    "is the id of another project too",
                );
            }
        }
        if !self.projects.contains_key(&self.default_project) {
            return at(&["default_project"], "must be one of the projects");
        }
        None
    }
}

/// It becomes the name of a file.
fn is_class_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_plain(component: Component<'_>) -> bool {
    match component {
        Component::RootDir | Component::Normal(_) => true,
        Component::Prefix(_) | Component::CurDir | Component::ParentDir => false,
    }
}

/// Lay `given` over `base`, key by key.
fn overlay<'i>(base: &mut DeTable<'i>, given: DeTable<'i>) {
    for (key, value) in given {
        let whole = REPLACED_WHOLE.contains(&key.get_ref().as_ref());
        let span = value.span();
        match (base.remove(&key), value.into_inner()) {
            (Some(below), DeValue::Table(above)) if !whole => match below.into_inner() {
                DeValue::Table(mut below) => {
                    overlay(&mut below, above);
                    base.insert(key, Spanned::new(span, DeValue::Table(below)));
                }
                other_kind => {
                    drop(other_kind);
                    base.insert(key, Spanned::new(span, DeValue::Table(above)));
                }
            },
            (_, value) => {
                base.insert(key, Spanned::new(span, value));
            }
        }
    }
}

/// The problem in one line, with the setting it is about.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let source = error.span().and_then(|span| {
        let line = text.lines().nth(line_at(text, span.start) - 1)?.trim();
        (!line.is_empty()).then_some(line)
    });
    match source {
        Some(source) => format!("`{source}`: {message}"),
        None => message,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

/// The line of the longest part of `key` that the file has.
fn line_of(text: &str, table: &DeTable<'_>, key: &[String]) -> Option<usize> {
    let (first, rest) = key.split_first()?;
    let (found, value) = table.iter().find(|(k, _)| k.get_ref() == first)?;
    let deeper = match value.get_ref() {
        DeValue::Table(inner) => line_of(text, inner, rest),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    };
    deeper.or_else(|| Some(line_at(text, found.span().start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::parse(text, "berth.toml").unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_hold_alone() {
        let config = Config::default();
        assert_eq!(config.regions["nyc1"].target, "local");
        assert_eq!(config.plans["db-s-2vcpu-4gb"].memory_mib, 4096);
    }

    #[test]
    fn settings_lie_over_the_defaults_and_named_things_replace_them() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\n[regions.here]\ntarget = \"local\"\n[grants]\nother = []\n";
        let config = Config::parse(text, "berth.toml").unwrap();
        assert_eq!(config.server.listen.port(), 1);
        assert_eq!(config.server.body_limit_bytes, 262_144);
        assert_eq!(config.regions.keys().collect::<Vec<_>>(), ["here"]);
        assert_eq!(config.grants.keys().collect::<Vec<_>>(), ["local", "other"]);
    }

    #[test]
    fn problems_name_key_and_line() {
        let unknown = refusal("[server]\nlisten = \"127.0.0.1:1\"\nlitsen = 3\n");
        assert!(
            unknown.starts_with("berth.toml, line 3: `litsen = 3`: unknown field `litsen`"),
            "{unknown}"
        );
        let wrong = refusal("\n[log]\nformat = \"xml\"\n");
        assert!(
            wrong.starts_with("berth.toml, line 3: `format = \"xml\"`: unknown variant"),
            "{wrong}"
        );
        let missing = refusal("[plans.tiny]\ncpu_millis = 5\n");
        assert!(
            missing.contains("line 1") && missing.contains("memory_mib"),
            "{missing}"
        );
        let syntax = refusal("a = \n");
        assert!(syntax.starts_with("berth.toml, line 1:"), "{syntax}");
        let kind = refusal("[server]\nbody_limit_bytes = \"much\"\n");
        assert!(
            kind.contains("line 2") && kind.contains("invalid type"),
            "{kind}"
        );
        let table = refusal("server = 3\n");
        assert!(table.contains("line 1"), "{table}");
    }

    #[test]
    fn rules_between_keys_are_checked() {
        for (text, expected) in [
            (
                "[node]\nports = \"30000-40000\"\n",
                "line 2: `node.ports` must lie",
            ),
            (
                "[node]\nuids = \"10-20\"\n",
                "line 2: `node.uids` must begin",
            ),
            (
                "[node]\nendpoint_address = \"0.0.0.0\"\n",
                "line 1: `node.public_address` must be given",
            ),
            (
                "[server]\ntls_cert = \"a\"\n",
                "line 2: `server.tls_cert` and",
            ),
            ("[log]\nlevel = \"berth=loud\"\n", "line 2: `log.level`"),
            (
                "[storage]\ndefault_gb = 0\n",
                "line 2: `storage.default_gb`",
            ),
            (
                "[storage.classes.lssd]\ndir = \"/mnt\"\n",
                "line 1: `storage.classes.lssd`",
            ),
            (
                "[storage.classes.bssd]\ndir = \"../up\"\n",
                "line 2: `storage.classes.bssd.dir`",
            ),
            (
                "default_project = \"x\"\n",
                "line 1: `default_project` must be one",
            ),
            ("[regions]\n", "line 1: `regions` must name"),
            (
                "[server]\nmax_connections = 0\n",
                "line 2: `server.max_connections` must be",
            ),
            (
                "[callers]\nconcurrent = 0\n",
                "line 2: `callers.concurrent` must be",
            ),
            (
                "[node_types]\na = { vcpus = 0, memory_gb = 1, generation = \"v1\", range = \"\" }\n",
                "line 2: `node_types.a` must have",
            ),
            (
                "[node_types.db-s-1vcpu-1gb]\nvcpus = 1\nmemory_gb = 1\ngeneration = \"v1\"\nrange = \"\"\n",
                "line 1: `node_types.db-s-1vcpu-1gb` is the name of a plan",
            ),
            ("[callers]\nburst = 0\n", "line 2: `burst = 0`"),
            (
                "[traces]\nsample_percent = 101\n",
                "line 2: `traces.sample_percent` must be",
            ),
            (
                "[traces]\notlp_endpoint = \"https://far.example/v1/traces\"\n",
                "line 2: `traces.otlp_endpoint` must be a URL like",
            ),
        ] {
            let message = refusal(text);
            assert!(message.contains(expected), "{text:?}: {message}");
        }
    }
}
