//! What this dialect calls the state of a database: one table over its phase and its observed health.
//! A running operation shows in the phase, for every kind that there is. What a caller waits for is never shown
//! before it is true: a database is not `stopped` while its servers are ending, nor `running` while they start.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::health::{Condition, Health};
use crate::model::{Instance, Phase};

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
            Self::Provisioning => vec![Phase::Creating, Phase::Starting, Phase::Restarting],
            Self::Running => vec![Phase::Running, Phase::Stopping, Phase::Configuring],
            Self::Stopped => vec![Phase::Stopped, Phase::Deleting],
            Self::Error => vec![Phase::Running, Phase::StartFailed, Phase::Failed],
            Self::Destroyed => vec![Phase::Deleted],
        }
    }
}

pub fn of(instance: &Instance, health: Option<&Health>) -> Status {
    let (changed, now) = (instance.updated_at, Timestamp::now());
    table(
        instance.phase(),
        health.is_some_and(|health| stays_down(health, changed, now)),
    )
}

/// The table. While it is being deleted a database takes no connections and is not gone yet; one that is being
/// started or restarted takes none yet.
fn table(phase: Phase, stays_down: bool) -> Status {
    match (phase, stays_down) {
        (Phase::Creating | Phase::Starting | Phase::Restarting, true | false) => {
            Status::Provisioning
        }
        (Phase::Running, false) => Status::Running,
        (Phase::Running, true) => Status::Error,
        (Phase::Stopping | Phase::Configuring, true | false) => Status::Running,
        (Phase::Stopped | Phase::Deleting, true | false) => Status::Stopped,
        (Phase::StartFailed | Phase::Failed, true | false) => Status::Error,
        (Phase::Deleted, true | false) => Status::Destroyed,
    }
}

/// What was seen before the instance last changed says nothing of it any more: it may have been started anew.
fn stays_down(health: &Health, changed: Timestamp, now: Timestamp) -> bool {
    match health.condition {
        Condition::Healthy | Condition::Degraded(_) => false,
        Condition::Down(_) => {
            health.observed_at >= changed && now.duration_since(health.since) >= PATIENCE
        }
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
            (Phase::Stopping, [Status::Running, Status::Running]),
            (Phase::Stopped, [Status::Stopped, Status::Stopped]),
            (
                Phase::Starting,
                [Status::Provisioning, Status::Provisioning],
            ),
            (
                Phase::Restarting,
                [Status::Provisioning, Status::Provisioning],
            ),
            (Phase::StartFailed, [Status::Error, Status::Error]),
            (Phase::Configuring, [Status::Running, Status::Running]),
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
        assert!(!stays_down(&down, since, early));
        assert!(stays_down(&down, since, late));
        let full = health(Condition::Degraded("full".into()));
        assert!(!stays_down(&full, since, late));
        assert!(!stays_down(&health(Condition::Healthy), since, late));
        assert!(!stays_down(&down, early, late), "it was seen before that");
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
