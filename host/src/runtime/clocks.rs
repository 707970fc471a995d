//! What a component can know of the time. A call that computes is told nothing: both its clocks stand still, so that
//! what it answers depends on what it was given. One that talks gets clocks for its driver's time limits, no
//! finer than that. Waiting works in both, and ends with the call's own limit.
//! Why: docs/decisions/0012-clocks-of-a-call.md.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

/// No driver needs to know better, and what measures other sandboxes through caches does.
const STEP: Duration = Duration::from_millis(1);

/// Which clocks a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clocks {
    /// They stand still.
    None,
    /// They go, in steps of a millisecond; the monotonic one begins when the call first looks.
    Coarse,
}

impl Clocks {
    pub fn wall(self) -> Wall {
        Wall(self)
    }

    pub fn monotonic(self) -> Monotonic {
        Monotonic {
            clocks: self,
            began: Instant::now(),
        }
    }
}

/// The time of day, or the beginning of time.
pub(super) struct Wall(Clocks);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        STEP
    }

    fn now(&self) -> Duration {
        match self.0 {
            Clocks::None => Duration::ZERO,
            Clocks::Coarse => coarse(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
        }
    }
}

/// The time since the call first looked, or none.
pub(super) struct Monotonic {
    clocks: Clocks,
    began: Instant,
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        nanos(STEP)
    }

    fn now(&self) -> u64 {
        match self.clocks {
            Clocks::None => 0,
            Clocks::Coarse => nanos(coarse(self.began.elapsed())),
        }
    }
}

fn coarse(time: Duration) -> Duration {
    time - Duration::from_nanos(nanos(time) % nanos(STEP))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_clock_goes_in_steps() {
        let time = Duration::from_nanos(7_123_456);
        assert_eq!(coarse(time), Duration::from_millis(7));
        assert_eq!(Clocks::Coarse.monotonic().now() % nanos(STEP), 0);
        assert!(Clocks::Coarse.wall().now() > Duration::from_secs(1_000_000_000));
    }

    #[test]
    fn no_clock_is_no_clock() {
        assert_eq!(Clocks::None.wall().now(), Duration::ZERO);
        assert_eq!(Clocks::None.monotonic().now(), 0);
    }
}
