//! The store on a disk: sled 0.34, embedded.
//!
//! One thread writes. It takes all commits that wait, checks each against what it has taken before, applies them
//! as one atomic batch and syncs once for all of them; only then are they acknowledged, and only then can
//! they be read. Nothing blocks the async runtime. Opening refuses what it does not understand: what can be told
//! before sled is let at it, without having changed anything.

mod check;
mod database;
mod files;
mod rescue;
mod room;
mod space;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::TrySendError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use self::check::{Acknowledged, Note, check_log, looks_cut};
use self::database::{Cause, Database, broken, unusable};
use self::files::Files;
use self::rescue::{Busy, Watch};
use self::room::Room;
use self::tail::Tail;
use self::writer::{Request, Writer};
use super::{Commit, Store, StoreError, Versioned};
use crate::model::{Error, Result};

/// After this a commit is reported as unknown: the disk hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// So many commits wait for the disk; more are refused. Whoever asked for one may have gone away.
const MOST_WAITING: usize = 4096;

pub struct Sled {
    shared: Arc<Shared>,
    requests: Option<mpsc::SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Until the database is closed.
    watch: Option<Watch>,
}

struct Shared {
    /// None only while it is closed and opened again.
    database: RwLock<Option<Database>>,
    /// Keys of commits that are applied and not yet synced, with the commit's number.
    unsynced: Mutex<HashMap<String, u64>>,
    progress: watch::Sender<Progress>,
    /// What the writer has sled do.
    busy: Arc<Busy>,
    /// Last: the directory is given back when the database is closed.
    files: Files,
}

#[derive(Clone, Debug)]
enum Progress {
    /// Every commit up to this number is on the disk.
    Synced(u64),
    /// The disk failed. Nothing is read or written until the writer has mended the store, or Berth was started again.
    Failed(Arc<str>),
}

impl Sled {
    /// Open the store in `directory`, which is made if it is not there. Blocks.
    pub fn open(directory: &Path) -> Result<Self> {
        let files = Files::claim(directory)?;
        let refuse = |error| broken(directory, error);
        let noted = Note::read(directory).map_err(refuse)?;
        check_log(directory, noted)
            .map_err(refuse)?
            .map_err(|problem| broken(directory, problem))?;
        if let Some(problem) = looks_cut(directory, noted).map_err(refuse)?
            && !is_whole(&files, noted)?
        {
            return Err(broken(directory, problem));
        }
        files.remove_half_snapshots()?;
        files.settle()?;
        let tail = Tail::read(directory).map_err(refuse)?;
        let room = Room::of(directory);
        room.release();
        let taken = take_up(&files, noted);
        room.hold();
        let (database, revision) = match taken {
            Ok(taken) => taken,
            Err(cause) => return Err(undone(&tail, directory, cause)),
        };
        drop(tail);
        let writer = match Writer::new(&files, revision) {
            Ok(writer) => writer,
            Err(error) => {
                database.close();
                return Err(error);
            }
        };
        let (progress, _) = watch::channel(Progress::Synced(revision));
        let shared = Arc::new(Shared {
            database: RwLock::new(Some(database)),
            unsynced: Mutex::default(),
            progress,
            busy: Arc::default(),
            files,
        });
        let watch = Watch::start(shared.busy.clone(), {
            let shared = shared.clone();
            move || shared.flush()
        });
        let watch = watch.map_err(|error| shared.unopened(error))?;
        let (requests, inbox) = mpsc::sync_channel(MOST_WAITING);
        let writer = std::thread::Builder::new()
            .name("berth-store".into())
            .spawn({
                let shared = shared.clone();
                move || writer.run(&shared, &inbox)
            });
        let writer = writer.map_err(|error| shared.unopened(error))?;
        Ok(Self {
            shared,
            requests: Some(requests),
            writer: Some(writer),
            watch: Some(watch),
        })
    }

    /// Read off the runtime, and not before what is read is on the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Database) -> Result<T, StoreError> + Send + Sync + 'static,
        concerns: impl Fn(&str) -> bool,
    ) -> Result<T, StoreError> {
        let read = Arc::new(read);
        loop {
            self.shared.progress.borrow().check()?;
            let (shared, read) = (self.shared.clone(), read.clone());
            let value = tokio::task::spawn_blocking(move || shared.with(|database| read(database)))
                .await
                .unwrap_or_else(|error| Err(StoreError::Backend(Box::new(error))))?;
            // Looked at after the read: what is not here now was synced when it was read.
            let unsynced = {
                let unsynced = self.shared.unsynced();
                let ours = unsynced.iter().filter(|(key, _)| concerns(key));
                ours.map(|(_, number)| *number).max()
            };
            match unsynced {
                None => return Ok(value),
                Some(number) => self.synced(number).await?,
            }
        }
    }

    /// Wait until commit `number` is on the disk.
    async fn synced(&self, number: u64) -> Result<(), StoreError> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress.wait_for(|progress| match progress {
            Progress::Synced(synced) => *synced >= number,
            Progress::Failed(_) => true,
        });
        match tokio::time::timeout(ANSWER_WITHIN, reached).await {
            Err(_) => Err(no_answer()),
            Ok(Err(_)) => Err(closed()),
            Ok(Ok(progress)) => progress.check(),
        }
    }
}

