//! Since when the looks at an instance fail, and since when something of it is waited for. A look that fails says
//! nothing of the server, so it is looked at again, but not for ever. Only looks count: a server that takes its time, and
//! a time without a host, do not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::workflow::Stop;
use crate::model::Error;

/// What cannot be looked at for so long has failed.
const LOOK_FOR: Duration = Duration::from_secs(60);
/// Before the next look after one that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Of one operation, as long as this process drives it: whoever takes it up anew gives the looks their time anew.
#[derive(Debug, Default)]
pub struct Looks {
    failing_since: Mutex<Option<Instant>>,
    waiting_since: Mutex<BTreeMap<(&'static str, &'static str), Instant>>,
}

impl Looks {
    /// One told how the server is.
    pub fn succeeded(&self) {
        *self.failing_since() = None;
    }

    /// One did not. Whether it is to be repeated.
    pub fn failed(&self, error: Error) -> Stop {
        match Stop::from(error) {
            Stop::Fail { why } => {
                let since = *self.failing_since().get_or_insert_with(Instant::now);
                if since.elapsed() < LOOK_FOR {
                    Stop::retry(PAUSE, why)
                } else {
                    Stop::Fail { why }
                }
            }
            later @ Stop::Retry { .. } => later,
        }
    }

    /// For how long this step has been waiting for that: since it was asked for the first time.
    pub fn waited(&self, step: &'static str, what: &'static str) -> Duration {
        let mut since = self
            .waiting_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let since = since.entry((step, what)).or_insert_with(Instant::now);
        since.elapsed()
    }

    fn failing_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
