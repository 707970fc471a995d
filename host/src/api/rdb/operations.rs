//! Every operation of the dialect, and whether it is there: the one place that says so. The document of the API takes
//! it from here, handlers of what is not there yet refuse in its words, and a test asks them all.

use super::errors::Refusal;

/// An operation as the dialect's document has it.
#[derive(Debug)]
pub struct Operation {
    /// Its name in our document: `rdb_` and the name that clients' methods have.
    pub id: &'static str,
    pub method: &'static str,
    /// Below that of a region.
    pub path: &'static str,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It takes full effect.
    There,
    /// A list of things that cannot be made yet: it is empty.
    Empty(Ability),
    /// It is refused: `precondition_failed`.
    Later(Ability),
}

/// What the operations that are not there yet need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    Backups,
    Clones,
    Encryption,
    Endpoints,
    HighAvailability,
    Logs,
    Maintenances,
    Metrics,
    PrivateNetworks,
    ReadReplicas,
    Snapshots,
    Upgrades,
}

/// What clients are told is not met: of those that they know, the one that says the least.
const NOT_YET: &str = "unknown_precondition";

/// In the order of the document; the last two came after it.
pub static ALL: [Operation; 58] = {
    use Ability::{
        Backups, Clones, Endpoints, Logs, Maintenances, Metrics, ReadReplicas, Snapshots, Upgrades,
    };
    use State::{Empty, Later, There};
    [
        get("rdb_list_database_backups", "/backups", Empty(Backups)),
        post("rdb_create_database_backup", "/backups", Later(Backups)),
        get(
            "rdb_get_database_backup",
            "/backups/{database_backup_id}",
            Later(Backups),
        ),
        patch(
            "rdb_update_database_backup",
            "/backups/{database_backup_id}",
            Later(Backups),
        ),
        delete(
            "rdb_delete_database_backup",
            "/backups/{database_backup_id}",
            Later(Backups),
        ),
        post(
            "rdb_export_database_backup",
            "/backups/{database_backup_id}/export",
            Later(Backups),
        ),
        post(
            "rdb_restore_database_backup",
            "/backups/{database_backup_id}/restore",
            Later(Backups),
        ),
        get("rdb_list_database_engines", "/database-engines", There),
        get("rdb_list_instances", "/instances", There),
        post("rdb_create_instance", "/instances", There),
        get("rdb_get_instance", "/instances/{instance_id}", There),
        patch("rdb_update_instance", "/instances/{instance_id}", There),
        delete("rdb_delete_instance", "/instances/{instance_id}", There),
        get(
            "rdb_get_instance_certificate",
            "/instances/{instance_id}/certificate",
            There,
        ),
        post(
            "rdb_clone_instance",
            "/instances/{instance_id}/clone",
            Later(Clones),
        ),
        get(
            "rdb_list_instance_logs",
            "/instances/{instance_id}/logs",
            Empty(Logs),
        ),
        get(
            "rdb_list_instance_logs_details",
            "/instances/{instance_id}/logs-details",
            Empty(Logs),
        ),
        get(
            "rdb_get_instance_metrics",
            "/instances/{instance_id}/metrics",
            Later(Metrics),
        ),
        post(
            "rdb_prepare_instance_logs",
            "/instances/{instance_id}/prepare-logs",
            Later(Logs),
        ),
        post(
            "rdb_purge_instance_logs",
            "/instances/{instance_id}/purge-logs",
            Later(Logs),
        ),
        post(
            "rdb_renew_instance_certificate",
            "/instances/{instance_id}/renew-certificate",
            There,
        ),
        post(
            "rdb_restart_instance",
            "/instances/{instance_id}/restart",
            There,
        ),
        post(
            "rdb_upgrade_instance",
            "/instances/{instance_id}/upgrade",
            Later(Upgrades),
        ),
        get(
            "rdb_get_instance_log",
            "/logs/{instance_log_id}",
            Later(Logs),
        ),
        post(
            "rdb_create_read_replica",
            "/read-replicas",
            Later(ReadReplicas),
        ),
        get(
            "rdb_get_read_replica",
            "/read-replicas/{read_replica_id}",
            Later(ReadReplicas),
        ),
        delete(
            "rdb_delete_read_replica",
            "/read-replicas/{read_replica_id}",
            Later(ReadReplicas),
        ),
        post(
            "rdb_create_read_replica_endpoint",
            "/read-replicas/{read_replica_id}/endpoints",
            Later(ReadReplicas),
        ),
        post(
            "rdb_reset_read_replica",
            "/read-replicas/{read_replica_id}/reset",
            Later(ReadReplicas),
        ),
        get(
            "rdb_list_instance_acl_rules",
            "/instances/{instance_id}/acls",
            There,
        ),
        post(
            "rdb_add_instance_acl_rules",
            "/instances/{instance_id}/acls",
            There,
        ),
        put(
            "rdb_set_instance_acl_rules",
            "/instances/{instance_id}/acls",
            There,
        ),
        delete(
            "rdb_delete_instance_acl_rules",
            "/instances/{instance_id}/acls",
            There,
        ),
        post(
            "rdb_add_instance_settings",
            "/instances/{instance_id}/settings",
            There,
        ),
        put(
            "rdb_set_instance_settings",
            "/instances/{instance_id}/settings",
            There,
        ),
        delete(
            "rdb_delete_instance_settings",
            "/instances/{instance_id}/settings",
            There,
        ),
        get(
            "rdb_list_privileges",
            "/instances/{instance_id}/privileges",
            There,
        ),
        put(
            "rdb_set_privilege",
            "/instances/{instance_id}/privileges",
            There,
        ),
        get("rdb_list_users", "/instances/{instance_id}/users", There),
        post("rdb_create_user", "/instances/{instance_id}/users", There),
        patch(
            "rdb_update_user",
            "/instances/{instance_id}/users/{name}",
            There,
        ),
        delete(
            "rdb_delete_user",
            "/instances/{instance_id}/users/{name}",
            There,
        ),
        get(
            "rdb_list_databases",
            "/instances/{instance_id}/databases",
            There,
        ),
        post(
            "rdb_create_database",
            "/instances/{instance_id}/databases",
            There,
        ),
        delete(
            "rdb_delete_database",
            "/instances/{instance_id}/databases/{name}",
            There,
        ),
        get("rdb_list_node_types", "/node-types", There),
        post(
            "rdb_create_snapshot",
            "/instances/{instance_id}/snapshots",
            Later(Snapshots),
        ),
        get("rdb_list_snapshots", "/snapshots", Empty(Snapshots)),
        get(
            "rdb_get_snapshot",
            "/snapshots/{snapshot_id}",
            Later(Snapshots),
        ),
        patch(
            "rdb_update_snapshot",
            "/snapshots/{snapshot_id}",
            Later(Snapshots),
        ),
        delete(
            "rdb_delete_snapshot",
            "/snapshots/{snapshot_id}",
            Later(Snapshots),
        ),
        post(
            "rdb_create_instance_from_snapshot",
            "/snapshots/{snapshot_id}/create-instance",
            Later(Snapshots),
        ),
        get("rdb_get_endpoint", "/endpoints/{endpoint_id}", There),
        delete(
            "rdb_delete_endpoint",
            "/endpoints/{endpoint_id}",
            Later(Endpoints),
        ),
        post(
            "rdb_migrate_endpoint",
            "/endpoints/{endpoint_id}/migrate",
            Later(Endpoints),
        ),
        post(
            "rdb_create_endpoint",
            "/instances/{instance_id}/endpoints",
            Later(Endpoints),
        ),
        post(
            "rdb_promote_read_replica",
            "/read-replicas/{read_replica_id}/promote",
            Later(ReadReplicas),
        ),
        post(
            "rdb_apply_instance_maintenance",
            "/instances/{instance_id}/apply-maintenance",
            Later(Maintenances),
        ),
    ]
};

