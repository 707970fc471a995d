//! What is known of each file of the plugins folder: how it looked last, which build of it is live, what became
//! of the newest. Bookkeeping only: it reads no file, loads nothing and publishes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Timing;
use super::entry::{About, Entry, Held, Newest, Record};
use super::print::{Print, Sighting};
use crate::model::Digest;
use crate::model::plugin::{PluginKind, PluginState, PluginStatus};
use crate::runtime::capability::log::one_line;

/// See the module's text.
#[derive(Default)]
pub(super) struct Folder {
    entries: BTreeMap<String, Entry>,
    /// Builds that were live, and when they ceased to be. Somebody may be about to record one.
    replaced: HashMap<Digest, Instant>,
}

/// A file whose content is to be read now.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub file: String,
    pub path: PathBuf,
    pub print: Print,
    /// It is to be read once more after this time, though nothing may seem to have changed.
    pub doubtful: Option<Duration>,
}

/// Why a build is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: String,
    pub again: Again,
}

/// Whether a build that was refused may be taken later, though its file stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    /// What is in its way may be gone at any time, and it costs little to look.
    Soon,
    /// It was this time that it went wrong, and may be each time: trying costs much, so ever more rarely.
    EverLater,
}

/// What is to be done with a build that was found in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Try,
    /// It is live, or it was refused, and nothing has changed since.
    Known,
}

/// What came of a build that passed every check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It is to be published, in place of this one if there was one.
    Live { before: Option<Digest> },
    /// The file is another one by now, or gone.
    Superseded,
}

/// Names that a component made up are in a reason, so it is bounded.
const REASON_BYTES: usize = 512;
/// With the usual pause of 15 s the longest is half an hour.
const MOST_DOUBLINGS: u32 = 7;

impl Refusal {
    pub fn last(reason: impl Into<String>) -> Self {
        Self {
            reason: one_line(&reason.into(), REASON_BYTES),
            again: Again::Never,
        }
    }

    pub fn passing(reason: impl Into<String>) -> Self {
        Self {
            again: Again::Soon,
            ..Self::last(reason)
        }
    }

    pub fn this_time(reason: impl Into<String>) -> Self {
        Self {
            again: Again::EverLater,
            ..Self::last(reason)
        }
    }

    /// How long to leave the file alone after so many attempts at it.
    fn pause(&self, attempts: u32, timing: &Timing) -> Option<Duration> {
        match self.again {
            Again::Never => None,
            Again::Soon => Some(timing.retry_after),
            Again::EverLater => {
                let doublings = attempts.min(MOST_DOUBLINGS);
                Some(timing.retry_after.saturating_mul(1 << doublings))
            }
        }
    }
}

impl Folder {
    /// Enter one look at the folder. Answers the files to be read now, which are busy from here on, and those
    /// that are gone. The first look takes every file for whole.
    pub fn sight(
        &mut self,
        sightings: Vec<Sighting>,
        now: Instant,
        timing: &Timing,
        first: bool,
    ) -> (Vec<Due>, Vec<String>) {
        let mut absent: BTreeSet<String> = self.entries.keys().cloned().collect();
        for Sighting { file, path, print } in sightings {
            absent.remove(&file);
            let entry = self.entries.entry(file).or_insert_with(|| Entry::new(now));
            entry.missing = None;
            if entry.print != Some(print) {
                let wait = if first {
                    Duration::ZERO
                } else {
                    timing.whole_after
                };
                entry.path = path;
                entry.print = Some(print);
                entry.reread = false;
                entry.whole_at = now + wait;
                entry.next = Some(now + wait.saturating_sub(print.age()));
            }
        }
        let mut gone = Vec::new();
        for file in absent {
            let Some(entry) = self.entries.get_mut(&file) else {
                continue;
            };
            let since = *entry.missing.get_or_insert(now);
            let settled = first || now.duration_since(since) >= timing.whole_after;
            let counts = entry.print.is_some() || entry.held.serves().is_some();
            if settled && counts && !entry.busy {
                gone.push(file);
            }
        }
        let due = self.entries.iter_mut().filter_map(|(file, entry)| {
            let print = entry.print.filter(|_| entry.missing.is_none())?;
            if entry.busy || entry.next.is_none_or(|next| next > now) {
                return None;
            }
            entry.busy = true;
            entry.next = None;
            Some(Due {
                file: file.clone(),
                path: entry.path.clone(),
                print,
                doubtful: print.doubtful_for(),
            })
        });
        (due.collect(), gone)
    }

