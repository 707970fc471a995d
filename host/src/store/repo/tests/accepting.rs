//! Requests: names, idempotency keys, lost answers.

use super::*;

#[tokio::test]
async fn a_name_is_taken_while_its_instance_lives() {
    let bench = Bench::new().await;
    let first = bench.running("Main DB").await;
    let refused = bench
        .repo
        .begin_create(new_instance("main-db"), create(), None)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::NameTaken);
    let mut elsewhere = new_instance("main-db");
    elsewhere.project = crate::model::ProjectId::generate();
    bench
        .repo
        .begin_create(elsewhere, create(), None)
        .await
        .unwrap();
    let mut deletion = bench.delete(first.id).await;
    bench.finish(&mut deletion, Outcome::Succeeded).await;
    let (second, _) = bench.create("main-db").await;
    assert_ne!(second.alias, first.alias);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_many_times_at_once_makes_one_instance() {
    let bench = Bench::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let repo = bench.repo.clone();
        tasks.spawn(async move {
            let new = new_instance("main");
            let key = idempotency(&new, "key", 1);
            repo.begin_create(new, create(), Some(key)).await.unwrap()
        });
    }
    let begun = tasks.join_all().await;
    let new = begun.iter().filter(|begun| matches!(begun, Begun::New(..)));
    assert_eq!(new.count(), 1);
    let ids: BTreeSet<InstanceId> = begun
        .iter()
        .map(|begun| match begun {
            Begun::New(instance, _) | Begun::Replayed(instance) => instance.id,
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(bench.repo.open_operations().await.unwrap().len(), 1);

    let new = new_instance("another");
    let key = idempotency(&new, "key", 2);
    let refused = bench.repo.begin_create(new, create(), Some(key)).await;
    assert_eq!(
        reason(&refused.unwrap_err()),
        ConflictReason::IdempotencyMismatch
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_for_a_name_one_is_accepted() {
    let bench = Bench::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..32 {
        let repo = bench.repo.clone();
        tasks.spawn(async move {
            let new = new_instance("main");
            let key = idempotency(&new, &format!("key {i}"), 1);
            let key = (i % 2 == 0).then_some(key);
            repo.begin_create(new, create(), key).await
        });
    }
    let answers = tasks.join_all().await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(accepted.len(), 1);
    for refusal in refused {
        assert_eq!(reason(&refusal.unwrap_err()), ConflictReason::NameTaken);
    }
    assert_eq!(bench.repo.view().list(&InstanceQuery::default()).total, 1);
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_found_or_repeated() {
    for (fault, taken) in [(Fault::Lost, false), (Fault::TakenUnheard, true)] {
        let bench = Bench::new().await;
        bench.memory.fault_at(bench.memory.commits() + 1, fault);
        let new = new_instance("main");
        let key = idempotency(&new, "key", 1);
        let lost = bench
            .repo
            .begin_create(new.clone(), create(), Some(key.clone()))
            .await
            .unwrap_err();
        assert!(matches!(lost.kind, Kind::Unavailable), "{lost:?}");
        if taken {
            // Nobody was told, and yet it is shown and there is work.
            let view = bench.repo.view();
            eventually("it is shown", || {
                view.list(&InstanceQuery::default()).total == 1
            })
            .await;
            tokio::time::timeout(Duration::from_secs(10), bench.repo.work().notified())
                .await
                .unwrap();
        }
        let again = bench.repo.begin_create(new, create(), Some(key)).await;
        assert_eq!(matches!(again.unwrap(), Begun::Replayed(_)), taken);
        assert_eq!(bench.repo.view().list(&InstanceQuery::default()).total, 1);
        assert_eq!(bench.repo.open_operations().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half() {
    let bench = Bench::new().await;
    let accepting = bench
        .repo
        .begin_create(new_instance("main"), create(), None);
    // Polled until it waits for its commit, and dropped.
    tokio::select! {
        biased;
        _ = accepting => panic!("it did not wait"),
        () = std::future::ready(()) => {}
    }
    let view = bench.repo.view();
    eventually("it is shown", || {
        view.list(&InstanceQuery::default()).total == 1
    })
    .await;
    tokio::time::timeout(Duration::from_secs(10), bench.repo.work().notified())
        .await
        .unwrap();
}
