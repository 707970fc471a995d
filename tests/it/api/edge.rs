//! What surrounds every request: ids, health, metrics, and what happens when berth itself is not well.

use axum::http::Method;
use berth::store::memory::Fault;
use berth_tests::wait_for;
use serde_json::json;

use super::harness::{Berth, DATABASES, wanted};

#[tokio::test]
async fn every_answer_has_an_id_and_a_sane_one_is_kept() {
    let berth = Berth::start().await;
    let given = berth
        .get(DATABASES)
        .await
        .header("x-request-id")
        .unwrap()
        .to_owned();
    assert_eq!(given.len(), 36);
    let other = berth
        .get(DATABASES)
        .await
        .header("x-request-id")
        .unwrap()
        .to_owned();
    assert_ne!(given, other);

    let with = async |id: &str| {
        let ask = berth
            .ask(Method::GET, "/healthz")
            .header("x-request-id", id);
        ask.send().await.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with("trace-7_a.b:c").await, "trace-7_a.b:c");
    for bad in ["", "two words", "<script>", &"x".repeat(129)] {
        assert_ne!(with(bad).await, bad);
    }
}

#[tokio::test]
async fn an_operation_names_the_request_that_began_it() {
    let berth = Berth::start().await;
    let ask = berth.ask(Method::POST, DATABASES).key(&berth.member);
    let ask = ask
        .header("x-request-id", "who-did-this")
        .json(&wanted("traced"));
    ask.send().await.expect(201);
    let operations = berth.admin_get("/admin/v1/operations").await.expect(200);
    assert_eq!(operations["operations"][0]["request_id"], "who-did-this");
}

#[tokio::test]
async fn health_needs_no_key() {
    let berth = Berth::start().await;
    let ask = |path| berth.ask(Method::GET, path).send();
    assert_eq!(ask("/healthz").await.expect(200), json!("ok\n"));
    let metrics = ask("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    metrics.expect(200);
    ask("/readyz").await;
}

#[tokio::test]
async fn it_is_ready_when_nothing_is_missing() {
    let berth = Berth::start().await;
    // The harness has a region whose target no plugin provides.
    let waiting = "the target not-installed, which no plugin provides";
    let body = berth.get("/readyz").await.expect(503);
    assert_eq!(body, json!({ "ready": false, "waiting_for": [waiting] }));

    let berth = Berth::start_complete().await;
    let body = berth.get("/readyz").await.expect(200);
    assert_eq!(body, json!({ "ready": true, "waiting_for": [] }));
}

#[tokio::test]
async fn while_a_plugin_compiles_it_says_so() {
    let berth = Berth::start_complete().await;
    berth.plugins.fakes.set_loaded(false);
    let body = berth.get("/readyz").await.expect(503);
    let waiting = "the target fake-machine: the plugin is being compiled";
    assert_eq!(body["waiting_for"], json!([waiting]));
    berth
        .create(wanted("early"))
        .await
        .refused(503, "unavailable");
    berth.get("/healthz").await.expect(200);
    berth.plugins.fakes.set_loaded(true);
    berth.create(wanted("early")).await.expect(201);
}

#[tokio::test]
async fn a_region_without_its_plugin_is_said_to_be_so() {
    let berth = Berth::start().await;
    let body = super::harness::with(wanted("x"), json!({ "region": "nowhere" }));
    let refused = berth.create(body).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    let refused = refused.refused(503, "unavailable");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("region nowhere"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_store_that_fails_is_told_and_shows_no_insides() {
    let berth = Berth::start_complete().await;
    let id = berth.running("kept").await;
    let next = berth.store.commits() + 1;
    for number in next..next + 64 {
        berth.store.fault_at(number, Fault::Lost);
    }
    let refused = berth
        .create(wanted("lost"))
        .await
        .refused(503, "unavailable");
    assert!(!refused.to_string().contains("injected"), "{refused}");
    let body = berth.get("/readyz").await.expect(503);
    assert!(
        body["waiting_for"][0].as_str().unwrap().contains("store"),
        "{body}"
    );
    // What is in memory is served all the same.
    berth.get(&format!("{DATABASES}/{id}")).await.expect(200);
    wait_for("the store to take writes again", async || {
        let answer = berth.create(wanted("after")).await;
        (answer.status == 201).then_some(())
    })
    .await;
    wait_for("berth to be ready again", async || {
        (berth.get("/readyz").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_defect_costs_one_request_and_shows_no_insides() {
    let berth = Berth::start().await;
    berth.plugins.panic(true);
    let read = berth.admin_get("/admin/v1/plugins").await;
    let written = berth.create(wanted("unlucky")).await;
    for answer in [read, written] {
        let body = answer.refused(500, "internal");
        assert_eq!(body["message"], "an internal error occurred");
    }
    berth.plugins.panic(false);
    berth.admin_get("/admin/v1/plugins").await.expect(200);
    berth.create(wanted("unlucky")).await.expect(201);
}

#[tokio::test]
async fn metrics_count_requests_and_databases() {
    let berth = Berth::start().await;
    let id = berth.running("counted").await;
    let path = format!("{DATABASES}/{id}");
    for _ in 0..3 {
        berth.get(&format!("{path}/credentials")).await.expect(200);
    }
    berth
        .get("/no/such/thing")
        .await
        .refused(404, "no_such_route");
    let text = berth
        .get("/metrics")
        .await
        .expect(200)
        .as_str()
        .unwrap()
        .to_owned();
    let line = |begin: &str| {
        text.lines()
            .find(|line| line.starts_with(begin))
            .map(str::to_owned)
    };
    let route = "/api/v1/databases/{id}/credentials";
    for (begin, value) in [
        (
            format!("berth_http_requests_total{{method=\"GET\",route=\"{route}\",status=\"200\"}}"),
            "3",
        ),
        (
            format!("berth_http_request_seconds_count{{method=\"GET\",route=\"{route}\"}}"),
            "3",
        ),
        (
            "berth_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"}".into(),
            "1",
        ),
        (
            "berth_instances{phase=\"running\",engine=\"fake\"}".into(),
            "1",
        ),
        (
            "berth_operations_total{kind=\"create\",outcome=\"succeeded\"}".into(),
            "1",
        ),
        (
            "berth_operation_seconds_count{kind=\"create\",outcome=\"succeeded\"}".into(),
            "1",
        ),
    ] {
        let found = line(&begin);
        assert_eq!(
            found.as_deref(),
            Some(format!("{begin} {value}").as_str()),
            "{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains(&id), "a path has no place in a label");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cut_and_its_change_goes_on() {
    let berth = Berth::start_with("[server]", "request_timeout = \"50ms\"").await;
    let id = berth.running("slow").await;
    let calls = berth.world.calls().len();
    berth.plugins.hold_rotations(true);
    let path = format!("{DATABASES}/{id}/credentials/rotate");
    let refused = berth
        .ask(Method::POST, &path)
        .key(&berth.member)
        .send()
        .await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "timeout");
    berth.plugins.hold_rotations(false);
    wait_for("the new password to be the server's", async || {
        let given = berth.get(&format!("{DATABASES}/{id}/credentials")).await;
        (given.status == 200 && berth.world.calls().len() > calls).then_some(())
    })
    .await;
}
