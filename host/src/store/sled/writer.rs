//! The one thread that writes.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::check::{Acknowledged, Note, check_log};
use super::database::{Database, encode};
use super::files::Files;
use super::room::{self, Room};
use super::space::Space;
use super::tail::Tail;
use super::{Progress, Shared};
use crate::model::{Error, Result};
use crate::store::{Commit, Expect, StoreError, Write};

/// Most commits that share a sync, and most bytes in them.
const MAX_GROUP: usize = 256;
const MAX_GROUP_BYTES: usize = 1 << 20;

/// After a kill sled reads its log from where it was opened last. So that this stays short, the store is closed
/// and opened again when this much was written: the less when nothing else is to be done.
const REOPEN_WHEN_IDLE: usize = 16 << 20;
const REOPEN_AT_LAST: usize = 64 << 20;
const IDLE: Duration = Duration::from_secs(1);

/// How soon after a failure the store is tried again: from this, doubling, to the most.
const MEND_AFTER: Duration = Duration::from_secs(1);
const MEND_AFTER_MOST: Duration = Duration::from_secs(30);

pub(super) struct Request {
    pub commit: Commit,
    pub answer: Answer,
}

pub(super) struct Writer {
    revision: u64,
    /// The file that sled writes, for syncing it.
    data: File,
    space: Space,
    note: Note,
    /// Bytes of records since the store was opened.
    written: usize,
    /// The last commit that is on the disk for sure.
    synced: u64,
    /// While the store has failed: when it is tried again, and how long after the time before.
    mend: Option<(Instant, Duration)>,
    /// What opening the store has destroyed and the disk did not take back yet.
    owed: Option<Tail>,
}

type Answer = oneshot::Sender<Result<u64, StoreError>>;

/// Commits that are taken together.
#[derive(Default)]
struct Group {
    /// What they leave of each key they write: its version, or nothing.
    versions: HashMap<String, Option<u64>>,
    batch: ::sled::Batch,
    bytes: usize,
    accepted: Vec<(u64, Answer)>,
}

impl Writer {
    pub fn new(files: &Files, revision: u64) -> Result<Self> {
        let problem = |error| files.problem("cannot be written", error);
        let data = files.open_data()?;
        Ok(Self {
            revision,
            space: Space::new(data.try_clone().map_err(problem)?),
            data,
            note: Note::open(files.directory()).map_err(problem)?,
            written: 0,
            synced: revision,
            mend: None,
            owed: None,
        })
    }

