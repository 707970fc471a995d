//! One call into one build of a component: a place in its queue, a fresh store, a deadline, and one clear
//! error whatever the component does. The store is dropped with the call, or right after its answer; but for that of a session,
//! which is kept for the next one when the call was answered; see `sessions`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_bindings::engine::berth::plugin::types as wit;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{error::Elapsed, timeout};
use tracing::Span;
use wasmtime::component::Instance;
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::model::{Digest, Error, InstanceId, Result};
use crate::trace::inner_span;

use super::capability::log::{Log, LogBudget};
use super::clocks::Clocks;
use super::convert;
use super::limiter::{Budget, Refused};
use super::manifest::Manifest;
use super::on_call::{Called, Ending};
use super::sandbox::{Allowance, Limits, Sandbox, State, go_on};
use super::scope::CallScope;
use super::sessions::{Lease, Purpose, Session};
use super::weigh::Shape;

/// Of what is logged about a call that was ended: names of a component's functions are in it.
const DETAIL_BYTES: usize = 8 << 10;

/// A build that can be called: what both kinds of plugins have in common.
pub(super) struct Build {
    pub digest: Digest,
    pub manifest: Manifest,
    /// Which of the builds that were loaded since the process began; the same one may be loaded twice.
    number: u64,
    shape: Shape,
    sandbox: Arc<Sandbox>,
    limits: Limits,
    budget: Arc<Budget>,
    places: Arc<Semaphore>,
    log: Arc<LogBudget>,
}

/// How long a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// It computes its answer.
    Compute,
    /// It talks to servers, or starts them.
    Talk,
}

impl Pace {
    /// A call that computes has nothing to do with the host but to log and to hash, and with the time nothing at all.
    fn allowance(self) -> Allowance {
        match self {
            Self::Compute => Allowance {
                clocks: Clocks::None,
                calls: 10_000,
            },
            Self::Talk => Allowance {
                clocks: Clocks::Coarse,
                calls: 1_000_000,
            },
        }
    }
}

/// A call in progress.
pub(super) struct Call<'a> {
    book: Book<'a>,
    pace: Pace,
    limit: Duration,
    pub store: Store<State>,
    /// The component in the store, once it is there.
    pub instance: Option<Instance>,
    // After the store, which is to be gone when others get them.
    lease: Option<Lease>,
    place: Place,
}

/// What is told of a call when it is over, also when nobody waited for its answer.
struct Book<'a> {
    build: &'a Build,
    function: &'static str,
    begun: Instant,
    /// How it ended, if it did.
    ending: Option<Ending>,
    memory_bytes: usize,
    span: Span,
}

/// Held while the call has a sandbox: in its build; and in the pool, if that makes it, or among the sessions.
struct Place {
    _own: OwnedSemaphorePermit,
    _pooled: Option<OwnedSemaphorePermit>,
    kept: Option<OwnedSemaphorePermit>,
}

/// How a call went: in time or not, ended or trapped.
pub(super) type Outcome<T> = std::result::Result<wasmtime::Result<T>, Elapsed>;

impl Build {
    pub fn new(
        digest: Digest,
        manifest: Manifest,
        shape: Shape,
        sandbox: Arc<Sandbox>,
        limits: Limits,
    ) -> Self {
        static LOADED: AtomicU64 = AtomicU64::new(0);
        Self {
            digest,
            manifest,
            number: LOADED.fetch_add(1, Ordering::Relaxed),
            shape,
            sandbox,
            budget: Arc::new(limits.budget()),
            limits,
            places: Arc::new(Semaphore::new(limits.concurrent)),
            log: Arc::default(),
        }
    }

    /// Wait for a place and make the store. A build whose calls all hang does not keep others waiting.
    pub async fn begin(
        &self,
        function: &'static str,
        pace: Pace,
        mut scope: CallScope,
    ) -> Result<Call<'_>> {
        let limit = match pace {
            Pace::Compute => self.limits.compute,
            Pace::Talk => self.limits.talk,
        };
        let mut lease = match scope.session.take() {
            Some(context) => {
                let purpose = Purpose {
                    build: self.number,
                    context,
                };
                self.sandbox.sessions.claim(purpose).await
            }
            None => None,
        };
        let goes_on = lease.as_ref().is_some_and(Lease::is_kept);
        let mut place = self.place(function, limit, goes_on).await?;
        let span = inner_span!(
            "plugin call",
            plugin = &*self.manifest.name,
            function,
            build = self.digest.short(),
            instance = scope.instance.map(tracing::field::display),
            key = scope.key.as_deref(),
            kept = goes_on,
            ending = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let session = lease.as_mut().and_then(Lease::take);
        let mut redactor = std::mem::take(&mut scope.redactor);
        if let Some(session) = &session {
            redactor = redactor.and(session.store.data().log.redactor());
        }
        let log = Log::new(
            Arc::clone(&self.manifest.name),
            scope.instance,
            scope.key.take(),
            redactor,
            Arc::clone(&self.log),
        );
        let (store, instance) = match session {
            Some(mut session) => {
                go_on(&mut session.store, log, scope);
                place.kept = Some(session.place);
                (session.store, Some(session.instance))
            }
            None => {
                let memory = (Arc::clone(&self.budget), self.limits.memory_bytes);
                let allowance = pace.allowance();
                let sandbox = &self.sandbox;
                let store = sandbox.store(self.shape, memory, allowance, log, scope);
                (store, None)
            }
        };
        Ok(Call {
            book: Book {
                build: self,
                function,
                begun: Instant::now(),
                ending: None,
                memory_bytes: 0,
                span,
            },
            pace,
            limit,
            store,
            instance,
            lease,
            place,
        })
    }

