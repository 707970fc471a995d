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
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
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
