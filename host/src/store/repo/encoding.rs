//! How records are written: a schema version, then the value. A version that this build does not know is
//! refused, and so is a store that a newer build or another seal key has written.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::records::StoredOperation;
use super::{Repo, keys};
use crate::model::health::History;
use crate::model::project::ApiKey;
use crate::model::workload::Workload;
use crate::model::{ConflictReason, Error, Instance, InstanceId, Kind, Result};
use crate::store::seal::Sealer;
use crate::store::{Commit, Expect, Store, StoreError, Write};

/// Why bytes are not a record. It never quotes them.
pub(super) type Bad = Box<dyn std::error::Error + Send + Sync>;

/// What is read from a record. `SCHEMA` rises with every change of what is written, also with a new field that
/// older records do without: an older build would lose it.
pub(super) trait Stored: Sized {
    const SCHEMA: u16;
    /// The oldest schema that can still be read.
    const OLDEST: u16 = Self::SCHEMA;

    fn read(bytes: &[u8]) -> Result<Self, Bad>;

    /// A record of a schema from `OLDEST` to below `SCHEMA`.
    fn read_older(schema: u16, _: &[u8]) -> Result<Self, Bad> {
        Err(format!("nothing reads the schema {schema}").into())
    }
}

/// A whole record.
pub(super) trait Record: Stored {
    /// Append it to what is written already.
    fn write(&self, out: Vec<u8>) -> Result<Vec<u8>, Bad>;
}

/// The first record of a store: what wrote it.
#[derive(Serialize, Deserialize)]
pub(super) struct Meta {
    /// Which key seals; tells nothing about the key.
    pub seal_key: String,
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredApiKey {
    pub mac: [u8; 32],
    pub key: ApiKey,
}

#[derive(Serialize, Deserialize)]
pub(super) struct StoredIdempotency {
    pub digest: [u8; 32],
    pub instance: InstanceId,
    pub created_at: Timestamp,
}

/// A record that says only whose something is.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Owner(pub InstanceId);

/// A record that says only that it is there.
#[derive(Serialize, Deserialize)]
pub(super) struct Mark;

/// Sealed bytes, as they are. Their schema is that of what they seal.
pub(super) const SEALED_SCHEMA: u16 = 1;

/// Records that are few or small are JSON.
macro_rules! json_record {
    ($($record:ty: $schema:literal),+ $(,)?) => {$(
        impl Record for $record {
            fn write(&self, mut out: Vec<u8>) -> Result<Vec<u8>, Bad> {
                serde_json::to_writer(&mut out, self)?;
                Ok(out)
            }
        }

        impl Stored for $record {
            const SCHEMA: u16 = $schema;

            fn read(bytes: &[u8]) -> Result<Self, Bad> {
                Ok(serde_json::from_slice(bytes)?)
            }
        }
    )+};
}

json_record!(
    Meta: 1,
    Workload: 1,
    StoredApiKey: 1,
    StoredIdempotency: 1,
    Owner: 1,
    Mark: 1,
    History: 1,
);

pub(super) fn encode<T: Record>(value: &T) -> Result<Vec<u8>> {
    let out = T::SCHEMA.to_be_bytes().to_vec();
    value.write(out).map_err(Error::internal)
}

pub(super) fn decode<T: Stored>(key: &str, bytes: &[u8]) -> Result<T> {
    let (schema, body) = split(key, T::SCHEMA, bytes)?;
    let read = if schema == T::SCHEMA {
        T::read(body)
    } else if schema >= T::OLDEST {
        T::read_older(schema, body)
    } else {
        return Err(unreadable(key));
    };
    read.map_err(|bad| unreadable(key).caused_by(bad))
}

pub(super) fn wrap_sealed(sealed: &[u8]) -> Vec<u8> {
    [&SEALED_SCHEMA.to_be_bytes(), sealed].concat()
}

/// What follows the schema version, if that is one that this build knows.
pub(super) fn body<'a>(key: &str, known: u16, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let (schema, body) = split(key, known, bytes)?;
    if schema != known {
        return Err(unreadable(key));
    }
    Ok(body)
}

/// The schema version, if it is no newer than what this build knows, and what follows it.
fn split<'a>(key: &str, known: u16, bytes: &'a [u8]) -> Result<(u16, &'a [u8])> {
    let (head, body) = bytes.split_first_chunk().ok_or_else(|| unreadable(key))?;
    let schema = u16::from_be_bytes(*head);
    if schema > known {
        return Err(Error::failed(format!(
            "the store was written by a newer version of Berth: the record {key} has schema {schema}, and \
             this version knows up to {known}. Nothing was changed; start the newer version."
        )));
    }
    Ok((schema, body))
}