    /// Drop what is kept for an instance: something happens to it.
    pub fn forget(&self, instance: InstanceId) {
        self.sandbox.sessions.forget(instance);
    }

    /// One of the build's own, and one of the pool's, which are enough for several builds whose calls all hang. A
    /// session that goes on has its place already.
    async fn place(&self, function: &'static str, limit: Duration, goes_on: bool) -> Result<Place> {
        let pool = self.sandbox.engines.places(self.shape);
        let pool = pool.filter(|_| !goes_on);
        let place = |own, pooled| Place {
            _own: own,
            _pooled: pooled,
            kept: None,
        };
        let at_once = || {
            let own = Arc::clone(&self.places).try_acquire_owned().ok()?;
            let pooled = pool.cloned().map(Semaphore::try_acquire_owned);
            let pooled = pooled.transpose().ok()?;
            Some(place(own, pooled))
        };
        if let Some(place) = at_once() {
            return Ok(place);
        }
        let both = async {
            let own = Arc::clone(&self.places).acquire_owned().await?;
            let pooled = match pool {
                Some(pool) => Some(Arc::clone(pool).acquire_owned().await?),
                None => None,
            };
            Ok(place(own, pooled))
        };
        match timeout(limit, both).await {
            Ok(place) => place.map_err(|e: AcquireError| Error::internal(e)),
            Err(_) => {
                self.tell(function, Ending::Busy, limit, 0);
                Err(Error::unavailable(match self.places.available_permits() {
                    0 => format!(
                        "the plugin `{}` is busy: {} calls are in progress",
                        self.manifest.name, self.limits.concurrent
                    ),
                    _ => "the plugins are busy: too many calls are in progress".to_owned(),
                }))
            }
        }
    }

    fn tell(&self, function: &'static str, ending: Ending, took: Duration, memory_bytes: usize) {
        self.sandbox.on_call.tell(&Called {
            plugin: &self.manifest.name,
            function,
            ending,
            took,
            memory_bytes,
        });
    }
}