impl Ability {
    pub fn name(self) -> &'static str {
        match self {
            Self::Backups => "backups",
            Self::Clones => "clones",
            Self::Encryption => "encryption at rest",
            Self::Endpoints => "endpoints that are made or removed",
            Self::HighAvailability => "high availability",
            Self::Logs => "logs to download",
            Self::Maintenances => "maintenances",
            Self::Metrics => "metrics",
            Self::PrivateNetworks => "private networks",
            Self::ReadReplicas => "read replicas",
            Self::Snapshots => "snapshots",
            Self::Upgrades => "upgrades",
        }
    }

    pub fn not_there_yet(self) -> Refusal {
        Refusal::Precondition(NOT_YET, self.words())
    }

    fn words(self) -> String {
        format!("Berth has no {} yet", self.name())
    }
}

impl Operation {
    /// Why it is refused, if it is not there yet.
    pub fn not_there_yet(&self) -> Option<Refusal> {
        let ability = match self.state {
            State::There => return None,
            State::Empty(ability) | State::Later(ability) => ability,
        };
        let method = self.method.to_ascii_uppercase();
        let help = format!("{method} …{}: {}", self.path, ability.words());
        Some(Refusal::Precondition(NOT_YET, help))
    }

    pub fn by_id(id: &str) -> Option<&'static Self> {
        ALL.iter().find(|operation| operation.id == id)
    }
}

const fn get(id: &'static str, path: &'static str, state: State) -> Operation {
    row(id, "get", path, state)
}

const fn post(id: &'static str, path: &'static str, state: State) -> Operation {
    row(id, "post", path, state)
}

const fn put(id: &'static str, path: &'static str, state: State) -> Operation {
    row(id, "put", path, state)
}

const fn patch(id: &'static str, path: &'static str, state: State) -> Operation {
    row(id, "patch", path, state)
}

const fn delete(id: &'static str, path: &'static str, state: State) -> Operation {
    row(id, "delete", path, state)
}

const fn row(
    id: &'static str,
    method: &'static str,
    path: &'static str,
    state: State,
) -> Operation {
    Operation {
        id,
        method,
        path,
        state,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::rdb;

    #[test]
    fn the_table_has_every_route_and_no_other() {
        let described = rdb::routes().into_openapi();
        let mut routes = BTreeSet::new();
        for (path, item) in serde_json::to_value(described).unwrap()["paths"]
            .as_object()
            .unwrap()
        {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                routes.insert((id, method.clone(), path.clone()));
            }
        }
        let rows = ALL.iter().map(|row| {
            let path = format!("/rdb/v1/regions/{{region}}{}", row.path);
            (row.id.to_owned(), row.method.to_owned(), path)
        });
        assert_eq!(routes, rows.collect());
    }

    #[test]
    fn as_many_are_there_as_is_said() {
        let count = |wanted: fn(State) -> bool| ALL.iter().filter(|row| wanted(row.state)).count();
        assert_eq!(count(|state| state == State::There), 27);
        assert_eq!(count(|state| matches!(state, State::Empty(_))), 4);
        // Two of them came after the document.
        assert_eq!(count(|state| matches!(state, State::Later(_))), 25 + 2);
    }
}
