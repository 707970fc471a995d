//! The read model: every instance in memory, in the orders in which lists are asked for.
//!
//! It is fed by each commit and by nothing else, and it is never written to the store. An update carries the
//! version of its commit, and one that is older than what is shown is dropped: it does not matter in which
//! order commits that raced report here.

mod operations;
mod query;
mod shelf;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use jiff::Timestamp;

use crate::model::project::ApiKey;
use crate::model::{
    Alias, Instance, InstanceId, KeyId, NodeName, OperationId, OperationKind, Phase, ProjectId,
};

pub use operations::{OperationBrief, OperationQuery};
pub use query::{Cursor, InstanceQuery, Order, OrderBy, Page};

use operations::Operations;
use shelf::{Names, Shelves};
use totals::Totals;

/// What is shown. Readers never wait for the store.
#[derive(Default)]
pub struct View(RwLock<Inner>);

#[derive(Default)]
struct Inner {
    instances: HashMap<InstanceId, Shown>,
    aliases: HashMap<Alias, InstanceId>,
    shelves: Shelves,
    totals: Totals,
    names: Names,
    ports: HashSet<(NodeName, u16)>,
    uids: HashSet<(NodeName, u32)>,
    /// Instances that were removed since the last two sweeps, with the version of their removal.
    removed: [HashMap<InstanceId, u64>; 2],
    operations: Operations,
    /// By the keyed hash of their secret.
    api_keys: HashMap<[u8; 32], Arc<ApiKey>>,
}

struct Shown {
    version: u64,
    instance: Arc<Instance>,
}

/// What a commit means for the read model.
#[derive(Clone, Debug)]
pub(super) enum Update {
    Instance(Arc<Instance>),
    InstanceRemoved(InstanceId),
    Operation(OperationBrief),
    OperationRemoved(OperationId),
    /// With the keyed hash of its secret.
    ApiKey([u8; 32], ApiKey),
    ApiKeyRemoved(KeyId),
}

impl View {
    pub fn get(&self, id: InstanceId) -> Option<Arc<Instance>> {
        let inner = self.read();
        inner.instances.get(&id).map(|shown| shown.instance.clone())
    }

    pub fn by_alias(&self, alias: &Alias) -> Option<Arc<Instance>> {
        let inner = self.read();
        let id = inner.aliases.get(alias)?;
        inner.instances.get(id).map(|shown| shown.instance.clone())
    }

    /// A page of a list. Without filters, or with those for project and phases, it costs the
    /// same however many instances there are.
    pub fn list(&self, query: &InstanceQuery) -> Page<Arc<Instance>, Cursor> {
        query::list(&self.read(), query)
    }

    pub fn operation(&self, id: OperationId) -> Option<OperationBrief> {
        self.read().operations.get(id)
    }

    /// Newest first.
    pub fn operations(&self, query: &OperationQuery) -> Page<OperationBrief, OperationId> {
        self.read().operations.list(query)
    }

    /// How many operations have not ended, by kind. It costs the same however many there are.
    pub fn open_operations(&self) -> HashMap<OperationKind, usize> {
        self.read().operations.open()
    }

    /// Instances of the project that are not deleted.
    pub fn live_count(&self, project: ProjectId) -> u64 {
        self.read().totals.live(project).instances
    }

    /// Storage of the project's instances that are not deleted.
    pub fn storage_gb(&self, project: ProjectId) -> u64 {
        self.read().totals.live(project).storage_gb
    }

    /// How many instances are in each phase.
    pub fn count_by_phase(&self) -> BTreeMap<Phase, u64> {
        self.read().totals.by_phase()
    }

    /// The same by engine too; what there is none of is left out.
    pub fn counts(&self) -> BTreeMap<(Phase, String), u64> {
        self.read().totals.by_phase_and_engine()
    }

    pub(super) fn api_key(&self, mac: &[u8; 32]) -> Option<Arc<ApiKey>> {
        self.read().api_keys.get(mac).cloned()
    }

    pub(super) fn api_keys(&self) -> Vec<ApiKey> {
        let inner = self.read();
        inner.api_keys.values().map(|key| (**key).clone()).collect()
    }

    /// Operations that ended before `cutoff`, and of each instance all finished ones but the `newest`.
    pub(super) fn forgettable_operations(
        &self,
        cutoff: Timestamp,
        newest: usize,
    ) -> Vec<OperationId> {
        self.read().operations.forgettable(cutoff, newest)
    }

    pub(super) fn port_is_reserved(&self, node: &NodeName, port: u16) -> bool {
        self.read().ports.contains(&(node.clone(), port))
    }

    pub(super) fn uid_is_reserved(&self, node: &NodeName, uid: u32) -> bool {
        self.read().uids.contains(&(node.clone(), uid))
    }

    pub(super) fn apply(&self, version: u64, updates: Vec<Update>) {
        self.fill(updates.into_iter().map(|update| (version, update)));
    }

    /// Apply updates of many commits.
    pub(super) fn fill(&self, updates: impl IntoIterator<Item = (u64, Update)>) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (version, update) in updates {
            match update {
                Update::Instance(instance) => inner.show(version, instance),
                Update::InstanceRemoved(id) => inner.remove(version, id),
                Update::Operation(brief) => inner.operations.show(version, brief),
                Update::OperationRemoved(id) => inner.operations.remove(version, id),
                // Keys are made and removed, never changed: there is no order to keep.
                Update::ApiKey(mac, key) => drop(inner.api_keys.insert(mac, Arc::new(key))),
                Update::ApiKeyRemoved(id) => inner.api_keys.retain(|_, key| key.id != id),
            }
        }
    }

    /// Forget removals that are two calls old: nothing older than them can still be on its way.
    pub(super) fn sweep(&self) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let [newer, older] = &mut inner.removed;
        *older = std::mem::take(newer);
        inner.operations.sweep();
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn show(&mut self, version: u64, instance: Arc<Instance>) {
        let id = instance.id;
        let outdated = self
            .removed
            .iter()
            .any(|gone| gone.get(&id) > Some(&version))
            || self
                .instances
                .get(&id)
                .is_some_and(|shown| shown.version > version);
        if outdated {
            return;
        }
        self.take_down(id);
        self.shelves.insert(&instance, &mut self.names);
        self.totals.add(&instance, &mut self.names);
        for port in &instance.reservation.ports {
            self.ports.insert((instance.node.clone(), *port));
        }
        if let Some(uid) = instance.reservation.uid {
            self.uids.insert((instance.node.clone(), uid));
        }
        self.aliases.insert(instance.alias.clone(), id);
        self.instances.insert(id, Shown { version, instance });
    }

    fn remove(&mut self, version: u64, id: InstanceId) {
        let [newer, _] = &mut self.removed;
        newer.insert(id, version);
        let current = self
            .instances
            .get(&id)
            .is_some_and(|shown| shown.version <= version);
        if current {
            self.take_down(id);
        }
    }

    fn take_down(&mut self, id: InstanceId) {
        let Some(Shown { instance, .. }) = self.instances.remove(&id) else {
            return;
        };
        self.shelves.remove(&instance);
        self.totals.subtract(&instance, &mut self.names);
        for port in &instance.reservation.ports {
            self.ports.remove(&(instance.node.clone(), *port));
        }
        if let Some(uid) = instance.reservation.uid {
            self.uids.remove(&(instance.node.clone(), uid));
        }
        self.aliases.remove(&instance.alias);
    }
}
