//! Power cuts: images of a disk as a cut may leave it, each opened. What was acknowledged is there, and no commit is half,
//! or the store is refused in clear words and left as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use berth::store::{Sled, Store};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::book::{Book, Disk, Entry};
use super::work::{Model, Stand, Step, WRITERS, acknowledged, count_key, sizes};

/// What became of the images.
#[derive(Default, Debug)]
struct Tally {
    opened: usize,
    refused: BTreeMap<String, usize>,
    wrong: Vec<String>,
    unsure: usize,
}

#[test]
fn five_hundred_power_cuts_lose_nothing_that_was_acknowledged() {
    let began = Instant::now();
    let first = vec![Step::Small(60)];
    // Killed and begun again; enough for sled to write over what it has freed, and for the store to close and open it.
    let second = vec![
        Step::Small(20),
        Step::Large(40),
        Step::Reopened,
        Step::Small(30),
        Step::Die,
    ];
    let third = vec![Step::Large(10), Step::Small(30)];
    let parts = [
        (150, vec![first]),
        (350, vec![vec![Step::Small(10), Step::Die], second, third]),
    ];
    for (seed, (images, lives)) in (1..).zip(parts) {
        let stand = Stand::new();
        for steps in &lives {
            let output = stand.start(steps).wait_with_output().unwrap();
            let died = matches!(steps.last(), Some(Step::Die));
            assert!(
                output.status.success() != died,
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let tally = cut(&stand, &lives.concat(), images, seed, |_| true);
        println!(
            "{images} images of {lives:?}: {tally:#?}, {:?}",
            began.elapsed()
        );
        assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
        let refused: usize = tally.refused.values().sum();
        assert_eq!(tally.opened + refused, images);
        assert_eq!(refused, 0, "{:#?}", tally.refused);
        assert!(
            tally.unsure > images,
            "hardly anything was not synced: {}",
            tally.unsure
        );
    }
}

/// The images can show a loss: on a disk that only says that it has synced, a store must lose something.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let stand = Stand::new();
    let steps = [Step::Small(40)];
    let output = stand.start(&steps).wait_with_output().unwrap();
    assert!(output.status.success());
    let honest = |entry: &Entry| !matches!(entry, Entry::Synced { .. });
    let tally = cut(&stand, &steps, 40, 3, honest);
    println!("{tally:#?}");
    let refused: usize = tally.refused.values().sum();
    assert!(tally.wrong.len() + refused > 10, "{tally:#?}");
}

/// `synced` leaves out the syncs that the disk reported and has not done.
fn cut(
    stand: &Stand,
    steps: &[Step],
    images: usize,
    seed: u64,
    synced: impl Fn(&Entry) -> bool + Sync,
) -> Tally {
    let book = Book::read(&stand.book(), "acks");
    let sizes = sizes(steps);
    let models: Vec<Model> = (0..WRITERS)
        .map(|writer| Model::new(writer, &sizes))
        .collect();
    let mut random = StdRng::seed_from_u64(seed);
    let syncs: Vec<usize> = (0..book.entries.len())
        .filter(|at| matches!(book.entries[*at], Entry::Synced { .. } | Entry::SyncedNames))
        .collect();
    // Half of them anywhere, half of them at the end of a sync, when most is at stake.
    let mut cuts: Vec<(usize, u64)> = (0..images)
        .map(|image| {
            let at = if image % 2 == 0 {
                random.random_range(0..=book.entries.len())
            } else {
                syncs[random.random_range(0..syncs.len())]
            };
            (at, random.random())
        })
        .collect();
    cuts.sort_unstable();
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (book, models, cuts, tally) = (&book, &models, &cuts, &tally);
            let synced = &synced;
            scope.spawn(move || {
                let mut disk = Disk::default();
                let mut reached = 0;
                for (at, seed) in cuts.iter().skip(worker).step_by(2) {
                    for entry in book.entries[reached..*at]
                        .iter()
                        .filter(|entry| synced(entry))
                    {
                        disk.advance(book, entry);
                    }
                    reached = *at;
                    one(book, &disk, models, (*at, *seed), tally);
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

fn one(book: &Book, disk: &Disk, models: &[Model], (at, seed): (usize, u64), tally: &Mutex<Tally>) {
    let memory = Path::new("/dev/shm");
    let directory = match tempfile::tempdir_in(memory) {
        Ok(directory) => directory,
        Err(_) => tempfile::tempdir().unwrap(),
    };
    let made = disk.image(book, &mut StdRng::seed_from_u64(seed), directory.path());
    let found = look(directory.path(), models, acknowledged(&disk.acks));
    let mut tally = tally.lock().unwrap();
    tally.unsure += disk.unsure();
    match found {
        Ok(None) => tally.opened += 1,
        Ok(Some(refusal)) => *tally.refused.entry(refusal).or_default() += 1,
        Err(wrong) => tally
            .wrong
            .push(format!("cut at {at}, seed {seed}, {made}: {wrong}")),
    }
}

/// The refusal, if it was refused; an error when it is wrong.
pub fn look(
    root: &Path,
    models: &[Model],
    acknowledged: [u64; WRITERS],
) -> Result<Option<String>, String> {
    let directory = root.join("store");
    let before = contents(&directory);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut seen = None;
    // Twice: what opening itself wrote must be good as well.
    for _ in 0..2 {
        let store = match open(&directory) {
            Ok(store) => store,
            Err(error) if seen.is_none() => {
                if contents(&directory) != before {
                    return Err(format!("refused and changed: {error}"));
                }
                let said = error
                    .public()
                    .replace(&directory.display().to_string(), "STORE");
                if !said.contains("cannot be opened") || said.contains("panicked") {
                    return Err(format!("refused unclearly: {said}"));
                }
                return Ok(Some(said));
            }
            Err(error) => return Err(format!("refused the second time: {error}")),
        };
        let counts = runtime.block_on(compare(&store, models, acknowledged))?;
        if seen.is_some_and(|seen| seen != counts) {
            return Err(format!("{seen:?} became {counts:?}"));
        }
        seen = Some(counts);
    }
    Ok(None)
}

/// Another test of this process that is starting a child shares the lock with it for a moment.
fn open(directory: &Path) -> berth::model::Result<Sled> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Sled::open(directory) {
            Err(error) if error.public().contains("in use") && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            answer => return answer,
        }
    }
}

/// Each writer's records are what one of its commits left: the last that was acknowledged, or the one under way.
async fn compare(
    store: &Sled,
    models: &[Model],
    acknowledged: [u64; WRITERS],
) -> Result<[u64; WRITERS], String> {
    let mut counts = [0; WRITERS];
    for (writer, model) in models.iter().enumerate() {
        let problem = |what: String| format!("writer {writer}: {what}");
        let record = store
            .get(&count_key(writer))
            .await
            .map_err(|e| problem(e.to_string()))?;
        let text = record.map(|record| String::from_utf8_lossy(&record.value).into_owned());
        let count = text
            .map_or(Ok(0), |text| text.parse::<u64>())
            .map_err(|e| problem(e.to_string()))?;
        let acked = acknowledged[writer];
        if count != acked && count != acked + 1 {
            return Err(problem(format!(
                "{acked} commits acknowledged, {count} there"
            )));
        }
        let found = store
            .scan(&format!("w{writer}/"), None, 999)
            .await
            .map_err(|e| problem(e.to_string()))?;
        let found: BTreeMap<&str, &[u8]> = found
            .iter()
            .map(|(key, record)| (key.as_str(), record.value.as_slice()))
            .collect();
        if found != model.after(count) {
            return Err(problem(format!("commit {count} is half there")));
        }
        counts[writer] = count;
    }
    Ok(counts)
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let paths = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file());
    paths
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}
