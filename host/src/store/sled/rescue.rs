//! Frees the writer where sled forgets to.
//!
//! sled 0.34 writes a buffer in a thread of its pool. Fails that for a buffer which sled's own flusher has sealed while
//! a commit was still being put into it, the error is noted and nobody is woken (`exit_reservation` in its
//! `logger.rs`): who waits for that buffer waits for ever. But whoever flushes once the error is noted wakes all.
//! So what takes long is flushed from another thread, again and again. On a disk that is only slow this writes no more
//! than sled would have by itself a moment later.
//!
//! A flush of these can be caught as well. So one flushes on until none is out, and no commit begins before: sled does
//! not let a batch in while somebody flushes, nor a flush while a batch waits to be let in.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After this a commit takes long. Each flush that follows waits twice as long as the one before, up to the most: a disk
/// that does not answer holds each of them up, so they shall stay few.
const LONG: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// What sled is busy with.
#[derive(Default)]
pub(super) struct Busy {
    state: Mutex<State>,
    none_out: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// When that began which can hang.
    since: Option<Instant>,
    /// Flushes of the watch that have not come back.
    out: usize,
}

impl Busy {
    /// Do what can hang, once no flush is out.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let mut state = self.state();
        while state.out > 0 {
            let woken = self.none_out.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.since = Some(Instant::now());
        drop(state);
        let done = work();
        self.state().since = None;
        done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A flush that is out, until it is dropped.
struct Out(Arc<Busy>);

impl Out {
    fn of(busy: &Arc<Busy>) -> Self {
        busy.state().out += 1;
        Self(busy.clone())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.out -= 1;
        if state.out == 0 {
            self.0.none_out.notify_all();
        }
    }
}

/// Watches until it is dropped.
pub(super) struct Watch {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Flush, each time in a thread of its own, while what `busy` tells of takes long. `handle` answers what is flushed;
    /// it is kept for as long as a flush is out, and for no longer.
    pub fn start<H, F>(busy: Arc<Busy>, handle: H) -> std::io::Result<Self>
    where
        H: Fn() -> Option<F> + Send + 'static,
        F: FnOnce() + Clone + Send + 'static,
    {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            let mut kept = None;
            let mut last: Option<Instant> = None;
            let mut wait = LONG;
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let State { since, out } = *busy.state();
                if since.is_none() && out == 0 {
                    (kept, last, wait) = (None, None, LONG);
                    continue;
                }
                let is_long = since.is_none_or(|since| since.elapsed() >= LONG);
                if !is_long || last.is_some_and(|last| last.elapsed() < wait) {
                    continue;
                }
                kept = kept.or_else(&handle);
                if let Some(flush) = kept.clone() {
                    run(flush, Out::of(&busy));
                    wait = last.map_or(LONG, |_| LONGEST.min(wait * 2));
                    last = Some(Instant::now());
                }
            }
        };
        let thread = Builder::new().name("berth-store-watch".into());
        Ok(Self {
            thread: Some(thread.spawn(watch)?),
            end: Some(end),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the watch over the store ended in a panic");
        }
    }
}

fn run(flush: impl FnOnce() + Send + 'static, out: Out) {
    let thread = Builder::new().name("berth-store-flush".into());
    let started = thread.spawn(move || {
        flush();
        drop(out);
    });
    if let Err(error) = started {
        tracing::warn!("a commit takes long, and no thread could be started to flush it: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// As sled does it: whoever flushes after the first is caught, and the next one frees all.
    #[derive(Default)]
    struct Disk {
        flushes: AtomicUsize,
        freed: Mutex<bool>,
        woken: Condvar,
    }

    impl Disk {
        fn flush(&self) {
            if self.flushes.fetch_add(1, Ordering::SeqCst) == 0 {
                self.wait();
            } else {
                *self.freed.lock().unwrap() = true;
                self.woken.notify_all();
            }
        }

        fn wait(&self) {
            let freed = self.freed.lock().unwrap();
            let waited = self
                .woken
                .wait_timeout_while(freed, PATIENCE, |freed| !*freed);
            assert!(*waited.unwrap().0, "nobody freed it");
        }
    }

    fn watched(disk: &Arc<Disk>) -> (Arc<Busy>, Watch) {
        let busy = Arc::new(Busy::default());
        let disk = disk.clone();
        let handle = move || {
            let disk = disk.clone();
            Some(move || disk.flush())
        };
        let watch = Watch::start(busy.clone(), handle).unwrap();
        (busy, watch)
    }

    #[test]
    fn who_waits_for_ever_is_freed_though_the_first_flush_is_caught_too() {
        let disk = Arc::new(Disk::default());
        let (busy, _watch) = watched(&disk);
        busy.during(|| disk.wait());
    }

    #[test]
    fn a_flush_that_is_caught_after_the_commit_is_freed_and_the_next_commit_waits_for_it() {
        let disk = Arc::new(Disk::default());
        let (busy, _watch) = watched(&disk);
        // A commit that takes long and ends by itself, while the flush for it is caught.
        busy.during(|| {
            let began = Instant::now();
            while disk.flushes.load(Ordering::SeqCst) == 0 {
                assert!(began.elapsed() < PATIENCE, "nobody flushed");
                std::thread::yield_now();
            }
        });
        let freed = busy.during(|| *disk.freed.lock().unwrap());
        assert!(freed, "it began while a flush was out");
    }
}
