//! Which plugins there are: found in the operator's folder, checked, kept, compiled in the background, and
//! asked what they are. The host serves meanwhile. A file that is refused changes nothing but its own status.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use berth_bindings::engine::EnginePre;
use berth_bindings::target::TargetPre;
use tokio::sync::{Semaphore, watch};
use wasmtime::component::Component;

use crate::model::plugin::{PluginKind, PluginState, PluginStatus};
use crate::model::{Digest, Error, Result};

use super::builds::{BuildError, Builds};
use super::call::Build;
use super::compiled::CompiledCode;
use super::engine_adapter::ComponentEngine;
use super::manifest::{Capability, Manifest};
use super::sandbox::{Limits, Sandbox};
use super::scope::Machine;
use super::target_adapter::ComponentTarget;
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

/// A file of the folder whose manifest was read.
struct Found {
    file: String,
    digest: Digest,
    manifest: Manifest,
    wasm: Vec<u8>,
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

    /// Read the folder, and begin to load what is sound in it.
    pub async fn scan(self: &Arc<Self>, folder: PathBuf) -> Result<()> {
        let registry = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || registry.find(&folder))
            .await
            .map_err(Error::internal)?;
        for candidates in found {
            let busy = Busy::begin(self);
            tokio::spawn(async move { busy.0.load_first_sound(candidates).await });
        }
        Ok(())
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

