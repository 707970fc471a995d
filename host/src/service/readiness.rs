//! Whether requests can be accepted and carried out, and if not, what is waited for.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Control;
use crate::model::Kind;
use crate::model::plugin::PluginState;

/// Anybody may ask, and each look at the store is a write: not more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the last look at the store found.
#[derive(Default)]
pub(super) struct Probed(Mutex<Option<(Instant, bool)>>);

impl Control {
    /// In plain words; empty when berth is ready.
    pub async fn waiting_for(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        if !self.store_takes_writes().await {
            waiting.push("the store, which takes no writes".to_owned());
        }
        if self.parts().driving.is_finished() {
            waiting.push(
                "the executor of operations, which has ended: berth must be restarted".to_owned(),
            );
        }
        let targets: BTreeSet<&String> = self.catalogue().regions.values().collect();
        for target in targets {
            match self.plugins().target(target) {
                Ok(_) => {}
                Err(error) if matches!(error.kind, Kind::NotFound) => {
                    waiting.push(format!("the target {target}, which no plugin provides"));
                }
                Err(error) => waiting.push(format!("the target {target}: {}", error.public())),
            }
        }
        let plugins = self.plugins().statuses();
        let compiling = plugins.iter().filter(|p| p.state == PluginState::Compiling);
        waiting
            .extend(compiling.map(|p| format!("the plugin {}, which is being compiled", p.file)));
        waiting
    }

    async fn store_takes_writes(&self) -> bool {
        let mut probed = self.0.probed.0.lock().await;
        match *probed {
            Some((at, writable)) if at.elapsed() < LOOK_EVERY => writable,
            Some(_) | None => {
                let written = self.repo().probe().await;
                // Said when it changes, not at each look.
                let before = probed.is_none_or(|(_, writable)| writable);
                match &written {
                    Err(error) if before => tracing::warn!(?error, "the store takes no writes"),
                    Ok(()) if !before => tracing::info!("the store takes writes"),
                    Ok(()) | Err(_) => {}
                }
                *probed = Some((Instant::now(), written.is_ok()));
                written.is_ok()
            }
        }
    }
}
