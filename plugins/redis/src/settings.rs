//! The settings that a caller chose: what is wrong with them, and what the server is to have of all that can be chosen.

use berth_sdk::types::{FieldProblem, Spec};

use crate::settings_table::{self, Row};
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

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let Some(release) = catalog::release(&spec.version) else {
        return Vec::new();
    };
    let chosen = spec.settings.iter().map(|setting| (setting, false));
    let initial = spec.init_settings.iter().map(|setting| (setting, true));
    let in_shards = spec.init_settings.iter().filter(|setting| {
        let row = settings_table::find(&setting.name, release.number);
        row.is_some_and(|row| !is_there(row, spec))
    });
    let in_shards = in_shards.map(|setting| {
        FieldProblem::new(
            &setting.name,
            "cannot be chosen where the data are divided over shards, which have one database",
            "leave it out, or `shards`",
        )
    });
    chosen
        .chain(initial)
        .filter(|(setting, initial)| {
            let row = settings_table::find(&setting.name, release.number);
            row.is_none_or(|row| row.is_init_only() != *initial)
        })
        .map(|(setting, _)| {
            FieldProblem::new(
                &setting.name,
                format!(
                    "is not a setting of Redis {} that can be chosen so",
                    spec.version
                ),
                "one that the version's description lists",
            )
        })
        .chain(in_shards)
        .collect()
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
    let rows = settings_table::rows(release.number).filter(|row| is_there(row, spec));
    rows.map(|row| {
        let mut chosen = spec.settings.iter().chain(&spec.init_settings);
        let chosen = chosen.rfind(|setting| setting.name == row.name);
        let text = chosen.map_or(row.default_in(release.number), |setting| &*setting.value);
        Wanted {
            name: row.name,
            value: native(row, text),
            live: row.is_live(),
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
    match (text, row.unit) {
        ("on", _) if row.is_switch() => "yes".to_owned(),
        ("off", _) if row.is_switch() => "no".to_owned(),
        ("off", _) if row.is_list() => String::new(),
        (number, Some("MB")) => match number.parse::<u64>() {
            Ok(number) => number.saturating_mul(1 << 20).to_string(),
            Err(_) => number.to_owned(),
        },
        (text, _) => text.to_owned(),
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
