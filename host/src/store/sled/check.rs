//! What is looked at before sled opens a store, and after.
//!
//! sled takes a log that it cannot read for one that ends early, and goes on to overwrite the rest. So the
//! number of the last acknowledged commit is noted beside the log, and a log that lost it is refused.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::database::SEGMENT_BYTES;

const SEGMENT: u64 = SEGMENT_BYTES as u64;
pub(super) const HEADER_BYTES: usize = 20;
const NOTE: &str = "acknowledged";
const NOTE_BYTES: usize = 24;

/// What was acknowledged last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub revision: u64,
    /// How long the log was.
    pub length: u64,
}

/// The file with that note. It is written after each sync and never synced itself: it may be behind
/// after a power cut, and is never ahead.
pub(super) struct Note(File);

impl Note {
    /// What was noted, if anything was. Makes nothing.
    pub fn read(directory: &Path) -> io::Result<Option<Acknowledged>> {
        let bytes = match fs::read(directory.join(NOTE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let noted = parse(&bytes);
        if noted.is_none() && !bytes.is_empty() {
            tracing::warn!("the note of the last acknowledged commit cannot be read");
        }
        Ok(noted)
    }

    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.open(directory.join(NOTE)).map(Self)
    }

    pub fn write(&self, acknowledged: Acknowledged) -> io::Result<()> {
        self.0.write_all_at(&form(acknowledged), 0)
    }
}

/// What keeps sled from being let at the log, in words.
pub(super) fn check_log(
    directory: &Path,
    noted: Option<Acknowledged>,
) -> io::Result<Result<(), String>> {
    let log = match File::open(directory.join("db")) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(match noted {
                Some(_) => Err("its file db is missing".into()),
                None => Ok(()),
            });
        }
        Err(error) => return Err(error),
    };
    let length = log.metadata()?.len();
    let mut valid = 0_u64;
    for offset in (0..length).step_by(SEGMENT_BYTES) {
        let mut header = [0; HEADER_BYTES];
        match log.read_exact_at(&mut header, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        if is_header(&header) {
            valid += 1;
        } else if header != [0; HEADER_BYTES] {
            return Ok(Err(format!("its file db is damaged at byte {offset}")));
        }
    }
    if valid == 0 && noted.is_some_and(|noted| noted.revision > 0) {
        return Ok(Err("its file db has lost everything".into()));
    }
    Ok(Ok(()))
}

/// Whether the log looks cut, in words. It may be whole all the same: sled shortens its file by whole segments and goes on
/// from there, and a note that is behind after a power cut does not know of it. Opening tells, and writes; so
/// that is tried on a copy first.
pub(super) fn looks_cut(
    directory: &Path,
    noted: Option<Acknowledged>,
) -> io::Result<Option<String>> {
    let Some(noted) = noted else {
        return Ok(None);
    };
    let length = fs::metadata(directory.join("db"))?.len();
    let cut = length < noted.length && !length.is_multiple_of(SEGMENT);
    Ok(cut.then(|| {
        format!(
            "its file db has {length} bytes, and had {} when it was last written",
            noted.length
        )
    }))
}

/// The place in the log, of everything that was ever written to it, where a segment with this header begins.
pub(super) fn first_of(header: &[u8; HEADER_BYTES]) -> Option<u64> {
    let place = header.get(4..)?.first_chunk()?;
    // sled turns the bits around, so that zeros are not taken for a place.
    is_header(header).then(|| u64::from_le_bytes(*place) ^ (u64::MAX >> 1))
}

/// A segment's header: a checksum and what it is of.
fn is_header(header: &[u8; HEADER_BYTES]) -> bool {
    let (checksum, rest) = header.split_at(4);
    checksum == (!crc32fast::hash(rest)).to_le_bytes()
}

fn form(Acknowledged { revision, length }: Acknowledged) -> [u8; NOTE_BYTES] {
    let mut bytes = [0; NOTE_BYTES];
    bytes[..8].copy_from_slice(&revision.to_be_bytes());
    bytes[8..16].copy_from_slice(&length.to_be_bytes());
    let checksum = blake3::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.as_bytes()[..8]);
    bytes
}

fn parse(bytes: &[u8]) -> Option<Acknowledged> {
    let revision = u64::from_be_bytes(*bytes.first_chunk()?);
    let length = u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let acknowledged = Acknowledged { revision, length };
    (form(acknowledged) == bytes).then_some(acknowledged)
}
