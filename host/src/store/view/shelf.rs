//! Instances in order: one shelf per owner and phase, and on it one ordered set per order.
//!
//! A list takes the heads of the shelves that it asks for and merges them, so the instances that it leaves
//! out cost nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;

use super::query::OrderBy;
use crate::model::{Instance, InstanceId, Phase, ProjectId};

/// What an instance is ordered by: by kind of order, and by creation and id among equals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub text: Option<Arc<str>>,
    pub phase: Option<Phase>,
    pub created_at: Timestamp,
    pub id: InstanceId,
}

/// `None` is the shelf of all projects.
type Owner = Option<ProjectId>;

#[derive(Default)]
pub(super) struct Shelves {
    shelves: HashMap<(Owner, Phase), Shelf>,
    /// Regions repeat: one copy of each.
    regions: BTreeSet<Arc<str>>,
}

#[derive(Default)]
struct Shelf {
    by_creation: BTreeSet<(Timestamp, InstanceId)>,
    by_name: BTreeSet<(Arc<str>, Timestamp, InstanceId)>,
    by_region: BTreeSet<(Arc<str>, Timestamp, InstanceId)>,
}

/// A sum that is kept, never counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub instances: u64,
    pub storage_gb: u64,
}

/// Totals by everything that a list is filtered by exactly.
#[derive(Default)]
pub(super) struct Totals(HashMap<Owner, HashMap<Bucket, Total>>);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Bucket {
    phase: Phase,
    engine: Arc<str>,
    region: Arc<str>,
}

impl Shelves {
    pub fn insert(&mut self, instance: &Instance) {
        let region = match self.regions.get(instance.region.as_str()) {
            Some(region) => region.clone(),
            None => {
                let region: Arc<str> = instance.region.as_str().into();
                self.regions.insert(region.clone());
                region
            }
        };
        let name: Arc<str> = instance.spec.name.as_str().into();
        let (at, id) = (instance.created_at, instance.id);
        for owner in [None, Some(instance.project)] {
            let shelf = self.shelves.entry((owner, instance.phase())).or_default();
            shelf.by_creation.insert((at, id));
            shelf.by_name.insert((name.clone(), at, id));
            shelf.by_region.insert((region.clone(), at, id));
        }
    }

    pub fn remove(&mut self, instance: &Instance) {
        let region: Arc<str> = instance.region.as_str().into();
        let name: Arc<str> = instance.spec.name.as_str().into();
        let (at, id) = (instance.created_at, instance.id);
        for owner in [None, Some(instance.project)] {
            let place = (owner, instance.phase());
            let Some(shelf) = self.shelves.get_mut(&place) else {
                continue;
            };
            shelf.by_creation.remove(&(at, id));
            shelf.by_name.remove(&(name.clone(), at, id));
            shelf.by_region.remove(&(region.clone(), at, id));
            if shelf.by_creation.is_empty() {
                self.shelves.remove(&place);
            }
        }
    }

    /// The keys of one shelf in order, those after `after`.
    pub fn walk(
        &self,
        owner: Owner,
        phase: Phase,
        by: OrderBy,
        descending: bool,
        after: Option<&Key>,
    ) -> Box<dyn Iterator<Item = Key> + '_> {
        let Some(shelf) = self.shelves.get(&(owner, phase)) else {
            return Box::new(std::iter::empty());
        };
        match by {
            OrderBy::CreatedAt | OrderBy::Phase => {
                let shown_phase = (by == OrderBy::Phase).then_some(phase);
                if let Some(after) = after.filter(|key| key.phase != shown_phase) {
                    // Another phase's key: all of this shelf is on one side of it.
                    let beyond = if descending {
                        shown_phase < after.phase
                    } else {
                        shown_phase > after.phase
                    };
                    if !beyond {
                        return Box::new(std::iter::empty());
                    }
                    return directed(shelf.by_creation.iter(), descending, move |(at, id)| Key {
                        text: None,
                        phase: shown_phase,
                        created_at: *at,
                        id: *id,
                    });
                }
                let range = shelf.by_creation.range(bounds(
                    after.map(|key| (key.created_at, key.id)),
                    descending,
                ));
                directed(range, descending, move |(at, id)| Key {
                    text: None,
                    phase: shown_phase,
                    created_at: *at,
                    id: *id,
                })
            }
            OrderBy::Name => walk_text(&shelf.by_name, descending, after),
            OrderBy::Region => walk_text(&shelf.by_region, descending, after),
        }
    }
}

