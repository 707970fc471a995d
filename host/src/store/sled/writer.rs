//! The one thread that writes.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use super::{Progress, REVISION_KEY, Shared, decode_value, encode_value};
use crate::store::{Commit, Expect, StoreError, Write};

/// Most commits that share a sync.
const MAX_GROUP: usize = 256;

pub(super) struct Request {
    pub commit: Commit,
    pub answer: oneshot::Sender<Result<u64, StoreError>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The file that sled writes, for syncing it.
    data: File,
    revision: u64,
}

type Answer = oneshot::Sender<Result<u64, StoreError>>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Commits that are taken together.
#[derive(Default)]
struct Group {
    /// What they leave of each key they write: its version, or nothing.
    versions: HashMap<String, Option<u64>>,
    batch: ::sled::Batch,
    accepted: Vec<(u64, Answer)>,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, data: File, revision: u64) -> Self {
        Self {
            shared,
            data,
            revision,
        }
    }

    /// Until every sender is gone.
    pub fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        while let Ok(first) = inbox.recv() {
            let rest = inbox.try_iter().take(MAX_GROUP - 1);
            let requests: Vec<_> = std::iter::once(first).chain(rest).collect();
            self.take(requests);
        }
    }

    fn take(&mut self, requests: Vec<Request>) {
        let failed = self.shared.progress.borrow().check();
        if let Err(StoreError::Backend(why)) = failed {
            refuse(requests.into_iter().map(|request| request.answer), &why);
            return;
        }
        let mut group = Group::default();
        let before = self.revision;
        for Request { commit, answer } in requests {
            match self.admit(&mut group, commit) {
                Ok(number) => group.accepted.push((number, answer)),
                Err(error) => drop(answer.send(Err(error))),
            }
        }
        if group.accepted.is_empty() {
            self.revision = before;
            return;
        }
        let Group {
            versions,
            batch,
            accepted,
        } = group;
        let revision = self.revision;
        self.shared
            .unsynced()
            .extend(versions.into_keys().map(|key| (key, revision)));
        // sled panics on some failures of the disk instead of answering an error.
        let persisted = catch_unwind(AssertUnwindSafe(|| self.persist(batch)))
            .unwrap_or_else(|_| Err("sled gave up".into()));
        match persisted {
            Ok(()) => {
                self.shared
                    .progress
                    .send_replace(Progress::Synced(revision));
                self.shared.unsynced().clear();
                for (number, answer) in accepted {
                    // A caller that went away will find its commit in the store.
                    let _ = answer.send(Ok(number));
                }
            }
            Err(error) => {
                let why = format!("the disk failed ({error}); start Berth again when it is mended");
                tracing::error!("the store failed: {error}");
                self.shared
                    .progress
                    .send_replace(Progress::Failed(why.as_str().into()));
                refuse(accepted.into_iter().map(|(_, answer)| answer), &why.into());
            }
        }
    }

    /// Check a commit against the store and the commits before it in its group, and add it.
    fn admit(&mut self, group: &mut Group, commit: Commit) -> Result<u64, StoreError> {
        for (key, expect) in commit.expect {
            let version = match group.versions.get(&key) {
                Some(version) => *version,
                None => self.version_of(&key)?,
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
            match write {
                Write::Put(value) => {
                    group
                        .batch
                        .insert(key.as_bytes(), encode_value(number, &value));
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

    fn version_of(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let record = catch_unwind(AssertUnwindSafe(|| self.shared.db.get(key)))
            .map_err(|_| StoreError::Backend("sled gave up on a damaged page".into()))?
            .map_err(super::backend)?;
        record
            .map(|bytes| decode_value(key, &bytes).map(|record| record.version))
            .transpose()
    }

    fn persist(&mut self, mut batch: ::sled::Batch) -> Result<(), Failure> {
        batch.insert(REVISION_KEY, &self.revision.to_be_bytes());
        self.shared.db.apply_batch(batch)?;
        self.shared.db.flush()?;
        // sled's own flush is `sync_file_range` on Linux: it leaves out the file's length and the
        // disk's write cache.
        self.data.sync_data()?;
        Ok(())
    }
}

fn refuse(answers: impl Iterator<Item = Answer>, why: &Failure) {
    for answer in answers {
        let _ = answer.send(Err(StoreError::Backend(why.to_string().into())));
    }
}