    /// A build was found in a file. From here on it is shown, unless there is nothing to be done.
    pub fn found(
        &mut self,
        due: &Due,
        about: &About,
        now: Timestamp,
    ) -> std::result::Result<Verdict, Refusal> {
        self.check_name(&due.file, about)?;
        let Some(entry) = self.entries.get_mut(&due.file) else {
            return Ok(Verdict::Known);
        };
        if let Held::Live(live, _) = &entry.held
            && live.digest == about.digest
        {
            entry.newest = None;
            return Ok(Verdict::Known);
        }
        let refused = entry.newest.as_ref().filter(|newest| {
            newest.is_refused() && newest.digest().is_some_and(|d| *d == about.digest)
        });
        match refused {
            Some(newest) if !newest.passing => return Ok(Verdict::Known),
            // Shown as refused until it is known to be otherwise.
            Some(_) => {}
            None => {
                entry.newest = Some(Newest {
                    about: Some(about.clone()),
                    state: PluginState::Compiling,
                    passing: true,
                    attempts: 0,
                    since: now,
                });
            }
        }
        entry.trying = Some(about.digest.clone());
        Ok(Verdict::Try)
    }

    /// A file stands for one plugin, and a plugin in one file.
    fn check_name(&self, file: &str, about: &About) -> std::result::Result<(), Refusal> {
        if let Some(entry) = self.entries.get(file)
            && let Some(held) = entry.held.about()
            && !held.is_same_plugin(about)
        {
            let reason = format!(
                "it is the {} `{}`, and this file is the {} `{}`: give it a file of its own",
                word(about.kind),
                about.name,
                word(held.kind),
                held.name
            );
            return Err(match entry.held {
                Held::Live(..) => Refusal::last(reason),
                // It ceases to be the file's by itself: nothing depends on it any more, or it cannot be restored.
                Held::Nothing | Held::Before(..) | Held::Removed(..) => Refusal::passing(reason),
            });
        }
        let other = self.entries.iter().find(|(other, entry)| {
            let live = entry.held.live();
            *other != file && live.is_some_and(|live| live.is_same_plugin(about))
        });
        match other {
            Some((other, _)) => Err(Refusal::passing(format!(
                "the file {other} has a plugin with the same name"
            ))),
            None => Ok(()),
        }
    }

    /// A build passed every check: make it the file's live one.
    pub fn accept(
        &mut self,
        due: &Due,
        about: &About,
        now: Instant,
    ) -> std::result::Result<Accepted, Refusal> {
        self.check_name(&due.file, about)?;
        let Some(entry) = self.entries.get_mut(&due.file) else {
            return Ok(Accepted::Superseded);
        };
        if entry.print != Some(due.print) || entry.missing.is_some() {
            // Should it come back as it was, it is read anew.
            entry.next = Some(now);
            return Ok(Accepted::Superseded);
        }
        entry.newest = None;
        let held = Held::Live(about.clone(), Timestamp::now());
        let before = std::mem::replace(&mut entry.held, held);
        let before = before.live().map(|about| about.digest.clone());
        self.replaced.remove(&about.digest);
        if let Some(before) = &before {
            self.replaced.insert(before.clone(), now);
        }
        Ok(Accepted::Live { before })
    }

