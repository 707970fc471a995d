//! The directory that holds everything of a host. Made when it is absent, checked when it is not: what would
//! break a database later is refused here, in words that say what to do.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

use crate::model::{Error, Result};

/// A unix socket's path may have 107 bytes; below the data directory comes `/run/`, 12 digits, `/`, and
/// a server's own name for its socket.
const LONGEST_PATH: usize = 107 - "/run/".len() - 12 - "/".len() - 24;

/// Held by this host alone for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl DataDir {
    pub fn open(asked: &Path) -> Result<Self> {
        let root = geteuid().is_root();
        make(asked, root)?;
        let path =
            fs::canonicalize(asked).map_err(|error| trouble(asked, "cannot be used", error))?;
        check_length(&path)?;
        check_owner(&path)?;
        if root {
            open_the_way(&path)?;
        }
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// As root, instances have users of their own, who must pass through it to their own directories.
fn mode(root: bool) -> u32 {
    if root { 0o711 } else { 0o700 }
}

fn make(path: &Path, root: bool) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode(root));
    builder
        .create(path)
        .map_err(|error| trouble(path, "cannot be made", error))
}

fn check_length(path: &Path) -> Result<()> {
    let length = path.as_os_str().len();
    if length <= LONGEST_PATH {
        return Ok(());
    }
    Err(Error::failed(format!(
        "the data directory {} has too long a path ({length} bytes): sockets of databases live below it, and \
         the system allows them 107 bytes in all. Choose one of at most {LONGEST_PATH} bytes",
        path.display()
    )))
}

fn check_owner(path: &Path) -> Result<()> {
    let meta = fs::metadata(path).map_err(|error| trouble(path, "cannot be read", error))?;
    if meta.uid() != geteuid().as_raw() {
        return Err(Error::failed(format!(
            "the data directory {} belongs to user {}, and berth runs as {}: start it as its owner",
            path.display(),
            meta.uid(),
            geteuid()
        )));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(Error::failed(format!(
            "the data directory {0} can be written by others. Run: chmod go-w {0}",
            path.display()
        )));
    }
    Ok(())
}

/// Everybody must be able to pass through to what lies below. Our own directory is opened that far; what is above
/// is not ours to change.
fn open_the_way(path: &Path) -> Result<()> {
    for dir in path.ancestors() {
        let meta = fs::metadata(dir).map_err(|error| trouble(dir, "cannot be read", error))?;
        let passable = meta.mode() & 0o001 != 0;
        if passable {
            continue;
        }
        if dir == path {
            let opened = fs::Permissions::from_mode((meta.mode() & 0o7777) | 0o011);
            fs::set_permissions(dir, opened)
                .map_err(|error| trouble(dir, "cannot be made passable", error))?;
            continue;
        }
        return Err(Error::failed(format!(
            "the data directory {} lies below {1}, which other users cannot pass through (mode {2:04o}), and \
             each database runs as a user of its own. Choose another data directory, or run: chmod o+x {1}",
            path.display(),
            dir.display(),
            meta.mode() & 0o7777
        )));
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<Flock<File>> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| trouble(&path, "cannot be opened", error))?;
    let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((file, Errno::EWOULDBLOCK)) => return Err(taken(dir, file)),
        Err((_, error)) => return Err(trouble(&path, "cannot be locked", error.into())),
    };
    // Only for whoever finds it taken. The lock itself is what counts, so a full disk does not matter.
    let noted = lock
        .set_len(0)
        .and_then(|()| write!(lock, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "the lock file does not say who holds it");
    }
    Ok(lock)
}

fn taken(dir: &Path, mut file: File) -> Error {
    let mut text = String::new();
    let holder = match file.read_to_string(&mut text) {
        Ok(_) if text.trim().parse::<u32>().is_ok() => format!(" (process {})", text.trim()),
        Ok(_) | Err(_) => String::new(),
    };
    Error::failed(format!(
        "another berth{holder} uses the data directory {}: end it first, or choose another directory",
        dir.display()
    ))
}

fn trouble(path: &Path, what: &str, error: std::io::Error) -> Error {
    Error::failed(format!("{} {what}: {error}", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passable_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        dir
    }

    #[test]
    fn it_is_made_and_held_by_one() {
        let above = passable_dir();
        let path = above.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let expected = mode(geteuid().is_root());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, expected);
        let refused = DataDir::open(&path).unwrap_err();
        let holder = format!("another berth (process {})", std::process::id());
        assert!(refused.public().starts_with(&holder), "{refused}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_path_too_long_for_sockets_is_refused() {
        let above = passable_dir();
        let refused = DataDir::open(&above.path().join("x".repeat(80))).unwrap_err();
        assert!(refused.public().contains("too long a path"), "{refused}");
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let above = passable_dir();
        fs::set_permissions(above.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = DataDir::open(above.path()).unwrap_err();
        assert!(refused.public().contains("chmod go-w"), "{refused}");
    }

    #[test]
    fn as_root_the_way_must_be_open_to_all() {
        if !geteuid().is_root() {
            return;
        }
        let above = tempfile::tempdir().unwrap();
        fs::set_permissions(above.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let refused = DataDir::open(&above.path().join("data")).unwrap_err();
        let fix = format!("chmod o+x {}", above.path().display());
        assert!(refused.public().ends_with(&fix), "{refused}");
        // Our own directory is mended without asking.
        DataDir::open(above.path()).unwrap();
        assert_eq!(fs::metadata(above.path()).unwrap().mode() & 0o777, 0o711);
    }
}
