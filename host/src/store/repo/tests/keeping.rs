//! What is kept: secrets, keys, encodings, purging.

use super::*;
use crate::model::OperationId;
use crate::store::repo::purge::KEPT_OPERATIONS;
use crate::store::view::OperationQuery;

#[tokio::test]
async fn secrets_are_sealed_and_pass_from_pending_to_current() {
    let bench = Bench::new().await;
    let (instance, mut op) = bench.create("main").await;
    let id = instance.id;
    let secrets = [("app".to_owned(), Secret::new("first-password"))].into();
    let changes = Changes {
        secrets: Some(secrets),
        ..Changes::default()
    };
    bench.repo.record(&mut op, changes).await.unwrap();
    let second = Secret::new("second-password");
    let repo = &bench.repo;
    repo.put_pending_secret(id, "app", &second).await.unwrap();
    repo.put_pending_secret(id, "app", &second).await.unwrap();
    let third = Secret::new("third-password");
    let refused = repo
        .put_pending_secret(id, "app", &third)
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::Busy);

    for key in bench.memory.keys() {
        let record = bench.memory.get(&key).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&record.value).into_owned();
        assert!(!text.contains("password"), "{key}");
    }
    let bench = bench.restarted().await;
    let repo = &bench.repo;
    let value = |secrets: crate::model::plugin::Secrets| secrets.get("app").cloned();
    assert_eq!(
        value(repo.secrets(id).await.unwrap()),
        Some(Secret::new("first-password"))
    );
    assert_eq!(
        value(repo.pending_secrets(id).await.unwrap()),
        Some(second.clone())
    );
    repo.promote_pending_secret(id, "app", &second)
        .await
        .unwrap();
    assert_eq!(value(repo.secrets(id).await.unwrap()), Some(second));
    assert_eq!(value(repo.pending_secrets(id).await.unwrap()), None);
    repo.put_pending_secret(id, "app", &third).await.unwrap();
    repo.drop_pending_secret(id, "app").await.unwrap();
    assert_eq!(value(repo.pending_secrets(id).await.unwrap()), None);

    // A sealed value opens in its own place only.
    let moved = bench.memory.get(&keys::secrets(id)).await.unwrap().unwrap();
    let commit = Commit {
        expect: Vec::new(),
        writes: vec![(keys::pending_secrets(id), Write::Put(moved.value))],
    };
    bench.memory.commit(commit).await.unwrap();
    let refused = repo.pending_secrets(id).await.unwrap_err();
    assert!(refused.public().contains("damaged"), "{refused:?}");
}

#[tokio::test]
async fn a_store_of_another_key_or_a_newer_build_or_no_store_at_all_is_refused() {
    let bench = Bench::new().await;
    let instance = bench.running("main").await;
    let refused = open(&bench.memory, &Sealer::ephemeral()).await;
    assert!(
        refused
            .err()
            .unwrap()
            .public()
            .contains("sealed with the key")
    );

    let key = keys::instance(instance.id);
    let record = bench.memory.get(&key).await.unwrap().unwrap();
    for (schema, says) in [(u16::MAX, "newer version"), (0, "damaged")] {
        let mut value = record.value.clone();
        value[..2].copy_from_slice(&schema.to_be_bytes());
        overwrite(&bench.memory, &key, value).await;
        let refused = open(&bench.memory, &bench.sealer).await.err().unwrap();
        assert!(refused.public().contains(says), "{refused:?}");
        assert!(refused.public().contains(&key), "{refused:?}");
    }
    let mut longer = record.value.clone();
    longer.push(0);
    for value in [record.value[..20].to_vec(), longer, b"1".to_vec()] {
        overwrite(&bench.memory, &key, value).await;
        let refused = open(&bench.memory, &bench.sealer).await.err().unwrap();
        assert!(refused.public().contains("damaged"), "{refused:?}");
    }
    let foreign = Memory::new();
    overwrite(&foreign, "something", b"else".to_vec()).await;
    let refused = open(&foreign, &bench.sealer).await.err().unwrap();
    assert!(refused.public().contains("not a store of Berth"));
    assert_eq!(foreign.keys(), ["something"]);
}

async fn overwrite(memory: &Memory, key: &str, value: Vec<u8>) {
    let commit = Commit {
        expect: Vec::new(),
        writes: vec![(key.to_owned(), Write::Put(value))],
    };
    memory.commit(commit).await.unwrap();
}