    /// Files of the folder that say they are plugins, by kind and name, in the order of their names. Those that
    /// cannot be taken get their status here.
    fn find(&self, folder: &Path) -> Vec<Vec<Found>> {
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "wasm"))
                .collect(),
            Err(e) => {
                tracing::warn!(folder = %folder.display(), cause = %e, "the plugins folder cannot be read");
                return Vec::new();
            }
        };
        files.sort();
        let mut found: BTreeMap<(PluginKind, Arc<str>), Vec<Found>> = BTreeMap::new();
        for path in files {
            let file = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            match self.take(&path, &file) {
                Ok(plugin) => {
                    self.status_map().insert(file, status(&plugin));
                    let Manifest { kind, name, .. } = &plugin.manifest;
                    found
                        .entry((*kind, Arc::clone(name)))
                        .or_default()
                        .push(plugin);
                }
                Err(reason) => self.refuse(file, reason.to_string()),
            }
        }
        found.into_values().collect()
    }

    /// Of several files with one name the first that is sound counts: a bad one must not displace a good one.
    async fn load_first_sound(self: &Arc<Self>, candidates: Vec<Found>) {
        let mut taken: Option<String> = None;
        for found in candidates {
            let state = match &taken {
                Some(other) => PluginState::Refused(format!(
                    "the file {other} has a plugin with the same name"
                )),
                None => {
                    let digest = found.digest.clone();
                    self.begin(&digest);
                    let loaded = self.load(found.digest, found.manifest, found.wasm).await;
                    self.end(digest, loaded.as_ref());
                    match loaded {
                        Ok(plugin) => {
                            self.publish(&plugin);
                            taken = Some(found.file.clone());
                            PluginState::Ready
                        }
                        Err(reason) => PluginState::Refused(reason),
                    }
                }
            };
            self.set_state(&found.file, state);
        }
    }

    /// Read a file and keep it, if it says that it is a plugin.
    fn take(&self, path: &Path, file: &str) -> std::result::Result<Found, BuildError> {
        let wasm = Builds::read_file(path)?;
        let manifest = Manifest::of_component(&wasm)?;
        let digest = Builds::digest_of(&wasm);
        self.machine.builds.keep(&digest, &wasm)?;
        Ok(Found {
            file: file.to_owned(),
            digest,
            manifest,
            wasm,
        })
    }

    async fn load_kept(self: &Arc<Self>, digest: Digest) -> std::result::Result<Plugin, String> {
        let (registry, wanted) = (Arc::clone(self), digest.clone());
        let (manifest, wasm) = tokio::task::spawn_blocking(move || {
            let wasm = registry.machine.builds.read(&wanted)?;
            Ok::<_, BuildError>((Manifest::of_component(&wasm)?, wasm))
        })
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
        self.load(digest, manifest, wasm).await
    }

    /// Compile a component or find its code, check what it imports and exports, and ask it what it is.
    async fn load(
        self: &Arc<Self>,
        digest: Digest,
        manifest: Manifest,
        wasm: Vec<u8>,
    ) -> std::result::Result<Plugin, String> {
        let started = Instant::now();
        let _one_of_few = self.compiling.acquire().await.map_err(|e| e.to_string())?;
        self.machine.builds.learn(&digest, &manifest);
        let (registry, wanted) = (Arc::clone(self), digest.clone());
        let component = tokio::task::spawn_blocking(move || {
            registry
                .compiled
                .load(registry.sandbox.engine(), &wanted, &wasm)
        })
        .await
        .map_err(|e| format!("compiling it was interrupted: {e}"))?
        .map_err(|e| format!("it cannot be compiled: {e:#}"))?;
        let granted = self.granted(&manifest);
        self.check_imports(&component, &manifest, &granted)?;
        let linked = self
            .sandbox
            .linker(&granted)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|e| format!("it imports what it cannot have: {e:#}"))?;
        let kind = manifest.kind;
        let (name, short) = (Arc::clone(&manifest.name), digest.short().to_owned());
        let build = Build::new(digest, manifest, Arc::clone(&self.sandbox), self.limits);
        let incomplete = |e| format!("it does not export what its kind must: {e:#}");
        let unsound = |e: Error| e.public().to_owned();
        let plugin = match kind {
            PluginKind::Engine => {
                let pre = EnginePre::new(linked).map_err(incomplete)?;
                let directories = self.machine.directories.clone();
                let engine = ComponentEngine::load(build, pre, directories);
                Plugin::Engine(Arc::new(engine.await.map_err(unsound)?))
            }
            PluginKind::Target => {
                let pre = TargetPre::new(linked).map_err(incomplete)?;
                let target = ComponentTarget::load(build, pre, Arc::clone(&self.machine));
                Plugin::Target(Arc::new(target.await.map_err(unsound)?))
            }
        };
        tracing::info!(plugin = &*name, build = short, took = ?started.elapsed(), "a plugin was loaded");
        Ok(plugin)
    }

    /// What the manifest asks for and the operator allows.
    fn granted(&self, manifest: &Manifest) -> BTreeSet<Capability> {
        self.grants
            .get(&*manifest.name)
            .map(|allowed| allowed & &manifest.capabilities)
            .unwrap_or_default()
    }

    /// Say in plain words what is imported without being granted. The linker would not have it either.
    fn check_imports(
        &self,
        component: &Component,
        manifest: &Manifest,
        granted: &BTreeSet<Capability>,
    ) -> std::result::Result<(), String> {
        for (import, _) in component.component_type().imports(self.sandbox.engine()) {
            let name = import.split('@').next().unwrap_or(import);
            let capability = match name {
                "berth:plugin/process" => Capability::Process,
                "berth:plugin/files" => Capability::Files,
                _ => continue,
            };
            if granted.contains(&capability) {
                continue;
            }
            return Err(if manifest.capabilities.contains(&capability) {
                format!(
                    "it asks for `{name}`, which the operator's configuration does not grant to `{}`",
                    manifest.name
                )
            } else {
                format!("it imports `{name}`, which its manifest does not ask for")
            });
        }
        Ok(())
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

    fn refuse(&self, file: String, reason: String) {
        tracing::warn!(file, reason, "a file in the plugins folder was refused");
        let status = PluginStatus {
            name: file.trim_end_matches(".wasm").to_owned(),
            kind: None,
            file: file.clone(),
            digest: None,
            state: PluginState::Refused(reason),
        };
        self.status_map().insert(file, status);
    }

    fn set_state(&self, file: &str, state: PluginState) {
        if let Some(status) = self.status_map().get_mut(file) {
            status.state = state;
        }
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

fn status(found: &Found) -> PluginStatus {
    PluginStatus {
        name: found.manifest.name.to_string(),
        kind: Some(found.manifest.kind),
        file: found.file.clone(),
        digest: Some(found.digest.clone()),
        state: PluginState::Compiling,
    }
}
