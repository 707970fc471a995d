//! From a file of the plugins folder to the live build of a plugin: compiled and checked beside the old one, then
//! published in its place. Whatever is wrong with the new one, the old one stays.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::entry::About;
use super::folder::{Accepted, Due, Refusal, Verdict};
use super::print::Print;
use super::{Plugin, Registry};
use crate::model::plugin::PluginKind;
use crate::model::{Digest, Instance, Phase};
use crate::runtime::builds::{BuildError, Builds};
use crate::runtime::compiled::Source;
use crate::runtime::manifest::Manifest;

/// How many names of instances a reason gives.
const NAMES: usize = 5;

/// A file's content, with its manifest.
pub(super) struct Candidate {
    pub due: Due,
    pub about: About,
    manifest: Manifest,
    wasm: Arc<[u8]>,
    /// When its bytes were there.
    read_at: Instant,
}

type Checked<T> = std::result::Result<T, Refusal>;

impl Registry {
    /// Read a due file. Blocks. None when there is nothing more to be done about it.
    pub(super) fn read(&self, due: Due) -> Option<Candidate> {
        let (manifest, wasm, digest) = match read_whole(&due) {
            Ok(Some(read)) => read,
            Ok(None) => {
                // The next look finds another file, and begins anew.
                self.let_go(&due);
                return None;
            }
            Err(refusal) => {
                self.refuse(&due, None, &refusal);
                return None;
            }
        };
        let about = About {
            kind: manifest.kind,
            name: manifest.name.to_string(),
            version: manifest.version.clone(),
            digest,
        };
        let verdict = self.folder().found(&due, &about, Timestamp::now());
        match verdict {
            Ok(Verdict::Try) => Some(Candidate {
                due,
                about,
                manifest,
                wasm: wasm.into(),
                read_at: Instant::now(),
            }),
            Ok(Verdict::Known) => {
                self.let_go(&due);
                None
            }
            Err(refusal) => {
                self.refuse(&due, Some(about), &refusal);
                None
            }
        }
    }

    /// Make a candidate live, or say why not.
    pub(super) async fn take_up(self: &Arc<Self>, candidate: Candidate) {
        let (due, about) = (candidate.due.clone(), candidate.about.clone());
        // A defect of ours must not leave the file in the hands of nobody.
        let registry = Arc::clone(self);
        let considered = tokio::spawn(async move { registry.consider(candidate).await }).await;
        let considered = considered.unwrap_or_else(|defect| {
            tracing::error!(file = due.file, %defect, "taking up a plugin ended in a defect");
            Err(Refusal::this_time(
                "taking it up ended in a defect of berth's",
            ))
        });
        match considered {
            Ok(()) => self.let_go(&due),
            Err(refusal) => {
                self.refuse(&due, Some(about), &refusal);
                self.restore(&due.file).await;
            }
        }
    }

    async fn consider(self: &Arc<Self>, candidate: Candidate) -> Checked<()> {
        let Candidate {
            due,
            about,
            manifest,
            wasm,
            read_at,
        } = candidate;
        self.check_capabilities(&manifest).map_err(Refusal::last)?;
        let (plugin, source) = self
            .obtain(&about.digest, manifest, Arc::clone(&wasm))
            .await?;
        self.check_versions(&plugin)?;
        // Before it is live: what is created with it must find it again.
        let (builds, digest) = (Arc::clone(&self.machine.builds), about.digest.clone());
        tokio::task::spawn_blocking(move || builds.keep(&digest, &wasm))
            .await
            .map_err(|e| Refusal::passing(e.to_string()))?
            .map_err(|e| Refusal::passing(format!("it cannot be kept: {e}")))?;
        if let Some(before) = self.make_live(&due, &about, &plugin)? {
            say(&due, &about, before.as_ref(), source, read_at);
            self.write_record().await;
        }
        Ok(())
    }

    /// The one moment from which on it is the live build. None when the file has changed since.
    fn make_live(
        &self,
        due: &Due,
        about: &About,
        plugin: &Plugin,
    ) -> Checked<Option<Option<Digest>>> {
        let mut folder = self.folder();
        match folder.accept(due, about, Instant::now())? {
            Accepted::Live { before } => {
                // Under the folder's lock, so that what is shown and what is live never part.
                self.publish(plugin);
                Ok(Some(before))
            }
            Accepted::Superseded => {
                tracing::info!(
                    file = due.file,
                    build = about.digest.short(),
                    "a build was overtaken by a newer one"
                );
                Ok(None)
            }
        }
    }

    /// An engine must know the versions of the instances that it will have to live with.
    fn check_versions(&self, plugin: &Plugin) -> Checked<()> {
        let Plugin::Engine(engine) = plugin else {
            return Ok(());
        };
        let described = engine.description();
        let instances = self.in_use.instances();
        let lost = |instance: &&Arc<Instance>| {
            let stays = !matches!(
                instance.phase(),
                Phase::Deleting | Phase::Deleted | Phase::Failed
            );
            let known = |label: &String| *label == instance.spec.version;
            stays
                && instance.spec.engine == described.name
                && !described.versions.iter().any(|v| known(&v.label))
        };
        let lost: Vec<&Arc<Instance>> = instances.iter().filter(lost).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let versions: BTreeSet<&str> = lost.iter().map(|i| i.spec.version.as_str()).collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        Err(Refusal::passing(format!(
            "it does not know version {}, which {} {}",
            versions.join(", "),
            names(&lost),
            if lost.len() == 1 { "has" } else { "have" }
        )))
    }

