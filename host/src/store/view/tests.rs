//! The read model against a plain list that is sorted and counted each time.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{Timestamp, ToSpan};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{Cursor, InstanceQuery, OperationBrief, OperationQuery, Order, OrderBy, Update, View};
use crate::model::{
    Alias, Instance, InstanceId, OperationId, OperationKind, OperationStatus, Phase, ProjectId,
};
use crate::store::samples::new_instance;

const ORDERS: [OrderBy; 4] = [
    OrderBy::CreatedAt,
    OrderBy::Name,
    OrderBy::Region,
    OrderBy::Phase,
];

fn project(number: u128) -> ProjectId {
    ProjectId(uuid::Uuid::from_u128(number))
}

fn instance(random: &mut StdRng, id: InstanceId) -> Arc<Instance> {
    let names = ["main", "Main", "cache", "orders", "orders-2"];
    let mut new = new_instance(names.choose(random).unwrap());
    new.project = project(random.random_range(0..3));
    new.region = (*["nyc1", "fr-par"].choose(random).unwrap()).to_owned();
    new.spec.engine = (*["one", "two"].choose(random).unwrap()).to_owned();
    new.spec.storage_gb = random.random_range(1..100);
    let tags = ["blue", "large", "old"].into_iter();
    let tags = tags.filter(|_| random.random_bool(0.5)).map(str::to_owned);
    new.policy.tags = tags.collect();
    let phase = *Phase::ALL.choose(random).unwrap();
    let created_at = Timestamp::UNIX_EPOCH + random.random_range(0..40).hours();
    Arc::new(Instance::recorded(
        new,
        id,
        Alias::generate(),
        phase,
        created_at,
    ))
}

/// What a list must be.
fn expected(all: &[Arc<Instance>], query: &InstanceQuery) -> Vec<Arc<Instance>> {
    let fits = |instance: &&Arc<Instance>| {
        let phases = &query.phases;
        let shown = if phases.is_empty() {
            instance.phase() != Phase::Deleted
        } else {
            phases.contains(&instance.phase())
        };
        let name = instance.spec.name.as_str().to_lowercase();
        shown
            && query.project.is_none_or(|id| id == instance.project)
            && query
                .projects
                .as_ref()
                .is_none_or(|ids| ids.contains(&instance.project))
            && query
                .tags
                .iter()
                .all(|tag| instance.policy.tags.contains(tag))
            && query.region.as_ref().is_none_or(|r| *r == instance.region)
            && query
                .engine
                .as_ref()
                .is_none_or(|e| *e == instance.spec.engine)
            && query
                .name_contains
                .as_ref()
                .is_none_or(|part| name.contains(&part.to_lowercase()))
    };
    let mut list: Vec<Arc<Instance>> = all.iter().filter(fits).cloned().collect();
    list.sort_by_key(|i| match query.order.by {
        OrderBy::CreatedAt => (String::new(), Phase::Creating, i.created_at, i.id),
        OrderBy::Name => (
            i.spec.name.as_str().to_owned(),
            Phase::Creating,
            Timestamp::MIN,
            i.id,
        ),
        OrderBy::Region => (i.region.clone(), Phase::Creating, Timestamp::MIN, i.id),
        OrderBy::Phase => (String::new(), i.phase(), i.created_at, i.id),
    });
    if query.order.descending {
        list.reverse();
    }
    list
}

fn queries(random: &mut StdRng) -> Vec<InstanceQuery> {
    let mut queries = Vec::new();
    for by in ORDERS {
        for descending in [false, true] {
            for _ in 0..6 {
                let maybe = |random: &mut StdRng| random.random_bool(0.4);
                let mut query = InstanceQuery {
                    order: Order { by, descending },
                    ..InstanceQuery::default()
                };
                query.project = maybe(random).then(|| project(random.random_range(0..4)));
                query.projects = maybe(random).then(|| vec![project(0), project(2)]);
                if maybe(random) {
                    query.tags = vec!["blue".to_owned(), "old".to_owned()];
                }
                query.region = maybe(random).then(|| "fr-par".to_owned());
                query.engine = maybe(random).then(|| "one".to_owned());
                query.name_contains = maybe(random).then(|| "RDER".to_owned());
                if maybe(random) {
                    query.phases = vec![Phase::Deleted, Phase::Running, Phase::Failed];
                }
                queries.push(query);
            }
        }
    }
    queries
}

