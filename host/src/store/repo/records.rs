//! Instances and operations as they are written: compact, and quick to read when a hundred thousand of them
//! are loaded. Enums are written by their names, so that a new variant may stand anywhere.
//!
//! The structures here are frozen: a record that needs more gets a structure of its own and a higher schema.

use jiff::Timestamp;
use postcard::{from_bytes, take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};

use super::encoding::{Bad, Record};
use crate::model::instance::{Endpoint, Name, Recorded, Spec};
use crate::model::operation::{Claim, StepRecord, StepState};
use crate::model::resources::{NodeSize, Reservation};
use crate::model::{
    Alias, Digest, Instance, InstanceId, NodeName, Operation, OperationId, OperationKind,
    OperationStatus, Phase, ProjectId,
};
use crate::store::view::OperationBrief;

/// An operation with how often its driver wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOperation {
    pub journal: u64,
    pub operation: Operation,
}

/// Nanoseconds since 1970.
type At = i128;

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

/// The beginning of an operation's record: all that the read model needs of it.
#[derive(Serialize, Deserialize)]
struct OperationHeadV1<'a> {
    id: OperationId,
    instance: InstanceId,
    project: ProjectId,
    kind: &'a str,
    status: &'a str,
    finished_at: Option<At>,
}

#[derive(Serialize, Deserialize)]
struct OperationV1<'a> {
    #[serde(borrow)]
    head: OperationHeadV1<'a>,
    journal: u64,
    steps: Vec<StepV1<'a>>,
    /// JSON: its form is the workflow's.
    state: Vec<u8>,
    claim: Option<(&'a str, At)>,
    not_before: Option<At>,
    deadline: Option<At>,
    cancel_requested: bool,
    after: Option<OperationId>,
    last_error: Option<&'a str>,
    request_id: Option<&'a str>,
    created_at: At,
    updated_at: At,
}

#[derive(Serialize, Deserialize)]
struct StepV1<'a> {
    name: &'a str,
    state: &'a str,
    attempts: u32,
    started_at: Option<At>,
    finished_at: Option<At>,
}

impl Record for Instance {
    const SCHEMA: u16 = 1;

    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Bad> {
        let spec = &self.spec;
        let endpoint = |endpoint| {
            let Endpoint {
                name,
                member,
                port_name,
                bind_address,
                host,
                port,
            } = endpoint;
            EndpointV1 {
                name,
                member,
                port_name,
                bind_address,
                host,
                port: *port,
            }
        };
        let setting = |(name, value): &'_ (String, String)| (name.as_str(), value.as_str());
        let record = InstanceV1 {
            id: self.id,
            alias: self.alias.as_str(),
            project: self.project,
            name: spec.name.as_str(),
            engine: &spec.engine,
            version: &spec.version,
            cpu_millis: spec.size.cpu_millis,
            memory_bytes: spec.size.memory_bytes,
            storage_gb: spec.storage_gb,
            replicas: spec.replicas,
            user: spec.user.as_deref(),
            database: spec.database.as_deref(),
            settings: spec.settings.iter().map(setting).collect(),
            plan: &self.plan,
            region: &self.region,
            target: &self.target,
            node: self.node.as_str(),
            phase: self.phase().as_str(),
            operation: self.operation,
            failure: self.failure.as_deref(),
            ports: self.reservation.ports.clone(),
            uid: self.reservation.uid,
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            engine_digest: self.engine_digest.as_str(),
            target_digest: self.target_digest.as_str(),
            created_at: self.created_at.as_nanosecond(),
            updated_at: self.updated_at.as_nanosecond(),
            deleted_at: self.deleted_at.map(Timestamp::as_nanosecond),
        };
        Ok(to_extend(&record, out)?)
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let record: InstanceV1<'_> = from_bytes(bytes)?;
        let phase = named(record.phase, Phase::ALL, Phase::as_str)?;
        let endpoint = |endpoint: EndpointV1<'_>| Endpoint {
            name: endpoint.name.to_owned(),
            member: endpoint.member.to_owned(),
            port_name: endpoint.port_name.to_owned(),
            bind_address: endpoint.bind_address.to_owned(),
            host: endpoint.host.to_owned(),
            port: endpoint.port,
        };
        let setting = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(Instance::recorded(
            phase,
            Recorded {
                id: record.id,
                alias: Alias::parse(record.alias).ok_or("not an alias")?,
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
                    user: record.user.map(str::to_owned),
                    database: record.database.map(str::to_owned),
                    settings: record.settings.into_iter().map(setting).collect(),
                },
                plan: record.plan.to_owned(),
                region: record.region.to_owned(),
                target: record.target.to_owned(),
                node: NodeName::new(record.node),
                operation: record.operation,
                failure: record.failure.map(str::to_owned),
                reservation: Reservation {
                    ports: record.ports,
                    uid: record.uid,
                },
                endpoints: record.endpoints.into_iter().map(endpoint).collect(),
                engine_digest: Digest::from_hex(record.engine_digest),
                target_digest: Digest::from_hex(record.target_digest),
                created_at: time(record.created_at)?,
                updated_at: time(record.updated_at)?,
                deleted_at: record.deleted_at.map(time).transpose()?,
            },
        ))
    }
}

