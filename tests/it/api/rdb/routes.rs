//! Every route of the dialect: none answers without a good key, none shows another project's things, and each is as far
//! as the document says.

use axum::http::Method;
use serde_json::{Value, json};

use super::super::harness::Berth;
use super::{NOBODY, ask, ready, start};

struct Route {
    id: String,
    method: String,
    path: String,
    /// The document says that it is not there yet.
    later: bool,
}

impl Route {
    /// The path with something in it for what it names.
    fn filled(&self, instance: &str, endpoint: &str) -> String {
        let path = self.path.replace("/rdb/v1/regions/{region}", "");
        let path = path.replace("{instance_id}", instance);
        let named: Vec<String> = path
            .split('/')
            .map(|part| match part {
                "{name}" => "somebody".to_owned(),
                "{endpoint_id}" => endpoint.to_owned(),
                part if part.starts_with('{') => NOBODY.to_owned(),
                part => part.to_owned(),
            })
            .collect();
        named.join("/")
    }

    fn is_empty_list(&self) -> bool {
        self.later && self.id.starts_with("rdb_list_")
    }

    /// A body that is right, as far as one can be without what is there.
    fn body(&self) -> Value {
        match self.id.as_str() {
            id if id.starts_with("rdb_get") || id.starts_with("rdb_list") => Value::Null,
            "rdb_create_instance" => super::wanted("another"),
            "rdb_create_database_backup" => json!({ "instance_id": NOBODY, "database_name": "d" }),
            "rdb_restore_database_backup" | "rdb_create_read_replica" | "rdb_migrate_endpoint" => {
                json!({ "instance_id": NOBODY })
            }
            "rdb_clone_instance" | "rdb_create_snapshot" | "rdb_create_database" => {
                json!({ "name": "n" })
            }
            "rdb_upgrade_instance" => json!({ "node_type": "node" }),
            "rdb_create_instance_from_snapshot" => json!({ "instance_name": "n" }),
            "rdb_create_read_replica_endpoint" => {
                json!({ "endpoint_spec": [{ "direct_access": {} }] })
            }
            "rdb_create_endpoint" => json!({ "endpoint_spec": { "load_balancer": {} } }),
            "rdb_add_instance_acl_rules" | "rdb_set_instance_acl_rules" => {
                json!({ "rules": [{ "ip": "0.0.0.0/0", "description": "Allow All" }] })
            }
            "rdb_delete_instance_acl_rules" => json!({ "acl_rule_ips": [] }),
            "rdb_add_instance_settings" | "rdb_set_instance_settings" => json!({ "settings": [] }),
            "rdb_delete_instance_settings" => json!({ "setting_names": [] }),
            "rdb_set_privilege" => json!({ "database_name": "d", "user_name": "u" }),
            "rdb_create_user" => json!({ "name": "u", "password": "S3cret!pw", "is_admin": false }),
            _ => json!({}),
        }
    }
}

/// All of them, out of the document that the host itself shows.
async fn routes(berth: &Berth) -> Vec<Route> {
    let (_, bytes) = berth.raw("/openapi.json").await;
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if path.starts_with("/rdb/") {
                routes.push(Route {
                    id: operation["operationId"].as_str().unwrap().to_owned(),
                    method: method.clone(),
                    path: path.clone(),
                    later: operation["x-not-there-yet"] == true,
                });
            }
        }
    }
    assert_eq!(routes.len(), 58);
    routes
}

#[tokio::test]
async fn every_route_needs_a_good_key() {
    let berth = start().await;
    let revoked = revoked(&berth).await;
    for route in routes(&berth).await {
        let path = format!("{}{}", super::REGION, route.filled(NOBODY, NOBODY));
        for (key, reason) in [
            (None, "invalid_argument"),
            (Some(""), "invalid_argument"),
            (Some("no key"), "invalid_argument"),
            (Some(NOBODY), "not_found"),
            (Some(revoked.as_str()), "not_found"),
        ] {
            let method: Method = route.method.to_uppercase().parse().unwrap();
            let mut request = berth.ask(method, &path);
            if let Some(key) = key {
                request = request.header("x-auth-token", key);
            }
            let refused = request.json(&route.body()).send().await;
            let refused = refused.refused_as(401, "denied_authentication");
            assert_eq!(refused["method"], "api_key", "{}", route.id);
            assert_eq!(refused["reason"], reason, "{} with {key:?}", route.id);
        }
    }
}

