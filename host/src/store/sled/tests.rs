//! What only a store on a disk can do wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;

use super::{MOST_WAITING, Sled};
use crate::store::{Commit, Store, StoreError, Write};

const DIRECTORY: &str = "BERTH_TEST_STORE";

fn put(key: &str, value: Vec<u8>) -> Commit {
    Commit {
        expect: Vec::new(),
        writes: vec![(key.to_owned(), Write::Put(value))],
    }
}

/// Where a store can be, with room beside it for what it puts there.
struct Directory {
    path: PathBuf,
    _around: tempfile::TempDir,
}

impl Directory {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("store");
        fs::create_dir(&path).unwrap();
        Self {
            path,
            _around: around,
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// A store with some commits in it, closed.
async fn used_store() -> Directory {
    let directory = Directory::new();
    let store = Sled::open(directory.path()).unwrap();
    for i in 0..100 {
        let value = format!("value {i}").into_bytes();
        store.commit(put(&format!("k/{i}"), value)).await.unwrap();
    }
    directory
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn refusal(directory: &Path) -> String {
    match Sled::open(directory) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.public().to_owned(),
    }
}

#[tokio::test]
async fn a_damaged_store_is_refused_and_left_as_it_is() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("db is garbage", |at| {
            fs::write(at.join("db"), b"this is not a store, and quite long").unwrap();
        }),
        ("db is empty", |at| fs::write(at.join("db"), b"").unwrap()),
        ("db is missing", |at| {
            fs::remove_file(at.join("db")).unwrap()
        }),
        ("db is cut", |at| {
            let log = fs::OpenOptions::new()
                .write(true)
                .open(at.join("db"))
                .unwrap();
            log.set_len(log.metadata().unwrap().len() / 2).unwrap();
        }),
        ("db begins wrong", |at| {
            let log = fs::OpenOptions::new()
                .write(true)
                .open(at.join("db"))
                .unwrap();
            log.write_all_at(b"nonsense", 8).unwrap();
        }),
        ("conf is garbage", |at| {
            fs::write(at.join("conf"), b"this is not a store").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let directory = used_store().await;
        damage(directory.path());
        let before = contents(directory.path());
        let said = refusal(directory.path());
        assert!(said.contains("cannot be opened"), "{name}: {said}");
        assert!(
            said.contains(&directory.path().display().to_string()),
            "{name}: {said}"
        );
        assert!(
            contents(directory.path()) == before,
            "{name}: files were changed"
        );
    }
}

#[tokio::test]
async fn a_log_that_lost_acknowledged_commits_is_refused() {
    let directory = used_store().await;
    let earlier = Directory::new();
    for (path, bytes) in contents(directory.path()) {
        fs::write(earlier.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let store = Sled::open(directory.path()).unwrap();
    store.commit(put("one more", b"x".to_vec())).await.unwrap();
    drop(store);
    // The earlier log under the later note: as if the end of the log had been lost.
    fs::copy(
        directory.path().join("acknowledged"),
        earlier.path().join("acknowledged"),
    )
    .unwrap();
    let said = refusal(earlier.path());
    assert!(said.contains("lost") || said.contains("bytes"), "{said}");
    Sled::open(directory.path()).unwrap();
}

#[tokio::test]
async fn a_second_opener_is_told_who_has_it() {
    let directory = Directory::new();
    let store = Sled::open(directory.path()).unwrap();
    let said = refusal(directory.path());
    assert!(said.contains("another process"), "{said}");
    assert!(said.contains(&std::process::id().to_string()), "{said}");
    drop(store);
    Sled::open(directory.path()).unwrap();
}

#[tokio::test]
async fn something_else_in_the_place_of_a_store_is_refused() {
    let directory = Directory::new();
    let file = directory.path().join("store");
    fs::write(&file, b"a file").unwrap();
    let said = refusal(&file);
    assert!(said.contains("cannot be used"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), b"a file");

    let other = directory.path().join("other");
    let foreign = ::sled::Config::new()
        .path(&other)
        .segment_size(8 << 20)
        .open()
        .unwrap();
    foreign.insert("somebody", "else's").unwrap();
    drop(foreign);
    let said = refusal(&other);
    assert!(said.contains("not a store of Berth"), "{said}");
}

#[tokio::test]
async fn a_snapshot_that_was_not_finished_does_no_harm() {
    let directory = used_store().await;
    fs::write(
        directory.path().join("snap.7FFFFFFFFFFFFFFF.generating"),
        b"half",
    )
    .unwrap();
    let store = Sled::open(directory.path()).unwrap();
    assert_eq!(store.scan("k/", None, 999).await.unwrap().len(), 100);
}

/// Enough to be closed and opened again in between, while others read and write.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_while_the_log_is_begun_anew() {
    let directory = Directory::new();
    let store = Arc::new(Sled::open(directory.path()).unwrap());
    let snapshots = |directory: &Path| -> Vec<PathBuf> {
        let names = contents(directory).into_keys();
        names
            .filter(|path| path.to_string_lossy().contains("snap."))
            .collect()
    };
    let at_first = snapshots(directory.path());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4_u8 {
        let store = store.clone();
        tasks.spawn(async move {
            for i in 0..200 {
                let key = format!("w{writer}/{i}");
                let value = vec![writer; Commit::MAX_VALUE_BYTES];
                let version = store.commit(put(&key, value.clone())).await.unwrap();
                let record = store.get(&key).await.unwrap().unwrap();
                assert_eq!(record.version, version);
                assert!(record.value == value);
            }
        });
    }
    tasks.join_all().await;
    assert_ne!(snapshots(directory.path()), at_first);
    drop(Arc::into_inner(store).unwrap());
    let store = Sled::open(directory.path()).unwrap();
    for writer in 0..4 {
        let found = store.scan(&format!("w{writer}/"), None, 999).await.unwrap();
        assert_eq!(found.len(), 200);
    }
}

/// The child of the next test: commits and says so until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of another test"]
async fn commit_until_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = Arc::new(Sled::open(Path::new(&directory)).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.spawn(async move {
            for i in 0_u64.. {
                let key = format!("w{writer}/{i:08}");
                let value = vec![7; 500];
                // Two records that belong together.
                let mut commit = put(&key, value.clone());
                commit
                    .writes
                    .push((format!("twin/{key}"), Write::Put(value)));
                store.commit(commit).await.unwrap();
                println!("\nacknowledged {key}");
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_and_no_commit_is_half() {
    let directory = Directory::new();
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("store::sled::tests::commit_until_killed")
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = Vec::new();
        for line in lines.map_while(Result::ok) {
            if let Some(key) = line.strip_prefix("acknowledged ") {
                acknowledged.push(key.to_owned());
                if acknowledged.len() == 100 * round {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        assert!(acknowledged.len() >= 100 * round);
        let store = Sled::open(directory.path()).unwrap();
        for key in &acknowledged {
            assert!(store.get(key).await.unwrap().is_some(), "{key} is lost");
        }
        let all = store.scan("w", None, usize::MAX).await.unwrap();
        let twins = store.scan("twin/", None, usize::MAX).await.unwrap();
        let keys = |records: Vec<(String, _)>| -> Vec<String> {
            let names = records.into_iter().map(|(key, _)| key);
            names
                .map(|key| key.trim_start_matches("twin/").to_owned())
                .collect()
        };
        assert_eq!(keys(all), keys(twins));
    }
}

#[tokio::test]
async fn so_many_commits_wait_for_a_disk_that_hangs_and_no_more() {
    let directory = Directory::new();
    let store = Sled::open(directory.path()).unwrap();
    let commits = (0..3 * MOST_WAITING).map(|i| store.commit(put(&format!("k/{i}"), vec![1])));
    let mut waiting = Vec::new();
    let mut refused = 0;
    {
        // What the writer waits for.
        let _held = store.shared.database.write().unwrap();
        for mut commit in commits {
            match (&mut commit).now_or_never() {
                None => waiting.push(commit),
                Some(Err(StoreError::Refused(_))) => refused += 1,
                Some(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(refused > 0);
    assert!(waiting.len() >= MOST_WAITING, "{}", waiting.len());
    for taken in waiting {
        taken.await.unwrap();
    }
    // Nothing is left of those that were refused.
    let kept = store.scan("k/", None, usize::MAX).await.unwrap().len();
    assert_eq!(kept, 3 * MOST_WAITING - refused);
}

#[tokio::test]
async fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    if !nix::unistd::geteuid().is_root() {
        crate::skip::not_tried("mounting a small file system needs root");
        return;
    }
    let at = tempfile::tempdir().unwrap();
    nix::mount::mount(
        Some("tmpfs"),
        at.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some("size=128m"),
    )
    .unwrap();
    let directory = at.path().join("store");
    let store = Sled::open(&directory).unwrap();
    store.commit(put("first", b"1".to_vec())).await.unwrap();
    // Enough for the store to be closed and opened again as soon as nothing is asked of it.
    for i in 0..=(17 << 20) / Commit::MAX_VALUE_BYTES {
        let value = vec![3; Commit::MAX_VALUE_BYTES];
        store
            .commit(put(&format!("before/{i}"), value))
            .await
            .unwrap();
    }
    let ballast = fs::File::create(at.path().join("ballast")).unwrap();
    let mut filled = 0;
    while ballast.write_all_at(&[1; 4096], filled).is_ok() {
        filled += 4096;
    }
    // The reserve takes some more, and then it is refused, with nothing written.
    let mut refused = None;
    for i in 0..2000 {
        let value = vec![2; Commit::MAX_VALUE_BYTES];
        match store.commit(put(&format!("more/{i}"), value)).await {
            Ok(_) => {}
            Err(StoreError::Refused(why)) => {
                refused = Some((i, why));
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let (at_last, why) = refused.expect("a full disk takes no commits");
    assert!(at_last > 0, "the reserve was of no use");
    assert!(!why.is_empty());
    assert!(
        store
            .get(&format!("more/{at_last}"))
            .await
            .unwrap()
            .is_none()
    );
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert!(store.get("first").await.unwrap().is_some());
        tokio::task::yield_now().await;
    }
    // A host that comes back finds it so.
    drop(store);
    let store = Sled::open(&directory).unwrap();
    assert!(store.get("first").await.unwrap().is_some());
    drop(ballast);
    fs::remove_file(at.path().join("ballast")).unwrap();
    store.commit(put("last", b"2".to_vec())).await.unwrap();
    drop(store);
    let store = Sled::open(&directory).unwrap();
    assert!(store.get("last").await.unwrap().is_some());
    drop(store);
    nix::mount::umount2(at.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}
