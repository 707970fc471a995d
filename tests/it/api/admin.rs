//! The operator's view.

use serde_json::{Value, json};

use super::harness::{Berth, DATABASES, wanted};

#[tokio::test]
async fn an_operation_shows_how_far_it_is() {
    let berth = Berth::start().await;
    let id = berth.running("watched").await;
    let listed = berth.admin_get("/admin/v1/operations").await.expect(200);
    assert_eq!(listed["total"], 1);
    let operation = &listed["operations"][0];
    let path = format!("/admin/v1/operations/{}", operation["id"].as_str().unwrap());
    assert_eq!(berth.admin_get(&path).await.expect(200), *operation);
    for (field, expected) in [
        ("kind", json!("create")),
        ("status", json!("succeeded")),
        ("progress", json!(100)),
        ("database_id", json!(id)),
        ("owner", Value::Null),
        ("last_error", Value::Null),
        ("cancel_requested", json!(false)),
        ("cancellable", json!(false)),
    ] {
        assert_eq!(operation[field], expected, "{field}");
    }
    let steps = operation["steps"].as_array().unwrap();
    assert!(steps.len() >= 5);
    assert!(
        steps
            .iter()
            .all(|step| step["state"] == "done" && step["attempts"].as_u64() > Some(0))
    );
    assert!(
        operation.get("state").is_none(),
        "a workflow's own state is its own"
    );
}

#[tokio::test]
async fn one_under_way_names_its_owner_and_can_be_cancelled() {
    let berth = Berth::start().await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    let created = berth.create(wanted("stuck")).await.expect(201);
    let id = created["id"].as_str().unwrap();
    let open = format!("/admin/v1/operations?instance={id}&open=true");
    let operation = berth_tests::wait_for("somebody to hold it", async || {
        let listed = berth.admin_get(&open).await.expect(200);
        let operation = listed["operations"][0].clone();
        operation["owner"].is_object().then_some(operation)
    })
    .await;
    assert_eq!(operation["owner"]["node"], "local");
    assert_eq!(operation["cancellable"], true);
    let path = format!("/admin/v1/operations/{}", operation["id"].as_str().unwrap());
    let again = berth.admin_post(&format!("{path}/retry")).await.expect(202);
    assert_eq!(again["id"], operation["id"], "an open one goes on");

    let cancelled = berth
        .admin_post(&format!("{path}/cancel"))
        .await
        .expect(202);
    assert_eq!(cancelled["cancel_requested"], true);
    berth.wait_status(id, "destroyed").await;
    assert_eq!(
        berth.admin_get(&path).await.expect(200)["status"],
        "cancelled"
    );
    assert_eq!(berth.admin_get(&open).await.expect(200)["total"], 0);
    assert_eq!(berth.world.live_count(), 0);
    for verb in ["cancel", "retry"] {
        let answer = berth.admin_post(&format!("{path}/{verb}")).await;
        answer.refused(409, "not_allowed_now");
    }
}

