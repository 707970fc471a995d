//! What time it is, for claims, pauses and deadlines. Tests give their own, so that it moves with
//! the runtime's paused time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Before the second attempt at something; each later one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub fn system() -> Self {
        Self::from_fn(Timestamp::now)
    }

    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    pub fn after(&self, pause: Duration) -> Timestamp {
        later(self.now(), pause)
    }

    pub fn before(&self, pause: Duration) -> Timestamp {
        SignedDuration::try_from(pause)
            .ok()
            .and_then(|pause| self.now().checked_sub(pause).ok())
            .unwrap_or(Timestamp::MIN)
    }

    /// How long it is until then; nothing when it is past.
    pub fn until(&self, then: Timestamp) -> Duration {
        Duration::try_from(then.duration_since(self.now())).unwrap_or(Duration::ZERO)
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

/// Saturates at the end of time.
pub(crate) fn later(from: Timestamp, pause: Duration) -> Timestamp {
    SignedDuration::try_from(pause)
        .ok()
        .and_then(|pause| from.checked_add(pause).ok())
        .unwrap_or(Timestamp::MAX)
}

/// How long to wait after so many attempts, when nothing says better.
pub(super) fn backoff(attempts: u32, longest: Duration) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(longest)
}
