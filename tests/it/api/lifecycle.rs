//! A database from its creation to its end, as the document of the API has it.

use serde_json::json;

use super::harness::{Berth, DATABASES, FIRST, wanted, with};

#[tokio::test]
async fn it_is_created_shown_and_destroyed() {
    let berth = Berth::start().await;
    let asked = with(
        wanted("Main Base"),
        json!({ "version": "3", "storage_gb": 50, "replicas": 1 }),
    );
    let created = berth.create(asked).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    let at = created["created_at"].as_str().unwrap().to_owned();
    assert!(id.starts_with("db_") && id.len() == 11, "{id}");
    assert!(
        at.ends_with('Z') && at.len() == "2024-01-15T10:30:00Z".len(),
        "{at}"
    );
    assert_eq!(
        created,
        json!({
            "id": id, "name": "Main Base", "db_type": "fake", "status": "provisioning",
            "created_at": at,
        })
    );

    let path = format!("{DATABASES}/{id}");
    let running = berth.wait_status(&id, "running").await;
    let expected = json!({
        "id": id, "project_id": FIRST, "name": "Main Base", "slug": "main-base",
        "db_type": "fake", "version": "3", "plan_id": "small", "status": "running",
        "region": "here", "storage_gb": 50, "replicas": 1, "created_at": at,
    });
    assert_eq!(running, expected);
    assert_eq!(berth.get(DATABASES).await.expect(200), json!([expected]));

    let credentials = berth.get(&format!("{path}/credentials")).await;
    assert_eq!(credentials.header("cache-control"), Some("no-store"));
    let given = credentials.expect(200);
    let password = given["password"].as_str().unwrap();
    let (host, port) = (
        given["host"].as_str().unwrap(),
        given["port"].as_u64().unwrap(),
    );
    assert_eq!(
        given,
        json!({
            "host": "127.0.0.1", "port": port, "username": "app_user", "password": password,
            "database": "main_base", "ssl_mode": "require",
            "connection_string": format!("fake://:{password}@{host}:{port}"),
        })
    );

    let stopping = berth.delete(&path).await.expect(202);
    assert_eq!(stopping["status"], "stopped");
    let destroyed = berth.wait_status(&id, "destroyed").await;
    assert_eq!(destroyed["slug"], "main-base");
    assert_eq!(berth.get(DATABASES).await.expect(200), json!([]));
    let listed = berth
        .get(&format!("{DATABASES}?status=destroyed"))
        .await
        .expect(200);
    assert_eq!(listed, json!([destroyed]));
    berth
        .get(&format!("{path}/credentials"))
        .await
        .refused(409, "not_ready");

    assert_eq!(berth.world.live_count(), 0);
    assert_eq!(berth.world.violations(), Vec::<String>::new());
    berth.app.stop().await;
}

#[tokio::test]
async fn deleting_again_begins_nothing_new() {
    let berth = Berth::start().await;
    let id = berth.running("twice").await;
    let path = format!("{DATABASES}/{id}");
    berth
        .world
        .behave(|b| b.removal_fails = Some("the disk is busy".to_owned()));
    let (one, two) = tokio::join!(berth.delete(&path), berth.delete(&path));
    assert_eq!(one.expect(202)["status"], "stopped");
    assert_eq!(two.expect(202)["status"], "stopped");
    berth.delete(&path).await.expect(202);
    let deletions = format!("/admin/v1/operations?instance={id}&kind=delete");
    assert_eq!(berth.admin_get(&deletions).await.expect(200)["total"], 1);

    berth.world.behave(|b| b.removal_fails = None);
    berth.wait_status(&id, "destroyed").await;
    assert_eq!(berth.delete(&path).await.expect(202)["status"], "destroyed");
    assert_eq!(berth.admin_get(&deletions).await.expect(200)["total"], 1);
}

#[tokio::test]
async fn it_can_be_deleted_while_it_is_created() {
    let berth = Berth::start().await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    let created = berth.create(wanted("early")).await.expect(201);
    let id = created["id"].as_str().unwrap();
    let path = format!("{DATABASES}/{id}");
    berth
        .get(&format!("{path}/credentials"))
        .await
        .refused(409, "not_ready");
    berth.delete(&path).await.expect(202);
    berth.wait_status(id, "destroyed").await;
    assert_eq!(berth.world.live_count(), 0);
}

#[tokio::test]
async fn a_creation_that_fails_is_an_error_and_can_be_retried() {
    let berth = Berth::start().await;
    berth
        .world
        .behave(|b| b.servers_die = Some("it has no will to live".to_owned()));
    let created = berth.create(wanted("doomed")).await.expect(201);
    let id = created["id"].as_str().unwrap();
    berth.wait_status(id, "error").await;
    berth
        .get(&format!("{DATABASES}/{id}/credentials"))
        .await
        .refused(409, "not_ready");
    let listed = berth
        .get(&format!("{DATABASES}?status=error"))
        .await
        .expect(200);
    assert_eq!(listed[0]["id"], id);

    let failed = format!("/admin/v1/operations?instance={id}");
    let failed = berth.admin_get(&failed).await.expect(200);
    let operation = &failed["operations"][0];
    assert_eq!(operation["status"], "failed");
    assert!(
        operation["last_error"]
            .as_str()
            .unwrap()
            .contains("will to live"),
        "{operation}"
    );

    berth.world.behave(|b| b.servers_die = None);
    let retry = format!(
        "/admin/v1/operations/{}/retry",
        operation["id"].as_str().unwrap()
    );
    let begun = berth.admin_post(&retry).await.expect(202);
    assert_ne!(begun["id"], operation["id"]);
    berth.wait_status(id, "running").await;
    berth
        .admin_post(&retry)
        .await
        .refused(409, "not_allowed_now");
}
