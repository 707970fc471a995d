//! How an operation is written.

use jiff::Timestamp;
use postcard::{take_from_bytes, to_extend};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{At, named, time, whole};
use crate::model::operation::{Claim, StepRecord, StepState};
use crate::model::{
    InstanceId, NodeName, Operation, OperationId, OperationKind, OperationStatus, ProjectId,
};
use crate::store::repo::encoding::{Bad, Record, Stored};
use crate::store::view::OperationBrief;

/// An operation with how often its driver wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredOperation {
    pub journal: u64,
    pub operation: Operation,
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
    state: String,
    claim: Option<ClaimV1<'a>>,
    not_before: Option<At>,
    deadline: Option<At>,
    cancel_requested: bool,
    after: Option<OperationId>,
    last_error: Option<&'a str>,
    failure: Option<&'a str>,
    request_id: Option<&'a str>,
    created_at: At,
    updated_at: At,
}

/// The first form, and where the request stood in its trace.
#[derive(Serialize, Deserialize)]
struct OperationV2<'a> {
    #[serde(borrow)]
    first: OperationV1<'a>,
    trace: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct ClaimV1<'a> {
    node: &'a str,
    process: Uuid,
    until: At,
}

#[derive(Serialize, Deserialize)]
struct StepV1<'a> {
    name: &'a str,
    state: &'a str,
    attempts: u32,
    started_at: Option<At>,
    finished_at: Option<At>,
}

impl Record for StoredOperation {
    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Bad> {
        // Taken apart by name, so that a new field of the model cannot be forgotten here.
        let Operation {
            id,
            instance,
            project,
            kind,
            status,
            steps,
            state,
            claim,
            not_before,
            deadline,
            cancel_requested,
            after,
            last_error,
            failure,
            request_id,
            trace,
            created_at,
            updated_at,
            finished_at,
        } = &self.operation;
        let first = OperationV1 {
            head: OperationHeadV1 {
                id: *id,
                instance: *instance,
                project: *project,
                kind: kind.as_str(),
                status: status.as_str(),
                finished_at: nanoseconds(*finished_at),
            },
            journal: self.journal,
            steps: steps.iter().map(StepV1::from).collect(),
            state: serde_json::to_string(state)?,
            claim: claim.as_ref().map(ClaimV1::from),
            not_before: nanoseconds(*not_before),
            deadline: nanoseconds(*deadline),
            cancel_requested: *cancel_requested,
            after: *after,
            last_error: last_error.as_deref(),
            failure: failure.as_deref(),
            request_id: request_id.as_deref(),
            created_at: created_at.as_nanosecond(),
            updated_at: updated_at.as_nanosecond(),
        };
        let trace = trace.as_deref();
        Ok(to_extend(&OperationV2 { first, trace }, out)?)
    }
}

impl Stored for StoredOperation {
    const SCHEMA: u16 = 2;
    const OLDEST: u16 = 1;

    fn read(bytes: &[u8]) -> Result<Self, Bad> {
        let OperationV2 { first, trace } = whole(bytes)?;
        let mut stored = Self::try_from(first)?;
        stored.operation.trace = trace.map(str::to_owned);
        Ok(stored)
    }

    fn read_older(_: u16, bytes: &[u8]) -> Result<Self, Bad> {
        whole::<OperationV1<'_>>(bytes)?.try_into()
    }
}

impl TryFrom<OperationV1<'_>> for StoredOperation {
    type Error = Bad;

    fn try_from(record: OperationV1<'_>) -> Result<Self, Bad> {
        let brief = OperationBrief::try_from(record.head)?;
        let operation = Operation {
            id: brief.id,
            instance: brief.instance,
            project: brief.project,
            kind: brief.kind,
            status: brief.status,
            steps: record
                .steps
                .into_iter()
                .map(StepRecord::try_from)
                .collect::<Result<_, _>>()?,
            state: serde_json::from_str(&record.state)?,
            claim: record.claim.map(Claim::try_from).transpose()?,
            not_before: instant(record.not_before)?,
            deadline: instant(record.deadline)?,
            cancel_requested: record.cancel_requested,
            after: record.after,
            last_error: record.last_error.map(str::to_owned),
            failure: record.failure.map(str::to_owned),
            request_id: record.request_id.map(str::to_owned),
            trace: None,
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

/// The head of a `StoredOperation`.
impl Stored for OperationBrief {
    const SCHEMA: u16 = StoredOperation::SCHEMA;
    const OLDEST: u16 = StoredOperation::OLDEST;

    /// Every form begins with the same head.
    fn read_older(_: u16, bytes: &[u8]) -> Result<Self, Bad> {
        Self::read(bytes)
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
            status: named(head.status, OperationStatus::ALL, OperationStatus::as_str)?,
            finished_at: head.finished_at.map(time).transpose()?,
        })
    }
}

impl<'a> From<&'a Claim> for ClaimV1<'a> {
    fn from(claim: &'a Claim) -> Self {
        let Claim {
            node,
            process,
            until,
        } = claim;
        Self {
            node: node.as_str(),
            process: *process,
            until: until.as_nanosecond(),
        }
    }
}

impl TryFrom<ClaimV1<'_>> for Claim {
    type Error = Bad;

    fn try_from(record: ClaimV1<'_>) -> Result<Self, Bad> {
        Ok(Self {
            node: NodeName::new(record.node),
            process: record.process,
            until: time(record.until)?,
        })
    }
}

impl<'a> From<&'a StepRecord> for StepV1<'a> {
    fn from(step: &'a StepRecord) -> Self {
        let StepRecord {
            name,
            state,
            attempts,
            started_at,
            finished_at,
        } = step;
        Self {
            name,
            state: step_state(*state),
            attempts: *attempts,
            started_at: nanoseconds(*started_at),
            finished_at: nanoseconds(*finished_at),
        }
    }
}

impl TryFrom<StepV1<'_>> for StepRecord {
    type Error = Bad;

    fn try_from(record: StepV1<'_>) -> Result<Self, Bad> {
        Ok(Self {
            name: record.name.to_owned(),
            state: named(record.state, STEP_STATES, step_state)?,
            attempts: record.attempts,
            started_at: instant(record.started_at)?,
            finished_at: instant(record.finished_at)?,
        })
    }
}

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

fn nanoseconds(at: Option<Timestamp>) -> Option<At> {
    at.map(Timestamp::as_nanosecond)
}

fn instant(at: Option<At>) -> Result<Option<Timestamp>, Bad> {
    at.map(time).transpose()
}
