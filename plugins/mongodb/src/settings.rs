//! The settings that a caller chose: what is wrong with them, and what the server is to have of all that can be chosen.

use berth_sdk::engine::SettingSchema;
use berth_sdk::settings::{Kind, Row};
use berth_sdk::types::{FieldProblem, Spec};
use bson::Bson;

use crate::settings_table::{ANY_VERSION, TABLE};
use crate::wire::number;

/// A setting as the server is to have it.
pub struct Wanted {
    pub row: &'static Row,
    /// In the notation of the server's file.
    pub text: String,
}

/// What can be chosen. No default depends on the node.
pub fn schemas() -> Vec<SettingSchema> {
    TABLE.schemas(ANY_VERSION, |_| String::new())
}

/// What is wrong with the chosen settings, as far as it can be told without a server.
pub fn problems(spec: &Spec) -> Vec<FieldProblem> {
    TABLE.problems(spec, ANY_VERSION)
}

/// All that can be chosen, as it was or as it is by default.
pub fn wanted(spec: &Spec) -> impl Iterator<Item = Wanted> {
    TABLE.of(ANY_VERSION).map(|row| {
        let value = spec.chosen(row.name).or(row.default(ANY_VERSION));
        let text = match (row.kind, value.unwrap_or_default()) {
            (Kind::Switch, "on") => "true",
            (Kind::Switch, _) => "false",
            (
                Kind::Whole(..) | Kind::Real(..) | Kind::Word(_) | Kind::Words(_) | Kind::Match(_),
                value,
            ) => value,
        };
        Wanted {
            row,
            text: text.to_owned(),
        }
    })
}

impl Wanted {
    /// As a parameter is told to a running server.
    pub fn value(&self) -> Bson {
        let text = || Bson::String(self.text.clone());
        match self.row.kind {
            Kind::Switch => Bson::Boolean(self.text == "true"),
            Kind::Whole(..) => self.text.parse().map_or_else(|_| text(), Bson::Int64),
            Kind::Real(..) => self.text.parse().map_or_else(|_| text(), Bson::Double),
            Kind::Word(_) | Kind::Words(_) | Kind::Match(_) => text(),
        }
    }

    /// Whether this is what the server has; its numbers are of any kind, and some are texts.
    pub fn is(&self, now: Option<&Bson>) -> bool {
        let wanted: Result<f64, _> = self.text.parse();
        match (now, wanted) {
            (Some(Bson::Boolean(now)), _) => self.text == now.to_string(),
            (Some(Bson::String(now)), Ok(wanted)) => now.parse() == Ok(wanted),
            (Some(Bson::String(now)), Err(_)) => *now == self.text,
            (Some(now), Ok(wanted)) => number(now) == Some(wanted),
            (Some(_) | None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::Setting;

    use super::*;
    use crate::plan::tests::spec;

    fn setting(name: &str, value: &str) -> Setting {
        Setting {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let mut spec = spec("7.0");
        let names = [
            "dbPath",
            "storage.directoryPerDB",
            "logLevel",
            "notablescan",
        ];
        spec.settings = names.map(|name| setting(name, "1")).to_vec();
        spec.init_settings = vec![
            setting("quiet", "on"),
            setting("storage.directoryPerDB", "on"),
        ];
        let fields: Vec<_> = problems(&spec).into_iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            ["dbPath", "storage.directoryPerDB", "notablescan", "quiet"]
        );
    }

    #[test]
    fn a_value_is_the_same_however_the_server_writes_it() {
        let of = |name: &str, value: &str| {
            let mut spec = spec("7.0");
            spec.settings = vec![setting(name, value)];
            wanted(&spec)
                .find(|wanted| wanted.row.name == name)
                .unwrap()
        };
        let level = of("logLevel", "2");
        assert_eq!(level.value(), Bson::Int64(2));
        for now in [
            Bson::Int32(2),
            Bson::Int64(2),
            Bson::Double(2.0),
            "2".into(),
        ] {
            assert!(level.is(Some(&now)), "{now:?}");
        }
        for now in [Bson::Int32(3), "x".into(), Bson::Boolean(true), Bson::Null] {
            assert!(!level.is(Some(&now)), "{now:?}");
        }
        let quiet = of("quiet", "on");
        assert_eq!(quiet.value(), Bson::Boolean(true));
        assert!(quiet.is(Some(&true.into())) && quiet.is(Some(&"true".into())));
        assert!(!quiet.is(Some(&false.into())) && !quiet.is(None));
        assert!(of("operationProfiling.slowOpSampleRate", "0.5").is(Some(&0.5.into())));
        assert!(of("operationProfiling.mode", "off").is(Some(&"off".into())));
    }
}
