//! What cannot be had yet, as it will be shown: lists of it are empty, and nothing else of it is answered.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::instance::Endpoint;

/// Something that nothing is made of yet.
macro_rules! later {
    ($(#[$meta:meta])* $name:ident as $($schema:ident)::+ { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Serialize, ToSchema)]
        #[schema(as = $($schema)::+)]
        #[allow(dead_code, reason = "it describes: there is none yet")]
        pub struct $name { $($(#[$field_meta])* $field: $kind,)+ }
    };
}

later! {
    /// Of a logical database.
    DatabaseBackup as rdb::DatabaseBackup {
        id: Uuid,
        instance_id: Uuid,
        database_name: String,
        name: String,
        #[schema(inline)]
        status: BackupStatus,
        /// In bytes.
        size: Option<u64>,
        expires_at: Option<Timestamp>,
        created_at: Option<Timestamp>,
        updated_at: Option<Timestamp>,
        instance_name: String,
        download_url: Option<String>,
        download_url_expires_at: Option<Timestamp>,
        region: String,
        same_region: bool,
    }
}

later! {
    Snapshot as rdb::Snapshot {
        id: Uuid,
        instance_id: Uuid,
        name: String,
        #[schema(inline)]
        status: SnapshotStatus,
        /// In bytes.
        size: Option<u64>,
        expires_at: Option<Timestamp>,
        created_at: Option<Timestamp>,
        updated_at: Option<Timestamp>,
        instance_name: String,
        node_type: String,
        region: String,
    }
}

later! {
    ReadReplica as rdb::ReadReplica {
        id: Uuid,
        instance_id: Uuid,
        endpoints: Vec<Endpoint>,
        #[schema(inline)]
        status: ReplicaStatus,
        region: String,
        same_zone: bool,
    }
}

later! {
    InstanceLog as rdb::InstanceLog {
        id: Uuid,
        download_url: Option<String>,
        #[schema(inline)]
        status: LogStatus,
        node_name: String,
        expires_at: Option<Timestamp>,
        created_at: Option<Timestamp>,
        region: String,
    }
}

later! {
    InstanceLogDetail as rdb::InstanceLogDetail {
        log_name: String,
        /// In bytes.
        size: u64,
    }
}

later! {
    Maintenance as rdb::Maintenance {
        starts_at: Option<Timestamp>,
        stops_at: Option<Timestamp>,
        closed_at: Option<Timestamp>,
        forced_at: Option<Timestamp>,
        reason: String,
        #[schema(inline)]
        status: MaintenanceStatus,
        is_applicable: bool,
    }
}

later! {
    InstanceMetrics as rdb::InstanceMetrics {
        timeseries: Vec<TimeSeries>,
    }
}

later! {
    TimeSeries as rdb::TimeSeries {
        name: String,
        metadata: std::collections::BTreeMap<String, String>,
        /// Each a moment and a value.
        points: Vec<(Timestamp, f64)>,
    }
}

macro_rules! statuses {
    ($name:ident: $($status:ident)+) => {
        #[derive(Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[allow(dead_code, reason = "it describes: there is none yet")]
        enum $name { $($status,)+ }
    };
}

statuses!(BackupStatus: Unknown Creating Ready Restoring Deleting Error Exporting Locked);
statuses!(SnapshotStatus: Unknown Creating Ready Restoring Deleting Error Locked);
statuses!(ReplicaStatus: Unknown Provisioning Initializing Ready Deleting Error Locked Configuring Promoting);
statuses!(LogStatus: Unknown Ready Creating Error);
statuses!(MaintenanceStatus: Unknown Pending Done Canceled Ongoing);

#[derive(Default, Serialize, ToSchema)]
#[schema(as = rdb::DatabaseBackups)]
pub struct DatabaseBackups {
    database_backups: Vec<DatabaseBackup>,
    total_count: usize,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = rdb::Snapshots)]
pub struct Snapshots {
    snapshots: Vec<Snapshot>,
    total_count: usize,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = rdb::InstanceLogs)]
pub struct InstanceLogs {
    instance_logs: Vec<InstanceLog>,
}

#[derive(Default, Serialize, ToSchema)]
#[schema(as = rdb::InstanceLogsDetails)]
pub struct InstanceLogsDetails {
    details: Vec<InstanceLogDetail>,
}
