//! What a look at a file shows without reading it: enough to notice that it is another one, or was written to.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Clocks of file systems can be as coarse as this: two writes within it may leave the same times.
const COARSE: Duration = Duration::from_secs(3);

/// Two that differ are two contents. Two that are the same are the same content, unless it is young.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A file of the folder, as one look found it.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub file: String,
    pub path: PathBuf,
    pub print: Print,
}

impl Print {
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Of no file: the `inode`th one, written at this time.
    #[cfg(test)]
    pub fn sample(inode: u64, modified: SystemTime) -> Self {
        let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let at = (i64::try_from(since.as_secs()).unwrap(), 0);
        Self {
            device: 1,
            inode,
            size: 1,
            modified: at,
            changed: at,
        }
    }

    /// How long ago it was written to, by its own account. Renaming changes nothing of that.
    pub fn age(&self) -> Duration {
        let (seconds, nanos) = self.modified;
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else {
            return Duration::ZERO;
        };
        let modified = SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos));
        modified
            .and_then(|modified| modified.elapsed().ok())
            .unwrap_or(Duration::ZERO)
    }

    /// When to read it again, though nothing may seem to have changed.
    pub fn doubtful_for(&self) -> Option<Duration> {
        (self.age() < COARSE).then_some(COARSE)
    }
}

/// The components in a folder, by their files' names in order. A link counts as what it leads to. An error says
/// nothing about any file: it must not be taken for an empty folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Sighting>> {
    let mut sightings = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "wasm") {
            continue;
        }
        let metadata = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            // It is there: reading it will say what is wrong.
            Err(_) => fs::symlink_metadata(&path)?,
            Ok(metadata) => metadata,
        };
        let name = path.file_name().unwrap_or_default();
        sightings.push(Sighting {
            file: name.to_string_lossy().into_owned(),
            print: Print::of(&metadata),
            path,
        });
    }
    sightings.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sightings)
}
