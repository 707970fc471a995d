//! Which plugins there are: found in the operator's folder, checked, kept, compiled in the background, and
//! asked what they are. The host serves meanwhile. A file that is refused changes nothing but its own status.

mod load;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use crate::model::plugin::{PluginKind, PluginState, PluginStatus};
use crate::model::{Digest, Error, Result};

use super::compiled::CompiledCode;
use super::manifest::Capability;
use super::sandbox::{Limits, Sandbox};
use super::scope::Machine;
use super::{Engine, Target};

/// How long a kept build that could not be loaded is left alone.
const REFUSAL: Duration = Duration::from_secs(10);

/// See the module's text.
pub(super) struct Registry {
    pub sandbox: Arc<Sandbox>,
    pub machine: Arc<Machine>,
    pub compiled: CompiledCode,
    pub grants: BTreeMap<String, BTreeSet<Capability>>,
    pub limits: Limits,
    pub compiling: Semaphore,
    live: ArcSwap<Live>,
    slots: Mutex<HashMap<Digest, Slot>>,
    statuses: Mutex<BTreeMap<String, PluginStatus>>,
    /// How many loads are going on.
    loading: watch::Sender<usize>,
}

/// The builds that new instances are made with, by name.
#[derive(Clone, Default)]
pub(super) struct Live {
    pub engines: BTreeMap<String, Arc<dyn Engine>>,
    pub targets: BTreeMap<String, Arc<dyn Target>>,
}

/// A build that can be called.
#[derive(Clone)]
pub(super) enum Plugin {
    Engine(Arc<dyn Engine>),
    Target(Arc<dyn Target>),
}

enum Slot {
    Loading,
    Ready(Plugin),
    Refused { reason: String, at: Instant },
}

impl Registry {
    pub fn new(
        sandbox: Arc<Sandbox>,
        machine: Arc<Machine>,
        compiled: CompiledCode,
        grants: BTreeMap<String, BTreeSet<Capability>>,
        limits: Limits,
        compile_threads: usize,
    ) -> Self {
        Self {
            sandbox,
            machine,
            compiled,
            grants,
            limits,
            compiling: Semaphore::new(compile_threads.max(1)),
            live: ArcSwap::default(),
            slots: Mutex::default(),
            statuses: Mutex::default(),
            loading: watch::Sender::new(0),
        }
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.status_map().values().cloned().collect()
    }

    /// Whether a plugin of this kind and name may be there in a moment.
    pub fn is_expected(&self, kind: PluginKind, name: &str) -> bool {
        self.status_map().values().any(|status| {
            status.state == PluginState::Compiling
                && status.name == name
                && status.kind == Some(kind)
        })
    }

    /// A build by its digest, live or kept. One that is kept is loaded when it is first asked for.
    pub fn build(self: &Arc<Self>, digest: &Digest) -> Result<Plugin> {
        let busy = || {
            Error::unavailable(format!(
                "the plugin build {} is being loaded",
                digest.short()
            ))
        };
        match self.slot_map().get(digest) {
            Some(Slot::Ready(plugin)) => return Ok(plugin.clone()),
            Some(Slot::Loading) => return Err(busy()),
            Some(Slot::Refused { reason, at }) if at.elapsed() < REFUSAL => {
                return Err(Error::unavailable(format!(
                    "the plugin build {} cannot be loaded: {reason}",
                    digest.short()
                )));
            }
            Some(Slot::Refused { .. }) | None => {}
        }
        if !self.machine.builds.is_kept(digest) {
            return Err(Error::not_found(format!(
                "the plugin build {} is not kept here",
                digest.short()
            )));
        }
        if self.begin(digest) {
            let (busy, digest) = (Busy::begin(self), digest.clone());
            tokio::spawn(async move {
                let loaded = busy.0.load_kept(digest.clone()).await;
                busy.0.end(digest, loaded.as_ref());
            });
        }
        Err(busy())
    }

    /// Return once nothing is being loaded.
    pub async fn settled(&self) {
        let mut loading = self.loading.subscribe();
        // The sender lives as long as `self`.
        let _open = loading.wait_for(|count| *count == 0).await;
    }

    /// Make a build the live one of its name, in one pointer write.
    fn publish(&self, plugin: &Plugin) {
        self.live.rcu(|live| {
            let mut live = Live::clone(live);
            match plugin {
                Plugin::Engine(engine) => {
                    let name = engine.description().name.clone();
                    live.engines.insert(name, Arc::clone(engine));
                }
                Plugin::Target(target) => {
                    let name = target.description().name.clone();
                    live.targets.insert(name, Arc::clone(target));
                }
            }
            live
        });
    }

    /// Note that a build is being loaded. False when somebody else was first.
    fn begin(&self, digest: &Digest) -> bool {
        let mut slots = self.slot_map();
        if matches!(slots.get(digest), Some(Slot::Loading | Slot::Ready(_))) {
            return false;
        }
        slots.insert(digest.clone(), Slot::Loading);
        true
    }

    fn end(&self, digest: Digest, loaded: std::result::Result<&Plugin, &String>) {
        let slot = match loaded {
            Ok(plugin) => Slot::Ready(plugin.clone()),
            Err(reason) => {
                tracing::warn!(build = digest.short(), reason, "a plugin was refused");
                Slot::Refused {
                    reason: reason.clone(),
                    at: Instant::now(),
                }
            }
        };
        self.slot_map().insert(digest, slot);
    }

    fn slot_map(&self) -> MutexGuard<'_, HashMap<Digest, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status_map(&self) -> MutexGuard<'_, BTreeMap<String, PluginStatus>> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load that is going on, for [`Registry::settled`].
struct Busy(Arc<Registry>);

impl Busy {
    fn begin(registry: &Arc<Registry>) -> Self {
        registry.loading.send_modify(|count| *count += 1);
        Self(Arc::clone(registry))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.loading.send_modify(|count| *count -= 1);
    }
}
