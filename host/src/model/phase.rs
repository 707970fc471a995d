//! An instance's phase, and the only two functions that change it.
//!
//! `begin` is applied in the commit that accepts an operation, `end` in the commit that finishes it. There is
//! no way to set a phase from outside.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{ConflictReason, Error, Result};
use super::kind::{OperationKind, Outcome};

/// Where an instance stands between operations and during one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Creating,
    Running,
    Stopping,
    /// Nothing of it runs. Its data, ports, user and secrets are kept for it.
    Stopped,
    Starting,
    Restarting,
    /// It was to be started and could not be: nothing of it runs, as in `Stopped`, but that is not what
    /// was asked for.
    StartFailed,
    /// It runs, and something about how it runs is being changed.
    Configuring,
    Deleting,
    /// Creation failed and was undone; the record stays until it is deleted.
    Failed,
    /// Everything is gone; the record is readable for a while.
    Deleted,
}

impl Phase {
    pub const ALL: [Self; 11] = [
        Self::Creating,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Starting,
        Self::Restarting,
        Self::StartFailed,
        Self::Configuring,
        Self::Deleting,
        Self::Failed,
        Self::Deleted,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Restarting => "restarting",
            Self::StartFailed => "start_failed",
            Self::Configuring => "configuring",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }

    /// In words that follow the database's name.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Creating => "is being created",
            Self::Running => "is running",
            Self::Stopping => "is being stopped",
            Self::Stopped => "is stopped",
            Self::Starting => "is being started",
            Self::Restarting => "is being restarted",
            Self::StartFailed => "could not be started",
            Self::Configuring => "is being changed",
            Self::Deleting => "is being deleted",
            Self::Failed => "could not be created",
            Self::Deleted => "is deleted",
        }
    }

    /// Whether what an operation of this kind would bring about is so, or is being brought about: asking for it
    /// again then changes nothing.
    pub fn already(self, kind: OperationKind) -> bool {
        match kind {
            // Each says what shall be.
            OperationKind::Create
            | OperationKind::Configure
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate => false,
            OperationKind::Stop => matches!(self, Self::Stopping | Self::Stopped),
            OperationKind::Start => {
                matches!(
                    self,
                    Self::Starting | Self::Restarting | Self::Running | Self::Configuring
                )
            }
            OperationKind::Restart => matches!(self, Self::Restarting),
            OperationKind::Delete => matches!(self, Self::Deleting | Self::Deleted),
        }
    }

    /// The phase while an operation of this kind runs, or why it may not begin. A new instance is born in
    /// `Creating`; beginning `Create` again is the retry of one that failed. That another operation holds the
    /// instance is not looked at here: see `OperationKind::preempts`.
    pub fn begin(self, kind: OperationKind) -> Result<Self> {
        let next = match kind {
            OperationKind::Create => self.begin_create(),
            OperationKind::Stop => self.begin_stop(),
            OperationKind::Start => self.begin_start(),
            OperationKind::Restart => self.begin_restart(),
            OperationKind::Configure
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate => self.begin_change(),
            OperationKind::Delete => self.begin_delete(),
        };
        next.ok_or_else(|| self.refuse(kind))
    }

    /// The phase after an operation of this kind ended so. An operation that was preempted ends while the
    /// instance is in the phase of its successor, and changes nothing.
    pub fn end(self, kind: OperationKind, outcome: Outcome) -> Self {
        if !self.is_held_by(kind) {
            return self;
        }
        match (kind, outcome) {
            (OperationKind::Create, Outcome::Succeeded) => Self::Running,
            (OperationKind::Create, Outcome::Failed) => Self::Failed,
            (OperationKind::Create, Outcome::Cancelled) => Self::Deleted,
            (OperationKind::Stop, Outcome::Succeeded) => Self::Stopped,
            // Undone, it runs as it did before.
            (
                OperationKind::Configure
                | OperationKind::SetAccess
                | OperationKind::RenewCertificate,
                Outcome::Succeeded | Outcome::Failed | Outcome::Cancelled,
            ) => Self::Running,
            (OperationKind::Start | OperationKind::Restart, Outcome::Succeeded) => Self::Running,
            (OperationKind::Start, Outcome::Cancelled) => Self::Stopped,
            (OperationKind::Start, Outcome::Failed)
            | (OperationKind::Restart, Outcome::Failed | Outcome::Cancelled) => Self::StartFailed,
            (OperationKind::Delete, Outcome::Succeeded) => Self::Deleted,
            // These go forward until they succeed, or until another takes their place.
            (OperationKind::Stop | OperationKind::Delete, Outcome::Failed | Outcome::Cancelled) => {
                self
            }
        }
    }

    /// Whether an instance is in this phase during an operation of this kind.
    fn is_held_by(self, kind: OperationKind) -> bool {
        match self {
            Self::Creating => kind == OperationKind::Create,
            Self::Stopping => kind == OperationKind::Stop,
            Self::Starting => kind == OperationKind::Start,
            Self::Restarting => kind == OperationKind::Restart,
            Self::Configuring => matches!(
                kind,
                OperationKind::Configure
                    | OperationKind::SetAccess
                    | OperationKind::RenewCertificate
            ),
            Self::Deleting => kind == OperationKind::Delete,
            // See `begin_stop`.
            Self::StartFailed => kind == OperationKind::Stop,
            Self::Running | Self::Stopped | Self::Failed | Self::Deleted => false,
        }
    }

    fn begin_create(self) -> Option<Self> {
        match self {
            Self::Failed => Some(Self::Creating),
            Self::Creating
            | Self::Running
            | Self::Stopping
            | Self::Stopped
            | Self::Starting
            | Self::Restarting
            | Self::StartFailed
            | Self::Configuring
            | Self::Deleting
            | Self::Deleted => None,
        }
    }

    fn begin_stop(self) -> Option<Self> {
        match self {
            Self::Running | Self::Starting | Self::Restarting | Self::Configuring => {
                Some(Self::Stopping)
            }
            // Nothing runs, so it does not become "stopping"; that this is so is made sure of all the same, and
            // afterwards it is what was asked for.
            Self::StartFailed => Some(Self::StartFailed),
            Self::Creating
            | Self::Stopping
            | Self::Stopped
            | Self::Deleting
            | Self::Failed
            | Self::Deleted => None,
        }
    }

    fn begin_start(self) -> Option<Self> {
        match self {
            Self::Stopped | Self::StartFailed | Self::Stopping => Some(Self::Starting),
            Self::Creating
            | Self::Running
            | Self::Starting
            | Self::Restarting
            | Self::Configuring
            | Self::Deleting
            | Self::Failed
            | Self::Deleted => None,
        }
    }

    fn begin_restart(self) -> Option<Self> {
        match self {
            Self::Running | Self::StartFailed => Some(Self::Restarting),
            Self::Creating
            | Self::Stopping
            | Self::Stopped
            | Self::Starting
            | Self::Restarting
            | Self::Configuring
            | Self::Deleting
            | Self::Failed
            | Self::Deleted => None,
        }
    }

    /// Only what runs can be told.
    fn begin_change(self) -> Option<Self> {
        match self {
            Self::Running => Some(Self::Configuring),
            Self::Creating
            | Self::Stopping
            | Self::Stopped
            | Self::Starting
            | Self::Restarting
            | Self::StartFailed
            | Self::Configuring
            | Self::Deleting
            | Self::Failed
            | Self::Deleted => None,
        }
    }

    fn begin_delete(self) -> Option<Self> {
        match self {
            Self::Creating
            | Self::Running
            | Self::Stopping
            | Self::Stopped
            | Self::Starting
            | Self::Restarting
            | Self::StartFailed
            | Self::Configuring
            | Self::Failed => Some(Self::Deleting),
            Self::Deleting | Self::Deleted => None,
        }
    }

    fn refuse(self, kind: OperationKind) -> Error {
        let is_down = matches!(self, Self::Stopping | Self::Stopped);
        let hint = match kind {
            OperationKind::Restart
            | OperationKind::Configure
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate
                if is_down =>
            {
                "; start it"
            }
            OperationKind::Create
            | OperationKind::Stop
            | OperationKind::Start
            | OperationKind::Restart
            | OperationKind::Configure
            | OperationKind::SetAccess
            | OperationKind::RenewCertificate
            | OperationKind::Delete => "",
        };
        Error::conflict(
            ConflictReason::WrongPhase,
            format!(
                "cannot {} the database: it {}{hint}",
                kind.as_str(),
                self.describe()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Phase::{
        Configuring, Creating, Deleted, Deleting, Failed, Restarting, Running, StartFailed,
        Starting, Stopped, Stopping,
    };
    use super::*;

    #[test]
    fn every_phase_says_which_kinds_may_begin() {
        // Create, stop, start, restart, the three changes, delete.
        let none = [None; 8];
        let with = |changes: &[(usize, Phase)]| {
            let mut row = none;
            for (at, next) in changes {
                row[*at] = Some(*next);
            }
            row
        };
        let table = [
            (Creating, with(&[(7, Deleting)])),
            (
                Running,
                with(&[
                    (1, Stopping),
                    (3, Restarting),
                    (4, Configuring),
                    (5, Configuring),
                    (6, Configuring),
                    (7, Deleting),
                ]),
            ),
            (Stopping, with(&[(2, Starting), (7, Deleting)])),
            (Stopped, with(&[(2, Starting), (7, Deleting)])),
            (Starting, with(&[(1, Stopping), (7, Deleting)])),
            (Restarting, with(&[(1, Stopping), (7, Deleting)])),
            (
                StartFailed,
                with(&[
                    (1, StartFailed),
                    (2, Starting),
                    (3, Restarting),
                    (7, Deleting),
                ]),
            ),
            (Configuring, with(&[(1, Stopping), (7, Deleting)])),
            (Deleting, none),
            (Failed, with(&[(0, Creating), (7, Deleting)])),
            (Deleted, none),
        ];
        assert_eq!(table.map(|(phase, _)| phase), Phase::ALL);
        for (phase, expected) in table {
            let begun = OperationKind::ALL.map(|kind| phase.begin(kind).ok());
            assert_eq!(begun, expected, "{phase:?}");
        }
    }

    #[test]
    fn every_end_leads_to_a_phase_that_says_how_it_is() {
        let succeeded =
            |phase: Phase, kind| phase.begin(kind).unwrap().end(kind, Outcome::Succeeded);
        let failed = |phase: Phase, kind| phase.begin(kind).unwrap().end(kind, Outcome::Failed);
        let cancelled =
            |phase: Phase, kind| phase.begin(kind).unwrap().end(kind, Outcome::Cancelled);
        for (phase, kind, expected) in [
            (Failed, OperationKind::Create, [Running, Failed, Deleted]),
            (
                Stopped,
                OperationKind::Start,
                [Running, StartFailed, Stopped],
            ),
            (
                Stopping,
                OperationKind::Start,
                [Running, StartFailed, Stopped],
            ),
            (
                StartFailed,
                OperationKind::Start,
                [Running, StartFailed, Stopped],
            ),
            (
                Running,
                OperationKind::Restart,
                [Running, StartFailed, StartFailed],
            ),
            (
                Running,
                OperationKind::Configure,
                [Running, Running, Running],
            ),
            (
                Running,
                OperationKind::SetAccess,
                [Running, Running, Running],
            ),
            (
                Running,
                OperationKind::RenewCertificate,
                [Running, Running, Running],
            ),
            // Neither fails, and what is cancelled gave way, which the test below shows.
            (Running, OperationKind::Stop, [Stopped, Stopping, Stopping]),
            (
                StartFailed,
                OperationKind::Stop,
                [Stopped, StartFailed, StartFailed],
            ),
            (
                Running,
                OperationKind::Delete,
                [Deleted, Deleting, Deleting],
            ),
        ] {
            let ends = [succeeded, failed, cancelled].map(|end| end(phase, kind));
            assert_eq!(ends, expected, "{phase:?} {kind:?}");
        }
    }

    #[test]
    fn an_operation_that_gave_way_changes_nothing() {
        for phase in Phase::ALL {
            for kind in OperationKind::ALL {
                let Ok(during) = phase.begin(kind) else {
                    continue;
                };
                for successor in OperationKind::ALL {
                    if !successor.preempts(kind) {
                        continue;
                    }
                    let taken = during.begin(successor).unwrap();
                    for outcome in [Outcome::Succeeded, Outcome::Failed, Outcome::Cancelled] {
                        assert_eq!(taken.end(kind, outcome), taken, "{phase:?} {kind:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_so_already_need_not_begin() {
        for phase in Phase::ALL {
            for kind in OperationKind::ALL {
                let both = phase.already(kind) && phase.begin(kind).is_ok();
                assert!(!both, "{phase:?} {kind:?}");
            }
        }
        for (kind, during, after) in [
            (OperationKind::Stop, Stopping, Stopped),
            (OperationKind::Start, Starting, Running),
            (OperationKind::Restart, Restarting, Restarting),
            (OperationKind::Delete, Deleting, Deleted),
        ] {
            assert!(during.already(kind) && after.already(kind), "{kind:?}");
        }
        // One that could not be started is not what a stop leaves behind.
        assert!(!StartFailed.already(OperationKind::Stop));
    }

    #[test]
    fn a_refusal_says_what_stands_in_the_way() {
        let text = |phase: Phase, kind| phase.begin(kind).unwrap_err().public().to_owned();
        assert_eq!(
            text(Creating, OperationKind::Stop),
            "cannot stop the database: it is being created"
        );
        assert_eq!(
            text(Stopped, OperationKind::Restart),
            "cannot restart the database: it is stopped; start it"
        );
    }
}
