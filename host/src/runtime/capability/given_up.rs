//! How work off the runtime hears that nobody waits for it any more: it cannot be aborted once it has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the future that waits is dropped.
#[derive(Debug, Default)]
pub(super) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
