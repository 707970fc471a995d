//! The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding, which the server does not offer. A
//! password is never sent; and the server shows that it knows it too.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth_sdk::scram::{Key, Salted, keyed};

/// No channel binding, no other identity.
const HEADER: &str = "n,,";
/// Its base64.
const BINDING: &str = "c=biws";

/// The server's own default is 15 000, and 5 000 its least; more than this nobody waits for.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// What the server said makes no sense, or it does not know the password.
#[derive(Debug, PartialEq, Eq)]
pub struct Untrue;

/// Before the first answer.
pub struct Beginning {
    bare: String,
    nonce: String,
}

/// After it.
pub struct Proof {
    message: String,
    signature: Key,
}

impl Beginning {
    /// `nonce` is printable, without commas, and used once.
    pub fn new(user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self {
            bare: format!("n={user},r={nonce}"),
            nonce,
        }
    }

    /// The first message.
    pub fn message(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// The server has answered.
    pub fn prove(self, answer: &[u8], password: &str) -> Result<Proof, Untrue> {
        let answer = std::str::from_utf8(answer).map_err(|_| Untrue)?;
        let nonce = field(answer, "r=")?;
        let salt = STANDARD.decode(field(answer, "s=")?).map_err(|_| Untrue)?;
        let rounds: u32 = field(answer, "i=")?.parse().map_err(|_| Untrue)?;
        let longer = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !longer || !ROUNDS.contains(&rounds) {
            return Err(Untrue);
        }
        let salted = Salted::of(password, &salt, rounds).map_err(|_| Untrue)?;
        let bare = format!("{BINDING},r={nonce}");
        let all = format!("{},{answer},{bare}", self.bare);
        let key = salted.client_key();
        let signature = keyed(&salted.stored_key(), all.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        Ok(Proof {
            message: format!("{bare},p={}", STANDARD.encode(proof)),
            signature: keyed(&salted.server_key(), all.as_bytes()),
        })
    }
}

impl Proof {
    /// The second message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// That the server knows the password, by its last answer.
    pub fn check(&self, answer: &[u8]) -> Result<(), Untrue> {
        let answer = std::str::from_utf8(answer).map_err(|_| Untrue)?;
        let signature = STANDARD.decode(field(answer, "v=")?).map_err(|_| Untrue)?;
        if signature == self.signature {
            return Ok(());
        }
        Err(Untrue)
    }
}

fn field<'a>(message: &'a str, name: &str) -> Result<&'a str, Untrue> {
    let mut fields = message.split(',');
    fields
        .find_map(|field| field.strip_prefix(name))
        .ok_or(Untrue)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn beginning() -> Beginning {
        Beginning::new("user", "rOprNGfwEbeRWgbNEkqO".into())
    }

    /// The example of RFC 7677.
    #[test]
    fn it_says_what_the_rfc_says() {
        assert_eq!(beginning().message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let proof = beginning().prove(FIRST, "pencil").unwrap();
        assert_eq!(
            proof.message(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(proof.check(last), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let proof = beginning().prove(FIRST, "another").unwrap();
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        for answer in [&last[..], b"", b"v=", b"v=!", b"e=other-error", b"\xff"] {
            assert_eq!(proof.check(answer), Err(Untrue), "{answer:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_ends_the_exchange() {
        for answer in [
            &b""[..],
            b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            b"\xff",
        ] {
            assert!(beginning().prove(answer, "pencil").is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_name_cannot_end_its_field() {
        let first = Beginning::new("a,b=c", "x".into());
        assert_eq!(first.message(), "n,,n=a=2Cb=3Dc,r=x");
    }
}
