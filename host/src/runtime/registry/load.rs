//! From a component's bytes to a plugin that can be called: what every build must pass, live or kept.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use berth_bindings::engine::EnginePre;
use berth_bindings::target::TargetPre;
use futures::FutureExt;
use wasmtime::component::Component;

use super::folder::Refusal;
use super::{Plugin, Registry};
use crate::model::plugin::PluginKind;
use crate::model::{Digest, Error};
use crate::runtime::abilities::Exported;
use crate::runtime::builds::BuildError;
use crate::runtime::call::Build;
use crate::runtime::capability::log::one_line;
use crate::runtime::compiled::Source;
use crate::runtime::engine_adapter::ComponentEngine;
use crate::runtime::manifest::{Capability, Manifest};
use crate::runtime::target_adapter::ComponentTarget;
use crate::runtime::weigh;

/// Bytes of a reason for refusing a file.
const REASON_BYTES: usize = 512;

/// Why a build cannot be called.
pub(super) struct Unfit {
    pub reason: String,
    /// It says nothing of the build: it may be otherwise the next time.
    this_time: bool,
}

impl Unfit {
    /// It lies in the build.
    fn always(reason: impl Into<String>) -> Self {
        Self {
            reason: one_line(&reason.into(), REASON_BYTES),
            this_time: false,
        }
    }

    fn this_time(reason: impl Into<String>) -> Self {
        Self {
            this_time: true,
            ..Self::always(reason)
        }
    }

    /// Berth's own, which nobody else is to read: it may lie in what the build does, or not.
    fn defect(build: &Digest, cause: &dyn Display) -> Self {
        tracing::error!(build = build.short(), %cause, "loading a plugin ended in a defect");
        Self::this_time("loading it ended in a defect of berth's")
    }
}

/// Load a build, whatever becomes of it: nobody else may load it until this one has ended.
async fn sound<T>(
    digest: &Digest,
    loading: impl Future<Output = std::result::Result<T, Unfit>>,
) -> std::result::Result<T, Unfit> {
    let loaded = AssertUnwindSafe(loading).catch_unwind().await;
    loaded.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Unfit::defect(digest, &text.unwrap_or("a panic")))
    })
}

impl From<String> for Unfit {
    fn from(reason: String) -> Self {
        Self::always(reason)
    }
}

/// What the build answered, or did not.
impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        let reason = error.public().to_owned();
        if error.is_retryable() {
            Self::this_time(reason)
        } else {
            Self::always(reason)
        }
    }
}

impl From<Unfit> for Refusal {
    fn from(unfit: Unfit) -> Self {
        if unfit.this_time {
            Self::this_time(unfit.reason)
        } else {
            Self::last(unfit.reason)
        }
    }
}

impl Registry {
    /// A build for a file that is to become live: the loaded one if there is one. Says where its code came from.
    pub(super) async fn obtain(
        self: &Arc<Self>,
        digest: &Digest,
        manifest: Manifest,
        wasm: Arc<[u8]>,
    ) -> std::result::Result<(Plugin, Source), Unfit> {
        if let Some(plugin) = self.loaded(digest) {
            return Ok((plugin, Source::Memory));
        }
        self.begin(digest);
        let loaded = sound(digest, self.load(digest.clone(), manifest, wasm)).await;
        self.end(digest.clone(), loaded.as_ref().map(|(plugin, _)| plugin));
        loaded
    }

    pub(super) async fn load_kept(
        self: &Arc<Self>,
        digest: Digest,
    ) -> std::result::Result<Plugin, Unfit> {
        let (registry, wanted) = (Arc::clone(self), digest.clone());
        let loading = async {
            let (manifest, wasm) = tokio::task::spawn_blocking(move || {
                let wasm = registry.machine.builds.read(&wanted)?;
                Ok::<_, BuildError>((Manifest::of_component(&wasm)?, wasm))
            })
            .await
            .map_err(|e| Unfit::defect(&digest, &e))?
            .map_err(|e| Unfit::this_time(e.to_string()))?;
            let loaded = self.load(digest.clone(), manifest, wasm.into()).await;
            loaded.map(|(plugin, _)| plugin)
        };
        sound(&digest, loading).await
    }

