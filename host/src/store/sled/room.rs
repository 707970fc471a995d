//! Room on the disk for opening the store. sled writes a snapshot then, and a host that ended on a full disk shall come
//! back, so that databases can be deleted on it: so much is held while the store is open, and given to whoever opens it.
//! A store that is open on a full disk is not closed and opened again meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;

/// A snapshot of some hundred thousand records.
const BYTES: u64 = 8 << 20;

pub(super) struct Room(PathBuf);

impl Room {
    /// Beside the directory, in which nothing is that is not of the store.
    pub fn of(directory: &Path) -> Self {
        let mut path = directory.as_os_str().to_owned();
        path.push(".room");
        Self(path.into())
    }

    /// Hold it, if it is not held. Without it the store works as well, for as long as there is space.
    pub fn hold(&self) {
        if let Err(error) = self.try_to_hold() {
            tracing::warn!("no room on the disk can be held for opening the store: {error}");
            self.release();
        }
    }

    /// Give it away.
    pub fn release(&self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!("the room that is held for opening the store is not given: {error}");
            }
        }
    }

    fn try_to_hold(&self) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.0)?;
        let bytes = i64::try_from(BYTES).map_err(io::Error::other)?;
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Where nothing can be set aside, there is nothing to give later.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether the disk of this file has that much beside what is held.
pub(super) fn is_there(file: &File) -> bool {
    fstatvfs(file).is_ok_and(|system| {
        let available = system.blocks_available();
        available.saturating_mul(system.fragment_size()) >= BYTES
    })
}
