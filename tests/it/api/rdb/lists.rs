//! Lists of instances, paged, ordered and filtered, against a plain list that is filtered and sorted each time.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::super::harness::{Berth, with};
use super::{FIRST, NOBODY, ORGANIZATION, SECOND, ask, get, start, status, wanted};

const INSTANCES: usize = 24;
const ORDERS: [&str; 7] = [
    "created_at_asc",
    "created_at_desc",
    "name_asc",
    "name_desc",
    "region",
    "status_asc",
    "status_desc",
];

/// What a list is asked for.
#[derive(Debug, Default)]
struct Asked {
    order: Option<&'static str>,
    name: Option<&'static str>,
    tags: Vec<&'static str>,
    project: Option<&'static str>,
    organization: Option<&'static str>,
    maintenances: Option<bool>,
}

#[tokio::test]
async fn lists_are_those_of_a_plain_list() {
    let berth = start().await;
    let mut random = StdRng::seed_from_u64(11);
    let all = make(&berth, &mut random).await;
    for round in 0..80 {
        let asked = any(&mut random, round);
        let expected = expected(&all, &asked);
        for size in [1, 5, 20, 1000] {
            let mut found = Vec::new();
            for page in 1.. {
                let path = format!("/instances?{}&page={page}&page_size={size}", asked.query());
                let listed = ask(&berth, &berth.admin, "get", &path, &Value::Null).await;
                assert_eq!(listed.header("x-total-count"), None);
                let listed = listed.expect(200);
                assert_eq!(listed["total_count"], expected.len(), "{asked:?}");
                let items = listed["instances"].as_array().unwrap().clone();
                let full = items.len() == size;
                found.extend(items.iter().map(|item| item["id"].clone()));
                // Clients stop at a page that is not full, or at one that is empty.
                if !full {
                    break;
                }
            }
            let expected: Vec<Value> = expected.iter().map(|item| item["id"].clone()).collect();
            assert_eq!(found, expected, "{asked:?} by {size}");
        }
    }
}

#[tokio::test]
async fn a_page_past_the_end_is_empty_and_a_bad_one_is_refused() {
    let berth = start().await;
    let empty = get(&berth, "/instances?page=7").await.expect(200);
    assert_eq!(empty, json!({ "instances": [], "total_count": 0 }));
    for (query, argument, reason) in [
        ("page=0", "page", "constraint"),
        ("page_size=0", "page_size", "constraint"),
        ("page_size=1001", "page_size", "constraint"),
        ("page=x", "page", "format"),
        ("order_by=size", "order_by", "constraint"),
        ("project_id=mine", "project_id", "format"),
        ("has_maintenances=maybe", "has_maintenances", "format"),
        ("nmae=x", "nmae", "unknown"),
    ] {
        let refused = get(&berth, &format!("/instances?{query}")).await;
        refused.refused_arguments(&[(argument, reason)]);
    }
}

/// Instances of both projects, some of them stopped: what the host shows of each, in the order of creation.
async fn make(berth: &Berth, random: &mut StdRng) -> Vec<Value> {
    let mut all = Vec::new();
    for number in 0..INSTANCES {
        let words = ["db", "Main", "orders", "cache"];
        let name = format!("{}-{number}", words.choose(random).unwrap());
        let tags: Vec<_> = ["blue", "a b", "env:dev"]
            .into_iter()
            .filter(|_| random.random_bool(0.5))
            .collect();
        let second = random.random_bool(0.3);
        let project = if second { SECOND } else { FIRST };
        let body = with(
            wanted(&name),
            json!({ "tags": tags, "project_id": project }),
        );
        let made = ask(berth, &berth.admin, "post", "/instances", &body).await;
        if made.status == 403 {
            made.refused_as(403, "quotas_exceeded");
            continue;
        }
        let made = made.expect(200);
        all.push(made["id"].as_str().unwrap().to_owned());
    }
    for id in &all {
        let path = format!("/instances/{id}");
        berth_tests::wait_for("it to be ready", async || {
            let shown = ask(berth, &berth.admin, "get", &path, &Value::Null).await;
            (shown.body["status"] == "ready").then_some(())
        })
        .await;
        if random.random_bool(0.3) {
            let path = format!("/admin/v1/instances/{id}/stop");
            berth.admin_post(&path).await.expect(202);
        }
    }
    let mut shown = Vec::new();
    for id in all {
        let path = format!("/instances/{id}");
        let settled = berth_tests::wait_for("it to settle", async || {
            let shown = ask(berth, &berth.admin, "get", &path, &Value::Null)
                .await
                .body;
            (shown["status"] == "ready" || shown["status"] == "locked").then_some(shown)
        });
        shown.push(settled.await);
    }
    shown
}

