//! What Redis is: its versions and their lives.

use berth_sdk::engine::{Catalog, Description, Instance, NameRules, Stage, Version};
use berth_sdk::{Error, Result};

use crate::{Redis, names, settings};

/// A version on offer.
pub struct Release {
    pub label: &'static str,
    /// What runs, in the version that the label names.
    pub program: &'static str,
    /// By age: what came with a release is in those after it.
    pub number: u32,
    released: &'static str,
    end_of_life: &'static str,
}

pub const SINCE_7_2: u32 = 72;
pub const SINCE_8_0: u32 = 80;

/// What callers get who name no version comes first. Dates are those of <https://redis.io/docs> and <https://valkey.io>.
const RELEASES: [Release; 3] = [
    Release {
        label: "7.2",
        program: "redis-server",
        number: SINCE_7_2,
        released: "2023-08-15",
        end_of_life: "2026-02-28",
    },
    Release {
        label: "7.0",
        program: "redis-server",
        number: 70,
        released: "2022-04-27",
        end_of_life: "2024-07-29",
    },
    // Another product of the same descent, and never called Redis.
    Release {
        label: "valkey-8",
        program: "valkey-server",
        number: SINCE_8_0,
        released: "2024-09-15",
        end_of_life: "2027-09-15",
    },
];

/// An empty server takes about 15 MB; what is left by `sizing` is worth having.
pub const MINIMUM_MEMORY: u64 = 128 << 20;

/// The log of changes is written anew beside the old one.
pub const MINIMUM_STORAGE: u64 = 1 << 30;

pub const DEFAULT_PORT: u16 = 6379;

/// Fills an empty volume.
pub const COPY: &str = "cp";

impl Catalog for Redis {
    fn describe() -> Description {
        Description {
            name: "redis".into(),
            title: "Redis".into(),
            summary:
                "The data structures in memory, kept on disk, for caches, queues and counters."
                    .into(),
            versions: RELEASES.iter().map(version).collect(),
            default_port: DEFAULT_PORT,
            minimum_memory_bytes: MINIMUM_MEMORY,
            user_names: NameRules::new(names::LONGEST, &[], &[names::BERTH]),
            database_names: NameRules::new(names::LONGEST, &[], &[]),
        }
    }
}

/// The release of a label, if it is one of ours.
pub fn release(label: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.label == label)
}

/// What a running instance runs.
pub fn release_of(instance: &Instance) -> Result<&'static Release> {
    release(&instance.spec.version).ok_or_else(|| Error::unknown_version("Redis"))
}

/// All labels.
pub fn labels() -> Vec<String> {
    RELEASES.map(|release| release.label.to_owned()).into()
}

fn version(release: &Release) -> Version {
    Version {
        label: release.label.into(),
        stage: Stage::Stable,
        released: release.released.into(),
        end_of_life: release.end_of_life.into(),
        // Each reads what the ones before it wrote.
        upgrades_to: RELEASES
            .iter()
            .filter(|other| other.number > release.number)
            .map(|other| other.label.into())
            .collect(),
        programs: vec![release.program.into(), COPY.into()],
        settings: settings::schemas(release.number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_releases_are_what_one_upgrades_to() {
        let versions = Redis::describe().versions;
        let of = |label: &str| {
            let found = versions.iter().find(|v| v.label == label).unwrap();
            found.upgrades_to.clone()
        };
        assert_eq!(of("7.0"), ["7.2", "valkey-8"]);
        assert_eq!(of("7.2"), ["valkey-8"]);
        assert!(of("valkey-8").is_empty());
        assert_eq!(versions[0].label, "7.2", "not another product");
    }

    #[test]
    fn a_label_is_a_version_only_as_written() {
        assert!(release("7.0").is_some());
        for not_one in ["", "7", "7.4", "8.0", "8", "7.2.4", " 7.2", "Valkey-8.0"] {
            assert!(release(not_one).is_none(), "{not_one:?}");
        }
    }
}
