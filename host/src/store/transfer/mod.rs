//! All records of a store as text, and back: for a copy that does not depend on the backend's files, and for moving
//! to another backend.
//!
//! The text is lines of JSON. The first says what follows: format and version, how many records, the highest schema
//! of each kind of record, and which key seals. Then one record per line, in the order of their keys, its value in base64
//! as it is stored (what is sealed stays sealed) and with a checksum of its own. The last line has the checksum of all
//! before it. Reading refuses what is altered, incomplete, foreign or newer, and names the line. Never opens what is sealed.

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::read::Import;
use super::{Store, Versioned, repo};
use crate::model::{Error, Result, Secret};

const FORMAT: &str = "berth store export";
/// Rises when an older build could not read the lines any more. Schemas of records rise by themselves.
const VERSION: u32 = 1;
/// Records that are read at once.
const PAGE: usize = 64;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    format: String,
    version: u32,
    /// The version of Berth that wrote it, for people.
    berth: String,
    created_at: Timestamp,
    pub records: u64,
    /// Which key seals; tells nothing about the key.
    pub seal_key: String,
    /// By the first part of its keys, a kind of record with its highest schema.
    schemas: BTreeMap<String, u16>,
    /// The text of the seal key's file, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_key_file: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: String,
    value: String,
    check: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    records: u64,
    /// Of every byte before this line.
    blake3: String,
}

/// Write every record. Nobody may write to the store meanwhile. `progress` hears how many of how many
/// are written; the answer is how many there were.
pub async fn export(
    store: &dyn Store,
    seal_key_file: Option<Secret>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64> {
    let mut records = 0;
    let mut schemas = BTreeMap::new();
    let mut seal_key = None;
    each(store, |key, record| {
        records += 1;
        let schema = repo::schema_in(key, &record.value)?;
        let highest = schemas.entry(repo::kind(key).to_owned()).or_insert(schema);
        *highest = schema.max(*highest);
        if key == repo::META {
            seal_key = Some(repo::seal_key(&record.value)?);
        }
        Ok(())
    })
    .await?;
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        berth: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: Timestamp::now(),
        records,
        seal_key: seal_key.ok_or_else(|| {
            Error::failed("the store holds nothing that could be exported: no host has used it yet")
        })?,
        schemas,
        seal_key_file,
    };
    let mut hash = blake3::Hasher::new();
    let mut put = |line: String, out: &mut dyn Write| -> Result<()> {
        hash.update(line.as_bytes());
        out.write_all(line.as_bytes()).map_err(unwritten)
    };
    put(text(&header)?, out)?;
    let mut written = 0;
    each(store, |key, record| {
        put(text(&line(key, &record.value))?, out)?;
        written += 1;
        progress(written, records);
        Ok(())
    })
    .await?;
    let trailer = Trailer {
        records: written,
        blake3: hash.finalize().to_hex().to_string(),
    };
    out.write_all(text(&trailer)?.as_bytes())
        .and_then(|()| out.flush())
        .map_err(unwritten)?;
    Ok(written)
}

async fn each(
    store: &dyn Store,
    mut visit: impl FnMut(&str, &Versioned) -> Result<()>,
) -> Result<()> {
    let mut after: Option<String> = None;
    loop {
        let page = store.scan("", after.as_deref(), PAGE).await;
        let page = page.map_err(repo::store_error)?;
        for (key, record) in &page {
            visit(key, record)?;
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(()),
        }
    }
}

fn line(key: &str, value: &[u8]) -> Line {
    Line {
        key: key.to_owned(),
        value: BASE64_STANDARD.encode(value),
        check: check(key, value),
    }
}

/// Enough to find the line that was altered.
fn check(key: &str, value: &[u8]) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key.as_bytes());
    hash.update(value);
    hash.finalize().to_hex()[..16].to_owned()
}

fn text(line: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string(line).map_err(Error::internal)?;
    text.push('\n');
    Ok(text)
}

fn unwritten(error: io::Error) -> Error {
    Error::failed(format!("the export cannot be written: {error}")).caused_by(error)
}
