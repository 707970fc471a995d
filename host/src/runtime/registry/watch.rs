//! The looks at the plugins folder: the first one, and those that follow while the runtime lives. Each is one listing
//! and one `stat` per file; bytes are read only of a file that changed and is whole.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::entry::Record;
use super::swap::Candidate;
use super::{Busy, Registry, print};
use crate::model::plugin::PluginKind;
use crate::model::{Error, Result};
use crate::runtime::builds::write_whole;

impl Registry {
    /// Read the folder, and begin to load what is sound in it.
    pub async fn scan(self: &Arc<Self>) -> Result<()> {
        let registry = Arc::clone(self);
        let scanned = tokio::task::spawn_blocking(move || {
            let record = registry.read_record();
            registry.folder().remember(record);
            let sightings = match print::list(&registry.dir) {
                Ok(sightings) => sightings,
                Err(cause) => {
                    registry.say_unreadable(&cause);
                    return (None, Vec::new());
                }
            };
            let (due, gone) =
                registry
                    .folder()
                    .sight(sightings, Instant::now(), &registry.timing, true);
            let candidates = due.into_iter().filter_map(|due| registry.read(due));
            let candidates: Vec<Candidate> = candidates.collect();
            (Some(candidates), gone)
        });
        let (candidates, gone) = scanned.await.map_err(Error::internal)?;
        self.remove(gone).await;
        let Some(candidates) = candidates else {
            let busy = Busy::begin(self);
            tokio::spawn(async move {
                let files = busy.0.folder().all_before();
                for file in files {
                    busy.0.restore(&file).await;
                }
            });
            return Ok(());
        };
        for candidates in self.by_name(candidates) {
            let busy = Busy::begin(self);
            tokio::spawn(async move {
                // One after the other: of several files with one name the first that is sound counts.
                for candidate in candidates {
                    busy.0.take_up(candidate).await;
                }
            });
        }
        // Files that could not even be read.
        let busy = Busy::begin(self);
        tokio::spawn(async move {
            let files = busy.0.folder().refused_before();
            for file in files {
                busy.0.restore(&file).await;
            }
        });
        Ok(())
    }

    /// Look again and again, and purge, until nobody has this registry any more.
    pub fn watch(self: &Arc<Self>) {
        let (registry, timing) = (Arc::downgrade(self), self.timing);
        tokio::spawn(async move {
            let mut purge_at = None;
            let mut readable = true;
            loop {
                tokio::time::sleep(timing.look_every).await;
                let Some(registry) = registry.upgrade() else {
                    return;
                };
                readable = registry.look(readable).await;
                // The first purge waits for the first loads, which may yet fall back on a kept build.
                let is_due = match purge_at {
                    None => !registry.is_loading(),
                    Some(at) => Instant::now() >= at,
                };
                if is_due {
                    registry.purge().await;
                    purge_at = Some(Instant::now() + timing.purge_every);
                }
            }
        });
    }

    /// One look. Says whether the folder could be read; when not, nothing is concluded from that.
    async fn look(self: &Arc<Self>, was_readable: bool) -> bool {
        let registry = Arc::clone(self);
        let listed = tokio::task::spawn_blocking(move || print::list(&registry.dir)).await;
        let sightings = match listed {
            Ok(Ok(sightings)) => sightings,
            Ok(Err(cause)) => {
                if was_readable {
                    self.say_unreadable(&cause);
                }
                return false;
            }
            Err(cause) => {
                tracing::error!(%cause, "looking at the plugins folder ended in a defect");
                return was_readable;
            }
        };
        let (due, gone) = self
            .folder()
            .sight(sightings, Instant::now(), &self.timing, false);
        self.remove(gone).await;
        for due in due {
            let busy = Busy::begin(self);
            tokio::spawn(async move {
                let (registry, file) = (Arc::clone(&busy.0), due.file.clone());
                let read = tokio::task::spawn_blocking(move || registry.read(due)).await;
                match read {
                    Ok(Some(candidate)) => busy.0.take_up(candidate).await,
                    Ok(None) => busy.0.restore(&file).await,
                    Err(cause) => {
                        tracing::error!(%cause, file, "reading a plugin ended in a defect");
                    }
                }
            });
        }
        true
    }

    /// Candidates by kind and name, those whose files were live before the host ended first.
    fn by_name(&self, candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
        let mut groups: BTreeMap<(PluginKind, String), Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            let about = &candidate.about;
            let group = groups.entry((about.kind, about.name.clone()));
            group.or_default().push(candidate);
        }
        let folder = self.folder();
        for group in groups.values_mut() {
            group.sort_by_key(|candidate| folder.before(&candidate.due.file).is_none());
        }
        groups.into_values().collect()
    }

    /// Write down which builds are live.
    pub(super) async fn write_record(self: &Arc<Self>) {
        let registry = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let path = registry
                .record
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let record = registry.folder().record();
            let json = serde_json::to_vec_pretty(&record)?;
            write_whole(&path, &[&json])
        });
        let cause = match written.await {
            Ok(Ok(())) => return,
            Ok(Err(cause)) => cause.to_string(),
            Err(cause) => cause.to_string(),
        };
        // It is only needed at the next start, and only if a file is bad then.
        tracing::warn!(cause, "which builds are live could not be written down");
    }

    /// What the host before this one wrote down; nothing when that cannot be read.
    fn read_record(&self) -> Record {
        let path = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match std::fs::read(&*path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Record::default(),
            Ok(bytes) => bytes,
            Err(cause) => {
                tracing::warn!(%cause, "which builds were live cannot be read");
                return Record::default();
            }
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|cause| {
            tracing::warn!(%cause, "which builds were live cannot be read");
            Record::default()
        })
    }

    fn is_loading(&self) -> bool {
        *self.loading.borrow() > 0
    }

    fn say_unreadable(&self, cause: &std::io::Error) {
        tracing::warn!(folder = %self.dir.display(), %cause, "the plugins folder cannot be read; the builds that are live stay so");
    }
}
