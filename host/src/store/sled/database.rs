//! sled itself: how it is configured, opened and looked at.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::Error;
use crate::store::{Commit, StoreError, Versioned};

/// Why sled's files cannot be used.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Size of sled's units of allocation. It never changes for a store that exists.
pub(super) const SEGMENT_BYTES: usize = 8 << 20;

// What is longer than a quarter of a segment goes to a file of its own, which sled never syncs. Its longest
// message is a leaf, of 16 records and one that makes it split.
const _: () = assert!(17 * (Commit::MAX_VALUE_BYTES + 1024) < SEGMENT_BYTES / 4);

/// Pages that sled keeps in memory. The read model answers what is asked often.
const CACHE_BYTES: u64 = 32 << 20;

/// The key of the number of the last commit. No key of the trait begins so.
const REVISION_KEY: &[u8] = b"\0revision";
/// Where the keys of the trait begin.
const FIRST_KEY: &[u8] = b"\x01";

/// How long the one who closed the store may take to let go of it.
const RELEASED_WITHIN: Duration = Duration::from_secs(10);

/// Clones are handles on the same one, which is closed with the last of them.
#[derive(Clone)]
pub(super) struct Database(::sled::Db);

impl Database {
    /// Open what is in the directory, or begin it there.
    pub fn open(directory: &Path) -> Result<Self, Cause> {
        let started = Instant::now();
        loop {
            let config = ::sled::Config::new()
                .path(directory)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .mode(::sled::Mode::LowSpace)
                .flush_every_ms(Some(1000));
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => return Ok(Self(db)),
                // The directory is ours, so this is a thread of sled that ends behind a store just closed.
                Ok(Err(error)) if is_locked(&error) && started.elapsed() < RELEASED_WITHIN => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err("it is damaged".into()),
            }
        }
    }

    /// Let go of it. sled panics when the disk fails at that.
    pub fn close(self) {
        if catch_unwind(AssertUnwindSafe(|| drop(self))).is_err() {
            tracing::debug!("sled did not close in order");
        }
    }

    pub fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        match guarded(|| self.0.get(key))? {
            Some(bytes) => decode(key, &bytes).map(Some),
            None => Ok(None),
        }
    }

    pub fn version(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let record = guarded(|| self.0.get(key))?;
        record
            .map(|bytes| split(key, &bytes).map(|(version, _)| version))
            .transpose()
    }

    pub fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let first = prefix.as_bytes().max(FIRST_KEY);
        let start = match after {
            Some(after) if after.as_bytes() >= first => Bound::Excluded(after.as_bytes()),
            Some(_) | None => Bound::Included(first),
        };
        let found = guarded(|| {
            let range = self.0.range::<&[u8], _>((start, Bound::Unbounded));
            let ours = range.take_while(|item| match item {
                Ok((key, _)) => key.starts_with(prefix.as_bytes()),
                Err(_) => true,
            });
            ours.take(limit).collect::<::sled::Result<Vec<_>>>()
        })?;
        let record = |(key, value): (::sled::IVec, ::sled::IVec)| {
            let key = std::str::from_utf8(&key)
                .map_err(|_| StoreError::Backend("a key is damaged".into()))?;
            Ok((key.to_owned(), decode(key, &value)?))
        };
        found.into_iter().map(record).collect()
    }

    /// The number of the last commit; 0 before the first.
    pub fn revision(&self) -> Result<u64, StoreError> {
        let Some(bytes) = guarded(|| self.0.get(REVISION_KEY))? else {
            return Ok(0);
        };
        let bytes = bytes.as_ref().try_into();
        bytes
            .map(u64::from_be_bytes)
            .map_err(|_| StoreError::Backend("the number of the last commit is damaged".into()))
    }

    /// Whether anything was ever put in.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        Ok(guarded(|| self.0.iter().next().transpose())?.is_none())
    }

    /// Apply a batch, whole or not at all, and hand it to the operating system.
    pub fn apply(&self, mut batch: ::sled::Batch, revision: u64) -> Result<(), StoreError> {
        batch.insert(REVISION_KEY, &revision.to_be_bytes());
        guarded(|| self.0.apply_batch(batch))?;
        self.flush()
    }

    /// Hand what is applied to the operating system.
    pub fn flush(&self) -> Result<(), StoreError> {
        guarded(|| self.0.flush()).map(drop)
    }
}

/// On the disk a value is its version and its bytes.
pub(super) fn encode(version: u64, value: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes(), value].concat()
}

/// Found before sled was let at it, or undone.
pub(super) fn broken(directory: &Path, cause: impl Into<Cause>) -> Error {
    let cause = cause.into();
    Error::failed(format!(
        "the store in {} cannot be opened: {cause}. Nothing was changed; put it back from your backup, \
         or look at the disk.",
        directory.display()
    ))
    .caused_by(cause)
}

/// Found by sled or after it, and not undone: it mends a log by cutting it, before it says what it thinks of it.
pub(super) fn unusable(directory: &Path, cause: impl Into<Cause>) -> Error {
    let cause = cause.into();
    Error::failed(format!(
        "the store in {} cannot be opened: {cause}. Opening it may have changed it; put it back from your \
         backup, or look at the disk.",
        directory.display()
    ))
    .caused_by(cause)
}

fn decode(key: &str, bytes: &[u8]) -> Result<Versioned, StoreError> {
    let (version, value) = split(key, bytes)?;
    Ok(Versioned {
        version,
        value: value.to_vec(),
    })
}

fn split<'a>(key: &str, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), StoreError> {
    let (version, value) = bytes
        .split_first_chunk()
        .ok_or_else(|| StoreError::Backend(format!("the record {key} is damaged").into()))?;
    Ok((u64::from_be_bytes(*version), value))
}

/// sled panics on some damage instead of answering an error.
fn guarded<T>(call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(StoreError::Backend(Box::new(error))),
        Err(_) => Err(StoreError::Backend("sled gave up on a damaged page".into())),
    }
}

fn is_locked(error: &::sled::Error) -> bool {
    match error {
        ::sled::Error::Io(error) => error.to_string().contains("could not acquire lock"),
        ::sled::Error::CollectionNotFound(_)
        | ::sled::Error::Unsupported(_)
        | ::sled::Error::ReportableBug(_)
        | ::sled::Error::Corruption { .. } => false,
    }
}