#[test]
fn lists_pages_and_totals_are_those_of_a_plain_list() {
    let mut random = StdRng::seed_from_u64(7);
    let view = View::default();
    let mut all: Vec<Arc<Instance>> = Vec::new();
    for version in 1..=600 {
        // New ones, changed ones and removed ones.
        match random.random_range(0..10) {
            0..6 => all.push(instance(&mut random, InstanceId::generate())),
            6..9 if !all.is_empty() => {
                let at = random.random_range(0..all.len());
                let changed = instance(&mut random, all[at].id);
                all.remove(at);
                all.push(changed);
            }
            _ if !all.is_empty() => {
                let gone = all.swap_remove(random.random_range(0..all.len()));
                view.apply(version, vec![Update::InstanceRemoved(gone.id)]);
                continue;
            }
            _ => continue,
        }
        let newest = all.last().unwrap().clone();
        view.apply(version, vec![Update::Instance(newest)]);
    }
    for query in queries(&mut random) {
        let expected = expected(&all, &query);
        let whole = view.list(&query);
        assert_eq!(whole.items, expected, "{query:?}");
        assert_eq!(whole.total, expected.len(), "{query:?}");
        assert!(whole.next.is_none());

        let mut paged = Vec::new();
        let mut query = InstanceQuery {
            limit: Some(7),
            ..query
        };
        loop {
            let page = view.list(&query);
            assert_eq!(page.total, expected.len(), "{query:?}");
            paged.extend(page.items);
            let Some(next) = page.next else { break };
            let text = next.encode();
            query.after = Some(Cursor::parse(&text, query.order, "cursor").unwrap());
        }
        assert_eq!(paged, expected, "{query:?}");
        pages_by_number(&view, query, &expected);
    }
    for number in 0..4 {
        let id = project(number);
        let live = all
            .iter()
            .filter(|i| i.project == id && i.phase() != Phase::Deleted);
        let storage: u64 = live.clone().map(|i| u64::from(i.spec.storage_gb)).sum();
        assert_eq!(view.live_count(id), live.count() as u64);
        assert_eq!(view.storage_gb(id), storage);
    }
    for phase in Phase::ALL {
        let count = all.iter().filter(|i| i.phase() == phase).count() as u64;
        assert_eq!(view.count_by_phase()[&phase], count);
    }
    for instance in &all {
        assert_eq!(view.by_alias(&instance.alias).as_ref(), Some(instance));
    }
}

/// Pages that are counted hold the same, also the one past the end.
fn pages_by_number(view: &View, query: InstanceQuery, expected: &[Arc<Instance>]) {
    for size in [1, 7, 1000] {
        let mut numbered = Vec::new();
        for page in 0.. {
            let query = InstanceQuery {
                after: None,
                skip: page * size,
                limit: Some(size),
                ..query.clone()
            };
            let found = view.list(&query);
            assert_eq!(found.total, expected.len(), "{query:?}");
            if found.items.is_empty() {
                break;
            }
            let full = found.items.len() == size;
            assert!(full || found.next.is_none(), "{query:?}");
            numbered.extend(found.items);
        }
        assert_eq!(numbered, expected, "{query:?}");
    }
}

#[test]
fn a_page_goes_on_where_it_ended_when_that_is_gone() {
    let mut random = StdRng::seed_from_u64(1);
    let view = View::default();
    for version in 1..=50 {
        let instance = instance(&mut random, InstanceId::generate());
        view.apply(version, vec![Update::Instance(instance)]);
    }
    for by in ORDERS {
        for descending in [false, true] {
            let mut query = InstanceQuery {
                order: Order { by, descending },
                ..InstanceQuery::default()
            };
            let whole = view.list(&query).items;
            query.limit = Some(5);
            query.after = view.list(&query).next;
            view.apply(100, vec![Update::InstanceRemoved(whole[4].id)]);
            assert_eq!(view.list(&query).items, whole[5..10]);
            view.sweep();
            view.sweep();
            view.apply(100, vec![Update::Instance(whole[4].clone())]);
        }
    }
}

#[test]
fn updates_that_come_late_change_nothing() {
    let mut random = StdRng::seed_from_u64(2);
    let view = View::default();
    let id = InstanceId::generate();
    let states: Vec<_> = (0..4).map(|_| instance(&mut random, id)).collect();
    for version in [2, 0, 1] {
        let state = states[version].clone();
        view.apply(version as u64, vec![Update::Instance(state)]);
        assert_eq!(view.get(id), Some(states[2].clone()));
    }
    view.apply(1, vec![Update::InstanceRemoved(id)]);
    assert_eq!(view.get(id), Some(states[2].clone()));
    view.apply(3, vec![Update::InstanceRemoved(id)]);
    assert_eq!(view.get(id), None);
    view.sweep();
    view.apply(2, vec![Update::Instance(states[2].clone())]);
    assert_eq!(view.get(id), None);
    let everything = InstanceQuery {
        phases: Phase::ALL.to_vec(),
        ..InstanceQuery::default()
    };
    assert_eq!(view.list(&everything).total, 0);
}