#[tokio::test]
async fn a_deletion_cannot_be_cancelled_but_says_why_it_waits() {
    let berth = Berth::start().await;
    let id = berth.running("sticky").await;
    berth
        .world
        .behave(|b| b.removal_fails = Some("the disk is busy".to_owned()));
    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    let query = format!("/admin/v1/operations?instance={id}&kind=delete");
    let operation = berth_tests::wait_for("a reason", async || {
        let listed = berth.admin_get(&query).await.expect(200);
        let operation = listed["operations"][0].clone();
        let why = operation["last_error"].as_str()?;
        // Before that, its server was ending.
        why.contains("disk is busy").then_some(operation)
    })
    .await;
    let path = format!("/admin/v1/operations/{}", operation["id"].as_str().unwrap());
    berth
        .admin_post(&format!("{path}/cancel"))
        .await
        .refused(409, "not_allowed_now");
    berth.world.behave(|b| b.removal_fails = None);
    berth.admin_post(&format!("{path}/retry")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
}

#[tokio::test]
async fn operations_are_filtered_and_paged() {
    let berth = Berth::start().await;
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(berth.running(name).await);
    }
    berth
        .delete(&format!("{DATABASES}/{}", ids[0]))
        .await
        .expect(202);
    berth.wait_status(&ids[0], "destroyed").await;

    let uuid = berth.uuid(&ids[0]).await;
    for (query, expected) in [
        (String::new(), 4),
        ("?kind=create".into(), 3),
        ("?kind=delete".into(), 1),
        ("?status=succeeded".into(), 4),
        ("?status=failed".into(), 0),
        ("?open=true".into(), 0),
        ("?open=false&kind=create".into(), 3),
        (format!("?instance={}", ids[0]), 2),
        (format!("?instance={uuid}&kind=delete"), 1),
    ] {
        let listed = berth
            .admin_get(&format!("/admin/v1/operations{query}"))
            .await
            .expect(200);
        assert_eq!(
            listed["operations"].as_array().unwrap().len(),
            expected,
            "{query}"
        );
        assert_eq!(listed["total"], expected, "{query}");
    }
    for (query, field) in [
        ("kind=upgrade", "kind"),
        ("status=done", "status"),
        ("open=maybe", "open"),
        ("instance=db_00000000", "instance"),
        ("cursor=x", "cursor"),
        ("limit=-1", "limit"),
        ("sort=up", "sort"),
    ] {
        let answer = berth
            .admin_get(&format!("/admin/v1/operations?{query}"))
            .await;
        answer.refused_fields(&[field]);
    }

    let mut next = Some("/admin/v1/operations?limit=3".to_owned());
    let mut kinds = Vec::new();
    while let Some(path) = next {
        let answer = berth.admin_get(&path).await;
        next = answer.header("link").map(|link| {
            let end = link.find('>').unwrap();
            link[1..end].to_owned()
        });
        let listed = answer.expect(200);
        for operation in listed["operations"].as_array().unwrap() {
            kinds.push(operation["kind"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(
        kinds,
        ["delete", "create", "create", "create"],
        "newest first"
    );
}

#[tokio::test]
async fn an_instance_shows_what_stands_behind_it() {
    let berth = Berth::start().await;
    let id = berth.running("deep").await;
    let path = format!("/admin/v1/instances/{id}");
    let shown = berth_tests::wait_for("it to be observed", async || {
        let shown = berth.admin_get(&path).await.expect(200);
        shown["health"].is_object().then_some(shown)
    })
    .await;
    assert_eq!(shown["database_id"], id.as_str());
    assert_eq!(shown["phase"], "running");
    assert_eq!(shown["node"], "local");
    assert_eq!(shown["target"], "fake-machine");
    assert_eq!(shown["health"]["condition"]["state"], "healthy");
    assert_eq!(shown["reservation"]["ports"].as_array().unwrap().len(), 2);
    assert_eq!(
        shown["endpoints"][0]["port"],
        shown["reservation"]["ports"][0]
    );
    assert_eq!(shown["operation"], Value::Null);
    for build in ["engine_build", "target_build"] {
        assert_eq!(shown[build]["drift"], false);
        assert_eq!(shown[build]["digest"], shown[build]["live_digest"]);
    }

    let uuid = shown["id"].as_str().unwrap();
    let by_uuid = berth
        .admin_get(&format!("/admin/v1/instances/{uuid}"))
        .await
        .expect(200);
    assert_eq!(by_uuid["database_id"], id.as_str());

    berth
        .world
        .behave(|b| b.removal_fails = Some("not now".to_owned()));
    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    let shown = berth.admin_get(&path).await.expect(200);
    assert_eq!(shown["phase"], "deleting");
    assert_eq!(shown["operation"]["kind"], "delete");
}

#[tokio::test]
async fn plugins_are_listed() {
    let berth = Berth::start().await;
    let listed = berth.admin_get("/admin/v1/plugins").await.expect(200);
    let plugins = listed["plugins"].as_array().unwrap();
    assert_eq!(plugins.len(), 2);
    let engine = plugins.iter().find(|p| p["kind"] == "engine").unwrap();
    assert_eq!(engine["name"], "fake");
    assert_eq!(engine["file"], "fake.wasm");
    assert_eq!(engine["state"], "ready");
    assert_eq!(engine["digest"].as_str().unwrap().len(), 64);
}

#[tokio::test]
async fn no_secret_is_in_what_an_operator_reads() {
    let berth = Berth::start().await;
    let id = berth.running("discreet").await;
    let given = berth
        .get(&format!("{DATABASES}/{id}/credentials"))
        .await
        .expect(200);
    let password = given["password"].as_str().unwrap();
    for path in [
        format!("/admin/v1/instances/{id}"),
        "/admin/v1/operations".to_owned(),
        "/admin/v1/plugins".to_owned(),
        "/metrics".to_owned(),
        DATABASES.to_owned(),
    ] {
        let shown = berth.admin_get(&path).await.expect(200).to_string();
        assert!(!shown.contains(password), "{path}");
        for key in [&berth.admin, &berth.member] {
            assert!(!shown.contains(key.as_str()), "{path}");
        }
    }
}
