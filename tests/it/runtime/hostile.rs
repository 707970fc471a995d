//! Hostile components: whatever they try, good calls beside them go on, their caller gets one clear error, and the host
//! keeps nothing of it. The list is `berth_tests::hostile::cases`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use berth::model::Kind;
use berth_tests::hostile::cases::{CASES, Case};
use berth_tests::hostile::{Arena, End, GOOD_CALLS, SECRET, quantile};
use berth_tests::pause;

use crate::allocator::allocated;

/// Attacks that are made very often, so that what little each of them leaves would be seen: of each way to end one that
/// is quick.
const REPEATED: [&str; 3] = ["panic", "thousands of sockets", "a secret in an argument"];
const REPEATS: usize = 800;
/// Bytes that an attack may leave allocated on the average. None leaves any.
const MOST_EACH: usize = 256;
/// Bytes of memory that it may: what is not the heap's is given and taken by pages, and in its own time.
const MOST_RESIDENT_EACH: u64 = 8 << 10;
/// Set for the process that the attacks run in: `all`, or a part of the names of those that are wanted.
const ALONE: &str = "BERTH_TEST_HOSTILE";
/// What the host may hold more after an attack than before: allocators keep some of what they were given.
const TOLERANCE: u64 = 64 << 20;
/// How long it may take until an ended attack's memory is given back.
const SOON: Duration = Duration::from_secs(5);

/// In a process of its own: other tests would be seen in its memory, and would take its time.
#[test]
fn attacks_cost_their_caller_one_clear_error_and_the_host_nothing() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runtime::hostile::attacks", "--nocapture"])
        .args(["--ignored", "--test-threads=1"])
        .env(ALONE, "all")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, in a process of its own"]
async fn attacks() {
    let Ok(wanted) = std::env::var(ALONE) else {
        return;
    };
    let cases: Vec<Case> = CASES
        .iter()
        .copied()
        .filter(|case| wanted == "all" || case.name.contains(&wanted))
        .collect();
    let arena = Arena::open().await;
    let mut wrong = Vec::new();
    // Once each, so that what is kept for good is there before memory is looked at.
    for case in &cases {
        let started = Instant::now();
        wrong.extend(check(&arena, *case, &arena.attack(*case).await).err());
        println!("{}: {:.1?}", case.name, started.elapsed());
    }
    let alone = arena.alone(4 * GOOD_CALLS).await;
    let before = resident();
    println!("good calls alone: p99 {:?}", quantile(&alone, 99));
    for case in &cases {
        let started = Instant::now();
        let report = arena.run(*case).await;
        assert!(report.good.len() >= GOOD_CALLS);
        for end in &report.ends {
            wrong.extend(check(&arena, *case, end).err());
        }
        let after = settled(before + TOLERANCE).await;
        if after > before + TOLERANCE {
            wrong.push(format!(
                "{}: the host has {after} bytes, and had {before}",
                case.name
            ));
        }
        println!(
            "{}: {:.1?}, {} attacks, {} good calls, p99 {:?}, {:+} MiB",
            case.name,
            started.elapsed(),
            report.ends.len(),
            report.good.len(),
            quantile(&report.good, 99),
            (after as i64 - before as i64) >> 20,
        );
    }
    for case in cases.iter().filter(|case| REPEATED.contains(&case.name)) {
        wrong.extend(repeat(&arena, *case).await);
    }
    if arena.somebody_connected().await {
        wrong.push("somebody connected to another instance's member".to_owned());
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Make an attack very often. Answers what is wrong: with the errors, and with what of it is still there.
async fn repeat(arena: &Arc<Arena>, case: Case) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    // What is kept once, and not for each of them, is there after the first round.
    for times in [REPEATS / 4, REPEATS] {
        for _ in 0..times {
            wrong.extend(check(arena, case, &arena.attack(case).await).err());
        }
        // The last one's sandbox may still be on its way out.
        pause().await;
        // Below the hundreds of megabytes that the attacks before had, a slope of what is allocated would not be seen
        // in what the process has.
        seen.push((allocated(), resident(), open_files()));
    }
    let [before, after] = seen[..] else {
        unreachable!("it was looked at twice")
    };
    let heap = after.0.saturating_sub(before.0) / REPEATS;
    let resident = after.1.saturating_sub(before.1) / REPEATS as u64;
    let files = after.2.saturating_sub(before.2);
    let name = case.name;
    let kept = format!("{heap} bytes of the heap and {resident} of memory each, {files} files");
    println!("{name}: {REPEATS} more keep {kept}");
    if heap > MOST_EACH || resident > MOST_RESIDENT_EACH || files > REPEATS / 100 {
        wrong.push(format!("{name}: {REPEATS} more keep {kept}"));
    }
    wrong
}

/// One clear error: of the right kind, short, in one line, in plain words, and without anything of the host's.
fn check(arena: &Arc<Arena>, case: Case, end: &End) -> Result<(), String> {
    let name = case.name;
    let text = match end {
        End::Success => return Err(format!("{name}: it was a success")),
        End::NotLoaded(text) => text,
        End::Refused { kind, text } => match kind {
            Kind::Failed if text.len() <= 1200 => text,
            Kind::Invalid(problems) if problems.len() <= 32 && text.len() <= 32 << 10 => text,
            other => return Err(format!("{name}: {other:?}, {} bytes", text.len())),
        },
    };
    let data = arena.data_dir();
    let never = [
        SECRET,
        data.to_str().unwrap(),
        "/root",
        "/home",
        ".rs:",
        "backtrace",
        "some::frame",
        "wasm function",
        "0x",
    ];
    let plain = !text.contains(|c: char| c.is_control());
    if plain && text.contains(case.says) && !never.iter().any(|told| text.contains(told)) {
        return Ok(());
    }
    Err(format!("{name}: {text:.2000}"))
}

#[test]
fn every_attack_is_in_the_table_of_the_docs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/sandbox.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(first, _)| first.trim())
        .filter(|first| *first != "what is tried")
        .collect();
    let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(rows, names);
    assert!(names.len() >= 20);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
}

/// Bytes of memory that this process has, once they are so few, or after a while.
async fn settled(wanted: u64) -> u64 {
    let began = Instant::now();
    while resident() > wanted && began.elapsed() < SOON {
        pause().await;
    }
    resident()
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .trim_start_matches("VmRSS:")
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    kib << 10
}
