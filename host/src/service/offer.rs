//! What can be had, as a dialect lists it: engines with the versions that can run here, and sizes of nodes.

use std::sync::Arc;

use super::Control;
use crate::model::plugin::{EngineDescription, EngineVersion, Stage};
use crate::runtime::Engine;

/// An engine that is installed.
#[derive(Clone)]
pub struct EngineOffer {
    engine: Arc<dyn Engine>,
    /// For each version whether its programs are on this machine.
    runs_here: Vec<bool>,
}

impl EngineOffer {
    pub fn description(&self) -> &EngineDescription {
        self.engine.description()
    }

    /// Every version, and whether one may be asked for here.
    pub fn versions(&self) -> impl Iterator<Item = (&EngineVersion, bool)> {
        let versions = self.description().versions.iter();
        versions.zip(&self.runs_here).map(|(version, runs)| {
            let offered = *runs && version.stage != Stage::Disabled;
            (version, offered)
        })
    }
}

impl Control {
    /// Engines by name.
    pub fn engine_offers(&self) -> Vec<EngineOffer> {
        let engines = self.plugins().engines().into_iter();
        let offers = engines.map(|engine| {
            let versions = engine.description().versions.iter();
            let runs_here = versions.map(|version| self.missing(version).is_empty());
            EngineOffer {
                runs_here: runs_here.collect(),
                engine: engine.clone(),
            }
        });
        offers.collect()
    }
}
