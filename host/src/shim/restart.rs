//! When a server that ended is started again: at once after a single mishap, ever more rarely when it keeps
//! ending, and never not at all.

use std::time::Duration;

/// A server that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);
const PAUSES_MS: [u64; 10] = [50, 100, 200, 500, 1000, 2000, 4000, 8000, 16_000, 30_000];
/// One that was killed from outside is not at fault: by an operator, or for want of memory.
const KILLED_PAUSE_MS: u64 = 500;
/// So many failures in a row, and it is reported as failed.
const FAILED_AFTER: usize = 6;
/// The same for filling a volume, where a failure seldom mends itself.
const INIT_FAILED_AFTER: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A task that fills the volume failed.
    Init,
    /// The server ended or could not be started; how long it had run.
    Server(Duration),
    /// The server was killed by signal 9; how long it had run.
    Killed(Duration),
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Failures {
    count: usize,
    failed_after: usize,
}

impl Failures {
    /// Count an end and say how long to wait.
    pub fn after(&mut self, end: End) -> Duration {
        let (ran, most) = match end {
            End::Init => (Duration::ZERO, u64::MAX),
            End::Server(ran) => (ran, u64::MAX),
            End::Killed(ran) => (ran, KILLED_PAUSE_MS),
        };
        if ran >= RECOVERED {
            *self = Self::default();
        }
        let pause = PAUSES_MS[self.count.min(PAUSES_MS.len() - 1)].min(most);
        self.failed_after = match end {
            End::Init => INIT_FAILED_AFTER,
            End::Server(_) => FAILED_AFTER,
            End::Killed(_) => usize::MAX,
        };
        self.count += 1;
        Duration::from_millis(pause)
    }

    /// Whether to report it as failed rather than as restarting.
    pub fn is_failed(&self) -> bool {
        self.count > 0 && self.count >= self.failed_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_slowed_down_and_reported() {
        let mut failures = Failures::default();
        let crash = End::Server(Duration::from_millis(20));
        let mut last = Duration::ZERO;
        for n in 1..=20 {
            let pause = failures.after(crash);
            assert!(pause >= last);
            last = pause;
            assert_eq!(failures.is_failed(), n >= FAILED_AFTER, "{n}");
        }
        assert_eq!(last, Duration::from_secs(30));
    }

    #[test]
    fn one_that_ran_well_starts_again_at_once() {
        let mut failures = Failures::default();
        for _ in 0..20 {
            failures.after(End::Server(Duration::ZERO));
        }
        assert!(failures.after(End::Server(RECOVERED)) < Duration::from_millis(100));
        assert!(!failures.is_failed());
    }

    #[test]
    fn one_that_is_killed_again_and_again_is_soon_back() {
        let mut failures = Failures::default();
        for _ in 0..50 {
            assert!(failures.after(End::Killed(Duration::ZERO)) <= Duration::from_millis(500));
            assert!(!failures.is_failed());
        }
    }

    #[test]
    fn a_volume_that_cannot_be_filled_is_reported_soon() {
        let mut failures = Failures::default();
        for n in 1..=3 {
            failures.after(End::Init);
            assert_eq!(failures.is_failed(), n == 3);
        }
    }
}
