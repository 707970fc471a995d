//! The store on a disk: sled 0.34, embedded.
//!
//! One thread writes. It takes all commits that wait, checks each against what it has taken before, applies them
//! as one atomic batch and syncs once for all of them; only then are they acknowledged, and only then can
//! they be read. Nothing blocks the async runtime. Opening refuses what it does not understand, and
//! changes nothing then.

mod files;
mod writer;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};

use self::files::Files;
use self::writer::{Request, Writer};
use super::{Commit, Store, StoreError, Versioned};
use crate::model::{Error, Result};

/// Size of sled's units of allocation. It never changes for a store that exists.
const SEGMENT_BYTES: usize = 8 << 20;

// What is longer than a quarter of a segment goes to a file of its own, which sled never syncs. Its longest
// message is a leaf, of 16 records and one that makes it split.
const _: () = assert!(17 * (Commit::MAX_VALUE_BYTES + 1024) < SEGMENT_BYTES / 4);

/// Pages that sled keeps in memory. The read model answers what is asked often.
const CACHE_BYTES: u64 = 32 << 20;

/// After this a commit is reported as unknown: the disk hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The key of the number of the last commit. No key of the trait begins so.
const REVISION_KEY: &[u8] = b"\0revision";
/// Where the keys of the trait begin.
const FIRST_KEY: &[u8] = b"\x01";

pub struct Sled {
    shared: Arc<Shared>,
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    db: ::sled::Db,
    /// After the database: the directory is given back when it is closed.
    _files: Files,
    /// Keys of commits that are applied and not yet synced, with the commit's number.
    unsynced: Mutex<HashMap<String, u64>>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug)]
enum Progress {
    /// Every commit up to this number is on the disk.
    Synced(u64),
    /// The disk failed. Nothing is read or written until Berth is started again.
    Failed(Arc<str>),
}

impl Sled {
    /// Open the store in `directory`, which is made if it is not there. Blocks.
    pub fn open(directory: &Path) -> Result<Self> {
        let files = Files::claim(directory)?;
        let db = open_database(directory)?;
        let revision = match db.get(REVISION_KEY).map_err(|e| broken(directory, e))? {
            Some(bytes) => decode_revision(&bytes)
                .ok_or_else(|| broken(directory, "the number of the last commit is damaged"))?,
            None => 0,
        };
        let data = files.open_data()?;
        files.sync_directory()?;
        let (progress, _) = watch::channel(Progress::Synced(revision));
        let shared = Arc::new(Shared {
            db,
            _files: files,
            unsynced: Mutex::default(),
            progress,
        });
        let (requests, inbox) = mpsc::channel();
        let writer = Writer::new(shared.clone(), data, revision);
        let writer = std::thread::Builder::new()
            .name("berth-store".into())
            .spawn(move || writer.run(&inbox))
            .map_err(Error::internal)?;
        Ok(Self {
            shared,
            requests: Some(requests),
            writer: Some(writer),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&::sled::Db) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || {
            // sled panics on some damage instead of answering an error.
            catch_unwind(AssertUnwindSafe(|| read(&shared.db))).unwrap_or_else(|_| {
                Err(StoreError::Backend("sled gave up on a damaged page".into()))
            })
        })
        .await
        .unwrap_or_else(|error| Err(StoreError::Backend(Box::new(error))))
    }

    /// Wait until commit `number` is on the disk.
    async fn synced(&self, number: u64) -> Result<(), StoreError> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress.wait_for(|progress| match progress {
            Progress::Synced(synced) => *synced >= number,
            Progress::Failed(_) => true,
        });
        match tokio::time::timeout(ANSWER_WITHIN, reached).await {
            Err(_) => Err(StoreError::Backend("the disk does not answer".into())),
            Ok(Err(_)) => Err(StoreError::Backend("the store is closed".into())),
            Ok(Ok(progress)) => progress.check(),
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
    fn unsynced(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Sled {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        loop {
            self.shared.progress.borrow().check()?;
            let wanted = key.to_owned();
            let record = self
                .blocking(move |db| match db.get(&wanted).map_err(backend)? {
                    Some(bytes) => decode_value(&wanted, &bytes).map(Some),
                    None => Ok(None),
                })
                .await?;
            // Looked at after the read: what is not here now was synced when it was read.
            let pending = self.shared.unsynced().get(key).copied();
            match pending {
                None => return Ok(record),
                Some(number) => self.synced(number).await?,
            }
        }
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        loop {
            self.shared.progress.borrow().check()?;
            let (wanted, after) = (prefix.to_owned(), after.map(str::to_owned));
            let records = self
                .blocking(move |db| scan(db, &wanted, after.as_deref(), limit))
                .await?;
            let pending = {
                let unsynced = self.shared.unsynced();
                let ours = unsynced.iter().filter(|(key, _)| key.starts_with(prefix));
                ours.map(|(_, number)| *number).max()
            };
            match pending {
                None => return Ok(records),
                Some(number) => self.synced(number).await?,
            }
        }
    }

    async fn commit(&self, commit: Commit) -> Result<u64, StoreError> {
        commit.check()?;
        let closed = || StoreError::Backend("the store is closed".into());
        let (answer, heard) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        requests
            .send(Request { commit, answer })
            .map_err(|_| closed())?;
        match tokio::time::timeout(ANSWER_WITHIN, heard).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(StoreError::Backend("the disk does not answer".into())),
        }
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
    }
}

fn open_database(directory: &Path) -> Result<::sled::Db> {
    let config = ::sled::Config::new()
        .path(directory)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .mode(::sled::Mode::LowSpace)
        .flush_every_ms(Some(1000));
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(error)) => Err(broken(directory, error)),
        Err(_) => Err(broken(directory, "sled gave up on it")),
    }
}

fn scan(
    db: &::sled::Db,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, Versioned)>, StoreError> {
    use std::ops::Bound;
    let first = prefix.as_bytes().max(FIRST_KEY);
    let start = match after {
        Some(after) if after.as_bytes() >= first => Bound::Excluded(after.as_bytes()),
        Some(_) | None => Bound::Included(first),
    };
    let mut records = Vec::new();
    for item in db.range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
        let (key, value) = item.map_err(backend)?;
        if !key.starts_with(prefix.as_bytes()) {
            break;
        }
        let key = std::str::from_utf8(&key)
            .map_err(|_| StoreError::Backend("a key is damaged".into()))?;
        records.push((key.to_owned(), decode_value(key, &value)?));
    }
    Ok(records)
}

/// On the disk a value is its version and its bytes.
fn encode_value(version: u64, value: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes(), value].concat()
}

fn decode_value(key: &str, bytes: &[u8]) -> Result<Versioned, StoreError> {
    let (version, value) = bytes
        .split_first_chunk()
        .ok_or_else(|| StoreError::Backend(format!("the record {key} is damaged").into()))?;
    Ok(Versioned {
        version: u64::from_be_bytes(*version),
        value: value.to_vec(),
    })
}

fn decode_revision(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn backend(error: ::sled::Error) -> StoreError {
    StoreError::Backend(Box::new(error))
}

fn broken(directory: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let cause = cause.into();
    Error::failed(format!(
        "the store in {} cannot be opened: {cause}",
        directory.display()
    ))
    .caused_by(cause)
}
