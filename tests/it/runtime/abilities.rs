//! What an engine is able to do besides is what its component exports, and its answers are those to what was asked.

use berth::model::user::{Permission, UserChange};
use berth::model::{ConflictReason, Kind};

use super::*;

/// An instance whose member is not talked to.
fn about(what: &str) -> InstanceContext {
    let nowhere = Dial::Unix("nowhere.sock".into());
    instance(InstanceId::generate(), what, nowhere)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_is_able_to_do_what_its_component_exports() {
    let place = Place::with(&[
        ("probe.wasm", &fixture::engine()),
        ("hostile.wasm", &fixture::hostile()),
    ]);
    let runtime = place.open().await;
    let probe = engine(&runtime);
    assert!(probe.users().is_some() && probe.settings().is_some());
    let bare = runtime.engine("hostile").unwrap();
    assert!(bare.users().is_none() && bare.settings().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_is_handed_over() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let (users, settings) = (engine.users().unwrap(), engine.settings().unwrap());
    let it = about("nothing");
    assert_eq!(settings.reload(&it).await.unwrap(), ["slow"]);
    let names =
        |admin| move |u: &berth::model::user::User| (u.admin == admin).then(|| u.name.clone());
    let found = users.list_users(&it).await.unwrap();
    assert_eq!(found.iter().find_map(names(true)).as_deref(), Some("ann"));
    assert_eq!(found.iter().find_map(names(false)).as_deref(), Some("bob"));
    let password = Secret::new("S3cret!pw");
    let made = users
        .create_user(&it, "eve", &password, true)
        .await
        .unwrap();
    assert!(made.admin && made.name == "eve");
    let change = UserChange {
        password: Some(password),
        admin: Some(true),
    };
    let changed = users.change_user(&it, "eve", &change).await.unwrap();
    assert!(changed.admin && changed.name == "eve");
    let gone = users.delete_user(&it, "eve").await.unwrap_err();
    assert!(matches!(gone.kind, Kind::NotFound), "{gone:?}");
    let sizes = async |sizes| users.list_databases(&it, sizes).await.unwrap()[0].size_bytes;
    assert_eq!((sizes(true).await, sizes(false).await), (Some(7), None));
    assert!(users.create_database(&it, "s").await.unwrap().managed);
    users.delete_database(&it, "s").await.unwrap();
    let found = users.list_privileges(&it, Some("bob"), None).await.unwrap();
    assert_eq!(found[0].user, "bob");
    assert_eq!(found[0].permission, Permission::Custom);
    let set = users.set_privilege(&it, "bob", "shop", Permission::Readonly);
    assert_eq!(set.await.unwrap().permission, Permission::Readonly);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_something_else_is_refused() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let (users, settings) = (engine.users().unwrap(), engine.settings().unwrap());
    let it = about("lie");
    let password = Secret::new("S3cret!pw");
    let change = UserChange::default();
    let refusals = [
        settings.reload(&it).await.map(drop),
        users.list_users(&it).await.map(drop),
        users
            .create_user(&it, "eve", &password, true)
            .await
            .map(drop),
        users.change_user(&it, "eve", &change).await.map(drop),
        users.list_databases(&it, true).await.map(drop),
        users.list_databases(&it, false).await.map(drop),
        users.create_database(&it, "shop").await.map(drop),
        users
            .list_privileges(&it, Some("bob"), None)
            .await
            .map(drop),
        users
            .set_privilege(&it, "bob", "shop", Permission::None)
            .await
            .map(drop),
    ];
    for (n, refusal) in refusals.into_iter().enumerate() {
        let error = refusal.expect_err("a refusal");
        assert!(matches!(error.kind, Kind::Failed), "{n}: {error:?}");
        assert!(
            error.public().contains("`probe` was refused"),
            "{n}: {error:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_handed_over_is_not_said() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let users = engine.users().unwrap();
    let it = about("blab");
    let password = Secret::new("S3cret!pw");
    let change = UserChange {
        password: Some(password.clone()),
        admin: None,
    };
    for said in [
        users.create_user(&it, "eve", &password, false).await,
        users.change_user(&it, "eve", &change).await,
    ] {
        let error = said.unwrap_err();
        assert!(error.public().contains("eve has"), "{error:?}");
        assert!(!format!("{error:?}").contains("S3cret"), "{error:?}");
    }
    let it = about("exists");
    let exists = users.create_user(&it, "eve", &password, false).await;
    let exists = exists.unwrap_err();
    assert!(
        matches!(exists.kind, Kind::Conflict(ConflictReason::AlreadyExists)),
        "{exists:?}"
    );
}
