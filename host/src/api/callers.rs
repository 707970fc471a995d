//! How much each caller may ask for: requests over time and requests at once for a key, and attempts without a good
//! key for an address. Checked before a body is read and before anything is asked of the core.
//!
//! A good key is never held up by what others do from its address, and what is remembered of strangers is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::model::access::subscriber;
use crate::model::{Error, KeyId, Result};

/// How many new strangers are remembered before those that owe nothing are forgotten.
const FORGET_EVERY: u32 = 1024;
/// The same of keys, which are fewer: also those that were revoked are forgotten by that.
const FORGET_KEYS_EVERY: u32 = 64;

#[derive(Clone, Copy, Debug)]
pub struct CallerLimits {
    /// Requests with one key.
    pub requests: Pace,
    /// Requests with one key at the same time.
    pub concurrent: usize,
    /// Requests without a good key from one address.
    pub strangers: Pace,
}

/// So many in a second over time, and so many at once after a rest.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

/// Which limit a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Met {
    Rate,
    Concurrency,
    Stranger,
}

/// Clones are the same book.
#[derive(Clone)]
pub struct Callers(Arc<Inner>);

struct Inner {
    limits: CallerLimits,
    keys: RwLock<Keys>,
    strangers: DefaultKeyedRateLimiter<IpAddr>,
    since_forgotten: AtomicU32,
    clock: DefaultClock,
}

/// Of keys that were known when they asked last.
#[derive(Default)]
struct Keys {
    known: HashMap<KeyId, Arc<OneKey>>,
    since_forgotten: u32,
}

struct OneKey {
    /// When it asked last.
    asked: Mutex<Instant>,
    pace: DefaultDirectRateLimiter,
    running: AtomicUsize,
}

/// A place among a key's concurrent requests, given back when it is dropped.
pub struct Place(Arc<OneKey>);

impl Callers {
    pub fn new(limits: CallerLimits) -> Self {
        Self(Arc::new(Inner {
            limits,
            keys: RwLock::default(),
            strangers: RateLimiter::keyed(limits.strangers.quota()),
            since_forgotten: AtomicU32::new(0),
            clock: DefaultClock::default(),
        }))
    }

    /// A request with a good key. It holds its place until it is answered.
    pub fn admit(&self, key: KeyId) -> Result<Place, (Met, Error)> {
        // First the place: what is turned away for it costs the key no request.
        let place = self.one_key(key).place(self.0.limits.concurrent);
        let place = place.ok_or_else(|| {
            let most = self.0.limits.concurrent;
            let message = format!("{most} requests with this key are under way; wait for one");
            (
                Met::Concurrency,
                Error::retry(Duration::from_secs(1), message),
            )
        })?;
        match place.0.pace.check() {
            Ok(()) => Ok(place),
            Err(early) => {
                let wait = early.wait_time_from(self.0.clock.now());
                let Pace { per_second, .. } = self.0.limits.requests;
                let message = format!(
                    "this key may make {per_second} requests per second, and has made more"
                );
                Err((Met::Rate, Error::retry(whole_seconds(wait), message)))
            }
        }
    }

    /// A request without a key, or with one that is not known.
    pub fn admit_stranger(&self, address: IpAddr) -> Result<(), (Met, Error)> {
        let inner = &self.0;
        if inner.since_forgotten.fetch_add(1, Ordering::Relaxed) >= FORGET_EVERY {
            inner.since_forgotten.store(0, Ordering::Relaxed);
            inner.strangers.retain_recent();
        }
        inner
            .strangers
            .check_key(&subscriber(address))
            .map_err(|early| {
                let wait = early.wait_time_from(inner.clock.now());
                let message = "too many requests without a known API key from this address";
                (Met::Stranger, Error::retry(whole_seconds(wait), message))
            })
    }

    /// What is remembered of the key, from its first request on until it owes nothing any more.
    fn one_key(&self, key: KeyId) -> Arc<OneKey> {
        let (now, keys) = (Instant::now(), &self.0.keys);
        let read = keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.known.get(&key) {
            known.asks(now);
            return known.clone();
        }
        drop(read);
        let requests = self.0.limits.requests;
        let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.since_forgotten += 1;
        if keys.since_forgotten >= FORGET_KEYS_EVERY {
            keys.since_forgotten = 0;
            let rest = requests.rest();
            // Nobody can come to have one meanwhile: for that the book is read.
            keys.known
                .retain(|_, key| Arc::strong_count(key) > 1 || key.asked_within(rest, now));
        }
        let fresh = || {
            Arc::new(OneKey {
                asked: Mutex::new(now),
                pace: RateLimiter::direct(requests.quota()),
                running: AtomicUsize::new(0),
            })
        };
        keys.known.entry(key).or_insert_with(fresh).clone()
    }
}

