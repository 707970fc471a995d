//! The settings that a caller chose: whether a server could run with them, what they come to with all the others, and how
//! the server writes them.

use berth_sdk::engine::SettingSchema;
use berth_sdk::settings::{Match, Real, Row, Switch, Whole, Word, Words};
use berth_sdk::types::{FieldProblem, Spec};

use crate::catalog::Series;
use crate::settings_table::TABLE;
use crate::sizing::{self, CHUNK};

const MIB: u64 = 1 << 20;

/// What can be chosen in a series.
pub fn schemas(series: Series) -> Vec<SettingSchema> {
    let sized = sizing::settings(&sizing::smallest());
    TABLE.schemas(series.number(), |row| {
        shown(row, &value_of(&sized, row.name))
    })
}

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let Some(series) = Series::of_label(&spec.version) else {
        return Vec::new();
    };
    let mut found = TABLE.problems(spec, series.number());
    found.extend(too_much_memory(spec, series));
    found
}

/// Whether names of tables and databases are kept in lower case.
pub fn lower_case(spec: &Spec) -> bool {
    spec.chosen("lower_case_table_names") == Some("1")
}

/// All settings that callers may change or that depend on the node, as the server takes them: what was chosen, and what
/// holds otherwise.
pub fn in_force(spec: &Spec, series: Series) -> Vec<(&'static str, String)> {
    let version = series.number();
    let sized = sizing::settings(spec);
    let mut all: Vec<_> = TABLE
        .of(version)
        .filter(|row| !row.is_init())
        .map(|row| {
            let text = spec.chosen(row.name).or(row.default(version));
            let value = match text {
                Some(text) => taken(row, text),
                None => value_of(&sized, row.name),
            };
            (row.name, value)
        })
        .collect();
    for (name, value) in sized {
        if TABLE.find(name, version).is_none() {
            all.push((name, value));
        }
    }
    all
}

/// Whether two values that the server takes are one.
pub fn same(row: &Row, one: &str, other: &str) -> bool {
    match row.kind {
        Whole(..) | Real(..) => match (one.parse::<f64>(), other.parse::<f64>()) {
            (Ok(one), Ok(other)) => (one - other).abs() < 1e-6,
            _ => false,
        },
        Switch | Word(_) | Match(_) => one.eq_ignore_ascii_case(other),
        Words(_) => {
            let sorted = |text: &str| {
                let mut words: Vec<_> = text.split(',').map(str::to_owned).collect();
                words.sort_unstable();
                words
            };
            sorted(one) == sorted(other)
        }
    }
}

/// A chosen value as the server takes it: without a unit.
fn taken(row: &Row, value: &str) -> String {
    match (row.kind, value.parse::<u64>()) {
        (Whole(..), Ok(number)) => number.saturating_mul(bytes(row)).to_string(),
        (Switch, _) => value.to_ascii_uppercase(),
        _ => value.to_owned(),
    }
}

/// The other way round.
fn shown(row: &Row, value: &str) -> String {
    match (row.kind, value.parse::<u64>()) {
        (Whole(..), Ok(number)) => (number / bytes(row)).to_string(),
        (Switch, _) => value.to_ascii_lowercase(),
        _ => value.to_owned(),
    }
}

fn bytes(row: &Row) -> u64 {
    match row.unit {
        Some("kB") => 1 << 10,
        Some("MB") => 1 << 20,
        _ => 1,
    }
}

fn value_of(settings: &[(&str, String)], name: &str) -> String {
    let found = settings.iter().find(|(n, _)| *n == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The server takes its buffer pool when it starts, and does not start without. It takes whole chunks.
fn too_much_memory(spec: &Spec, series: Series) -> Option<FieldProblem> {
    let all = in_force(spec, series);
    let bytes = |name: &str| value_of(&all, name).parse::<u64>().unwrap_or(0);
    let pool = bytes("innodb_buffer_pool_size").div_ceil(CHUNK);
    let taken = pool
        .saturating_mul(CHUNK)
        .saturating_add(bytes("innodb_log_buffer_size"));
    let most = spec.node.memory_bytes / 10 * 8;
    (taken > most).then(|| {
        FieldProblem::new(
            "innodb_buffer_pool_size",
            "makes the server take more memory when it starts than its node has to give",
            format!(
                "rounded up to a multiple of {} MB, at most {} MB together with innodb_log_buffer_size",
                CHUNK / MIB,
                most / MIB
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::Setting;

    use super::*;
    use crate::plan::tests::spec;

    fn chosen(settings: &[(&str, &str)]) -> Spec {
        let mut spec = spec("8.4");
        spec.settings = settings
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect();
        spec
    }

    fn fields(spec: &Spec) -> Vec<String> {
        problems(spec).into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let mut spec = chosen(&[
            ("wait_timeout", "8"),
            ("secure_file_priv", "/"),
            ("default_authentication_plugin", "caching_sha2_password"),
            ("lower_case_table_names", "1"),
        ]);
        assert_eq!(
            fields(&spec),
            [
                "secure_file_priv",
                "default_authentication_plugin",
                "lower_case_table_names"
            ]
        );
        spec.init_settings = std::mem::take(&mut spec.settings).split_off(3);
        assert_eq!(fields(&spec), [""; 0]);
        assert!(lower_case(&spec));
    }

    #[test]
    fn a_server_that_would_not_get_its_memory_is_not_tried() {
        assert_eq!(
            fields(&chosen(&[("innodb_buffer_pool_size", "2048")])),
            [""; 0]
        );
        // 25 chunks fit; the next number comes to 26, which do not.
        assert_eq!(
            fields(&chosen(&[("innodb_buffer_pool_size", "3200")])),
            [""; 0]
        );
        assert_eq!(
            fields(&chosen(&[("innodb_buffer_pool_size", "3201")])),
            ["innodb_buffer_pool_size"]
        );
        assert_eq!(
            fields(&chosen(&[("innodb_buffer_pool_size", "4000")])),
            ["innodb_buffer_pool_size"]
        );
    }

    #[test]
    fn all_settings_are_in_force_and_the_chosen_one_counts() {
        let all = in_force(&chosen(&[("max_allowed_packet", "16")]), Series::V8_4);
        let value = |name: &str| all.iter().find(|(n, _)| *n == name).unwrap().1.clone();
        assert_eq!(value("max_allowed_packet"), "16777216");
        assert_eq!(value("wait_timeout"), "28800");
        assert_eq!(value("innodb_redo_log_capacity"), "2684354560");
    }

    #[test]
    fn values_are_told_without_units_and_compared_as_what_they_are() {
        let row = |name| TABLE.find(name, Series::V8_4.number()).unwrap();
        assert_eq!(taken(row("max_allowed_packet"), "64"), "67108864");
        assert_eq!(taken(row("sort_buffer_size"), "32"), "32768");
        assert_eq!(taken(row("event_scheduler"), "on"), "ON");
        assert!(same(row("innodb_max_dirty_pages_pct"), "90", "90.000000"));
        assert!(same(row("sql_mode"), "A,B", "B,A"));
        assert!(!same(row("sql_mode"), "A", "B,A"));
        assert!(!same(row("wait_timeout"), "1", "2"));
    }
}
