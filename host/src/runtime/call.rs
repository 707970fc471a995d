//! One call into one build of a component: a place in its queue, a fresh store, a deadline, and one clear
//! error whatever the component does. The store is dropped with the call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use berth_bindings::engine::berth::plugin::types as wit;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::{error::Elapsed, timeout};
use tracing::Span;
use wasmtime::{Store, Trap};
use wasmtime_wasi::I32Exit;

use crate::model::{Digest, Error, Result};
use crate::trace::inner_span;

use super::capability::log::{Log, LogBudget};
use super::clocks::Clocks;
use super::convert;
use super::limiter::Refused;
use super::manifest::Manifest;
use super::on_call::{Called, Ending};
use super::sandbox::{Allowance, Limits, Sandbox, State};
use super::scope::CallScope;
use super::weigh::Shape;

/// Of what is logged about a call that was ended: names of a component's functions are in it.
const DETAIL_BYTES: usize = 8 << 10;

/// A build that can be called: what both kinds of plugins have in common.
pub(super) struct Build {
    pub digest: Digest,
    pub manifest: Manifest,
    shape: Shape,
    sandbox: Arc<Sandbox>,
    limits: Limits,
    places: Semaphore,
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
    /// A call that computes has nothing to do with the host but to log, and with the time nothing at all.
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
    build: &'a Build,
    function: &'static str,
    limit: Duration,
    begun: Instant,
    /// What was told of its end, if that came.
    ending: Option<Ending>,
    span: Span,
    pub store: Store<State>,
    // After the store, which is to be gone when others get it.
    _place: Place<'a>,
}

/// Held while the call has a sandbox: in its build, and in the pool if that makes it.
type Place<'a> = (SemaphorePermit<'a>, Option<SemaphorePermit<'a>>);

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
        Self {
            digest,
            manifest,
            shape,
            sandbox,
            limits,
            places: Semaphore::new(limits.concurrent),
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
        let place = self.place(function, limit).await?;
        let span = inner_span!(
            "plugin call",
            plugin = &*self.manifest.name,
            function,
            build = self.digest.short(),
            instance = scope.instance.map(tracing::field::display),
            key = scope.key.as_deref(),
            ending = tracing::field::Empty,
            otel.status_code = tracing::field::Empty,
        );
        let log = Log::new(
            Arc::clone(&self.manifest.name),
            scope.instance,
            scope.key.take(),
            std::mem::take(&mut scope.redactor),
            Arc::clone(&self.log),
        );
        let store = self.sandbox.store(
            self.shape,
            self.limits.memory_bytes,
            pace.allowance(),
            log,
            scope,
        );
        Ok(Call {
            build: self,
            function,
            limit,
            begun: Instant::now(),
            ending: None,
            span,
            store,
            _place: place,
        })
    }

    /// One of the build's own, and one of the pool's, which are enough for several builds whose calls all hang.
    async fn place(&self, function: &'static str, limit: Duration) -> Result<Place<'_>> {
        let pool = self.sandbox.engines.places(self.shape);
        let at_once = || {
            let own = self.places.try_acquire().ok()?;
            let pooled = pool.map(Semaphore::try_acquire).transpose().ok()?;
            Some((own, pooled))
        };
        if let Some(place) = at_once() {
            return Ok(place);
        }
        let both = async {
            let own = self.places.acquire().await?;
            let pooled = match pool {
                Some(pool) => Some(pool.acquire().await?),
                None => None,
            };
            Ok((own, pooled))
        };
        match timeout(limit, both).await {
            Ok(place) => place.map_err(|e: AcquireError| Error::internal(e)),
            Err(_) => {
                self.tell(function, Ending::Busy, limit);
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

    fn tell(&self, function: &'static str, ending: Ending, took: Duration) {
        self.sandbox.on_call.tell(&Called {
            plugin: &self.manifest.name,
            function,
            ending,
            took,
        });
    }
}

impl Call<'_> {
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What the component does stands in it.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// What the component answered, its own errors among it.
    pub fn answer<T>(mut self, outcome: Outcome<std::result::Result<T, wit::Error>>) -> Result<T> {
        match self.judged(outcome) {
            Ok(Ok(Err(error))) => {
                self.ending = Some(Ending::Error);
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
        self.ending = Some(match &outcome {
            Ok(Ok(_)) => Ending::Answered,
            Ok(Err(_)) => Ending::Broken,
            Err(_) => Ending::Late,
        });
        let (what, cause) = match outcome {
            Ok(Ok(value)) => return Ok(value),
            Err(_) => (
                format!("did not answer within {} s", self.limit.as_secs_f32()),
                None,
            ),
            Ok(Err(cause)) => (self.describe(&cause), Some(cause)),
        };
        let name = &self.build.manifest.name;
        let message = format!("the plugin `{name}` {what} (`{}`)", self.function);
        let printed = self.store.data().printed();
        let mut detail = cause.map_or_else(String::new, |cause| format!("{cause:#}"));
        if !printed.is_empty() {
            detail = format!("{detail}\nit printed: {printed}");
        }
        let detail = self.store.data().log.redactor().clean(&detail);
        let detail = &detail[..detail.floor_char_boundary(DETAIL_BYTES)];
        tracing::warn!(
            plugin = %name,
            build = self.build.digest.short(),
            function = self.function,
            detail = ?detail,
            "a call into a plugin was ended: it {what}"
        );
        Err(Error::failed(message).caused_by(detail.to_owned()))
    }

    /// One that called the host too often does not get away with it by ending before the next tick.
    fn judged<T>(&self, outcome: Outcome<T>) -> Outcome<T> {
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
                let limit = self.build.limits.memory_bytes >> 20;
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

/// Also when nobody waited for the answer.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        let ending = self.ending.unwrap_or(Ending::GivenUp);
        self.span.record("ending", ending.as_str());
        if ending != Ending::Answered {
            self.span.record("otel.status_code", "ERROR");
        }
        self.build.tell(self.function, ending, self.begun.elapsed());
    }
}

/// Run one exported function of a plugin in a sandbox of its own.
///
/// `call!(adapter.provisioning, Pace::Compute, scope, "plan", |plugin, store| plugin.call_plan(store, &spec))`
/// is `(Call, Outcome)`. What is named of the adapter are the exports to look up.
macro_rules! call {
    ($adapter:ident.$exports:ident, $pace:expr, $scope:expr, $function:literal, |$plugin:ident, $store:ident| $body:expr) => {{
        let mut call = $adapter.build.begin($function, $pace, $scope).await?;
        let (limit, span) = (call.limit(), call.span());
        let outcome = {
            let $store = &mut call.store;
            let work = async {
                let instance = $adapter.pre.instantiate_async(&mut *$store).await?;
                let $plugin = $adapter.$exports.load(&mut *$store, &instance)?;
                $body.await
            };
            tokio::time::timeout(limit, tracing::Instrument::instrument(work, span)).await
        };
        (call, outcome)
    }};
}
pub(super) use call;
