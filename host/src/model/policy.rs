//! What an owner decided about an instance and may change at any time: tags, backups, logs. Nothing in its engine
//! depends on it.

use serde::{Deserialize, Serialize};

use super::access::AccessRule;

/// Beside what must run. Changed without an operation, but for `access`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub tags: Vec<String>,
    pub backup_schedule: BackupSchedule,
    /// Whether backups are kept in the region of the instance.
    pub backup_same_region: bool,
    pub logs: LogsPolicy,
    /// Who may connect.
    pub access: Vec<AccessRule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSchedule {
    pub disabled: bool,
    pub frequency_hours: u32,
    pub retention_days: u32,
    /// Hour of the day, in UTC.
    pub start_hour: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsPolicy {
    pub max_age_days: Option<u32>,
    pub max_total_bytes: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            backup_schedule: BackupSchedule::default(),
            backup_same_region: false,
            logs: LogsPolicy::default(),
            access: vec![AccessRule::everybody()],
        }
    }
}

impl Default for BackupSchedule {
    fn default() -> Self {
        Self {
            disabled: false,
            frequency_hours: 24,
            retention_days: 7,
            start_hour: None,
        }
    }
}

impl Default for LogsPolicy {
    fn default() -> Self {
        Self {
            max_age_days: Some(30),
            max_total_bytes: None,
        }
    }
}
