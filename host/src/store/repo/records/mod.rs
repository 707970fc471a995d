//! Instances and operations as they are written: compact, and quick to read when a hundred thousand of them
//! are loaded. Enums are written by their names, so that a new variant may stand anywhere.
//!
//! The structures are frozen: a record that has to hold more gets a structure of its own and a higher schema,
//! and `read` goes on to know the old one.

mod instance;
mod operation;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde::Deserialize;

use super::encoding::Bad;

pub(super) use operation::StoredOperation;

/// Nanoseconds since 1970.
type At = i128;

/// A record and nothing after it.
fn whole<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Bad> {
    let (record, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(record)
    } else {
        Err("it goes on after its end".into())
    }
}

fn named<T: Copy>(
    name: &str,
    all: impl IntoIterator<Item = T>,
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, Bad> {
    all.into_iter()
        .find(|value| name_of(*value) == name)
        .ok_or_else(|| format!("unknown name {name:?}").into())
}

fn time(nanoseconds: At) -> Result<Timestamp, Bad> {
    Ok(Timestamp::from_nanosecond(nanoseconds)?)
}
