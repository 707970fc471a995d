//! Compiled code, kept so that a start needs no compiler.
//!
//! Compiled code is native code: whoever can put a file there runs what he likes in the host. So a file counts
//! only with a MAC over it, its build and the engine's settings, under a key that only the host can read.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::model::Digest;

use super::builds::write_whole;

const MAC_BYTES: usize = 32;

/// See the module's text.
pub(super) struct CompiledCode {
    dir: PathBuf,
    key: [u8; 32],
    /// Code made by another version of the compiler, or with other settings, has another name.
    settings: String,
}

/// Where a build's code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was compiled for this.
    Compiled,
    /// From a file that an earlier compilation left.
    Kept,
    /// The build was loaded already.
    Memory,
}

impl CompiledCode {
    /// Keep code in a directory under the key in a file, which is made when it is not there.
    pub fn open(dir: PathBuf, key_file: &Path, engine: &Engine) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            dir,
            key: key(key_file)?,
            settings: format!("{:016x}", hasher.finish()),
        })
    }

    /// The build's code: the kept one if it is sound, otherwise compiled now and kept. Takes seconds then. Also
    /// says which it was.
    pub fn load(
        &self,
        engine: &Engine,
        digest: &Digest,
        wasm: &[u8],
    ) -> wasmtime::Result<(Component, Source)> {
        let path = self.path(digest);
        match self.read(&path, digest) {
            Ok(Some(code)) => match deserialize(engine, &code) {
                Ok(component) => return Ok((component, Source::Kept)),
                Err(e) => {
                    tracing::warn!(build = digest.short(), cause = %e, "kept code does not fit; compiling again");
                }
            },
            Ok(None) => {}
            Err(e) => {
                tracing::warn!(build = digest.short(), cause = %e, "kept code cannot be used; compiling again");
            }
        }
        let code = engine.precompile_component(wasm)?;
        let component = deserialize(engine, &code)?;
        let mac = self.mac(digest, &code);
        match write_whole(&path, &[mac.as_bytes(), &code]) {
            Ok(()) => self.forget_others(digest, &path),
            Err(e) => {
                tracing::warn!(build = digest.short(), cause = %e, "compiled code could not be kept");
            }
        }
        Ok((component, Source::Compiled))
    }

    /// The authenticated code; none when there is none.
    fn read(&self, path: &Path, digest: &Digest) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = match fs::read(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let wrong = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "its authentication code is wrong",
            )
        };
        let mac: [u8; MAC_BYTES] = bytes.first_chunk().copied().ok_or_else(wrong)?;
        bytes.drain(..MAC_BYTES);
        // Compared in constant time.
        if self.mac(digest, &bytes) != blake3::Hash::from_bytes(mac) {
            return Err(wrong());
        }
        Ok(Some(bytes))
    }

    fn mac(&self, digest: &Digest, code: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [digest.as_str().as_bytes(), self.settings.as_bytes(), code] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(format!("{digest}.{}.cwasm", self.settings))
    }

    /// Remove code of the same build that was made with other settings.
    fn forget_others(&self, digest: &Digest, current: &Path) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(digest.as_str()) && name.ends_with(".cwasm") && path != current {
                // Best effort: it only takes room.
                let _still_there = fs::remove_file(&path);
            }
        }
    }
}

/// Code that this process compiled, or that carried its MAC.
#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime asks that the bytes come from its own compiler unaltered. The two callers have them from
    // the compiler, or from a file whose MAC under the host's own key was just checked, in memory that nobody
    // else can write. Bytes made by another version or with other settings wasmtime refuses itself.
    unsafe { Component::deserialize(engine, code) }
}

/// The key in a file, made when it is not there. One that others could read, or of the wrong length, is replaced:
/// all that is lost is compiled code.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    match fs::read(path) {
        Ok(bytes) => {
            let private = fs::metadata(path)?.permissions().mode() & 0o077 == 0;
            if let (Ok(key), true) = (bytes.try_into(), private) {
                return Ok(key);
            }
            tracing::warn!(
                "the key of the compiled code was damaged or readable by others; making a new one"
            );
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let key: [u8; 32] = rand::random();
    write_whole(path, &[&key])?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kept {
        dir: tempfile::TempDir,
        engine: Engine,
        wasm: Vec<u8>,
        digest: Digest,
    }

    impl Kept {
        fn new() -> Self {
            let wasm = b"\0asm\x0d\0\x01\0".to_vec();
            Self {
                dir: tempfile::tempdir().unwrap(),
                engine: Engine::default(),
                digest: super::super::builds::Builds::digest_of(&wasm),
                wasm,
            }
        }

        fn open(&self) -> CompiledCode {
            let dir = self.dir.path();
            CompiledCode::open(dir.to_owned(), &dir.join("key"), &self.engine).unwrap()
        }

        fn read(&self) -> io::Result<Option<Vec<u8>>> {
            let code = self.open();
            code.read(&code.path(&self.digest), &self.digest)
        }

        fn load(&self) {
            self.open()
                .load(&self.engine, &self.digest, &self.wasm)
                .unwrap();
        }
    }

    #[test]
    fn code_is_kept_and_found_again_by_another_start() {
        let kept = Kept::new();
        assert!(kept.read().unwrap().is_none());
        kept.load();
        assert!(kept.read().unwrap().is_some());
        kept.load();
    }

    #[test]
    fn altered_code_is_never_used() {
        let kept = Kept::new();
        kept.load();
        let path = kept.open().path(&kept.digest);
        let sound = fs::read(&path).unwrap();
        for at in [0, MAC_BYTES, sound.len() / 2, sound.len() - 1] {
            let mut altered = sound.clone();
            altered[at] ^= 1;
            fs::write(&path, altered).unwrap();
            assert!(kept.read().is_err(), "byte {at}");
        }
        for half in [&sound[..10], &sound[..sound.len() / 2], &[][..]] {
            fs::write(&path, half).unwrap();
            assert!(kept.read().is_err(), "{} bytes", half.len());
        }
        kept.load();
        assert_eq!(
            fs::read(&path).unwrap().len(),
            sound.len(),
            "compiled again"
        );
    }

    #[test]
    fn code_of_another_build_or_under_another_key_is_never_used() {
        let kept = Kept::new();
        kept.load();
        let code = kept.open();
        let other = Digest::from_hex("b".repeat(64));
        fs::copy(code.path(&kept.digest), code.path(&other)).unwrap();
        assert!(code.read(&code.path(&other), &other).is_err());

        fs::remove_file(kept.dir.path().join("key")).unwrap();
        assert!(kept.read().is_err());
    }

    #[test]
    fn a_key_that_others_could_read_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = key(&path).unwrap();
        assert_eq!(key(&path).unwrap(), first);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_ne!(key(&path).unwrap(), first);
    }
}
