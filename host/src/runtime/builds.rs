//! The builds that are kept: every component that was ever taken, by the digest of its bytes. Instances and
//! operations name digests, so a build stays when its file leaves the plugins folder.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::model::Digest;

use super::manifest::{Manifest, ManifestError};

/// Larger files are not components that anybody meant to install.
const LARGEST: u64 = 256 << 20;
/// What files are called by until they are whole.
const UNFINISHED: &str = "tmp";

/// See the module's text.
#[derive(Debug)]
pub struct Builds {
    dir: PathBuf,
    /// Programs of the builds that were asked about.
    programs: Mutex<HashMap<Digest, Arc<[String]>>>,
}

/// Why a build cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("it is not a file")]
    NotAFile,
    #[error("its kept copy is damaged")]
    Damaged,
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Builds {
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            programs: Mutex::default(),
        }
    }

    /// Read a component's file, bounded.
    pub fn read_file(path: &Path) -> Result<Vec<u8>, BuildError> {
        // Looked at before it is opened: opening a pipe would wait for its writer.
        if !fs::metadata(path)?.is_file() {
            return Err(BuildError::NotAFile);
        }
        Self::read_open(&fs::File::open(path)?)
    }

    /// The same of a file that was opened.
    pub fn read_open(file: &fs::File) -> Result<Vec<u8>, BuildError> {
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST {
            return Err(BuildError::TooLarge);
        }
        Ok(bytes)
    }

    pub fn digest_of(bytes: &[u8]) -> Digest {
        use std::fmt::Write;
        let mut hex = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // Writing to a string cannot fail.
            let _written = write!(hex, "{byte:02x}");
        }
        Digest::from_hex(hex)
    }

    /// Keep a copy. One that is there already, and sound, is left alone.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest).ok_or(io::ErrorKind::InvalidInput)?;
        if fs::read(&path).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        write_whole(&path, &[bytes])
    }

    pub fn is_kept(&self, digest: &Digest) -> bool {
        self.path(digest).is_some_and(|path| path.is_file())
    }

    /// The bytes of a kept build, checked against its digest.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, BuildError> {
        let path = self
            .path(digest)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let bytes = Self::read_file(&path)?;
        if Self::digest_of(&bytes) != *digest {
            return Err(BuildError::Damaged);
        }
        Ok(bytes)
    }

    /// Remove every file of builds that are not to be kept, compiled code among them. Answers which builds went.
    pub fn sweep(&self, keep: impl Fn(&Digest) -> bool) -> io::Result<BTreeSet<Digest>> {
        let mut gone = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let hex = name.split('.').next().unwrap_or_default();
            if !is_digest(hex) {
                continue;
            }
            let digest = Digest::from_hex(hex);
            if keep(&digest) {
                continue;
            }
            if let Err(cause) = fs::remove_file(&path) {
                tracing::warn!(file = %path.display(), %cause, "a build that nothing needs cannot be removed");
                continue;
            }
            self.known().remove(&digest);
            gone.insert(digest);
        }
        Ok(gone)
    }

    /// Remove what a host that died was writing. Only before this one writes anything.
    pub fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == UNFINISHED)
            {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Which programs an engine's build may run. Needs no compiled code, so that instances can be looked after
    /// while their engine compiles; none when the build is lost, so that they can still be removed.
    pub async fn programs_of(self: &Arc<Self>, digest: &Digest) -> Arc<[String]> {
        if let Some(programs) = self.known().get(digest) {
            return Arc::clone(programs);
        }
        let (builds, wanted) = (Arc::clone(self), digest.clone());
        let found = tokio::task::spawn_blocking(move || {
            let bytes = builds.read(&wanted)?;
            Ok::<_, BuildError>(Manifest::of_component(&bytes)?)
        })
        .await;
        match found {
            Ok(Ok(manifest)) => self.learn(digest, &manifest),
            Ok(Err(e)) => {
                tracing::warn!(build = digest.short(), cause = %e, "the manifest of a build that an instance names cannot be had: it may run nothing");
                Arc::default()
            }
            Err(e) => {
                tracing::warn!(build = digest.short(), cause = %e, "reading a manifest was interrupted");
                Arc::default()
            }
        }
    }

    /// Remember the programs of a build whose manifest was just read.
    pub(super) fn learn(&self, digest: &Digest, manifest: &Manifest) -> Arc<[String]> {
        let programs: Arc<[String]> = manifest.programs().map(str::to_owned).collect();
        self.known().insert(digest.clone(), Arc::clone(&programs));
        programs
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Arc<[String]>>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None unless the digest is one: it becomes a file's name.
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        let hex = digest.as_str();
        is_digest(hex).then(|| self.dir.join(format!("{hex}.wasm")))
    }
}

fn is_digest(hex: &str) -> bool {
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Write a file so that it is complete or absent, readable by the host only.
pub(super) fn write_whole(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let unfinished = path.with_extension(format!("{}.{UNFINISHED}", uuid::Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&unfinished, path)
    })();
    if let Err(e) = written {
        // Best effort: it was never taken for the file itself.
        let _still_there = fs::remove_file(&unfinished);
        return Err(e);
    }
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_kept_by_its_digest_and_checked_when_read() {
        let dir = tempfile::tempdir().unwrap();
        let builds = Builds::new(dir.path().to_owned());
        let digest = Builds::digest_of(b"abc");
        assert_eq!(
            digest.as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(!builds.is_kept(&digest));
        builds.keep(&digest, b"abc").unwrap();
        assert_eq!(builds.read(&digest).unwrap(), b"abc");

        let path = dir.path().join(format!("{digest}.wasm"));
        fs::write(&path, b"abd").unwrap();
        assert!(matches!(builds.read(&digest), Err(BuildError::Damaged)));
        builds.keep(&digest, b"abc").unwrap();
        assert_eq!(builds.read(&digest).unwrap(), b"abc");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_sweep_takes_all_of_a_build_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let builds = Builds::new(dir.path().to_owned());
        let (kept, lost) = (Builds::digest_of(b"kept"), Builds::digest_of(b"lost"));
        for digest in [&kept, &lost] {
            for extension in ["wasm", "0123.cwasm"] {
                fs::write(dir.path().join(format!("{digest}.{extension}")), b"").unwrap();
            }
        }
        fs::write(dir.path().join("live.json"), b"{}").unwrap();
        let gone = builds.sweep(|digest| *digest == kept).unwrap();
        assert_eq!(gone, BTreeSet::from([lost]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert!(builds.is_kept(&kept));
    }

    #[test]
    fn what_a_dead_host_was_writing_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let builds = Builds::new(dir.path().to_owned());
        let digest = Builds::digest_of(b"abc");
        builds.keep(&digest, b"abc").unwrap();
        fs::write(dir.path().join(format!("{digest}.0123.tmp")), b"ab").unwrap();
        builds.remove_unfinished().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(builds.read(&digest).unwrap(), b"abc");
    }

    #[test]
    fn a_digest_is_no_path() {
        let dir = tempfile::tempdir().unwrap();
        let builds = Builds::new(dir.path().join("plugins"));
        fs::write(dir.path().join("x.wasm"), b"abc").unwrap();
        let digest = Digest::from_hex("../x");
        assert!(!builds.is_kept(&digest));
        assert!(builds.read(&digest).is_err());
        assert!(builds.keep(&digest, b"abc").is_err());
    }
}
