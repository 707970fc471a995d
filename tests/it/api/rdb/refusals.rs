//! Every type of error that has a meaning here, with what brings it about.

use axum::http::Method;
use serde_json::{Value, json};

use super::super::harness::{Berth, with};
use super::{CONFIG, NOBODY, REGION, SECOND, ask, get, post, ready, start, wanted};

async fn create(berth: &Berth, changes: Value) -> super::Answer {
    post(berth, "/instances", with(wanted("main"), changes)).await
}

#[tokio::test]
async fn every_argument_that_is_wrong_is_told() {
    let berth = start().await;
    let nothing = post(&berth, "/instances", json!({})).await;
    nothing.refused_arguments(&[
        ("engine", "required"),
        ("node_type", "required"),
        ("user_name", "required"),
        ("password", "required"),
    ]);
    let types = json!({
        "engine": 3, "node_type": [], "user_name": {}, "password": true, "tags": "blue", "volume_size": "5",
        "is_ha_cluster": "no", "volume_type": "tape", "project_id": "mine", "surprise": 1,
        "init_settings": [{ "name": "a" }, 7], "encryption": { "enabled": 1 },
    });
    let refused = post(&berth, "/instances", types).await;
    let refused = refused.refused_as(400, "invalid_arguments");
    let details = refused["details"].as_array().unwrap();
    let names: Vec<_> = details
        .iter()
        .map(|one| one["argument_name"].as_str().unwrap())
        .collect();
    for name in [
        "engine",
        "node_type",
        "user_name",
        "password",
        "tags",
        "volume_size",
        "is_ha_cluster",
        "volume_type",
        "project_id",
        "surprise",
        "init_settings[0].value",
        "init_settings[1]",
        "encryption.enabled",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(
        !refused.to_string().contains("true"),
        "no value is repeated: {refused}"
    );
    for (changes, argument, reason) in [
        (json!({ "engine": "Fake" }), "engine", "constraint"),
        (json!({ "engine": "fake-3" }), "engine", "constraint"),
        (json!({ "engine": "Fake-4" }), "engine", "constraint"),
        (json!({ "node_type": "none" }), "node_type", "constraint"),
        (json!({ "node_type": "old" }), "node_type", "constraint"),
        (json!({ "password": "weak" }), "password", "constraint"),
        (json!({ "user_name": "_rdb_x" }), "user_name", "constraint"),
        (json!({ "name": "9lives" }), "name", "constraint"),
        (
            json!({ "volume_size": 6_000_000_000_u64 }),
            "volume_size",
            "constraint",
        ),
        (json!({ "volume_type": "bssd" }), "volume_size", "required"),
        (
            json!({ "volume_type": "bssd", "volume_size": 5_000_000_001_u64 }),
            "volume_size",
            "constraint",
        ),
        (json!({ "node_type": "block" }), "volume_type", "constraint"),
        (json!({ "tags": [""] }), "tags", "constraint"),
        (
            json!({ "init_settings": [{ "name": "x", "value": "1" }] }),
            "x",
            "constraint",
        ),
    ] {
        let refused = create(&berth, changes.clone()).await;
        let body = refused.refused_arguments(&[(argument, reason)]);
        if let Some(engine) = changes.get("engine") {
            let help = body["details"][0]["help_message"].as_str().unwrap();
            // One that could run here is told how.
            let told = if engine == "Fake-4" {
                "install with"
            } else {
                "Fake-3"
            };
            assert!(help.contains(told), "{help}");
        }
    }
    let both = json!({ "project_id": super::FIRST, "organization_id": super::ORGANIZATION });
    create(&berth, both)
        .await
        .refused_arguments(&[("organization_id", "constraint")]);
    let listed = get(&berth, "/instances").await.expect(200);
    assert_eq!(listed["total_count"], 0, "nothing was made");
}

#[tokio::test]
async fn what_cannot_be_had_is_told_by_type() {
    let berth = start().await;
    let refused = create(&berth, json!({ "node_type": "rare" })).await;
    assert_eq!(refused.refused_as(503, "out_of_stock")["resource"], "rare");
    for (changes, ability) in [
        (json!({ "is_ha_cluster": true }), "high availability"),
        (
            json!({ "high_availability_mode": "multiple_zone" }),
            "high availability",
        ),
        (json!({ "encryption": { "enabled": true } }), "encryption"),
        (
            json!({ "init_endpoints": [{ "private_network": { "private_network_id": NOBODY, "ipam_config": {} } }] }),
            "private networks",
        ),
    ] {
        let refused = create(&berth, changes).await;
        let refused = refused.refused_as(412, "precondition_failed");
        assert!(
            refused["help_message"].as_str().unwrap().contains(ability),
            "{refused}"
        );
    }
    let refused = create(&berth, json!({ "project_id": SECOND })).await;
    let refused = refused.refused_as(403, "permissions_denied");
    assert_eq!(
        refused["details"],
        json!([{ "resource": "project", "action": "write" }])
    );
    for field in ["tags", "init_settings", "init_endpoints"] {
        create(
            &berth,
            json!({ field: null, "name": field.replace('_', "-") }),
        )
        .await
        .expect(200);
    }
    let id = ready(&berth, "taken").await;
    let again = create(&berth, json!({ "name": "taken" })).await;
    let again = again.refused_as(409, "already_exists");
    assert_eq!(again["resource"], "instance");
    let users = get(&berth, &format!("/instances/{id}/users")).await;
    users.refused_as(412, "precondition_failed");
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_told_in_numbers() {
    let berth = start().await;
    for name in ["one", "two"] {
        let made = ask(&berth, &berth.other, "post", "/instances", &wanted(name)).await;
        made.expect(200);
    }
    let refused = ask(&berth, &berth.other, "post", "/instances", &wanted("three")).await;
    let refused = refused.refused_as(403, "quotas_exceeded");
    assert_eq!(
        refused["details"],
        json!([
            { "resource": "instances", "quota": 2, "current": 2, "project_id": SECOND },
            { "resource": "storage_gb", "quota": 12, "current": 10, "project_id": SECOND },
        ])
    );
}

#[tokio::test]
async fn only_the_quotas_that_are_used_up_are_told() {
    let berth = start().await;
    let mut large = wanted("large");
    large["node_type"] = "block".into();
    large["volume_type"] = "bssd".into();
    large["volume_size"] = 10_000_000_000_u64.into();
    let made = ask(&berth, &berth.other, "post", "/instances", &large).await;
    made.expect(200);
    let refused = ask(&berth, &berth.other, "post", "/instances", &wanted("one")).await;
    let refused = refused.refused_as(403, "quotas_exceeded");
    assert_eq!(
        refused["details"],
        json!([{ "resource": "storage_gb", "quota": 12, "current": 10, "project_id": SECOND }])
    );
}

#[tokio::test]
async fn what_never_reaches_a_handler_is_refused_in_the_same_words() {
    let berth = start().await;
    let send = async |method: Method, path: &str, body: &str| {
        let request = berth.ask(method, path).key(&berth.member);
        request.text(body.to_owned()).send().await
    };
    let instances = format!("{REGION}/instances");
    let nowhere = send(Method::GET, "/rdb/v2/anything", "").await;
    assert_eq!(
        nowhere.refused_as(404, "not_found")["resource_id"],
        "/rdb/v2/anything"
    );
    let wrong = send(Method::PUT, &instances, "").await;
    assert!(wrong.header("allow").is_some());
    wrong.refused_as(405, "method_not_allowed");
    let region = send(Method::GET, "/rdb/v1/regions/nyc1/instances", "").await;
    let region = region.refused_arguments(&[("region", "constraint")]);
    assert!(region.to_string().contains("fr-par, nl-ams"), "{region}");
    let here = send(Method::GET, "/rdb/v1/regions/here/instances", "").await;
    here.refused_arguments(&[("region", "constraint")]);
    send(Method::POST, &instances, "{")
        .await
        .refused_arguments(&[("body", "format")]);
    send(Method::POST, &instances, "[]")
        .await
        .refused_arguments(&[("body", "format")]);
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(5000));
    send(Method::POST, &instances, &large)
        .await
        .refused_as(413, "body_too_large");
    let odd = send(Method::GET, &format!("{instances}/%ff"), "").await;
    assert!([400, 404].contains(&odd.status.as_u16()));
    // Bodies where none is expected, and without a content type.
    send(Method::GET, &instances, "{}").await.expect(200);
    let missing = send(Method::DELETE, &format!("{instances}/{NOBODY}"), "{}").await;
    missing.refused_as(404, "not_found");
    let missing = send(Method::GET, &format!("{instances}/not-a-uuid"), "").await;
    assert_eq!(
        missing.refused_as(404, "not_found")["resource_id"],
        "not-a-uuid"
    );
}

#[tokio::test]
async fn who_asks_too_much_is_told_when_to_come_back() {
    let slow = CONFIG.replace(
        "requests_per_second = 100000\nburst = 100000",
        "requests_per_second = 1\nburst = 1",
    );
    let berth = Berth::start_on(&slow).await;
    get(&berth, "/instances").await.expect(200);
    let refused = get(&berth, "/instances").await;
    assert!(refused.header("retry-after").is_some());
    let refused = refused.refused_as(429, "too_many_requests");
    assert!(refused["help_message"].is_string());
    assert!(refused["reset_seconds"].as_u64().is_some());
}

#[tokio::test]
async fn a_defect_is_told_without_what_is_behind_it() {
    let berth = start().await;
    berth.plugins.panic(true);
    let refused = create(&berth, json!({})).await;
    let refused = refused.refused_as(500, "internal");
    assert!(!refused.to_string().contains("secret"), "{refused}");
}
