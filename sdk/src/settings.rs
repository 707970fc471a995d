//! The settings that callers may choose, as data: an engine writes a [`Table`], and what follows from it is here.
//!
//! ```
//! use berth_sdk::settings::{Is, LiveSince, Live, Real, Restart, Since, Switch, Table, Whole, row, since};
//!
//! pub static TABLE: Table = Table {
//!     product: "Mine",
//!     rows: &[
//!         row("compression", Switch, "", Since("off", 5, "on"), Live, "Whether what is stored is compressed."),
//!         row("idle_timeout", Whole(0, 86_400), "s", Is("0"), LiveSince(6), "How long a client may be idle; 0 for ever."),
//!         row("threads", Whole(1, 64), "", Is("4"), Restart, "How many threads serve clients."),
//!         since(6, row("spare", Real(0.0, 0.5), "", Is("0.1"), Live, "Share of the memory that is left free.")),
//!     ],
//! };
//!
//! assert_eq!(TABLE.schemas(5, |_| String::new()).len(), 3);
//! ```
//!
//! What to offer is the engine's to know. Leave out whatever could break out of the server, lock Berth out of it, lose
//! committed data or outgrow the node: commands, paths, addresses, users, where logs go. In a row
//!
//! - the **name** is the server's own;
//! - the **kind** says what a value may be. Bounds are included. They are those of every version that has the setting, and
//!   may be narrower than the server's where its own would do harm. The host refuses what lies outside before the engine
//!   sees it;
//! - the **unit** is what a number counts (`B`, `kB`, `MB`, `us`, `ms`, `s`, `min`, `h`), empty where it counts nothing that
//!   has one. Values are without it;
//! - the **default** is what holds when nothing is chosen, in the same notation as a value;
//! - then stands **when** a change is taken, and the **description**: one sentence for whoever chooses, which says what zero
//!   and minus one mean where they are something else than a number.
//!
//! Versions are told apart by a number of the engine's choice, which grows with them and is otherwise not looked at.
//!
//! How the server writes a value, whether what it has is the same, and what follows from the size of a node stays with the
//! engine.

use crate::engine::{IntegerBounds, NumberBounds, SettingSchema, SettingType};
use crate::types::{FieldProblem, Spec};

