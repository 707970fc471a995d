//! From a file to a plugin that can be called: every check that a component must pass.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use berth_bindings::engine::EnginePre;
use berth_bindings::target::TargetPre;
use wasmtime::component::Component;

use super::{Busy, Plugin, Registry};
use crate::model::plugin::{PluginKind, PluginState, PluginStatus};
use crate::model::{Digest, Error, Result};
use crate::runtime::builds::{BuildError, Builds};
use crate::runtime::call::Build;
use crate::runtime::capability::log::one_line;
use crate::runtime::engine_adapter::ComponentEngine;
use crate::runtime::manifest::{Capability, Manifest};
use crate::runtime::target_adapter::ComponentTarget;
use crate::runtime::weigh;

/// Bytes of a reason for refusing a file.
const REASON_BYTES: usize = 512;

/// A file of the folder whose manifest was read.
struct Found {
    file: String,
    digest: Digest,
    manifest: Manifest,
    wasm: Vec<u8>,
}

impl Registry {
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
                Err(reason) => self.refuse(file, one_line(&reason.to_string(), REASON_BYTES)),
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

    pub(super) async fn load_kept(
        self: &Arc<Self>,
        digest: Digest,
    ) -> std::result::Result<Plugin, String> {
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

    /// A plugin that can be called, or why not: names that a component made up are in the reason, so it is bounded.
    async fn load(
        self: &Arc<Self>,
        digest: Digest,
        manifest: Manifest,
        wasm: Vec<u8>,
    ) -> std::result::Result<Plugin, String> {
        let loaded = self.load_unbounded(digest, manifest, wasm).await;
        loaded.map_err(|reason| one_line(&reason, REASON_BYTES))
    }

    /// Compile a component or find its code, check what it imports and exports, and ask it what it is.
    async fn load_unbounded(
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
            weigh::check(&wasm).map_err(|e| e.to_string())?;
            registry
                .compiled
                .load(registry.sandbox.engine(), &wanted, &wasm)
                .map_err(|e| format!("it cannot be compiled: {e:#}"))
        })
        .await
        .map_err(|e| format!("compiling it was interrupted: {e}"))??;
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