impl Call<'_> {
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What the component does stands in it.
    pub fn span(&self) -> Span {
        self.book.span.clone()
    }

    /// What the component answered, its own errors among it.
    pub fn answer<T>(mut self, outcome: Outcome<std::result::Result<T, wit::Error>>) -> Result<T> {
        match self.judged(outcome) {
            Ok(Ok(Err(error))) => {
                self.book.ending = Some(Ending::Error);
                Err(convert::error(error, self.store.data().log.redactor()))
            }
            Ok(Ok(Ok(value))) => self.value(Ok(Ok(value))),
            Ok(Err(cause)) => self.value(Ok(Err(cause))),
            Err(elapsed) => self.value(Err(elapsed)),
        }
    }

    /// What the component answered, where the contract knows no error.
    pub fn value<T>(mut self, outcome: Outcome<T>) -> Result<T> {
        let outcome = self.judged(outcome);
        self.book.ending = Some(match &outcome {
            Ok(Ok(_)) => Ending::Answered,
            Ok(Err(_)) => Ending::Broken,
            Err(_) => Ending::Late,
        });
        let (what, cause) = match outcome {
            Ok(Ok(value)) => {
                if let Some(rest) = self.keep() {
                    rest.end();
                }
                return Ok(value);
            }
            Err(_) => (
                format!("did not answer within {} s", self.limit.as_secs_f32()),
                None,
            ),
            Ok(Err(cause)) => (self.describe(&cause), Some(cause)),
        };
        let name = &self.book.build.manifest.name;
        let message = format!("the plugin `{name}` {what} (`{}`)", self.book.function);
        let printed = self.store.data().printed();
        let mut detail = cause.map_or_else(String::new, |cause| format!("{cause:#}"));
        if !printed.is_empty() {
            detail = format!("{detail}\nit printed: {printed}");
        }
        let detail = self.store.data().log.redactor().clean(&detail);
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES)];
        tracing::warn!(
            plugin = %name,
            build = self.book.build.digest.short(),
            function = self.book.function,
            detail = ?detail,
            "a call into a plugin was ended: it {what}"
        );
        Err(Error::failed(message).caused_by(detail.to_owned()))
    }

    /// Keep the sandbox for the next call about the same, if this one may and there is room. Otherwise this is what is left.
    fn keep(mut self) -> Option<Self> {
        let may = self.store.data().can_be_kept();
        let Some(instance) = self.instance.filter(|_| may) else {
            return Some(self);
        };
        let Some(lease) = self.lease.take() else {
            return Some(self);
        };
        let Some(place) = self.place.kept.take().or_else(|| lease.place()) else {
            return Some(self);
        };
        lease.keep(Session {
            store: self.store,
            instance,
            place,
        });
        None
    }

    /// Take the sandbox apart. After a call that talked, and so used more of it than others do, nobody waits for that; others
    /// get its place when it is done. What is large is given back before the answer: the next call may want as much.
    fn end(self) {
        let small = self.store.data().can_be_kept();
        let Self {
            pace,
            store,
            lease,
            place,
            ..
        } = self;
        // In this order.
        let rest = (store, lease, place);
        match pace {
            Pace::Talk if small => drop(tokio::spawn(async move { drop(rest) })),
            Pace::Talk | Pace::Compute => drop(rest),
        }
    }

    /// One that called the host too often does not get away with it by ending before the next tick.
    fn judged<T>(&mut self, outcome: Outcome<T>) -> Outcome<T> {
        self.book.memory_bytes = self.store.data().memory_bytes();
        match outcome {
            Ok(Ok(_)) if self.store.data().calls().1 => {
                Ok(Err(wasmtime::Error::msg("too many calls of the host")))
            }
            other => other,
        }
    }

    /// What it did, by the limit it met or the way it ended.
    fn describe(&self, cause: &wasmtime::Error) -> String {
        match self.store.data().refused() {
            Some(Refused::Memory) => {
                let limit = self.book.build.limits.memory_bytes >> 20;
                return format!("ran into its limit of {limit} MiB of memory");
            }
            Some(Refused::Table) => return "ran into its limit of table elements".to_owned(),
            Some(Refused::Calls) => {
                let (most, _) = self.store.data().calls();
                return format!("called the host more than {most} times");
            }
            None => {}
        }
        if let Some(trap) = cause.downcast_ref::<Trap>() {
            return format!("crashed: {trap}");
        }
        if cause.downcast_ref::<I32Exit>().is_some() {
            return "ended itself".to_owned();
        }
        let text = format!("{cause:#}");
        if text.contains("fuel allocated for hostcalls") {
            return "handed over more data than is allowed".to_owned();
        }
        if text.contains("resource limit exceeded") {
            return "has more modules, memories or tables than are allowed".to_owned();
        }
        "broke the rules of its sandbox".to_owned()
    }
}

impl Drop for Book<'_> {
    fn drop(&mut self) {
        let ending = self.ending.unwrap_or(Ending::GivenUp);
        self.span.record("ending", ending.as_str());
        if ending != Ending::Answered {
            self.span.record("otel.status_code", "ERROR");
        }
        let took = self.begun.elapsed();
        self.build
            .tell(self.function, ending, took, self.memory_bytes);
    }
}

/// Run one exported function of a plugin in the call's sandbox.
///
/// `call!(adapter.provisioning, Pace::Compute, scope, "plan", |plugin, store| plugin.call_plan(store, &spec))`
/// is `(Call, Outcome)`. What is named of the adapter are the exports to look up.
macro_rules! call {
    ($adapter:ident.$exports:ident, $pace:expr, $scope:expr, $function:literal, |$plugin:ident, $store:ident| $body:expr) => {{
        let mut call = $adapter.build.begin($function, $pace, $scope).await?;
        let (limit, span) = (call.limit(), call.span());
        let outcome = {
            let $store = &mut call.store;
            let instance = &mut call.instance;
            let work = async {
                let instance = match *instance {
                    Some(instance) => instance,
                    None => {
                        let made = $adapter.pre.instantiate_async(&mut *$store).await?;
                        *instance = Some(made);
                        made
                    }
                };
                let $plugin = $adapter.$exports.load(&mut *$store, &instance)?;
                $body.await
            };
            tokio::time::timeout(limit, tracing::Instrument::instrument(work, span)).await
        };
        (call, outcome)
    }};
}
pub(super) use call;
