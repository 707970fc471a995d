//! The programs of this machine.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// The directory or file below where `scripts/install-servers.sh` puts servers, if it is there.
pub fn installed(path: &str) -> Option<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_default();
    [
        "/opt/berth/servers".to_owned(),
        format!("{home}/.local/share/berth/servers"),
    ]
    .map(|base| PathBuf::from(base).join(path))
    .into_iter()
    .find(|path| path.exists())
}

/// This machine lacks a server. A failure, unless `BERTH_TEST_MAY_SKIP=1` allows it: then `what` is written where `make test`
/// looks for what was not tried.
pub fn not_tried(what: &str) {
    let may_skip = std::env::var("BERTH_TEST_MAY_SKIP").is_ok_and(|value| value == "1");
    assert!(
        may_skip,
        "{what}: none is installed; see scripts/install-servers.sh"
    );
    let program = std::env::current_exe().expect("its own program");
    // TARGET/debug/deps/TEST
    let target = program.ancestors().nth(3).expect("cargo built it");
    let list = target.join("not-tried.txt");
    let list = fs::File::options().create(true).append(true).open(list);
    list.and_then(|mut list| writeln!(list, "{what}: none is installed"))
        .expect("the list can be written");
}
