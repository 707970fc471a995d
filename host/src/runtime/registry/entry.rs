//! One file of the plugins folder: what was seen of it, and which of its builds is live, is being tried, was refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::print::Print;
use crate::model::Digest;
use crate::model::plugin::{PluginAttempt, PluginKind, PluginState, PluginStatus};

/// A build as its manifest has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub kind: PluginKind,
    pub name: String,
    pub version: String,
    pub digest: Digest,
}

pub(super) struct Entry {
    pub path: PathBuf,
    /// None when the file was never seen, or is gone for good.
    pub print: Option<Print>,
    /// From then on it counts as whole, if it stays as it is.
    pub whole_at: Instant,
    /// When to read it.
    pub next: Option<Instant>,
    /// It was read once more, in case the clock of its file system is coarse.
    pub reread: bool,
    /// Since when it is not there.
    pub missing: Option<Instant>,
    /// Somebody reads it or loads what is in it.
    pub busy: bool,
    pub trying: Option<Digest>,
    pub held: Held,
    pub newest: Option<Newest>,
}

/// Which build a file stands for.
pub(super) enum Held {
    Nothing,
    /// The one that was live when the host ended.
    Before(About, Timestamp),
    Live(About, Timestamp),
    /// The one that was live when the file was removed, and what depends on the plugin.
    Removed(About, Timestamp, String),
}

/// A build that is not live.
pub(super) struct Newest {
    pub about: Option<About>,
    pub state: PluginState,
    pub passing: bool,
    /// How often it was refused.
    pub attempts: u32,
    pub since: Timestamp,
}

/// Which builds were live, by file, for the next start.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record(pub BTreeMap<String, Recorded>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    about: About,
    since: Timestamp,
    removed: bool,
}

impl About {
    pub fn is_same_plugin(&self, other: &Self) -> bool {
        (self.kind, &self.name) == (other.kind, &other.name)
    }
}

impl Entry {
    pub fn new(now: Instant) -> Self {
        Self {
            path: PathBuf::new(),
            print: None,
            whole_at: now,
            next: None,
            reread: false,
            missing: None,
            busy: false,
            trying: None,
            held: Held::Nothing,
            newest: None,
        }
    }

    /// Whether anything is known of it.
    pub fn is_worth_keeping(&self) -> bool {
        self.print.is_some() || self.busy || !matches!(self.held, Held::Nothing)
    }

    pub fn forget_compiling(&mut self) {
        self.newest.take_if(|newest| !newest.is_refused());
    }

    /// None while there is nothing to say of it.
    pub fn status(&self, file: &str) -> Option<PluginStatus> {
        let (about, state, since) = match (&self.held, &self.newest) {
            (Held::Live(about, since), _) => (Some(about), PluginState::Ready, *since),
            (Held::Removed(about, since, depends), None) => {
                (Some(about), PluginState::Removed(depends.clone()), *since)
            }
            (Held::Nothing | Held::Before(..) | Held::Removed(..), Some(newest)) => {
                (newest.about.as_ref(), newest.state.clone(), newest.since)
            }
            (Held::Before(about, since), None) => (Some(about), PluginState::Compiling, *since),
            (Held::Nothing, None) => return None,
        };
        let attempt = self.newest.as_ref().map(|newest| PluginAttempt {
            digest: newest.digest().cloned(),
            version: newest.about.as_ref().map(|about| about.version.clone()),
            state: newest.state.clone(),
            since: newest.since,
        });
        let name = about.map_or(file.trim_end_matches(".wasm"), |about| &about.name);
        Some(PluginStatus {
            name: name.to_owned(),
            kind: about.map(|about| about.kind),
            version: about.map(|about| about.version.clone()),
            file: file.to_owned(),
            digest: about.map(|about| about.digest.clone()),
            attempt: attempt.filter(|_| state == PluginState::Ready),
            state,
            since,
        })
    }
}

impl Held {
    pub fn about(&self) -> Option<&About> {
        match self {
            Self::Nothing => None,
            Self::Before(about, _) | Self::Live(about, _) | Self::Removed(about, ..) => Some(about),
        }
    }

    pub fn live(&self) -> Option<&About> {
        match self {
            Self::Live(about, _) => Some(about),
            Self::Nothing | Self::Before(..) | Self::Removed(..) => None,
        }
    }

    pub fn record(&self) -> Option<Recorded> {
        let (about, since, removed) = match self {
            Self::Nothing => return None,
            Self::Before(about, since) | Self::Live(about, since) => (about, since, false),
            Self::Removed(about, since, _) => (about, since, true),
        };
        Some(Recorded {
            about: about.clone(),
            since: *since,
            removed,
        })
    }

    /// What is live, or will be in a moment.
    pub fn serves(&self) -> Option<&About> {
        match self {
            Self::Live(about, _) | Self::Before(about, _) => Some(about),
            Self::Nothing | Self::Removed(..) => None,
        }
    }
}

impl From<Recorded> for Held {
    fn from(recorded: Recorded) -> Self {
        if recorded.removed {
            Self::Removed(recorded.about, recorded.since, String::new())
        } else {
            Self::Before(recorded.about, recorded.since)
        }
    }
}

impl Newest {
    pub fn digest(&self) -> Option<&Digest> {
        self.about.as_ref().map(|about| &about.digest)
    }

    pub fn is_refused(&self) -> bool {
        matches!(self.state, PluginState::Refused(_))
    }
}
