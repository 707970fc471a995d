//! Groups below directories that look like hierarchies, and below the real ones where this machine lets us.

use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::*;

const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    cpu_millis: 1000,
    processes: 50,
};

fn seat(dir: &Path, version: Version, controllers: &[Controller]) -> Seat {
    Seat {
        dir: dir.to_owned(),
        version,
        controllers: controllers.to_vec(),
    }
}

fn make(seats: Vec<Seat>, home: &Home) -> (Group, Held) {
    Group::make_in(seats, None, home, "berth-1", "i.main", &LIMITS).unwrap()
}

/// A directory of version 2 whose groups of the host were given these.
fn given(dir: &Path, controllers: &str) {
    let parent = dir.join("berth-1");
    fs::create_dir_all(&parent).unwrap();
    fs::write(parent.join("cgroup.controllers"), controllers).unwrap();
}

#[test]
fn it_is_made_limited_recorded_and_made_again() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let two = root.path().join("two");
    given(&two, "cpu memory pids");
    let seats = || vec![seat(&two, Version::Two, &Controller::ALL)];
    let (group, held) = make(seats(), &home);
    let dir = two.join("berth-1/i.main");
    assert_eq!(group.dirs().collect::<Vec<_>>(), [dir.as_path()]);
    assert_eq!(held.controllers, Controller::ALL);
    assert_eq!(held.problem, None);
    assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap(), "50");
    assert_eq!(Group::recorded(&home), group);
    assert_eq!(make(seats(), &home), (group, held));
}

#[test]
fn what_cannot_be_had_is_said_and_the_rest_is_used() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let (memory, absent) = (root.path().join("memory"), root.path().join("absent"));
    fs::create_dir(&memory).unwrap();
    let seats = vec![
        seat(&memory, Version::One, &[Controller::Memory]),
        seat(&absent.join("deep"), Version::One, &[Controller::Pids]),
    ];
    let (group, held) = make(seats, &home);
    assert_eq!(group.dirs().count(), 1);
    assert_eq!(held.controllers, [Controller::Memory]);
    let problem = held.problem.unwrap();
    assert!(
        problem.starts_with("no limit of cpu, pids: no group can be made"),
        "{problem}"
    );
    let (group, held) = make(Vec::new(), &Home::new(&memory));
    assert!(group.is_empty());
    assert!(
        held.problem
            .unwrap()
            .starts_with("no limit of memory, cpu, pids: this machine")
    );
}

#[test]
fn a_controller_that_was_not_given_is_said_to_be_so() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let two = root.path().join("two");
    given(&two, "cpu pids");
    let (_, held) = make(vec![seat(&two, Version::Two, &Controller::ALL)], &home);
    assert_eq!(held.controllers, [Controller::Cpu, Controller::Pids]);
    let problem = "no limit of memory: the group above was not given memory";
    assert_eq!(held.problem.as_deref(), Some(problem));
}

#[test]
fn one_that_was_made_elsewhere_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let [old, new] = ["old", "new"].map(|name| root.path().join(name));
    for dir in [&old, &new] {
        fs::create_dir(dir).unwrap();
    }
    let (group, _) = make(vec![seat(&old, Version::One, &[])], &home);
    assert!(old.join("berth-1/i.main").is_dir());
    make(vec![seat(&new, Version::One, &[])], &home);
    assert!(!old.join("berth-1/i.main").exists());
    assert!(new.join("berth-1/i.main").is_dir());
    group.remove().unwrap();
    group.remove_parents();
    assert!(!old.join("berth-1").exists());
}

#[test]
fn a_shortage_is_told_by_the_counts() {
    let before = Shortages { kills: 3, met: 10 };
    let same = Shortages { kills: 3, met: 11 };
    assert_eq!(same.since(before, Some(64 << 20)), None);
    let at_limit = Shortages { kills: 4, met: 11 };
    let text = at_limit.since(before, Some(64 << 20)).unwrap();
    assert_eq!(text, "the kernel killed it at its memory limit of 64 MiB");
    let elsewhere = Shortages { kills: 4, met: 10 };
    let text = elsewhere.since(before, Some(64 << 20)).unwrap();
    assert!(text.contains("the machine was short"), "{text}");
}

/// A group of the kernel's own. None, with a word, where it cannot be limited like this.
fn real(home: &Home, name: &str, needed: Controller) -> Option<Group> {
    let parent = format!("berth-test-{name}-{}", std::process::id());
    let (group, held) = Group::make(home, &parent, "i.main", &LIMITS).unwrap();
    if held.controllers.contains(&needed) {
        return Some(group);
    }
    group.remove().unwrap();
    group.remove_parents();
    crate::skip::not_tried(&held.problem.unwrap_or_default());
    None
}

/// Run by a shell inside the group.
fn inside(group: &Group, script: &str) -> Child {
    let join: String = group
        .dirs()
        .map(|dir| format!("echo 0 > {}/cgroup.procs; ", dir.display()))
        .collect();
    Command::new("/bin/sh")
        .args(["-c", &format!("{join} {script}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn remove(group: &Group) {
    while !group.processes().unwrap().is_empty() {
        std::thread::yield_now();
    }
    while group.remove().is_err() {
        std::thread::yield_now();
    }
    group.remove().unwrap();
    group.remove_parents();
    assert!(group.dirs().all(|dir| !dir.parent().unwrap().exists()));
}

#[test]
fn a_real_group_kills_what_takes_too_much_and_can_be_removed() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let Some(group) = real(&home, "memory", Controller::Memory) else {
        return;
    };
    let before = group.shortages();
    // `tail` keeps a line that does not end.
    let status = inside(&group, "exec tail -n 1 /dev/zero").wait().unwrap();
    assert!(!status.success());
    let words = group.shortages().since(before, Some(LIMITS.memory_bytes));
    assert_eq!(
        words.as_deref(),
        Some("the kernel killed it at its memory limit of 64 MiB")
    );
    remove(&group);
}

#[test]
fn a_real_group_holds_so_many_processes_and_no_more() {
    let root = tempfile::tempdir().unwrap();
    let home = Home::new(root.path());
    let Some(group) = real(&home, "pids", Controller::Pids) else {
        return;
    };
    // The shell gives up when it can start no more.
    let script = "i=0; while [ $i -lt 100 ]; do tail -f /dev/null & i=$((i+1)); done";
    let status = inside(&group, script).wait().unwrap();
    assert!(!status.success());
    let left = group.processes().unwrap();
    assert!((30..=50).contains(&left.len()), "{}", left.len());
    for pid in left {
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }
    remove(&group);
}
