//! The end of sled's log, as it was before sled was let at it.
//!
//! sled takes a part of its log that it cannot read for the log's end: it fills the rest with zeros, also whole segments
//! that it did not get to, and goes on from there. One read that fails is enough to lose every commit since its last
//! snapshot. So Berth reads all that sled is going to read first, and a disk that cannot is refused while nothing has
//! happened; and it keeps what it read until it is known that sled has found every commit, and otherwise puts it back.
//!
//! What is kept is as much as sled writes between two openings; see `REOPEN_AT_LAST`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::check::{HEADER_BYTES, first_of};
use super::database::SEGMENT_BYTES;

/// How long a sled that did not open, or was closed, may hold its file.
const RELEASED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Tail {
    directory: PathBuf,
    /// None where there is no log yet.
    log: Option<Log>,
    /// By their names.
    snapshots: BTreeMap<OsString, Vec<u8>>,
}

struct Log {
    length: u64,
    /// Where each segment begins, and what is in it.
    segments: Vec<(u64, Vec<u8>)>,
}

impl Tail {
    /// Read everything that sled will read to see where its log ends. Nobody may have opened it.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let mut snapshots = BTreeMap::new();
        for name in snapshot_names(directory)? {
            let content = fs::read(directory.join(&name))?;
            snapshots.insert(name, content);
        }
        // sled goes by the last one, and reads on in the segment in which it was made.
        let since = snapshots.keys().next_back();
        let since = since.and_then(position).unwrap_or(0);
        let since = since / SEGMENT_BYTES as u64 * SEGMENT_BYTES as u64;
        let log = match File::open(directory.join("db")) {
            Ok(file) => Some(Log::read(&file, since)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            directory: directory.to_owned(),
            log,
            snapshots,
        })
    }

    /// Undo what sled has made of it. It must be closed, or not have opened.
    pub fn put_back(&self) -> io::Result<()> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        let mut options = OpenOptions::new();
        let file = options.write(true).open(self.directory.join("db"))?;
        released(&file)?;
        for (at, content) in &log.segments {
            file.write_all_at(content, *at)?;
        }
        file.set_len(log.length)?;
        file.sync_all()?;
        for (name, content) in &self.snapshots {
            if fs::read(self.directory.join(name)).is_ok_and(|there| there == *content) {
                continue;
            }
            // Under the name of one that is not finished: dying here does no harm.
            let mut half = name.clone();
            half.push(".generating");
            let half = self.directory.join(half);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&half)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(half, self.directory.join(name))?;
        }
        for name in snapshot_names(&self.directory)? {
            if !self.snapshots.contains_key(&name) {
                fs::remove_file(self.directory.join(name))?;
            }
        }
        File::open(&self.directory)?.sync_all()
    }
}

impl Log {
    /// The segments from this place of the log on. They stand in the file in any order.
    fn read(file: &File, since: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut segments = Vec::new();
        for at in (0..length).step_by(SEGMENT_BYTES) {
            let size = (length - at).min(SEGMENT_BYTES as u64);
            let Ok(size) = usize::try_from(size) else {
                continue;
            };
            let mut header = [0; HEADER_BYTES];
            if size < HEADER_BYTES {
                continue;
            }
            file.read_exact_at(&mut header, at)?;
            if first_of(&header).is_some_and(|first| first >= since) {
                let mut content = vec![0; size];
                file.read_exact_at(&mut content, at)?;
                segments.push((at, content));
            }
        }
        Ok(Self { length, segments })
    }
}

/// Wait until sled's threads have let go of the file: they might still write to it.
fn released(file: &File) -> io::Result<()> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if started.elapsed() < RELEASED_WITHIN => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The finished ones.
fn snapshot_names(directory: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if position(&name).is_some() {
            names.push(name);
        }
    }
    Ok(names)
}

/// The place in the log up to which a snapshot of this name goes.
fn position(name: &OsString) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("snap.")?;
    u64::from_str_radix(digits, 16).ok()
}
