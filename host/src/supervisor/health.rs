//! What is known of how instances fare: in memory, gone with the process, and never behind a lock for long.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::model::InstanceId;
use crate::model::health::{Condition, Health};

/// Written by the supervisor, readable by all. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct HealthBook(Arc<RwLock<HashMap<InstanceId, Health>>>);

/// What an observation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub condition: Condition,
    pub used_bytes: u64,
    pub restarts: u32,
    pub version: Option<String>,
}

impl HealthBook {
    /// `None` until the instance was observed for the first time.
    pub fn get(&self, id: InstanceId) -> Option<Health> {
        let book = self.0.read().unwrap_or_else(PoisonError::into_inner);
        book.get(&id).cloned()
    }

    /// Enter a finding. Answers whether the condition is another one than before.
    pub(super) fn enter(&self, id: InstanceId, finding: Finding, now: Timestamp) -> bool {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = book.get(&id);
        let same = before
            .filter(|health| discriminant(&health.condition) == discriminant(&finding.condition));
        let since = same.map_or(now, |health| health.since);
        let changed = same.is_none();
        let health = Health {
            condition: finding.condition,
            since,
            observed_at: now,
            used_bytes: finding.used_bytes,
            restarts: finding.restarts,
            version: finding.version,
        };
        book.insert(id, health);
        changed
    }

    pub(super) fn keep_only(&self, is_kept: impl Fn(InstanceId) -> bool) {
        let mut book = self.0.write().unwrap_or_else(PoisonError::into_inner);
        book.retain(|id, _| is_kept(*id));
    }
}
