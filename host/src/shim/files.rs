//! How the small files of a home are written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Size of a file that is overwritten in place.
const SLOT: usize = 8 * 1024;

/// Overwrite a file in place, always with the same number of bytes. Once it exists this needs no space, so
/// that a full disk keeps no server from being started or reported. One write of a page or two into the
/// page cache is whole even if the writer is killed; after a power cut the content means nothing anyway.
pub fn write_in_place<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(value)?;
    if bytes.len() > SLOT {
        return Err(io::Error::new(ErrorKind::InvalidData, "record too long"));
    }
    bytes.resize(SLOT, b' ');
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all_at(&bytes, 0)
}

/// Replace a file: afterwards it is the old or the new one, whole, also after a power cut.
pub fn write_whole<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_parent(path)
}

/// Make a change of the directory that holds the path last.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// `None` when it is absent, or not written whole.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Remove a file. Absent is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_shorter_value_leaves_no_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slot");
        assert_eq!(read::<Vec<String>>(&path).unwrap(), None);
        for write in [
            write_in_place::<Vec<String>>,
            write_whole::<Vec<String>>,
            write_in_place::<Vec<String>>,
        ] {
            for value in [vec!["a".repeat(4000)], vec![]] {
                write(&path, &value).unwrap();
                assert_eq!(read::<Vec<String>>(&path).unwrap(), Some(value));
            }
        }
    }

    #[test]
    fn half_a_file_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slot");
        fs::write(&path, "[\"a").unwrap();
        assert_eq!(read::<Vec<String>>(&path).unwrap(), None);
    }

    #[test]
    fn a_record_that_does_not_fit_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("slot");
        write_in_place(&path, &"kept").unwrap();
        write_in_place(&path, &"a".repeat(SLOT)).unwrap_err();
        assert_eq!(read::<String>(&path).unwrap().as_deref(), Some("kept"));
    }
}