#[tokio::test]
async fn another_projects_things_are_not_there() {
    let berth = start().await;
    let id = ready(&berth, "mine").await;
    let endpoint = endpoint(&berth, &id).await;
    for route in routes(&berth).await {
        let (resource, named) = match route.path.as_str() {
            path if path.contains("{instance_id}") => ("instance", &id),
            path if path.contains("{endpoint_id}") => ("endpoint", &endpoint),
            _ => continue,
        };
        let path = route.filled(&id, &endpoint);
        let refused = ask(&berth, &berth.other, &route.method, &path, &route.body()).await;
        let refused = refused.refused_as(404, "not_found");
        assert_eq!(refused["resource"], resource, "{}", route.id);
        assert_eq!(refused["resource_id"], **named, "{}", route.id);
        // In another region it is not there for its owner either.
        let elsewhere = format!("{}{path}", super::REGION.replace("fr-par", "nl-ams"));
        let method: Method = route.method.to_uppercase().parse().unwrap();
        let request = berth.ask(method, &elsewhere).key(&berth.member);
        let refused = request.json(&route.body()).send().await;
        refused.refused_as(404, "not_found");
    }
}

async fn endpoint(berth: &Berth, id: &str) -> String {
    let shown = super::status(berth, id, "ready").await;
    shown["endpoints"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_route_is_as_far_as_the_document_says() {
    let berth = start().await;
    let mut empty = 0;
    let mut later = 0;
    for route in routes(&berth).await {
        let id = ready(&berth, &format!("for {}", route.id.replace('_', "-"))).await;
        let endpoint = endpoint(&berth, &id).await;
        let answer = ask(
            &berth,
            &berth.member,
            &route.method,
            &route.filled(&id, &endpoint),
            &route.body(),
        )
        .await;
        if route.is_empty_list() {
            let body = answer.expect(200);
            let mut values = body.as_object().unwrap().values();
            assert!(
                values.all(|value| *value == json!([]) || *value == 0),
                "{body}"
            );
            empty += 1;
        } else if route.later {
            let refused = answer.refused_as(412, "precondition_failed");
            let help = refused["help_message"].as_str().unwrap();
            assert!(help.contains("Berth has no "), "{}: {help}", route.id);
            assert!(refused["precondition"].is_string());
            later += 1;
        } else {
            let said = answer.body["help_message"].as_str().unwrap_or_default();
            assert!(
                !said.contains("Berth has no "),
                "{}: {}",
                route.id,
                answer.body
            );
            assert!(
                answer.status.is_success() || is_about_users(&route.id),
                "{}: {}",
                route.id,
                answer.body
            );
        }
        // It goes, so that the list stays short.
        let path = format!("/instances/{id}");
        ask(&berth, &berth.member, "delete", &path, &Value::Null).await;
    }
    assert_eq!((empty, later), (4, 27));
}

/// The engine of these tests has none: it is refused for that reason.
fn is_about_users(id: &str) -> bool {
    ["_user", "_privilege", "_database"]
        .iter()
        .any(|part| id.contains(part))
}

async fn revoked(berth: &Berth) -> String {
    let made = berth.ask(Method::POST, "/admin/v1/keys").key(&berth.admin);
    let made = made.json(&json!({})).send().await.expect(201);
    let path = format!("/admin/v1/keys/{}", made["id"].as_str().unwrap());
    let gone = berth
        .ask(Method::DELETE, &path)
        .key(&berth.admin)
        .send()
        .await;
    assert_eq!(gone.status, 204);
    made["secret_key"].as_str().unwrap().to_owned()
}