#[tokio::test]
async fn the_key_file_is_made_for_an_empty_store_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seal.key");
    let memory = Memory::new();
    let open = || Repo::open_with_key_file(Arc::new(memory.clone()), &file);
    drop(open().await.unwrap());
    drop(open().await.unwrap());
    std::fs::remove_file(&file).unwrap();
    let refused = open().await.err().unwrap();
    assert!(refused.public().contains("is missing"), "{refused:?}");
    assert!(!file.exists());
}

#[tokio::test]
async fn api_keys_are_known_by_their_secret_and_kept_without_it() {
    let bench = Bench::new().await;
    let secret = Secret::new("7c5a6c26-1d1e-4a8e-9c3a-6f0a0a7a1b2c");
    let key = ApiKey {
        id: KeyId::generate(),
        project: crate::model::ProjectId::generate(),
        role: Role::Admin,
        description: "the first".to_owned(),
        created_at: Timestamp::now(),
    };
    bench.repo.put_api_key(key.clone(), &secret).await.unwrap();
    let bench = bench.restarted().await;
    assert_eq!(bench.repo.api_key(secret.expose()).unwrap().id, key.id);
    assert!(bench.repo.api_key("another").is_none());
    assert_eq!(bench.repo.api_keys().len(), 1);
    let record = bench.memory.get(&keys::api_key(key.id)).await.unwrap();
    let text = String::from_utf8(record.unwrap().value).unwrap();
    assert!(!text.contains(secret.expose()));
    // The last one that may do everything stays.
    let repo = &bench.repo;
    let refused = repo.delete_api_key(key.id).await.unwrap_err();
    assert_eq!(reason(&refused), ConflictReason::NotAllowedNow);
    let second = Secret::new("0f6b6b0e-5a3d-4a0e-8f43-6cfa1d8f1a11");
    let other = ApiKey {
        id: KeyId::generate(),
        ..key.clone()
    };
    repo.put_api_key(other.clone(), &second).await.unwrap();
    repo.delete_api_key(key.id).await.unwrap();
    assert!(repo.api_key(secret.expose()).is_none());
    let gone = repo.delete_api_key(key.id).await.unwrap_err();
    assert!(matches!(gone.kind, Kind::NotFound), "{gone:?}");
}

#[tokio::test]
async fn of_two_admin_keys_that_are_to_go_at_the_same_time_one_stays() {
    let bench = Bench::new().await;
    for round in 0..50 {
        let ids = [KeyId::generate(), KeyId::generate()];
        for id in ids {
            let key = ApiKey {
                id,
                project: crate::model::ProjectId::generate(),
                role: Role::Admin,
                description: String::new(),
                created_at: Timestamp::now(),
            };
            let secret = Secret::new(id.to_string());
            bench.repo.put_api_key(key, &secret).await.unwrap();
        }
        // Who is left of the round before goes first.
        for key in bench.repo.api_keys() {
            if !ids.contains(&key.id) {
                bench.repo.delete_api_key(key.id).await.unwrap();
            }
        }
        let [one, other] = ids.map(|id| {
            let repo = bench.repo.clone();
            tokio::spawn(async move { repo.delete_api_key(id).await })
        });
        let (one, other) = (one.await.unwrap(), other.await.unwrap());
        assert!(one.is_ok() != other.is_ok(), "{round}: {one:?} {other:?}");
        assert_eq!(bench.repo.api_keys().len(), 1);
    }
}

#[tokio::test]
async fn what_its_owner_decides_leaves_open_what_is_known_of_its_servers() {
    let bench = Bench::new().await;
    let id = bench.running("main").await.id;
    let before = bench.repo.stored_instance(id).await.unwrap();
    let tag = |instance: &mut Instance| {
        instance.policy.tags = vec!["new".to_owned()];
        Ok(())
    };
    let after = bench.repo.edit(id, &tag).await.unwrap();
    assert_eq!(after.policy.tags, ["new"]);
    assert_eq!(after.updated_at, before.updated_at);
}

