//! An instance of the dialect from its creation to its end, and how the other dialect sees it.

use serde_json::{Value, json};

use super::super::harness::{DATABASES, with};
use super::{FIRST, ORGANIZATION, ask, get, post, ready, start, status, wanted};

#[tokio::test]
async fn an_instance_has_all_that_clients_read() {
    let berth = start().await;
    let asked = with(
        wanted("main"),
        json!({ "tags": ["blue", "old"], "disable_backup": true, "init_endpoints": [{ "load_balancer": {} }] }),
    );
    let made = post(&berth, "/instances", asked).await.expect(200);
    assert_eq!(made["status"], "provisioning");
    assert_eq!(made["endpoint"], Value::Null);
    assert_eq!(made["endpoints"], json!([]));
    let id = made["id"].as_str().unwrap();
    let shown = status(&berth, id, "ready").await;
    let endpoint = &shown["endpoints"][0];
    assert_eq!(shown["endpoint"], *endpoint);
    assert_eq!(endpoint["load_balancer"], json!({}));
    assert!(endpoint.get("private_network").is_none() && endpoint.get("hostname").is_none());
    for (field, expected) in [
        ("name", json!("main")),
        ("organization_id", json!(ORGANIZATION)),
        ("project_id", json!(FIRST)),
        ("region", json!("fr-par")),
        ("engine", json!("Fake-3")),
        ("node_type", json!("node")),
        ("is_ha_cluster", json!(false)),
        ("high_availability_mode", json!("disabled")),
        ("tags", json!(["blue", "old"])),
        (
            "volume",
            json!({ "type": "lssd", "size": 5_000_000_000_u64, "class": "lssd" }),
        ),
        ("settings", json!([])),
        ("init_settings", json!([])),
        ("backup_same_region", json!(false)),
        (
            "backup_schedule",
            json!({ "frequency": 24, "retention": 7, "disabled": true, "next_run_at": null }),
        ),
        (
            "logs_policy",
            json!({ "max_age_retention": 30, "total_disk_retention": null }),
        ),
        ("encryption", json!({ "enabled": false })),
        ("maintenances", json!([])),
        ("read_replicas", json!([])),
        ("upgradable_version", json!([])),
    ] {
        assert_eq!(shown[field], expected, "{field}");
    }
    let by_id = get(
        &berth,
        &format!("/endpoints/{}", endpoint["id"].as_str().unwrap()),
    )
    .await;
    assert_eq!(by_id.expect(200), *endpoint);
    let rules = get(&berth, &format!("/instances/{id}/acls"))
        .await
        .expect(200);
    assert_eq!(
        rules,
        json!({ "total_count": 1, "rules": [{
            "ip": "0.0.0.0/0", "description": "Allow All", "port": endpoint["port"],
            "protocol": "tcp", "direction": "inbound", "action": "allow",
        }] })
    );
}

#[tokio::test]
async fn an_instance_is_changed_restarted_and_deleted() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let path = format!("/instances/{id}");
    let patch = async |body: Value| ask(&berth, &berth.member, "patch", &path, &body).await;
    let changed = patch(json!({
        "name": "other", "tags": ["a"], "backup_schedule_frequency": 12, "backup_schedule_retention": 3,
        "is_backup_schedule_disabled": true, "backup_schedule_start_hour": 23, "backup_same_region": true,
        "logs_policy": { "max_age_retention": 7, "total_disk_retention": 1_000_000 },
    }));
    let changed = changed.await.expect(200);
    assert_eq!(changed["name"], "other");
    assert_eq!(changed["backup_schedule"]["frequency"], 12);
    assert_eq!(changed["logs_policy"]["total_disk_retention"], 1_000_000);
    // What is left out, or null, stays; an empty list is none at all.
    let again = patch(json!({ "name": null, "tags": [] })).await.expect(200);
    assert_eq!(again["name"], "other");
    assert_eq!(again["tags"], json!([]));
    assert_eq!(again["backup_schedule"], changed["backup_schedule"]);
    let zeros = json!({ "logs_policy": { "max_age_retention": 0, "total_disk_retention": 0 } });
    let zeros = patch(zeros).await.expect(200);
    assert_eq!(
        zeros["logs_policy"],
        json!({ "max_age_retention": 7, "total_disk_retention": null })
    );
    patch(json!({ "backup_schedule_start_hour": 24 }))
        .await
        .refused_arguments(&[("backup_schedule_start_hour", "constraint")]);

    let restarted = post(&berth, &format!("{path}/restart"), json!({})).await;
    assert!(restarted.header("x-operation-id").is_some());
    assert_eq!(restarted.expect(200)["status"], "restarting");
    status(&berth, &id, "ready").await;
    let deleting = ask(&berth, &berth.member, "delete", &path, &json!({})).await;
    assert_eq!(deleting.expect(200)["status"], "deleting");
    let gone = berth_tests::wait_for("it to be gone", async || {
        let answer = get(&berth, &path).await;
        (answer.status == 404).then_some(answer)
    });
    let gone = gone.await.refused_as(404, "not_found");
    assert_eq!(gone["resource_id"], *id);
}

