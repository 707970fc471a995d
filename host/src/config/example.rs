//! `berth.example.toml` says the truth: every setting stands in it, with its default.

use std::collections::BTreeSet;

use super::Config;

const EXAMPLE: &str = include_str!("../../../berth.example.toml");

/// Settings without a default, which the example shows by example.
fn without_defaults(config: &mut Config) {
    config.plugins_dir = None;
    config.server.tls_cert = None;
    config.server.tls_key = None;
    config.node.public_address = None;
    config.traces.otlp_endpoint = None;
    config.program.clear();
    for project in config.projects.values_mut() {
        project.max_instances = None;
        project.max_storage_gb = None;
    }
}

/// The example with every setting switched on.
fn switched_on() -> String {
    let setting = |line: &str| {
        let line = line.strip_prefix('#')?;
        (!line.is_empty() && !line.starts_with(' ')).then(|| line.to_owned())
    };
    EXAMPLE
        .lines()
        .filter_map(setting)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn as_it_is_it_changes_nothing() {
    let config = Config::parse(EXAMPLE, "berth.example.toml").unwrap();
    assert_eq!(config, Config::default());
}

#[test]
fn switched_on_it_says_the_defaults() {
    let mut config = Config::parse(&switched_on(), "berth.example.toml").unwrap();
    without_defaults(&mut config);
    assert_eq!(config, Config::default());
}

#[test]
fn it_names_every_setting() {
    let config = Config::parse(&switched_on(), "berth.example.toml").unwrap();
    let known = keys(&serde_json::to_value(&config).unwrap());
    let example: toml::Table = switched_on().parse().unwrap();
    let named = keys(&serde_json::to_value(&example).unwrap());
    assert_eq!(named, known);
    assert!(known.len() > 50, "{known:?}");
}

/// Paths of everything that has a value.
fn keys(value: &serde_json::Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &serde_json::Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, &format!("{path}.{name}"), found);
            }
        }
        serde_json::Value::Array(items) if items.iter().any(serde_json::Value::is_object) => {
            for item in items {
                collect(item, &format!("{path}[]"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}
