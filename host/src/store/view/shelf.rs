//! Instances in order: one shelf per owner and phase, and on it one ordered set per order.
//!
//! A list takes the heads of the shelves that it asks for and merges them, so the instances that it leaves
//! out cost nothing.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::query::OrderBy;
use crate::model::{Instance, InstanceId, Phase, ProjectId};

/// Where an instance stands in an order. Equals are ordered by their id, and so by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place {
    pub rank: Rank,
    pub id: InstanceId,
}

/// What an order compares.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rank {
    CreatedAt(Timestamp),
    Name(Arc<str>),
    Region(Arc<str>),
    Phase(Phase, Timestamp),
}

/// `None` owns the instances of all projects.
pub(super) type Owner = Option<ProjectId>;

/// Texts that repeat, each kept once.
#[derive(Default)]
pub(super) struct Names(BTreeSet<Arc<str>>);

#[derive(Default)]
pub(super) struct Shelves(HashMap<(Owner, Phase), Shelf>);

#[derive(Default)]
struct Shelf {
    by_creation: BTreeSet<(Timestamp, InstanceId)>,
    by_name: BTreeSet<(Arc<str>, InstanceId)>,
    by_region: BTreeSet<(Arc<str>, InstanceId)>,
}

impl Names {
    pub fn one(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

impl Rank {
    pub fn order(&self) -> OrderBy {
        match self {
            Self::CreatedAt(_) => OrderBy::CreatedAt,
            Self::Name(_) => OrderBy::Name,
            Self::Region(_) => OrderBy::Region,
            Self::Phase(..) => OrderBy::Phase,
        }
    }
}

impl Shelves {
    pub fn insert(&mut self, instance: &Instance, names: &mut Names) {
        let name: Arc<str> = instance.spec.name.as_str().into();
        let region = names.one(&instance.region);
        let (at, id) = (instance.created_at, instance.id);
        for owner in [None, Some(instance.project)] {
            let shelf = self.0.entry((owner, instance.phase())).or_default();
            shelf.by_creation.insert((at, id));
            shelf.by_name.insert((name.clone(), id));
            shelf.by_region.insert((region.clone(), id));
        }
    }

    pub fn remove(&mut self, instance: &Instance) {
        let name: Arc<str> = instance.spec.name.as_str().into();
        let region: Arc<str> = instance.region.as_str().into();
        let (at, id) = (instance.created_at, instance.id);
        for owner in [None, Some(instance.project)] {
            let place = (owner, instance.phase());
            let Some(shelf) = self.0.get_mut(&place) else {
                continue;
            };
            shelf.by_creation.remove(&(at, id));
            shelf.by_name.remove(&(name.clone(), id));
            shelf.by_region.remove(&(region.clone(), id));
            if shelf.by_creation.is_empty() {
                self.0.remove(&place);
            }
        }
    }

    /// The places of one shelf in order, those after `after`, which is of the same order.
    pub fn walk(
        &self,
        owner: Owner,
        phase: Phase,
        by: OrderBy,
        descending: bool,
        after: Option<&Place>,
    ) -> Box<dyn Iterator<Item = Place> + '_> {
        let Some(shelf) = self.0.get(&(owner, phase)) else {
            return Box::new(std::iter::empty());
        };
        let after = after.map(|place| (&place.rank, place.id));
        match (by, after) {
            (OrderBy::CreatedAt, after) => {
                let after = after.and_then(|(rank, id)| match rank {
                    Rank::CreatedAt(at) => Some((*at, id)),
                    Rank::Name(_) | Rank::Region(_) | Rank::Phase(..) => None,
                });
                walk(&shelf.by_creation, descending, after, |(at, id)| Place {
                    rank: Rank::CreatedAt(*at),
                    id: *id,
                })
            }
            (OrderBy::Phase, after) => {
                let place = move |(at, id): &(Timestamp, InstanceId)| Place {
                    rank: Rank::Phase(phase, *at),
                    id: *id,
                };
                match after {
                    Some((Rank::Phase(reached, at), id)) if *reached == phase => {
                        walk(&shelf.by_creation, descending, Some((*at, id)), place)
                    }
                    // The whole shelf has been passed.
                    Some((Rank::Phase(reached, _), _)) if (*reached > phase) != descending => {
                        Box::new(std::iter::empty())
                    }
                    Some(_) | None => walk(&shelf.by_creation, descending, None, place),
                }
            }
            (OrderBy::Name, after) => {
                let after = after.and_then(|(rank, id)| text_of(rank).map(|text| (text, id)));
                walk(&shelf.by_name, descending, after, |(name, id)| Place {
                    rank: Rank::Name(name.clone()),
                    id: *id,
                })
            }
            (OrderBy::Region, after) => {
                let after = after.and_then(|(rank, id)| text_of(rank).map(|text| (text, id)));
                walk(&shelf.by_region, descending, after, |(region, id)| Place {
                    rank: Rank::Region(region.clone()),
                    id: *id,
                })
            }
        }
    }
}

fn text_of(rank: &Rank) -> Option<Arc<str>> {
    match rank {
        Rank::Name(text) | Rank::Region(text) => Some(text.clone()),
        Rank::CreatedAt(_) | Rank::Phase(..) => None,
    }
}

fn walk<'a, T: Ord>(
    set: &'a BTreeSet<T>,
    descending: bool,
    after: Option<T>,
    place: impl Fn(&T) -> Place + 'a,
) -> Box<dyn Iterator<Item = Place> + 'a> {
    let bounds = match after {
        None => (Bound::Unbounded, Bound::Unbounded),
        Some(after) if descending => (Bound::Unbounded, Bound::Excluded(after)),
        Some(after) => (Bound::Excluded(after), Bound::Unbounded),
    };
    let items = set.range(bounds);
    if descending {
        Box::new(items.rev().map(place))
    } else {
        Box::new(items.map(place))
    }
}
