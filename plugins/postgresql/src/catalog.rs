//! What PostgreSQL is: its versions and their lives.

use berth_sdk::engine::{Catalog, Description, Instance, NameRules, Stage, Version};
use berth_sdk::{Error, Result};

use crate::{PostgreSql, settings};

/// A major version. Dates are those of <https://www.postgresql.org/support/versioning/>.
struct Major {
    number: u32,
    released: &'static str,
    end_of_life: &'static str,
}

/// Newest first.
const MAJORS: [Major; 5] = [
    Major {
        number: 18,
        released: "2025-09-25",
        end_of_life: "2030-11-14",
    },
    Major {
        number: 17,
        released: "2024-09-26",
        end_of_life: "2029-11-08",
    },
    Major {
        number: 16,
        released: "2023-09-14",
        end_of_life: "2028-11-09",
    },
    Major {
        number: 15,
        released: "2022-10-13",
        end_of_life: "2027-11-11",
    },
    Major {
        number: 14,
        released: "2021-09-30",
        end_of_life: "2026-11-12",
    },
];

/// A server with the smallest settings of `sizing` works in this, and not in much less.
pub const MINIMUM_MEMORY: u64 = 256 << 20;

/// An empty server takes about 60 MB, with its log of changes at its smallest 128 MB more.
pub const MINIMUM_STORAGE: u64 = 1 << 30;

pub const DEFAULT_PORT: u16 = 5432;

/// The programs that `plan` names.
pub const SERVER: &str = "postgres";
pub const INITDB: &str = "initdb";

impl Catalog for PostgreSql {
    fn describe() -> Description {
        Description {
            name: "postgresql".into(),
            title: "PostgreSQL".into(),
            summary: "The relational database with extensions, JSON and full-text search.".into(),
            versions: MAJORS.iter().map(version).collect(),
            default_port: DEFAULT_PORT,
            minimum_memory_bytes: MINIMUM_MEMORY,
            user_names: names(),
            database_names: names(),
        }
    }
}

/// The number of a version's label, if it is one of ours.
pub fn major(label: &str) -> Option<u32> {
    MAJORS
        .iter()
        .map(|major| major.number)
        .find(|number| number.to_string() == label)
}

/// The number of a running instance's version.
pub fn major_of(instance: &Instance) -> Result<u32> {
    major(&instance.spec.version).ok_or_else(|| Error::unknown_version("PostgreSQL"))
}

/// All labels, newest first.
pub fn labels() -> Vec<String> {
    MAJORS.map(|major| major.number.to_string()).into()
}

/// Manual 4.1.1: longer names are cut; 22.1: names that begin with `pg_` are the server's own.
fn names() -> NameRules {
    NameRules::new(63, &["pg_"], &["berth", "postgres", "public", "none"])
}

fn version(major: &Major) -> Version {
    Version {
        label: major.number.to_string(),
        stage: Stage::Stable,
        released: major.released.into(),
        end_of_life: major.end_of_life.into(),
        // pg_upgrade goes from any of these to any newer one.
        upgrades_to: MAJORS
            .iter()
            .filter(|other| other.number > major.number)
            .map(|other| other.number.to_string())
            .collect(),
        programs: vec![INITDB.into(), SERVER.into()],
        settings: settings::schemas(major.number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_versions_are_what_one_upgrades_to() {
        let description = PostgreSql::describe();
        let labels: Vec<_> = description.versions.iter().map(|v| &v.label).collect();
        assert_eq!(labels, ["18", "17", "16", "15", "14"]);
        assert_eq!(description.versions[0].upgrades_to, [""; 0]);
        assert_eq!(description.versions[3].upgrades_to, ["18", "17", "16"]);
    }

    #[test]
    fn every_version_lives_for_about_five_years() {
        for version in PostgreSql::describe().versions {
            let year = |date: &str| date[..4].parse::<u32>().unwrap();
            assert_eq!(
                year(&version.end_of_life) - year(&version.released),
                5,
                "{version:?}"
            );
            assert!(version.end_of_life[5..].starts_with("11-"));
        }
    }

    #[test]
    fn a_label_is_a_version_only_as_written() {
        assert_eq!(major("16"), Some(16));
        for not_one in ["", "13", "016", "16.4", " 16", "sixteen"] {
            assert_eq!(major(not_one), None, "{not_one:?}");
        }
    }
}
