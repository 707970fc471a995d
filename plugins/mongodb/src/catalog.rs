//! What MongoDB is: its versions and their lives.

use berth_sdk::engine::{Catalog, Description, Instance, NameRules, Stage, Version};
use berth_sdk::names::RESERVED;
use berth_sdk::{Error, Result};

use crate::{MongoDb, names, settings};

/// A version on offer.
pub struct Release {
    pub label: &'static str,
    released: &'static str,
    end_of_life: &'static str,
}

/// Newest first; each is upgraded to the one before it, and none is left out on the way. Dates are those of
/// <https://www.mongodb.com/legal/support-policy/lifecycles>.
const RELEASES: [Release; 3] = [
    Release {
        label: "8.0",
        released: "2024-10-02",
        end_of_life: "2029-10-31",
    },
    Release {
        label: "7.0",
        released: "2023-08-15",
        end_of_life: "2027-08-31",
    },
    Release {
        label: "6.0",
        released: "2022-07-19",
        end_of_life: "2025-07-31",
    },
];

/// The least cache is 256 MB, and the rest of the server takes about as much.
pub const MINIMUM_MEMORY: u64 = 512 << 20;

/// The log of changes that a replica set keeps takes 990 MB at least.
pub const MINIMUM_STORAGE: u64 = 4 << 30;

pub const DEFAULT_PORT: u16 = 27_017;

/// What runs.
pub const SERVER: &str = "mongod";

impl Catalog for MongoDb {
    fn describe() -> Description {
        Description {
            name: "mongodb".into(),
            title: "MongoDB".into(),
            summary: "The document database, as a replica set of one, with transactions and change streams."
                .into(),
            versions: RELEASES.iter().enumerate().map(version).collect(),
            default_port: DEFAULT_PORT,
            minimum_memory_bytes: MINIMUM_MEMORY,
            user_names: NameRules::new(names::LONGEST, &[RESERVED, "__"], &[]),
            database_names: NameRules::new(names::LONGEST, &[RESERVED], &names::OWN_DATABASES),
        }
    }
}

/// The release of a label, if it is one of ours.
pub fn release(label: &str) -> Option<&'static Release> {
    RELEASES.iter().find(|release| release.label == label)
}

/// That a running instance runs a version that is known here.
pub fn check(instance: &Instance) -> Result<()> {
    release(&instance.spec.version)
        .map(drop)
        .ok_or_else(|| Error::unknown_version("MongoDB"))
}

/// All labels, newest first.
pub fn labels() -> Vec<String> {
    RELEASES.map(|release| release.label.to_owned()).into()
}

fn version((position, release): (usize, &Release)) -> Version {
    let next = position.checked_sub(1).and_then(|at| RELEASES.get(at));
    Version {
        label: release.label.into(),
        stage: Stage::Stable,
        released: release.released.into(),
        end_of_life: release.end_of_life.into(),
        upgrades_to: next.map(|next| next.label.into()).into_iter().collect(),
        programs: vec![SERVER.into()],
        settings: settings::schemas(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_upgrades_to_the_next_release_and_no_further() {
        let versions = MongoDb::describe().versions;
        let of = |label: &str| {
            let found = versions.iter().find(|v| v.label == label).unwrap();
            found.upgrades_to.clone()
        };
        assert_eq!(of("6.0"), ["7.0"]);
        assert_eq!(of("7.0"), ["8.0"]);
        assert!(of("8.0").is_empty());
    }

    #[test]
    fn a_label_is_a_version_only_as_written() {
        assert!(release("7.0").is_some());
        for not_one in ["", "7", "5.0", "8.2", "7.0.14", " 7.0"] {
            assert!(release(not_one).is_none(), "{not_one:?}");
        }
    }
}
