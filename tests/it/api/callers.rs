//! What each caller may ask for, and what an answer says of the request and of the operation that it began.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::Method;
use berth_tests::wait_for;
use serde_json::json;

use super::harness::{Answer, Berth, DATABASES, wanted};

/// A table of settings before the first of the harness's own.
async fn with_callers(settings: &str) -> Berth {
    let first = "default_project = \"proj_first\"";
    Berth::start_with(first, &format!("[callers]\n{settings}")).await
}

async fn refused_so_far(berth: &Berth, limit: &str) -> u64 {
    let metrics = berth.admin_get("/metrics").await.expect(200);
    let begin = format!("berth_http_requests_refused_total{{limit=\"{limit}\"}} ");
    let text = metrics.as_str().unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(&begin));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let berth = with_callers("requests_per_second = 1\nburst = 3").await;
    for _ in 0..3 {
        berth.get(DATABASES).await.expect(200);
    }
    let refused = berth.get(DATABASES).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(429, "too_many_requests");
    // What is refused changes nothing.
    let created = berth.create(wanted("one-too-many")).await;
    created.refused(429, "too_many_requests");
    assert_eq!(
        berth.admin_get(DATABASES).await.expect(200),
        json!([]),
        "another key of the same project has a pace of its own"
    );
    assert_eq!(refused_so_far(&berth, "rate").await, 2);
    wait_for("the key to be served again", async || {
        (berth.get(DATABASES).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_key_has_so_many_requests_at_once() {
    let berth = with_callers("concurrent = 1").await;
    let id = berth.running("busy").await;
    berth.plugins.hold_rotations(true);
    let path = format!("{DATABASES}/{id}/credentials/rotate");
    let ask = berth.ask(Method::POST, &path).key(&berth.member);
    let (rotated, ()) = tokio::join!(ask.send(), async {
        wait_for("the key to be busy", async || {
            let answer = berth.get(DATABASES).await;
            (answer.status == 429).then(|| answer.refused(429, "too_many_requests"))
        })
        .await;
        berth.admin_get(DATABASES).await.expect(200);
        berth.plugins.hold_rotations(false);
    });
    rotated.expect(200);
    berth.get(DATABASES).await.expect(200);
}

#[tokio::test]
async fn work_for_who_has_gone_away_counts_until_it_is_done() {
    let berth = with_callers("concurrent = 1").await;
    let id = berth.running("busy").await;
    berth.plugins.hold_rotations(true);
    let path = format!("{DATABASES}/{id}/credentials/rotate");
    tokio::select! {
        _ = berth.ask(Method::POST, &path).key(&berth.member).send() => panic!("it is held"),
        () = wait_for("it to be under way", async || {
            berth.plugins.holds_a_rotation().then_some(())
        }) => {}
    }
    berth.get(DATABASES).await.refused(429, "too_many_requests");
    berth.plugins.hold_rotations(false);
    wait_for("it to be done", async || {
        (berth.get(DATABASES).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn strangers_have_a_pace_by_address_and_hold_up_no_good_key() {
    let berth = with_callers("strangers_per_second = 1\nstrangers_burst = 2").await;
    let (here, there) = ("192.0.2.7:4000", "192.0.2.8:4000");
    let from = async |address: &str, key: Option<&str>| -> Answer {
        let address: SocketAddr = address.parse().unwrap();
        let mut ask = berth.ask(Method::GET, DATABASES).from(address);
        if let Some(key) = key {
            ask = ask.key(key);
        }
        ask.send().await
    };
    from(here, None).await.refused(401, "unauthenticated");
    from(here, Some("guess"))
        .await
        .refused(401, "unauthenticated");
    let refused = from("192.0.2.7:4001", Some("another guess")).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(429, "too_many_requests");
    // What needs no key is no way round it.
    let address: SocketAddr = here.parse().unwrap();
    let metrics = berth.ask(Method::GET, "/metrics").from(address).send();
    metrics.await.refused(429, "too_many_requests");
    from(here, Some(&berth.member)).await.expect(200);
    from(there, None).await.refused(401, "unauthenticated");
    assert_eq!(refused_so_far(&berth, "stranger").await, 2);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let berth = Berth::start_with("[server]", "body_timeout = \"50ms\"").await;
    let never = futures::stream::pending::<std::io::Result<String>>();
    let ask = berth
        .ask(Method::POST, DATABASES)
        .key(&berth.member)
        .header("content-type", "application/json")
        .text(Body::from_stream(never));
    ask.send().await.refused(408, "body_too_slow");
    // Of who may not ask it is not waited for at all but for a moment.
    let never = futures::stream::pending::<std::io::Result<String>>();
    let ask = berth
        .ask(Method::POST, DATABASES)
        .text(Body::from_stream(never));
    ask.send().await.refused(401, "unauthenticated");
    assert_eq!(berth.get(DATABASES).await.expect(200), json!([]));
}

#[tokio::test]
async fn an_answer_names_the_operation_that_it_began() {
    let berth = Berth::start().await;
    let begin = async |name: &str| {
        let ask = berth.ask(Method::POST, DATABASES).key(&berth.member);
        let ask = ask.header("idempotency-key", "once").json(&wanted(name));
        ask.send().await
    };
    let created = begin("named").await;
    let operation = created.header("x-operation-id").unwrap().to_owned();
    let request = created.header("x-request-id").unwrap().to_owned();
    let id = created.expect(201)["id"].as_str().unwrap().to_owned();
    let shown = berth
        .admin_get(&format!("/admin/v1/operations/{operation}"))
        .await
        .expect(200);
    assert_eq!(shown["kind"], "create");
    assert_eq!(shown["database_id"], id.as_str());
    assert_eq!(shown["request_id"], request.as_str());
    let replayed = begin("named").await;
    assert_eq!(replayed.header("x-operation-id"), None);
    replayed.expect(201);

    berth.wait_status(&id, "running").await;
    let path = format!("{DATABASES}/{id}");
    let read = berth.get(&path).await;
    assert_eq!(read.header("x-operation-id"), None);
    let deleted = berth.delete(&path).await;
    let operation = deleted.header("x-operation-id").unwrap().to_owned();
    deleted.expect(202);
    let shown = berth
        .admin_get(&format!("/admin/v1/operations/{operation}"))
        .await
        .expect(200);
    assert_eq!(shown["kind"], "delete");
}

#[tokio::test]
async fn an_instance_shows_how_it_has_fared() {
    let berth = Berth::start().await;
    let id = berth.running("moody").await;
    let uuid = berth.uuid(&id).await;
    let path = format!("/admin/v1/instances/{id}");
    let history = async |most_recent: &str| {
        wait_for(&format!("{id} to be {most_recent}"), async || {
            let shown = berth.admin_get(&path).await.expect(200);
            let history = shown["health_history"].as_array().unwrap().clone();
            let newest = history.first()?;
            (newest["state"] == most_recent).then_some(history)
        })
        .await
    };
    history("healthy").await;
    berth.world.kill_server(uuid);
    let down = history("down").await;
    assert!(down[0]["reason"].as_str().is_some_and(|r| !r.is_empty()));
    berth.world.revive_server(uuid);
    let healthy = history("healthy").await;
    assert!(healthy.len() >= 3, "{healthy:?}");
    let times: Vec<&str> = healthy.iter().map(|t| t["at"].as_str().unwrap()).collect();
    assert!(
        times.is_sorted_by(|newer, older| newer >= older),
        "{times:?}"
    );

    // It can be read for as long as the instance.
    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
    let shown = berth.admin_get(&path).await.expect(200);
    assert_eq!(shown["health_history"], json!(healthy));
}

#[tokio::test]
async fn metrics_are_sound_and_say_how_databases_fare() {
    let berth = Berth::start().await;
    let id = berth.running("measured").await;
    berth.get(&format!("{DATABASES}/{id}")).await.expect(200);
    let healthy = "berth_instance_health{health=\"healthy\",engine=\"fake\"} 1";
    let text = wait_for("it to be looked at", async || {
        let text = berth.admin_get("/metrics").await.expect(200);
        let text = text.as_str().unwrap().to_owned();
        text.contains(healthy).then_some(text)
    })
    .await;
    for line in [
        "berth_instance_used_bytes{engine=\"fake\"} 1000",
        "berth_operations_open{kind=\"create\"} 0",
        "berth_operations_open{kind=\"delete\"} 0",
        "berth_http_connections 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
    }
    super::openmetrics::check(&text);
    // Paths and names that anybody may make up are no labels.
    for number in 0..40 {
        berth.get(&format!("/nothing/{number}")).await.expect(404);
        berth
            .get(&format!("{DATABASES}/db_{number:08x}"))
            .await
            .expect(404);
    }
    let text = berth.admin_get("/metrics").await.expect(200);
    let routes = super::openmetrics::cardinality(text.as_str().unwrap(), "route");
    assert!(routes < 10, "{routes} routes");
}
