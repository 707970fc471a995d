//! What the disk costs, so that a figure can be told from its machine.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::stats::measure;

/// Median time to append 4 KiB to a file and have it on disk.
pub fn fsync_time(folder: &Path) -> Duration {
    let path = folder.join("fsync-probe");
    let mut file = File::create(&path).expect("a file in the folder that is measured");
    let block = [7_u8; 4096];
    let samples = measure(100, || {
        file.write_all(&block).expect("written");
        file.sync_data().expect("synced");
    });
    std::fs::remove_file(&path).expect("removed");
    samples.median()
}
