//! Reading an export, line by line, with everything that can be wrong with it.

use std::io::{BufRead, Read};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{FORMAT, Header, Line, Trailer, VERSION, check};
use crate::model::{Error, Result};
use crate::store::{Commit, Store, StoreError, Write, repo};

/// A record of the longest value and its key are well below.
const LONGEST_LINE: usize = 1 << 20;
/// Commits that wait for the disk together.
const COMMITS: usize = 16;

/// An export whose first line is read and understood.
pub struct Import<R> {
    lines: Lines<R>,
    header: Header,
}

struct Lines<R> {
    input: R,
    /// The number of the last line that was read.
    number: u64,
    hash: blake3::Hasher,
}

impl<R: BufRead> Import<R> {
    /// Read the first line.
    pub fn open(input: R) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            format: String,
            version: u32,
        }
        let mut lines = Lines {
            input,
            number: 0,
            hash: blake3::Hasher::new(),
        };
        let first = lines.next()?;
        let kind: Kind = serde_json::from_slice(&first)
            .ok()
            .filter(|kind: &Kind| kind.format == FORMAT)
            .ok_or_else(|| lines.bad("is not the beginning of an export of Berth's store"))?;
        if kind.version > VERSION {
            return Err(lines.bad(&format!(
                "says format version {}, and this version of Berth knows up to {VERSION}: use the newer one",
                kind.version
            )));
        }
        let header: Header = lines.parse(&first, "is not a header")?;
        for (kind, schema) in &header.schemas {
            let Some(known) = repo::schema_of(kind) else {
                return Err(lines.bad(&format!(
                    "tells of records `{kind}`, which this version of Berth does not know"
                )));
            };
            if *schema > known {
                return Err(lines.bad(&format!(
                    "tells of records `{kind}` of schema {schema}, and this version of Berth knows up to {known}: \
                     use the newer one"
                )));
            }
        }
        Ok(Self { lines, header })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Put every record into a store that is empty. When this fails, some of them may be in it: whoever calls it throws
    /// that store away. `progress` hears how many of how many are in.
    pub async fn into_store(
        mut self,
        store: &dyn Store,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64> {
        let there = store.scan("", None, 1).await.map_err(repo::store_error)?;
        if !there.is_empty() {
            return Err(Error::failed("the store is not empty. Nothing was changed"));
        }
        let total = self.header.records;
        let mut commits = vec![Commit::default()];
        let mut last = String::new();
        let mut stamped = false;
        for done in 1..=total {
            let (key, value) = self.record(&last)?;
            stamped |= key == repo::META;
            last.clone_from(&key);
            let is_full = |commit: &Commit| commit.writes.len() == Commit::MAX_WRITES;
            if commits.last().is_some_and(is_full) {
                if commits.len() == COMMITS {
                    put(store, std::mem::take(&mut commits)).await?;
                    progress(done - 1, total);
                }
                commits.push(Commit::default());
            }
            if let Some(commit) = commits.last_mut() {
                commit.writes.push((key, Write::Put(value)));
            }
        }
        self.end()?;
        if !stamped {
            let what = format!("is the end, and there was no record {}", repo::META);
            return Err(self.lines.bad(&what));
        }
        put(store, commits).await?;
        progress(total, total);
        Ok(total)
    }

    fn record(&mut self, last: &str) -> Result<(String, Vec<u8>)> {
        let bytes = self.lines.next()?;
        let line: Line = self.lines.parse(&bytes, "is not a record")?;
        let bad = |what: &str| Err(self.lines.bad(what));
        let Ok(value) = BASE64_STANDARD.decode(&line.value) else {
            return bad("has a value that is not base64");
        };
        if check(&line.key, &value) != line.check {
            return bad("was altered: its checksum does not match");
        }
        if line.key.as_str() <= last {
            return bad("is not in the order of the keys");
        }
        if value.len() > Commit::MAX_VALUE_BYTES {
            return bad("has too long a value");
        }
        let Some(known) = repo::schema_of(repo::kind(&line.key)) else {
            return bad("holds a record that this version of Berth does not know");
        };
        match repo::schema_in(&line.key, &value) {
            Ok(schema) if schema > known => {
                let what = format!("has schema {schema}, and this version knows up to {known}");
                bad(&what)
            }
            Ok(_) => {
                if line.key == repo::META && repo::seal_key(&value)? != self.header.seal_key {
                    return bad("names another seal key than the first line");
                }
                Ok((line.key, value))
            }
            Err(_) => bad("has a value that is no record"),
        }
    }

    /// The last line, and nothing after it.
    fn end(&mut self) -> Result<()> {
        let expected = self.lines.hash.finalize().to_hex();
        let bytes = self.lines.next()?;
        let trailer: Trailer = self.lines.parse(&bytes, "is not the end it should be")?;
        if trailer.records != self.header.records || trailer.blake3 != expected.as_str() {
            return Err(self
                .lines
                .bad("does not fit the lines before it: one was altered"));
        }
        match self.lines.input.fill_buf().map(<[u8]>::is_empty) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.lines.number += 1;
                Err(self.lines.bad("stands after the end"))
            }
            Err(error) => Err(self.lines.bad("cannot be read").caused_by(error)),
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// The next line, without its end. It counts for the checksum.
    fn next(&mut self) -> Result<Vec<u8>> {
        self.number += 1;
        let mut line = Vec::new();
        let mut limited = (&mut self.input).take(LONGEST_LINE as u64);
        if let Err(error) = limited.read_until(b'\n', &mut line) {
            return Err(self
                .bad(&format!("cannot be read: {error}"))
                .caused_by(error));
        }
        self.hash.update(&line);
        match line.pop() {
            Some(b'\n') => Ok(line),
            Some(_) if line.len() + 1 == LONGEST_LINE => Err(self.bad("is too long")),
            Some(_) => Err(self.bad("ends in the middle: the input is cut")),
            None => Err(self.bad("is missing: the input is cut")),
        }
    }

    fn parse<T: DeserializeOwned>(&self, line: &[u8], otherwise: &str) -> Result<T> {
        // What is quoted back may hold what nobody should read, so the parser's own words stay behind.
        serde_json::from_slice(line).map_err(|error| {
            let at = error.column();
            self.bad(&format!("{otherwise} (column {at})"))
        })
    }

    fn bad(&self, what: &str) -> Error {
        Error::failed(format!(
            "line {} of the input {what}. Nothing was changed",
            self.number
        ))
    }
}

async fn put(store: &dyn Store, commits: Vec<Commit>) -> Result<()> {
    let commits = commits
        .into_iter()
        .filter(|commit| !commit.writes.is_empty());
    let taken = commits.map(|commit| store.commit(commit));
    futures::future::try_join_all(taken)
        .await
        .map_err(given_up)?;
    Ok(())
}

/// Nobody knows of the store that is being built.
fn given_up(error: StoreError) -> Error {
    let what = "the store that is built of the import cannot be written: it is given up, and nothing of it stays";
    Error::failed(what).caused_by(error)
}