    /// Compile a component or find its code, check what it imports and exports, and ask it what it is.
    async fn load(
        self: &Arc<Self>,
        digest: Digest,
        manifest: Manifest,
        wasm: Arc<[u8]>,
    ) -> std::result::Result<(Plugin, Source), Unfit> {
        let started = Instant::now();
        let one_of_few = self.compiling.acquire().await;
        let one_of_few = one_of_few.map_err(|e| Unfit::this_time(e.to_string()))?;
        self.machine.builds.learn(&digest, &manifest);
        let (registry, wanted, build) = (Arc::clone(self), digest.clone(), digest.clone());
        let (shape, component, source) = tokio::task::spawn_blocking(move || {
            let shape = weigh::check(&wasm).map_err(|e| e.to_string())?;
            let engine = registry.sandbox.engines.of(shape);
            let loaded = registry.compiled.load(engine, &wanted, &wasm);
            let (component, source) =
                loaded.map_err(|e| format!("it cannot be compiled: {e:#}"))?;
            Ok::<_, String>((shape, component, source))
        })
        .await
        .map_err(|e| Unfit::defect(&build, &e))??;
        // Others need not wait for what this one answers, and how long it takes for that.
        drop(one_of_few);
        let granted = self.granted(&manifest);
        self.check_imports(&component, &manifest, &granted)?;
        let linked = self
            .sandbox
            .linker(shape, &granted)
            .and_then(|linker| linker.instantiate_pre(&component))
            .map_err(|e| format!("it imports what it cannot have: {e:#}"))?;
        let kind = manifest.kind;
        let (name, short) = (Arc::clone(&manifest.name), digest.short().to_owned());
        let build = Build::new(
            digest,
            manifest,
            shape,
            Arc::clone(&self.sandbox),
            self.limits,
        );
        let incomplete = |e| format!("it does not export what its kind must: {e:#}");
        let plugin = match kind {
            PluginKind::Engine => {
                let exported = Exported::find(&component, &linked)?;
                let pre = EnginePre::new(linked).map_err(incomplete)?;
                let directories = self.machine.directories.clone();
                let engine = ComponentEngine::load(build, pre, exported, directories);
                Plugin::Engine(Arc::new(engine.await?))
            }
            PluginKind::Target => {
                let pre = TargetPre::new(linked).map_err(incomplete)?;
                let target = ComponentTarget::load(build, pre, Arc::clone(&self.machine));
                Plugin::Target(Arc::new(target.await?))
            }
        };
        tracing::debug!(plugin = &*name, build = short, ?source, took = ?started.elapsed(), "a plugin was loaded");
        Ok((plugin, source))
    }

    /// What the manifest asks for and the operator allows.
    fn granted(&self, manifest: &Manifest) -> BTreeSet<Capability> {
        self.grants
            .get(&*manifest.name)
            .map(|allowed| allowed & &manifest.capabilities)
            .unwrap_or_default()
    }

    /// Say which capability the manifest asks for without its being granted, used or not: what a new build may
    /// not have, it may not be given later because nobody looked.
    pub(super) fn check_capabilities(
        &self,
        manifest: &Manifest,
    ) -> std::result::Result<(), String> {
        let granted = self.granted(manifest);
        match manifest.capabilities.difference(&granted).next() {
            None => Ok(()),
            Some(capability) => Err(format!(
                "it asks for the capability `{}`, which the operator's configuration does not grant to `{}`",
                capability.as_str(),
                manifest.name
            )),
        }
    }

    /// Say in plain words what is imported without being granted. The linker would not have it either.
    fn check_imports(
        &self,
        component: &Component,
        manifest: &Manifest,
        granted: &BTreeSet<Capability>,
    ) -> std::result::Result<(), String> {
        for (import, _) in component.component_type().imports(component.engine()) {
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
}
