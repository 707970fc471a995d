//! Operations: fencing, wishes, deaths, reservations.

use super::*;

#[tokio::test]
async fn deleting_what_is_being_created_cancels_it_and_waits_for_its_undo() {
    let bench = Bench::new().await;
    let (instance, mut creation) = bench.create("main").await;
    creation.value.status = OperationStatus::Running;
    bench
        .repo
        .record(&mut creation, Changes::default())
        .await
        .unwrap();

    let mut deletion = bench.delete(instance.id).await;
    assert_eq!(deletion.value.after, Some(creation.value.id));
    assert_eq!(bench.phase(instance.id), Phase::Deleting);
    let again = bench.repo.begin(instance.id, delete()).await.unwrap_err();
    assert_eq!(reason(&again), ConflictReason::WrongPhase);

    // The driver of the creation is not fenced out; it hears of the wish with its next record.
    assert!(!creation.value.cancel_requested);
    let undoing = Changes {
        workload: Some(workload()),
        ..Changes::default()
    };
    bench.repo.record(&mut creation, undoing).await.unwrap();
    assert!(creation.value.cancel_requested);
    bench.finish(&mut creation, Outcome::Cancelled).await;
    assert_eq!(bench.phase(instance.id), Phase::Deleting);

    bench.finish(&mut deletion, Outcome::Succeeded).await;
    assert_eq!(bench.phase(instance.id), Phase::Deleted);
    let gone = bench.repo.view().get(instance.id).unwrap();
    assert!(gone.deleted_at.is_some());
    let left = [
        keys::instance(instance.id),
        keys::alias(&instance.alias),
        keys::operation(creation.value.id),
        keys::operation(deletion.value.id),
    ];
    assert_eq!(bench.keys(), left.into());
}

#[tokio::test]
async fn of_two_drivers_the_second_is_fenced_out() {
    let bench = Bench::new().await;
    let (_, mut ours) = bench.create("main").await;
    let mut theirs = ours.clone();
    bench
        .repo
        .record(&mut theirs, Changes::default())
        .await
        .unwrap();
    let secrets = [("app".to_owned(), Secret::new("ours"))].into();
    let changes = Changes {
        secrets: Some(secrets),
        ..Changes::default()
    };
    let refused = bench.repo.record(&mut ours, changes).await.unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::Busy);
    let refused = bench
        .repo
        .finish(&mut ours, Outcome::Succeeded, None, Changes::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::Busy);
    assert_eq!(ours.value.status, OperationStatus::Pending);
    let id = ours.value.instance;
    assert!(bench.repo.secrets(id).await.unwrap().is_empty());
    assert_eq!(bench.phase(id), Phase::Creating);
    bench.finish(&mut theirs, Outcome::Succeeded).await;
}

#[tokio::test]
async fn wishes_are_for_operations_that_can_grant_them() {
    let bench = Bench::new().await;
    let (instance, mut creation) = bench.create("main").await;
    creation.value.not_before = Some(Timestamp::MAX);
    bench
        .repo
        .record(&mut creation, Changes::default())
        .await
        .unwrap();
    let id = creation.value.id;
    assert_eq!(bench.repo.retry_now(id).await.unwrap().not_before, None);
    assert!(
        bench
            .repo
            .request_cancel(id)
            .await
            .unwrap()
            .cancel_requested
    );
    assert!(
        bench
            .repo
            .request_cancel(id)
            .await
            .unwrap()
            .cancel_requested
    );
    bench.finish(&mut creation, Outcome::Failed).await;
    for answer in [
        bench.repo.request_cancel(id).await,
        bench.repo.retry_now(id).await,
    ] {
        assert_eq!(reason(&answer.unwrap_err()), ConflictReason::NotAllowedNow);
    }
    let deletion = bench.delete(instance.id).await.value.id;
    let refused = bench.repo.request_cancel(deletion).await.unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::NotAllowedNow);
}