pub(super) fn unreadable(key: &str) -> Error {
    Error::new(
        Kind::Internal,
        format!("the record {key} of the store is damaged"),
    )
}

/// The schema that this build writes of records of a kind, if it knows the kind. Every form of a key in `keys` is here.
pub(in crate::store) fn schema_of(kind: &str) -> Option<u16> {
    Some(match kind {
        "meta" => Meta::SCHEMA,
        "instance" => Instance::SCHEMA,
        "operation" => StoredOperation::SCHEMA,
        "workload" => Workload::SCHEMA,
        "health" => History::SCHEMA,
        "secrets" | "pending-secrets" => SEALED_SCHEMA,
        "api-key" => StoredApiKey::SCHEMA,
        "idempotency" => StoredIdempotency::SCHEMA,
        "alias" | "slug" | "port" | "uid" => Owner::SCHEMA,
        "open" | "probe" => Mark::SCHEMA,
        _ => return None,
    })
}

/// The schema that a value says it has.
pub(in crate::store) fn schema_in(key: &str, value: &[u8]) -> Result<u16> {
    let (head, _) = value.split_first_chunk().ok_or_else(|| unreadable(key))?;
    Ok(u16::from_be_bytes(*head))
}

/// Which key seals, by a store's first record.
pub(in crate::store) fn seal_key(meta: &[u8]) -> Result<String> {
    Ok(decode::<Meta>(keys::META, meta)?.seal_key)
}

/// What a caller is told when a commit or a read did not go well.
pub(in crate::store) fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Conflict { .. } => Error::conflict(
            ConflictReason::Busy,
            "another request changed the same thing first; try again",
        ),
        StoreError::Malformed(_) => Error::internal(error),
        StoreError::Refused(_) => Error::unavailable(
            "the store cannot write now, and nothing was changed; is the data directory's disk full?",
        )
        .caused_by(error),
        StoreError::Backend(_) => Error::unavailable(
            "the store failed, and it is not known whether the request was taken; look, or repeat it \
             with the same idempotency key",
        )
        .caused_by(error),
    }
}

/// The key in the file; a new one only for a store in which nothing was ever written.
pub(super) async fn sealer_for(store: &dyn Store, key_file: &Path) -> Result<Sealer> {
    if let Some(sealer) = Sealer::load(key_file)? {
        return Ok(sealer);
    }
    let used = store.scan("", None, 1).await.map_err(store_error)?;
    if used.is_empty() {
        return Sealer::create(key_file);
    }
    Err(Error::failed(format!(
        "the seal key {} is missing, and the store beside it is in use: its passwords and certificates \
         cannot be read without that key. Put the file back from your backup. Nothing was changed.",
        key_file.display()
    )))
}

impl Repo {
    /// Stamp a new store; refuse one that another build or another key has written.
    pub(super) async fn check_or_stamp(&self) -> Result<()> {
        let key_id = self.0.sealer.key_id().to_string();
        if let Some(record) = self.0.store.get(keys::META).await.map_err(store_error)? {
            let meta: Meta = decode(keys::META, &record.value)?;
            if meta.seal_key == key_id {
                return Ok(());
            }
            return Err(Error::failed(format!(
                "the store is sealed with the key {}, but the key file holds {key_id}. Put the right file \
                 back from your backup. Nothing was changed.",
                meta.seal_key
            )));
        }
        let found = self.0.store.scan("", None, 1).await.map_err(store_error)?;
        if let Some((key, _)) = found.first() {
            return Err(Error::failed(format!(
                "this is not a store of Berth: it holds {key} and no {}. Nothing was changed.",
                keys::META
            )));
        }
        let meta = Meta {
            seal_key: key_id,
            created_at: Timestamp::now(),
        };
        let stamp = Commit {
            expect: vec![(keys::META.to_owned(), Expect::Absent)],
            writes: vec![(keys::META.to_owned(), Write::Put(encode(&meta)?))],
        };
        self.0.store.commit(stamp).await.map_err(store_error)?;
        Ok(())
    }
}

/// How soon a read that failed is tried again: from this, doubling, to the most.
pub(super) const READ_AGAIN: Duration = Duration::from_millis(50);
pub(super) const READ_AGAIN_MOST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind that is not known to `schema_of` could be exported, and not imported again.
    #[test]
    fn every_form_of_a_key_has_a_known_schema() {
        let forms = include_str!("keys.rs").split('"').skip(1).step_by(2);
        let forms: Vec<&str> = forms.filter(|form| !form.starts_with('{')).collect();
        assert!(forms.len() > 10, "{forms:?}");
        for form in forms {
            assert!(schema_of(keys::kind(form)).is_some(), "{form} is not known");
        }
    }
}
