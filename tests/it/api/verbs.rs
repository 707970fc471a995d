//! Stop, start and restart: what is answered, what is shown meanwhile, and what is refused.

use axum::http::Method;
use berth_tests::wait_for;
use serde_json::{Value, json};

use super::harness::{Answer, Berth, DATABASES, names, wanted};

#[tokio::test]
async fn it_is_stopped_started_and_restarted() {
    let berth = Berth::start().await;
    let id = berth.running("on and off").await;
    let uuid = berth.uuid(&id).await;
    let path = format!("{DATABASES}/{id}");
    let before = berth.get(&format!("{path}/credentials")).await.expect(200);
    let starts = || berth.world.live(uuid).unwrap().starts;

    // Until its servers have ended it is not stopped.
    let stopping = berth.verb(&id, "stop").await.expect(202);
    assert_eq!(stopping["id"], id.as_str());
    assert_eq!(stopping["status"], "running");
    let stopped = berth.wait_status(&id, "stopped").await;
    assert!(!berth.world.live(uuid).unwrap().running);
    assert_eq!(berth.get(DATABASES).await.expect(200), json!([stopped]));
    let listed = berth.get(&format!("{DATABASES}?status=stopped")).await;
    assert_eq!(names(&listed.expect(200)), ["on and off"]);
    let listed = berth.get(&format!("{DATABASES}?status=running")).await;
    assert_eq!(listed.expect(200), json!([]));
    for (method, call) in [
        (Method::GET, "credentials"),
        (Method::POST, "credentials/rotate"),
    ] {
        let ask = berth.ask(method, &format!("{path}/{call}"));
        let refused = ask
            .key(&berth.member)
            .send()
            .await
            .refused(409, "not_ready");
        let expected = format!("the database is stopped; start it with POST {path}/start");
        assert_eq!(refused["message"], expected);
    }

    let starting = berth.verb(&id, "start").await.expect(202);
    assert_eq!(starting["status"], "provisioning");
    berth.wait_status(&id, "running").await;
    assert_eq!(starts(), 2);
    let restarting = berth.verb(&id, "restart").await.expect(202);
    assert_eq!(restarting["status"], "provisioning");
    berth.wait_status(&id, "running").await;
    assert_eq!(starts(), 3);
    let after = berth.get(&format!("{path}/credentials")).await.expect(200);
    assert_eq!(after, before);
    assert_eq!(berth.world.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn asking_again_begins_nothing_new() {
    let berth = Berth::start().await;
    let id = berth.running("asked often").await;
    for (verb, status) in [("stop", "stopped"), ("start", "running")] {
        let (one, two) = tokio::join!(berth.verb(&id, verb), berth.verb(&id, verb));
        one.expect(202);
        two.expect(202);
        berth.wait_status(&id, status).await;
        let shown = berth.verb(&id, verb).await.expect(202);
        assert_eq!(shown["status"], status);
        assert_eq!(berth.operations(&id, verb).await.len(), 1, "{verb}");
    }
    berth
        .world
        .behave(|b| b.stop_fails = Some("not now".to_owned()));
    for _ in 0..3 {
        let shown = berth.verb(&id, "restart").await.expect(202);
        assert_eq!(shown["status"], "provisioning");
    }
    assert_eq!(berth.operations(&id, "restart").await.len(), 1);
    // What it is on its way to be, it need not be asked to be.
    berth.verb(&id, "start").await.expect(202);
    assert_eq!(berth.operations(&id, "start").await.len(), 1);
    berth.world.behave(|b| b.stop_fails = None);
    berth.wait_status(&id, "running").await;
}

#[tokio::test]
async fn a_stop_that_is_not_done_says_why_and_gives_way_to_a_start_or_a_deletion() {
    let berth = Berth::start().await;
    let id = berth.running("held").await;
    berth
        .world
        .behave(|b| b.stop_fails = Some("its disk is gone".to_owned()));
    berth.verb(&id, "stop").await.expect(202);
    let stop = berth.with_error(&id, "stop").await;
    assert_eq!(stop["last_error"], "its disk is gone");
    assert_eq!(stop["cancellable"], false);
    let path = operation_path(&stop);
    let refused = berth.admin_post(&format!("{path}/cancel")).await;
    let refused = refused.refused(409, "not_allowed_now");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("start the database"), "{message}");
    berth.verb(&id, "restart").await.refused(409, "wrong_phase");

    berth.verb(&id, "start").await.expect(202);
    berth.wait_status(&id, "running").await;
    let ended = berth.admin_get(&path).await.expect(200);
    assert_eq!(ended["status"], "cancelled");

    berth.verb(&id, "stop").await.expect(202);
    berth.with_error(&id, "stop").await;
    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
    assert_eq!(berth.world.live_count(), 0);
}

#[tokio::test]
async fn a_start_that_fails_is_an_error_and_can_be_tried_again_stopped_or_deleted() {
    let berth = Berth::start().await;
    let id = berth.running("unwilling").await;
    let uuid = berth.uuid(&id).await;
    let fails = |why: Option<&str>| {
        let why = why.map(str::to_owned);
        berth.world.behave(|b| b.servers_die = why);
    };
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;

    fails(Some("it has no will to live"));
    berth.verb(&id, "start").await.expect(202);
    berth.wait_status(&id, "error").await;
    assert!(!berth.world.live(uuid).unwrap().running);
    let failed = berth.operations(&id, "start").await.remove(0);
    assert_eq!(failed["status"], "failed");
    let why = failed["last_error"].as_str().unwrap();
    assert!(why.contains("will to live"), "{why}");
    let shown = berth.admin_get(&format!("/admin/v1/instances/{id}")).await;
    let shown = shown.expect(200);
    assert_eq!(shown["phase"], "start_failed");
    assert_eq!(shown["failure"], why);
    let credentials = berth.get(&format!("{DATABASES}/{id}/credentials")).await;
    credentials.refused(409, "not_ready");
    let listed = berth.get(&format!("{DATABASES}?status=error")).await;
    assert_eq!(names(&listed.expect(200)), ["unwilling"]);

    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;
    berth.verb(&id, "start").await.expect(202);
    berth.wait_status(&id, "error").await;
    fails(None);
    // What was done since counts more than what failed before it.
    let retry = |operation| format!("{}/retry", operation_path(operation));
    let refused = berth.admin_post(&retry(&failed)).await;
    refused.refused(409, "not_allowed_now");
    let newest = berth.operations(&id, "start").await.remove(0);
    assert_ne!(newest["id"], failed["id"]);
    berth.admin_post(&retry(&newest)).await.expect(202);
    berth.wait_status(&id, "running").await;

    fails(Some("it has had enough"));
    berth.verb(&id, "restart").await.expect(202);
    berth.wait_status(&id, "error").await;
    berth.verb(&id, "restart").await.expect(202);
    berth.wait_status(&id, "error").await;
    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
    assert_eq!(berth.world.live_count(), 0);
}

#[tokio::test]
async fn a_start_can_be_cancelled_or_stopped_and_a_restart_stopped() {
    let berth = Berth::start().await;
    let id = berth.running("slow").await;
    let uuid = berth.uuid(&id).await;
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);

    berth.verb(&id, "start").await.expect(202);
    let start = berth.with_error(&id, "start").await;
    assert_eq!(start["cancellable"], true);
    let path = operation_path(&start);
    berth
        .admin_post(&format!("{path}/cancel"))
        .await
        .expect(202);
    berth.wait_status(&id, "stopped").await;
    assert!(!berth.world.live(uuid).unwrap().running);
    assert_eq!(
        berth.admin_get(&path).await.expect(200)["status"],
        "cancelled"
    );

    berth.verb(&id, "start").await.expect(202);
    berth.with_error(&id, "start").await;
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;

    berth.world.behave(|b| b.looks_until_running = 2);
    berth.verb(&id, "start").await.expect(202);
    berth.wait_status(&id, "running").await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    berth.verb(&id, "restart").await.expect(202);
    let restart = berth.with_error(&id, "restart").await;
    let refused = berth
        .admin_post(&format!("{}/cancel", operation_path(&restart)))
        .await;
    let refused = refused.refused(409, "not_allowed_now");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("stop the database")
    );
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;
    assert!(!berth.world.live(uuid).unwrap().running);
    assert_eq!(berth.world.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_stopped_or_started_says_so() {
    let berth = Berth::start().await;
    berth.world.behave(|b| b.looks_until_running = u32::MAX);
    let created = berth.create(wanted("unborn")).await.expect(201);
    let id = created["id"].as_str().unwrap().to_owned();
    let refused = async |verb: &str, why: &str| {
        let refused = berth.verb(&id, verb).await.refused(409, "wrong_phase");
        let expected = format!("cannot {verb} the database: it {why}");
        assert_eq!(refused["message"], expected.as_str());
    };
    for verb in ["stop", "start", "restart"] {
        refused(verb, "is being created").await;
    }
    berth.world.behave(|b| b.looks_until_running = 1);
    berth.wait_status(&id, "running").await;
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;
    refused("restart", "is stopped; start it").await;

    let theirs = format!("{DATABASES}/{id}/start");
    let ask = berth.ask(Method::POST, &theirs).key(&berth.other);
    ask.send().await.refused(404, "not_found");
    berth.get(&theirs).await.refused(405, "method_not_allowed");

    berth.delete(&format!("{DATABASES}/{id}")).await.expect(202);
    berth.wait_status(&id, "destroyed").await;
    for verb in ["stop", "start", "restart"] {
        refused(verb, "is deleted").await;
    }
}

#[tokio::test]
async fn an_operator_can_do_it_too_and_sees_the_operation() {
    let berth = Berth::start().await;
    let id = berth.running("operated").await;
    let uuid = berth.uuid(&id).await;
    for (name, verb, status) in [
        (id.clone(), "stop", "stopped"),
        (uuid.to_string(), "start", "running"),
        (id.clone(), "restart", "running"),
    ] {
        let path = format!("/admin/v1/instances/{name}/{verb}");
        let begun = berth.admin_post(&path).await.expect(202);
        assert_eq!(begun["database_id"], id.as_str());
        assert_eq!(begun["operation"]["kind"], verb);
        berth.wait_status(&id, status).await;
    }
    let path = format!("/admin/v1/instances/{id}/start");
    let begun = berth.admin_post(&path).await.expect(202);
    assert_eq!(begun["operation"], Value::Null, "it runs already");
}

#[tokio::test]
async fn a_stopped_one_is_not_looked_after_and_keeps_its_port_and_its_place_in_the_quota() {
    let berth = Berth::start().await;
    let id = berth.running("asleep").await;
    let path = format!("/admin/v1/instances/{id}");
    let reserved = berth.admin_get(&path).await.expect(200)["reservation"].clone();
    berth.verb(&id, "stop").await.expect(202);
    berth.wait_status(&id, "stopped").await;
    let shown = wait_for("its health to be forgotten", async || {
        let shown = berth.admin_get(&path).await.expect(200);
        shown["health"].is_null().then_some(shown)
    })
    .await;
    assert_eq!(shown["reservation"], reserved);
    assert_eq!(shown["phase"], "stopped");
    assert_eq!(shown["failure"], Value::Null);
    berth
        .create(wanted("asleep"))
        .await
        .refused(409, "name_taken");
    let other = berth.running("awake").await;
    let other = berth
        .admin_get(&format!("/admin/v1/instances/{other}"))
        .await;
    assert_ne!(other.expect(200)["reservation"]["ports"], reserved["ports"]);
    assert_eq!(berth.world.violations(), Vec::<String>::new());
}

impl Berth {
    async fn verb(&self, id: &str, verb: &str) -> Answer {
        let ask = self.ask(Method::POST, &format!("{DATABASES}/{id}/{verb}"));
        ask.key(&self.member).send().await
    }

    /// Newest first.
    async fn operations(&self, id: &str, kind: &str) -> Vec<Value> {
        let path = format!("/admin/v1/operations?instance={id}&kind={kind}");
        let listed = self.admin_get(&path).await.expect(200);
        listed["operations"].as_array().unwrap().clone()
    }

    /// The newest operation of the kind, once it says why it is not done.
    async fn with_error(&self, id: &str, kind: &str) -> Value {
        wait_for("a reason", async || {
            let newest = self.operations(id, kind).await.remove(0);
            newest["last_error"].is_string().then_some(newest)
        })
        .await
    }
}

fn operation_path(operation: &Value) -> String {
    format!("/admin/v1/operations/{}", operation["id"].as_str().unwrap())
}
