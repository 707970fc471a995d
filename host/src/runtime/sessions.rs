//! Sandboxes that are kept from call to call, so that a driver's connection in them need not be made anew: at most one
//! for each instance, and so many for the whole host. One that is kept does nothing. It goes on with the next call about its
//! instance, if that is about the very same: build, addresses, secrets, settings. Whatever else happens, it is dropped, and
//! nothing may rely on what is in it.
//! Why: docs/decisions/0025-kept-sessions.md.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as Lock, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::Instance;

use crate::model::InstanceId;
use crate::model::plugin::InstanceContext;

use super::sandbox::State;

/// For so long a call waits for the one that has the session: about as long as a login takes, with which it goes on
/// otherwise, in a sandbox that is not kept.
const PATIENCE: Duration = Duration::from_millis(10);
/// Each has a place of the pool; see `pool`.
const MOST: usize = 1024;

/// All of them. See the module's text.
pub(super) struct Sessions {
    slots: Mutex<Slots>,
    /// One for each that is kept, or that a call goes on with. The pool has as many places for them alone.
    places: Arc<Semaphore>,
    most: usize,
    idle: Duration,
}

#[derive(Default)]
struct Slots {
    of: HashMap<InstanceId, Slot>,
    /// A task looks for those that were idle for too long.
    watched: bool,
}

/// Where the session of one instance is kept.
#[derive(Default)]
struct Slot {
    /// Locked for as long as a call goes on with it, or may leave one. The lock is taken out of here only while `Slots`
    /// is locked, so that a slot nobody else has can be told.
    kept: Arc<Lock<Option<Kept>>>,
    /// Counts how often what there was must not be kept any more.
    outdated: u64,
}

/// What a session is for.
#[derive(PartialEq, Eq)]
pub(super) struct Purpose {
    /// The build, as it was loaded: its number among all that were.
    pub build: u64,
    pub context: InstanceContext,
}

/// The sandbox itself, between two calls.
pub(super) struct Session {
    pub store: Store<State>,
    pub instance: Instance,
    // After the store, which is to be gone when another is made.
    pub place: OwnedSemaphorePermit,
}

struct Kept {
    session: Session,
    purpose: Arc<Purpose>,
    outdated: u64,
    since: Instant,
}

/// The right of a call to go on with the session of its instance, and to leave one there.
pub(super) struct Lease {
    sessions: Arc<Sessions>,
    kept: OwnedMutexGuard<Option<Kept>>,
    purpose: Arc<Purpose>,
    outdated: u64,
}

impl Sessions {
    /// At most so many, each for so long without a call.
    pub fn new(most: usize, idle: Duration) -> Self {
        let most = most.min(MOST);
        Self {
            slots: Mutex::default(),
            places: Arc::new(Semaphore::new(most)),
            most,
            idle,
        }
    }

    pub fn most(&self) -> usize {
        self.most
    }

    /// None when another call has the session for longer than it takes to do without.
    pub async fn claim(self: &Arc<Self>, purpose: Purpose) -> Option<Lease> {
        if self.most == 0 {
            return None;
        }
        let id = purpose.context.id;
        let lock = Arc::clone(&self.slots().of.entry(id).or_default().kept);
        let mut kept = match Arc::clone(&lock).try_lock_owned() {
            Ok(kept) => kept,
            Err(_) => {
                let waited = tokio::time::timeout(PATIENCE, Arc::clone(&lock).lock_owned());
                waited.await.ok()?
            }
        };
        // Under the lock: what is kept from now on is what this call leaves.
        let outdated = self.slots().outdated(id, &lock)?;
        drop(lock);
        let unfit = kept.take_if(|kept| {
            *kept.purpose != purpose
                || kept.outdated != outdated
                || kept.since.elapsed() >= self.idle
        });
        drop(unfit);
        let purpose = match &*kept {
            Some(kept) => Arc::clone(&kept.purpose),
            None => Arc::new(purpose),
        };
        Some(Lease {
            sessions: Arc::clone(self),
            kept,
            purpose,
            outdated,
        })
    }

