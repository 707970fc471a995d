//! How an instance comes to be: the checks before, and the way to the work itself.

use berth_sdk::engine::{Instance, MemberObservation, Needs, Provisioning};
use berth_sdk::types::{FieldProblem, Spec, Workload};
use berth_sdk::{Error, Result};

use crate::catalog::{MINIMUM_MEMORY, MINIMUM_STORAGE};
use crate::session::block_on;
use crate::{PostgreSql, bootstrap, catalog, names, observe, plan, settings};

impl Provisioning for PostgreSql {
    fn validate(spec: Spec) -> Result<()> {
        Error::unless_empty(problems(&spec))
    }

    fn plan(spec: Spec) -> Result<Workload> {
        Error::unless_empty(problems(&spec))?;
        Ok(plan::workload(&spec))
    }

    fn bootstrap(instance: Instance) -> Result<()> {
        block_on(bootstrap::bootstrap(&instance))
    }

    fn observe(instance: Instance) -> Result<Vec<MemberObservation>> {
        block_on(observe::observe(&instance))
    }
}

/// Everything that is wrong with a spec.
fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let needs = Needs {
        product: "PostgreSQL",
        versions: &catalog::labels(),
        memory_bytes: MINIMUM_MEMORY,
        storage_bytes: MINIMUM_STORAGE,
        can_shard: false,
    };
    let mut found = needs.problems(spec);
    found.extend(settings::problems(spec));
    found.extend(names::check_user(&names::user(spec)).err());
    found.extend(names::check_database(&names::database(spec)).err());
    found
}

#[cfg(test)]
mod tests {
    use berth_sdk::types::Setting;

    use super::*;
    use crate::plan::tests::spec;

    fn fields(spec: &Spec) -> Vec<String> {
        problems(spec).into_iter().map(|p| p.field).collect()
    }

    #[test]
    fn what_is_right_is_let_through() {
        for version in ["14", "15", "16", "17", "18"] {
            assert_eq!(fields(&spec(version)), [""; 0]);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut spec = spec("15");
        spec.node.memory_bytes = 100 << 20;
        spec.settings.push(Setting {
            name: "fsync".into(),
            value: "off".into(),
        });
        assert_eq!(fields(&spec), ["node.memory-bytes", "fsync"]);
        spec.settings.clear();
        spec.version = "13".into();
        spec.members = 3;
        spec.shards = 3;
        spec.storage_bytes = 1;
        spec.user = Some("pg_root".into());
        spec.database = Some("postgres".into());
        assert_eq!(
            fields(&spec),
            [
                "version",
                "members",
                "shards",
                "node.memory-bytes",
                "storage-bytes",
                "user",
                "database"
            ]
        );
        assert!(matches!(PostgreSql::plan(spec), Err(Error::Invalid(all)) if all.len() == 7));
    }
}
