//! A component's manifest: what it says it is, and what it asks for.

use serde::{Deserialize, Serialize};

/// Something the host grants by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Servers on the machine the host runs on.
    Process,
    /// The instance's files on it.
    Files,
}
