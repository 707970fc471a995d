//! What a list can be asked for, and how a page is cut.

use std::iter::Peekable;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Inner;
use super::shelf::Place;
use crate::model::{Error, Instance, Phase, ProjectId, Result};

/// Filters that are empty or none let everything pass, but instances in `Deleted` are shown
/// only when that phase is asked for.
#[derive(Clone, Debug, Default)]
pub struct InstanceQuery {
    pub project: Option<ProjectId>,
    /// Those of any of these projects.
    pub projects: Option<Vec<ProjectId>>,
    pub phases: Vec<Phase>,
    pub engine: Option<String>,
    pub region: Option<String>,
    /// Regardless of case.
    pub name_contains: Option<String>,
    /// Those that have all of these.
    pub tags: Vec<String>,
    pub order: Order,
    pub after: Option<Cursor>,
    /// How many are passed over, for who counts pages.
    pub skip: usize,
    /// None is the whole list.
    pub limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    pub by: OrderBy,
    pub descending: bool,
}

/// Equals are in the order of their creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    #[default]
    CreatedAt,
    Name,
    Region,
    Phase,
}

/// Where a page ended. It stays good when the instance it names is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    descending: bool,
    place: Place,
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page<T, C> {
    pub items: Vec<T>,
    /// Set when there is more.
    pub next: Option<C>,
    /// How many there are on all pages.
    pub total: usize,
}

impl Cursor {
    /// Text for a link; opaque to callers.
    pub fn encode(&self) -> String {
        // Texts, numbers and enums can always be written.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What `encode` made for a list in this order. Anything else is refused as the field `field`.
    pub fn parse(text: &str, order: Order, field: &str) -> Result<Self> {
        let refuse = |help: &str| Error::invalid_field(field, "is not a valid cursor", help);
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Self = json
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or_else(|| refuse("take it unchanged from the answer before"))?;
        let made_for = Order {
            by: cursor.place.rank.order(),
            descending: cursor.descending,
        };
        if made_for != order {
            return Err(refuse("it belongs to a list in another order"));
        }
        Ok(cursor)
    }
}

impl InstanceQuery {
    fn phases(&self) -> impl Iterator<Item = Phase> {
        Phase::ALL.into_iter().filter(|phase| {
            if self.phases.is_empty() {
                *phase != Phase::Deleted
            } else {
                self.phases.contains(phase)
            }
        })
    }

    fn fits(&self, instance: &Instance, needle: Option<&str>) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let projects = self.projects.as_ref();
        same(&self.engine, &instance.spec.engine)
            && projects.is_none_or(|projects| projects.contains(&instance.project))
            && self
                .tags
                .iter()
                .all(|tag| instance.policy.tags.contains(tag))
            && same(&self.region, &instance.region)
            && needle.is_none_or(|needle| {
                let name = instance.spec.name.as_str().to_ascii_lowercase();
                name.contains(needle)
            })
    }
}

pub(super) fn list(inner: &Inner, query: &InstanceQuery) -> Page<Arc<Instance>, Cursor> {
    let needle = query.name_contains.as_ref().map(|n| n.to_ascii_lowercase());
    let limit = query.limit.unwrap_or(usize::MAX);
    let mut items = Vec::new();
    let mut last = None;
    let mut more = false;
    let mut to_skip = query.skip;
    for place in merged(inner, query, query.after.as_ref()) {
        let Some(shown) = inner.instances.get(&place.id) else {
            continue;
        };
        if !query.fits(&shown.instance, needle.as_deref()) {
            continue;
        }
        if to_skip > 0 {
            to_skip -= 1;
            continue;
        }
        if items.len() == limit {
            more = true;
            break;
        }
        items.push(shown.instance.clone());
        last = Some(place);
    }
    let next = last.filter(|_| more).map(|place| Cursor {
        descending: query.order.descending,
        place,
    });
    Page {
        items,
        next,
        total: total(inner, query, needle.as_deref()),
    }
}

/// What most lists filter by has totals that are kept; the rest must be looked for.
fn total(inner: &Inner, query: &InstanceQuery, needle: Option<&str>) -> usize {
    if needle.is_some() || query.projects.is_some() || !query.tags.is_empty() {
        return merged(inner, query, None)
            .filter_map(|place| inner.instances.get(&place.id))
            .filter(|shown| query.fits(&shown.instance, needle))
            .count();
    }
    let phases: Vec<Phase> = query.phases().collect();
    let sum = inner.totals.sum(query.project, |phase, engine, region| {
        phases.contains(&phase)
            && query.engine.as_deref().is_none_or(|e| e == engine)
            && query.region.as_deref().is_none_or(|r| r == region)
    });
    usize::try_from(sum.instances).unwrap_or(usize::MAX)
}

/// The places on every shelf that is asked for, as one ordered walk.
fn merged<'a>(
    inner: &'a Inner,
    query: &InstanceQuery,
    after: Option<&Cursor>,
) -> impl Iterator<Item = Place> + use<'a> {
    let Order { by, descending } = query.order;
    let mut walks: Vec<Peekable<_>> = query
        .phases()
        .map(|phase| {
            let after = after.map(|cursor| &cursor.place);
            let walk = inner
                .shelves
                .walk(query.project, phase, by, descending, after);
            walk.peekable()
        })
        .collect();
    std::iter::from_fn(move || {
        let mut best: Option<(usize, Place)> = None;
        for (i, walk) in walks.iter_mut().enumerate() {
            let Some(place) = walk.peek() else { continue };
            let better = best.as_ref().is_none_or(|(_, best)| {
                if descending {
                    place > best
                } else {
                    place < best
                }
            });
            if better {
                best = Some((i, place.clone()));
            }
        }
        best.and_then(|(i, _)| walks[i].next())
    })
}
