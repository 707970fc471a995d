//! What is loaded, and whether an instance still runs what made it.

use std::sync::Arc;

use super::Control;
use crate::model::plugin::PluginStatus;
use crate::model::{Digest, Instance};
use crate::runtime::InUse;
use crate::store::repo::Repo;
use crate::store::view::InstanceQuery;

/// The instances that are recorded, for the runtime: what it may not take away.
pub struct Recorded(pub Repo);

impl InUse for Recorded {
    fn instances(&self) -> Vec<Arc<Instance>> {
        // Without filters it leaves out none but those that are gone.
        self.0.view().list(&InstanceQuery::default()).items
    }
}

/// The builds that made an instance, beside those that would make it now.
pub struct Builds {
    pub engine: Build,
    pub target: Build,
}

pub struct Build {
    pub made_by: Digest,
    /// None when no build of it is loaded.
    pub live: Option<Digest>,
}

impl Build {
    /// A newer build is there; the instance follows when an operation plans it anew.
    pub fn drifted(&self) -> bool {
        self.live.as_ref().is_some_and(|live| *live != self.made_by)
    }
}

impl Control {
    pub fn plugin_statuses(&self) -> Vec<PluginStatus> {
        self.plugins().statuses()
    }

    pub fn builds(&self, instance: &Instance) -> Builds {
        let engine = self.plugins().engine(&instance.spec.engine).ok();
        let target = self.plugins().target(&instance.target).ok();
        Builds {
            engine: Build {
                made_by: instance.engine_digest.clone(),
                live: engine.map(|engine| engine.digest().clone()),
            },
            target: Build {
                made_by: instance.target_digest.clone(),
                live: target.map(|target| target.digest().clone()),
            },
        }
    }
}
