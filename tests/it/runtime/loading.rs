//! How plugins are found, checked, kept and compiled.

use std::time::Instant;

use berth::model::Kind;
use berth::model::plugin::PluginKind;
use berth::runtime::Plugins;
use berth_tests::wait_for;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_serves_at_once_and_compiles_meanwhile() {
    let place = Place::with_fixtures();
    let runtime = Runtime::open(place.config()).await.unwrap();
    // Compiling takes far longer than coming here.
    let statuses = runtime.statuses();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.iter().any(|s| s.state == PluginState::Compiling));
    match runtime.engine("probe") {
        Ok(_) => {}
        Err(e) => assert!(matches!(e.kind, Kind::Unavailable), "{e:?}"),
    }
    runtime.settled().await;
    let statuses = runtime.statuses();
    assert!(
        statuses.iter().all(|s| s.state == PluginState::Ready),
        "{statuses:?}"
    );
    assert_eq!(statuses[0].name, "paper");
    assert_eq!(statuses[0].kind, Some(PluginKind::Target));
    assert!(engine(&runtime).digest() == statuses[1].digest.as_ref().unwrap());
    assert!(matches!(
        runtime.engine("other").err().unwrap().kind,
        Kind::NotFound
    ));
    assert!(matches!(
        runtime.engine("paper").err().unwrap().kind,
        Kind::NotFound
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_plugin_changes_nothing() {
    let engine_bytes = fixture::engine();
    let mut flipped = engine_bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64]
        .iter_mut()
        .for_each(|b| *b ^= 0xff);
    let place = Place::with(&[
        ("a-text.wasm", b"not wasm"),
        ("b-empty.wasm", b""),
        ("c-half.wasm", &engine_bytes[..engine_bytes.len() / 2]),
        ("d-flipped.wasm", &flipped),
        ("e-module.wasm", b"\0asm\x01\0\0\0"),
        ("f-bare.wasm", b"\0asm\x0d\0\x01\0"),
        ("probe.wasm", &engine_bytes),
        ("readme.txt", b"not looked at"),
    ]);
    std::fs::create_dir(place.plugins().join("folder.wasm")).unwrap();
    let runtime = place.open().await;
    for file in [
        "a-text.wasm",
        "b-empty.wasm",
        "c-half.wasm",
        "d-flipped.wasm",
        "e-module.wasm",
        "f-bare.wasm",
        "folder.wasm",
    ] {
        let reason = refusal(&runtime, file);
        assert!(reason.len() > 10, "{file}: {reason}");
    }
    assert_eq!(runtime.statuses().len(), 8);
    engine(&runtime)
        .validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_folder_is_no_failure() {
    let place = Place::with(&[]);
    std::fs::remove_dir(place.plugins()).unwrap();
    assert!(place.open().await.statuses().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_not_loaded() {
    let place = Place::with_fixtures();
    let mut config = place.config();
    config.grants.clear();
    let runtime = place.open_with(config).await;
    let reason = refusal(&runtime, "paper.wasm");
    assert!(reason.contains("does not grant"), "{reason}");
    assert!(runtime.target("paper").is_err());
    engine(&runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_plugin_of_one_name_is_refused() {
    let bytes = fixture::engine();
    // The same but for a custom section at its end.
    let mut twin = bytes.clone();
    twin.extend([0, 3, 1, b'x', 0]);
    let place = Place::with(&[("a.wasm", &bytes), ("b.wasm", &twin)]);
    let runtime = place.open().await;
    assert!(refusal(&runtime, "b.wasm").contains("a.wasm"));
    engine(&runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_is_kept_when_its_file_is_gone() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let digest = engine(&runtime).digest().clone();
    drop(runtime);
    std::fs::remove_file(place.plugins().join("probe.wasm")).unwrap();

    let runtime = place.open().await;
    assert!(matches!(
        runtime.engine("probe").err().unwrap().kind,
        Kind::NotFound
    ));
    let kept = wait_for("the kept build", async || {
        match runtime.engine_build(&digest) {
            Ok(engine) => Some(engine),
            Err(e) => {
                assert!(matches!(e.kind, Kind::Unavailable), "{e:?}");
                None
            }
        }
    })
    .await;
    kept.validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
    assert!(
        runtime.target_build(&digest).is_err(),
        "an engine is no target"
    );

    for unknown in ["f".repeat(64), "../../etc/passwd".into(), String::new()] {
        let error = runtime
            .engine_build(&Digest::from_hex(unknown))
            .err()
            .unwrap();
        assert!(matches!(error.kind, Kind::NotFound), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_code_is_found_again_and_never_trusted_when_altered() {
    let place = Place::with_fixtures();
    let started = Instant::now();
    drop(place.open().await);
    let cold = started.elapsed();

    let started = Instant::now();
    drop(place.open().await);
    let warm = started.elapsed();
    assert!(warm < cold, "warm {warm:?}, cold {cold:?}");

    let mut altered = 0;
    for entry in std::fs::read_dir(place.data().join("plugins")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "cwasm") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            altered += 1;
        }
    }
    assert_eq!(altered, 2);
    let runtime = place.open().await;
    engine(&runtime)
        .validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_programs_are_named() {
    let place = Place::with(&[]);
    let runtime = place.open().await;
    let missing = runtime.missing_programs(&["server".to_owned()], "7");
    assert_eq!(missing[0].program, "server");
}
