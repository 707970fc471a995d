//! Tests of work on files that nobody waits for any more.

use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::*;

fn stand() -> (tempfile::TempDir, FileScope) {
    let dir = tempfile::tempdir().unwrap();
    let scope = FileScope {
        instance_dir: dir.path().join("own"),
        run_dir: dir.path().join("run"),
        uid: None,
    };
    scope.prepare().unwrap();
    (dir, scope)
}

#[test]
fn a_walk_that_is_given_up_ends_at_the_next_entry() {
    let (_dir, scope) = stand();
    for number in 0..20 {
        let below = scope.instance_dir.join(format!("data/{number}"));
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("file"), "some bytes").unwrap();
    }
    let walk = |given_up_at: u32| {
        let asked = Cell::new(0);
        let usage = scope.usage(Path::new("data"), || {
            asked.set(asked.get() + 1);
            asked.get() == given_up_at
        });
        (usage.map_err(|e| e.kind()), asked.get())
    };
    let (whole, entries) = walk(0);
    assert!(whole.is_ok(), "{whole:?}");
    assert_eq!(entries, 40, "each entry is a chance to end");
    for at in [1, 7, 40] {
        assert_eq!(walk(at), (Err(io::ErrorKind::Interrupted), at));
    }
}

#[tokio::test]
async fn long_work_hears_that_its_caller_is_gone() {
    let (_dir, scope) = stand();
    let files = Files { scope: Some(scope) };
    let (begun, has_begun) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    let caller = tokio::spawn(async move {
        let work = move |_: &FileScope, _: &Path, given_up: &AtomicBool| {
            begun.send(()).unwrap();
            let latest = Instant::now() + Duration::from_secs(60);
            while !given_up.load(Ordering::SeqCst) && Instant::now() < latest {
                std::thread::sleep(Duration::from_millis(1));
            }
            ended.send(given_up.load(Ordering::SeqCst)).unwrap();
            Ok(())
        };
        files.run_long("wait for", "data".to_owned(), work).await
    });
    has_begun.await.unwrap();
    assert!(!caller.is_finished());
    caller.abort();
    assert!(has_ended.await.unwrap(), "it goes on for nobody");
}
