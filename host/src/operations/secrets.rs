//! Makes the secrets that a workload asks for. What exists already is kept: a password that a server was
//! told, or a key that a client trusts, is never made anew.

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rand::Rng;
use rand::distr::Alphanumeric;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::model::instance::Endpoint;
use crate::model::plugin::Secrets;
use crate::model::workload::{SecretKind, SecretRequest};
use crate::model::{Error, InstanceId, Result, Secret};

/// All that is requested, those in `existing` as they are.
pub fn complete(
    instance: InstanceId,
    requests: &[SecretRequest],
    endpoints: &[Endpoint],
    existing: Secrets,
    now: Timestamp,
) -> Result<Secrets> {
    let mut secrets = existing;
    for SecretRequest { name, kind } in requests {
        match kind {
            SecretKind::Password(length) => {
                secrets
                    .entry(name.clone())
                    .or_insert_with(|| password(*length));
            }
            SecretKind::Certificate(days) => {
                let parts = CertificateParts::names(name);
                if !parts.iter().all(|part| secrets.contains_key(part)) {
                    let made = certificate(instance, endpoints, *days, now)?;
                    secrets.extend(parts.into_iter().zip(made.into_values()));
                }
            }
        }
    }
    Ok(secrets)
}

/// All that is requested, with certificates made anew.
pub fn renew_certificates(
    instance: InstanceId,
    requests: &[SecretRequest],
    endpoints: &[Endpoint],
    mut existing: Secrets,
    now: Timestamp,
) -> Result<Secrets> {
    for SecretRequest { name, kind } in requests {
        match kind {
            SecretKind::Password(_) => {}
            SecretKind::Certificate(_) => {
                for part in CertificateParts::names(name) {
                    existing.remove(&part);
                }
            }
        }
    }
    complete(instance, requests, endpoints, existing, now)
}

/// Letters and digits, from a cryptographic generator.
pub fn password(length: u32) -> Secret {
    let length = usize::try_from(length).unwrap_or(usize::MAX).clamp(16, 128);
    let mut text = String::with_capacity(length);
    text.extend(
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(length)
            .map(char::from),
    );
    Secret::new(text)
}

/// PEM texts: the authority that clients trust, and the server's certificate and key.
struct CertificateParts {
    ca: Secret,
    cert: Secret,
    key: Secret,
}

impl CertificateParts {
    fn names(name: &str) -> [String; 3] {
        ["ca", "cert", "key"].map(|part| format!("{name}.{part}"))
    }

    fn into_values(self) -> [Secret; 3] {
        [self.ca, self.cert, self.key]
    }
}

