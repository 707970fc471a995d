//! The settings that a caller chose: what is wrong with them, and what the server is to have of all that can be chosen.

use berth_sdk::engine::SettingSchema;
use berth_sdk::settings::{Match, Row, Switch};
use berth_sdk::types::{FieldProblem, Spec};

use crate::settings_table::TABLE;
use crate::{catalog, plan};

/// Servers of a cluster have one.
const DATABASES: &str = "databases";

/// A setting as the server has it.
pub struct Wanted {
    pub name: &'static str,
    pub value: String,
    /// It can be changed while the server runs.
    pub live: bool,
}

/// What can be chosen in a release. No default depends on the node.
pub fn schemas(release: u32) -> Vec<SettingSchema> {
    TABLE.schemas(release, |_| String::new())
}

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let Some(release) = catalog::release(&spec.version) else {
        return Vec::new();
    };
    let mut found = TABLE.problems(spec, release.number);
    if plan::is_sharded(spec) && spec.init_settings.iter().any(|s| s.name == DATABASES) {
        found.push(FieldProblem::new(
            DATABASES,
            "cannot be chosen where the data are divided over shards, which have one database",
            "leave it out, or `shards`",
        ));
    }
    found
}

/// Whether a server of this instance has the setting at all.
fn is_there(row: &Row, spec: &Spec) -> bool {
    !plan::is_sharded(spec) || row.name != DATABASES
}

/// All that can be chosen, as it was or as it is by default.
pub fn wanted(spec: &Spec) -> Vec<Wanted> {
    let Some(release) = catalog::release(&spec.version) else {
        return Vec::new();
    };
    let version = release.number;
    let rows = TABLE.of(version).filter(|row| is_there(row, spec));
    rows.map(|row| {
        let text = spec.chosen(row.name).or(row.default(version));
        Wanted {
            name: row.name,
            value: native(row, text.unwrap_or_default()),
            live: row.is_live(version),
        }
    })
    .collect()
}

/// As a line of the server's file has it.
pub fn quoted(value: &str) -> String {
    if value.is_empty() {
        return "\"\"".to_owned();
    }
    // The patterns of the table allow nothing that needs more.
    value.to_owned()
}

/// A value of ours as the server writes it.
fn native(row: &Row, text: &str) -> String {
    match (text, row.kind, row.unit) {
        ("on", Switch, _) => "yes".to_owned(),
        ("off", Switch, _) => "no".to_owned(),
        // Of an empty list.
        ("off", Match(_), _) => String::new(),
        (number, _, Some("MB")) => match number.parse::<u64>() {
            Ok(number) => number.saturating_mul(1 << 20).to_string(),
            Err(_) => number.to_owned(),
        },
        (text, _, _) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::Setting;

    use super::*;
    use crate::plan::tests::spec;

    fn fields(version: &str, settings: &[&str], initial: &[&str]) -> Vec<String> {
        let mut spec = spec(version);
        let chosen = |names: &[&str]| {
            let chosen = names.iter().map(|name| Setting {
                name: (*name).into(),
                value: "1".into(),
            });
            chosen.collect()
        };
        spec.settings = chosen(settings);
        spec.init_settings = chosen(initial);
        let problems = problems(&spec).into_iter();
        problems.map(|problem| problem.field).collect()
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let dangerous = ["dir", "appendonly", "maxmemory", "timeout"];
        assert_eq!(
            fields("7.2", &dangerous, &[]),
            ["dir", "appendonly", "maxmemory"]
        );
        assert_eq!(fields("7.0", &["set-max-listpack-value"], &[]).len(), 1);
        assert!(fields("7.2", &["set-max-listpack-value"], &["databases"]).is_empty());
        assert_eq!(
            fields("7.2", &["databases"], &["timeout"]),
            ["databases", "timeout"]
        );
    }
}
