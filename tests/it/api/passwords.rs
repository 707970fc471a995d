//! Credentials: never a stale password, and a way back when it is not known any more.

use axum::http::Method;
use berth_tests::wait_for;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use super::harness::{Answer, Berth, DATABASES};

async fn credentials(berth: &Berth, id: &str) -> Answer {
    berth.get(&format!("{DATABASES}/{id}/credentials")).await
}

async fn rotate(berth: &Berth, id: &str) -> Answer {
    let path = format!("{DATABASES}/{id}/credentials/rotate");
    berth
        .ask(Method::POST, &path)
        .key(&berth.member)
        .send()
        .await
}

/// What the server itself takes.
async fn servers_password(berth: &Berth, id: &str) -> String {
    let live = berth.world.live(berth.uuid(id).await).unwrap();
    live.users["app_user"].expose().to_owned()
}

#[tokio::test]
async fn a_rotated_password_is_the_servers() {
    let berth = Berth::start().await;
    let id = berth.running("rotated").await;
    let before = credentials(&berth, &id).await.expect(200);
    let given = rotate(&berth, &id).await.expect(200);
    assert_ne!(given["password"], before["password"]);
    assert_eq!(given["username"], before["username"]);
    assert_eq!(given["password"], servers_password(&berth, &id).await);
    assert_eq!(credentials(&berth, &id).await.expect(200), given);
}

#[tokio::test]
async fn a_password_that_was_changed_elsewhere_is_not_shown() {
    let berth = Berth::start().await;
    let id = berth.running("changed").await;
    let before = credentials(&berth, &id).await.expect(200);
    berth.world.behave(|b| b.refuses_passwords = true);
    let refused = credentials(&berth, &id)
        .await
        .refused(409, "password_unknown");
    let way_out = format!("POST {DATABASES}/{id}/credentials/rotate");
    assert!(
        refused["message"].as_str().unwrap().ends_with(&way_out),
        "{refused}"
    );
    assert!(
        !refused
            .to_string()
            .contains(before["password"].as_str().unwrap())
    );

    let given = rotate(&berth, &id).await.expect(200);
    berth.world.behave(|b| b.refuses_passwords = false);
    assert_eq!(credentials(&berth, &id).await.expect(200), given);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_guessed_about() {
    let berth = Berth::start().await;
    let id = berth.running("silent").await;
    berth.world.kill_server(berth.uuid(&id).await);
    let refused = credentials(&berth, &id).await;
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.refused(503, "unavailable");
    let refused = rotate(&berth, &id).await.refused(503, "unavailable");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("does not answer"),
        "{refused}"
    );
}

#[tokio::test]
async fn rotations_that_race_leave_one_password() {
    let berth = Berth::start().await;
    let id = berth.running("raced").await;
    let asks = (0..8).map(|_| rotate(&berth, &id));
    let answers = futures::future::join_all(asks).await;
    let given: Vec<Value> = answers
        .into_iter()
        .map(|a| a.expect(200)["password"].clone())
        .collect();
    let last = credentials(&berth, &id).await.expect(200)["password"].clone();
    assert_eq!(last, servers_password(&berth, &id).await);
    assert!(given.contains(&last));
}

#[tokio::test]
async fn a_rotation_whose_answer_was_lost_is_found_out() {
    let berth = Berth::start().await;
    let id = berth.running("lost").await;
    let before = servers_password(&berth, &id).await;
    // The server takes the new password and its answer does not come.
    let plugins = berth.plugins.clone();
    plugins.lose_answers(true);
    rotate(&berth, &id).await.refused(503, "unavailable");
    plugins.lose_answers(false);
    let after = servers_password(&berth, &id).await;
    assert_ne!(before, after);
    assert_eq!(
        credentials(&berth, &id).await.expect(200)["password"],
        after.as_str()
    );
}

#[tokio::test]
async fn so_many_are_in_line_for_a_database_that_does_not_answer_and_no_more() {
    const MOST: usize = 64;
    const MORE: usize = 6;
    let first = "default_project = \"proj_first\"";
    let berth = Berth::start_with(first, "[callers]\nconcurrent = 1000\nburst = 1000").await;
    let (busy, other) = (berth.running("busy").await, berth.running("other").await);
    berth.plugins.hold_rotations(true);
    let mut asked: FuturesUnordered<_> = (0..MOST + MORE).map(|_| rotate(&berth, &busy)).collect();
    for _ in 0..MORE {
        let refused = asked.next().await.unwrap();
        assert_eq!(refused.header("retry-after"), Some("5"));
        let told = refused.refused(429, "too_many_requests");
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .contains("too many requests"),
            "{told}"
        );
    }
    // Who hangs up keeps his place: what he asked for is carried out.
    drop(asked);
    rotate(&berth, &busy)
        .await
        .refused(429, "too_many_requests");
    // Each database has a line of its own.
    credentials(&berth, &other).await.expect(200);
    berth.plugins.hold_rotations(false);
    wait_for("the line to be short again", async || {
        (rotate(&berth, &busy).await.status == 200).then_some(())
    })
    .await;
}
