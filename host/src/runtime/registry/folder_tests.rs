//! The folder's bookkeeping, look by look, without files.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::Timing;
use super::entry::About;
use super::folder::{Accepted, Again, Due, Folder, Refusal, Verdict};
use super::print::{Print, Sighting};
use crate::model::Digest;
use crate::model::plugin::{PluginKind, PluginState};

const FILE: &str = "probe.wasm";

/// A folder, and a clock that moves when it is told to.
struct Stand {
    folder: Folder,
    now: Instant,
    timing: Timing,
}

impl Stand {
    fn new() -> Self {
        Self {
            folder: Folder::default(),
            now: Instant::now(),
            timing: Timing::default(),
        }
    }

    fn look(&mut self, seen: &[(&str, Print)]) -> (Vec<Due>, Vec<String>) {
        self.look_as(seen, false)
    }

    fn look_as(&mut self, seen: &[(&str, Print)], first: bool) -> (Vec<Due>, Vec<String>) {
        let sightings = seen.iter().map(|(file, print)| Sighting {
            file: (*file).to_owned(),
            path: PathBuf::from(file),
            print: *print,
        });
        self.folder
            .sight(sightings.collect(), self.now, &self.timing, first)
    }

    fn later(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// A build in the file that passes every check.
    fn take(&mut self, file: &str, inode: u64, about: &About) {
        let (due, _) = self.look(&[(file, old(inode))]);
        let verdict = self.folder.found(&due[0], about, Timestamp::now());
        assert_eq!(verdict, Ok(Verdict::Try));
        let accepted = self.folder.accept(&due[0], about, self.now).unwrap();
        assert!(matches!(accepted, Accepted::Live { .. }));
        self.done(&due[0], None);
    }

    fn done(&mut self, due: &Due, refusal: Option<&Refusal>) -> bool {
        self.folder.done(due, None, refusal, self.now, &self.timing)
    }
}

/// Of a file that was written long ago.
fn old(inode: u64) -> Print {
    Print::sample(inode, SystemTime::UNIX_EPOCH + Duration::from_secs(1))
}

/// Of a file that is dated after now, so that its own account of its age counts for nothing.
fn young(inode: u64) -> Print {
    Print::sample(inode, SystemTime::now() + Duration::from_secs(3600))
}

fn about(name: &str, digit: char) -> About {
    About {
        kind: PluginKind::Engine,
        name: name.to_owned(),
        version: "1".to_owned(),
        digest: Digest::from_hex(digit.to_string().repeat(64)),
    }
}

#[test]
fn what_was_written_long_ago_and_moved_here_is_read_at_once() {
    let mut stand = Stand::new();
    assert_eq!(stand.look(&[(FILE, old(1))]).0.len(), 1);
    assert!(stand.look(&[(FILE, old(1))]).0.is_empty(), "it is in hand");
}

#[test]
fn what_is_being_written_is_read_when_it_is_quiet() {
    let mut stand = Stand::new();
    for inode in 1..5 {
        assert!(stand.look(&[(FILE, young(inode))]).0.is_empty());
        stand.later(400);
    }
    assert!(stand.look(&[(FILE, young(4))]).0.is_empty());
    stand.later(100);
    assert_eq!(stand.look(&[(FILE, young(4))]).0.len(), 1);
}

#[test]
fn a_start_takes_every_file_for_whole() {
    let mut stand = Stand::new();
    assert_eq!(stand.look_as(&[(FILE, young(1))], true).0.len(), 1);
}

#[test]
fn a_refusal_is_no_news_while_the_file_may_still_be_written() {
    let mut stand = Stand::new();
    let broken = Refusal::last("it is broken");
    let (due, _) = stand.look(&[(FILE, old(1))]);
    assert!(!stand.done(&due[0], Some(&broken)));
    assert!(stand.folder.statuses().is_empty());
    assert!(stand.look(&[(FILE, old(1))]).0.is_empty());

    stand.later(500);
    let (due, _) = stand.look(&[(FILE, old(1))]);
    assert!(stand.done(&due[0], Some(&broken)));
    let statuses = stand.folder.statuses();
    assert_eq!(
        statuses[0].state,
        PluginState::Refused("it is broken".to_owned())
    );
    stand.later(3_600_000);
    assert!(stand.look(&[(FILE, old(1))]).0.is_empty(), "it stays so");
}

#[test]
fn what_may_pass_is_tried_again_and_told_once() {
    let mut stand = Stand::new();
    let full = Refusal::passing("the disk is full");
    let (due, _) = stand.look_as(&[(FILE, old(1))], true);
    assert!(stand.done(&due[0], Some(&full)));
    stand.later(15_000);
    let (due, _) = stand.look(&[(FILE, old(1))]);
    assert!(!stand.done(&due[0], Some(&full)));
    assert_eq!(stand.folder.statuses().len(), 1);
}

#[test]
fn what_went_wrong_this_time_is_tried_again_ever_more_rarely() {
    let mut stand = Stand::new();
    let slow = Refusal::this_time("it did not answer in time");
    let build = about("probe", 'a');
    let mut pause = 0;
    for expected in [15, 30, 60, 120, 240, 480, 960, 1920, 1920] {
        stand.later(pause * 1000);
        let (due, _) = stand.look_as(&[(FILE, old(1))], true);
        let [due] = &due[..] else {
            panic!("it was to be tried after {pause} s");
        };
        let verdict = stand.folder.found(due, &build, Timestamp::now());
        assert_eq!(verdict, Ok(Verdict::Try));
        let (now, about) = (stand.now, Some(build.clone()));
        stand
            .folder
            .done(due, about, Some(&slow), now, &stand.timing);
        pause = expected;
        stand.later(pause * 1000 - 1);
        assert!(stand.look(&[(FILE, old(1))]).0.is_empty(), "{pause} s");
        stand.now = now;
    }
    // Another build in the file is tried at once, and then it is taken.
    stand.take(FILE, 2, &about("probe", 'b'));
}

#[test]
fn a_young_file_is_read_once_more() {
    let mut stand = Stand::new();
    let (due, _) = stand.look_as(&[(FILE, young(1))], true);
    stand.done(&due[0], None);
    stand.later(3_000);
    let (due, _) = stand.look(&[(FILE, young(1))]);
    stand.done(&due[0], None);
    stand.later(3_600_000);
    assert!(stand.look(&[(FILE, young(1))]).0.is_empty());
}

#[test]
fn what_was_overtaken_is_not_accepted() {
    let mut stand = Stand::new();
    let (due, _) = stand.look(&[(FILE, old(1))]);
    let build = about("probe", 'a');
    stand
        .folder
        .found(&due[0], &build, Timestamp::now())
        .unwrap();
    stand.look(&[(FILE, old(2))]);
    let accepted = stand.folder.accept(&due[0], &build, stand.now);
    assert_eq!(accepted, Ok(Accepted::Superseded));
    stand.done(&due[0], None);
    assert_eq!(stand.look(&[(FILE, old(2))]).0.len(), 1, "its turn now");
}

#[test]
fn a_file_is_gone_when_it_stays_away() {
    let mut stand = Stand::new();
    stand.take(FILE, 1, &about("probe", 'a'));
    assert!(stand.look(&[]).1.is_empty());
    stand.later(400);
    stand.look(&[(FILE, old(1))]);
    stand.later(400);
    assert!(stand.look(&[]).1.is_empty(), "it was there in between");
    stand.later(500);
    let (_, gone) = stand.look(&[]);
    assert_eq!(gone, [FILE]);
    let depends = |_: &About| "db_1 depends on it".to_owned();
    assert!(stand.folder.remove(FILE, depends).is_some());
    assert!(matches!(
        &stand.folder.statuses()[0].state,
        PluginState::Removed(text) if text.contains("db_1")
    ));
    assert!(stand.look(&[]).1.is_empty(), "told once");
    assert!(stand.folder.refresh_removed(|_| String::new()));
    assert!(stand.folder.statuses().is_empty());
}

#[test]
fn a_plugin_is_in_one_file_and_a_file_is_one_plugin() {
    let mut stand = Stand::new();
    stand.take(FILE, 1, &about("probe", 'a'));
    let seen = [(FILE, old(2)), ("other.wasm", old(3))];
    let (due, _) = stand.look(&seen);
    let now = Timestamp::now();
    let renamed = stand.folder.found(&due[1], &about("prune", 'b'), now);
    let renamed = renamed.unwrap_err();
    assert!(renamed.reason.contains("file of its own") && renamed.again == Again::Never);
    let twin = stand.folder.found(&due[0], &about("probe", 'c'), now);
    let twin = twin.unwrap_err();
    assert!(twin.reason.contains(FILE) && twin.again == Again::Soon);
}

/// The file has another plugin than the one that it stands for and that is not live. It is refused, and taken once
/// the file stands for nothing any more.
fn taken_when_free(stand: &mut Stand, free: impl FnOnce(&mut Folder)) {
    let prune = about("prune", 'b');
    let seen = [(FILE, old(2))];
    let (due, _) = stand.look_as(&seen, true);
    let found = stand.folder.found(&due[0], &prune, Timestamp::now());
    let refusal = found.unwrap_err();
    assert!(refusal.reason.contains("file of its own") && refusal.again == Again::Soon);
    let (now, shown) = (stand.now, Some(prune.clone()));
    let done = stand
        .folder
        .done(&due[0], shown, Some(&refusal), now, &stand.timing);
    assert!(done, "it is news");
    free(&mut stand.folder);
    assert!(stand.look(&seen).0.is_empty(), "not before its time");
    stand.later(15_000);
    stand.take(FILE, 2, &prune);
    let statuses = stand.folder.statuses();
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0].name, "prune");
    assert_eq!(statuses[0].state, PluginState::Ready);
}

