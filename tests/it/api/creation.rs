//! What a creation may ask for, and how it is told what is wrong with it.

use axum::http::Method;
use berth::store::memory::Fault;
use berth_tests::wait_for;
use serde_json::{Value, json};

use super::harness::{Berth, DATABASES, wanted, with};

#[tokio::test]
async fn every_problem_is_told_at_once() {
    let berth = Berth::start().await;
    let before = berth.store.commits();
    let body = berth
        .create(json!({
            "name": "9lives", "db_type": 7, "plan_id": "huge", "region": "mars",
            "storage_gb": 101, "replicas": 3, "nmae": "x", "version": null,
        }))
        .await
        .refused_fields(&[
            "db_type",
            "nmae",
            "name",
            "plan_id",
            "region",
            "storage_gb",
            "replicas",
        ]);
    let field = |name: &str| {
        let fields = body["fields"].as_array().unwrap().clone();
        fields.into_iter().find(|f| f["field"] == name).unwrap()
    };
    assert_eq!(field("db_type")["reason"], "must be a string, not a number");
    assert_eq!(field("nmae")["reason"], "is not known");
    assert!(
        field("nmae")["help"]
            .as_str()
            .unwrap()
            .contains("name, db_type")
    );
    assert_eq!(field("plan_id")["help"], "one of small, tiny");
    assert_eq!(field("region")["help"], "one of here, nowhere, there");
    assert_eq!(field("storage_gb")["help"], "5 to 100");
    assert_eq!(
        field("replicas")["reason"],
        "high availability is not there yet"
    );

    berth
        .create(json!({}))
        .await
        .refused_fields(&["name", "db_type", "plan_id", "region"]);
    let wrong = json!({ "storage_gb": "10", "replicas": 1.5, "name": ["a"], "version": 16 });
    berth
        .create(with(wanted("x"), wrong))
        .await
        .refused_fields(&["name", "version", "storage_gb", "replicas"]);
    assert_eq!(berth.get(DATABASES).await.expect(200), json!([]));
    assert_eq!(berth.store.commits(), before, "nothing was recorded");
}

#[tokio::test]
async fn bounds_and_sizes_are_kept() {
    let berth = Berth::start().await;
    for (field, value) in [
        ("storage_gb", json!(4)),
        ("storage_gb", json!(-1)),
        ("storage_gb", json!(i64::MAX)),
        ("replicas", json!(0)),
        ("replicas", json!(2)),
        ("shards", json!(0)),
        ("shards", json!(2)),
        ("shards", json!(17)),
        ("shards", json!(-1)),
        ("shards", json!("3")),
        ("plan_id", json!("tiny")),
        ("db_type", json!("nothing")),
        ("name", json!("")),
        ("name", json!("a".repeat(64))),
    ] {
        let mut change = json!({});
        change[field] = value.clone();
        let body = berth
            .create(with(wanted("x"), change))
            .await
            .refused_fields(&[field]);
        assert!(
            body["message"].as_str().unwrap().starts_with(field),
            "{body}"
        );
    }
    for (name, size) in [("least", 5), ("most", 100)] {
        berth
            .create(with(wanted(name), json!({ "storage_gb": size })))
            .await
            .expect(201);
    }
    let listed = berth.get(DATABASES).await.expect(200);
    let sizes: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|d| &d["storage_gb"])
        .collect();
    assert_eq!(sizes, [5, 100]);
    berth.create(wanted("usual")).await.expect(201);
    let listed = berth.get(&format!("{DATABASES}?limit=3")).await.expect(200);
    assert_eq!(listed[2]["storage_gb"], 10);
}

#[tokio::test]
async fn without_a_version_it_is_the_newest_stable_one_that_can_run() {
    let berth = Berth::start().await;
    let version = async |name: &str| {
        let created = berth.create(wanted(name)).await.expect(201);
        let path = format!("{DATABASES}/{}", created["id"].as_str().unwrap());
        berth.get(&path).await.expect(200)["version"].clone()
    };
    assert_eq!(version("a").await, "3");
    berth.plugins.lacks(&[]);
    assert_eq!(version("b").await, "4");
    berth.plugins.lacks(&["4", "3"]);
    assert_eq!(version("c").await, "2");
    berth.plugins.lacks(&["4", "3", "2"]);
    let body = berth.create(wanted("d")).await.refused_fields(&["version"]);
    assert_eq!(
        body["fields"][0],
        json!({
            "field": "version",
            "reason": "no version of Fake can run on this machine: `fake-server` 4 is not installed",
            "help": "install with: get fake-server-4",
        })
    );
}

#[tokio::test]
async fn a_version_that_cannot_run_is_refused_with_what_can() {
    let berth = Berth::start().await;
    let refused = async |version: &str| -> Value {
        let body = with(wanted("x"), json!({ "version": version }));
        let body = berth.create(body).await.refused_fields(&["version"]);
        body["fields"][0].clone()
    };
    let missing = refused("4").await;
    assert_eq!(
        missing["reason"],
        "cannot run on this machine: `fake-server` 4 is not installed"
    );
    assert_eq!(
        missing["help"],
        "one of 5, 3, 2; install with: get fake-server-4"
    );
    let unknown = refused("16").await;
    assert_eq!(unknown["reason"], "is not a version of Fake");
    assert_eq!(unknown["help"], "one of 5, 3, 2");
    assert!(
        refused("1").await["reason"]
            .as_str()
            .unwrap()
            .contains("any more")
    );
    let beta = with(wanted("x"), json!({ "version": "5" }));
    berth.create(beta).await.expect(201);
}

