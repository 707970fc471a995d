//! Hashes that are slow on purpose, as passwords want them: the host computes them, at several times the sandbox's speed.

use crate::{Error, Result};

/// PBKDF2 with HMAC-SHA-256 (RFC 8018, 5.2), 32 bytes of it. `password` and `salt` have at most 1 KiB, and `rounds` is 1 to
/// 1 000 000: [`Error::Failed`] otherwise. A million take the host a tenth of a second, or one where its processor has no
/// instructions for it, and count as time of the call.
///
/// Natively, in unit tests, it is computed in place.
pub fn pbkdf2_hmac_sha256(password: &[u8], salt: &[u8], rounds: u32) -> Result<[u8; 32]> {
    #[cfg(target_family = "wasm")]
    {
        use crate::bindings::engine::berth::plugin::hashing;

        let derived = hashing::pbkdf2_hmac_sha256(password, salt, rounds)?;
        let derived: Result<[u8; 32], _> = derived.try_into();
        derived.map_err(|_| Error::failed("the host derived another number of bytes than 32"))
    }
    #[cfg(not(target_family = "wasm"))]
    {
        let bounded = password.len() <= 1024 && salt.len() <= 1024;
        if !bounded || !(1..=1_000_000).contains(&rounds) {
            return Err(Error::failed(
                "a password or salt of more than 1 KiB, or not 1 to 1 000 000 rounds",
            ));
        }
        Ok(pbkdf2::pbkdf2_hmac_array::<pbkdf2::sha2::Sha256, 32>(
            password, salt, rounds,
        ))
    }
}
