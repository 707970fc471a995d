//! What SCRAM-SHA-256 (RFC 5802, RFC 7677) makes of a password, for engines whose servers keep that instead of the password
//! or ask for it at a login.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::hashing::pbkdf2_hmac_sha256;

/// `HMAC` of the RFC, and `H`: 32 bytes.
pub type Key = [u8; 32];

/// Bytes that SHA-256 takes at a time.
const BLOCK: usize = 64;

/// `SaltedPassword` of the RFC: it is as good as the password.
pub struct Salted(Key);

impl Salted {
    /// The password is prepared as servers and clients do (RFC 4013); what cannot be prepared is taken as it is. `rounds`
    /// is what makes guessing slow: the RFC wants 4096 at least. Errors are those of [`pbkdf2_hmac_sha256`].
    pub fn of(password: &str, salt: &[u8], rounds: u32) -> Result<Self> {
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        // What HMAC makes of a key that is longer than its block, however long that is (RFC 2104, 2).
        let hashed: Key;
        let key = if prepared.len() > BLOCK {
            hashed = Sha256::digest(prepared.as_bytes()).into();
            &hashed
        } else {
            prepared.as_bytes()
        };
        pbkdf2_hmac_sha256(key, salt, rounds).map(Self)
    }

    /// `ClientKey`: who has it can log in.
    pub fn client_key(&self) -> Key {
        keyed(&self.0, b"Client Key")
    }

    /// `StoredKey`: what a server keeps to know the client by.
    pub fn stored_key(&self) -> Key {
        Sha256::digest(self.client_key()).into()
    }

    /// `ServerKey`: what a server keeps to be known by.
    pub fn server_key(&self) -> Key {
        keyed(&self.0, b"Server Key")
    }
}

/// HMAC-SHA-256 of a text: a signature of what was said in the exchange.
pub fn keyed(key: &Key, text: &[u8]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Preparing it makes six times as much of each of its characters.
    #[test]
    fn a_password_that_grows_is_none_too_long() {
        let long = format!("aA1!{}", "\u{3316}".repeat(100));
        let prepared = stringprep::saslprep(&long).unwrap();
        assert!(prepared.len() > 1024);
        let plain = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(prepared.as_bytes(), b"salt", 2);
        assert_eq!(Salted::of(&long, b"salt", 2).unwrap().0, plain);
    }
}
