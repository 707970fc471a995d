//! What the host's records depend on. The runtime knows no records: who has them tells it, so that no build is
//! swapped or purged from under an instance.

use std::sync::Arc;

use crate::model::Instance;

/// Told by the records; see the module's text.
pub trait InUse: Send + Sync {
    /// Every instance that is not gone, whatever its phase. An operation works with the builds of its instance.
    fn instances(&self) -> Vec<Arc<Instance>>;
}

/// For a runtime without records: nothing depends on anything.
pub(super) struct Nothing;

impl InUse for Nothing {
    fn instances(&self) -> Vec<Arc<Instance>> {
        Vec::new()
    }
}