impl Totals {
    pub fn add(&mut self, instance: &Instance) {
        for owner in [None, Some(instance.project)] {
            let buckets = self.0.entry(owner).or_default();
            let total = buckets.entry(Bucket::of(instance)).or_default();
            total.instances += 1;
            total.storage_gb += storage_of(instance);
        }
    }

    pub fn subtract(&mut self, instance: &Instance) {
        let bucket = Bucket::of(instance);
        for owner in [None, Some(instance.project)] {
            let Some(buckets) = self.0.get_mut(&owner) else {
                continue;
            };
            if let Some(total) = buckets.get_mut(&bucket) {
                total.instances -= 1;
                total.storage_gb -= storage_of(instance);
                if total.instances == 0 {
                    buckets.remove(&bucket);
                }
            }
            if buckets.is_empty() {
                self.0.remove(&owner);
            }
        }
    }

    pub fn live(&self, project: ProjectId) -> Total {
        self.sum(Some(project), |phase, _, _| phase != Phase::Deleted)
    }

    pub fn by_phase(&self) -> BTreeMap<Phase, u64> {
        let sum = |wanted| self.sum(None, |phase, _, _| phase == wanted).instances;
        Phase::ALL.map(|phase| (phase, sum(phase))).into()
    }

    /// The sum over the buckets that fit.
    pub fn sum(&self, owner: Owner, fits: impl Fn(Phase, &str, &str) -> bool) -> Total {
        let mut sum = Total::default();
        for (bucket, total) in self.0.get(&owner).into_iter().flatten() {
            if fits(bucket.phase, &bucket.engine, &bucket.region) {
                sum.instances += total.instances;
                sum.storage_gb += total.storage_gb;
            }
        }
        sum
    }
}

impl Bucket {
    fn of(instance: &Instance) -> Self {
        Self {
            phase: instance.phase(),
            engine: instance.spec.engine.as_str().into(),
            region: instance.region.as_str().into(),
        }
    }
}

fn storage_of(instance: &Instance) -> u64 {
    u64::from(instance.spec.storage_gb) * u64::from(instance.spec.replicas)
}

fn walk_text<'a>(
    set: &'a BTreeSet<(Arc<str>, Timestamp, InstanceId)>,
    descending: bool,
    after: Option<&Key>,
) -> Box<dyn Iterator<Item = Key> + 'a> {
    let after = after.and_then(|key| Some((key.text.clone()?, key.created_at, key.id)));
    directed(
        set.range(bounds(after, descending)),
        descending,
        |(text, at, id)| Key {
            text: Some(text.clone()),
            phase: None,
            created_at: *at,
            id: *id,
        },
    )
}

fn bounds<T>(after: Option<T>, descending: bool) -> (Bound<T>, Bound<T>) {
    match after {
        None => (Bound::Unbounded, Bound::Unbounded),
        Some(after) if descending => (Bound::Unbounded, Bound::Excluded(after)),
        Some(after) => (Bound::Excluded(after), Bound::Unbounded),
    }
}

fn directed<'a, T>(
    items: impl DoubleEndedIterator<Item = T> + 'a,
    descending: bool,
    key: impl Fn(T) -> Key + 'a,
) -> Box<dyn Iterator<Item = Key> + 'a> {
    if descending {
        Box::new(items.rev().map(key))
    } else {
        Box::new(items.map(key))
    }
}