fn any(random: &mut StdRng, round: usize) -> Asked {
    let maybe = |random: &mut StdRng| random.random_bool(0.35);
    Asked {
        order: (round % 8).checked_sub(1).map(|at| ORDERS[at]),
        name: maybe(random).then(|| *["db", "ORD", "-1", "x"].choose(random).unwrap()),
        tags: ["blue", "a b", "env:dev"]
            .into_iter()
            .filter(|_| random.random_bool(0.25))
            .collect(),
        project: maybe(random).then(|| *[FIRST, SECOND, NOBODY].choose(random).unwrap()),
        organization: maybe(random).then(|| *[ORGANIZATION, NOBODY].choose(random).unwrap()),
        maintenances: random.random_bool(0.15).then(|| random.random_bool(0.5)),
    }
}

fn expected(all: &[Value], asked: &Asked) -> Vec<Value> {
    let fits = |item: &&Value| {
        let name = item["name"].as_str().unwrap().to_lowercase();
        let tags = item["tags"].as_array().unwrap();
        asked
            .name
            .is_none_or(|part| name.contains(&part.to_lowercase()))
            && asked.tags.iter().all(|tag| tags.contains(&json!(tag)))
            && asked.project.is_none_or(|id| item["project_id"] == id)
            && asked
                .organization
                .is_none_or(|id| item["organization_id"] == id)
            && asked.maintenances != Some(true)
    };
    let mut list: Vec<Value> = all.iter().filter(fits).cloned().collect();
    let order = asked.order.unwrap_or("created_at_asc");
    let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
    if order.starts_with("name") {
        list.sort_by_key(|item| text(item, "name"));
    } else if order.starts_with("status") {
        list.sort_by_key(|item| text(item, "status"));
    }
    if order.ends_with("desc") {
        list.reverse();
    }
    list
}

impl Asked {
    fn query(&self) -> String {
        let mut query = Vec::new();
        let plain = [
            ("order_by", self.order),
            ("name", self.name),
            ("project_id", self.project),
            ("organization_id", self.organization),
        ];
        query.extend(
            plain
                .iter()
                .filter_map(|(key, value)| Some(format!("{key}={}", (*value)?))),
        );
        let tags = self
            .tags
            .iter()
            .map(|tag| tag.replace(' ', "+").replace(':', "%3A"));
        query.extend(tags.map(|tag| format!("tags={tag}")));
        if let Some(maintenances) = self.maintenances {
            query.push(format!(
                "has_maintenances={}",
                if maintenances { "True" } else { "false" }
            ));
        }
        query.join("&")
    }
}

#[tokio::test]
async fn a_member_lists_its_own_projects_only() {
    let berth = start().await;
    let id = super::ready(&berth, "mine").await;
    status(&berth, &id, "ready").await;
    for (query, count) in [
        (String::new(), 1),
        (format!("?project_id={FIRST}"), 1),
        (
            format!("?project_id={FIRST}&organization_id={ORGANIZATION}"),
            1,
        ),
        (format!("?project_id={SECOND}"), 0),
    ] {
        let mine = get(&berth, &format!("/instances{query}")).await.expect(200);
        assert_eq!(mine["total_count"], count, "{query}");
        let path = format!("/instances{query}");
        let other = ask(&berth, &berth.other, "get", &path, &Value::Null).await;
        assert_eq!(other.expect(200)["total_count"], 0, "{query}");
    }
}