    /// Drop what is kept for an instance, also what a call has now when it ends.
    pub fn forget(&self, id: InstanceId) {
        let mut slots = self.slots();
        let Some(slot) = slots.of.get_mut(&id) else {
            return;
        };
        slot.outdated += 1;
        let kept = slot.take();
        if slot.is_nobodys() {
            slots.of.remove(&id);
        }
        drop(slots);
        drop(kept);
    }

    /// Drop what was idle for too long. Answers when to look again, unless there is nothing to look at.
    fn sweep(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut over = Vec::new();
        let mut next = None;
        let mut slots = self.slots();
        slots.of.retain(|_, slot| {
            let since = slot.since();
            if since.is_some_and(|since| now.duration_since(since) >= self.idle) {
                over.extend(slot.take());
            }
            if slot.is_nobodys() {
                return false;
            }
            let end = since.unwrap_or(now) + self.idle;
            next = Some(next.map_or(end, |next: Instant| next.min(end)));
            true
        });
        slots.watched = next.is_some();
        drop(slots);
        next
    }

    /// A place for one more, if need be that of the one that was idle for the longest time.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Some(place);
            }
            let mut slots = self.slots();
            let idle = slots.of.values_mut();
            let oldest = idle
                .filter_map(|slot| Some((slot.since()?, slot)))
                .min_by_key(|(since, _)| *since);
            let evicted = oldest.and_then(|(_, slot)| slot.take())?;
            slots.of.retain(|_, slot| !slot.is_nobodys());
            drop(slots);
            drop(evicted);
        }
    }

    fn watch(self: &Arc<Self>) {
        if std::mem::replace(&mut self.slots().watched, true) {
            return;
        }
        let sessions: Weak<Self> = Arc::downgrade(self);
        let mut next = Instant::now() + self.idle;
        tokio::spawn(async move {
            loop {
                tokio::time::sleep_until(next.into()).await;
                match sessions.upgrade().and_then(|sessions| sessions.sweep()) {
                    Some(at) => next = at,
                    None => return,
                }
            }
        });
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    /// How often the slot with this lock was outdated. None when it is not there any more.
    fn outdated(&self, id: InstanceId, lock: &Arc<Lock<Option<Kept>>>) -> Option<u64> {
        let slot = self.of.get(&id)?;
        Arc::ptr_eq(&slot.kept, lock).then_some(slot.outdated)
    }
}

impl Slot {
    /// None when there is nothing, or a call has it.
    fn take(&mut self) -> Option<Kept> {
        self.kept.try_lock().ok()?.take()
    }

    /// Since when it is idle, if it is.
    fn since(&self) -> Option<Instant> {
        let kept = self.kept.try_lock().ok()?;
        kept.as_ref().map(|kept| kept.since)
    }

    /// No call has it or waits for it, and nothing is kept in it.
    fn is_nobodys(&self) -> bool {
        Arc::strong_count(&self.kept) == 1 && self.since().is_none()
    }
}

impl Lease {
    pub fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// What an earlier call left. It is this call's from now on, and gone with it unless that leaves it.
    pub fn take(&mut self) -> Option<Session> {
        self.kept.take().map(|kept| kept.session)
    }

    /// A place among those that are kept, for a sandbox that had another.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.sessions.place()
    }

    /// Leave it for the next call, unless it was outdated meanwhile.
    pub fn keep(mut self, session: Session) {
        let slots = self.sessions.slots();
        let lock = OwnedMutexGuard::mutex(&self.kept);
        if slots.outdated(self.purpose.context.id, lock) != Some(self.outdated) {
            drop(slots);
            return;
        }
        *self.kept = Some(Kept {
            session,
            purpose: Arc::clone(&self.purpose),
            outdated: self.outdated,
            since: Instant::now(),
        });
        drop(slots);
        self.sessions.watch();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.kept.is_some() {
            return;
        }
        let mut slots = self.sessions.slots();
        // The slot's own and this one's: nobody else has it or waits for it.
        let lock = OwnedMutexGuard::mutex(&self.kept);
        let is_last = Arc::strong_count(lock) == 2;
        let id = self.purpose.context.id;
        if is_last && slots.outdated(id, lock).is_some() {
            slots.of.remove(&id);
        }
    }
}
