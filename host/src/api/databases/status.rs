//! What this dialect calls the state of a database: one table over its phase and its observed health.
//! A running operation shows in the phase, for every kind that there is.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::Phase;
use crate::model::health::{Condition, Health};

/// A server that ended is being started again for so long before it is called an error.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// What a database does, as its clients see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Provisioning,
    Running,
    Stopped,
    Error,
    Destroyed,
}

impl Status {
    pub const ALL: [Self; 5] = [
        Self::Provisioning,
        Self::Running,
        Self::Stopped,
        Self::Error,
        Self::Destroyed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Error => "error",
            Self::Destroyed => "destroyed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Phases in which an instance can show it.
    pub fn phases(self) -> Vec<Phase> {
        match self {
            Self::Provisioning => vec![Phase::Creating],
            Self::Running => vec![Phase::Running],
            Self::Stopped => vec![Phase::Deleting],
            Self::Error => vec![Phase::Running, Phase::Failed],
            Self::Destroyed => vec![Phase::Deleted],
        }
    }
}

pub fn of(phase: Phase, health: Option<&Health>) -> Status {
    table(
        phase,
        health.is_some_and(|health| stays_down(health, Timestamp::now())),
    )
}

/// The table. While it is being deleted a database takes no connections and is not gone yet.
fn table(phase: Phase, stays_down: bool) -> Status {
    match (phase, stays_down) {
        (Phase::Creating, true | false) => Status::Provisioning,
        (Phase::Running, false) => Status::Running,
        (Phase::Running, true) => Status::Error,
        (Phase::Deleting, true | false) => Status::Stopped,
        (Phase::Failed, true | false) => Status::Error,
        (Phase::Deleted, true | false) => Status::Destroyed,
    }
}

fn stays_down(health: &Health, now: Timestamp) -> bool {
    match health.condition {
        Condition::Healthy | Condition::Degraded(_) => false,
        Condition::Down(_) => now.duration_since(health.since) >= PATIENCE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_status() {
        let expected = [
            (
                Phase::Creating,
                [Status::Provisioning, Status::Provisioning],
            ),
            (Phase::Running, [Status::Running, Status::Error]),
            (Phase::Deleting, [Status::Stopped, Status::Stopped]),
            (Phase::Failed, [Status::Error, Status::Error]),
            (Phase::Deleted, [Status::Destroyed, Status::Destroyed]),
        ];
        assert_eq!(expected.map(|(phase, _)| phase), Phase::ALL);
        for (phase, [serving, down]) in expected {
            assert_eq!(table(phase, false), serving, "{phase:?}");
            assert_eq!(table(phase, true), down, "{phase:?}");
            for status in [serving, down] {
                assert!(
                    status.phases().contains(&phase),
                    "{status:?} is found by its filter"
                );
            }
        }
    }

    #[test]
    fn a_server_is_given_time_to_come_back() {
        let since = Timestamp::UNIX_EPOCH;
        let health = |condition| Health {
            condition,
            since,
            observed_at: since,
            used_bytes: 0,
            restarts: 0,
            version: None,
        };
        let late = since + PATIENCE;
        let early = late - SignedDuration::from_secs(1);
        let down = health(Condition::Down("it ended".into()));
        assert!(!stays_down(&down, early));
        assert!(stays_down(&down, late));
        assert!(!stays_down(
            &health(Condition::Degraded("full".into())),
            late
        ));
        assert!(!stays_down(&health(Condition::Healthy), late));
    }

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for status in Status::ALL {
            let written = serde_json::to_value(status).unwrap();
            assert_eq!(written, status.as_str());
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("Running"), None);
    }
}
