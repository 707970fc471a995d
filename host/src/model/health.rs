//! How an instance fares. A record of its own that no journal depends on.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The newest observation of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub condition: Condition,
    /// Since when the condition has been this one.
    pub since: Timestamp,
    pub observed_at: Timestamp,
    pub used_bytes: u64,
    pub restarts: u32,
    /// The exact version that runs, when the engine said.
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum Condition {
    /// Every member serves.
    Healthy,
    /// Something is wrong that is being mended or watched: a restart, a volume nearly full.
    Degraded(String),
    /// It does not serve clients.
    Down(String),
}
