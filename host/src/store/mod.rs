//! The store: keys, versions, and commits that are all or nothing.
//!
//! `Store` is what a backend must do (memory, sled, later etcd), checked by one contract suite. `repo`
//! alone knows keys, encodings and seals. Never imports anything of this crate but the model.

use async_trait::async_trait;

/// A value with the version of its last write. Versions of a key only grow.
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
    /// The backend failed. It is unknown whether the commit was taken.
    #[error("the store failed: {0}")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A backend. A commit is acknowledged only when it would survive a power cut.
#[async_trait]
pub trait Store: Send + Sync {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError>;
    /// All keys with the prefix, in order.
    async fn scan(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, StoreError>;
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;
}

impl Commit {
    pub const MAX_WRITES: usize = 32;
}
