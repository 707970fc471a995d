//! What a component cannot do, and what it costs when it tries: its caller one clear error, the host nothing.

use std::time::{Duration, Instant};

use berth::model::{InstanceId, Kind, Secret};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_answers() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let id = InstanceId::generate();
    assert_eq!(engine.description().title, "Probe");
    engine.validate(id, &told("nothing")).await.unwrap();

    let workload = engine.plan(id, &told("nothing")).await.unwrap();
    assert_eq!(workload.members[0].main.program, "probe-server");
    assert_eq!(workload.members[0].volumes[0].size_bytes, 1 << 30);

    let login = engine.first_login(id, &told("nothing")).await.unwrap();
    assert_eq!(login.user.as_deref(), Some("app"));
    let password = Secret::new("correct-horse-battery");
    let connection = engine
        .connect(id, &told("nothing"), &endpoint(4100), &login, &password)
        .await
        .unwrap();
    assert_eq!(
        connection.uri.expose(),
        "probe://correct-horse-battery@localhost:4100"
    );
}

/// The public text of the error that a validation ends with.
async fn failure(runtime: &Runtime, what: &str) -> String {
    let error = engine(runtime)
        .validate(InstanceId::generate(), &told(what))
        .await
        .unwrap_err();
    assert!(matches!(error.kind, Kind::Failed), "{error:?}");
    error.public().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_component_costs_one_clear_error() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    for (what, expected) in [
        ("panic", "crashed"),
        ("spin", "did not answer within 1.5 s"),
        ("sleep", "did not answer within 1.5 s"),
        ("allocate", "its limit of 32 MiB of memory"),
    ] {
        let text = failure(&runtime, what).await;
        assert!(
            text.contains("`probe`") && text.contains(expected),
            "{what}: {text}"
        );
        assert!(text.len() < 300 && !text.contains('\n'), "{what}: {text}");
        engine(&runtime)
            .validate(InstanceId::generate(), &told("nothing"))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_answer_is_refused() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let error = engine(&runtime)
        .plan(InstanceId::generate(), &told("huge-plan"))
        .await
        .unwrap_err();
    assert!(
        error.public().contains("more data than is allowed"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_with_a_program_of_its_own_choice_is_refused() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let error = engine(&runtime)
        .plan(InstanceId::generate(), &spec(&[("program", "/bin/sh")]))
        .await
        .unwrap_err();
    assert!(
        error.public().contains("manifest does not list"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_reaches_nothing_of_the_host() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    for what in ["read-file", "resolve", "listen", "datagram"] {
        let text = failure(&runtime, what).await;
        let told_by_the_component = match what {
            "read-file" => "read: ",
            other => other,
        };
        assert!(text.starts_with(told_by_the_component), "{what}: {text}");
    }
    let text = failure(&runtime, "environment").await;
    assert!(text.starts_with("0 variables, 0 arguments"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_component_prints_or_logs_harms_nobody() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    for what in ["print", "log"] {
        engine(&runtime)
            .validate(InstanceId::generate(), &told(what))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_component_are_bounded() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    assert!(failure(&runtime, "long-error").await.len() < 2000);

    let engine = engine(&runtime);
    let id = InstanceId::generate();
    let retry = engine.validate(id, &told("retry")).await.unwrap_err();
    assert!(matches!(retry.kind, Kind::Retry(after) if after == Duration::from_secs(60)));
    let invalid = engine.validate(id, &told("invalid")).await.unwrap_err();
    match invalid.kind {
        Kind::Invalid(problems) => assert_eq!(problems[0].field, "version"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_component_that_spins_does_not_keep_others_waiting() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let engine = engine(&runtime);
    let spinning = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.validate(InstanceId::generate(), &told("spin")).await }
    });
    tokio::task::yield_now().await;
    let started = Instant::now();
    let mut calls = 0;
    while !spinning.is_finished() {
        engine
            .validate(InstanceId::generate(), &told("nothing"))
            .await
            .unwrap();
        calls += 1;
        tokio::task::yield_now().await;
    }
    spinning.await.unwrap().unwrap_err();
    // One thread: had the spinning call not yielded, none would have been answered beside it.
    assert!(calls >= 5, "{calls} calls in {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_hang_use_up_their_own_builds_places_only() {
    let place = Place::with_fixtures();
    let mut config = place.config();
    config.limits.concurrent = 2;
    let runtime = place.open_with(config).await;
    let engine = engine(&runtime);
    let hang = || {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move {
            engine
                .validate(InstanceId::generate(), &told("sleep"))
                .await
        })
    };
    let hanging: Vec<_> = (0..6).map(|_| hang()).collect();
    // Another build answers meanwhile.
    let other = target(&runtime);
    let context = deployment(InstanceId::generate(), "");
    let logs = other.logs(&context, "main", 100).await;
    assert_eq!(logs.unwrap(), "a line\n");
    for call in hanging {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(error.kind, Kind::Failed | Kind::Unavailable),
            "{error:?}"
        );
    }
    engine
        .validate(InstanceId::generate(), &told("nothing"))
        .await
        .unwrap();
}