    /// Until every sender is gone.
    pub fn run(mut self, shared: &Shared, inbox: &Receiver<Request>) {
        loop {
            let next = inbox.recv_timeout(IDLE);
            if let Some((at, waited)) = self.mend
                && at <= Instant::now()
            {
                self.mend(shared, waited);
            }
            match next {
                Ok(first) => {
                    self.take(shared, first, inbox);
                    self.keep_short(shared, REOPEN_AT_LAST);
                }
                Err(RecvTimeoutError::Timeout) => self.keep_short(shared, REOPEN_WHEN_IDLE),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Take a commit and those that wait behind it.
    fn take(&mut self, shared: &Shared, first: Request, inbox: &Receiver<Request>) {
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(Request { commit, answer }) = next.take() {
            match self.admit(shared, &mut group, commit) {
                Ok(number) => group.accepted.push((number, answer)),
                Err(error) => reply(answer, Err(error)),
            }
            if group.accepted.len() < MAX_GROUP && group.bytes < MAX_GROUP_BYTES {
                next = inbox.try_recv().ok();
            }
        }
        if group.accepted.is_empty() {
            return;
        }
        let Group {
            versions,
            batch,
            bytes,
            accepted,
        } = group;
        let revision = self.revision;
        let unsynced = versions.into_keys().map(|key| (key, revision));
        shared.unsynced().extend(unsynced);
        match self.persist(shared, batch) {
            Ok(()) => {
                self.written += bytes;
                self.synced = revision;
                shared.progress.send_replace(Progress::Synced(revision));
                shared.unsynced().clear();
                for (number, answer) in accepted {
                    reply(answer, Ok(number));
                }
            }
            Err(error) => {
                let why = self.fail(shared, &error.to_string());
                for (_, answer) in accepted {
                    reply(answer, Err(StoreError::Backend(why.as_ref().into())));
                }
            }
        }
    }

    /// Check a commit against the store and the commits before it in its group, and add it.
    fn admit(
        &mut self,
        shared: &Shared,
        group: &mut Group,
        commit: Commit,
    ) -> Result<u64, StoreError> {
        shared.progress.borrow().check()?;
        self.space
            .prepare()
            .map_err(|error| StoreError::Refused(format!("the data directory: {error}")))?;
        for (key, expect) in commit.expect {
            let version = match group.versions.get(&key) {
                Some(version) => *version,
                None => shared.with(|database| database.version(&key))?,
            };
            let holds = match expect {
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(expected),
            };
            if !holds {
                return Err(StoreError::Conflict { key });
            }
        }
        self.revision += 1;
        let number = self.revision;
        for (key, write) in commit.writes {
            group.bytes += key.len();
            match write {
                Write::Put(value) => {
                    group.bytes += value.len();
                    group.batch.insert(key.as_bytes(), encode(number, &value));
                    group.versions.insert(key, Some(number));
                }
                Write::Delete => {
                    group.batch.remove(key.as_bytes());
                    group.versions.insert(key, None);
                }
            }
        }
        Ok(number)
    }

    fn persist(&self, shared: &Shared, batch: ::sled::Batch) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| StoreError::Backend(Box::new(error));
        shared.with(|database| {
            let apply = || database.apply(batch, self.revision);
            shared.busy.during(apply)
        })?;
        // sled's own flush is `sync_file_range` on Linux: it leaves out the file's length and the
        // disk's write cache.
        self.data.sync_data().map_err(failed)?;
        let acknowledged = Acknowledged {
            revision: self.revision,
            length: self.data.metadata().map_err(failed)?.len(),
        };
        self.note.write(acknowledged).map_err(failed)
    }

    /// Close and open the store again once so much was written. On a full disk it could not be opened.
    fn keep_short(&mut self, shared: &Shared, written: usize) {
        if self.written >= written && room::is_there(&self.data) {
            self.reopen(shared);
            Room::of(shared.files.directory()).hold();
        }
    }

    /// Close sled and open it again. Readers wait meanwhile.
    fn reopen(&mut self, shared: &Shared) {
        self.written = 0;
        if shared.progress.borrow().check().is_err() {
            return;
        }
        match self.open_again(shared) {
            Ok(revision) => self.synced = revision,
            Err(error) => drop(self.fail(shared, &error)),
        }
    }

    /// Answers the last commit that is there.
    fn open_again(&mut self, shared: &Shared) -> Result<u64, String> {
        let mut slot = shared.close();
        let said = |error: Error| error.to_string();
        shared.files.remove_half_snapshots().map_err(said)?;
        shared.files.settle().map_err(said)?;
        let directory = shared.files.directory();
        let tail = Tail::read(directory).map_err(|error| error.to_string())?;
        let problem = match Database::open(directory) {
            Ok(database) => match self.look(shared, &database) {
                Ok(revision) => {
                    *slot = Some(database);
                    return Ok(revision);
                }
                Err(problem) => {
                    database.close();
                    problem
                }
            },
            Err(cause) => cause.to_string(),
        };
        if let Err(error) = tail.put_back() {
            tracing::debug!("what opening the store changed cannot be put back yet: {error}");
            self.owed = Some(tail);
        }
        Err(problem)
    }

    /// Commits that nobody knows of may be there or not; those that were acknowledged must be.
    fn look(&self, shared: &Shared, database: &Database) -> Result<u64, String> {
        let revision = database.revision().map_err(|error| error.to_string())?;
        if !(self.synced..=self.revision).contains(&revision) {
            return Err("commits are lost".to_owned());
        }
        let synced = shared.files.sync_directory();
        synced.map_err(|error| error.to_string())?;
        Ok(revision)
    }

    /// What sled or the disk has of the last commits is unknown, so nothing is read or written until the
    /// store was opened again and looked at. Said once, however often the disk fails meanwhile.
    fn fail(&mut self, shared: &Shared, error: &str) -> Arc<str> {
        tracing::error!(
            "the store failed: {error}. No request that changes anything is accepted; the databases run on. Berth \
             tries the store again by itself"
        );
        let why: Arc<str> = format!("the disk failed ({error})").into();
        shared.files.mark_doubtful();
        shared.progress.send_replace(Progress::Failed(why.clone()));
        self.mend = Some((Instant::now() + MEND_AFTER, MEND_AFTER));
        why
    }

    /// Try whether the disk works again, and open the store on it.
    fn mend(&mut self, shared: &Shared, waited: Duration) {
        match self.try_to_mend(shared) {
            Ok(revision) => {
                self.mend = None;
                // Numbers of commits that are lost are not used again.
                self.synced = revision;
                self.written = 0;
                shared.unsynced().clear();
                shared
                    .progress
                    .send_replace(Progress::Synced(self.revision));
                tracing::info!("the store works again");
            }
            Err(error) => {
                tracing::debug!("the store does not work yet: {error}");
                let wait = Duration::min(waited * 2, MEND_AFTER_MOST);
                self.mend = Some((Instant::now() + wait, wait));
            }
        }
    }

    fn try_to_mend(&mut self, shared: &Shared) -> Result<u64, String> {
        let said = |error: std::io::Error| error.to_string();
        // sled is not let at a disk that does not even take this.
        let noted = Acknowledged {
            revision: self.synced,
            length: self.data.metadata().map_err(said)?.len(),
        };
        self.note.write(noted).map_err(said)?;
        self.data.sync_all().map_err(said)?;
        if let Some(tail) = &self.owed {
            tail.put_back().map_err(said)?;
            self.owed = None;
        }
        check_log(shared.files.directory(), Some(noted)).map_err(said)??;
        self.open_again(shared)
    }
}

fn reply(answer: Answer, result: Result<u64, StoreError>) {
    // A caller that went away will find its commit in the store.
    drop(answer.send(result));
}
