//! How an instance is written.

use jiff::Timestamp;
use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use super::{At, named, time, whole};
use crate::model::access::AccessRule;
use crate::model::instance::{Endpoint, Name, NewInstance, Spec};
use crate::model::policy::{BackupSchedule, LogsPolicy, Policy};
use crate::model::resources::{DEFAULT_STORAGE_CLASS, NodeSize, Reservation};
use crate::model::{Alias, Digest, Instance, InstanceId, NodeName, OperationId, Phase, ProjectId};
use crate::store::repo::encoding::{Bad, Record, Stored};

#[derive(Serialize, Deserialize)]
struct InstanceV1<'a> {
    id: InstanceId,
    alias: &'a str,
    project: ProjectId,
    name: &'a str,
    engine: &'a str,
    version: &'a str,
    cpu_millis: u32,
    memory_bytes: u64,
    storage_gb: u32,
    replicas: u32,
    user: Option<&'a str>,
    database: Option<&'a str>,
    #[serde(borrow)]
    settings: Vec<(&'a str, &'a str)>,
    plan: &'a str,
    region: &'a str,
    target: &'a str,
    node: &'a str,
    phase: &'a str,
    operation: Option<OperationId>,
    failure: Option<&'a str>,
    ports: Vec<u16>,
    uid: Option<u32>,
    endpoints: Vec<EndpointV1<'a>>,
    engine_digest: &'a str,
    target_digest: &'a str,
    created_at: At,
    updated_at: At,
    deleted_at: Option<At>,
}

#[derive(Serialize, Deserialize)]
struct EndpointV1<'a> {
    name: &'a str,
    member: &'a str,
    port_name: &'a str,
    bind_address: &'a str,
    host: &'a str,
    port: u16,
}

/// What came with the second form, which is the first and this after it.
#[derive(Serialize, Deserialize)]
struct MoreV2<'a> {
    #[serde(borrow)]
    init_settings: Vec<(&'a str, &'a str)>,
    storage_class: &'a str,
    /// One for each endpoint.
    inner_ports: Vec<Option<u16>>,
    tags: Vec<&'a str>,
    backup_disabled: bool,
    backup_frequency_hours: u32,
    backup_retention_days: u32,
    backup_start_hour: Option<u8>,
    backup_same_region: bool,
    logs_max_age_days: Option<u32>,
    logs_max_total_bytes: Option<u64>,
    /// Networks and what they are described as.
    access: Vec<(String, &'a str)>,
}

/// What came with the third form, which is the second and this after it.
#[derive(Serialize, Deserialize)]
struct MoreV3 {
    shards: u32,
    /// One for each endpoint.
    for_members: Vec<bool>,
}

impl Record for Instance {
    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Bad> {
        // Taken apart by name, so that a new field of the model cannot be forgotten here.
        let Spec {
            name,
            engine,
            version,
            size: NodeSize {
                cpu_millis,
                memory_bytes,
            },
            storage_gb,
            replicas,
            shards,
            user,
            database,
            settings,
            init_settings,
        } = &self.spec;
        let Policy {
            tags,
            backup_schedule,
            backup_same_region,
            logs,
            access,
        } = &self.policy;
        let BackupSchedule {
            disabled,
            frequency_hours,
            retention_days,
            start_hour,
        } = backup_schedule;
        let Reservation { ports, uid } = &self.reservation;
        let record = InstanceV1 {
            id: self.id,
            alias: self.alias.as_str(),
            project: self.project,
            name: name.as_str(),
            engine,
            version,
            cpu_millis: *cpu_millis,
            memory_bytes: *memory_bytes,
            storage_gb: *storage_gb,
            replicas: *replicas,
            user: user.as_deref(),
            database: database.as_deref(),
            settings: settings.iter().map(pair).collect(),
            plan: &self.plan,
            region: &self.region,
            target: &self.target,
            node: self.node.as_str(),
            phase: self.phase().as_str(),
            operation: self.operation,
            failure: self.failure.as_deref(),
            ports: ports.clone(),
            uid: *uid,
            endpoints: self.endpoints.iter().map(EndpointV1::from).collect(),
            engine_digest: self.engine_digest.as_str(),
            target_digest: self.target_digest.as_str(),
            created_at: self.created_at.as_nanosecond(),
            updated_at: self.updated_at.as_nanosecond(),
            deleted_at: self.deleted_at.map(Timestamp::as_nanosecond),
        };
        let more = MoreV2 {
            init_settings: init_settings.iter().map(pair).collect(),
            storage_class: &self.storage_class,
            inner_ports: self.endpoints.iter().map(|e| e.inner_port).collect(),
            tags: tags.iter().map(String::as_str).collect(),
            backup_disabled: *disabled,
            backup_frequency_hours: *frequency_hours,
            backup_retention_days: *retention_days,
            backup_start_hour: *start_hour,
            backup_same_region: *backup_same_region,
            logs_max_age_days: logs.max_age_days,
            logs_max_total_bytes: logs.max_total_bytes,
            access: access
                .iter()
                .map(|rule| (rule.network.to_string(), rule.description.as_str()))
                .collect(),
        };
        let newest = MoreV3 {
            shards: *shards,
            for_members: self.endpoints.iter().map(|e| e.for_members).collect(),
        };
        let older = to_extend(&more, to_extend(&record, out)?)?;
        Ok(to_extend(&newest, older)?)
    }
}

