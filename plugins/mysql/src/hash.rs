//! What a server keeps in place of a password, and what a client answers in place of one. With the former no statement
//! holds a password, so that no log, list of sessions or statistics of the server can show one.
//!
//! `caching_sha2_password` keeps `$A$005$`, a salt of 20 characters and the SHA-256 variant of Drepper's "Unix crypt
//! using SHA-256 and SHA-512" in 5000 rounds, without that specification's limit of 16 on the salt.
//! `mysql_native_password` keeps a doubled SHA-1.

use berth_sdk::{Error, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// How users are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    CachingSha2,
    Native,
    /// Nobody is made so here. The server asks strangers for it, to tell nobody who is one.
    Sha256,
}

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SALT: usize = 20;
/// The rounds in thousands, in three hexadecimal digits.
const ROUNDS: (usize, &str) = (5000, "005");

impl Plugin {
    pub const fn name(self) -> &'static str {
        match self {
            Self::CachingSha2 => "caching_sha2_password",
            Self::Native => "mysql_native_password",
            Self::Sha256 => "sha256_password",
        }
    }

    /// What the server stores, for `IDENTIFIED WITH … AS`. Needs no quoting but quotes.
    pub fn stored(self, password: &str) -> Result<String> {
        match self {
            Self::CachingSha2 => Ok(format!("$A${}${}", ROUNDS.1, salted(password, "")?)),
            Self::Sha256 => Ok(format!("$5${}", salted(password, "$")?)),
            Self::Native => {
                let hash = Sha1::digest(Sha1::digest(password.as_bytes()));
                let hex: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
                Ok(format!("*{hex}"))
            }
        }
    }

    /// A client's answer to the server's challenge. An empty password has an empty one.
    pub fn answer(self, password: &str, challenge: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        match self {
            Self::CachingSha2 => {
                let once = Sha256::digest(password.as_bytes());
                let mask = Sha256::new()
                    .chain_update(Sha256::digest(once))
                    .chain_update(challenge)
                    .finalize();
                xor(&once, &mask)
            }
            Self::Native => {
                let once = Sha1::digest(password.as_bytes());
                let mask = Sha1::new()
                    .chain_update(challenge)
                    .chain_update(Sha1::digest(once))
                    .finalize();
                xor(&once, &mask)
            }
            // As it is: the server is reached by its socket.
            Self::Sha256 => [password.as_bytes(), &[0]].concat(),
        }
    }
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// A salt and the hash with it.
fn salted(password: &str, between: &str) -> Result<String> {
    let mut random = [0; SALT];
    getrandom::fill(&mut random)
        .map_err(|_| Error::failed("there are no random numbers to be had"))?;
    let salt = random.map(|byte| ALPHABET[usize::from(byte % 64)]);
    let hash = crypt(password.as_bytes(), &salt);
    Ok(format!("{}{between}{hash}", String::from_utf8_lossy(&salt)))
}

fn crypt(password: &[u8], salt: &[u8]) -> String {
    let both = Sha256::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(password)
        .finalize();
    let mut first = Sha256::new()
        .chain_update(password)
        .chain_update(salt)
        .chain_update(repeated(&both, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            first.update(both);
        } else {
            first.update(password);
        }
        bits >>= 1;
    }
    let mut hash = first.finalize();

    let mut of_password = Sha256::new();
    for _ in 0..password.len() {
        of_password.update(password);
    }
    let p = repeated(&of_password.finalize(), password.len());
    let mut of_salt = Sha256::new();
    for _ in 0..16 + usize::from(hash[0]) {
        of_salt.update(salt);
    }
    let s = repeated(&of_salt.finalize(), salt.len());

    for round in 0..ROUNDS.0 {
        let mut next = Sha256::new();
        let odd = round % 2 == 1;
        next.update(if odd { &p[..] } else { &hash[..] });
        if round % 3 != 0 {
            next.update(&s);
        }
        if round % 7 != 0 {
            next.update(&p);
        }
        next.update(if odd { &hash[..] } else { &p[..] });
        hash = next.finalize();
    }
    in_alphabet(&hash)
}

fn repeated(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}

/// In groups of three bytes, in the order of the specification, each as four characters, the lowest bits first.
fn in_alphabet(hash: &[u8]) -> String {
    let mut text = String::new();
    let mut write = |mut group: u32, characters: usize| {
        for _ in 0..characters {
            text.push(char::from(ALPHABET[(group & 63) as usize]));
            group >>= 6;
        }
    };
    let (mut a, mut b, mut c) = (0, 10, 20);
    for _ in 0..10 {
        let group = u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]);
        write(group, 4);
        (a, b, c) = (c + 1, a + 1, b + 1);
    }
    write(u32::from(hash[31]) << 8 | u32::from(hash[30]), 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own example with the usual 5000 rounds.
    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(
            crypt(b"Hello world!", b"saltstring"),
            "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
        );
    }

    #[test]
    fn what_is_stored_has_the_servers_form_and_no_password() {
        let (one, two) = (
            Plugin::CachingSha2.stored("p'w").unwrap(),
            Plugin::CachingSha2.stored("p'w").unwrap(),
        );
        assert_eq!(one.len(), 70);
        assert!(one.starts_with("$A$005$") && one.is_ascii() && !one.contains('\''));
        assert_ne!(one, two);
        assert_eq!(
            Plugin::Native.stored("password").unwrap(),
            "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
        );
    }

    #[test]
    fn an_empty_password_has_no_answer() {
        assert!(Plugin::CachingSha2.answer("", b"12345678").is_empty());
        assert_eq!(Plugin::CachingSha2.answer("x", b"12345678").len(), 32);
        assert_eq!(Plugin::Native.answer("x", b"12345678").len(), 20);
    }
}
