//! The settings that a caller chose: whether a server could run with them, and how they stand in its file.

use berth_sdk::engine::SettingSchema;
use berth_sdk::types::{FieldProblem, Setting, Spec};

use crate::settings_table::TABLE;
use crate::{catalog, sizing};

const MIB: u64 = 1 << 20;

/// What a lock that may be held takes of shared memory: its entry and its holder's, with their places in the tables.
const BYTES_PER_LOCK: u64 = 300;

/// What can be chosen in a version.
pub fn schemas(major: u32) -> Vec<SettingSchema> {
    let sized = sizing::settings(&sizing::smallest());
    TABLE.schemas(major, |row| {
        let found = sized.iter().find(|(name, _)| *name == row.name);
        let value = found.map_or("", |(_, value)| value);
        value.trim_end_matches("MB").into()
    })
}

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let Some(major) = catalog::major(&spec.version) else {
        return Vec::new();
    };
    let mut found = TABLE.problems(spec, major);
    found.extend(too_much_memory(spec));
    found
}

/// A chosen setting as a line of the server's file has it: quoted, and with its unit.
pub fn value(setting: &Setting, major: u32) -> String {
    let unit = TABLE.find(&setting.name, major).and_then(|row| row.unit);
    match unit {
        // Minus one is a word of its own, and has none.
        Some(unit) if !setting.value.starts_with('-') => format!("{}{unit}", setting.value),
        Some(_) | None => setting.value.clone(),
    }
}

/// A server takes its shared memory when it starts, and does not start without.
fn too_much_memory(spec: &Spec) -> Option<FieldProblem> {
    let planned = sizing::settings(spec);
    let number = |name: &str, otherwise: u64| {
        let planned = planned.iter().find(|(n, _)| *n == name);
        let planned = planned.map(|(_, value)| value.trim_end_matches("MB"));
        let text = spec.chosen(name).or(planned);
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let buffers = number("shared_buffers", 0).saturating_mul(MIB);
    let transactions =
        number("max_connections", 100).saturating_add(number("max_prepared_transactions", 0));
    let locks = number("max_locks_per_transaction", 64)
        .saturating_add(number("max_pred_locks_per_transaction", 64))
        .saturating_mul(transactions)
        .saturating_mul(BYTES_PER_LOCK);
    let memory = spec.node.memory_bytes;
    if buffers.saturating_add(locks) < memory / 10 * 9 {
        return None;
    }
    let field = if buffers > locks {
        "shared_buffers"
    } else {
        "max_locks_per_transaction"
    };
    Some(FieldProblem::new(
        field,
        "makes the server take more memory when it starts than its node has to give",
        format!(
            "so that buffers and locks take less than {} MB together",
            memory / 10 * 9 / MIB
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::spec;

    fn chosen(settings: &[(&str, &str)]) -> Spec {
        let mut spec = spec("16");
        spec.settings = settings
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect();
        spec
    }

    fn fields(settings: &[(&str, &str)]) -> Vec<String> {
        let problems = problems(&chosen(settings));
        problems.into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        assert_eq!(
            fields(&[
                ("work_mem", "8"),
                ("archive_command", "true"),
                ("transaction_timeout", "1")
            ]),
            ["archive_command", "transaction_timeout"]
        );
    }

    #[test]
    fn a_server_that_would_not_get_its_memory_is_not_tried() {
        assert_eq!(fields(&[("shared_buffers", "2048")]), [""; 0]);
        assert_eq!(fields(&[("shared_buffers", "4000")]), ["shared_buffers"]);
        let many = [
            ("max_locks_per_transaction", "60000"),
            ("max_connections", "9000"),
        ];
        assert_eq!(fields(&many), ["max_locks_per_transaction"]);
    }

    #[test]
    fn numbers_have_their_unit() {
        let value = |name, text| {
            let spec = chosen(&[(name, text)]);
            value(&spec.settings[0], 16)
        };
        assert_eq!(value("work_mem", "8"), "8MB");
        assert_eq!(value("lock_timeout", "100"), "100ms");
        assert_eq!(value("temp_file_limit", "-1"), "-1");
        assert_eq!(value("jit", "off"), "off");
    }
}
