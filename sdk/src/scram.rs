//! What SCRAM-SHA-256 (RFC 5802, RFC 7677) makes of a password, for engines whose servers keep that instead of the password
//! or ask for it at a login.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::Result;
use crate::hashing::pbkdf2_hmac_sha256;

/// `HMAC` of the RFC, and `H`: 32 bytes.
pub type Key = [u8; 32];

/// `SaltedPassword` of the RFC: it is as good as the password.
pub struct Salted(Key);

impl Salted {
    /// The password is prepared as servers and clients do (RFC 4013); what cannot be prepared is taken as it is. `rounds`
    /// is what makes guessing slow: the RFC wants 4096 at least. Errors are those of [`pbkdf2_hmac_sha256`].
    pub fn of(password: &str, salt: &[u8], rounds: u32) -> Result<Self> {
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        pbkdf2_hmac_sha256(prepared.as_bytes(), salt, rounds).map(Self)
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
