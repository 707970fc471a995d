//! Commits whose whole content follows from who made them and which one it is, so that a store found later can be
//! compared with what must be in it, record by record.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use berth::store::{Commit, Sled, Store, StoreError, Write};
use berth_tests::{fixture, wait_for};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub const WRITERS: usize = 4;
/// Keys of a writer. Few, so that most commits write over what others left.
const KEYS: u32 = 40;

const ROOT: &str = "BERTH_TEST_ROOT";
const STEPS: &str = "BERTH_TEST_STEPS";

/// One thing that the child does, in the order of its argument.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// So many commits by each writer.
    Small(u64),
    /// The same with long values.
    Large(u64),
    /// Until the store has closed sled and opened it again.
    Reopened,
    /// Commits until one fails, and says how.
    UntilItFails,
    /// The rule is gone, and the store takes commits again.
    Mended,
    /// End without closing anything.
    Die,
}

/// What commit number `number` (from 1) of a writer leaves of the keys that it writes.
fn content(writer: usize, number: u64, large: bool) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut random = StdRng::seed_from_u64(((writer as u64) << 32) | number);
    let mut writes = BTreeMap::new();
    for _ in 0..random.random_range(1..6) {
        let key = format!("w{writer}/k{:02}", random.random_range(0..KEYS));
        if random.random_range(0..8) == 0 {
            writes.insert(key, None);
            continue;
        }
        let longest = if large { Commit::MAX_VALUE_BYTES } else { 2000 };
        let mut value = vec![0; random.random_range(0..longest)];
        random.fill(value.as_mut_slice());
        writes.insert(key, Some(value));
    }
    writes.insert(count_key(writer), Some(number.to_string().into_bytes()));
    writes
}

pub fn count_key(writer: usize) -> String {
    format!("w{writer}/count")
}

fn commit(writer: usize, number: u64, large: bool) -> Commit {
    let writes = content(writer, number, large).into_iter();
    Commit {
        expect: Vec::new(),
        writes: writes
            .map(|(key, value)| (key, value.map_or(Write::Delete, Write::Put)))
            .collect(),
    }
}

/// The commits that wrote a key, each with what it left.
type History = Vec<(u64, Option<Vec<u8>>)>;

/// What the records of a writer are after each of its commits, made once and then looked up.
pub struct Model {
    /// By key: what each commit that wrote it left, with that commit's number.
    keys: BTreeMap<String, History>,
}

impl Model {
    /// Of a writer whose commits had these sizes.
    pub fn new(writer: usize, large: &[bool]) -> Self {
        let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (number, large) in (1..).zip(large) {
            for (key, value) in content(writer, number, *large) {
                keys.entry(key).or_default().push((number, value));
            }
        }
        Self { keys }
    }

    /// Every record after commit `number`.
    pub fn after(&self, number: u64) -> BTreeMap<&str, &[u8]> {
        let last = |history: &'_ [(u64, Option<Vec<u8>>)]| {
            history.iter().rposition(|(at, _)| *at <= number)
        };
        self.keys
            .iter()
            .filter_map(|(key, history)| {
                let value = history[last(history)?].1.as_deref()?;
                Some((key.as_str(), value))
            })
            .collect()
    }
}

/// Which commits of each writer are large when these steps are done: the same for all of them.
pub fn sizes(steps: &[Step]) -> Vec<bool> {
    let mut sizes = Vec::new();
    for step in steps {
        match step {
            Step::Small(count) => sizes.extend((0..*count).map(|_| false)),
            Step::Large(count) => sizes.extend((0..*count).map(|_| true)),
            // More than any test waits for.
            Step::UntilItFails => sizes.extend((0..2_000).map(|_| false)),
            Step::Reopened | Step::Mended | Step::Die => {}
        }
    }
    sizes
}

/// A directory with a store that a child works on.
pub struct Stand {
    dir: tempfile::TempDir,
}

impl Stand {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// What is watched.
    pub fn root(&self) -> PathBuf {
        let root = self.dir.path().join("root");
        std::fs::create_dir_all(&root).unwrap();
        root.canonicalize().unwrap()
    }

    pub fn book(&self) -> PathBuf {
        self.dir.path().join("book")
    }

    pub fn rule(&self) -> PathBuf {
        self.dir.path().join("rule")
    }

    /// Whole at once: the child may look at any moment.
    pub fn set_rule(&self, rule: &str) {
        let new = self.dir.path().join("rule.new");
        std::fs::write(&new, rule).unwrap();
        std::fs::rename(new, self.rule()).unwrap();
    }

    /// Whether the rule has struck.
    pub fn struck(&self) -> bool {
        self.rule().with_extension("struck").exists()
    }

    /// As if there had been none.
    pub fn forget_rule(&self) {
        for left in std::fs::read_dir(self.dir.path()).unwrap().flatten() {
            if left.path().file_stem() == self.rule().file_stem() {
                std::fs::remove_file(left.path()).unwrap();
            }
        }
    }

    /// How many commits of each writer were acknowledged.
    pub fn acknowledged(&self) -> [u64; WRITERS] {
        let text = std::fs::read_to_string(self.root().join("acks")).unwrap_or_default();
        acknowledged(&text)
    }

