//! What bodies and lists may ask for. Handlers read them argument by argument, so that every problem is told at once;
//! these are their descriptions.
#![expect(dead_code, reason = "they describe; handlers read")]

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::InstanceSetting;
use crate::model::user::Permission;

macro_rules! request {
    ($(#[$meta:meta])* $name:ident as $($schema:ident)::+ { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $($schema)::+)]
        pub struct $name { $($(#[$field_meta])* $field: $kind,)* }
    };
}

macro_rules! filters {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(IntoParams)]
        #[into_params(parameter_in = Query)]
        pub struct $name { $($(#[$field_meta])* #[param(required = false)] $field: $kind,)* }
    };
}

macro_rules! choices {
    ($name:ident: $($choice:ident)+) => {
        #[derive(Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($choice,)+ }
    };
}

choices!(VolumeTypeName: Lssd Bssd);
choices!(InstanceOrder: CreatedAtAsc CreatedAtDesc NameAsc NameDesc Region StatusAsc StatusDesc);
choices!(BackupOrder: CreatedAtAsc CreatedAtDesc NameAsc NameDesc StatusAsc StatusDesc);
choices!(SnapshotOrder: CreatedAtAsc CreatedAtDesc NameAsc NameDesc ExpiresAtAsc ExpiresAtDesc);
choices!(LogOrder: CreatedAtAsc CreatedAtDesc);
choices!(UserOrder: NameAsc NameDesc IsAdminAsc IsAdminDesc);
choices!(DatabaseOrder: NameAsc NameDesc SizeAsc SizeDesc);
choices!(PrivilegeOrder: UserNameAsc UserNameDesc DatabaseNameAsc DatabaseNameDesc);

filters! {
    /// Which part of a list.
    Paging {
        /// Of pages that are as large as `page_size` says. One past the end is empty.
        #[param(minimum = 1, maximum = 2147483647)]
        page: u32,
        #[param(minimum = 1, maximum = 1000)]
        page_size: u32,
    }
}

filters! {
    InstanceFilters {
        /// Only those that have all of these.
        tags: Vec<String>,
        /// Only those with this in their name.
        name: String,
        #[param(inline)]
        order_by: InstanceOrder,
        organization_id: Uuid,
        project_id: Uuid,
        has_maintenances: bool,
    }
}

filters! {
    BackupFilters {
        name: String,
        #[param(inline)]
        order_by: BackupOrder,
        instance_id: Uuid,
        organization_id: Uuid,
        project_id: Uuid,
    }
}

filters! {
    SnapshotFilters {
        name: String,
        #[param(inline)]
        order_by: SnapshotOrder,
        instance_id: Uuid,
        organization_id: Uuid,
        project_id: Uuid,
    }
}

filters! {
    LogFilters {
        #[param(inline)]
        order_by: LogOrder,
    }
}

filters! {
    MetricFilters {
        start_date: Timestamp,
        end_date: Timestamp,
        metric_name: String,
    }
}

filters! {
    EngineFilters {
        /// Only the engine of this name.
        name: String,
        /// Only this version of each.
        version: String,
    }
}

filters! {
    NodeTypeFilters {
        include_disabled_types: bool,
    }
}

filters! {
    UserFilters {
        /// Only the one of this name.
        name: String,
        #[param(inline)]
        order_by: UserOrder,
    }
}

filters! {
    DatabaseFilters {
        /// Only the one of this name.
        name: String,
        managed: bool,
        owner: String,
        #[param(inline)]
        order_by: DatabaseOrder,
        /// Leaves every size 0.
        skip_size_retrieval: bool,
    }
}

filters! {
    PrivilegeFilters {
        #[param(inline)]
        order_by: PrivilegeOrder,
        database_name: String,
        user_name: String,
    }
}

filters! {
    CertificateForm {
        /// `1`: the file itself.
        #[param(pattern = "^1$")]
        dl: String,
    }
}

request! {
    /// What a new instance shall be.
    CreateInstance as rdb::CreateInstance {
        /// The key's own if it is left out.
        project_id: Option<Uuid>,
        /// Instead of `project_id`.
        organization_id: Option<Uuid>,
        /// A new one is made up if it is left out.
        #[schema(value_type = Option<crate::model::instance::Name>)]
        name: Option<String>,
        /// The name of an engine's version.
        engine: String,
        user_name: String,
        password: String,
        node_type: String,
        is_ha_cluster: Option<bool>,
        #[schema(inline)]
        high_availability_mode: Option<HighAvailabilityWish>,
        disable_backup: Option<bool>,
        tags: Option<Vec<String>>,
        init_settings: Option<Vec<InstanceSetting>>,
        #[schema(inline)]
        volume_type: Option<VolumeTypeName>,
        /// In bytes. Of a volume that is part of its node, the node's or none.
        volume_size: Option<u64>,
        init_endpoints: Option<Vec<EndpointSpec>>,
        backup_same_region: Option<bool>,
        encryption: Option<EncryptionWish>,
    }
}

choices!(HighAvailabilityWish: UnknownHighAvailabilityMode Disabled SingleZone MultipleZone);

request! {
    EncryptionWish as rdb::EncryptionWish {
        enabled: bool,
    }
}

request! {
    /// What shall be otherwise: what is left out or null stays.
    UpdateInstance as rdb::UpdateInstance {
        #[schema(value_type = Option<crate::model::instance::Name>)]
        name: Option<String>,
        tags: Option<Vec<String>>,
        /// In hours.
        backup_schedule_frequency: Option<u32>,
        /// In days.
        backup_schedule_retention: Option<u32>,
        is_backup_schedule_disabled: Option<bool>,
        #[schema(maximum = 23)]
        backup_schedule_start_hour: Option<u32>,
        logs_policy: Option<LogsPolicyWish>,
        backup_same_region: Option<bool>,
    }
}

request! {
    LogsPolicyWish as rdb::LogsPolicyWish {
        max_age_retention: Option<u32>,
        total_disk_retention: Option<u64>,
    }
}

request! {
    /// A way in. It says which one of the two.
    EndpointSpec as rdb::EndpointSpec {
        load_balancer: Option<Nothing>,
        private_network: Option<PrivateNetworkSpec>,
    }
}

request! {
    ReplicaEndpointSpec as rdb::ReplicaEndpointSpec {
        direct_access: Option<Nothing>,
        private_network: Option<PrivateNetworkSpec>,
    }
}

request! {
    PrivateNetworkSpec as rdb::PrivateNetworkSpec {
        private_network_id: Uuid,
        service_ip: Option<String>,
        ipam_config: Option<Nothing>,
    }
}

request! {
    /// An empty object.
    Nothing as rdb::Nothing {}
}

request! {
    CloneInstance as rdb::CloneInstance {
        name: String,
        node_type: Option<String>,
    }
}

request! {
    /// Exactly one of these.
    UpgradeInstance as rdb::UpgradeInstance {
        node_type: Option<String>,
        enable_ha: Option<bool>,
        #[schema(inline)]
        high_availability_mode: Option<HighAvailabilityWish>,
        volume_size: Option<u64>,
        #[schema(inline)]
        volume_type: Option<VolumeTypeName>,
        upgradable_version_id: Option<Uuid>,
        major_upgrade_workflow: Option<MajorUpgrade>,
        enable_encryption: Option<bool>,
    }
}

request! {
    MajorUpgrade as rdb::MajorUpgrade {
        upgradable_version_id: Uuid,
        with_endpoints: bool,
    }
}

request! {
    PrepareLogs as rdb::PrepareLogs {
        start_date: Option<Timestamp>,
        end_date: Option<Timestamp>,
    }
}

request! {
    PurgeLogs as rdb::PurgeLogs {
        log_name: Option<String>,
    }
}

request! {
    CreateBackup as rdb::CreateBackup {
        instance_id: Uuid,
        database_name: String,
        name: Option<String>,
        expires_at: Option<Timestamp>,
    }
}

request! {
    /// What is left out or null stays.
    UpdateDated as rdb::UpdateDated {
        name: Option<String>,
        expires_at: Option<Timestamp>,
    }
}

request! {
    RestoreBackup as rdb::RestoreBackup {
        instance_id: Uuid,
        database_name: Option<String>,
    }
}

request! {
    CreateSnapshot as rdb::CreateSnapshot {
        name: String,
        expires_at: Option<Timestamp>,
    }
}

request! {
    InstanceFromSnapshot as rdb::InstanceFromSnapshot {
        instance_name: String,
        is_ha_cluster: Option<bool>,
        #[schema(inline)]
        high_availability_mode: Option<HighAvailabilityWish>,
        node_type: Option<String>,
    }
}

request! {
    CreateReadReplica as rdb::CreateReadReplica {
        instance_id: Uuid,
        endpoint_spec: Option<Vec<ReplicaEndpointSpec>>,
        same_zone: Option<bool>,
    }
}

request! {
    CreateReplicaEndpoint as rdb::CreateReplicaEndpoint {
        endpoint_spec: Vec<ReplicaEndpointSpec>,
    }
}

request! {
    CreateEndpoint as rdb::CreateEndpoint {
        endpoint_spec: Option<EndpointSpec>,
    }
}

request! {
    MigrateEndpoint as rdb::MigrateEndpoint {
        instance_id: Uuid,
    }
}

request! {
    AclRules as rdb::SetAclRules {
        rules: Vec<AclRule>,
    }
}

request! {
    AclRule as rdb::AclRuleRequest {
        /// An address, or one and the length of its prefix.
        #[schema(examples("192.0.2.0/24"))]
        ip: String,
        #[schema(pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$", max_length = 200)]
        description: Option<String>,
    }
}

request! {
    DeleteAclRules as rdb::DeleteAclRules {
        acl_rule_ips: Vec<String>,
    }
}

request! {
    SetSettings as rdb::SetSettings {
        settings: Vec<InstanceSetting>,
    }
}

request! {
    DeleteSettings as rdb::DeleteSettings {
        setting_names: Vec<String>,
    }
}

request! {
    SetPrivilege as rdb::SetPrivilege {
        database_name: String,
        user_name: String,
        /// `readonly` if it is left out. `custom` is told, never set.
        #[schema(inline)]
        permission: Option<Permission>,
    }
}

request! {
    CreateUser as rdb::CreateUser {
        name: String,
        password: String,
        is_admin: Option<bool>,
    }
}

request! {
    /// What is left out or null stays.
    UpdateUser as rdb::UpdateUser {
        password: Option<String>,
        is_admin: Option<bool>,
    }
}

request! {
    CreateDatabase as rdb::CreateDatabase {
        name: String,
    }
}