/// An authority of the instance's own, and a certificate by it for everything a client may connect to. The
/// authority's key is forgotten: a renewal replaces both.
fn certificate(
    instance: InstanceId,
    endpoints: &[Endpoint],
    days: u32,
    now: Timestamp,
) -> Result<CertificateParts> {
    let authority_key = KeyPair::generate().map_err(Error::internal)?;
    let mut authority = validity(CertificateParams::default(), days, now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    authority
        .distinguished_name
        .push(DnType::CommonName, format!("Berth database {instance} CA"));
    let certificate = authority
        .self_signed(&authority_key)
        .map_err(Error::internal)?;

    let key = KeyPair::generate().map_err(Error::internal)?;
    let names = names(endpoints);
    let mut server = CertificateParams::new(names).map_err(Error::internal)?;
    server = validity(server, days, now)?;
    server.use_authority_key_identifier_extension = true;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Members of one instance know each other by it, at either end.
    server.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    server
        .distinguished_name
        .push(DnType::CommonName, format!("Berth database {instance}"));
    let issuer = Issuer::new(authority, authority_key);
    let signed = server.signed_by(&key, &issuer).map_err(Error::internal)?;
    Ok(CertificateParts {
        ca: Secret::new(certificate.pem()),
        cert: Secret::new(signed.pem()),
        key: Secret::new(key.serialize_pem()),
    })
}

/// Hosts that clients may connect to, addresses among them, and what the machine itself calls them.
fn names(endpoints: &[Endpoint]) -> Vec<String> {
    let hosts = endpoints.iter().map(|endpoint| endpoint.host.clone());
    let mut names: Vec<String> = hosts
        .chain(["localhost", "127.0.0.1", "::1"].map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// From the day before, so that a client whose clock is behind accepts it.
fn validity(mut params: CertificateParams, days: u32, now: Timestamp) -> Result<CertificateParams> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let from = today.checked_sub(1.day()).map_err(Error::internal)?;
    let until = today
        .checked_add(i64::from(days.clamp(1, 36_500)).days())
        .map_err(Error::internal)?;
    let time = |date: jiff::civil::Date| {
        date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = time(from);
    params.not_after = time(until);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

    use super::*;

    fn endpoint(host: &str) -> Endpoint {
        Endpoint {
            name: "sql".to_owned(),
            member: "main".to_owned(),
            port_name: "sql".to_owned(),
            bind_address: "0.0.0.0".to_owned(),
            host: host.to_owned(),
            port: 20_000,
            inner_port: None,
            for_members: false,
        }
    }

    fn requests() -> Vec<SecretRequest> {
        let request = |name: &str, kind| SecretRequest {
            name: name.to_owned(),
            kind,
        };
        vec![
            request("app", SecretKind::Password(24)),
            request("tls", SecretKind::Certificate(30)),
        ]
    }

    fn make(hosts: &[&str], existing: Secrets, now: Timestamp) -> Secrets {
        let endpoints: Vec<Endpoint> = hosts.iter().map(|host| endpoint(host)).collect();
        let id = InstanceId::generate();
        complete(id, &requests(), &endpoints, existing, now).unwrap()
    }

    /// Whether a client that trusts the authority accepts the certificate for this host at this time.
    fn accepts(secrets: &Secrets, host: &str, at: Timestamp) -> bool {
        let der = |name: &str| {
            let pem = secrets[name].expose().as_bytes();
            CertificateDer::from_pem_slice(pem).unwrap().into_owned()
        };
        let mut roots = RootCertStore::empty();
        roots.add(der("tls.ca")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let since_epoch = u64::try_from(at.as_second()).unwrap();
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(since_epoch));
        verifier
            .verify_server_cert(&der("tls.cert"), &[], &name, &[], at)
            .is_ok()
    }

    #[test]
    fn clients_accept_the_certificate_for_every_way_in_and_for_no_other() {
        let now = Timestamp::now();
        let secrets = make(
            &["db.example.org", "192.0.2.7", "2001:db8::7"],
            Secrets::new(),
            now,
        );
        for host in [
            "db.example.org",
            "192.0.2.7",
            "2001:db8::7",
            "localhost",
            "127.0.0.1",
            "::1",
        ] {
            assert!(accepts(&secrets, host, now), "{host}");
        }
        for host in ["other.example.org", "192.0.2.8"] {
            assert!(!accepts(&secrets, host, now), "{host}");
        }
        let hours = |count| SignedDuration::from_hours(count);
        assert!(
            accepts(&secrets, "localhost", now - hours(12)),
            "a clock that is behind"
        );
        assert!(accepts(&secrets, "localhost", now + hours(24 * 29)));
        assert!(!accepts(&secrets, "localhost", now + hours(24 * 31)));
        PrivateKeyDer::from_pem_slice(secrets["tls.key"].expose().as_bytes()).unwrap();
        assert_eq!(secrets.len(), 4, "the authority's key is kept nowhere");
    }

    #[test]
    fn instances_do_not_trust_each_other() {
        let now = Timestamp::now();
        let mut one = make(&["a.example.org"], Secrets::new(), now);
        let other = make(&["a.example.org"], Secrets::new(), now);
        one.insert("tls.ca".to_owned(), other["tls.ca"].clone());
        assert!(!accepts(&one, "a.example.org", now));
    }

    #[test]
    fn what_exists_is_kept() {
        let now = Timestamp::now();
        let first = make(&["a.example.org"], Secrets::new(), now);
        assert_eq!(make(&["b.example.org"], first.clone(), now), first);
        let mut partial = first.clone();
        partial.remove("app");
        let completed = make(&["a.example.org"], partial, now);
        assert_eq!(completed["tls.key"], first["tls.key"]);
        assert_ne!(completed["app"], first["app"]);
    }

    #[test]
    fn passwords_are_letters_and_digits_of_the_length_asked_for() {
        let made = password(24);
        assert_eq!(made.expose().len(), 24);
        assert!(made.expose().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(password(24), made);
        assert_eq!(password(3).expose().len(), 16);
        assert_eq!(password(9_999).expose().len(), 128);
    }
}
