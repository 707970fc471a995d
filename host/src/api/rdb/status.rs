//! What this dialect calls the state of an instance: one table over its phase, how far its creation is, and its
//! observed health. A running operation shows in the phase, for every kind that there is. Clients wait until a status
//! is none of the transient ones: none of the others is ever shown before it is true.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::health::{Condition, Health};
use crate::model::{Instance, Phase};

/// A server that ended is being started again for so long before it is called an error.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// Of the size that was asked for.
const FULL_PERCENT: u64 = 100;
/// What the dialect calls a GB.
const GB: u64 = 1_000_000_000;

/// What an instance does, as its clients see it. The dialect knows more: what Berth cannot bring about is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = rdb::InstanceStatus)]
pub enum Status {
    // In the order of their names: lists are sorted by it.
    Autohealing,
    Configuring,
    Deleting,
    DiskFull,
    Error,
    Initializing,
    Locked,
    Provisioning,
    Ready,
    Restarting,
}

/// What was seen of its servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Serving,
    /// It serves and has no room left.
    Full,
    /// It ended, and is being started again.
    Mending,
    Down,
}

impl Status {
    #[cfg(test)]
    const ALL: [Self; 10] = [
        Self::Autohealing,
        Self::Configuring,
        Self::Deleting,
        Self::DiskFull,
        Self::Error,
        Self::Initializing,
        Self::Locked,
        Self::Provisioning,
        Self::Ready,
        Self::Restarting,
    ];
}

impl Status {
    /// Whether clients wait until it is another one.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Autohealing
            | Self::Configuring
            | Self::Deleting
            | Self::Initializing
            | Self::Provisioning
            | Self::Restarting => true,
            Self::DiskFull | Self::Error | Self::Locked | Self::Ready => false,
        }
    }
}

/// None for one that is gone.
pub fn of(instance: &Instance, health: Option<&Health>) -> Option<Status> {
    let seen = health.map_or(Seen::Serving, |health| {
        let size = instance.spec.total_storage_gb() * GB;
        seen(health, size, instance.updated_at, Timestamp::now())
    });
    table(instance.phase(), !instance.endpoints.is_empty(), seen)
}

/// The table. `has_endpoints` says how far a creation is.
fn table(phase: Phase, has_endpoints: bool, seen: Seen) -> Option<Status> {
    let status = match (phase, seen) {
        (Phase::Creating, _) if has_endpoints => Status::Initializing,
        (Phase::Creating, _) => Status::Provisioning,
        (Phase::Running, Seen::Serving) => Status::Ready,
        (Phase::Running, Seen::Full) => Status::DiskFull,
        (Phase::Running, Seen::Mending) => Status::Autohealing,
        (Phase::Running, Seen::Down) => Status::Error,
        // Until it is stopped, clients that wait go on waiting.
        (Phase::Stopping | Phase::Configuring, _) => Status::Configuring,
        (Phase::Stopped, _) => Status::Locked,
        (Phase::Starting | Phase::Restarting, _) => Status::Restarting,
        (Phase::StartFailed | Phase::Failed, _) => Status::Error,
        (Phase::Deleting, _) => Status::Deleting,
        (Phase::Deleted, _) => return None,
    };
    Some(status)
}

/// What was seen before the instance last changed says nothing of it any more: it may have been started anew.
fn seen(health: &Health, size: u64, changed: Timestamp, now: Timestamp) -> Seen {
    if health.observed_at < changed {
        return Seen::Serving;
    }
    match health.condition {
        Condition::Down(_) if now.duration_since(health.since) >= PATIENCE => Seen::Down,
        Condition::Down(_) => Seen::Mending,
        Condition::Healthy | Condition::Degraded(_) => {
            if health.used_bytes.saturating_mul(100) / size.max(1) >= FULL_PERCENT {
                Seen::Full
            } else {
                Seen::Serving
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [Seen; 4] = [Seen::Serving, Seen::Full, Seen::Mending, Seen::Down];

    #[test]
    fn every_state_has_its_status() {
        use Status::{
            Autohealing, Configuring, Deleting, DiskFull, Error, Initializing, Locked,
            Provisioning, Ready, Restarting,
        };
        let expected = [
            (Phase::Creating, [Some(Provisioning); 4]),
            (
                Phase::Running,
                [Some(Ready), Some(DiskFull), Some(Autohealing), Some(Error)],
            ),
            (Phase::Stopping, [Some(Configuring); 4]),
            (Phase::Stopped, [Some(Locked); 4]),
            (Phase::Starting, [Some(Restarting); 4]),
            (Phase::Restarting, [Some(Restarting); 4]),
            (Phase::StartFailed, [Some(Error); 4]),
            (Phase::Configuring, [Some(Configuring); 4]),
            (Phase::Deleting, [Some(Deleting); 4]),
            (Phase::Failed, [Some(Error); 4]),
            (Phase::Deleted, [None; 4]),
        ];
        assert_eq!(expected.map(|(phase, _)| phase), Phase::ALL);
        let mut shown = Vec::new();
        for (phase, statuses) in expected {
            for (seen, status) in SEEN.into_iter().zip(statuses) {
                assert_eq!(table(phase, false, seen), status, "{phase:?} {seen:?}");
                let later = match phase {
                    Phase::Creating => Some(Initializing),
                    _ => status,
                };
                assert_eq!(table(phase, true, seen), later, "{phase:?} {seen:?}");
                shown.extend([status, later].into_iter().flatten());
            }
        }
        shown.sort();
        shown.dedup();
        assert_eq!(shown, Status::ALL, "each can be met");
    }

    #[test]
    fn statuses_sort_by_their_names() {
        let names = Status::ALL.map(|status| serde_json::to_value(status).unwrap().to_string());
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn a_server_is_given_time_to_come_back_and_may_be_full() {
        let since = Timestamp::UNIX_EPOCH;
        let late = since + PATIENCE;
        let early = late - SignedDuration::from_secs(1);
        let health = |condition, used_bytes| Health {
            condition,
            since,
            observed_at: since,
            used_bytes,
            restarts: 0,
            version: None,
        };
        let down = health(Condition::Down("it ended".into()), 0);
        assert_eq!(seen(&down, GB, since, early), Seen::Mending);
        assert_eq!(seen(&down, GB, since, late), Seen::Down);
        assert_eq!(seen(&down, GB, early, late), Seen::Serving, "before that");
        let full = health(Condition::Degraded("full".into()), GB);
        assert_eq!(seen(&full, GB, since, late), Seen::Full);
        assert_eq!(seen(&full, GB + 1, since, late), Seen::Serving);
    }
}