#[test]
fn cursors_that_do_not_belong_are_refused() {
    let mut random = StdRng::seed_from_u64(3);
    let view = View::default();
    for version in 1..=50 {
        let instance = instance(&mut random, InstanceId::generate());
        view.apply(version, vec![Update::Instance(instance)]);
    }
    let order = Order {
        by: OrderBy::Name,
        descending: true,
    };
    let query = InstanceQuery {
        order,
        limit: Some(5),
        ..InstanceQuery::default()
    };
    let cursor = view.list(&query).next.unwrap();
    let text = cursor.encode();
    assert_eq!(Cursor::parse(&text, order, "cursor").unwrap(), cursor);
    let other = Order {
        by: OrderBy::Region,
        ..order
    };
    let ascending = Order {
        descending: false,
        ..order
    };
    for (text, order) in [
        (text.as_str(), other),
        (text.as_str(), ascending),
        ("", order),
        ("a page, please", order),
        (&text[1..], order),
    ] {
        let refused = Cursor::parse(text, order, "cursor").unwrap_err();
        assert!(refused.public().contains("cursor"));
    }
}

fn operation(instance: InstanceId, status: OperationStatus, hour: i64) -> OperationBrief {
    let ended_at = Timestamp::UNIX_EPOCH + hour.hours();
    OperationBrief {
        id: OperationId::generate(),
        instance,
        project: project(0),
        kind: OperationKind::Restart,
        status,
        finished_at: status.is_terminal().then_some(ended_at),
    }
}

#[test]
fn open_operations_are_as_many_as_in_a_plain_list() {
    let mut random = StdRng::seed_from_u64(11);
    let view = View::default();
    let mut all: Vec<(u64, OperationBrief)> = Vec::new();
    let instance = InstanceId::generate();
    let mut most = 0;
    for version in 2..=800 {
        let status = *OperationStatus::ALL.choose(&mut random).unwrap();
        let mut brief = operation(instance, status, 1);
        brief.kind = *OperationKind::ALL.choose(&mut random).unwrap();
        match random.random_range(0..10) {
            0..4 => {
                all.push((version, brief));
                view.apply(version, vec![Update::Operation(brief)]);
            }
            at if !all.is_empty() => {
                let chosen = random.random_range(0..all.len());
                let (shown_at, shown) = all[chosen];
                brief.id = shown.id;
                match at {
                    4..7 => {
                        all[chosen] = (version, brief);
                        view.apply(version, vec![Update::Operation(brief)]);
                    }
                    // What comes late changes nothing.
                    7 => view.apply(shown_at - 1, vec![Update::Operation(brief)]),
                    8 => view.apply(shown_at - 1, vec![Update::OperationRemoved(shown.id)]),
                    _ => {
                        all.swap_remove(chosen);
                        view.apply(version, vec![Update::OperationRemoved(shown.id)]);
                        view.apply(shown_at, vec![Update::Operation(brief)]);
                    }
                }
            }
            _ => {}
        }
        let open = view.open_operations();
        for kind in OperationKind::ALL {
            let is_open = |(_, brief): &&(u64, OperationBrief)| {
                brief.kind == kind && !brief.status.is_terminal()
            };
            let expected = all.iter().filter(is_open).count();
            assert_eq!(open.get(&kind).copied().unwrap_or(0), expected, "{kind:?}");
            let query = OperationQuery {
                kind: Some(kind),
                finished: Some(false),
                ..OperationQuery::default()
            };
            assert_eq!(view.operations(&query).total, expected, "{kind:?}");
            most = most.max(expected);
        }
    }
    assert!(most > 5, "there was something to count");
}

#[test]
fn operations_are_forgotten_by_age_and_by_number_and_open_ones_never() {
    let view = View::default();
    let (one, other) = (InstanceId::generate(), InstanceId::generate());
    // The oldest of all, and never over.
    let mut briefs = vec![operation(one, OperationStatus::Running, 0)];
    for hour in 1..=5 {
        briefs.push(operation(one, OperationStatus::Succeeded, hour));
        briefs.push(operation(other, OperationStatus::Failed, hour));
    }
    let updates = briefs.iter().map(|brief| Update::Operation(*brief));
    view.apply(1, updates.collect());
    let at = |hour: i64| Timestamp::UNIX_EPOCH + hour.hours();
    let forgettable = |cutoff, newest| {
        let ids = view.forgettable_operations(cutoff, newest);
        ids.into_iter().collect::<BTreeSet<_>>()
    };
    let of = |hours: &[i64]| {
        let ends: Vec<_> = hours.iter().map(|hour| Some(at(*hour))).collect();
        let ended = briefs.iter().filter(|b| ends.contains(&b.finished_at));
        ended.map(|brief| brief.id).collect::<BTreeSet<_>>()
    };
    assert_eq!(forgettable(Timestamp::MIN, 5), of(&[]));
    assert_eq!(forgettable(at(3), 5), of(&[1, 2]));
    assert_eq!(forgettable(Timestamp::MIN, 2), of(&[1, 2, 3]));
    assert_eq!(forgettable(at(5), 2), of(&[1, 2, 3, 4]));
    assert_eq!(forgettable(Timestamp::MAX, 0), of(&[1, 2, 3, 4, 5]));
}
