//! Values for the secrets that a plan asks for.

use berth_sdk::types::{Secret, SecretKind, SecretRequest};

/// What a first login's password is: callers may choose theirs, and this has everything in it that wants quoting.
const ODD: &str = "o'dd \"pass\\word\" ${x} %41";

/// Passwords of letters and digits as the host makes them, but for the one that `odd` names; and certificates.
pub fn values(wanted: &[SecretRequest], odd: &str) -> Vec<Secret> {
    let mut all = Vec::new();
    for secret in wanted {
        let name = &secret.name;
        match secret.kind {
            SecretKind::Password(_) if name == odd => all.push((name.clone(), ODD.to_owned())),
            SecretKind::Password(length) => all.push((name.clone(), password(name, length))),
            SecretKind::Certificate(_) => all.extend(certificate(name)),
        }
    }
    all.into_iter()
        .map(|(name, value)| Secret { name, value })
        .collect()
}

/// One that nobody finds by chance in a log, of the length that was asked for.
fn password(name: &str, length: u32) -> String {
    let letters = format!("Secret0of0{name}").replace(|c: char| !c.is_ascii_alphanumeric(), "0");
    let length = usize::try_from(length).expect("a length");
    letters.chars().cycle().take(length).collect()
}

/// Its own authority, and another one each time.
fn certificate(name: &str) -> [(String, String); 3] {
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    [
        (format!("{name}.ca"), made.cert.pem()),
        (format!("{name}.cert"), made.cert.pem()),
        (format!("{name}.key"), made.signing_key.serialize_pem()),
    ]
}
