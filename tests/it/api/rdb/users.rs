//! What becomes of a change of users that the engine refuses, does not answer, or puts off.

use serde_json::{Value, json};

use super::super::few_users::Said;
use super::super::harness::{Answer, Berth, DATABASES};
use super::{ask, get, post, ready, start};

const WANTED: &str = "An0ther!one";

async fn change_password(berth: &Berth, id: &str) -> Answer {
    let path = format!("/instances/{id}/users/somebody");
    let change = json!({ "password": WANTED });
    ask(berth, &berth.member, "patch", &path, &change).await
}

/// In the dialect that shows them, where an instance has another id. The engine is not asked for its databases.
async fn credentials(berth: &Berth) -> Answer {
    berth.plugins.users_say(None);
    let listed = berth.get(DATABASES).await.expect(200);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    berth.get(&format!("{DATABASES}/{id}/credentials")).await
}

#[tokio::test]
async fn a_password_that_was_definitely_refused_is_given_to_nobody() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    berth.plugins.users_say(Some(Said::Refused));
    let refused = change_password(&berth, &id).await;
    refused.refused_arguments(&[("password", "constraint")]);
    // However the server came to have it.
    let told = credentials(&berth).await.refused(409, "password_unknown");
    assert!(!told.to_string().contains(WANTED), "{told}");
}

#[tokio::test]
async fn a_password_that_may_have_been_taken_is_found_out() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    berth.plugins.users_say(Some(Said::Lost));
    assert!(change_password(&berth, &id).await.status.is_server_error());
    assert_eq!(credentials(&berth).await.expect(200)["password"], WANTED);
}

#[tokio::test]
async fn what_an_engine_puts_off_is_no_fault_of_who_asks() {
    let berth = start().await;
    let id = ready(&berth, "main").await;
    let before = credentials(&berth).await.expect(200);
    berth.plugins.users_say(Some(Said::Later));
    let path = format!("/instances/{id}");
    for later in [
        change_password(&berth, &id).await,
        get(&berth, &format!("{path}/users")).await,
        get(&berth, &format!("{path}/databases")).await,
        get(&berth, &format!("{path}/privileges")).await,
        post(
            &berth,
            &format!("{path}/databases"),
            json!({ "name": "more" }),
        )
        .await,
        ask(
            &berth,
            &berth.member,
            "delete",
            &format!("{path}/users/ann"),
            &Value::Null,
        )
        .await,
    ] {
        assert_eq!(later.status, 503, "{later:?}");
        assert!(later.header("retry-after").is_some(), "{later:?}");
    }
    assert_eq!(credentials(&berth).await.expect(200), before);
}
