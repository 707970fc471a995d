use std::sync::Arc;

use super::{Import, export};
use crate::model::{OperationKind, Result};
use crate::store::repo::Repo;
use crate::store::{Commit, Memory, Sealer, Sled, Store, Write, samples};

/// A store with records of several kinds, some of them sealed.
async fn filled(store: Arc<dyn Store>, sealer: &Sealer) {
    let repo = Repo::open(store, sealer.clone()).await.unwrap();
    for number in 0..40 {
        let new = samples::new_instance(&format!("database-{number}"));
        let operation = samples::new_operation(OperationKind::Create);
        repo.begin_create(new, operation, None).await.unwrap();
    }
}

async fn exported(store: &dyn Store) -> Vec<u8> {
    let mut text = Vec::new();
    let mut heard = 0;
    let records = export(store, None, &mut text, &mut |done, _| heard = done).await;
    assert_eq!(records.unwrap(), heard);
    text
}

async fn imported(text: &[u8], store: &dyn Store) -> Result<u64> {
    Import::open(text)?.into_store(store, &mut |_, _| {}).await
}

async fn contents(store: &dyn Store) -> Vec<(String, Vec<u8>)> {
    let all = store.scan("", None, usize::MAX).await.unwrap();
    all.into_iter()
        .map(|(key, record)| (key, record.value))
        .collect()
}

#[tokio::test]
async fn what_one_backend_exports_another_imports() {
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| Arc::new(Sled::open(&directory.path().join(name)).unwrap());
    let memory = || Arc::new(Memory::new());
    let pairs: [(Arc<dyn Store>, Arc<dyn Store>); 3] = [
        (memory(), open("one")),
        (open("two"), memory()),
        (open("three"), open("four")),
    ];
    for (from, to) in pairs {
        let sealer = Sealer::ephemeral();
        filled(from.clone(), &sealer).await;
        let before = contents(from.as_ref()).await;
        assert!(before.len() > 160, "only {} records", before.len());
        let text = exported(from.as_ref()).await;
        let records = imported(&text, to.as_ref()).await.unwrap();
        assert_eq!(records, before.len() as u64);
        assert_eq!(contents(to.as_ref()).await, before);

        let again = imported(&text, to.as_ref()).await.unwrap_err();
        assert!(again.public().contains("not empty"), "{again}");
        let repo = Repo::open(to, sealer).await.unwrap();
        assert_eq!(repo.view().list(&Default::default()).total, 40);
    }
}

#[tokio::test]
async fn values_of_every_length_and_key_order_survive() {
    let (from, to) = (Memory::new(), Memory::new());
    filled(Arc::new(from.clone()), &Sealer::ephemeral()).await;
    for length in [2, 3, 1000, Commit::MAX_VALUE_BYTES] {
        let commit = Commit {
            expect: Vec::new(),
            writes: vec![(format!("slug/p/ü{length}"), {
                let mut value = vec![0xff; length];
                value[..2].copy_from_slice(&1_u16.to_be_bytes());
                Write::Put(value)
            })],
        };
        from.commit(commit).await.unwrap();
    }
    let text = exported(&from).await;
    imported(&text, &to).await.unwrap();
    assert_eq!(contents(&to).await, contents(&from).await);
}

/// The refusal names the line, and says what is wrong with it.
async fn refused(text: &[u8], line: usize, words: &str) {
    let said = imported(text, &Memory::new()).await.unwrap_err();
    let said = said.public();
    assert!(
        said.starts_with(&format!("line {line} of the input ")),
        "{said}"
    );
    assert!(said.contains(words), "{words:?} is not in: {said}");
    assert!(said.contains("Nothing was changed"), "{said}");
}

#[tokio::test]
async fn what_is_cut_altered_newer_or_foreign_is_refused_with_its_line() {
    let store = Memory::new();
    filled(Arc::new(store.clone()), &Sealer::ephemeral()).await;
    let text = String::from_utf8(exported(&store).await).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.len();
    let joined = |lines: &[&str]| (lines.join("\n") + "\n").into_bytes();
    let with = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at - 1] = line;
        joined(&lines)
    };
    refused(b"", 1, "missing").await;
    refused(b"PGDMP\x01\x0e", 1, "cut").await;
    refused(b"{\"key\":\"x\"}\n", 1, "not the beginning").await;
    refused("x".repeat(3 << 20).as_bytes(), 1, "too long").await;
    let newer = lines[0].replace("\"version\":1", "\"version\":2,\"more\":true");
    refused(&with(1, &newer), 1, "format version 2").await;
    let newer = lines[0].replace("\"schemas\":{", "\"schemas\":{\"zebra\":1,");
    refused(&with(1, &newer), 1, "`zebra`").await;
    let newer = lines[0].replace("\"open\":1", "\"open\":77");
    refused(&with(1, &newer), 1, "schema 77").await;

    refused(&text.as_bytes()[..text.len() - 1], last, "cut").await;
    let (line_49, _) = text.match_indices('\n').nth(48).unwrap();
    refused(&text.as_bytes()[..line_49 + 10], 50, "cut").await;
    refused(&joined(&lines[..last - 1]), last, "missing").await;
    refused(&joined(&lines[..9]), 10, "missing").await;

    let altered = lines[4].replacen("\"value\":\"AA", "\"value\":\"AB", 1);
    assert_ne!(altered, lines[4]);
    refused(&with(5, &altered), 5, "altered").await;
    refused(&with(5, lines[3]), 5, "order").await;
    refused(&with(5, "{}"), 5, "not a record").await;
    let mut without = lines.clone();
    without.remove(5);
    refused(&joined(&without), last - 1, "not a record").await;
    let other = lines[0].replace("\"berth\":\"", "\"berth\":\"9");
    refused(&with(1, &other), last, "one was altered").await;
    let twice = text.clone() + lines[last - 1] + "\n";
    refused(twice.as_bytes(), last + 1, "after the end").await;

    for (key, value, words) in [
        ("zebra/1", &b"\0\x01x"[..], "does not know"),
        ("alias/a", &b"\0\x63x"[..], "schema 99"),
        ("alias/a", &b"\0"[..], "no record"),
    ] {
        let line = serde_json::to_string(&super::line(key, value)).unwrap();
        refused(&with(2, &line), 2, words).await;
    }
}

#[tokio::test]
async fn a_store_that_no_host_has_used_is_not_exported() {
    let mut text = Vec::new();
    let answer = export(&Memory::new(), None, &mut text, &mut |_, _| {}).await;
    assert!(answer.unwrap_err().public().contains("no host has used it"));
    assert!(text.is_empty());
}
