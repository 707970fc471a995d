//! What is loaded: the fake engine and the fake target, unless they were taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use berth::model::plugin::{PluginKind, PluginState, PluginStatus};
use berth::model::{Digest, Error, Result};
use berth::runtime::{Engine, MissingProgram, Plugins, Target};

use super::engine::FakeEngine;
use super::target::FakeTarget;
use super::world::World;

pub struct FakePlugins {
    engine: Arc<FakeEngine>,
    target: Arc<FakeTarget>,
    loaded: AtomicBool,
}

impl FakePlugins {
    pub fn new(world: &World) -> Self {
        Self {
            engine: Arc::new(FakeEngine::new(world.clone())),
            target: Arc::new(FakeTarget::new(world.clone())),
            loaded: AtomicBool::new(true),
        }
    }

    /// Whether the plugins are there; while they are not, asking for one is `Unavailable`.
    pub fn set_loaded(&self, loaded: bool) {
        self.loaded.store(loaded, Ordering::SeqCst);
    }

    fn take<T: ?Sized>(&self, plugin: Arc<T>, is_meant: bool) -> Result<Arc<T>> {
        if !self.loaded.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the plugin is being compiled"));
        }
        if !is_meant {
            return Err(Error::not_found("there is no such plugin"));
        }
        Ok(plugin)
    }
}

impl Plugins for FakePlugins {
    fn engine(&self, name: &str) -> Result<Arc<dyn Engine>> {
        self.take(self.engine.clone(), name == self.engine.description().name)
    }

    fn engine_build(&self, digest: &Digest) -> Result<Arc<dyn Engine>> {
        self.take(self.engine.clone(), digest == self.engine.digest())
    }

    fn target(&self, name: &str) -> Result<Arc<dyn Target>> {
        self.take(self.target.clone(), name == self.target.description().name)
    }

    fn target_build(&self, digest: &Digest) -> Result<Arc<dyn Target>> {
        self.take(self.target.clone(), digest == self.target.digest())
    }

    fn engines(&self) -> Vec<Arc<dyn Engine>> {
        vec![self.engine.clone()]
    }

    fn statuses(&self) -> Vec<PluginStatus> {
        let status = |name: &str, kind, digest: &Digest| PluginStatus {
            name: name.to_owned(),
            kind: Some(kind),
            version: Some("1.0".to_owned()),
            file: format!("{name}.wasm"),
            digest: Some(digest.clone()),
            state: PluginState::Ready,
            since: jiff::Timestamp::UNIX_EPOCH,
            attempt: None,
        };
        vec![
            status(
                &self.engine.description().name,
                PluginKind::Engine,
                self.engine.digest(),
            ),
            status(
                &self.target.description().name,
                PluginKind::Target,
                self.target.digest(),
            ),
        ]
    }

    fn missing_programs(&self, _: &[String], _: &str) -> Vec<MissingProgram> {
        Vec::new()
    }
}
