//! Who wants to know when an operation ends: for counting, never for acting on it. What must follow from an
//! end is recorded with it.

use std::fmt;
use std::sync::Arc;

use crate::model::Operation;

type Tell = dyn Fn(&Operation) + Send + Sync;

/// Told of every operation that this process ends. By default nobody is.
#[derive(Clone, Default)]
pub struct OnEnd(Option<Arc<Tell>>);

impl OnEnd {
    pub fn new(tell: impl Fn(&Operation) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, operation: &Operation) {
        if let Some(tell) = &self.0 {
            tell(operation);
        }
    }
}

impl fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEnd")
    }
}