#[tokio::test]
async fn both_dialects_show_the_same() {
    let berth = start().await;
    let id = ready(&berth, "here").await;
    let simple = berth.get(DATABASES).await.expect(200);
    assert_eq!(simple[0]["name"], "here");
    assert_eq!(simple[0]["plan_id"], "node");
    assert_eq!(simple[0]["storage_gb"], 5);
    let alias = simple[0]["id"].as_str().unwrap();
    let stop = berth.ask(
        axum::http::Method::POST,
        &format!("{DATABASES}/{alias}/stop"),
    );
    stop.key(&berth.member).send().await.expect(202);
    status(&berth, &id, "locked").await;
    let refused = post(&berth, &format!("/instances/{id}/restart"), json!({})).await;
    assert_eq!(refused.refused_as(423, "locked")["resource_id"], *id);

    let made =
        json!({ "name": "there", "db_type": "fake", "plan_id": "small", "region": "nl-ams" });
    let made = berth.create(made).await.expect(201);
    let uuid = berth.uuid(made["id"].as_str().unwrap()).await;
    let path = format!("/rdb/v1/regions/nl-ams/instances/{uuid}");
    let shown = berth.get(&path).await.expect(200);
    assert_eq!(shown["node_type"], "small");
    // One that is in no region of the dialect is not in it.
    let local = json!({ "name": "local", "db_type": "fake", "plan_id": "node", "region": "here" });
    berth.create(local).await.expect(201);
    let listed = get(&berth, "/instances").await.expect(200);
    assert_eq!(listed["total_count"], 1);
}

#[tokio::test]
async fn settings_and_rules_are_changed_by_operations() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let path = format!("/instances/{id}/settings");
    let send = async |method: &str, path: &str, body: Value| {
        let answer = ask(&berth, &berth.member, method, path, &body).await;
        assert!(answer.header("x-operation-id").is_some(), "{}", answer.body);
        let body = answer.expect(200);
        status(&berth, &id, "ready").await;
        body
    };
    let one = |name: &str, value: &str| json!({ "name": name, "value": value });
    let catalogue = get(&berth, "/database-engines").await.expect(200);
    let settings = catalogue["engines"][0]["versions"][2]["available_settings"].clone();
    let [live, waiting] = [0, 1].map(|at| settings[at]["name"].as_str().unwrap().to_owned());
    let added = send(
        "post",
        &path,
        json!({ "settings": [one(&live, "1"), one(&waiting, "2")] }),
    )
    .await;
    assert_eq!(added["settings"].as_array().unwrap().len(), 2);
    let set = send("put", &path, json!({ "settings": [one(&live, "3")] })).await;
    assert_eq!(set["settings"], json!([one(&live, "3")]));
    let shown = get(&berth, &format!("/instances/{id}")).await.expect(200);
    assert_eq!(shown["settings"], set["settings"]);
    let left = send("delete", &path, json!({ "setting_names": [live] })).await;
    assert_eq!(left["settings"], json!([]));

    let path = format!("/instances/{id}/acls");
    let rule = |ip: &str| json!({ "ip": ip, "description": "d" });
    let added = send("post", &path, json!({ "rules": [rule("192.0.2.7")] })).await;
    assert_eq!(added["rules"][1]["ip"], "192.0.2.7/32");
    assert!(added.get("total_count").is_none());
    let set = json!({ "rules": [rule("2001:db8::/32"), rule("192.0.2.0/24")] });
    let set = send("put", &path, set).await;
    assert_eq!(set["rules"].as_array().unwrap().len(), 2);
    let left = send("delete", &path, json!({ "acl_rule_ips": ["192.0.2.0/24"] })).await;
    assert_eq!(left["rules"][0]["ip"], "2001:db8::/32");
    let listed = get(&berth, &format!("{path}?page_size=1&page=2"))
        .await
        .expect(200);
    assert_eq!(listed, json!({ "rules": [], "total_count": 1 }));
}

#[tokio::test]
async fn the_certificate_comes_as_json_and_as_a_file() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let path = format!("/instances/{id}/certificate");
    let file = get(&berth, &path).await.expect(200);
    assert_eq!(file["name"], "ssl_certificate");
    assert_eq!(file["content_type"], "application/x-pem-file");
    let raw = get(&berth, &format!("{path}?dl=1")).await;
    assert_eq!(raw.header("content-type"), Some("application/x-pem-file"));
    let pem = raw.expect(200);
    assert!(
        pem.as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    get(&berth, &format!("{path}?dl=2"))
        .await
        .refused_arguments(&[("dl", "constraint")]);
    let renewed = post(
        &berth,
        &format!("/instances/{id}/renew-certificate"),
        json!({}),
    )
    .await;
    assert_eq!(renewed.header("content-type"), Some("application/json"));
    assert_eq!(renewed.expect(204), "");
    status(&berth, &id, "ready").await;
    let now = get(&berth, &format!("{path}?dl=1")).await.expect(200);
    assert_ne!(now, pem);
}