pub use Kind::{Match, Real, Switch, Whole, Word, Words};
pub use Unchosen::{Is, Since, Sized};
pub use When::{Init, Live, LiveSince, Restart};

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `on` or `off`.
    Switch,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Real(f64, f64),
    /// One of these words, which stand with `|` between them.
    Word(&'static str),
    /// None, one or more of such words, with commas between them.
    Words(&'static str),
    /// A text that matches this regular expression, all of it.
    Match(&'static str),
}

/// What holds when nothing was chosen.
#[derive(Clone, Copy, Debug)]
pub enum Unchosen {
    /// This.
    Is(&'static str),
    /// The first, and from this version on the second.
    Since(&'static str, u32, &'static str),
    /// What the engine makes of the size of the node.
    Sized,
}

/// When the server takes a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While it runs.
    Live,
    /// When it is started.
    Restart,
    /// While it runs from this version on, and before that when it is started.
    LiveSince(u32),
    /// Never: it is fixed when the instance is made.
    Init,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The server's own.
    pub name: &'static str,
    /// What a value may be.
    pub kind: Kind,
    /// What a number counts.
    pub unit: Option<&'static str>,
    default: Unchosen,
    when: When,
    description: &'static str,
    /// The first and the last version that has it.
    versions: (u32, u32),
}

/// A setting of every version.
pub const fn row(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    default: Unchosen,
    when: When,
    description: &'static str,
) -> Row {
    Row {
        name,
        kind,
        unit: if unit.is_empty() { None } else { Some(unit) },
        default,
        when,
        description,
        versions: (u32::MIN, u32::MAX),
    }
}

/// A setting that there is from this version on.
pub const fn since(version: u32, mut row: Row) -> Row {
    row.versions.0 = version;
    row
}

/// A setting of this version alone. Another one may have another of the same name.
pub const fn only_in(version: u32, mut row: Row) -> Row {
    row.versions = (version, version);
    row
}

impl Row {
    /// Whether a running server of this version takes a change.
    pub fn is_live(&self, version: u32) -> bool {
        match self.when {
            Live => true,
            Restart | Init => false,
            LiveSince(since) => version >= since,
        }
    }

    /// Whether it is fixed when the instance is made.
    pub fn is_init(&self) -> bool {
        self.when == Init
    }

    /// What holds in this version when nothing was chosen; nothing where that depends on the node.
    pub fn default(&self, version: u32) -> Option<&'static str> {
        match self.default {
            Since(_, since, value) if version >= since => Some(value),
            Is(value) | Since(value, _, _) => Some(value),
            Sized => None,
        }
    }

    fn is_in(&self, version: u32) -> bool {
        let (first, last) = self.versions;
        (first..=last).contains(&version)
    }
}

/// All settings of an engine.
#[derive(Debug)]
pub struct Table {
    /// What people call the product.
    pub product: &'static str,
    /// In the order in which they are shown.
    pub rows: &'static [Row],
}

impl Table {
    /// The settings of a version.
    pub fn of(&self, version: u32) -> impl Iterator<Item = &'static Row> + use<> {
        self.rows.iter().filter(move |row| row.is_in(version))
    }

    /// The setting of this name, where the version has it.
    pub fn find(&self, name: &str, version: u32) -> Option<&'static Row> {
        self.of(version).find(|row| row.name == name)
    }

    /// As callers see those of a version. `sized` says a default that depends on the node, for the smallest one there may
    /// be, in the unit of the row.
    pub fn schemas(&self, version: u32, sized: impl Fn(&Row) -> String) -> Vec<SettingSchema> {
        self.of(version)
            .map(|row| SettingSchema {
                name: row.name.into(),
                description: row.description.into(),
                type_: row.kind.into(),
                default_value: row
                    .default(version)
                    .map_or_else(|| sized(row), str::to_owned),
                unit: row.unit.map(Into::into),
                live: row.is_live(version),
                init_only: row.is_init(),
            })
            .collect()
    }

    /// The chosen settings that a version does not have, or not to be chosen so: when the instance is made, or later.
    pub fn problems(&self, spec: &Spec, version: u32) -> Vec<FieldProblem> {
        let changing = spec.settings.iter().map(|setting| (setting, false));
        let fixed = spec.init_settings.iter().map(|setting| (setting, true));
        changing
            .chain(fixed)
            .filter(|(setting, init)| {
                self.find(&setting.name, version)
                    .is_none_or(|row| row.is_init() != *init)
            })
            .map(|(setting, _)| {
                FieldProblem::new(
                    &setting.name,
                    format!(
                        "is not a setting of {} {} that can be chosen so",
                        self.product, spec.version
                    ),
                    "one that the version's description lists",
                )
            })
            .collect()
    }
}

impl Spec {
    /// What the caller chose for the setting of this name.
    pub fn chosen(&self, name: &str) -> Option<&str> {
        let mut all = self.settings.iter().chain(&self.init_settings);
        let found = all.rfind(|setting| setting.name == name);
        found.map(|setting| setting.value.as_str())
    }
}

