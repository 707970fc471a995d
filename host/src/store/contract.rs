//! What every backend must do, run on each of them.

use std::sync::Arc;

use super::{Commit, Expect, Memory, Sled, Store, StoreError, Versioned, Write};

/// A backend under test, which can be closed and opened again.
trait Bench: Send + Sync {
    fn store(&self) -> Arc<dyn Store>;
    /// The same store as a new process would see it.
    fn reopen(self: Box<Self>) -> Box<dyn Bench>;
}

struct InMemory(Memory);

struct OnDisk {
    store: Arc<Sled>,
    directory: tempfile::TempDir,
}

impl Bench for InMemory {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.0.clone())
    }

    fn reopen(self: Box<Self>) -> Box<dyn Bench> {
        self.0.kill();
        Box::new(Self(self.0.restart()))
    }
}

impl Bench for OnDisk {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn reopen(self: Box<Self>) -> Box<dyn Bench> {
        let Self { store, directory } = *self;
        drop(Arc::into_inner(store).expect("a test still holds the store"));
        Box::new(Self {
            store: Arc::new(Sled::open(&directory.path().join("store")).unwrap()),
            directory,
        })
    }
}

fn benches() -> Vec<Box<dyn Bench>> {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(Sled::open(&directory.path().join("store")).unwrap());
    vec![
        Box::new(InMemory(Memory::new())),
        Box::new(OnDisk { store, directory }),
    ]
}

fn put(key: &str, value: &str) -> (String, Write) {
    (key.to_owned(), Write::Put(value.as_bytes().to_vec()))
}

fn delete(key: &str) -> (String, Write) {
    (key.to_owned(), Write::Delete)
}

fn expect(key: &str, expect: Expect) -> (String, Expect) {
    (key.to_owned(), expect)
}

fn writes(writes: impl IntoIterator<Item = (String, Write)>) -> Commit {
    Commit {
        expect: Vec::new(),
        writes: writes.into_iter().collect(),
    }
}

fn conflict_of(answer: Result<u64, StoreError>) -> String {
    match answer {
        Err(StoreError::Conflict { key }) => key,
        other => panic!("expected a conflict: {other:?}"),
    }
}

async fn text(store: &Arc<dyn Store>, key: &str) -> Option<String> {
    let record = store.get(key).await.unwrap()?;
    Some(String::from_utf8(record.value).unwrap())
}

