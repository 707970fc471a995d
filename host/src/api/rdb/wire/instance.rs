//! An instance as the dialect shows it, with what hangs on it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::later::{Maintenance, ReadReplica};
use super::{GB, InstanceSetting, Settings};
use crate::api::rdb::engines::{self, Titles};
use crate::api::rdb::moments;
use crate::api::rdb::status::{self, Status};
use crate::model;
use crate::service::Control;

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Instance)]
pub struct Instance {
    id: Uuid,
    name: String,
    organization_id: Uuid,
    project_id: Uuid,
    region: String,
    status: Status,
    /// The name of an engine's version.
    engine: String,
    node_type: String,
    is_ha_cluster: bool,
    high_availability_mode: HighAvailability,
    tags: Vec<String>,
    #[serde(serialize_with = "moments::write")]
    created_at: Timestamp,
    volume: Volume,
    upgradable_version: Vec<UpgradableVersion>,
    /// The first of `endpoints`.
    endpoint: Option<Endpoint>,
    endpoints: Vec<Endpoint>,
    /// Those that were chosen; the others are as `database-engines` says.
    settings: Vec<InstanceSetting>,
    init_settings: Vec<InstanceSetting>,
    backup_schedule: BackupSchedule,
    backup_same_region: bool,
    read_replicas: Vec<ReadReplica>,
    logs_policy: LogsPolicy,
    maintenances: Vec<Maintenance>,
    encryption: Encryption,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Instances)]
pub struct Instances {
    pub instances: Vec<Instance>,
    pub total_count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::HighAvailabilityMode)]
pub enum HighAvailability {
    Disabled,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Volume)]
pub struct Volume {
    r#type: String,
    /// In bytes.
    size: u64,
    class: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::UpgradableVersion)]
pub struct UpgradableVersion {
    pub id: Uuid,
    pub name: String,
    pub version: String,
    pub minor_version: String,
}

/// A way in. It has an `ip` or a `hostname`.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::Endpoint)]
pub struct Endpoint {
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    hostname: Option<String>,
    #[schema(minimum = 1, maximum = 65535)]
    port: u16,
    name: Option<String>,
    load_balancer: LoadBalancer,
}

/// Only that it is there says something.
#[derive(Serialize, ToSchema)]
#[schema(as = rdb::LoadBalancer)]
pub struct LoadBalancer {}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::BackupSchedule)]
pub struct BackupSchedule {
    /// In hours.
    frequency: u32,
    /// In days.
    retention: u32,
    disabled: bool,
    /// Null while there are no backups.
    #[schema(value_type = Option<Timestamp>)]
    next_run_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::LogsPolicy)]
pub struct LogsPolicy {
    /// In days.
    max_age_retention: Option<u32>,
    /// In bytes.
    total_disk_retention: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = rdb::EncryptionAtRest)]
pub struct Encryption {
    enabled: bool,
}

impl Instance {
    /// None for one that is gone.
    pub fn of(instance: &model::Instance, control: &Control, titles: &Titles) -> Option<Self> {
        let spec = &instance.spec;
        let policy = &instance.policy;
        let project = control.catalogue().project(instance.project);
        let endpoints: Vec<Endpoint> = endpoints(instance).collect();
        Some(Self {
            id: instance.id.0,
            name: spec.name.as_str().to_owned(),
            organization_id: project.map_or(Uuid::nil(), |project| project.organization),
            project_id: instance.project.0,
            region: instance.region.clone(),
            status: control
                .health()
                .with(instance.id, |health| status::of(instance, health))?,
            engine: titles.name_of(&spec.engine, &spec.version),
            node_type: instance.plan.clone(),
            is_ha_cluster: false,
            high_availability_mode: HighAvailability::Disabled,
            tags: policy.tags.clone(),
            created_at: instance.created_at,
            volume: Volume {
                r#type: instance.storage_class.clone(),
                size: spec.total_storage_gb() * GB,
                class: instance.storage_class.clone(),
            },
            upgradable_version: titles.upgrades_of(&spec.engine, &spec.version),
            endpoint: self::endpoints(instance).next(),
            endpoints,
            settings: Settings::of(&spec.settings).settings,
            init_settings: Settings::of(&spec.init_settings).settings,
            backup_schedule: BackupSchedule {
                frequency: policy.backup_schedule.frequency_hours,
                retention: policy.backup_schedule.retention_days,
                disabled: policy.backup_schedule.disabled,
                next_run_at: None,
            },
            backup_same_region: policy.backup_same_region,
            read_replicas: Vec::new(),
            logs_policy: LogsPolicy {
                max_age_retention: policy.logs.max_age_days,
                total_disk_retention: policy.logs.max_total_bytes,
            },
            maintenances: Vec::new(),
            encryption: Encryption { enabled: false },
        })
    }
}

pub fn endpoints(instance: &model::Instance) -> impl Iterator<Item = Endpoint> {
    let endpoints = instance.ways_in().enumerate();
    endpoints.map(|(at, endpoint)| {
        let ip = endpoint.host.parse::<IpAddr>().ok();
        Endpoint {
            id: engines::endpoint_id(instance.id, at),
            hostname: ip.is_none().then(|| endpoint.host.clone()),
            ip: ip.map(|ip| ip.to_string()),
            port: endpoint.port,
            name: None,
            load_balancer: LoadBalancer {},
        }
    })
}
