//! The document of the API against the router that serves it, and the page that shows it.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Berth, wanted, with};

#[tokio::test]
async fn the_router_has_what_the_document_has() {
    let berth = Berth::start().await;
    let document = document(&berth).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let brew = Method::from_bytes(b"BREW").unwrap();
        let answer = berth.ask(brew, &filled(path, "x")).send().await;
        let allowed = answer.header("allow").unwrap_or_default().to_owned();
        if is_rdb(path) {
            answer.refused_as(405, "method_not_allowed");
        } else {
            answer.refused(405, "method_not_allowed");
        }
        let allowed: BTreeSet<String> = allowed.split(',').map(str::to_owned).collect();
        let mut described: BTreeSet<String> = item
            .as_object()
            .unwrap()
            .keys()
            .map(|m| m.to_uppercase())
            .collect();
        if described.contains("GET") {
            described.insert("HEAD".into());
        }
        assert_eq!(allowed, described, "{path}");
    }
}

/// The dialect with errors of its own.
fn is_rdb(path: &str) -> bool {
    path.starts_with("/rdb/")
}

#[tokio::test]
async fn a_key_is_needed_where_the_document_says_so() {
    let berth = Berth::start_complete().await;
    for (method, path, operation) in operations(&document(&berth).await) {
        let answer = berth.ask(method.clone(), &filled(&path, "x")).send().await;
        let open = operation["security"] == json!([]);
        if open {
            answer.expect(200);
        } else if is_rdb(&path) {
            answer.refused_as(401, "denied_authentication");
        } else {
            answer.refused(401, "unauthenticated");
        }
        let described = &operation["responses"]["403"];
        if path.starts_with("/admin/") {
            let ask = berth.ask(method, &filled(&path, "x")).key(&berth.member);
            ask.send().await.refused(403, "denied");
            assert!(described.is_object(), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused_with_the_names_that_are_described() {
    let berth = Berth::start().await;
    let document = document(&berth).await;
    for (method, path, operation) in operations(&document) {
        let described: BTreeSet<&str> = parameters(operation, "query").collect();
        // The other dialect has no list of names; its refusals are tried with its routes.
        if described.is_empty() || is_rdb(&path) {
            continue;
        }
        let asked = format!("{}?nmae=x", filled(&path, "x"));
        let refused = berth.ask(method, &asked).key(&berth.admin).send().await;
        let refused = refused.refused_fields(&["nmae"]);
        assert_eq!(names(&refused), described, "{path}");
    }

    let described = &document["components"]["schemas"]["NewDatabase"];
    assert_eq!(described["additionalProperties"], false);
    let refused = berth.create(with(wanted("x"), json!({ "nmae": 1 }))).await;
    let refused = refused.refused_fields(&["nmae"]);
    let properties = described["properties"].as_object().unwrap();
    assert_eq!(
        names(&refused),
        properties.keys().map(String::as_str).collect()
    );

    let required = described["required"].as_array().unwrap().iter();
    let required: Vec<_> = required.map(|field| field.as_str().unwrap()).collect();
    let mut none = berth.create(json!({})).await.refused(422, "invalid");
    let missing = none["fields"].as_array_mut().unwrap();
    missing.sort_by_key(|problem| required.iter().position(|field| problem["field"] == *field));
    let missing: Vec<_> = missing
        .iter()
        .map(|problem| problem["field"].as_str().unwrap())
        .collect();
    assert_eq!(missing, required);
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused_like_everything_else() {
    let berth = Berth::start().await;
    for (method, path, operation) in operations(&document(&berth).await) {
        if parameters(operation, "path").next().is_none() {
            continue;
        }
        let ask = || {
            berth
                .ask(method.clone(), &filled(&path, "%FF"))
                .key(&berth.admin)
        };
        if is_rdb(&path) {
            ask().send().await.refused_as(400, "invalid_arguments");
            continue;
        }
        ask().send().await.refused(400, "malformed_path");
        for nothing in ["%00", "%2F", "..", "db_%30"] {
            let ask = berth
                .ask(method.clone(), &filled(&path, nothing))
                .key(&berth.admin);
            ask.send().await.refused(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_whole_number_may_be_written_with_a_point() {
    let berth = Berth::start().await;
    for (name, number) in [("a", "10.0"), ("b", "1e1"), ("c", "10")] {
        let mut body = wanted(name).to_string();
        body.insert_str(1, &format!("\"storage_gb\": {number}, \"replicas\": 1.0, "));
        let ask = berth
            .ask(Method::POST, "/api/v1/databases")
            .key(&berth.member);
        let ask = ask.header("content-type", "application/json").text(body);
        ask.send().await.expect(201);
    }
    for number in [
        "10.5",
        "1e30",
        "-1e300",
        "18446744073709551616",
        "9007199254740994.0",
    ] {
        let mut body = wanted("d").to_string();
        body.insert_str(1, &format!("\"storage_gb\": {number}, "));
        let ask = berth
            .ask(Method::POST, "/api/v1/databases")
            .key(&berth.member);
        let ask = ask.header("content-type", "application/json").text(body);
        ask.send().await.refused_fields(&["storage_gb"]);
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let berth = Berth::start().await;
    let page = berth.ask(Method::GET, "/docs").send().await;
    let policy = page.header("content-security-policy").unwrap().to_owned();
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(
        !policy.contains("http") && !policy.contains('*'),
        "{policy}"
    );
    let html = page.expect(200);
    let html = html.as_str().unwrap();
    assert!(!html.contains("//"), "{html}");
    assert!(
        !html.contains("<script>") && !html.contains("style="),
        "{html}"
    );

    let links = html.split(['"']).filter(|text| text.starts_with("docs/"));
    let links: Vec<&str> = links.collect();
    assert_eq!(links.len(), 3, "{links:?}");
    for link in links {
        let (headers, bytes) = berth.raw(&format!("/{link}")).await;
        assert!(bytes.len() > 100, "{link}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["content-security-policy"], policy.as_str());
        let kind = headers["content-type"].to_str().unwrap();
        let expected = if link.ends_with("css") {
            "text/css"
        } else {
            "text/javascript"
        };
        assert!(kind.starts_with(expected), "{link} is {kind}");
        let packed = headers
            .get("content-encoding")
            .is_some_and(|coding| coding == "gzip");
        assert_eq!(packed, bytes.starts_with(&[0x1f, 0x8b]), "{link}");
    }
    for name in ["index.html", "swagger-initializer.js", "..", "none"] {
        let answer = berth
            .ask(Method::GET, &format!("/docs/{name}"))
            .send()
            .await;
        answer.refused(404, "not_found");
    }
}

#[tokio::test]
async fn the_document_is_for_everybody_and_about_no_host_in_particular() {
    let berth = Berth::start().await;
    let answer = berth.ask(Method::GET, "/openapi.json").send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let text = answer.expect(200).to_string();
    for ours in [
        &berth.admin,
        &berth.member,
        "proj_first",
        "fake-machine",
        "not-installed",
    ] {
        assert!(!text.contains(ours), "{ours}");
    }
    let other = Berth::start_complete().await;
    assert_eq!(document(&other).await.to_string(), text);
}

async fn document(berth: &Berth) -> Value {
    berth
        .ask(Method::GET, "/openapi.json")
        .send()
        .await
        .expect(200)
}

fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let items = paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(|(method, operation)| {
            let method = method.to_uppercase().parse().unwrap();
            (method, path.clone(), operation)
        })
    });
    items.collect()
}

fn parameters<'a>(operation: &'a Value, place: &'static str) -> impl Iterator<Item = &'a str> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    all.filter(move |parameter| parameter["in"] == place)
        .map(|parameter| parameter["name"].as_str().unwrap())
}

/// The path with this in place of what it names.
fn filled(path: &str, name: &str) -> String {
    let parts = path.split('/');
    let parts: Vec<_> = parts
        .map(|part| if part.starts_with('{') { name } else { part })
        .collect();
    parts.join("/")
}

/// What a refusal says is known.
fn names(refused: &Value) -> BTreeSet<&str> {
    let help = refused["fields"][0]["help"].as_str().unwrap();
    help.strip_prefix("one of ").unwrap().split(", ").collect()
}
