//! Hashes that are slow on purpose, at the machine's speed instead of the sandbox's. Nothing of what they are made of is kept.

use berth_bindings::engine::berth::plugin::hashing::Host;
use berth_bindings::engine::berth::plugin::types::Error;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::task::yield_now;

const MOST_BYTES: usize = 1 << 10;
const MOST_ROUNDS: u32 = 1_000_000;
/// Others get to work after so many: they take a fraction of a millisecond, or two where the processor has no instructions for
/// it. Here a call that takes too long is ended, too.
const AT_ONCE: u32 = 4096;

/// It has nothing and remembers nothing.
#[derive(Debug, Default)]
pub struct Hashing;

impl Host for Hashing {
    async fn pbkdf2_hmac_sha256(
        &mut self,
        password: Vec<u8>,
        salt: Vec<u8>,
        rounds: u32,
    ) -> Result<Vec<u8>, Error> {
        let bounded = password.len() <= MOST_BYTES && salt.len() <= MOST_BYTES;
        if !bounded || !(1..=MOST_ROUNDS).contains(&rounds) {
            return Err(Error::Failed(format!(
                "a password or salt of more than {MOST_BYTES} bytes, or not 1 to {MOST_ROUNDS} rounds"
            )));
        }
        let derived = derive(&password, &salt, rounds).await;
        derived
            .map(Vec::from)
            .ok_or_else(|| Error::Failed("the password is no key".to_owned()))
    }
}

/// By hand, because what a library has of it cannot be interrupted.
async fn derive(password: &[u8], salt: &[u8], rounds: u32) -> Option<[u8; 32]> {
    // HMAC takes keys of any length.
    let keyed = Hmac::<Sha256>::new_from_slice(password).ok()?;
    let next = |bytes: &[u8]| -> [u8; 32] {
        keyed
            .clone()
            .chain_update(bytes)
            .finalize()
            .into_bytes()
            .into()
    };
    let first_block = 1_u32.to_be_bytes();
    let mut last = next(&[salt, &first_block].concat());
    let mut derived = last;
    for round in 1..rounds {
        if round % AT_ONCE == 0 {
            yield_now().await;
        }
        last = next(&last);
        for (all, one) in derived.iter_mut().zip(last) {
            *all ^= one;
        }
    }
    Some(derived)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The examples of RFC 7914, 11, their first halves.
    #[tokio::test]
    async fn it_is_what_the_rfc_says() {
        for (password, salt, rounds, wanted) in [
            (
                "passwd",
                "salt",
                1,
                "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc",
            ),
            (
                "Password",
                "NaCl",
                80_000,
                "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56",
            ),
        ] {
            let (password, salt) = (password.into(), salt.into());
            let derived = Hashing.pbkdf2_hmac_sha256(password, salt, rounds).await;
            assert_eq!(hex(&derived.unwrap()), wanted);
        }
    }

    #[tokio::test]
    async fn nobody_makes_it_endless() {
        let long = vec![b'x'; MOST_BYTES + 1];
        for (password, salt, rounds) in [
            (b"p".to_vec(), b"s".to_vec(), 0),
            (b"p".to_vec(), b"s".to_vec(), MOST_ROUNDS + 1),
            (long.clone(), b"s".to_vec(), 1),
            (b"p".to_vec(), long, 1),
        ] {
            let refused = Hashing.pbkdf2_hmac_sha256(password, salt, rounds).await;
            assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn others_get_to_work_meanwhile() {
        let mut work = pin!(derive(b"p", b"s", 2 * AT_ONCE));
        let mut context = Context::from_waker(Waker::noop());
        assert!(work.as_mut().poll(&mut context).is_pending());
        assert!(work.await.is_some());
    }
}
