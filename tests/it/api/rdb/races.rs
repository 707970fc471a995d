//! Two callers change the same instance: one wins, the other is told how it fares, and nothing is lost.

use serde_json::{Value, json};

use super::{ask, get, ready, start, status};

#[tokio::test]
async fn of_two_who_change_an_instance_one_wins() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let catalogue = get(&berth, "/database-engines").await.expect(200);
    let setting = &catalogue["engines"][0]["versions"][2]["available_settings"][0]["name"];
    let settings = format!("/instances/{id}/settings");
    let acls = format!("/instances/{id}/acls");
    let mut refusals = 0;
    for round in 0..20 {
        let chosen =
            json!({ "settings": [{ "name": setting, "value": (20 + round).to_string() }] });
        let rules = json!({ "rules": [{ "ip": format!("192.0.2.{round}"), "description": "" }] });
        let before = get(&berth, &format!("/instances/{id}")).await.expect(200);
        let (one, other) = tokio::join!(
            ask(&berth, &berth.member, "put", &settings, &chosen),
            ask(&berth, &berth.admin, "put", &acls, &rules),
        );
        let won = [one.status == 200, other.status == 200];
        assert!(won.contains(&true), "{one:?} {other:?}");
        for answer in [one, other] {
            if answer.status != 200 {
                let refused = answer.refused_as(409, "transient_state");
                assert_eq!(refused["resource"], "instance");
                assert_eq!(refused["resource_id"], *id);
                assert_eq!(refused["current_state"], "configuring");
                refusals += 1;
            }
        }
        let after = status(&berth, &id, "ready").await;
        let shown = get(&berth, &acls).await.expect(200);
        let chosen = if won[0] {
            &chosen["settings"]
        } else {
            &before["settings"]
        };
        assert_eq!(after["settings"], *chosen);
        let ip = shown["rules"][0]["ip"].as_str().unwrap();
        assert_eq!(ip == format!("192.0.2.{round}/32"), won[1], "{shown}");
    }
    assert!(refusals > 0, "they never met");
}

#[tokio::test]
async fn of_two_who_decide_different_things_both_are_heard() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let path = format!("/instances/{id}");
    for round in 1..50 {
        let days = json!({ "logs_policy": { "max_age_retention": round } });
        let bytes = json!({ "logs_policy": { "total_disk_retention": round * 1_000 } });
        let (one, other) = tokio::join!(
            ask(&berth, &berth.member, "patch", &path, &days),
            ask(&berth, &berth.admin, "patch", &path, &bytes),
        );
        one.expect(200);
        other.expect(200);
        let shown = get(&berth, &path).await.expect(200);
        let both = json!({ "max_age_retention": round, "total_disk_retention": round * 1_000 });
        assert_eq!(shown["logs_policy"], both);
    }
}

#[tokio::test]
async fn what_is_being_changed_says_so() {
    let berth = start().await;
    let made = super::post(&berth, "/instances", super::wanted("main"))
        .await
        .expect(200);
    let id = made["id"].as_str().unwrap();
    for (method, path, body) in [
        ("get", "users", Value::Null),
        ("post", "restart", json!({})),
        ("put", "acls", json!({ "rules": [] })),
        ("post", "renew-certificate", json!({})),
    ] {
        let path = format!("/instances/{id}/{path}");
        let answer = ask(&berth, &berth.member, method, &path, &body).await;
        // It may be ready by now.
        if answer.status != 409 {
            break;
        }
        let refused = answer.refused_as(409, "transient_state");
        let state = refused["current_state"].as_str().unwrap();
        assert!(
            ["provisioning", "initializing", "configuring"].contains(&state),
            "{state}"
        );
    }
    status(&berth, id, "ready").await;
}
