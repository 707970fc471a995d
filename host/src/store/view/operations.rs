//! Which operations there are, so that a list of them never scans the store. The records themselves, with
//! steps and errors, stay there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::Page;
use crate::model::{InstanceId, Operation, OperationId, OperationKind, OperationStatus, ProjectId};

/// What lists filter by, and what a status table needs of a running operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationBrief {
    pub id: OperationId,
    pub instance: InstanceId,
    pub project: ProjectId,
    pub kind: OperationKind,
    pub status: OperationStatus,
    pub finished_at: Option<Timestamp>,
}

/// Filters that are none let everything pass.
#[derive(Clone, Debug, Default)]
pub struct OperationQuery {
    pub instance: Option<InstanceId>,
    pub project: Option<ProjectId>,
    pub kind: Option<OperationKind>,
    pub status: Option<OperationStatus>,
    /// Only those that have ended, or only those that have not.
    pub finished: Option<bool>,
    pub after: Option<OperationId>,
    pub limit: Option<usize>,
}

#[derive(Default)]
pub(super) struct Operations {
    /// Ids sort by time.
    all: BTreeMap<OperationId, (u64, OperationBrief)>,
    by_instance: BTreeSet<(InstanceId, OperationId)>,
    /// How many have not ended: kept with each change, never counted.
    open: HashMap<OperationKind, usize>,
    removed: [HashMap<OperationId, u64>; 2],
}

impl From<&Operation> for OperationBrief {
    fn from(operation: &Operation) -> Self {
        Self {
            id: operation.id,
            instance: operation.instance,
            project: operation.project,
            kind: operation.kind,
            status: operation.status,
            finished_at: operation.finished_at,
        }
    }
}

impl OperationQuery {
    fn fits(&self, brief: &OperationBrief) -> bool {
        self.instance.is_none_or(|id| id == brief.instance)
            && self.project.is_none_or(|id| id == brief.project)
            && self.kind.is_none_or(|kind| kind == brief.kind)
            && self.status.is_none_or(|status| status == brief.status)
            && self
                .finished
                .is_none_or(|finished| finished == brief.status.is_terminal())
    }
}

impl Operations {
    pub fn get(&self, id: OperationId) -> Option<OperationBrief> {
        self.all.get(&id).map(|(_, brief)| *brief)
    }

    pub fn list(&self, query: &OperationQuery) -> Page<OperationBrief, OperationId> {
        match query.instance {
            Some(instance) => {
                let whole = (instance, OperationId(uuid::Uuid::nil()))
                    ..=(instance, OperationId(uuid::Uuid::max()));
                let ids = self.by_instance.range(whole).rev().map(|(_, id)| *id);
                cut(ids.filter_map(|id| self.get(id)), query)
            }
            None => cut(self.all.values().rev().map(|(_, brief)| *brief), query),
        }
    }

    pub fn show(&mut self, version: u64, brief: OperationBrief) {
        let outdated = self
            .removed
            .iter()
            .any(|gone| gone.get(&brief.id) > Some(&version))
            || self
                .all
                .get(&brief.id)
                .is_some_and(|(shown, _)| *shown > version);
        if outdated {
            return;
        }
        self.by_instance.insert((brief.instance, brief.id));
        if !brief.status.is_terminal() {
            *self.open.entry(brief.kind).or_default() += 1;
        }
        if let Some((_, before)) = self.all.insert(brief.id, (version, brief)) {
            self.take_off(&before);
        }
    }

    pub fn remove(&mut self, version: u64, id: OperationId) {
        let [newer, _] = &mut self.removed;
        newer.insert(id, version);
        if self
            .all
            .get(&id)
            .is_some_and(|(shown, _)| *shown <= version)
            && let Some((_, brief)) = self.all.remove(&id)
        {
            self.by_instance.remove(&(brief.instance, id));
            self.take_off(&brief);
        }
    }

    /// How many have not ended, by kind.
    pub fn open(&self) -> HashMap<OperationKind, usize> {
        self.open.clone()
    }

    fn take_off(&mut self, brief: &OperationBrief) {
        if !brief.status.is_terminal()
            && let Some(count) = self.open.get_mut(&brief.kind)
        {
            *count -= 1;
        }
    }

    pub fn sweep(&mut self) {
        let [newer, older] = &mut self.removed;
        *older = std::mem::take(newer);
    }

    /// Finished ones that ended before `cutoff`, and of each instance all but the `newest` that were begun last.
    pub fn forgettable(&self, cutoff: Timestamp, newest: usize) -> Vec<OperationId> {
        let mut forgettable = Vec::new();
        let mut finished = (None, 0);
        for (instance, id) in self.by_instance.iter().rev() {
            if finished.0 != Some(*instance) {
                finished = (Some(*instance), 0);
            }
            let Some(at) = self.get(*id).and_then(|brief| brief.finished_at) else {
                continue;
            };
            finished.1 += 1;
            if at < cutoff || finished.1 > newest {
                forgettable.push(*id);
            }
        }
        forgettable
    }
}

fn cut(
    briefs: impl Iterator<Item = OperationBrief>,
    query: &OperationQuery,
) -> Page<OperationBrief, OperationId> {
    let limit = query.limit.unwrap_or(usize::MAX);
    let mut page = Page {
        items: Vec::new(),
        next: None,
        total: 0,
    };
    let mut more = false;
    for brief in briefs.filter(|brief| query.fits(brief)) {
        page.total += 1;
        if query.after.is_some_and(|after| brief.id >= after) {
            continue;
        }
        if page.items.len() < limit {
            page.items.push(brief);
        } else {
            more = true;
        }
    }
    page.next = page.items.last().filter(|_| more).map(|brief| brief.id);
    page
}
