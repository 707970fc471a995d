//! Filters and pages.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Berth, DATABASES, names, wanted, with};

async fn five(berth: &Berth) -> Vec<String> {
    let mut ids = Vec::new();
    for (name, region) in [
        ("a", "here"),
        ("b", "there"),
        ("c", "here"),
        ("d", "there"),
        ("e", "here"),
    ] {
        let created = berth
            .create(with(wanted(name), json!({ "region": region })))
            .await;
        let id = created.expect(201)["id"].as_str().unwrap().to_owned();
        berth.wait_status(&id, "running").await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn filters_narrow_a_list() {
    let berth = Berth::start().await;
    let ids = five(&berth).await;
    berth
        .world
        .behave(|b| b.removal_fails = Some("not now".to_owned()));
    berth
        .delete(&format!("{DATABASES}/{}", ids[1]))
        .await
        .expect(202);
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    berth.create(wanted("f")).await.expect(201);

    for (query, expected) in [
        ("", "abcdef"),
        ("?status=running", "acde"),
        ("?status=stopped", "b"),
        ("?status=provisioning", "f"),
        ("?status=error", ""),
        ("?status=destroyed", ""),
        ("?region=there", "bd"),
        ("?region=there&status=running", "d"),
        ("?region=elsewhere", ""),
        ("?type=fake", "abcdef"),
        ("?db_type=fake&region=here", "acef"),
        ("?type=fake&db_type=fake", "abcdef"),
        ("?type=other", ""),
    ] {
        let listed = berth.get(&format!("{DATABASES}{query}")).await.expect(200);
        assert_eq!(names(&listed).concat(), expected, "{query}");
    }
}

#[tokio::test]
async fn a_misspelled_filter_is_refused() {
    let berth = Berth::start().await;
    for (query, field) in [
        ("state=running", "state"),
        ("status=Running", "status"),
        ("status=", "status"),
        ("status=running&status=error", "status"),
        ("type=fake&db_type=other", "db_type"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=", "cursor"),
    ] {
        berth
            .get(&format!("{DATABASES}?{query}"))
            .await
            .refused_fields(&[field]);
    }
    let both = berth
        .get(&format!("{DATABASES}?limit=0&status=x&bogus=1"))
        .await;
    both.refused_fields(&["status", "limit", "bogus"]);
}

#[tokio::test]
async fn pages_follow_their_links_and_miss_nothing() {
    let berth = Berth::start().await;
    five(&berth).await;
    for (query, limit, expected) in [
        ("", 1, "abcde"),
        ("", 2, "abcde"),
        ("", 5, "abcde"),
        ("", 1000, "abcde"),
        ("status=running&", 2, "abcde"),
        ("region=here&", 2, "ace"),
        // Running ones are looked through for this, and none is kept.
        ("status=error&", 2, ""),
    ] {
        let mut next = Some(format!("{DATABASES}?{query}limit={limit}"));
        let mut seen = String::new();
        let mut pages = 0;
        while let Some(path) = next {
            let answer = berth.get(&path).await;
            next = answer.header("link").map(target);
            let listed = answer.expect(200);
            let page = names(&listed).concat();
            assert!(page.len() <= limit, "{path}");
            assert!(
                next.is_none() || page.len() == limit,
                "{path}: a page is full but the last"
            );
            seen.push_str(&page);
            pages += 1;
        }
        assert_eq!(seen, expected, "{query}");
        assert_eq!(pages, expected.len().div_ceil(limit).max(1), "{query}");
    }
    assert_eq!(berth.get(DATABASES).await.header("link"), None);
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_ended_whatever_happens_between() {
    let berth = Berth::start().await;
    let ids = five(&berth).await;
    let answer = berth.get(&format!("{DATABASES}?limit=2")).await;
    let next = target(answer.header("link").unwrap());
    assert_eq!(names(&answer.body), ["a", "b"]);
    berth
        .delete(&format!("{DATABASES}/{}", ids[1]))
        .await
        .expect(202);
    berth.wait_status(&ids[1], "destroyed").await;
    berth.create(wanted("f")).await.expect(201);
    let listed = berth.get(&next).await.expect(200);
    assert_eq!(names(&listed), ["c", "d"]);
}

#[tokio::test]
async fn a_member_sees_its_project_and_an_admin_sees_all() {
    let berth = Berth::start().await;
    let mine = berth.create(wanted("mine")).await.expect(201);
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
    let theirs = ask.json(&wanted("theirs")).send().await.expect(201);

    let listed = async |key: &str| -> Value {
        berth
            .ask(Method::GET, DATABASES)
            .key(key)
            .send()
            .await
            .expect(200)
    };
    assert_eq!(names(&listed(&berth.member).await), ["mine"]);
    assert_eq!(names(&listed(&berth.other).await), ["theirs"]);
    let all = listed(&berth.admin).await;
    assert_eq!(names(&all), ["mine", "theirs"]);
    let projects: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["project_id"])
        .collect();
    assert_eq!(projects, ["proj_first", "proj_second"]);

    let theirs = format!("{DATABASES}/{}", theirs["id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, theirs.clone()),
        (Method::DELETE, theirs.clone()),
        (Method::GET, format!("{theirs}/credentials")),
        (Method::POST, format!("{theirs}/credentials/rotate")),
    ] {
        let answer = berth.ask(method, &path).key(&berth.member).send().await;
        answer.refused(404, "not_found");
    }
    let mine = format!("{DATABASES}/{}", mine["id"].as_str().unwrap());
    berth
        .ask(Method::GET, &mine)
        .key(&berth.admin)
        .send()
        .await
        .expect(200);
}

/// The address in a `Link` header.
fn target(link: &str) -> String {
    let (address, relation) = link.split_once('>').unwrap();
    assert_eq!(relation, "; rel=\"next\"");
    address.strip_prefix('<').unwrap().to_owned()
}
