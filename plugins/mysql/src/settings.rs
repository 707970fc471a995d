//! The settings that a caller chose: whether a server could run with them, and what they come to with all the others.

use berth_sdk::types::{FieldProblem, Setting, Spec};

use crate::catalog::Series;
use crate::{settings_table, sizing};

const MIB: u64 = 1 << 20;

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let Some(series) = Series::of_label(&spec.version) else {
        return Vec::new();
    };
    let offered = |setting: &Setting, init: bool| {
        settings_table::find(&setting.name, series).is_some_and(|row| row.is_init() == init)
    };
    let changing = spec.settings.iter().filter(|s| !offered(s, false));
    let fixed = spec.init_settings.iter().filter(|s| !offered(s, true));
    let mut found: Vec<_> = changing
        .chain(fixed)
        .map(|setting| {
            FieldProblem::new(
                &setting.name,
                format!(
                    "is not a setting of MySQL {} that can be chosen here",
                    series.label()
                ),
                "one that the version's description lists",
            )
        })
        .collect();
    found.extend(too_much_memory(spec, series));
    found
}

/// Whether names of tables and databases are kept in lower case.
pub fn lower_case(spec: &Spec) -> bool {
    let chosen = |setting: &&Setting| setting.name == "lower_case_table_names";
    let setting = spec.init_settings.iter().find(chosen);
    setting.is_some_and(|setting| setting.value == "1")
}

/// All settings that callers may change or that depend on the node, as the server takes them: what was chosen, and what
/// holds otherwise.
pub fn in_force(spec: &Spec, series: Series) -> Vec<(&'static str, String)> {
    let sized = sizing::settings(spec);
    let mut all: Vec<_> = settings_table::of(series)
        .filter(|row| !row.is_init())
        .map(|row| {
            let chosen = spec.settings.iter().find(|s| s.name == row.name);
            let value = match chosen {
                Some(setting) => row.taken(&setting.value),
                None => row.unchosen(series, &sized),
            };
            (row.name, value)
        })
        .collect();
    for (name, value) in sized {
        if settings_table::find(name, series).is_none() {
            all.push((name, value));
        }
    }
    all
}

/// The server takes its buffer pool when it starts, and does not start without.
fn too_much_memory(spec: &Spec, series: Series) -> Option<FieldProblem> {
    let all = in_force(spec, series);
    let bytes = |name: &str| {
        let found = all.iter().find(|(n, _)| *n == name);
        found
            .and_then(|(_, value)| value.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let pool = bytes("innodb_buffer_pool_size").saturating_add(bytes("innodb_log_buffer_size"));
    let most = spec.node.memory_bytes / 10 * 8;
    (pool > most).then(|| {
        FieldProblem::new(
            "innodb_buffer_pool_size",
            "makes the server take more memory when it starts than its node has to give",
            format!(
                "at most {} MB together with innodb_log_buffer_size",
                most / MIB
            ),
        )
    })
}

#[cfg(test)]
mod tests {
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
}