    /// What depends on a plugin, in words; empty when nothing does.
    pub(super) fn dependents(&self) -> impl Fn(&About) -> String + use<> {
        let instances = self.in_use.instances();
        move |about| {
            let depends = |instance: &&Arc<Instance>| {
                instance.phase() != Phase::Deleted
                    && match about.kind {
                        PluginKind::Engine => instance.spec.engine == about.name,
                        PluginKind::Target => instance.target == about.name,
                    }
            };
            let dependents: Vec<&Arc<Instance>> = instances.iter().filter(depends).collect();
            if dependents.is_empty() {
                return String::new();
            }
            format!(
                "its file is gone; {} {} on it and {} served by the builds that are kept, and no new ones are made",
                names(&dependents),
                if dependents.len() == 1 {
                    "depends"
                } else {
                    "depend"
                },
                if dependents.len() == 1 { "is" } else { "are" },
            )
        }
    }

    /// Take the plugins of files that are gone out of what new instances can be made with.
    pub(super) async fn remove(self: &Arc<Self>, files: Vec<String>) {
        if files.is_empty() {
            return;
        }
        let dependents = self.dependents();
        for file in files {
            let mut folder = self.folder();
            let Some(about) = folder.remove(&file, &dependents) else {
                continue;
            };
            self.withdraw(about.kind, &about.name, &about.digest);
            drop(folder);
            let depends = dependents(&about);
            tracing::info!(
                plugin = about.name,
                build = about.digest.short(),
                file,
                depends,
                "a plugin was removed"
            );
        }
        self.write_record().await;
    }

    /// Have the build that was live when the host ended again, when its file has nothing that can be taken.
    pub(super) async fn restore(self: &Arc<Self>, file: &str) {
        let Some(about) = self.folder().before(file) else {
            return;
        };
        let loaded = match self.loaded(&about.digest) {
            Some(plugin) => Ok(plugin),
            None => {
                self.begin(&about.digest);
                let loaded = self.load_kept(about.digest.clone()).await;
                self.end(about.digest.clone(), loaded.as_ref());
                loaded
            }
        };
        let mut folder = self.folder();
        if !folder.restored(file, &about, loaded.is_ok()) {
            return;
        }
        if let Ok(plugin) = loaded {
            self.publish(&plugin);
            tracing::warn!(
                plugin = about.name,
                build = about.digest.short(),
                file,
                "the build that was live before is so again: there is no better one in its file"
            );
        }
    }

    /// Nothing more is to be done about the file as it is.
    fn let_go(&self, due: &Due) {
        let (now, timing) = (Instant::now(), &self.timing);
        self.folder().done(due, None, None, now, timing);
    }

    fn refuse(&self, due: &Due, about: Option<About>, refusal: &Refusal) {
        let build = about.as_ref().map(|about| about.digest.short().to_owned());
        let (now, timing) = (Instant::now(), &self.timing);
        let is_news = self.folder().done(due, about, Some(refusal), now, timing);
        if is_news {
            tracing::warn!(
                file = due.file,
                build,
                reason = refusal.reason,
                "a file in the plugins folder was refused"
            );
        }
    }
}

/// A file's bytes and what they say they are; none when it is not the file any more that was looked at.
fn read_whole(due: &Due) -> Checked<Option<(Manifest, Vec<u8>, Digest)>> {
    let unreadable = |e: BuildError| Refusal::passing(e.to_string());
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let is_file = std::fs::metadata(&due.path).map(|metadata| metadata.is_file());
    if !is_file.map_err(|e| unreadable(e.into()))? {
        return Err(Refusal::last(BuildError::NotAFile.to_string()));
    }
    let file = File::open(&due.path).map_err(|e| unreadable(e.into()))?;
    let wasm = Builds::read_open(&file).map_err(unreadable)?;
    let print = file.metadata().map(|metadata| Print::of(&metadata));
    if print.map_err(|e| unreadable(e.into()))? != due.print {
        return Ok(None);
    }
    let manifest = Manifest::of_component(&wasm).map_err(|e| Refusal::last(e.to_string()))?;
    let digest = Builds::digest_of(&wasm);
    Ok(Some((manifest, wasm, digest)))
}

fn say(due: &Due, about: &About, before: Option<&Digest>, source: Source, read_at: Instant) {
    let (file, plugin, version) = (&due.file, &about.name, &about.version);
    let (build, took) = (about.digest.short(), read_at.elapsed());
    match before {
        Some(before) => {
            let before = before.short();
            tracing::info!(plugin, version, file, build, before, code = ?source, ?took, "a plugin was swapped");
        }
        None => {
            tracing::info!(plugin, version, file, build, code = ?source, ?took, "a plugin is live");
        }
    }
}

fn names(instances: &[&Arc<Instance>]) -> String {
    let mut names: Vec<&str> = instances.iter().map(|i| i.alias.as_str()).collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}
