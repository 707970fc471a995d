use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Places that may add a route without a description: the page for people is not part of the API.
const UNDESCRIBED: [&str; 1] = ["docs.rs"];
/// How a route comes into a router. `routes!` is not among them: it takes the description along.
const PLAIN: [&str; 5] = [
    ".route(",
    ".route_service(",
    ".nest(",
    ".nest_service(",
    ".fallback_service(",
];

#[test]
fn every_route_is_described() {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api");
    let files = sources(&api);
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        if UNDESCRIBED.iter().any(|name| file.ends_with(name)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for plain in PLAIN {
            let found = text.contains(plain);
            assert!(
                !found,
                "{} adds a route by {plain}…): use `.routes(routes!(handler))`",
                file.display()
            );
        }
    }
}

#[test]
fn every_operation_has_a_name_a_place_and_words() {
    let document = document();
    let mut names = BTreeSet::new();
    let tags: Vec<&Value> = document["tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| &tag["name"])
        .collect();
    for (path, _, operation) in operations(&document) {
        let name = operation["operationId"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} twice");
        assert!(
            operation["summary"]
                .as_str()
                .is_some_and(|s| !s.is_empty() && !s.ends_with('.')),
            "{path}"
        );
        let tag = &operation["tags"][0];
        assert!(tags.contains(&tag), "{path} is under {tag}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(
                response["description"]
                    .as_str()
                    .is_some_and(|d| d.ends_with('.') || d.ends_with('`')),
                "{path} {status}"
            );
            assert!(
                response["headers"]["X-Request-Id"].is_object(),
                "{path} {status}"
            );
            assert!(
                response["content"].is_object() || status == "204",
                "{path} {status} has no body"
            );
        }
    }
    assert!(names.len() >= 16, "{names:?}");
}

#[test]
fn only_what_is_about_berth_itself_needs_no_key() {
    for (path, _, operation) in operations(&document()) {
        let open = operation["security"] == serde_json::json!([]);
        assert_eq!(open, operation["tags"][0] == "berth", "{path}");
        assert_eq!(open, operation["responses"]["401"].is_null(), "{path}");
        assert_eq!(
            path.starts_with("/admin/"),
            operation["tags"][0] == "admin",
            "{path}"
        );
    }
}

#[test]
fn all_that_is_referred_to_is_there() {
    let document = document();
    let mut goals = BTreeSet::new();
    collect_references(&document, &mut goals);
    assert!(goals.len() > 10, "{goals:?}");
    for goal in goals {
        let pointer = goal.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{goal} leads nowhere");
    }
}

#[test]
fn an_answer_has_all_its_fields_and_a_request_those_that_it_needs() {
    let document = document();
    let required = |schema: &str, field: &str| {
        let schema = &document["components"]["schemas"][schema];
        assert!(schema["properties"][field].is_object(), "{field}: {schema}");
        let required = schema["required"].as_array().unwrap();
        required.iter().any(|name| name == field)
    };
    assert!(required("Operation", "last_error"), "it may be null");
    assert!(required("Instance", "health"), "it may be null");
    assert!(required("Database", "id"));
    assert!(!required("Credentials", "username"), "it may be left out");
    assert!(!required("FieldProblem", "help"), "it may be left out");
    assert!(
        !required("NewDatabase", "version"),
        "a caller may leave it out"
    );
    assert!(required("NewDatabase", "name"));
}

#[test]
fn it_is_the_same_every_time() {
    assert_eq!(document().to_string(), document().to_string());
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let items = paths.flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations.map(|(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    items.collect()
}

fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(goal)) = fields.get("$ref") {
                found.insert(goal.clone());
            }
            fields
                .values()
                .for_each(|value| collect_references(value, found));
        }
        Value::Array(items) => items
            .iter()
            .for_each(|value| collect_references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
    found
}
