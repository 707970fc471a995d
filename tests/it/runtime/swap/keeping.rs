//! What outlives a swap: builds that instances name, what was live, and nothing else.

use berth::model::Kind;

use super::*;

/// Purges without waiting for those who may be about to record a build.
const HASTY: Timing = Timing {
    kept_for: Duration::ZERO,
    ..EAGER
};

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_kept_while_it_is_named_and_purged_after() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, HASTY).await;
    let first = becomes_live(&runtime, &build(0)).await;
    book.enter(&first, "1");
    place.put(FILE, &build(1));
    let second = becomes_live(&runtime, &build(1)).await;
    place.put(FILE, &build(2));
    let third = becomes_live(&runtime, &build(2)).await;

    // Nobody named the second one.
    wait_for("the second build to be purged", async || {
        (place.kept(&second) == 0).then_some(())
    })
    .await;
    let error = runtime.engine_build(&second).err().unwrap();
    assert!(matches!(error.kind, Kind::NotFound), "{error:?}");
    let kept = runtime.engine_build(&first).unwrap();
    assert_eq!(*kept.digest(), first);
    kept.validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
    drop(kept);
    assert!(place.kept(&first) == 2 && place.kept(&third) == 2);

    book.clear();
    wait_for("the first build to be purged", async || {
        (place.kept(&first) == 0).then_some(())
    })
    .await;
    assert_eq!(place.kept(&third), 2);
    works(&runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_build_goes_on_with_the_session_of_another() {
    let place = Place::with(&[(FILE, &build(0))]);
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    becomes_live(&runtime, &build(0)).await;
    let it = instance(
        InstanceId::generate(),
        "remember",
        Dial::Unix("probe.sock".into()),
    );
    let calls = async |engine: &dyn Engine| {
        let listed = engine.users().unwrap().list_users(&it).await.unwrap();
        listed[0].name.clone()
    };
    let first = engine(&runtime);
    assert_eq!([calls(&*first).await, calls(&*first).await], ["1", "2"]);
    place.put(FILE, &build(1));
    becomes_live(&runtime, &build(1)).await;
    let second = engine(&runtime);
    assert_eq!([calls(&*second).await, calls(&*second).await], ["1", "2"]);
    assert_eq!(calls(&*first).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_was_live_a_moment_ago_is_not_purged() {
    let place = Place::with(&[(FILE, &build(0))]);
    let runtime = place.watch(&Arc::new(Book::default()), EAGER).await;
    let first = becomes_live(&runtime, &build(0)).await;
    place.put(FILE, &build(1));
    becomes_live(&runtime, &build(1)).await;
    // One that nothing ever named shows that there was a purge.
    let stray = Digest::from_hex("5".repeat(64));
    let file = place.data().join(format!("plugins/{stray}.wasm"));
    std::fs::write(&file, b"").unwrap();
    wait_for("a purge", async || (!file.exists()).then_some(())).await;
    assert_eq!(place.kept(&first), 2);
    runtime.engine_build(&first).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_purges_what_nothing_names() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    drop(place.watch(&book, EAGER).await);
    let plugins = place.data().join("plugins");
    let named = Builds::digest_of(&build(7));
    std::fs::write(plugins.join(format!("{named}.wasm")), build(7)).unwrap();
    let stray = Builds::digest_of(&build(8));
    for name in [
        format!("{stray}.wasm"),
        format!("{stray}.0123.cwasm"),
        format!("{stray}.4567.tmp"),
    ] {
        std::fs::write(plugins.join(name), b"x").unwrap();
    }
    book.enter(&named, "1");
    let runtime = place.watch(&book, EAGER).await;
    wait_for("the stray build to be purged", async || {
        (place.kept(&stray) == 0).then_some(())
    })
    .await;
    let kept = wait_for("the named build", async || {
        runtime.engine_build(&named).ok()
    })
    .await;
    assert_eq!(*kept.digest(), named);
    assert_eq!(place.kept(&Builds::digest_of(&build(0))), 2);
    works(&runtime).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_bad_file_still_changes_nothing() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, HASTY).await;
    place.put(FILE, &build(1));
    let before = becomes_live(&runtime, &build(1)).await;
    runtime.settled().await;
    drop(runtime);

    for bad in [&build(2)[..1000], b"nothing of the kind"] {
        place.put(FILE, bad);
        let runtime = place.watch(&book, HASTY).await;
        assert_eq!(live(&runtime), Some(before.clone()));
        let reason = refused(&runtime).await;
        assert!(reason.contains("not a valid"), "{reason}");
        works(&runtime).await;
    }
    // Not even the folder is there.
    let away = place.dir.path().join("away");
    std::fs::rename(place.plugins(), &away).unwrap();
    let runtime = place.watch(&book, HASTY).await;
    assert_eq!(live(&runtime), Some(before));
    std::fs::rename(away, place.plugins()).unwrap();
    place.put(FILE, &build(3));
    becomes_live(&runtime, &build(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_plugin_strands_nobody() {
    let place = Place::with(&[(FILE, &build(0))]);
    let book = Arc::new(Book::default());
    let runtime = place.watch(&book, HASTY).await;
    let digest = becomes_live(&runtime, &build(0)).await;
    let alias = book.enter(&digest, "1");
    std::fs::remove_file(place.plugins().join(FILE)).unwrap();
    let removed = async |runtime: &Runtime| {
        wait_for("the plugin to be removed", async || {
            match status(runtime, FILE)?.state {
                PluginState::Removed(depends) => depends.contains(&alias).then_some(()),
                PluginState::Compiling | PluginState::Ready | PluginState::Refused(_) => None,
            }
        })
        .await;
        assert!(matches!(
            runtime.engine("probe").err().unwrap().kind,
            Kind::NotFound
        ));
        wait_for("the kept build", async || {
            runtime.engine_build(&digest).ok()
        })
        .await
    };
    removed(&runtime)
        .await
        .validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
    drop(runtime);
    // And so after a restart.
    let runtime = place.watch(&book, HASTY).await;
    removed(&runtime).await;

    place.put(FILE, &build(1));
    becomes_live(&runtime, &build(1)).await;
    book.clear();
    std::fs::remove_file(place.plugins().join(FILE)).unwrap();
    wait_for("nothing to be left of it", async || {
        let gone = status(&runtime, FILE).is_none() && runtime.engine("probe").is_err();
        gone.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_vanishes_takes_nothing_with_it() {
    let place = Place::with(&[(FILE, &build(0))]);
    let runtime = place.watch(&Arc::new(Book::default()), HASTY).await;
    let before = becomes_live(&runtime, &build(0)).await;
    let away = place.dir.path().join("away");
    std::fs::rename(place.plugins(), &away).unwrap();
    // Longer than a file that is gone would be believed to be there.
    elapse(EAGER.whole_after * 5).await;
    assert_eq!(live(&runtime), Some(before));
    works(&runtime).await;
    std::fs::rename(away, place.plugins()).unwrap();
    place.put(FILE, &build(1));
    becomes_live(&runtime, &build(1)).await;
}
