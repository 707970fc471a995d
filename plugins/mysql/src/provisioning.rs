//! How an instance comes to be: the checks before, and the way to the work itself.

use berth_sdk::engine::{Instance, MemberObservation, Needs, Provisioning};
use berth_sdk::types::{FieldProblem, Spec, Workload};
use berth_sdk::{Error, Result};

use crate::catalog::{self, MINIMUM_MEMORY, MINIMUM_STORAGE, Series};
use crate::{MySql, bootstrap, names, observe, plan, settings};

impl Provisioning for MySql {
    fn validate(spec: Spec) -> Result<()> {
        Error::unless_empty(problems(&spec))
    }

    fn plan(spec: Spec) -> Result<Workload> {
        Error::unless_empty(problems(&spec))?;
        let series =
            Series::of_label(&spec.version).ok_or_else(|| Error::unknown_version("MySQL"))?;
        Ok(plan::workload(&spec, series))
    }

    fn bootstrap(instance: Instance) -> Result<()> {
        bootstrap::bootstrap(&instance)
    }

    fn observe(instance: Instance) -> Result<Vec<MemberObservation>> {
        observe::observe(&instance)
    }
}

/// Everything that is wrong with a spec.
fn problems(spec: &Spec) -> Vec<FieldProblem> {
    let needs = Needs {
        product: "MySQL",
        versions: &catalog::labels(),
        memory_bytes: MINIMUM_MEMORY,
        storage_bytes: MINIMUM_STORAGE,
        can_shard: false,
    };
    let mut found = needs.problems(spec);
    found.extend(settings::problems(spec));
    found.extend(names::check_user(&names::user(spec)).err());
    let lower = settings::lower_case(spec);
    found.extend(names::check_database(&names::database(spec), lower).err());
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
        for version in ["8.0", "8.4", "9.7"] {
            assert_eq!(fields(&spec(version)), [""; 0]);
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let mut spec = spec("8.4");
        spec.node.memory_bytes = 100 << 20;
        spec.settings.push(Setting {
            name: "skip_grant_tables".into(),
            value: "on".into(),
        });
        assert_eq!(
            fields(&spec),
            [
                "node.memory-bytes",
                "skip_grant_tables",
                "innodb_buffer_pool_size"
            ]
        );
        spec.settings.clear();
        spec.version = "5.7".into();
        spec.members = 3;
        spec.shards = 3;
        spec.storage_bytes = 1;
        spec.user = Some("root".into());
        spec.database = Some("MySQL".into());
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
        assert!(matches!(MySql::plan(spec), Err(Error::Invalid(all)) if all.len() == 7));
    }
}