impl Record for StoredOperation {
    const SCHEMA: u16 = 1;

    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Bad> {
        let operation = &self.operation;
        let nanoseconds = |at: Option<Timestamp>| at.map(Timestamp::as_nanosecond);
        let step = |step: &'_ StepRecord| StepV1 {
            name: &step.name,
            state: step_state(step.state),
            attempts: step.attempts,
            started_at: nanoseconds(step.started_at),
            finished_at: nanoseconds(step.finished_at),
        };
        let record = OperationV1 {
            head: OperationHeadV1 {
                id: operation.id,
                instance: operation.instance,
                project: operation.project,
                kind: operation.kind.as_str(),
                status: operation.status.as_str(),
                finished_at: nanoseconds(operation.finished_at),
            },
            journal: self.journal,
            steps: operation.steps.iter().map(step).collect(),
            state: serde_json::to_vec(&operation.state)?,
            claim: operation
                .claim
                .as_ref()
                .map(|claim| (claim.node.as_str(), claim.until.as_nanosecond())),
            not_before: nanoseconds(operation.not_before),
            deadline: nanoseconds(operation.deadline),
            cancel_requested: operation.cancel_requested,
            after: operation.after,
            last_error: operation.last_error.as_deref(),
            request_id: operation.request_id.as_deref(),
            created_at: operation.created_at.as_nanosecond(),
            updated_at: operation.updated_at.as_nanosecond(),
        };
        Ok(to_extend(&record, out)?)
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let record: OperationV1<'_> = from_bytes(bytes)?;
        let brief = OperationBrief::try_from(record.head)?;
        let instant = |at: Option<At>| at.map(time).transpose();
        let step = |step: StepV1<'_>| {
            Ok(StepRecord {
                name: step.name.to_owned(),
                state: named(step.state, STEP_STATES, step_state)?,
                attempts: step.attempts,
                started_at: instant(step.started_at)?,
                finished_at: instant(step.finished_at)?,
            })
        };
        let claim = |(node, until): (&str, At)| {
            Ok::<_, Bad>(Claim {
                node: NodeName::new(node),
                until: time(until)?,
            })
        };
        let operation = Operation {
            id: brief.id,
            instance: brief.instance,
            project: brief.project,
            kind: brief.kind,
            status: brief.status,
            steps: record
                .steps
                .into_iter()
                .map(step)
                .collect::<Result<_, Bad>>()?,
            state: serde_json::from_slice(&record.state)?,
            claim: record.claim.map(claim).transpose()?,
            not_before: instant(record.not_before)?,
            deadline: instant(record.deadline)?,
            cancel_requested: record.cancel_requested,
            after: record.after,
            last_error: record.last_error.map(str::to_owned),
            request_id: record.request_id.map(str::to_owned),
            created_at: time(record.created_at)?,
            updated_at: time(record.updated_at)?,
            finished_at: brief.finished_at,
        };
        Ok(Self {
            journal: record.journal,
            operation,
        })
    }
}

/// The head of a `StoredOperation`. It is read only.
impl Record for OperationBrief {
    const SCHEMA: u16 = StoredOperation::SCHEMA;

    fn write(&self, _: Vec<u8>) -> Result<Vec<u8>, Bad> {
        Err("a part of an operation is never written".into())
    }

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let (head, _) = take_from_bytes::<OperationHeadV1<'_>>(bytes)?;
        head.try_into()
    }
}

impl TryFrom<OperationHeadV1<'_>> for OperationBrief {
    type Error = Bad;

    fn try_from(head: OperationHeadV1<'_>) -> Result<Self, Bad> {
        Ok(Self {
            id: head.id,
            instance: head.instance,
            project: head.project,
            kind: named(head.kind, OperationKind::ALL, OperationKind::as_str)?,
            status: named(head.status, STATUSES, OperationStatus::as_str)?,
            finished_at: head.finished_at.map(time).transpose()?,
        })
    }
}

const STATUSES: [OperationStatus; 6] = [
    OperationStatus::Pending,
    OperationStatus::Running,
    OperationStatus::Unwinding,
    OperationStatus::Succeeded,
    OperationStatus::Failed,
    OperationStatus::Cancelled,
];

const STEP_STATES: [StepState; 4] = [
    StepState::Pending,
    StepState::Started,
    StepState::Done,
    StepState::Undone,
];

fn step_state(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "pending",
        StepState::Started => "started",
        StepState::Done => "done",
        StepState::Undone => "undone",
    }
}

fn named<T: Copy>(
    name: &str,
    all: impl IntoIterator<Item = T>,
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, Bad> {
    all.into_iter()
        .find(|value| name_of(*value) == name)
        .ok_or_else(|| format!("unknown name {name:?}").into())
}

fn time(nanoseconds: At) -> Result<Timestamp, Bad> {
    Ok(Timestamp::from_nanosecond(nanoseconds)?)
}
