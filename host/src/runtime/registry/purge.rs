//! Forgetting builds that nothing names any more: no instance, no open operation (which works with the builds of its
//! instance), no file that is live or being tried. One that was live is left for a while, because a creation that saw it
//! may be about to record it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Registry, Slot};
use crate::model::{Digest, Phase};

impl Registry {
    /// Remove them from the disk and from memory, and the removed plugins on which nothing depends any more from
    /// what is shown.
    pub(super) async fn purge(self: &Arc<Self>) {
        let registry = Arc::clone(self);
        let purged = tokio::task::spawn_blocking(move || registry.purge_now());
        match purged.await {
            Ok(Ok(forgotten)) => {
                if forgotten {
                    self.write_record().await;
                }
            }
            Ok(Err(cause)) => tracing::warn!(%cause, "builds that nothing needs cannot be purged"),
            Err(cause) => tracing::error!(%cause, "a purge of builds ended in a defect"),
        }
    }

    /// True when a removed plugin was forgotten. Blocks.
    fn purge_now(&self) -> std::io::Result<bool> {
        // What is recorded is read first: what was live until after that is needed by the folder's own account.
        let instances = self.in_use.instances();
        let named: HashSet<&Digest> = instances
            .iter()
            .filter(|instance| instance.phase() != Phase::Deleted)
            .flat_map(|instance| [&instance.engine_digest, &instance.target_digest])
            .collect();
        let dependents = self.dependents();
        // Locked to the end: nothing begins to be tried while its files are being removed.
        let mut folder = self.folder();
        let forgotten = folder.refresh_removed(dependents);
        let mut needed = folder.needed(Instant::now(), &self.timing);
        let mut slots = self.slot_map();
        let loading = slots.iter().filter_map(|(digest, slot)| match slot {
            Slot::Loading => Some(digest.clone()),
            Slot::Ready(_) | Slot::Refused { .. } => None,
        });
        needed.extend(loading);
        let is_needed = |digest: &Digest| needed.contains(digest) || named.contains(digest);
        slots.retain(|digest, _| is_needed(digest));
        drop(slots);
        let gone = self.machine.builds.sweep(is_needed)?;
        for digest in gone {
            tracing::info!(
                build = digest.short(),
                "a build that nothing needs was purged"
            );
        }
        Ok(forgotten)
    }
}
