//! Who may ask, what may be sent, and what is answered to the rest.

use axum::http::Method;
use serde_json::json;

use super::harness::{Berth, DATABASES, wanted};

const ADMIN_ROUTES: [(&str, &str); 9] = [
    ("GET", "/admin/v1/operations"),
    (
        "GET",
        "/admin/v1/operations/018f0000-0000-7000-8000-000000000000",
    ),
    (
        "POST",
        "/admin/v1/operations/018f0000-0000-7000-8000-000000000000/cancel",
    ),
    (
        "POST",
        "/admin/v1/operations/018f0000-0000-7000-8000-000000000000/retry",
    ),
    ("GET", "/admin/v1/instances/db_00000000"),
    ("POST", "/admin/v1/instances/db_00000000/stop"),
    ("POST", "/admin/v1/instances/db_00000000/start"),
    ("POST", "/admin/v1/instances/db_00000000/restart"),
    ("GET", "/admin/v1/plugins"),
];
const ROUTES: [(&str, &str); 9] = [
    ("GET", "/api/v1/databases"),
    ("POST", "/api/v1/databases"),
    ("GET", "/api/v1/databases/db_00000000"),
    ("DELETE", "/api/v1/databases/db_00000000"),
    ("POST", "/api/v1/databases/db_00000000/stop"),
    ("POST", "/api/v1/databases/db_00000000/start"),
    ("POST", "/api/v1/databases/db_00000000/restart"),
    ("GET", "/api/v1/databases/db_00000000/credentials"),
    ("POST", "/api/v1/databases/db_00000000/credentials/rotate"),
];

#[tokio::test]
async fn every_route_needs_a_key() {
    let berth = Berth::start().await;
    for (method, path) in ROUTES.into_iter().chain(ADMIN_ROUTES) {
        let ask = || berth.ask(method.parse().unwrap(), path);
        let wrong = "018f0000-0000-4000-8000-000000000000";
        for ask in [
            ask(),
            ask().key(wrong),
            ask().key(""),
            ask().header("x-auth-token", wrong),
            ask().header("authorization", &format!("Basic {}", berth.admin)),
        ] {
            let answer = ask.send().await;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{path}");
            answer.refused(401, "unauthenticated");
        }
    }
}

#[tokio::test]
async fn a_key_comes_in_either_header() {
    let berth = Berth::start().await;
    let ask = || berth.ask(Method::GET, DATABASES);
    ask()
        .header("x-auth-token", &berth.member)
        .send()
        .await
        .expect(200);
    ask().key(&berth.member).send().await.expect(200);
}

#[tokio::test]
async fn a_members_key_opens_no_admin_route() {
    let berth = Berth::start().await;
    for (method, path) in ADMIN_ROUTES {
        let ask = berth.ask(method.parse().unwrap(), path).key(&berth.member);
        ask.send().await.refused(403, "denied");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let berth = Berth::start().await;
    for (method, path) in ROUTES
        .into_iter()
        .skip(2)
        .chain(ADMIN_ROUTES.into_iter().skip(1).take(7))
    {
        let ask = berth.ask(method.parse().unwrap(), path).key(&berth.admin);
        ask.send().await.refused(404, "not_found");
    }
    let id = berth.running("here").await;
    let uuid = berth.uuid(&id).await;
    for id in [
        "db_0",
        "DB_00000000",
        "x",
        &uuid.to_string(),
        "db_0000000g",
        "%2e%2e",
    ] {
        berth
            .get(&format!("{DATABASES}/{id}"))
            .await
            .refused(404, "not_found");
    }
    berth
        .admin_get(&format!("/admin/v1/instances/{uuid}"))
        .await
        .expect(200);
    for path in [
        "/",
        "/api/v1",
        "/api/v1/databases/",
        "/api/v1/databases/a/b",
        "/favicon.ico",
    ] {
        berth.get(path).await.refused(404, "no_such_route");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let berth = Berth::start().await;
    let answer = berth.delete(DATABASES).await;
    assert_eq!(answer.header("allow"), Some("GET,HEAD,POST"));
    answer.refused(405, "method_not_allowed");
    let put = berth
        .ask(Method::PUT, "/api/v1/databases/db_00000000")
        .key(&berth.member);
    put.send().await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn a_body_must_be_json_and_small() {
    let berth = Berth::start().await;
    let ask = || berth.ask(Method::POST, DATABASES).key(&berth.member);
    let good = wanted("x").to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "json",
        "",
    ] {
        let ask = ask().header("content-type", kind).text(good.clone());
        ask.send().await.refused(415, "unsupported_media_type");
    }
    ask()
        .text(good.clone())
        .send()
        .await
        .refused(415, "unsupported_media_type");

    let as_json = |text: &str| {
        ask()
            .header("content-type", "application/json")
            .text(text.to_owned())
    };
    for (text, place) in [
        ("", "line 1 column 0"),
        ("{\"name\": \"a\",\n  oops}", "line 2 column 3"),
        ("{\"name\": \"a\"", "line 1 column 12"),
        ("{} {}", "line 1 column 4"),
    ] {
        let body = as_json(text).send().await.refused(400, "malformed_json");
        assert!(body["message"].as_str().unwrap().ends_with(place), "{body}");
    }
    for text in ["[]", "null", "\"a\"", "3"] {
        as_json(text).send().await.refused_fields(&["body"]);
    }
    let large = json!({ "name": "a".repeat(5000) }).to_string();
    as_json(&large).send().await.refused(413, "body_too_large");

    for kind in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/merge-patch+json",
    ] {
        let text = wanted(&format!("n{}", kind.len())).to_string();
        ask()
            .header("content-type", kind)
            .text(text)
            .send()
            .await
            .expect(201);
    }
}

#[tokio::test]
async fn a_key_is_asked_for_before_a_body_is_looked_at() {
    let berth = Berth::start().await;
    let ask = berth.ask(Method::POST, DATABASES).text("nonsense");
    ask.send().await.refused(401, "unauthenticated");
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused() {
    let berth = Berth::start().await;
    let refused = berth.get(&format!("{DATABASES}?limit=%FF%FE")).await;
    refused.refused_fields(&["limit"]);
}