#[tokio::test]
async fn purging_forgets_what_ended_and_leaves_what_lives() {
    let bench = Bench::new().await;
    let living = bench.running("living").await;
    let new = new_instance("dead");
    let key = idempotency(&new, "key", 1);
    let begun = bench
        .repo
        .begin_create(new.clone(), create(), Some(key.clone()))
        .await;
    let Begun::New(dead, operation) = begun.unwrap() else {
        panic!("replayed");
    };
    let mut op = bench.tracked(&operation).await;
    bench.finish(&mut op, Outcome::Succeeded).await;
    let mut deletion = bench.delete(dead.id).await;
    let before_its_end = Timestamp::now();
    bench.finish(&mut deletion, Outcome::Succeeded).await;
    assert_eq!(bench.repo.purge_deleted(before_its_end).await.unwrap(), 0);
    assert!(bench.repo.view().get(dead.id).is_some());
    assert_eq!(bench.repo.purge_deleted(Timestamp::MAX).await.unwrap(), 1);
    assert!(bench.repo.view().get(dead.id).is_none());
    assert!(bench.repo.view().by_alias(&dead.alias).is_none());
    let left = [
        keys::instance(living.id),
        keys::alias(&living.alias),
        keys::alias(&dead.alias),
        keys::slug(living.project, "living"),
    ];
    assert_eq!(bench.keys(), left.into());
    let open = bench.create("open").await.1;
    assert_eq!(bench.repo.purge_deleted(Timestamp::MAX).await.unwrap(), 0);
    assert!(bench.repo.operation(open.value.id).await.unwrap().is_some());
    // The key may be used again once its record is gone.
    let again = bench.repo.begin_create(new, create(), Some(key)).await;
    assert!(matches!(again.unwrap(), Begun::New(..)));
}

#[tokio::test]
async fn of_each_instance_the_newest_operations_are_kept_and_the_one_that_holds_it() {
    let bench = Bench::new().await;
    let other = bench.running("other").await.id;
    let id = bench.running("busy").await.id;
    for _ in 0..KEPT_OPERATIONS + 5 {
        let restart = new_operation(OperationKind::Restart);
        let (_, restart) = bench.repo.begin(id, restart).await.unwrap();
        let mut restart = bench.tracked(&restart).await;
        bench.finish(&mut restart, Outcome::Succeeded).await;
    }
    let stop = new_operation(OperationKind::Stop);
    let (holding, stop) = bench.repo.begin(id, stop).await.unwrap();
    assert_eq!(holding.operation, Some(stop.id));
    let newest_first = |repo: &Repo, instance| -> Vec<OperationId> {
        let query = OperationQuery {
            instance: Some(instance),
            ..OperationQuery::default()
        };
        let briefs = repo.view().operations(&query).items;
        briefs.into_iter().map(|brief| brief.id).collect()
    };
    let others = newest_first(&bench.repo, other);
    assert_eq!(others.len(), 1);
    let before = newest_first(&bench.repo, id);
    assert_eq!(before.len(), 1 + KEPT_OPERATIONS + 6);
    assert_eq!(before[0], stop.id);

    // None of them is old.
    assert_eq!(bench.repo.purge_deleted(Timestamp::MIN).await.unwrap(), 0);
    let bench = bench.restarted().await;
    assert_eq!(newest_first(&bench.repo, other), others);
    let (kept, gone) = before.split_at(1 + KEPT_OPERATIONS);
    assert_eq!(newest_first(&bench.repo, id), kept);
    for id in gone {
        assert!(bench.repo.operation(*id).await.unwrap().is_none());
    }
    // What holds the instance can end.
    let mut stop = bench.tracked(&stop).await;
    bench.finish(&mut stop, Outcome::Succeeded).await;
    assert_eq!(bench.phase(id), Phase::Stopped);
}

#[tokio::test]
async fn what_was_recorded_is_the_same_after_a_restart() {
    let bench = Bench::new().await;
    let (instance, mut op) = bench.create("main").await;
    op.value.last_error = Some("in plain words".to_owned());
    let changes = Changes {
        workload: Some(workload()),
        endpoints: Some(Vec::new()),
        engine_digest: Some(crate::model::Digest::from_hex("a".repeat(64))),
        ..Changes::default()
    };
    bench.repo.record(&mut op, changes).await.unwrap();
    let before = bench.repo.view().get(instance.id).unwrap();
    let brief = bench.repo.view().operation(op.value.id);
    let bench = bench.restarted().await;
    assert_eq!(bench.repo.view().get(instance.id).unwrap(), before);
    assert_eq!(bench.repo.view().by_alias(&before.alias).unwrap(), before);
    assert_eq!(bench.repo.view().operation(op.value.id), brief);
    assert_eq!(bench.tracked(&op.value).await.value, op.value);
    assert_eq!(
        bench.repo.workload(instance.id).await.unwrap(),
        Some(workload())
    );
}
