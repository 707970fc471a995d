//! Who wants to know how calls into plugins go: for counting, never for acting on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

type Tell = dyn Fn(&Called<'_>) + Send + Sync;

/// Told of every call of this process. By default nobody is.
#[derive(Clone, Default)]
pub struct OnCall(Option<Arc<Tell>>);

/// A call that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Called<'a> {
    pub plugin: &'a str,
    pub function: &'static str,
    pub ending: Ending,
    /// From its place in the queue to its end.
    pub took: Duration,
    /// Memory of its sandbox when it ended. None of one that never had one, or that nobody waited for any more.
    pub memory_bytes: usize,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    Answered,
    /// With an error of the plugin's own, as the contract has them.
    Error,
    /// It did not answer in time.
    Late,
    /// It trapped, or met a limit of its sandbox.
    Broken,
    /// Nobody waited for it any more.
    GivenUp,
    /// It never began: every place was taken for too long.
    Busy,
}

impl OnCall {
    pub fn new(tell: impl Fn(&Called<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(super) fn tell(&self, called: &Called<'_>) {
        if let Some(tell) = &self.0 {
            tell(called);
        }
    }
}

impl Ending {
    pub const ALL: [Self; 6] = [
        Self::Answered,
        Self::Error,
        Self::Late,
        Self::Broken,
        Self::GivenUp,
        Self::Busy,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Error => "error",
            Self::Late => "late",
            Self::Broken => "broken",
            Self::GivenUp => "given_up",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Debug for OnCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCall")
    }
}