#[tokio::test]
async fn a_commit_is_read_back_with_its_version() {
    for bench in benches() {
        let store = bench.store();
        assert_eq!(store.get("a").await.unwrap(), None);
        let first = store
            .commit(writes([put("a", "1"), put("b", "1")]))
            .await
            .unwrap();
        let second = store.commit(writes([put("b", "2")])).await.unwrap();
        assert!(second > first);
        let record = |version, value: &str| {
            Some(Versioned {
                version,
                value: value.as_bytes().to_vec(),
            })
        };
        assert_eq!(store.get("a").await.unwrap(), record(first, "1"));
        assert_eq!(store.get("b").await.unwrap(), record(second, "2"));
        store.commit(writes([delete("a")])).await.unwrap();
        assert_eq!(store.get("a").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_commit_whose_expectation_fails_writes_nothing_and_names_the_first_key() {
    for bench in benches() {
        let store = bench.store();
        let version = store.commit(writes([put("a", "1")])).await.unwrap();
        let attempt = |expectations: Vec<(String, Expect)>| Commit {
            expect: expectations,
            writes: vec![put("a", "no"), put("b", "no")],
        };
        for (expectations, key) in [
            (vec![expect("a", Expect::Absent)], "a"),
            (vec![expect("a", Expect::Version(version + 1))], "a"),
            (vec![expect("b", Expect::Version(version))], "b"),
            (
                vec![
                    expect("a", Expect::Version(version)),
                    expect("c", Expect::Version(1)),
                    expect("a2", Expect::Version(1)),
                ],
                "c",
            ),
        ] {
            assert_eq!(conflict_of(store.commit(attempt(expectations)).await), key);
        }
        assert_eq!(text(&store, "a").await.as_deref(), Some("1"));
        assert_eq!(text(&store, "b").await, None);
        let good = vec![
            expect("a", Expect::Version(version)),
            expect("b", Expect::Absent),
        ];
        store.commit(attempt(good)).await.unwrap();
        assert_eq!(text(&store, "b").await.as_deref(), Some("no"));
    }
}

#[tokio::test]
async fn versions_grow_when_a_key_is_made_again() {
    for bench in benches() {
        let store = bench.store();
        let old = store.commit(writes([put("a", "1")])).await.unwrap();
        store.commit(writes([delete("a")])).await.unwrap();
        let new = store.commit(writes([put("a", "1")])).await.unwrap();
        assert!(new > old);
        let stale = Commit {
            expect: vec![expect("a", Expect::Version(old))],
            writes: vec![put("a", "2")],
        };
        assert_eq!(conflict_of(store.commit(stale).await), "a");
    }
}

#[tokio::test]
async fn scans_are_ordered_bounded_and_can_be_continued() {
    for bench in benches() {
        let store = bench.store();
        let all = ["p/1", "p/10", "p/2", "p/ü", "p0", "o/z", "q/1"];
        store
            .commit(writes(all.map(|key| put(key, key))))
            .await
            .unwrap();
        let keys = async |prefix: &str, after: Option<&str>, limit: usize| -> Vec<String> {
            let page = store.scan(prefix, after, limit).await.unwrap();
            page.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys("p/", None, 9).await, ["p/1", "p/10", "p/2", "p/ü"]);
        assert_eq!(keys("p/", None, 2).await, ["p/1", "p/10"]);
        assert_eq!(keys("p/", Some("p/10"), 9).await, ["p/2", "p/ü"]);
        // A place to go on from need not be there, nor have the prefix.
        assert_eq!(keys("p/", Some("p/11"), 9).await, ["p/2", "p/ü"]);
        assert_eq!(keys("p/", Some("a"), 1).await, ["p/1"]);
        assert_eq!(keys("p/", Some("z"), 9).await, [""; 0]);
        assert_eq!(keys("p/", None, 0).await, [""; 0]);
        assert_eq!(keys("", None, 99).await.len(), all.len());
    }
}

#[tokio::test]
async fn malformed_commits_are_refused() {
    for bench in benches() {
        let store = bench.store();
        let long = Write::Put(vec![0; Commit::MAX_VALUE_BYTES + 1]);
        let many = (0..=Commit::MAX_WRITES).map(|i| put(&format!("k{i}"), "v"));
        for commit in [
            writes([]),
            writes([put("a", "1"), delete("a")]),
            writes(many),
            writes([("a".to_owned(), long)]),
            Commit {
                expect: vec![expect("x", Expect::Absent), expect("x", Expect::Version(1))],
                writes: vec![put("a", "1")],
            },
        ] {
            let answer = store.commit(commit).await;
            assert!(
                matches!(answer, Err(StoreError::Malformed(_))),
                "{answer:?}"
            );
        }
        assert_eq!(store.scan("", None, 9).await.unwrap(), []);
        let most = (0..Commit::MAX_WRITES).map(|i| {
            let value = vec![b'v'; Commit::MAX_VALUE_BYTES];
            (format!("k{i}"), Write::Put(value))
        });
        store.commit(writes(most)).await.unwrap();
        let page = store.scan("k", None, 99).await.unwrap();
        assert_eq!(page.len(), Commit::MAX_WRITES);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_writers_with_one_expectation_one_wins() {
    for bench in benches() {
        let store = bench.store();
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..64 {
            let store = store.clone();
            tasks.spawn(async move {
                let commit = Commit {
                    expect: vec![expect("one", Expect::Absent)],
                    writes: vec![put("one", &i.to_string()), put(&format!("own/{i}"), "x")],
                };
                match store.commit(commit).await {
                    Ok(_) => Some(i),
                    Err(StoreError::Conflict { .. }) => None,
                    Err(error) => panic!("{error}"),
                }
            });
        }
        let winners: Vec<i32> = tasks.join_all().await.into_iter().flatten().collect();
        assert_eq!(winners.len(), 1);
        let winner = winners[0].to_string();
        assert_eq!(text(&store, "one").await, Some(winner.clone()));
        let own = store.scan("own/", None, 99).await.unwrap();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].0, format!("own/{winner}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_by_many_writers_are_all_counted() {
    for bench in benches() {
        let store = bench.store();
        store.commit(writes([put("n", "0")])).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                for _ in 0..10 {
                    loop {
                        let record = store.get("n").await.unwrap().unwrap();
                        let n: u32 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                        let commit = Commit {
                            expect: vec![expect("n", Expect::Version(record.version))],
                            writes: vec![put("n", &(n + 1).to_string())],
                        };
                        match store.commit(commit).await {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(text(&store, "n").await.as_deref(), Some("80"));
    }
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again_and_versions_go_on() {
    for bench in benches() {
        let store = bench.store();
        for i in 0..500 {
            let key = format!("k/{i:04}");
            store.commit(writes([put(&key, "old")])).await.unwrap();
        }
        store.commit(writes([delete("k/0007")])).await.unwrap();
        let last = store.commit(writes([put("k/0008", "new")])).await.unwrap();
        let before = store.scan("", None, 999).await.unwrap();
        assert_eq!(before.len(), 499);
        drop(store);
        let bench = bench.reopen();
        let store = bench.store();
        assert_eq!(store.scan("", None, 999).await.unwrap(), before);
        let next = store.commit(writes([put("x", "y")])).await.unwrap();
        assert!(next > last);
    }
}