/// One life of an instance, as far as it gets.
async fn one_life(bench: &Bench) -> Result<(), Error> {
    let repo = &bench.repo;
    let new = new_instance("main");
    let key = idempotency(&new, "key", 1);
    let id = match repo.begin_create(new, create(), Some(key)).await? {
        Begun::New(instance, _) | Begun::Replayed(instance) => instance.id,
    };
    for _ in 0..2 {
        for open in repo.open_operations().await? {
            let Some(mut op) = repo.operation(open).await? else {
                continue;
            };
            if op.value.kind == OperationKind::Create {
                let ports = repo.reserve_ports(&mut op, 2, 7000..=7009, |_| true);
                assert_eq!(ports.await?.len(), 2);
                repo.reserve_uid(&mut op, 100..=109, |_| true).await?;
                let changes = Changes {
                    workload: Some(workload()),
                    secrets: Some([("app".to_owned(), Secret::new("hidden"))].into()),
                    ..Changes::default()
                };
                repo.record(&mut op, changes).await?;
                let value = Secret::new("pending");
                repo.put_pending_secret(id, "app", &value).await?;
            }
            repo.finish(&mut op, Outcome::Succeeded, None, Changes::default())
                .await?;
        }
        if bench.repo.view().get(id).unwrap().phase() == Phase::Running {
            repo.begin(id, delete()).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_death_at_any_commit_leaves_what_can_go_on() {
    let whole = Bench::new().await;
    one_life(&whole).await.unwrap();
    let commits = whole.memory.commits();
    assert!(commits > 7);
    let kinds = |bench: &Bench| -> Vec<String> {
        let keys = bench.keys().into_iter();
        keys.map(|key| key.split('/').next().unwrap().to_owned())
            .collect()
    };
    let left = kinds(&whole);
    assert_eq!(
        left,
        ["alias", "idempotency", "instance", "operation", "operation"]
    );
    for number in 1..=commits {
        for fault in [Fault::KillBefore, Fault::KillAfter] {
            let bench = Bench::new().await;
            // The first commit stamps the store.
            bench.memory.fault_at(number + 1, fault);
            let died = tokio::select! {
                lived = one_life(&bench) => { lived.unwrap(); false }
                () = bench.memory.killed() => true,
            };
            assert_eq!(died, number < commits, "commit {number}");
            let bench = bench.restarted().await;
            // As often as it takes: a deletion begun in a first turn ends in the next.
            one_life(&bench).await.unwrap();
            one_life(&bench).await.unwrap();
            let shown = bench.restarted().await;
            assert_eq!(kinds(&shown), left, "commit {number} {fault:?}");
            assert_eq!(shown.repo.open_operations().await.unwrap(), []);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_and_user_ids_are_held_by_one() {
    let bench = Bench::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..10 {
        let (_, mut op) = bench.create(&format!("main-{i}")).await;
        let repo = bench.repo.clone();
        tasks.spawn(async move {
            let free = |port| port != 7003;
            let ports = repo.reserve_ports(&mut op, 2, 7000..=7020, free).await?;
            let again = repo.reserve_ports(&mut op, 2, 7000..=7020, free).await?;
            assert_eq!(ports, again);
            let uid = repo.reserve_uid(&mut op, 500..=509, |_| true).await?;
            Ok::<_, Error>((ports, uid))
        });
    }
    let held = tasks.join_all().await;
    let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
    let ports: BTreeSet<u16> = held.iter().flat_map(|(ports, _)| ports.clone()).collect();
    let uids: BTreeSet<u32> = held.iter().map(|(_, uid)| *uid).collect();
    assert_eq!((ports.len(), uids.len()), (20, 10));
    assert!(!ports.contains(&7003));

    let (_, mut late) = bench.create("late").await;
    let none_left = bench
        .repo
        .reserve_ports(&mut late, 1, 7000..=7020, |port| port != 7003)
        .await
        .unwrap_err();
    assert!(none_left.public().contains("no free port"));
    let none_left = bench
        .repo
        .reserve_uid(&mut late, 500..=509, |_| true)
        .await
        .unwrap_err();
    assert!(none_left.public().contains("no free user id"));
    let given_back = bench.repo.open_operations().await.unwrap()[0];
    let mut first = bench.repo.operation(given_back).await.unwrap().unwrap();
    let release = Changes {
        release: true,
        ..Changes::default()
    };
    bench.repo.record(&mut first, release).await.unwrap();
    let repo = &bench.repo;
    let ports = repo.reserve_ports(&mut late, 2, 7000..=7020, |port| port != 7003);
    assert_eq!(ports.await.unwrap().len(), 2);
    repo.reserve_uid(&mut late, 500..=509, |_| true)
        .await
        .unwrap();
}