#[tokio::test]
async fn an_engines_own_rules_are_told_in_this_dialects_names() {
    let berth = Berth::start().await;
    let body = berth
        .create(wanted("template"))
        .await
        .refused_fields(&["name", "storage_gb"]);
    assert_eq!(
        body["message"],
        "name: is a name that the engine needs itself; storage_gb: does not suit that name"
    );
}

#[tokio::test]
async fn a_name_is_taken_while_its_database_lives() {
    let berth = Berth::start().await;
    let id = berth.running("my base").await;
    for same in ["my base", "My-Base", "my_base"] {
        berth.create(wanted(same)).await.refused(409, "name_taken");
    }
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
    ask.json(&wanted("my base")).send().await.expect(201);

    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
    let again = berth.create(wanted("my base")).await.expect(201);
    assert_ne!(again["id"], id);
}

#[tokio::test]
async fn of_creations_that_race_for_a_name_one_wins() {
    let berth = Berth::start().await;
    let answers = futures::future::join_all((0..16).map(|_| berth.create(wanted("one")))).await;
    let mut won = 0;
    for answer in answers {
        match answer.status.as_u16() {
            201 => won += 1,
            _ => {
                answer.refused(409, "name_taken");
            }
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_quota_holds_also_against_a_race() {
    let berth = Berth::start().await;
    let create = async |name: String, size: u32| {
        let body = with(wanted(&name), json!({ "storage_gb": size }));
        let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
        ask.json(&body).send().await
    };
    create("big".into(), 31)
        .await
        .refused(403, "quota_exceeded");
    // Of shards, all together count.
    let divided = json!({ "storage_gb": 11, "shards": 3 });
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
    let ask = ask.json(&with(wanted("divided"), divided));
    let refused = ask.send().await.refused(403, "quota_exceeded");
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("33 GB more (shards: 3 of 11 GB)"), "{said}");
    let racing = (0..12).map(|i| create(format!("n{i}"), 5));
    let answers = futures::future::join_all(racing).await;
    let won = answers.iter().filter(|answer| answer.status == 201).count();
    assert!((1..=2).contains(&won), "{won} were accepted");
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.refused(403, "quota_exceeded");
    }
    // The quota of one project is nothing to another.
    berth.create(wanted("elsewhere")).await.expect(201);
}

#[tokio::test]
async fn what_may_have_been_recorded_counts_until_it_is_known() {
    let berth = Berth::start().await;
    let create = async |name: &str| {
        let body = with(wanted(name), json!({ "storage_gb": 10 }));
        let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
        ask.json(&body).send().await
    };
    create("first").await.expect(201);
    // The second is taken and nobody hears of it, nor can it be looked at.
    let next = berth.store.commits() + 1;
    for number in next..next + 8 {
        berth.store.fault_at(number, Fault::TakenUnheard);
    }
    berth.store.fail_reads(true);
    create("second").await.refused(503, "unavailable");
    create("third").await.refused(403, "quota_exceeded");
    berth.store.fail_reads(false);
    wait_for("the second to be seen", async || {
        let ask = berth.ask(Method::GET, DATABASES).key(&berth.other);
        let listed = ask.send().await.expect(200);
        (listed.as_array().unwrap().len() == 2).then_some(())
    })
    .await;
    create("third").await.refused(403, "quota_exceeded");
}

#[tokio::test]
async fn what_is_given_back_can_be_had_again() {
    let berth = Berth::start().await;
    let ask = |method, path: &str| berth.ask(method, path).key(&berth.other);
    let create = async |name: &str, size: u32| {
        let body = with(wanted(name), json!({ "storage_gb": size }));
        ask(Method::POST, DATABASES).json(&body).send().await
    };
    let first = create("first", 20).await.expect(201);
    create("second", 20).await.refused(403, "quota_exceeded");
    create("second", 10).await.expect(201);
    create("third", 5).await.refused(403, "quota_exceeded");
    let id = first["id"].as_str().unwrap();
    ask(Method::DELETE, &format!("{DATABASES}/{id}"))
        .send()
        .await
        .expect(202);
    berth.wait_status(id, "destroyed").await;
    create("third", 20).await.expect(201);
}

#[tokio::test]
async fn too_much_at_once_is_put_off() {
    let berth = Berth::start_with("[operations]", "max_open = 2").await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    for name in ["a", "b"] {
        berth.create(wanted(name)).await.expect(201);
    }
    let refused = berth.create(wanted("c")).await;
    assert_eq!(refused.header("retry-after"), Some("5"));
    refused.refused(429, "too_many_requests");
    berth.world.behave(|b| b.looks_until_running = 1);
    wait_for("room for another", async || {
        (berth.create(wanted("c")).await.status == 201).then_some(())
    })
    .await;
}

#[tokio::test]
async fn data_are_divided_where_the_engine_can_and_all_shards_count() {
    let berth = Berth::start().await;
    let shards = |name: &str, shards: Value| with(wanted(name), json!({ "shards": shards }));
    let refused = berth.create(shards("whole", json!(3))).await;
    refused.refused_fields(&["shards"]);
    for whole in [json!(1), json!(null)] {
        let created = berth.create(shards(&format!("is-{whole}"), whole)).await;
        let id = created.expect(201)["id"].as_str().unwrap().to_owned();
        let shown = berth.get(&format!("{DATABASES}/{id}")).await.expect(200);
        assert!(shown.get("shards").is_none(), "{shown}");
    }
    let created = berth.create(shards("divided", json!(3))).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    let shown = berth.get(&format!("{DATABASES}/{id}")).await.expect(200);
    assert_eq!(
        (&shown["shards"], &shown["storage_gb"]),
        (&json!(3), &json!(10))
    );
}
