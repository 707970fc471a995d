//! What a call used up, against what it may: memory, tables, modules, calls of the host. Remembers which bound was
//! met, so that whoever reads the error learns more than that something trapped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::ResourceLimiter;

/// Modules, and tables, that one call may have; a component of an interpreted language has dozens.
const INSTANCES: usize = 400;
const MEMORIES: usize = 32;
/// Over all tables together. An element is up to 16 bytes of the host's.
const TABLE_ELEMENTS: usize = 400_000;

/// A limit that a component ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Memory,
    Table,
    /// It called the host more often than it may.
    Calls,
}

/// Memory that all sandboxes of a build may have together, kept ones included.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        taken.is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bounds memory and tables over all of a component's modules together, and its calls of the host.
pub(super) struct Limiter {
    budget: Arc<Budget>,
    memory_bytes: usize,
    used_bytes: usize,
    elements: usize,
    calls: u32,
    most_calls: u32,
    refused: Option<Refused>,
}

impl Limiter {
    pub fn new(budget: Arc<Budget>, memory_bytes: usize, most_calls: u32) -> Self {
        Self {
            budget,
            memory_bytes,
            used_bytes: 0,
            elements: 0,
            calls: 0,
            most_calls,
            refused: None,
        }
    }

    /// The limit that was met first, if one was.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
    }

    /// Begin another call of the same sandbox: it may call the host as often as the last one, and has what
    /// memory and tables the last ones left of what it may have.
    pub fn next_call(&mut self) {
        self.calls = 0;
        self.refused = None;
    }

    /// Bytes of all its memories.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub fn most_calls(&self) -> u32 {
        self.most_calls
    }

    /// Count a call of the host. It cannot be refused here; the call is ended at the next tick, or at its end.
    pub fn count_call(&mut self) {
        self.calls = self.calls.saturating_add(1);
        if self.calls > self.most_calls {
            self.refused.get_or_insert(Refused::Calls);
        }
    }

    pub fn called_too_often(&self) -> bool {
        self.calls > self.most_calls
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.budget.give_back(self.used_bytes);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self
            .used_bytes
            .saturating_add(desired.saturating_sub(current));
        let more = used - self.used_bytes;
        if used > self.memory_bytes || !self.budget.take(more) {
            self.refused.get_or_insert(Refused::Memory);
            return Ok(false);
        }
        self.used_bytes = used;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        if elements > TABLE_ELEMENTS {
            self.refused.get_or_insert(Refused::Table);
            return Ok(false);
        }
        self.elements = elements;
        Ok(true)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Limiter {
        fn alone(memory_bytes: usize, most_calls: u32) -> Self {
            Self::new(Arc::new(Budget::new(usize::MAX)), memory_bytes, most_calls)
        }
    }

    #[test]
    fn all_of_a_build_have_one_budget() {
        let budget = Arc::new(Budget::new(150));
        let limiter = || Limiter::new(budget.clone(), 100, 10);
        let (mut one, mut two) = (limiter(), limiter());
        assert!(one.memory_growing(0, 100, None).unwrap());
        assert!(two.memory_growing(0, 50, None).unwrap());
        assert!(!two.memory_growing(50, 51, None).unwrap());
        assert_eq!(two.refused(), Some(Refused::Memory));
        drop(one);
        assert!(two.memory_growing(50, 100, None).unwrap());
        drop(two);
        let mut three = limiter();
        assert!(three.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn memories_and_tables_are_counted_together() {
        let mut limiter = Limiter::alone(100, 10);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory));

        let mut limiter = Limiter::alone(100, 10);
        let most = TABLE_ELEMENTS;
        assert!(limiter.table_growing(0, most - 1, None).unwrap());
        assert!(limiter.table_growing(0, 1, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Table));
    }

    #[test]
    fn calls_of_the_host_are_counted() {
        let mut limiter = Limiter::alone(100, 2);
        limiter.count_call();
        limiter.count_call();
        assert_eq!(limiter.refused(), None);
        limiter.count_call();
        assert!(limiter.called_too_often());
        assert_eq!(limiter.refused(), Some(Refused::Calls));
    }

    #[test]
    fn memory_is_counted_over_all_calls_of_a_sandbox() {
        let mut limiter = Limiter::alone(100, 2);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        for _ in 0..3 {
            limiter.count_call();
        }
        limiter.next_call();
        assert!(!limiter.called_too_often());
        assert_eq!(limiter.refused(), None);
        assert_eq!(limiter.used_bytes(), 60);
        assert!(!limiter.memory_growing(60, 101, None).unwrap());
        assert_eq!(limiter.refused(), Some(Refused::Memory));
    }
}