impl From<Kind> for SettingType {
    fn from(kind: Kind) -> Self {
        match kind {
            Switch => Self::Boolean,
            Whole(minimum, maximum) => Self::Integer(IntegerBounds { minimum, maximum }),
            Real(minimum, maximum) => Self::Number(NumberBounds { minimum, maximum }),
            Word(pattern) | Match(pattern) => Self::Text(Some(pattern.into())),
            Words(pattern) => Self::Text(Some(format!(r"(?:(?:{pattern})(?:,\b|$))*"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Setting;

    static TABLE: Table = Table {
        product: "Mine",
        rows: &[
            row(
                "mode",
                Words("a|b"),
                "",
                Since("a", 5, "b"),
                Live,
                "How it works.",
            ),
            row(
                "memory",
                Whole(1, 64),
                "MB",
                Sized,
                LiveSince(6),
                "How much it takes.",
            ),
            row(
                "pages",
                Real(0.5, 2.0),
                "",
                Is("1.0"),
                Init,
                "How large pages are.",
            ),
            only_in(
                4,
                row("login", Word("old|new"), "", Is("old"), Restart, "Who."),
            ),
            since(
                5,
                row("login", Match("[a-z]+"), "", Is("new"), Live, "Who."),
            ),
        ],
    };

    fn schema(name: &str, version: u32) -> SettingSchema {
        let sized = |row: &Row| format!("{} of the smallest node", row.name);
        let mut all = TABLE.schemas(version, sized).into_iter();
        all.find(|schema| schema.name == name).unwrap()
    }

    fn setting(name: &str, value: &str) -> Setting {
        Setting {
            name: name.into(),
            value: value.into(),
        }
    }

    #[test]
    fn callers_see_those_of_their_version_in_order() {
        for version in [4, 5, 6] {
            let names: Vec<_> = TABLE.of(version).map(|row| row.name).collect();
            assert_eq!(names, ["mode", "memory", "pages", "login"], "{version}");
        }
        assert!(TABLE.find("login", 3).is_none());
        let text = |version| match schema("login", version).type_ {
            SettingType::Text(Some(pattern)) => pattern,
            other => panic!("{other:?}"),
        };
        assert_eq!((text(4), text(5)), ("old|new".into(), "[a-z]+".into()));
        assert!(!schema("login", 4).live && schema("login", 9).live);
    }

    #[test]
    fn defaults_follow_the_version_and_the_node() {
        let default = |name, version| schema(name, version).default_value;
        assert_eq!(
            (default("mode", 4), default("mode", 5)),
            ("a".into(), "b".into())
        );
        assert_eq!(default("pages", 4), "1.0");
        assert_eq!(default("memory", 4), "memory of the smallest node");
        assert_eq!(TABLE.find("memory", 4).unwrap().default(4), None);
    }

    #[test]
    fn units_bounds_and_the_moment_of_a_change_are_told() {
        let memory = schema("memory", 5);
        assert_eq!(memory.unit.as_deref(), Some("MB"));
        assert!(!memory.live && schema("memory", 6).live);
        assert!(matches!(
            memory.type_,
            SettingType::Integer(IntegerBounds {
                minimum: 1,
                maximum: 64
            })
        ));
        let pages = schema("pages", 5);
        assert_eq!(pages.unit, None);
        assert!(pages.init_only && !pages.live);
        assert!(matches!(pages.type_, SettingType::Number(bounds) if bounds.maximum > 1.9));
        assert!(matches!(
            schema("mode", 5).type_,
            SettingType::Text(Some(pattern)) if pattern == r"(?:(?:a|b)(?:,\b|$))*"
        ));
    }

    #[test]
    fn what_is_not_offered_is_refused_by_name() {
        let mut spec = Spec::of_size(0, 0);
        spec.version = "4.1".into();
        spec.settings = vec![
            setting("mode", "a"),
            setting("pages", "1"),
            setting("path", "/"),
        ];
        spec.init_settings = vec![setting("pages", "2"), setting("memory", "1")];
        let problems = TABLE.problems(&spec, 4);
        let fields: Vec<_> = problems.iter().map(|problem| &*problem.field).collect();
        assert_eq!(fields, ["pages", "path", "memory"]);
        let said = "is not a setting of Mine 4.1 that can be chosen so";
        assert_eq!(problems[1].reason, said);
        assert_eq!(spec.chosen("mode"), Some("a"));
        assert_eq!(spec.chosen("memory"), Some("1"));
        assert_eq!(spec.chosen("login"), None);
    }
}
