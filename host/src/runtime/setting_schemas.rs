//! What an engine's settings must satisfy: those it offers to callers, and those it names later. A component wrote
//! them, and callers, documents and journals will show them.

use std::collections::BTreeSet;

use berth_bindings::engine::exports::berth::plugin::catalog;

use crate::model::plugin::EngineVersion;
use crate::model::setting::{SettingKind, SettingSchema};
use crate::model::{Error, Result};

use super::capability::log::one_line;
use super::manifest::Manifest;

/// Of one version.
const SETTINGS: usize = 512;
/// Of all versions: each is made ready for use, which costs.
const PATTERNS: usize = 256;
const PATTERN_BYTES: usize = 512;
const NAME_BYTES: usize = 96;
const DESCRIPTION_BYTES: usize = 512;
const UNIT_BYTES: usize = 16;

/// Before anything of a description is made ready for use: that there is not too much of it.
pub(super) fn bounded(described: &catalog::Description) -> Result<()> {
    let versions = &described.versions;
    let patterns = versions.iter().flat_map(|version| &version.settings);
    let mut patterns = patterns.filter_map(|schema| match &schema.type_ {
        catalog::SettingType::Text(Some(pattern)) => Some(pattern.len()),
        catalog::SettingType::Text(None)
        | catalog::SettingType::Boolean
        | catalog::SettingType::Integer(_)
        | catalog::SettingType::Number(_) => None,
    });
    let too_many = versions.iter().any(|v| v.settings.len() > SETTINGS)
        || patterns.clone().count() > PATTERNS
        || patterns.any(|bytes| bytes > PATTERN_BYTES);
    if too_many {
        return Err(Error::failed(
            "the plugin's description was refused: it offers too many settings, or patterns that are too long",
        ));
    }
    Ok(())
}

/// Settings that a version offers. Says which one is wrong, and why.
pub(super) fn sound(version: &mut EngineVersion) -> std::result::Result<(), String> {
    let mut names = BTreeSet::new();
    for schema in &mut version.settings {
        schema.description = one_line(&schema.description, DESCRIPTION_BYTES);
        let name = one_line(&schema.name, NAME_BYTES);
        let problem = if !is_name(&schema.name) {
            Some("has a name that is not one")
        } else if !names.insert(schema.name.clone()) {
            Some("stands there twice")
        } else {
            wrong(schema)
        };
        if let Some(problem) = problem {
            return Err(format!(
                "the setting `{name}` of version {} {problem}",
                version.label
            ));
        }
    }
    Ok(())
}

/// The names of settings that wait for a restart.
pub(super) fn waiting(mut names: Vec<String>, manifest: &Manifest) -> Result<Vec<String>> {
    if names.len() > SETTINGS || !names.iter().all(|name| is_name(name)) {
        return Err(Error::failed(format!(
            "the answer of the plugin `{}` was refused: it names impossible settings",
            manifest.name
        )));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn wrong(schema: &SettingSchema) -> Option<&'static str> {
    let ordered = match &schema.kind {
        SettingKind::Integer { minimum, maximum } => minimum <= maximum,
        SettingKind::Number { minimum, maximum } => {
            minimum.is_finite() && maximum.is_finite() && minimum <= maximum
        }
        SettingKind::Boolean | SettingKind::Text(_) => true,
    };
    let plain = |text: &String| {
        (1..=UNIT_BYTES).contains(&text.len()) && !text.contains(|c: char| c.is_control())
    };
    if !ordered {
        Some("has bounds in the wrong order")
    } else if schema.description.trim().is_empty() {
        Some("has no description")
    } else if !schema.unit.as_ref().is_none_or(plain) {
        Some("has a unit that is not one")
    } else if schema.live && schema.init_only {
        Some("is fixed, and can be changed live")
    } else if schema.check(&schema.default).is_err() {
        Some("has a default that it does not allow")
    } else {
        None
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plugin::Stage;
    use crate::model::setting::Pattern;

    fn schema() -> SettingSchema {
        SettingSchema {
            name: "work_mem".to_owned(),
            description: "Memory.".to_owned(),
            kind: SettingKind::Integer {
                minimum: 1,
                maximum: 10,
            },
            default: "4".to_owned(),
            unit: Some("MB".to_owned()),
            live: true,
            init_only: false,
        }
    }

    fn problem(settings: Vec<SettingSchema>) -> String {
        let mut version = EngineVersion {
            label: "1".to_owned(),
            stage: Stage::Stable,
            released: String::new(),
            end_of_life: String::new(),
            upgrades_to: Vec::new(),
            programs: Vec::new(),
            settings,
        };
        sound(&mut version).err().unwrap_or_default()
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        assert_eq!(problem(vec![schema()]), "");
        assert!(problem(vec![schema(), schema()]).contains("`work_mem` of version 1 stands"));
        type Change = fn(&mut SettingSchema);
        let changes: [(Change, &str); 9] = [
            (|s| s.name.clear(), "name"),
            (|s| s.name = "a b\n".to_owned(), "name"),
            (|s| s.description = "\n".to_owned(), "description"),
            (|s| s.unit = Some(String::new()), "unit"),
            (|s| s.init_only = true, "fixed"),
            (|s| s.default = "11".to_owned(), "default"),
            (
                |s| {
                    s.kind = SettingKind::Integer {
                        minimum: 2,
                        maximum: 1,
                    }
                },
                "bounds",
            ),
            (
                |s| {
                    s.kind = SettingKind::Number {
                        minimum: 0.0,
                        maximum: f64::INFINITY,
                    }
                },
                "bounds",
            ),
            (
                |s| s.kind = SettingKind::Text(Pattern::new("on|off").ok()),
                "default",
            ),
        ];
        for (change, expected) in changes {
            let mut changed = schema();
            change(&mut changed);
            let problem = problem(vec![changed]);
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }
}
