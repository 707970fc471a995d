//! The store: keys, versions, and commits that are all or nothing.
//!
//! `Store` is what a backend must do (memory, sled, later etcd), checked by one contract suite. `repo`
//! alone knows keys, encodings and seals. Never imports anything of this crate but the model.

use std::collections::HashSet;

use async_trait::async_trait;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod measure;
pub mod memory;
pub mod repo;
#[cfg(test)]
mod samples;
pub mod seal;
pub mod sled;
pub mod transfer;
pub mod view;

pub use memory::Memory;
pub use repo::Repo;
pub use seal::Sealer;
pub use sled::Sled;
pub use view::View;

/// A value with the version of its last write. Versions are numbers of commits: they grow over the whole
/// store, so a key that was deleted and made again never shows an old version again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    pub version: u64,
    pub value: Vec<u8>,
}

/// What must hold of a key for a commit to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Version(u64),
}

/// A set of changes that happens whole or not at all. A key stands at most once in `writes`; at
/// most `Commit::MAX_WRITES` of them (etcd's limit is near).
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub expect: Vec<(String, Expect)>,
    pub writes: Vec<(String, Write)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put(Vec<u8>),
    Delete,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation did not hold; nothing was written.
    #[error("another writer was first ({key})")]
    Conflict { key: String },
    /// The commit breaks a rule of the trait.
    #[error("a commit was malformed: {0}")]
    Malformed(String),
    /// The backend cannot take it now, a full disk for one; nothing was written.
    #[error("the store cannot write: {0}")]
    Refused(String),
    /// The backend failed. It is unknown whether the commit was taken.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A backend. A commit is acknowledged only when it would survive a power cut, and nothing is read that
/// would not.
#[async_trait]
pub trait Store: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;
    /// Keys with the prefix, in order: those after `after`, at most `limit`.
    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError>;
    /// Take the commit whole or not at all. Answers its version, which every key it put now has.
    /// Expectations are checked in their order, and a conflict names the first that does not hold.
    async fn commit(&self, commit: Commit) -> Result<u64, StoreError>;
}

impl Commit {
    pub const MAX_WRITES: usize = 64;
    pub const MAX_VALUE_BYTES: usize = 96 << 10;

    /// What no backend may be asked: too much, or a key written or expected twice.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.writes.is_empty() {
            return Err(StoreError::Malformed("it writes nothing".into()));
        }
        if self.writes.len() > Self::MAX_WRITES {
            return Err(StoreError::Malformed(format!(
                "{} writes, at most {} are allowed",
                self.writes.len(),
                Self::MAX_WRITES
            )));
        }
        for (key, write) in &self.writes {
            if let Write::Put(value) = write
                && value.len() > Self::MAX_VALUE_BYTES
            {
                return Err(StoreError::Malformed(format!(
                    "the value of {key} has {} bytes, at most {} are allowed",
                    value.len(),
                    Self::MAX_VALUE_BYTES
                )));
            }
        }
        let mut written = HashSet::new();
        if let Some((key, _)) = self.writes.iter().find(|(key, _)| !written.insert(key)) {
            return Err(StoreError::Malformed(format!("it writes {key} twice")));
        }
        let mut expected = HashSet::new();
        if let Some((key, _)) = self.expect.iter().find(|(key, _)| !expected.insert(key)) {
            return Err(StoreError::Malformed(format!("it expects {key} twice")));
        }
        Ok(())
    }
}
