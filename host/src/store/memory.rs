//! The store in memory: for tests, and as the reference of what a backend must do.
//!
//! Clones share one store. The data outlives a simulated kill: after [`Memory::kill_at`] struck, this life's
//! handles never answer again, as a killed process never hears an answer, and [`Memory::restart`] gives a
//! handle of a new life on the same data. Never used where data must survive the process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Commit, Expect, Store, StoreError, Versioned, Write};

#[derive(Clone)]
pub struct Memory {
    data: Arc<Mutex<Data>>,
    life: Arc<Life>,
}

/// What goes wrong at a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The backend answers an error and has not taken it.
    Lost,
    /// The backend answers an error and has taken it.
    TakenUnheard,
    /// The process dies before it is taken.
    KillBefore,
    /// The process dies when it is taken, before the answer.
    KillAfter,
}

#[derive(Default)]
struct Data {
    revision: u64,
    records: BTreeMap<String, Versioned>,
}

struct Life {
    plan: Mutex<Plan>,
    killed: watch::Sender<bool>,
}

#[derive(Default)]
struct Plan {
    commits: u64,
    faults: HashMap<u64, Fault>,
    reads_fail: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    pub fn new() -> Self {
        Self::with_data(Arc::default())
    }

    /// A new life on the same data: what a restarted process sees.
    #[must_use]
    pub fn restart(&self) -> Self {
        Self::with_data(self.data.clone())
    }

    /// Let `fault` strike at this life's commit number `number`, counted from 1.
    pub fn fault_at(&self, number: u64, fault: Fault) {
        lock(&self.life.plan).faults.insert(number, fault);
    }

    /// Let every read of this life fail, until told otherwise.
    pub fn fail_reads(&self, fail: bool) {
        lock(&self.life.plan).reads_fail = fail;
    }

    /// Kill this life at once.
    pub fn kill(&self) {
        self.life.killed.send_replace(true);
    }

    /// How many commits this life has asked for, those that conflicted not counted.
    pub fn commits(&self) -> u64 {
        lock(&self.life.plan).commits
    }

    /// Resolves when this life was killed.
    pub async fn killed(&self) {
        let mut killed = self.life.killed.subscribe();
        // The sender lives as long as this handle, so waiting cannot fail.
        let _ = killed.wait_for(|killed| *killed).await;
    }

    /// All keys there are, whatever the life: for tests that look for what was left behind.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.data).records.keys().cloned().collect()
    }

    fn with_data(data: Arc<Mutex<Data>>) -> Self {
        Self {
            data,
            life: Arc::new(Life {
                plan: Mutex::default(),
                killed: watch::Sender::new(false),
            }),
        }
    }

    /// Never returns in a life that was killed.
    async fn readable(&self) -> Result<(), StoreError> {
        if *self.life.killed.borrow() {
            std::future::pending::<()>().await;
        }
        if lock(&self.life.plan).reads_fail {
            return Err(StoreError::Backend("it cannot be read".into()));
        }
        Ok(())
    }

    fn take(&self, commit: Commit) -> Answer {
        // The data's lock is held over the whole decision, so commits and faults have one order.
        let mut data = lock(&self.data);
        if *self.life.killed.borrow() {
            return Answer::Never;
        }
        if let Err(conflict) = data.check(&commit) {
            return Answer::Now(Err(conflict));
        }
        let fault = {
            let mut plan = lock(&self.life.plan);
            plan.commits += 1;
            let number = plan.commits;
            plan.faults.remove(&number)
        };
        match fault {
            None => Answer::Now(Ok(data.write(commit))),
            Some(Fault::Lost) => Answer::Now(Err(unheard())),
            Some(Fault::TakenUnheard) => {
                data.write(commit);
                Answer::Now(Err(unheard()))
            }
            Some(Fault::KillBefore) => {
                self.kill();
                Answer::Never
            }
            Some(Fault::KillAfter) => {
                data.write(commit);
                self.kill();
                Answer::Never
            }
        }
    }
}

enum Answer {
    Now(Result<u64, StoreError>),
    Never,
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.readable().await?;
        Ok(lock(&self.data).records.get(key).cloned())
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.readable().await?;
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        Ok(lock(&self.data)
            .records
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    async fn commit(&self, commit: Commit) -> Result<u64, StoreError> {
        commit.check()?;
        match self.take(commit) {
            Answer::Now(answer) => answer,
            Answer::Never => std::future::pending().await,
        }
    }
}

impl Data {
    fn check(&self, commit: &Commit) -> Result<(), StoreError> {
        for (key, expect) in &commit.expect {
            let version = self.records.get(key).map(|record| record.version);
            let holds = match expect {
                Expect::Absent => version.is_none(),
                Expect::Version(expected) => version == Some(*expected),
            };
            if !holds {
                return Err(StoreError::Conflict { key: key.clone() });
            }
        }
        Ok(())
    }

    fn write(&mut self, commit: Commit) -> u64 {
        self.revision += 1;
        let version = self.revision;
        for (key, write) in commit.writes {
            match write {
                Write::Put(value) => {
                    self.records.insert(key, Versioned { version, value });
                }
                Write::Delete => {
                    self.records.remove(&key);
                }
            }
        }
        version
    }
}

fn unheard() -> StoreError {
    StoreError::Backend("the answer was lost".into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
