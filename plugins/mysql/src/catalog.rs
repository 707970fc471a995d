//! What MySQL is: its versions and their lives.

use berth_sdk::engine::{Catalog, Description, Instance, NameRules, Stage, Version};
use berth_sdk::names::RESERVED;
use berth_sdk::{Error, Result};

use crate::names::{LONGEST_DATABASE, LONGEST_USER, OWN_DATABASES, OWN_USERS};
use crate::{MySql, settings};

/// The series that are supported for years. What comes between two of them is none: its data would be upgraded for good
/// by the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Series {
    V8_0,
    V8_4,
    V9_7,
}

/// Newest first.
pub const SERIES: [Series; 3] = [Series::V9_7, Series::V8_4, Series::V8_0];

/// A server with the smallest settings of `sizing` works in this, and not in much less.
pub const MINIMUM_MEMORY: u64 = 512 << 20;

/// An empty server takes about 110 MB, with its logs of changes at their smallest 100 MB more.
pub const MINIMUM_STORAGE: u64 = 1 << 30;

pub const DEFAULT_PORT: u16 = 3306;

/// The program that `plan` names.
pub const SERVER: &str = "mysqld";

impl Series {
    pub const fn label(self) -> &'static str {
        match self {
            Self::V8_0 => "8.0",
            Self::V8_4 => "8.4",
            Self::V9_7 => "9.7",
        }
    }

    pub fn of_label(label: &str) -> Option<Self> {
        SERIES.into_iter().find(|series| series.label() == label)
    }

    /// Of a running instance.
    pub fn of(instance: &Instance) -> Result<Self> {
        Self::of_label(&instance.spec.version).ok_or_else(|| Error::unknown_version("MySQL"))
    }

    /// By age, for the table of settings.
    pub const fn number(self) -> u32 {
        match self {
            Self::V8_0 => 80,
            Self::V8_4 => 84,
            Self::V9_7 => 97,
        }
    }

    /// Whether a server that says this version of itself is one of the series, and knows the settings that are planned for it.
    pub fn is_of(self, said: &str) -> bool {
        let rest = said.strip_prefix(self.label());
        let release = rest.and_then(|rest| {
            let number = rest.strip_prefix('.')?;
            let end = number.find(|c: char| !c.is_ascii_digit());
            number[..end.unwrap_or(number.len())].parse::<u32>().ok()
        });
        release.is_some_and(|release| release >= self.first()) && !said.contains("MariaDB")
    }

    /// The first of its releases with which Berth works. Those of 8.0 before it do not know `innodb_redo_log_capacity`, and
    /// do not start.
    const fn first(self) -> u32 {
        match self {
            Self::V8_0 => 30,
            Self::V8_4 | Self::V9_7 => 0,
        }
    }

    /// What a server of it is called where another one was found.
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::V8_0 => "MySQL 8.0 from 8.0.30 on",
            Self::V8_4 => "MySQL 8.4",
            Self::V9_7 => "MySQL 9.7",
        }
    }

    /// First release and end of the maker's support: 8 years for each of these series.
    const fn life(self) -> (&'static str, &'static str) {
        match self {
            Self::V8_0 => ("2018-04-19", "2026-04-30"),
            Self::V8_4 => ("2024-04-30", "2032-04-30"),
            Self::V9_7 => ("2026-04-21", "2034-04-30"),
        }
    }

    /// A server upgrades its data to the next of these series when it starts on them, and not past it.
    const fn next(self) -> Option<Self> {
        match self {
            Self::V8_0 => Some(Self::V8_4),
            Self::V8_4 => Some(Self::V9_7),
            Self::V9_7 => None,
        }
    }

    fn version(self) -> Version {
        let (released, end_of_life) = self.life();
        Version {
            label: self.label().into(),
            stage: Stage::Stable,
            released: released.into(),
            end_of_life: end_of_life.into(),
            upgrades_to: self.next().iter().map(|s| s.label().to_owned()).collect(),
            programs: vec![SERVER.into()],
            settings: settings::schemas(self),
        }
    }
}

impl Catalog for MySql {
    fn describe() -> Description {
        Description {
            name: "mysql".into(),
            title: "MySQL".into(),
            summary: "The relational database behind much of the web.".into(),
            versions: SERIES.into_iter().map(Series::version).collect(),
            default_port: DEFAULT_PORT,
            minimum_memory_bytes: MINIMUM_MEMORY,
            user_names: NameRules::new(LONGEST_USER, &[RESERVED], &OWN_USERS),
            database_names: NameRules::new(LONGEST_DATABASE, &[RESERVED], &OWN_DATABASES),
        }
    }
}

/// All labels, newest first.
pub fn labels() -> Vec<String> {
    SERIES.map(|series| series.label().to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_upgrades_to_the_next_series() {
        let description = MySql::describe();
        let labels: Vec<_> = description.versions.iter().map(|v| &*v.label).collect();
        assert_eq!(labels, ["9.7", "8.4", "8.0"]);
        let next: Vec<_> = description
            .versions
            .iter()
            .map(|v| v.upgrades_to.concat())
            .collect();
        assert_eq!(next, ["", "9.7", "8.4"]);
    }

    #[test]
    fn another_product_is_no_version() {
        assert!(Series::V8_0.is_of("8.0.46"));
        assert!(Series::V9_7.is_of("9.7.4-2"));
        for not_one in ["9.6.0", "9.8.0", "9.70.0", "9.7", "9."] {
            assert!(!Series::V9_7.is_of(not_one), "{not_one}");
        }
        assert!(Series::V8_0.is_of("8.0.30") && Series::V8_0.is_of("8.0.36-0ubuntu0.22.04.1"));
        assert!(!Series::V8_0.is_of("8.0.29"), "it lacks a setting");
        assert!(Series::V8_4.is_of("8.4.0"));
        assert!(!Series::V8_4.is_of("8.0.46"));
        assert!(!Series::V8_0.is_of("8.0.40-MariaDB"));
        assert!(!Series::V9_7.is_of("11.8.6-MariaDB"));
        for not_one in ["", "8", "8.04", " 8.4", "9"] {
            assert_eq!(Series::of_label(not_one), None, "{not_one:?}");
        }
    }
}
