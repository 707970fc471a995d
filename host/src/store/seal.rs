//! Seals what must not be readable in the store, and hashes what must only be recognised.
//!
//! A sealed value is key id, nonce, ciphertext, with the record's key as associated data: it opens in its own
//! place only. The key lives in a file of its own, mode 0600; a missing one is never replaced silently,
//! for everything sealed with it would be lost. Never logs or shows a key or a plain text.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::model::{Error, Kind, Result, Secret};

const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const FILE_PREFIX: &str = "berth-seal-1:";

/// Which key sealed a value. Tells nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealKeyId([u8; ID_BYTES]);

#[derive(Clone)]
pub struct Sealer(Arc<Inner>);

struct Inner {
    id: SealKeyId,
    cipher: XChaCha20Poly1305,
    mac_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Sealer {
    /// A key that is kept nowhere: for stores that do not outlive the process either.
    pub fn ephemeral() -> Self {
        Self::new(&random_key())
    }

    /// The key in the file, or none when there is no file.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path, "cannot be read").caused_by(error)),
        };
        let problem = |what: &str| unusable(path, what);
        let metadata = file
            .metadata()
            .map_err(|error| problem("cannot be read").caused_by(error))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(problem(&format!(
                "may be read by others; run: chmod 600 {}",
                path.display()
            )));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text)
            .map_err(|error| problem("cannot be read").caused_by(error))?;
        let key = parse(&text).ok_or_else(|| problem("is damaged"))?;
        Ok(Some(Self::new(&key)))
    }

    /// Make a key and its file. It is whole on the disk before this returns, and one that
    /// exists already is an error.
    pub fn create(path: &Path) -> Result<Self> {
        let key = random_key();
        write_new(path, &key).map_err(|error| unusable(path, "cannot be made").caused_by(error))?;
        Ok(Self::new(&key))
    }

    /// Of the text of a key file, if it is one.
    pub fn from_text(text: &Secret) -> Option<Self> {
        let key = parse(text.expose())?;
        Some(Self::new(&key))
    }

    /// Make the file of a key that was kept elsewhere. One that exists already is an error.
    pub fn restore(path: &Path, text: &Secret) -> Result<Self> {
        let key = parse(text.expose()).ok_or_else(|| unusable(path, "is damaged"))?;
        write_new(path, &key).map_err(|error| unusable(path, "cannot be made").caused_by(error))?;
        Ok(Self::new(&key))
    }

    pub fn key_id(&self) -> SealKeyId {
        self.0.id
    }

    /// Seal `plain` for the record `place`.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: plain,
            aad: place.as_bytes(),
        };
        let sealed = self
            .0
            .cipher
            .encrypt(XNonce::from_slice(&nonce), payload)
            .map_err(|_| Error::internal(format!("{place} could not be sealed")))?;
        let mut out = Vec::with_capacity(ID_BYTES + NONCE_BYTES + sealed.len());
        out.extend_from_slice(&self.0.id.0);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// The plain text of what was sealed for the record `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
        let damaged = || {
            Error::new(
                Kind::Internal,
                format!("the sealed record {place} is damaged"),
            )
        };
        let (id, rest) = sealed.split_at_checked(ID_BYTES).ok_or_else(damaged)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or_else(damaged)?;
        if id != self.0.id.0 {
            return Err(Error::new(
                Kind::Internal,
                format!(
                    "the record {place} was sealed with another key than {:?}",
                    self.0.id
                ),
            ));
        }
        let payload = Payload {
            msg: ciphertext,
            aad: place.as_bytes(),
        };
        self.0
            .cipher
            .decrypt(XNonce::from_slice(nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| damaged())
    }

    /// A keyed hash, for secrets that must only be recognised. Fast on purpose: they are random.
    pub fn mac(&self, secret: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.0.mac_key, secret.as_bytes()).as_bytes()
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&blake3::derive_key("berth seal key id v1", key)[..ID_BYTES]);
        Self(Arc::new(Inner {
            id: SealKeyId(id),
            cipher: XChaCha20Poly1305::new(Key::from_slice(key)),
            mac_key: Zeroizing::new(blake3::derive_key("berth secret index v1", key)),
        }))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?})", self.0.id)
    }
}

impl fmt::Display for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SealKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn random_key() -> Zeroizing<[u8; KEY_BYTES]> {
    Zeroizing::new(rand::random())
}

fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let hex = text.trim_end().strip_prefix(FILE_PREFIX)?;
    if hex.len() != 2 * KEY_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (i, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(key)
}

/// Write a temporary file, sync it, and link it to its name: the name never shows half a key, and never
/// replaces one.
fn write_new(path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{:016x}", rand::random::<u64>()));
    let temporary = Path::new(&temporary);

    let mut text = Zeroizing::new(String::with_capacity(FILE_PREFIX.len() + 2 * KEY_BYTES + 1));
    text.push_str(FILE_PREFIX);
    for byte in key {
        // Two pushes instead of `format!`, which would leave copies of the key on the heap.
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');

    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(temporary, path)
    })();
    let removed = fs::remove_file(temporary);
    written.and(removed)?;
    File::open(directory)?.sync_all()
}

fn unusable(path: &Path, what: &str) -> Error {
    Error::failed(format!("the seal key {} {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let sealer = Sealer::ephemeral();
        let sealed = sealer.seal("a/1", b"hidden").unwrap();
        assert_eq!(*sealer.open("a/1", &sealed).unwrap(), b"hidden");
        assert!(!sealed.windows(6).any(|part| part == b"hidden"));
        assert_ne!(sealer.seal("a/1", b"hidden").unwrap(), sealed);
        assert!(sealer.open("a/2", &sealed).is_err());
        assert!(Sealer::ephemeral().open("a/1", &sealed).is_err());
        for i in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[i] ^= 1;
            assert!(sealer.open("a/1", &damaged).is_err());
            assert!(sealer.open("a/1", &sealed[..i]).is_err());
        }
    }

    #[test]
    fn a_key_file_is_private_whole_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        assert!(Sealer::load(&path).unwrap().is_none());
        let made = Sealer::create(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let loaded = Sealer::load(&path).unwrap().unwrap();
        assert!(loaded.key_id() == made.key_id());
        assert_eq!(loaded.mac("secret"), made.mac("secret"));
        let sealed = made.seal("a", b"b").unwrap();
        assert_eq!(*loaded.open("a", &sealed).unwrap(), b"b");

        assert!(Sealer::create(&path).is_err());
        let again = Sealer::load(&path).unwrap().unwrap();
        assert!(again.key_id() == made.key_id());
        // No temporary file is left of either attempt.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_is_damaged_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("seal.key");
        Sealer::create(&path).unwrap();
        let key = fs::read_to_string(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Sealer::load(&path).unwrap_err();
        assert!(refused.public().contains("chmod 600"), "{refused:?}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "berth-seal-1:", &key[..key.len() - 2], &key[1..]] {
            fs::write(&path, text).unwrap();
            let refused = Sealer::load(&path).unwrap_err();
            assert!(refused.public().contains("damaged"), "{refused:?}");
        }
        let shown = format!("{:?}", Sealer::ephemeral());
        assert!(shown.len() < 30, "{shown}");
    }
}
