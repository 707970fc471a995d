//! The same creation twice under one key is one creation.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Berth, DATABASES, names, wanted, with};

async fn create(berth: &Berth, key: &str, body: &Value) -> Answer {
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.member);
    ask.header("Idempotency-Key", key).json(body).send().await
}

#[tokio::test]
async fn repeating_it_answers_the_same() {
    let berth = Berth::start().await;
    let first = create(&berth, "k", &wanted("once")).await;
    assert_eq!(first.header("idempotent-replayed"), None);
    let first = first.expect(201);
    let again = create(&berth, "k", &wanted("once")).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.expect(201)["id"], first["id"]);
    // Another order of the fields is the same body.
    let text = r#"{"region":"here","plan_id": "small", "db_type":"fake","name":"once"}"#;
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.member);
    let ask = ask
        .header("idempotency-key", "k")
        .header("content-type", "application/json");
    assert_eq!(ask.text(text).send().await.expect(201)["id"], first["id"]);

    assert_eq!(names(&berth.get(DATABASES).await.expect(200)), ["once"]);
    create(&berth, "other", &wanted("once"))
        .await
        .refused(409, "name_taken");
}

#[tokio::test]
async fn another_body_under_the_same_key_is_refused() {
    let berth = Berth::start().await;
    create(&berth, "k", &wanted("one")).await.expect(201);
    create(&berth, "k", &wanted("two"))
        .await
        .refused(422, "idempotency_key_reused");
    let more = with(wanted("one"), json!({ "storage_gb": 20 }));
    create(&berth, "k", &more)
        .await
        .refused(422, "idempotency_key_reused");
    assert_eq!(names(&berth.get(DATABASES).await.expect(200)), ["one"]);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let berth = Berth::start().await;
    let wrong = with(wanted("x"), json!({ "region": "mars" }));
    create(&berth, "k", &wrong)
        .await
        .refused_fields(&["region"]);
    create(&berth, "k", &wanted("x")).await.expect(201);
}

#[tokio::test]
async fn repetitions_that_race_make_one() {
    let berth = Berth::start().await;
    let body = wanted("raced");
    let racing = (0..16).map(|_| create(&berth, "k", &body));
    let answers = futures::future::join_all(racing).await;
    let mut replayed = 0;
    let mut ids = Vec::new();
    for answer in answers {
        replayed += usize::from(answer.header("idempotent-replayed").is_some());
        ids.push(answer.expect(201)["id"].clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(replayed, 15);
    assert_eq!(names(&berth.get(DATABASES).await.expect(200)), ["raced"]);
}

#[tokio::test]
async fn a_repetition_is_answered_when_the_quota_is_used_up() {
    let berth = Berth::start().await;
    let send = async |key: &str, body: &Value| {
        let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
        ask.header("idempotency-key", key).json(body).send().await
    };
    let full = with(wanted("full"), json!({ "storage_gb": 30 }));
    let first = send("a", &full).await.expect(201);
    send("b", &wanted("more"))
        .await
        .refused(403, "quota_exceeded");
    assert_eq!(send("a", &full).await.expect(201)["id"], first["id"]);
}

#[tokio::test]
async fn keys_belong_to_their_project() {
    let berth = Berth::start().await;
    let mine = create(&berth, "k", &wanted("one")).await.expect(201);
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.other);
    let theirs = ask
        .header("idempotency-key", "k")
        .json(&wanted("two"))
        .send()
        .await
        .expect(201);
    assert_ne!(mine["id"], theirs["id"]);
}

#[tokio::test]
async fn a_key_has_bounds() {
    let berth = Berth::start().await;
    for bad in ["", " ", &"k".repeat(256)] {
        create(&berth, bad, &wanted("x"))
            .await
            .refused_fields(&["Idempotency-Key"]);
    }
    create(&berth, &"k".repeat(255), &wanted("x"))
        .await
        .expect(201);
}
