//! The store's directory: one process has it at a time, and what is in it is on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::{Error, Result};

/// There while the disk may lack what can be read, because it failed.
const DOUBTFUL: &str = "doubtful";

/// A process that was just ended, or that is between its fork and its program, may hold the lock for a moment more.
const LOCK_WITHIN: Duration = Duration::from_millis(500);
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// Holds the directory's lock until it is dropped.
pub(super) struct Files {
    directory: PathBuf,
    _lock: File,
}

impl Files {
    /// Take the directory for this process; make it if it is not there.
    pub fn claim(directory: &Path) -> Result<Self> {
        let problem = |error: io::Error| {
            Error::failed(format!(
                "the store's directory {} cannot be used: {error}",
                directory.display()
            ))
            .caused_by(error)
        };
        match DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
        {
            Ok(()) => {}
            Err(error) => return Err(problem(error)),
        }
        let lock = lock(directory).map_err(|error| match error {
            Refusal::Held(by) => Error::failed(format!(
                "the store in {} is in use by another process ({by}): is Berth running already?",
                directory.display()
            )),
            Refusal::Io(error) => problem(error),
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file that holds the records, for syncing.
    pub fn open_data(&self) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.directory.join("db"))
            .map_err(|error| self.problem("cannot be opened", error))
    }

    /// Put what opening made on the disk: the files, and the directories' entries of them. sled makes its files as
    /// the umask says; they are nobody else's business.
    pub fn sync_directory(&self) -> Result<()> {
        let sync = || -> io::Result<()> {
            fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                let mode = if entry.file_type()?.is_dir() {
                    0o700
                } else {
                    0o600
                };
                let file = File::open(entry.path())?;
                file.set_permissions(fs::Permissions::from_mode(mode))?;
                file.sync_all()?;
            }
            File::open(&self.directory)?.sync_all()?;
            match self.directory.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
                Some(_) | None => Ok(()),
            }
        };
        sync().map_err(|error| self.problem("cannot be synced", error))
    }

    /// Leave a mark that the disk failed. A disk that does not even take that is asked for nothing more.
    pub fn mark_doubtful(&self) {
        if let Err(error) = File::create(self.directory.join(DOUBTFUL)) {
            tracing::debug!(%error, "the failure of the store could not be marked");
        }
    }

    /// After a failure, write everything again. What could not be written is still read back as if it were on the disk,
    /// for the system counts it as written; commits on top of it would be lost with it.
    pub fn settle(&self) -> Result<()> {
        let mark = self.directory.join(DOUBTFUL);
        let settle = || -> io::Result<()> {
            if !mark.exists() {
                return Ok(());
            }
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    write_again(&entry.path())?;
                }
            }
            fs::remove_file(&mark)
        };
        settle().map_err(|error| self.problem("cannot be written again after a failure", error))
    }

    /// A copy beside the directory, for looking at what opening would make of it.
    pub fn copy(&self) -> Result<Copy> {
        let mut path = self.directory.as_os_str().to_owned();
        path.push(".copy");
        let copy = Copy(path.into());
        let make = || -> io::Result<()> {
            copy.remove()?;
            DirBuilder::new().mode(0o700).create(&copy.0)?;
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                if entry.file_type()?.is_file() {
                    fs::copy(entry.path(), copy.0.join(entry.file_name()))?;
                }
            }
            Ok(())
        };
        make().map_err(|error| self.problem("cannot be copied for a look", error))?;
        Ok(copy)
    }

    pub fn problem(&self, what: &str, error: io::Error) -> Error {
        Error::failed(format!(
            "the store in {} {what}: {error}",
            self.directory.display()
        ))
        .caused_by(error)
    }

    /// sled takes a snapshot that it was killed while writing for a damaged store. What is
    /// in it is in the log as well.
    pub fn remove_half_snapshots(&self) -> Result<()> {
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with("snap.") && name.ends_with(".generating") {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        remove().map_err(|error| self.problem("cannot be read", error))
    }
}

/// Gone when it is dropped.
pub(super) struct Copy(PathBuf);

impl Copy {
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "the copy {} cannot be removed", self.0.display());
        }
    }
}

/// Sector by sector what is there already: dying in between harms nothing.
fn write_again(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return file.sync_all();
        }
        file.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
}

enum Refusal {
    /// By whom, as far as they said.
    Held(String),
    Io(io::Error),
}

/// Our own lock, before sled's: sled changes files before it takes its own. It stands beside the directory, in
/// which nothing is changed before it is known to be a store.
fn lock(directory: &Path) -> Result<File, Refusal> {
    let mut name = directory.as_os_str().to_owned();
    name.push(".lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(name)
        .map_err(Refusal::Io)?;
    let begun = Instant::now();
    let taken = loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_WITHIN => {
                std::thread::sleep(LOCK_AGAIN);
            }
            taken => break taken,
        }
    };
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let known = file.read_to_string(&mut owner).is_ok() && !owner.trim().is_empty();
            return Err(Refusal::Held(if known {
                format!("process {}", owner.trim())
            } else {
                "unknown".to_owned()
            }));
        }
        Err(TryLockError::Error(error)) => return Err(Refusal::Io(error)),
    }
    let mut write = || -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write().map_err(Refusal::Io)?;
    Ok(file)
}
