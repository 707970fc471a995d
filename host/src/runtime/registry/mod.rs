//! Which plugins there are: found in the operator's folder, checked, kept, compiled in the background, and
//! asked what they are. The host serves meanwhile. A file that is refused changes nothing but its own status.
//! A new build takes the place of the old one in one pointer write: calls in flight hold the old one.

mod entry;
mod folder;
#[cfg(test)]
mod folder_tests;
mod load;
mod print;
mod purge;
mod swap;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch as watch_channel};

use crate::model::plugin::{PluginKind, PluginStatus};
use crate::model::{Digest, Error, Result};

use super::compiled::CompiledCode;
use super::in_use::InUse;
use super::manifest::Capability;
use super::sandbox::{Limits, Sandbox};
use super::scope::Machine;
use super::{Engine, Target};
use folder::Folder;
use load::Unfit;

/// How long a kept build that could not be loaded is left alone.
const REFUSAL: Duration = Duration::from_secs(10);

/// How often and how patiently the plugins folder is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub look_every: Duration,
    /// A file that was not written to for so long is whole.
    pub whole_after: Duration,
    /// What was refused for a reason that may pass is tried again.
    pub retry_after: Duration,
    /// A build that was live is kept at least so long: a creation may be about to record it.
    pub kept_for: Duration,
    pub purge_every: Duration,
}

/// What a registry is made of.
pub(super) struct Parts {
    pub sandbox: Arc<Sandbox>,
    pub machine: Arc<Machine>,
    pub compiled: CompiledCode,
    pub grants: BTreeMap<String, BTreeSet<Capability>>,
    pub limits: Limits,
    pub compile_threads: usize,
    /// The operator's folder.
    pub folder: PathBuf,
    /// Where it is written down which builds were live.
    pub record: PathBuf,
    pub in_use: Arc<dyn InUse>,
    pub timing: Timing,
}

/// See the module's text.
pub(super) struct Registry {
    pub sandbox: Arc<Sandbox>,
    pub machine: Arc<Machine>,
    compiled: CompiledCode,
    grants: BTreeMap<String, BTreeSet<Capability>>,
    limits: Limits,
    compiling: Semaphore,
    dir: PathBuf,
    in_use: Arc<dyn InUse>,
    timing: Timing,
    live: ArcSwap<Live>,
    slots: Mutex<HashMap<Digest, Slot>>,
    /// Never locked while `slots` is.
    folder: Mutex<Folder>,
    /// The file of the record. Locked for a whole writing, so that the last one written is the last one made.
    record: Mutex<PathBuf>,
    /// How many loads are going on.
    loading: watch_channel::Sender<usize>,
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
    pub fn new(parts: Parts) -> Self {
        Self {
            sandbox: parts.sandbox,
            machine: parts.machine,
            compiled: parts.compiled,
            grants: parts.grants,
            limits: parts.limits,
            compiling: Semaphore::new(parts.compile_threads.max(1)),
            dir: parts.folder,
            in_use: parts.in_use,
            timing: parts.timing,
            live: ArcSwap::default(),
            slots: Mutex::default(),
            folder: Mutex::default(),
            record: Mutex::new(parts.record),
            loading: watch_channel::Sender::new(0),
        }
    }

    pub fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.folder().statuses()
    }

    /// Whether a plugin of this kind and name may be there in a moment.
    pub fn is_expected(&self, kind: PluginKind, name: &str) -> bool {
        self.folder().is_expected(kind, name)
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

    /// Take a plugin out, unless another build of it is live by now.
    fn withdraw(&self, kind: PluginKind, name: &str, digest: &Digest) {
        self.live.rcu(|live| {
            let mut live = Live::clone(live);
            match kind {
                PluginKind::Engine => {
                    if live.engines.get(name).is_some_and(|e| e.digest() == digest) {
                        live.engines.remove(name);
                    }
                }
                PluginKind::Target => {
                    if live.targets.get(name).is_some_and(|t| t.digest() == digest) {
                        live.targets.remove(name);
                    }
                }
            }
            live
        });
    }

    fn loaded(&self, digest: &Digest) -> Option<Plugin> {
        match self.slot_map().get(digest) {
            Some(Slot::Ready(plugin)) => Some(plugin.clone()),
            Some(Slot::Loading | Slot::Refused { .. }) | None => None,
        }
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

    fn end(&self, digest: Digest, loaded: std::result::Result<&Plugin, &Unfit>) {
        let slot = match loaded {
            Ok(plugin) => Slot::Ready(plugin.clone()),
            Err(Unfit { reason, .. }) => {
                tracing::warn!(
                    build = digest.short(),
                    reason,
                    "a build of a plugin cannot be loaded"
                );
                // Of two that loaded it at the same time the other may have succeeded.
                if self.loaded(&digest).is_some() {
                    return;
                }
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

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            look_every: Duration::from_millis(250),
            whole_after: Duration::from_millis(500),
            retry_after: Duration::from_secs(15),
            kept_for: Duration::from_secs(600),
            purge_every: Duration::from_secs(60),
        }
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
