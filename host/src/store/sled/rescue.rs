//! Frees the writer where sled forgets to.
//!
//! sled 0.34 writes a buffer in a thread of its pool. Fails that for a buffer which sled's own flusher has sealed while
//! a commit was still being put into it, the error is noted and nobody is woken (`exit_reservation` in its
//! `logger.rs`): who waits for that buffer waits for ever. But whoever flushes once the error is noted wakes all.
//! So a commit that takes long is flushed from another thread, again and again. On a disk that is only slow
//! this does nothing.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After this a commit takes long. Each flush that follows waits twice as long as the one before: a disk that
/// does not answer holds each of them up, so they shall stay few.
const LONG: Duration = Duration::from_secs(1);

/// When the commit began that sled is busy with.
#[derive(Default)]
pub(super) struct Busy(Mutex<Option<Instant>>);

impl Busy {
    /// Do what can hang.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = work();
        self.set(None);
        done
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Watches until it is dropped.
pub(super) struct Watch {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Call `flush`, each time in a thread of its own, while what `busy` tells of takes long.
    pub fn start(
        busy: Arc<Busy>,
        flush: impl Fn() + Clone + Send + 'static,
    ) -> std::io::Result<Self> {
        let (end, ended) = mpsc::channel();
        let watch = move || {
            let mut flushed = None;
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let Some(since) = busy.since() else {
                    continue;
                };
                let wait = match flushed {
                    Some((of, wait)) if of == since => wait,
                    Some(_) | None => LONG,
                };
                if since.elapsed() >= wait {
                    run(flush.clone());
                    flushed = Some((since, wait * 2));
                }
            }
        };
        let thread = std::thread::Builder::new().name("berth-store-watch".into());
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

fn run(flush: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name("berth-store-flush".into());
    if let Err(error) = thread.spawn(flush) {
        tracing::warn!("a commit takes long, and no thread could be started to flush it: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_waits_for_ever_is_freed_though_the_first_flush_is_caught_too() {
        let busy = Arc::new(Busy::default());
        let (free, freed) = mpsc::channel();
        let (release, caught) = mpsc::channel::<()>();
        let caught = Arc::new(Mutex::new(caught));
        let first = Arc::new(AtomicBool::new(true));
        let watch = Watch::start(busy.clone(), move || {
            if first.swap(false, Ordering::SeqCst) {
                let _ = caught.lock().unwrap().recv();
            } else {
                let _ = free.send(());
            }
        });
        let told = busy.during(|| freed.recv_timeout(Duration::from_secs(60)));
        assert_eq!(told, Ok(()));
        drop(release);
        drop(watch.unwrap());
    }
}
