//! The runtime as the rest of the host sees it.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use nix::unistd::geteuid;

use crate::model::confinement::Confinement;
use crate::model::plugin::{PluginKind, PluginStatus};
use crate::model::{Digest, Error, InstanceId, Result};

use super::builds::Builds;
use super::capability::confinement;
use super::compiled::CompiledCode;
use super::directories::{Directories, tell_if_closed};
use super::registry::{self, Plugin, Registry, Timing};
use super::sandbox::Sandbox;
use super::scope::Machine;
use super::{Engine, InUse, MissingProgram, Plugins, RuntimeConfig, Target, in_use};

/// The components that were found, and all that running them needs.
#[derive(Clone)]
pub struct Runtime {
    registry: Arc<Registry>,
}

impl Runtime {
    /// Make the directories, read the plugins folder once and begin to compile in the background. Returns without
    /// waiting for that; [`Runtime::settled`] does. Needs a tokio runtime, here and later. There are no records here
    /// that builds could be named by, so none is ever purged.
    pub async fn open(config: RuntimeConfig) -> Result<Self> {
        Self::start(config, Arc::new(in_use::Nothing), Timing::default()).await
    }

    /// The same, and look at the folder from then on: new files are loaded, changed ones swapped, and builds that
    /// nothing names any more purged.
    pub async fn watch(
        config: RuntimeConfig,
        in_use: Arc<dyn InUse>,
        timing: Timing,
    ) -> Result<Self> {
        let runtime = Self::start(config, in_use, timing).await?;
        runtime.registry.watch();
        Ok(runtime)
    }

    async fn start(config: RuntimeConfig, in_use: Arc<dyn InUse>, timing: Timing) -> Result<Self> {
        let data_dir = prepare(&config.data_dir).map_err(|e| {
            Error::unavailable(format!(
                "the data directory {} cannot be used: {e}",
                config.data_dir.display()
            ))
        })?;
        let sandbox = Sandbox::new(config.on_call, &config.limits);
        let sandbox = Arc::new(sandbox.map_err(internal)?);
        let plugins = data_dir.join("plugins");
        let compiled = CompiledCode::open(
            plugins.clone(),
            &data_dir.join("compiled.key"),
            sandbox.engines.compiler(),
        )
        .map_err(|e| Error::unavailable(format!("the key of the compiled code: {e}")))?;
        let record = plugins.join("live.json");
        let builds = Builds::new(plugins);
        builds
            .remove_unfinished()
            .map_err(|e| Error::unavailable(format!("the kept builds cannot be used: {e}")))?;
        let directories = Directories::new(&data_dir).with(config.storage);
        directories.prepare().map_err(|e| {
            Error::unavailable(format!("the instances' directories cannot be made: {e}"))
        })?;
        let mut bounds = config.bounds;
        bounds
            .hidden
            .extend(directories.closed().skip(1).map(Path::to_owned));
        let machine = Arc::new(Machine {
            directories,
            programs: Arc::new(config.programs),
            builds: Arc::new(builds),
            berth_exe: config.berth_exe,
            bounds: Arc::new(bounds),
        });
        confinement::report(&machine);
        let registry = Arc::new(Registry::new(registry::Parts {
            sandbox,
            machine,
            compiled,
            grants: config.grants,
            limits: config.limits,
            compile_threads: config.compile_threads,
            folder: config.plugins_dir,
            record,
            in_use,
            timing,
        }));
        registry.scan().await?;
        Ok(Self { registry })
    }

    /// Return once every plugin is ready or refused.
    pub async fn settled(&self) {
        self.registry.settled().await;
    }

    /// Where instances live on this machine.
    pub fn directories(&self) -> &Directories {
        &self.registry.machine.directories
    }

    fn absent(&self, kind: PluginKind, name: &str) -> Error {
        let what = match kind {
            PluginKind::Engine => "engine",
            PluginKind::Target => "infrastructure target",
        };
        if self.registry.is_expected(kind, name) {
            return Error::unavailable(format!("the {what} `{name:.64}` is being compiled"));
        }
        Error::not_found(format!("there is no {what} `{name:.64}`"))
    }
}

impl Plugins for Runtime {
    fn engine(&self, name: &str) -> Result<Arc<dyn Engine>> {
        let live = self.registry.live();
        let engine = live.engines.get(name).cloned();
        engine.ok_or_else(|| self.absent(PluginKind::Engine, name))
    }

    fn engine_build(&self, digest: &Digest) -> Result<Arc<dyn Engine>> {
        match self.registry.build(digest)? {
            Plugin::Engine(engine) => Ok(engine),
            Plugin::Target(_) => Err(Error::failed(format!(
                "the plugin build {} is not an engine",
                digest.short()
            ))),
        }
    }

    fn target(&self, name: &str) -> Result<Arc<dyn Target>> {
        let live = self.registry.live();
        let target = live.targets.get(name).cloned();
        target.ok_or_else(|| self.absent(PluginKind::Target, name))
    }

    fn target_build(&self, digest: &Digest) -> Result<Arc<dyn Target>> {
        match self.registry.build(digest)? {
            Plugin::Target(target) => Ok(target),
            Plugin::Engine(_) => Err(Error::failed(format!(
                "the plugin build {} is not an infrastructure target",
                digest.short()
            ))),
        }
    }

    fn engines(&self) -> Vec<Arc<dyn Engine>> {
        self.registry.live().engines.values().cloned().collect()
    }

    fn statuses(&self) -> Vec<PluginStatus> {
        self.registry.statuses()
    }

    fn missing_programs(&self, programs: &[String], version: &str) -> Vec<MissingProgram> {
        let here = &self.registry.machine.programs;
        let mut missing = here.missing(programs, version);
        for target in self.registry.live().targets.values() {
            for (name, version) in target.own_programs() {
                missing.extend(here.missing(&[name], &version));
            }
        }
        missing
    }

    fn check_storage(&self, class: &str) -> Result<()> {
        self.registry.machine.directories.check(class)
    }

    fn confinement(&self, instance: InstanceId) -> Vec<Confinement> {
        confinement::recorded(&self.registry.machine.directories, instance)
    }
}

/// Make the directories that the runtime keeps below the data directory, and say the latter's one true name. As root
/// the instances' own users pass through it; all that is not theirs is closed to them one by one.
fn prepare(data_dir: &Path) -> io::Result<std::path::PathBuf> {
    let root = geteuid().is_root();
    let passage = if root { 0o711 } else { 0o700 };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(passage)
        .create(data_dir)?;
    let data_dir = data_dir.canonicalize()?;
    make(&data_dir.join("plugins"), 0o700)?;
    if root {
        let mode = data_dir.metadata()?.permissions().mode();
        if mode & 0o001 == 0 {
            let open = std::fs::Permissions::from_mode(mode & 0o7777 | 0o011);
            std::fs::set_permissions(&data_dir, open)?;
        }
        if let Some(above) = data_dir.parent() {
            tell_if_closed(above);
        }
    }
    Ok(data_dir)
}

fn make(dir: &Path, mode: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // The process's mask may have taken something away.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

fn internal(e: wasmtime::Error) -> Error {
    Error::internal(format!("{e:#}"))
}
