//! An instance's phase, and the only two functions that change it.
//!
//! `begin` is applied in the commit that accepts an operation, `end` in the commit that finishes it. There is
//! no way to set a phase from outside.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ConflictReason, Error, Result};

/// Where an instance stands between operations and during one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Creating,
    Running,
    Deleting,
    /// Creation failed and was undone; the record stays until it is deleted.
    Failed,
    /// Everything is gone; the record is readable for a while.
    Deleted,
}

/// What an operation does. Its name is stored: kinds may be added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    Create,
    Delete,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// It failed and what it had done was undone.
    Failed,
    /// It was cancelled and what it had done was undone.
    Cancelled,
}

impl OperationKind {
    pub const ALL: [Self; 2] = [Self::Create, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Delete => "delete",
        }
    }

    /// Whether a caller may cancel it. A deletion has no undo, so it only goes forward.
    pub fn cancellable(self) -> bool {
        match self {
            Self::Create => true,
            Self::Delete => false,
        }
    }

    /// Whether it may begin while `other` holds the instance. It then cancels `other` and waits for
    /// its undo.
    pub fn preempts(self, other: Self) -> bool {
        match (self, other) {
            (Self::Delete, Self::Create) => true,
            (Self::Delete, Self::Delete) | (Self::Create, Self::Create | Self::Delete) => false,
        }
    }
}

impl Phase {
    pub const ALL: [Self; 5] = [
        Self::Creating,
        Self::Running,
        Self::Deleting,
        Self::Failed,
        Self::Deleted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    /// The phase while an operation of this kind runs, or why it may not begin. A new instance
    /// is born in `Creating`; beginning `Create` again is the retry of one that failed.
    pub fn begin(self, kind: OperationKind) -> Result<Self> {
        match (self, kind) {
            (Self::Failed, OperationKind::Create) => Ok(Self::Creating),
            (Self::Creating | Self::Running | Self::Failed, OperationKind::Delete) => {
                Ok(Self::Deleting)
            }
            (Self::Creating | Self::Running, OperationKind::Create) => {
                Err(self.refuse(kind, "it exists"))
            }
            (Self::Deleting, OperationKind::Create | OperationKind::Delete) => {
                Err(self.refuse(kind, "it is being deleted"))
            }
            (Self::Deleted, OperationKind::Create | OperationKind::Delete) => {
                Err(self.refuse(kind, "it is deleted"))
            }
        }
    }

    /// The phase after an operation of this kind ended so. An operation that was preempted ends while
    /// the instance is in the phase of its successor, and changes nothing.
    pub fn end(self, kind: OperationKind, outcome: Outcome) -> Self {
        match (self, kind, outcome) {
            (Self::Creating, OperationKind::Create, Outcome::Succeeded) => Self::Running,
            (Self::Creating, OperationKind::Create, Outcome::Failed) => Self::Failed,
            (Self::Creating, OperationKind::Create, Outcome::Cancelled) => Self::Deleted,
            (Self::Deleting, OperationKind::Delete, Outcome::Succeeded) => Self::Deleted,
            (Self::Deleting, OperationKind::Delete, Outcome::Failed | Outcome::Cancelled)
            | (
                Self::Running | Self::Deleting | Self::Failed | Self::Deleted,
                OperationKind::Create,
                Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled,
            )
            | (
                Self::Creating | Self::Running | Self::Failed | Self::Deleted,
                OperationKind::Delete,
                Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled,
            ) => self,
        }
    }

    fn refuse(self, kind: OperationKind, why: &str) -> Error {
        Error::conflict(
            ConflictReason::WrongPhase,
            format!("cannot {} the database: {why}", kind.as_str()),
        )
    }
}