    /// Done with a file's content, whatever came of it. True when a refusal is news.
    pub fn done(
        &mut self,
        due: &Due,
        about: Option<About>,
        refusal: Option<&Refusal>,
        now: Instant,
        timing: &Timing,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&due.file) else {
            return false;
        };
        entry.busy = false;
        entry.trying = None;
        if entry.print != Some(due.print) {
            // There is another content by now, and it has its own time.
            entry.forget_compiling();
            return false;
        }
        if refusal.is_some() && now < entry.whole_at {
            // It only seemed whole: somebody still writes to it.
            entry.forget_compiling();
            entry.next = Some(entry.whole_at);
            return false;
        }
        // Once is enough, and a file may be dated into the future for ever.
        let doubtful = due.doubtful.filter(|_| !entry.reread);
        entry.reread |= doubtful.is_some();
        entry.next = sooner(entry.next, doubtful.map(|wait| now + wait));
        let Some(refusal) = refusal else {
            entry.forget_compiling();
            return false;
        };
        let before = entry.newest.as_ref().filter(|n| n.about == about);
        let attempts = before.map_or(0, |newest| newest.attempts);
        let again = refusal.pause(attempts, timing).map(|pause| now + pause);
        entry.next = sooner(entry.next, again);
        let attempts = attempts.saturating_add(1);
        let state = PluginState::Refused(refusal.reason.clone());
        if let Some(newest) = &mut entry.newest
            && newest.state == state
            && newest.about == about
        {
            newest.attempts = attempts;
            return false;
        }
        entry.newest = Some(Newest {
            about,
            state,
            passing: refusal.again != Again::Never,
            attempts,
            since: Timestamp::now(),
        });
        true
    }

    /// A file is gone. Answers what was live, which is so no more.
    pub fn remove(&mut self, file: &str, dependents: impl Fn(&About) -> String) -> Option<About> {
        let entry = self.entries.get_mut(file)?;
        if entry.missing.is_none() || entry.busy {
            return None;
        }
        entry.print = None;
        entry.next = None;
        entry.newest = None;
        let removed = match std::mem::replace(&mut entry.held, Held::Nothing) {
            Held::Live(about, _) | Held::Before(about, _) => {
                let depends = dependents(&about);
                if !depends.is_empty() {
                    entry.held = Held::Removed(about.clone(), Timestamp::now(), depends);
                }
                Some(about)
            }
            held @ (Held::Nothing | Held::Removed(..)) => {
                entry.held = held;
                None
            }
        };
        self.entries.retain(|_, entry| entry.is_worth_keeping());
        if let Some(about) = &removed {
            let now = Instant::now();
            self.replaced.insert(about.digest.clone(), now);
            // Another file may have waited for the name.
            let waiting = |entry: &&mut Entry| {
                entry.newest.as_ref().is_some_and(|newest| newest.passing) && !entry.busy
            };
            for entry in self.entries.values_mut().filter(waiting) {
                entry.next = Some(now);
            }
        }
        removed
    }

    /// Say anew what depends on removed plugins, and forget the files of those on which nothing does. True when a
    /// file was forgotten.
    pub fn refresh_removed(&mut self, dependents: impl Fn(&About) -> String) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, entry| {
            if let Held::Removed(about, _, depends) = &mut entry.held {
                *depends = dependents(about);
                if depends.is_empty() {
                    entry.held = Held::Nothing;
                }
            }
            entry.is_worth_keeping()
        });
        self.entries.len() != before
    }

    /// Builds that may not be purged whatever the records say; those that were live a moment ago among them.
    pub fn needed(&mut self, now: Instant, timing: &Timing) -> HashSet<Digest> {
        self.replaced
            .retain(|_, at| now.duration_since(*at) < timing.kept_for);
        let mut needed: HashSet<Digest> = self.replaced.keys().cloned().collect();
        for entry in self.entries.values() {
            needed.extend(entry.held.serves().map(|about| about.digest.clone()));
            needed.extend(entry.trying.clone());
        }
        needed
    }

    /// Whether a plugin of this kind and name may be there in a moment.
    pub fn is_expected(&self, kind: PluginKind, name: &str) -> bool {
        self.entries.values().any(|entry| {
            let is_meant = |about: &About| about.kind == kind && about.name == name;
            let compiling = entry.newest.as_ref().is_some_and(|newest| {
                newest.state == PluginState::Compiling
                    && newest.about.as_ref().is_some_and(is_meant)
            });
            compiling || matches!(&entry.held, Held::Before(about, _) if is_meant(about))
        })
    }

    pub fn statuses(&self) -> Vec<PluginStatus> {
        let statuses = self.entries.iter();
        statuses
            .filter_map(|(file, entry)| entry.status(file))
            .collect()
    }

    /// The build that was live when the host ended, where none of the file has become so since.
    pub fn before(&self, file: &str) -> Option<About> {
        match &self.entries.get(file)?.held {
            Held::Before(about, _) => Some(about.clone()),
            Held::Nothing | Held::Live(..) | Held::Removed(..) => None,
        }
    }

    /// Files whose builds were live when the host ended.
    pub fn all_before(&self) -> Vec<String> {
        let files = self.entries.keys();
        files
            .filter(|file| self.before(file).is_some())
            .cloned()
            .collect()
    }

    /// Those of them that have nothing that could be taken.
    pub fn refused_before(&self) -> Vec<String> {
        let refused = |entry: &Entry| entry.newest.as_ref().is_some_and(Newest::is_refused);
        let files = self.all_before().into_iter();
        files
            .filter(|file| {
                let entry = self.entries.get(file);
                entry.is_some_and(|entry| !entry.busy && refused(entry))
            })
            .collect()
    }

    /// The build that was live when the host ended was loaded, or could not be. True when it is live again, which
    /// it is not when another build of the plugin is so by now.
    pub fn restored(&mut self, file: &str, about: &About, loaded: bool) -> bool {
        let is_free = self.check_name(file, about).is_ok();
        let Some(entry) = self.entries.get_mut(file) else {
            return false;
        };
        match &entry.held {
            Held::Before(before, since) if before.digest == about.digest => {
                let again = loaded && is_free;
                entry.held = if again {
                    Held::Live(about.clone(), *since)
                } else {
                    Held::Nothing
                };
                again
            }
            Held::Before(..) | Held::Nothing | Held::Live(..) | Held::Removed(..) => false,
        }
    }

    /// What to write down for the next start.
    pub fn record(&self) -> Record {
        let entries = self.entries.iter();
        let recorded =
            entries.filter_map(|(file, entry)| Some((file.clone(), entry.held.record()?)));
        Record(recorded.collect())
    }

    /// What the host before this one wrote down.
    pub fn remember(&mut self, record: Record) {
        for (file, recorded) in record.0 {
            let mut entry = Entry::new(Instant::now());
            entry.held = recorded.into();
            self.entries.insert(file, entry);
        }
    }
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn word(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Engine => "engine",
        PluginKind::Target => "infrastructure target",
    }
}
