//! A store in memory whose commits can be held after they were taken and before they are answered.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use berth::store::memory::Memory;
use berth::store::{Commit, Store, StoreError, Versioned};

use super::gate::Gate;

#[derive(Clone)]
pub struct GatedStore {
    inner: Memory,
    commits: Arc<AtomicU64>,
    gate: Arc<Mutex<Option<Gate>>>,
}

impl GatedStore {
    pub fn new(inner: Memory) -> Self {
        Self {
            inner,
            commits: Arc::default(),
            gate: Arc::default(),
        }
    }

    /// Hold the commit that is number `number` from now on.
    pub fn hold(&self, number: u64) -> Gate {
        let gate = Gate::at(self.commits.load(Ordering::SeqCst) + number);
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate.clone());
        gate
    }
}

#[async_trait]
impl Store for GatedStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn commit(&self, commit: Commit) -> Result<u64, StoreError> {
        let answer = self.inner.commit(commit).await?;
        let number = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        let gate = {
            let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            gate.clone().filter(|gate| gate.is_at(number))
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
        Ok(answer)
    }
}
