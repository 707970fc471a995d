//! What the server keeps instead of a password, and what is sent instead of it: a verifier of SCRAM-SHA-256 (RFC 7677),
//! in the form of the server's own (manual 51.8).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_sdk::scram::Salted;
use berth_sdk::{Error, Result};

/// What the RFC asks for, and what the server does by itself: somebody may guess what a person chose.
const FOR_PEOPLE: u32 = 4096;

/// Nobody guesses what was drawn, so rounds protect nothing, and every login would wait for them.
const FOR_DRAWN: u32 = 1;

/// The beginning of every verifier of a password that was drawn.
pub const DRAWN: &str = "SCRAM-SHA-256$1:";

/// For a password that somebody may have chosen.
pub fn verifier(password: &str) -> Result<String> {
    salted(password, FOR_PEOPLE, &salt()?)
}

/// For a password of at least 128 random bits.
pub fn verifier_of_drawn(password: &str) -> Result<String> {
    salted(password, FOR_DRAWN, &salt()?)
}

fn salt() -> Result<[u8; 16]> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)
        .map_err(|e| Error::failed(format!("there are no random numbers: {e}")))?;
    Ok(salt)
}

fn salted(password: &str, rounds: u32, salt: &[u8]) -> Result<String> {
    let salted = Salted::of(password, salt, rounds)?;
    Ok(format!(
        "SCRAM-SHA-256${rounds}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(salted.stored_key()),
        STANDARD.encode(salted.server_key())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver's own is computed in the sandbox, and has rounds for people only.
    #[test]
    fn it_is_what_the_driver_would_make() {
        for password in ["correct horse", "p\u{e4}ss \u{2168}", "\u{7}"] {
            let theirs = postgres_protocol::password::scram_sha_256(password.as_bytes());
            let salt = theirs.split(['$', ':']).nth(2).unwrap();
            let ours = salted(password, FOR_PEOPLE, &STANDARD.decode(salt).unwrap());
            assert_eq!(ours.unwrap(), theirs);
        }
    }

    #[test]
    fn a_verifier_is_salted_anew_each_time() {
        let (one, two) = (verifier("p").unwrap(), verifier("p").unwrap());
        assert!(one.starts_with("SCRAM-SHA-256$4096:"));
        assert_ne!(one, two);
        let (one, two) = (verifier_of_drawn("p"), verifier_of_drawn("p"));
        assert!(one.as_ref().unwrap().starts_with(DRAWN));
        assert_ne!(one.unwrap(), two.unwrap());
    }
}
