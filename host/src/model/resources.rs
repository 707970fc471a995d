//! Sizes and what is reserved for an instance.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The size of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSize {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    pub memory_bytes: u64,
}

/// Ports and the user id that an instance holds on its machine until it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reservation {
    pub ports: Vec<u16>,
    /// The system user its processes run as; none when the host is not root.
    pub uid: Option<u32>,
}

/// The class of the storage below the data directory itself.
pub const DEFAULT_STORAGE_CLASS: &str = "lssd";

pub const GIB: u64 = 1 << 30;
