//! A durable operation: what is being done to an instance, how far it is, and why it is not further.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::id::{InstanceId, NodeName, OperationId, ProjectId};
use super::kind::{OperationKind, Outcome};

/// The record of an operation. Its journal is inside it, so one version check both appends and fences:
/// an executor that lost its claim cannot write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    pub id: OperationId,
    pub instance: InstanceId,
    pub project: ProjectId,
    pub kind: OperationKind,
    pub status: OperationStatus,
    /// Every step of the kind, in order.
    pub steps: Vec<StepRecord>,
    /// The workflow's typed state. Never holds a secret.
    pub state: serde_json::Value,
    pub claim: Option<Claim>,
    /// Not driven before this time.
    pub not_before: Option<Timestamp>,
    /// Past it, a kind that can be undone fails. Counted from when it was first driven.
    pub deadline: Option<Timestamp>,
    pub cancel_requested: bool,
    /// Not driven before this one has ended: it is being undone for us.
    pub after: Option<OperationId>,
    /// The newest problem in plain words, also while it is being retried.
    pub last_error: Option<String>,
    /// Why it is undone, once it is.
    #[serde(default)]
    pub failure: Option<String>,
    /// The request that asked for it.
    pub request_id: Option<String>,
    /// Where that request stood in its trace, as a `traceparent`; none when no traces were exported.
    #[serde(default)]
    pub trace: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationStatus {
    /// Accepted, not yet claimed.
    Pending,
    Running,
    /// Undoing what it had begun.
    Unwinding,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StepRecord {
    /// Stored name of the step; steps may be added, never renamed.
    pub name: String,
    pub state: StepState,
    pub attempts: u32,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Pending,
    /// Recorded before acting: it may have acted.
    Started,
    Done,
    Undone,
}

/// Who drives it, and until when nobody else may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub node: NodeName,
    /// Which process of the node: a node has one at a time, so its next one need not wait for the lease.
    pub process: Uuid,
    pub until: Timestamp,
}

impl OperationStatus {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Unwinding,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Unwinding => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
        }
    }
}

impl From<Outcome> for OperationStatus {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// What a new operation is made of.
#[derive(Clone, Debug)]
pub struct NewOperation {
    pub kind: OperationKind,
    pub steps: Vec<String>,
    pub state: serde_json::Value,
    pub deadline: Option<Timestamp>,
    pub after: Option<OperationId>,
    pub request_id: Option<String>,
    pub trace: Option<String>,
}

impl Operation {
    pub fn begin(
        new: NewOperation,
        id: OperationId,
        instance: InstanceId,
        project: ProjectId,
        now: Timestamp,
    ) -> Self {
        let steps = new.steps.into_iter().map(StepRecord::pending).collect();
        Self {
            id,
            instance,
            project,
            kind: new.kind,
            status: OperationStatus::Pending,
            steps,
            state: new.state,
            claim: None,
            not_before: None,
            deadline: new.deadline,
            cancel_requested: false,
            after: new.after,
            last_error: None,
            failure: None,
            request_id: new.request_id,
            trace: new.trace,
            created_at: now,
            updated_at: now,
            finished_at: None,
        }
    }

    /// 0 to 100: the share of steps that are done, or undone while it unwinds.
    pub fn progress(&self) -> u8 {
        if self.status.is_terminal() {
            return 100;
        }
        let (done, of) = match self.status {
            OperationStatus::Unwinding => {
                let touched = |s: &&StepRecord| s.state != StepState::Pending;
                (
                    self.count(StepState::Undone),
                    self.steps.iter().filter(touched).count(),
                )
            }
            OperationStatus::Pending
            | OperationStatus::Running
            | OperationStatus::Succeeded
            | OperationStatus::Failed
            | OperationStatus::Cancelled => (self.count(StepState::Done), self.steps.len()),
        };
        u8::try_from(done * 100 / of.max(1)).unwrap_or(100)
    }

    fn count(&self, state: StepState) -> usize {
        self.steps.iter().filter(|s| s.state == state).count()
    }
}

impl StepRecord {
    fn pending(name: String) -> Self {
        Self {
            name,
            state: StepState::Pending,
            attempts: 0,
            started_at: None,
            finished_at: None,
        }
    }
}