fn pair((name, value): &(String, String)) -> (&str, &str) {
    (name, value)
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

impl Stored for Instance {
    const SCHEMA: u16 = 3;
    const OLDEST: u16 = 1;

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let (record, rest) = take_from_bytes::<InstanceV1<'_>>(bytes)?;
        let (more, rest) = take_from_bytes::<MoreV2<'_>>(rest)?;
        let MoreV3 {
            shards,
            for_members,
        } = whole(rest)?;
        let mut instance = read_first(record)?.and(more)?;
        if for_members.len() != instance.endpoints.len() {
            return Err("it has other endpoints than those that are for members".into());
        }
        for (endpoint, inner) in instance.endpoints.iter_mut().zip(for_members) {
            endpoint.for_members = inner;
        }
        instance.spec.shards = shards;
        Ok(instance)
    }

    fn read_older(schema: u16, bytes: &[u8]) -> Result<Self, Bad> {
        if schema == 1 {
            return read_first(whole(bytes)?);
        }
        let (record, rest) = take_from_bytes::<InstanceV1<'_>>(bytes)?;
        read_first(record)?.and(whole(rest)?)
    }
}

impl Instance {
    /// With what came with the second form.
    fn and(mut self, more: MoreV2<'_>) -> Result<Self, Bad> {
        if more.inner_ports.len() != self.endpoints.len() {
            return Err("it has other endpoints than inner ports".into());
        }
        for (endpoint, inner) in self.endpoints.iter_mut().zip(more.inner_ports) {
            endpoint.inner_port = inner;
        }
        self.spec.init_settings = more.init_settings.into_iter().map(owned).collect();
        self.storage_class = more.storage_class.to_owned();
        let rule = |(network, description): (String, &str)| {
            Ok::<_, Bad>(AccessRule {
                network: network.parse()?,
                description: description.to_owned(),
            })
        };
        self.policy = Policy {
            tags: more.tags.into_iter().map(str::to_owned).collect(),
            backup_schedule: BackupSchedule {
                disabled: more.backup_disabled,
                frequency_hours: more.backup_frequency_hours,
                retention_days: more.backup_retention_days,
                start_hour: more.backup_start_hour,
            },
            backup_same_region: more.backup_same_region,
            logs: LogsPolicy {
                max_age_days: more.logs_max_age_days,
                max_total_bytes: more.logs_max_total_bytes,
            },
            access: more
                .access
                .into_iter()
                .map(rule)
                .collect::<Result<_, _>>()?,
        };
        Ok(self)
    }
}

fn read_first(record: InstanceV1<'_>) -> Result<Instance, Bad> {
    let phase = named(record.phase, Phase::ALL, Phase::as_str)?;
    let new = NewInstance {
        project: record.project,
        spec: Spec {
            name: Name::parse(record.name)?,
            engine: record.engine.to_owned(),
            version: record.version.to_owned(),
            size: NodeSize {
                cpu_millis: record.cpu_millis,
                memory_bytes: record.memory_bytes,
            },
            storage_gb: record.storage_gb,
            replicas: record.replicas,
            shards: 1,
            user: record.user.map(str::to_owned),
            database: record.database.map(str::to_owned),
            settings: record.settings.into_iter().map(owned).collect(),
            init_settings: Vec::new(),
        },
        plan: record.plan.to_owned(),
        region: record.region.to_owned(),
        target: record.target.to_owned(),
        storage_class: DEFAULT_STORAGE_CLASS.to_owned(),
        policy: Policy::default(),
        node: NodeName::new(record.node),
        engine_digest: Digest::from_hex(record.engine_digest),
        target_digest: Digest::from_hex(record.target_digest),
    };
    let alias = Alias::parse(record.alias).ok_or("not an alias")?;
    let created_at = time(record.created_at)?;
    let mut instance = Instance::recorded(new, record.id, alias, phase, created_at);
    instance.operation = record.operation;
    instance.failure = record.failure.map(str::to_owned);
    instance.reservation = Reservation {
        ports: record.ports,
        uid: record.uid,
    };
    instance.endpoints = record.endpoints.into_iter().map(Endpoint::from).collect();
    instance.updated_at = time(record.updated_at)?;
    instance.deleted_at = record.deleted_at.map(time).transpose()?;
    Ok(instance)
}

impl<'a> From<&'a Endpoint> for EndpointV1<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        let Endpoint {
            name,
            member,
            port_name,
            bind_address,
            host,
            port,
            inner_port: _,
            for_members: _,
        } = endpoint;
        Self {
            name,
            member,
            port_name,
            bind_address,
            host,
            port: *port,
        }
    }
}

impl From<EndpointV1<'_>> for Endpoint {
    fn from(record: EndpointV1<'_>) -> Self {
        Self {
            name: record.name.to_owned(),
            member: record.member.to_owned(),
            port_name: record.port_name.to_owned(),
            bind_address: record.bind_address.to_owned(),
            host: record.host.to_owned(),
            port: record.port,
            inner_port: None,
            for_members: false,
        }
    }
}
