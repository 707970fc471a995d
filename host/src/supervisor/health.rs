//! What is known of how instances fare: in memory, and never behind a lock for long. The transitions of each are
//! recorded too, so that a restart of the host does not look like one of the instance.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::Timestamp;

use crate::model::InstanceId;
use crate::model::health::{Condition, Health, History, Transition};

/// Written by the supervisor, readable by all. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct HealthBook(Arc<RwLock<Book>>);

#[derive(Debug, Default)]
struct Book {
    newest: HashMap<InstanceId, Health>,
    /// Of those whose record was read.
    histories: HashMap<InstanceId, History>,
}

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
        self.read().newest.get(&id).cloned()
    }

    /// `None` while the record of it was not read; then the store has all there is.
    pub fn history(&self, id: InstanceId) -> Option<History> {
        self.read().histories.get(&id).cloned()
    }

    /// See every instance's newest observation. `see` must not come back to the book.
    pub fn each(&self, mut see: impl FnMut(InstanceId, &Health)) {
        for (id, health) in &self.read().newest {
            see(*id, health);
        }
    }

    pub(super) fn remembers(&self, id: InstanceId) -> bool {
        self.read().histories.contains_key(&id)
    }

    /// Take up what was recorded before this process.
    pub(super) fn recall(&self, id: InstanceId, history: History) {
        self.write().histories.insert(id, history);
    }

    /// Enter a finding. Answers whether the condition is another one than before.
    pub(super) fn enter(&self, id: InstanceId, finding: Finding, now: Timestamp) -> bool {
        let mut book = self.write();
        let before = match book.histories.get(&id) {
            Some(history) => history.newest().map(|last| (&last.condition, last.at)),
            None => book
                .newest
                .get(&id)
                .map(|last| (&last.condition, last.since)),
        };
        let same =
            before.filter(|(before, _)| discriminant(*before) == discriminant(&finding.condition));
        let since = same.map_or(now, |(_, since)| since);
        let changed = same.is_none();
        if changed && let Some(history) = book.histories.get_mut(&id) {
            history.push(Transition {
                at: now,
                condition: finding.condition.clone(),
            });
        }
        let health = Health {
            condition: finding.condition,
            since,
            observed_at: now,
            used_bytes: finding.used_bytes,
            restarts: finding.restarts,
            version: finding.version,
        };
        book.newest.insert(id, health);
        changed
    }

    pub(super) fn keep_only(&self, is_kept: impl Fn(InstanceId) -> bool) {
        let mut book = self.write();
        book.newest.retain(|id, _| is_kept(*id));
        book.histories.retain(|id, _| is_kept(*id));
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
