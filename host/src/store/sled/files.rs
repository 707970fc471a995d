//! The store's directory: one process has it at a time, and what is in it is on the disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::{Error, Result};

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

    /// Put what opening made on the disk: the files, and the directories' entries of them.
    pub fn sync_directory(&self) -> Result<()> {
        let sync = || -> io::Result<()> {
            for entry in fs::read_dir(&self.directory)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(&self.directory)?.sync_all()?;
            match self.directory.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
                Some(_) | None => Ok(()),
            }
        };
        sync().map_err(|error| self.problem("cannot be synced", error))
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
    match file.try_lock() {
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