    /// Start a child that does the steps; its output is piped.
    pub fn start(&self, steps: &[Step]) -> Child {
        let words: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "store::work::child"])
            .env(ROOT, self.root())
            .env(STEPS, words.join(" "))
            .env("LD_PRELOAD", fixture::faultfs())
            .env("FAULTFS_WATCH", self.root())
            .env("FAULTFS_LOG", self.book())
            .env("FAULTFS_RULE", self.rule())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

/// A line per acknowledged commit, `WRITER NUMBER`; the last one may be half.
pub fn acknowledged(text: &str) -> [u64; WRITERS] {
    let mut acknowledged = [0; WRITERS];
    for line in text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let (writer, number) = line.trim().split_once(' ').unwrap();
        acknowledged[writer.parse::<usize>().unwrap()] = number.parse().unwrap();
    }
    acknowledged
}

fn parse(word: &str) -> Step {
    let (name, count) = word
        .trim_end_matches(')')
        .split_once('(')
        .unwrap_or((word, "0"));
    let count = count.parse().unwrap();
    match name {
        "Small" => Step::Small(count),
        "Large" => Step::Large(count),
        "Reopened" => Step::Reopened,
        "UntilItFails" => Step::UntilItFails,
        "Mended" => Step::Mended,
        "Die" => Step::Die,
        other => panic!("{other}"),
    }
}

/// Where acknowledgements are written, in the order in which they come.
struct Acks {
    file: std::fs::File,
    end: Mutex<u64>,
}

impl Acks {
    fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        let end = Mutex::new(file.metadata().unwrap().len());
        Self { file, end }
    }

    fn say(&self, writer: usize, number: u64) {
        let line = format!("{writer} {number}\n");
        let mut end = self.end.lock().unwrap();
        self.file.write_all_at(line.as_bytes(), *end).unwrap();
        *end += line.len() as u64;
    }
}

/// The child of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let steps = std::env::var(STEPS).unwrap();
    let acks = Arc::new(Acks::open(&root.join("acks")));
    let store = Arc::new(Sled::open(&root.join("store")).unwrap());
    let mut done = counts(&store).await;
    let mut snapshots = snapshots(&root);
    for step in steps.split(' ').map(parse) {
        let (count, large) = match step {
            Step::Small(count) => (count, false),
            Step::Large(count) => (count, true),
            Step::UntilItFails => (u64::MAX, false),
            Step::Reopened => {
                let look = async || (self::snapshots(&root) != snapshots).then_some(());
                wait_for("sled to be opened again", look).await;
                snapshots = self::snapshots(&root);
                continue;
            }
            Step::Mended => {
                let rule = PathBuf::from(std::env::var_os("FAULTFS_RULE").unwrap());
                let lines = std::fs::read_to_string(&rule).unwrap().lines().count();
                let struck = |line| rule.with_extension(format!("struck-{line}")).exists();
                let all = async || (0..lines).all(struck).then_some(());
                wait_for("every line of the rule to strike", all).await;
                std::fs::remove_file(&rule).unwrap();
                let take = async || store.commit(probe()).await.ok();
                wait_for("the store to work again", take).await;
                done = counts(&store).await;
                println!("\nmended");
                continue;
            }
            Step::Die => {
                let own = nix::unistd::Pid::this();
                nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGKILL).unwrap();
                continue;
            }
        };
        let mut tasks = tokio::task::JoinSet::new();
        for (writer, from) in done.into_iter().enumerate() {
            let (store, acks) = (store.clone(), acks.clone());
            tasks.spawn(async move {
                for number in from + 1..=from.saturating_add(count) {
                    match store.commit(commit(writer, number, large)).await {
                        Ok(_) => acks.say(writer, number),
                        Err(error) => {
                            println!("\nfailed {}: {error}", kind(&error));
                            return (writer, number - 1);
                        }
                    }
                }
                (writer, from + count)
            });
        }
        for (writer, end) in tasks.join_all().await {
            done[writer] = end;
        }
    }
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Backend(_) => "backend",
        StoreError::Refused(_) => "refused",
        StoreError::Conflict { .. } | StoreError::Malformed(_) => "wrong",
    }
}

fn probe() -> Commit {
    Commit {
        expect: Vec::new(),
        writes: vec![("probe".to_owned(), Write::Put(Vec::new()))],
    }
}

/// How many commits of each writer are there.
async fn counts(store: &Sled) -> [u64; WRITERS] {
    let mut counts = [0; WRITERS];
    for (writer, count) in counts.iter_mut().enumerate() {
        let record = store.get(&count_key(writer)).await.unwrap();
        let text = record.map(|record| String::from_utf8(record.value).unwrap());
        *count = text.map_or(0, |text| text.parse().unwrap());
    }
    counts
}

/// sled makes a new one each time that it is opened.
fn snapshots(root: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root.join("store")).unwrap().flatten();
    let names = entries.map(|entry| entry.path());
    let mut names: Vec<_> = names
        .filter(|path| {
            path.to_string_lossy().contains("snap.")
                && !path.to_string_lossy().ends_with(".generating")
        })
        .collect();
    names.sort();
    names
}
