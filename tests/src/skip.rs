//! What a test does that this machine keeps from trying what it is for. A test that passes and tried nothing is
//! worse than one that fails, so it fails, unless whoever runs it has said that it may be passed over; then it is
//! listed at the end of `make test`.

use std::fs::OpenOptions;
use std::io::Write;

/// Set to 1, tests that cannot be tried here are passed over.
const MAY_SKIP: &str = "BERTH_TEST_MAY_SKIP";
/// Beside the profiles, one line for each.
const LIST: &str = "not-tried.txt";

/// To be followed by the end of the test.
pub fn not_tried(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    let allowed = std::env::var(MAY_SKIP).is_ok_and(|value| value == "1");
    assert!(
        allowed,
        "this machine keeps {test} from being tried: {why}. Set {MAY_SKIP}=1 to pass over what cannot be tried here"
    );
    println!("not tried: {why}");
    let program = std::env::current_exe().expect("a test knows its program");
    // TARGET/PROFILE/deps/PROGRAM
    let target = program.ancestors().nth(3).expect("cargo built it");
    let list = OpenOptions::new()
        .create(true)
        .append(true)
        .open(target.join(LIST));
    // In one write: others may be adding to it.
    let line = format!("{test}: {why}\n");
    list.and_then(|mut list| list.write_all(line.as_bytes()))
        .expect("the list can be written");
}
