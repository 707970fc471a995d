//! Space for the log, taken from the file system ahead of its need. When the disk is full, sled fails for good;
//! a commit is refused before that, and what is taken ahead still lets deletions be recorded.

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;

use super::database::SEGMENT_BYTES;

/// sled grows its file by a segment at a time.
const SEGMENT: u64 = SEGMENT_BYTES as u64;
/// What is held beyond the end of the file while there is space.
const AHEAD: u64 = 3 * SEGMENT;
/// What must be there for a commit to be taken.
const LEAST: u64 = SEGMENT;

pub(super) struct Space {
    data: File,
    /// Where the file's allocation ends, as far as we made it.
    taken_to: u64,
    full: bool,
}

impl Space {
    pub fn new(data: File) -> Self {
        Self {
            data,
            taken_to: 0,
            full: false,
        }
    }

    /// Whether there is space for more commits.
    pub fn prepare(&mut self) -> io::Result<()> {
        let length = self.data.metadata()?.len();
        if self.taken_to >= length + AHEAD - LEAST {
            return Ok(());
        }
        let take = |bytes: u64| -> io::Result<Result<(), Errno>> {
            let flags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
            Ok(fallocate(
                &self.data,
                flags,
                signed(length)?,
                signed(bytes)?,
            ))
        };
        let full = match take(AHEAD)? {
            Ok(()) => {
                self.taken_to = length + AHEAD;
                false
            }
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                let file_system = fstatvfs(&self.data)?;
                if file_system.blocks_available() * file_system.fragment_size() < LEAST {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                false
            }
            Err(Errno::ENOSPC | Errno::EDQUOT) => {
                // What an earlier process took is there still, and nobody knows how much that was.
                if self.taken_to < length + LEAST {
                    match take(LEAST)? {
                        Ok(()) => self.taken_to = length + LEAST,
                        Err(Errno::ENOSPC | Errno::EDQUOT) => {
                            return Err(io::ErrorKind::StorageFull.into());
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                true
            }
            Err(error) => return Err(error.into()),
        };
        if full && !self.full {
            tracing::warn!(
                "the disk of the data directory is full; the store lives on its reserve"
            );
        }
        self.full = full;
        Ok(())
    }
}

fn signed(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    use super::*;

    /// What comes of it on a disk of so many bytes.
    fn on_a_disk_of(bytes: u64) -> io::Result<()> {
        let at = tempfile::tempdir().unwrap();
        let (tmpfs, size) = (Some("tmpfs"), format!("size={bytes}"));
        mount(tmpfs, at.path(), tmpfs, MsFlags::empty(), Some(&*size)).unwrap();
        let mut space = Space::new(File::create(at.path().join("db")).unwrap());
        let prepared = space.prepare();
        drop(space);
        umount2(at.path(), MntFlags::MNT_DETACH).unwrap();
        prepared
    }

    #[test]
    fn less_than_the_whole_reserve_is_enough_for_a_commit() {
        if !nix::unistd::geteuid().is_root() {
            crate::skip::not_tried("mounting a small file system needs root");
            return;
        }
        on_a_disk_of(2 * AHEAD).unwrap();
        on_a_disk_of(LEAST + LEAST / 2).unwrap();
        let full = on_a_disk_of(LEAST / 2).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }
}
