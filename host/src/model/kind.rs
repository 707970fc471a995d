//! The kinds of operations, how they end, and which of them gives way to which.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an operation does. Its name is stored: kinds may be added, never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    Create,
    /// End the servers; everything else is kept.
    Stop,
    Start,
    /// A stop and a start in one.
    Restart,
    /// Have it run with other settings.
    Configure,
    /// Let clients in from other networks.
    SetAccess,
    /// Replace the certificate that clients trust.
    RenewCertificate,
    Delete,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// It failed and what it had done was undone.
    Failed,
    /// It was cancelled and what it had done was undone, or another took its place.
    Cancelled,
}

impl OperationKind {
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Stop,
        Self::Start,
        Self::Restart,
        Self::Configure,
        Self::SetAccess,
        Self::RenewCertificate,
        Self::Delete,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Configure => "configure",
            Self::SetAccess => "set_access",
            Self::RenewCertificate => "renew_certificate",
            Self::Delete => "delete",
        }
    }

    /// Whether a caller may cancel it.
    pub fn cancellable(self) -> bool {
        self.why_not_cancelled().is_none()
    }

    /// Why a caller may not cancel it, and what to do instead. A kind can be cancelled when undoing it leaves
    /// what was there before: nothing, for a creation; a stopped database, for a start.
    pub fn why_not_cancelled(self) -> Option<&'static str> {
        match self {
            Self::Create | Self::Start | Self::Configure => None,
            // A server that was told to end cannot be told to stay.
            Self::Stop => Some("its servers are ending; start the database, which takes its place"),
            Self::Restart => {
                Some("its servers are ending; stop the database, which takes its place")
            }
            Self::SetAccess => Some("it takes effect at once; set the rules that shall hold"),
            Self::RenewCertificate => Some("servers may use the new certificate already"),
            Self::Delete => Some("what is being removed cannot be brought back"),
        }
    }

    /// Whether it may begin while `other` holds the instance. It then takes its place: `other` is told to end, and
    /// has, before this one acts. A deletion goes before everything; of a stop and a start the newest counts.
    pub fn preempts(self, other: Self) -> bool {
        match self {
            Self::Delete => other.gives_way(),
            Self::Stop => matches!(
                other,
                Self::Start
                    | Self::Restart
                    | Self::Configure
                    | Self::SetAccess
                    | Self::RenewCertificate
            ),
            Self::Start => matches!(other, Self::Stop),
            Self::Create
            | Self::Restart
            | Self::Configure
            | Self::SetAccess
            | Self::RenewCertificate => false,
        }
    }

    /// Whether it can be told to end before it is done, by whomever.
    pub fn gives_way(self) -> bool {
        match self {
            Self::Create
            | Self::Stop
            | Self::Start
            | Self::Restart
            | Self::Configure
            | Self::SetAccess
            | Self::RenewCertificate => true,
            Self::Delete => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cancelled_or_preempted_gives_way() {
        for kind in OperationKind::ALL {
            let preempted = OperationKind::ALL.iter().any(|other| other.preempts(kind));
            assert_eq!(
                kind.gives_way(),
                kind.cancellable() || preempted,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn no_two_kinds_can_push_each_other_out_by_themselves_but_stop_and_start() {
        for one in OperationKind::ALL {
            for other in OperationKind::ALL {
                if one.preempts(other) && other.preempts(one) {
                    let wishes = [OperationKind::Stop, OperationKind::Start];
                    assert!(wishes.contains(&one) && wishes.contains(&other));
                }
            }
        }
    }
}