impl OneKey {
    fn asks(&self, now: Instant) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = now.max(*asked);
    }

    fn asked_within(&self, time: Duration, now: Instant) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(asked) < time
    }

    fn place(self: Arc<Self>, most: usize) -> Option<Place> {
        let one_more = |running| (running < most).then_some(running + 1);
        let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
        let taken = self.running.fetch_update(set, read, one_more);
        taken.is_ok().then(|| Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pace {
    fn quota(self) -> Quota {
        Quota::per_second(self.per_second).allow_burst(self.burst)
    }

    /// After so long nothing is left of what was asked for before.
    fn rest(self) -> Duration {
        Duration::from_secs(1) * self.burst.get() / self.per_second.get()
    }
}

impl Met {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Stranger => "stranger",
        }
    }
}

/// The address of the connection, never one that a header claims. Without a connection it is nobody's.
pub fn address_of(extensions: &Extensions) -> IpAddr {
    let info = extensions.get::<ConnectInfo<SocketAddr>>();
    info.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip())
}

/// Up, so that who waits that long is not early.
fn whole_seconds(wait: Duration) -> Duration {
    let more = u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs((wait.as_secs() + more).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    fn callers(per_second: u32, burst: u32, concurrent: usize) -> Callers {
        let pace = Pace {
            per_second: NonZeroU32::new(per_second).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        Callers::new(CallerLimits {
            requests: pace,
            concurrent,
            strangers: pace,
        })
    }

    #[test]
    fn a_key_has_its_places_and_its_pace_and_no_other_keys() {
        let callers = callers(1, 3, 2);
        let (one, other) = (KeyId::generate(), KeyId::generate());
        let first = callers.admit(one).ok().unwrap();
        let second = callers.admit(one).ok().unwrap();
        let (met, _) = callers.admit(one).err().unwrap();
        assert_eq!(met, Met::Concurrency);
        drop((first, second));
        drop(callers.admit(one).ok().unwrap());
        let (met, error) = callers.admit(one).err().unwrap();
        assert_eq!(met, Met::Rate);
        assert!(matches!(error.kind, Kind::Retry(wait) if wait == Duration::from_secs(1)));
        drop(callers.admit(other).ok().unwrap());
        for key in [one, other] {
            assert_eq!(callers.one_key(key).running.load(Ordering::Acquire), 0);
        }
    }

    #[test]
    fn keys_that_owe_nothing_are_forgotten() {
        let callers = callers(1_000_000, 2, 1);
        let busy = KeyId::generate();
        let place = callers.admit(busy).ok().unwrap();
        for _ in 0..20 * FORGET_KEYS_EVERY {
            drop(callers.admit(KeyId::generate()).ok().unwrap());
        }
        let remembered = |callers: &Callers| callers.0.keys.read().unwrap().known.len();
        assert!(remembered(&callers) <= 2 * FORGET_KEYS_EVERY as usize);
        // One whose request is under way is remembered, or it had more places than it may.
        assert_eq!(callers.admit(busy).err().unwrap().0, Met::Concurrency);
        drop(place);
        // And one that asked a moment ago, or it might ask for more.
        let slow = self::callers(1, 1_000_000, 1);
        for _ in 0..FORGET_KEYS_EVERY {
            drop(slow.admit(KeyId::generate()).ok().unwrap());
        }
        assert_eq!(remembered(&slow), FORGET_KEYS_EVERY as usize);
    }

    #[test]
    fn strangers_share_what_a_subscriber_has_and_are_forgotten() {
        let callers = callers(1_000_000, 2, 1);
        for last in [1, 2] {
            let one = IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, last]);
            callers.admit_stranger(one).ok().unwrap();
        }
        assert_eq!(callers.0.strangers.len(), 1);
        for number in 0..20 * FORGET_EVERY {
            let address = IpAddr::V4(Ipv4Addr::from_bits(number));
            callers.admit_stranger(address).ok().unwrap();
        }
        // None of them asked twice: what is left are those of the last moments.
        let remembered = callers.0.strangers.len();
        assert!(remembered <= 2 * FORGET_EVERY as usize, "{remembered}");
    }

    #[test]
    fn waiting_as_long_as_is_said_is_enough() {
        assert_eq!(whole_seconds(Duration::ZERO).as_secs(), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)).as_secs(), 2);
        assert_eq!(whole_seconds(Duration::from_secs(2)).as_secs(), 2);
    }
}