#[test]
fn another_plugin_is_taken_when_nothing_depends_on_the_removed_one() {
    let mut stand = Stand::new();
    stand.take(FILE, 1, &about("probe", 'a'));
    stand.look(&[]);
    stand.later(500);
    assert_eq!(stand.look(&[]).1, [FILE]);
    let depends = |_: &About| "db_1 depends on it".to_owned();
    assert!(stand.folder.remove(FILE, depends).is_some());
    taken_when_free(&mut stand, |folder| {
        folder.refresh_removed(|_| String::new());
    });
}

#[test]
fn another_plugin_is_taken_when_the_one_before_cannot_be_restored() {
    let mut stand = Stand::new();
    stand.take(FILE, 1, &about("probe", 'a'));
    let record = stand.folder.record();
    let mut stand = Stand::new();
    stand.folder.remember(record);
    taken_when_free(&mut stand, |folder| {
        let before = folder.before(FILE).unwrap();
        assert!(!folder.restored(FILE, &before, false));
    });
}

#[test]
fn what_was_live_is_needed_for_a_while_and_survives_a_restart() {
    let mut stand = Stand::new();
    let (first, second) = (about("probe", 'a'), about("probe", 'b'));
    stand.take(FILE, 1, &first);
    stand.take(FILE, 2, &second);
    let needed = stand.folder.needed(stand.now, &stand.timing);
    assert!(needed.contains(&first.digest) && needed.contains(&second.digest));
    stand.later(600_000);
    let needed = stand.folder.needed(stand.now, &stand.timing);
    assert!(!needed.contains(&first.digest) && needed.contains(&second.digest));

    let json = serde_json::to_vec(&stand.folder.record()).unwrap();
    let mut stand = Stand::new();
    stand
        .folder
        .remember(serde_json::from_slice(&json).unwrap());
    assert!(stand.folder.is_expected(PluginKind::Engine, "probe"));
    let needed = stand.folder.needed(stand.now, &stand.timing);
    assert!(needed.contains(&second.digest), "before it is live again");
    let before = stand.folder.before(FILE).unwrap();
    assert_eq!(before, second);
    assert!(stand.folder.restored(FILE, &before, true));
    assert_eq!(stand.folder.statuses()[0].state, PluginState::Ready);
}
