//! What is known of how instances fare: in memory, and never behind a lock for long. The transitions of each are
//! recorded too, so that a restart of the host does not look like one of the instance.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::model::InstanceId;
use crate::model::health::{Condition, Health, History, Transition};
use crate::model::plugin::MemberDial;

/// How members were dialled longer ago is not believed. Every instance is looked at more often, while all is well.
const DIALS_FOR: Duration = Duration::from_secs(5);

/// Written by the supervisor, readable by all. Clones are the same book.
#[derive(Clone, Debug, Default)]
pub struct HealthBook(Arc<RwLock<Book>>);

#[derive(Debug, Default)]
struct Book {
    newest: HashMap<InstanceId, Health>,
    dials: HashMap<InstanceId, Dials>,
    /// Of those whose record was read.
    histories: HashMap<InstanceId, History>,
    /// Those of them that are not recorded as they stand here.
    unwritten: HashSet<InstanceId>,
}

/// How the members of an instance were dialled when it was looked at.
#[derive(Debug)]
struct Dials {
    seen_at: Instant,
    /// They are of the servers that were brought up then.
    up_since: Timestamp,
    dials: Vec<MemberDial>,
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
        self.with(id, |health| health.cloned())
    }

    /// See the newest observation where it lies. `see` must not come back to the book.
    pub fn with<T>(&self, id: InstanceId, see: impl FnOnce(Option<&Health>) -> T) -> T {
        see(self.read().newest.get(&id))
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

    /// How the members are dialled of an instance that was brought up at `up_since`, if that was seen a moment ago.
    pub fn dials(&self, id: InstanceId, up_since: Timestamp) -> Option<Vec<MemberDial>> {
        let book = self.read();
        let seen = book.dials.get(&id)?;
        let holds = seen.up_since == up_since && seen.seen_at.elapsed() < DIALS_FOR;
        holds.then(|| seen.dials.clone())
    }

    /// Enter how the members are dialled of an instance that was brought up at `up_since`; `None` if they are not.
    pub(super) fn see_dials(
        &self,
        id: InstanceId,
        up_since: Timestamp,
        dials: Option<Vec<MemberDial>>,
    ) {
        let mut book = self.write();
        match dials {
            Some(dials) => {
                let seen_at = Instant::now();
                let dials = Dials {
                    seen_at,
                    up_since,
                    dials,
                };
                book.dials.insert(id, dials);
            }
            None => drop(book.dials.remove(&id)),
        }
    }

    pub(super) fn remembers(&self, id: InstanceId) -> bool {
        self.read().histories.contains_key(&id)
    }

    /// Take up what was recorded before this process.
    pub(super) fn recall(&self, id: InstanceId, history: History) {
        self.write().histories.insert(id, history);
    }

    /// Enter a finding about an instance that was brought up at `up_since`: what was seen of it before that is over,
    /// whatever it was. Answers whether a condition begins with this.
    pub(super) fn enter(
        &self,
        id: InstanceId,
        finding: Finding,
        up_since: Timestamp,
        now: Timestamp,
    ) -> bool {
        let mut guard = self.write();
        let book = &mut *guard;
        let before = match book.histories.get(&id) {
            Some(history) => history.newest().map(|last| (&last.condition, last.at)),
            None => book
                .newest
                .get(&id)
                .map(|last| (&last.condition, last.since)),
        };
        let same = before.filter(|(before, since)| {
            *since >= up_since && discriminant(*before) == discriminant(&finding.condition)
        });
        // Not before that, should the clock have been put back: it would begin anew with every look.
        let since = same.map_or(now.max(up_since), |(_, since)| since);
        let changed = same.is_none();
        if changed && let Some(history) = book.histories.get_mut(&id) {
            book.unwritten.insert(id);
            history.push(Transition {
                at: since,
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

    /// Those whose history is not recorded as it stands here.
    pub(super) fn unwritten(&self) -> Vec<InstanceId> {
        self.read().unwritten.iter().copied().collect()
    }

    /// This was recorded: of two writings the later one may have been the older's.
    pub(super) fn written(&self, id: InstanceId, recorded: &History) {
        let mut book = self.write();
        if book.histories.get(&id).is_none_or(|h| h == recorded) {
            book.unwritten.remove(&id);
        } else {
            book.unwritten.insert(id);
        }
    }

    /// Forget the others, but for what is not recorded of them yet.
    pub(super) fn keep_only(&self, is_kept: impl Fn(InstanceId) -> bool) {
        let mut guard = self.write();
        let book = &mut *guard;
        book.newest.retain(|id, _| is_kept(*id));
        book.dials.retain(|id, _| is_kept(*id));
        let unwritten = &book.unwritten;
        book.histories
            .retain(|id, _| is_kept(*id) || unwritten.contains(id));
    }

    fn read(&self) -> RwLockReadGuard<'_, Book> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Book> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(condition: Condition) -> Finding {
        Finding {
            condition,
            used_bytes: 0,
            restarts: 0,
            version: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_seen_before_it_was_brought_up_anew_is_over() {
        let (book, id) = (HealthBook::default(), InstanceId::generate());
        book.recall(id, History::default());
        let healthy = || finding(Condition::Healthy);
        let down = || finding(Condition::Down("it ended".to_owned()));
        let since = || book.get(id).unwrap().since;
        assert!(book.enter(id, healthy(), at(1), at(2)));
        assert!(!book.enter(id, healthy(), at(1), at(9)));
        assert_eq!(since(), at(2));
        assert!(book.enter(id, healthy(), at(20), at(21)), "stopped since");
        assert_eq!(since(), at(21));
        assert!(book.enter(id, down(), at(20), at(30)));
        assert!(book.enter(id, down(), at(40), at(41)), "restarted since");
        assert_eq!(since(), at(41));
        // The same without a history, which cannot be read just now.
        book.keep_only(|_| false);
        book.written(id, &book.history(id).unwrap());
        book.keep_only(|_| false);
        assert!(book.enter(id, down(), at(40), at(50)));
        assert!(!book.enter(id, down(), at(40), at(51)));
        assert!(book.enter(id, down(), at(60), at(61)));
        assert_eq!(since(), at(61));
    }

    #[test]
    fn dials_are_believed_for_a_moment_and_of_the_same_servers() {
        let (book, id) = (HealthBook::default(), InstanceId::generate());
        assert_eq!(book.dials(id, at(1)), None);
        book.see_dials(id, at(1), Some(Vec::new()));
        assert_eq!(book.dials(id, at(1)), Some(Vec::new()));
        assert_eq!(book.dials(id, at(2)), None, "brought up anew");
        book.write().dials.get_mut(&id).unwrap().seen_at -= DIALS_FOR;
        assert_eq!(book.dials(id, at(1)), None, "nobody looked since");
        book.see_dials(id, at(1), Some(Vec::new()));
        book.see_dials(id, at(1), None);
        assert_eq!(book.dials(id, at(1)), None, "they do not run");
        book.see_dials(id, at(1), Some(Vec::new()));
        book.keep_only(|_| false);
        assert_eq!(book.dials(id, at(1)), None, "it is not looked at any more");
    }

    #[test]
    fn a_history_is_kept_until_it_is_recorded() {
        let (book, id) = (HealthBook::default(), InstanceId::generate());
        book.recall(id, History::default());
        book.enter(id, finding(Condition::Healthy), at(1), at(2));
        let first = book.history(id).unwrap();
        book.enter(id, finding(Condition::Down(String::new())), at(1), at(3));
        let second = book.history(id).unwrap();
        book.keep_only(|_| false);
        assert_eq!(book.unwritten(), [id]);
        book.written(id, &second);
        book.written(id, &first);
        assert_eq!(book.unwritten(), [id], "the older one was written last");
        book.written(id, &second);
        assert!(book.unwritten().is_empty());
        book.keep_only(|_| false);
        assert_eq!(book.history(id), None);
    }
}