/// A handle on the database beside its own, closed as that is.
#[derive(Clone)]
struct Handle(Option<Database>);

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(database) = self.0.take() {
            database.close();
        }
    }
}

impl Progress {
    fn check(&self) -> Result<(), StoreError> {
        match self {
            Self::Synced(_) => Ok(()),
            Self::Failed(why) => Err(StoreError::Backend(why.as_ref().into())),
        }
    }
}

impl Shared {
    fn with<T>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.as_ref().map_or_else(|| Err(closed()), read)
    }

    /// What flushes the database as it is now, whatever becomes of it here; none while it is being opened again.
    fn flush(&self) -> Option<impl FnOnce() + Clone + Send + use<>> {
        let handle = Handle(Some(self.database.try_read().ok()?.clone()?));
        Some(move || {
            // The writer learns of it itself.
            drop(handle.0.as_ref().map(Database::flush));
        })
    }

    /// Write what is left to be written. That can hang as a commit can, so it is not left to the closing, where nobody
    /// could help; whether it failed is seen when the store is opened again.
    fn settle(&self) {
        drop(self.with(|database| self.busy.during(|| database.flush())));
    }

    /// Close the database. Nobody reads while the guard that is answered stands.
    fn close(&self) -> RwLockWriteGuard<'_, Option<Database>> {
        self.settle();
        let mut slot = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = slot.take() {
            database.close();
        }
        slot
    }

    /// Why the store is closed again before anybody had it.
    fn unopened(&self, error: std::io::Error) -> Error {
        drop(self.close());
        Error::internal(error)
    }

    fn unsynced(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Sled {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let wanted = key.to_owned();
        self.read(move |db| db.get(&wanted), |other| other == key)
            .await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let (wanted, after) = (prefix.to_owned(), after.map(str::to_owned));
        let scan = move |db: &Database| db.scan(&wanted, after.as_deref(), limit);
        self.read(scan, |key| key.starts_with(prefix)).await
    }

    async fn commit(&self, commit: Commit) -> Result<u64, StoreError> {
        commit.check()?;
        let (answer, heard) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        let request = Request { commit, answer };
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                StoreError::Refused("too many changes wait for the disk".into())
            }
            TrySendError::Disconnected(_) => closed(),
        })?;
        // However long that takes: who gives up before does not know what was taken.
        heard.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Sled {
    /// Waits for the commits that were asked for.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer ended in a panic");
        }
        drop(self.shared.close());
        drop(self.watch.take());
    }
}

/// Open the directory, see what sled made of it, and put that on the disk. Answers the last commit that is there.
fn take_up(files: &Files, noted: Option<Acknowledged>) -> Result<(Database, u64), Cause> {
    let database = Database::open(files.directory())?;
    let look = || -> Result<u64, Cause> {
        let revision = database.revision()?;
        if noted.is_some_and(|noted| noted.revision > revision) {
            // Damage in the middle of the log, or a disk that was not read: sled has cut it there.
            return Err("its newest commits are lost, or were not read".into());
        }
        if revision == 0 && !database.is_empty()? {
            return Err("it is not a store of Berth".into());
        }
        files.sync_directory()?;
        Ok(revision)
    };
    match look() {
        Ok(revision) => Ok((database, revision)),
        Err(cause) => {
            database.close();
            Err(cause)
        }
    }
}

/// The refusal of a store that sled has been let at.
fn undone(tail: &Tail, directory: &Path, cause: Cause) -> Error {
    match tail.put_back() {
        Ok(()) => broken(directory, cause),
        Err(error) => {
            tracing::error!(%error, "what opening the store changed cannot be put back");
            unusable(directory, cause)
        }
    }
}

/// Whether the store has its newest commits when it is opened: tried on a copy.
fn is_whole(files: &Files, noted: Option<Acknowledged>) -> Result<bool> {
    let copy = files.copy()?;
    let revision = Database::open(copy.path()).ok().and_then(|database| {
        let revision = database.revision().ok();
        database.close();
        revision
    });
    Ok(revision.is_some_and(|revision| noted.is_none_or(|noted| noted.revision <= revision)))
}

fn closed() -> StoreError {
    StoreError::Backend("the store is closed".into())
}

fn no_answer() -> StoreError {
    StoreError::Backend("the disk does not answer".into())
}
