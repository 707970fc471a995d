//! Servers on this machine, each under a shim of its own that outlives the host.
//!
//! What a component asks for is checked by `process_check` and carried out by `process_shim`; here it only
//! gets off the asynchronous runtime. Never runs anything that the call's scope does not allow.

use std::time::Duration;

use berth_bindings::target::berth::plugin::{process, types};
use tracing::Instrument;

use super::given_up::GivenUp;
use super::process_check::{check_member, resolve};
pub use super::process_shim::Ended;
use super::process_shim::{self, Shims};
use crate::model::{self, Error};
use crate::runtime::scope::ProcessScope;
use crate::trace::inner_span;

/// Most bytes of a log in one answer.
const MAX_TAIL: u32 = 1 << 20;
/// When processes that should have ended are looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The process capability of one call.
#[derive(Debug, Default)]
pub struct Process {
    /// None when the call is not about an instance: it can then do nothing.
    pub scope: Option<ProcessScope>,
}

impl Process {
    /// Run blocking work on the instance's shims. Work whose caller has gone is not begun any more: what
    /// was given up must not appear after what came later.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(&Shims) -> Result<T, types::Error> + Send + 'static,
    ) -> Result<T, types::Error> {
        let scope = self
            .scope
            .clone()
            .ok_or_else(|| types::Error::Failed("this call is not about an instance".to_owned()))?;
        let given_up = GivenUp::default();
        let shims = Shims::new(scope, given_up.flag());
        let span = inner_span!("capability", of = "process", call = what);
        let inside = span.clone();
        tokio::task::spawn_blocking(move || inside.in_scope(|| work(&shims)))
            .instrument(span)
            .await
            .unwrap_or_else(|_| Err(types::Error::Failed("the work broke off".to_owned())))
    }

    async fn on_member<T: Send + 'static>(
        &self,
        what: &'static str,
        member: String,
        work: impl FnOnce(&Shims, &str) -> Result<T, types::Error> + Send + 'static,
    ) -> Result<T, types::Error> {
        check_member(&member)?;
        self.blocking(what, move |shims| work(shims, &member)).await
    }
}

/// See that nothing of an instance lives: that it was ended is never taken from a component's word alone.
pub async fn see_ended(scope: ProcessScope, ended: Ended) -> model::Result<()> {
    let living = tokio::task::spawn_blocking(move || process_shim::living(&scope, ended)).await;
    let living = living.map_err(Error::internal)?.map_err(|error| {
        let message = "whether its processes have ended cannot be told now";
        Error::retry(LOOK_AGAIN, message).caused_by(error)
    });
    match living? {
        0 => Ok(()),
        left => Err(Error::retry(
            LOOK_AGAIN,
            format!("it is said to have ended, and {left} of its processes still run"),
        )),
    }
}

impl process::Host for Process {
    async fn ensure(
        &mut self,
        member: String,
        service: process::Service,
    ) -> Result<(), types::Error> {
        self.on_member("ensure", member, move |shims, member| {
            let service = resolve(shims.scope(), member, &service)?;
            shims.ensure(member, &service)
        })
        .await
    }

    async fn start(&mut self, member: String) -> Result<(), types::Error> {
        self.on_member("start", member, Shims::start).await
    }

    async fn inspect(&mut self, member: String) -> Result<process::Status, types::Error> {
        self.on_member("inspect", member, Shims::inspect).await
    }

    async fn stop(&mut self, member: String) -> Result<(), types::Error> {
        self.on_member("stop", member, Shims::stop).await
    }

    async fn remove_all(&mut self) -> Result<(), types::Error> {
        self.blocking("remove-all", Shims::remove_all).await
    }

    async fn log_tail(&mut self, member: String, max_bytes: u32) -> Result<String, types::Error> {
        let max = max_bytes.min(MAX_TAIL) as usize;
        self.on_member("log-tail", member, move |shims, member| {
            shims.log_tail(member, max)
        })
        .await
    }
}
