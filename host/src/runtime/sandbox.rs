//! The sandbox that every call runs in.

use std::time::Duration;

/// What one call may use. Past any of them the call ends with an error and its sandbox is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory.
    pub memory_bytes: usize,
    /// Time for a call that computes.
    pub compute: Duration,
    /// Time for a call that talks to servers or starts them.
    pub talk: Duration,
    /// Calls into one build at the same time; more wait.
    pub concurrent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 128 << 20,
            compute: Duration::from_secs(5),
            talk: Duration::from_secs(30),
            concurrent: 32,
        }
    }
}
