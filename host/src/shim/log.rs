//! A member's log: what its programs print, and a line of the shim's for each thing that happens to them.
//!
//! Programs write straight to the file, so that neither the death of the shim nor its slowness is felt by a
//! server. Rotation copies and empties the file; a line that is written in the instant between the two
//! is lost.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file is rotated past this size.
const LIMIT: u64 = 8 * 1024 * 1024;
/// Rotated files that are kept.
const KEPT: u32 = 3;
/// Past this multiple of the limit a file is not kept: its writer made it so, and copying it would fill the disk.
const ABSURD: u64 = 16;
/// Between two looks at the size.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// Marks the shim's own lines.
const MARK: &str = "berth: ";

#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    owner: Option<u32>,
    limit: u64,
    last_look: (Instant, u64),
}

impl Log {
    /// `owner` is the user that programs run as: some open their standard error once more by name.
    pub fn new(dir: PathBuf, owner: Option<u32>) -> Self {
        Self {
            dir,
            owner,
            limit: LIMIT,
            last_look: (Instant::now(), 0),
        }
    }

    /// For a program's output. Appending, so that emptying the file moves its writers too.
    pub fn open(&self) -> io::Result<File> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(current(&self.dir))?;
        if let Some(uid) = self.owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(uid))?;
        }
        Ok(file)
    }

    /// A line of the shim's own. A log that cannot be written must not keep a server from running.
    pub fn note(&self, text: &str) {
        let line = format!("{MARK}{:.3} {text}\n", jiff::Timestamp::now());
        let _ = self
            .open()
            .and_then(|mut file| file.write_all(line.as_bytes()));
    }

    /// The last few lines that programs printed, in one line, for people.
    pub fn last_words(&self) -> String {
        let text = tail(&self.dir, 4096).unwrap_or_default();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with(MARK))
            .collect();
        let newest = &lines[lines.len().saturating_sub(4)..];
        let joined = newest.join(" | ");
        let clean: String = joined
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let skipped = clean.chars().count().saturating_sub(700);
        clean.chars().skip(skipped).collect()
    }

    /// Look at the size, rotate past the limit, and say when to look again: the sooner the faster it grows.
    pub fn look(&mut self) -> Duration {
        let now = Instant::now();
        let mut size = fs::metadata(current(&self.dir)).map_or(0, |meta| meta.len());
        let (then, before) = self.last_look;
        let grown = size.saturating_sub(before);
        let elapsed = now.duration_since(then);
        if size > self.limit {
            self.rotate(size <= self.limit * ABSURD);
            size = 0;
        }
        self.last_look = (now, size);
        let left = self.limit.saturating_sub(size);
        let until_full = match grown {
            0 => LOOK.1,
            grown => elapsed.mul_f64((left as f64 / grown as f64).min(1e6)),
        };
        until_full.clamp(LOOK.0, LOOK.1)
    }

    fn rotate(&self, keep: bool) {
        for number in (1..KEPT).rev() {
            let _ = fs::rename(numbered(&self.dir, number), numbered(&self.dir, number + 1));
        }
        let kept = match keep {
            true => fs::copy(current(&self.dir), numbered(&self.dir, 1)),
            false => Err(io::Error::other("it grew too large to be kept")),
        };
        if kept.is_err() {
            // The disk is full, most likely. What is there is given up rather than let grow.
            let _ = fs::remove_file(numbered(&self.dir, 1));
        }
        let emptied = OpenOptions::new()
            .write(true)
            .open(current(&self.dir))
            .and_then(|file| file.set_len(0));
        if let Err(error) = kept.map(|_| ()).and(emptied) {
            self.note(&format!("the log could not be rotated: {error}"));
        }
    }
}

/// The newest bytes of the log in this directory, across a rotation, cut at a line.
pub fn tail(dir: &Path, max_bytes: usize) -> io::Result<String> {
    let mut bytes = newest(&current(dir), max_bytes)?;
    if bytes.len() < max_bytes {
        let mut older = newest(&numbered(dir, 1), max_bytes - bytes.len())?;
        older.append(&mut bytes);
        bytes = older;
    }
    if bytes.len() == max_bytes
        && let Some(end) = bytes.iter().position(|b| *b == b'\n')
    {
        bytes.drain(..=end);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn newest(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let max = max_bytes as u64;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(max)))?;
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file that programs write to.
pub fn current(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn numbered(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("log.{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: u64) -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path().join("log"), None);
        log.limit = limit;
        (dir, log)
    }

    #[test]
    fn it_is_bounded_and_its_newest_part_is_kept() {
        let (_dir, mut log) = log(1000);
        // One writer all along, as a server is: it must follow the rotation.
        let mut writer = log.open().unwrap();
        for n in 0..1000 {
            writeln!(writer, "line {n:04} {}", "x".repeat(89)).unwrap();
            log.look();
        }
        let files: Vec<u64> = fs::read_dir(&log.dir)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(files.len(), 1 + KEPT as usize);
        assert!(files.iter().all(|size| *size <= 1100), "{files:?}");
        let text = tail(&log.dir, 1200).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 11, "{text}");
        assert!(lines.iter().all(|line| line.starts_with("line 09")));
        assert!(lines[10].starts_with("line 0999"));
    }

    #[test]
    fn last_words_are_those_of_the_program() {
        let (_dir, log) = log(1000);
        assert_eq!(log.last_words(), "");
        log.note("started");
        log.open()
            .unwrap()
            .write_all(b"one\ntwo\nthree\n\nfour\x1b[1m\nfive\n")
            .unwrap();
        log.note("ended");
        assert_eq!(log.last_words(), "two | three | four [1m | five");
    }

    #[test]
    fn one_that_was_blown_up_is_given_up() {
        let (_dir, mut log) = log(1000);
        log.open().unwrap().set_len(1 << 40).unwrap();
        log.look();
        let text = tail(&log.dir, 1000).unwrap();
        assert!(text.contains("too large to be kept"), "{text}");
        assert!(!numbered(&log.dir, 1).exists());
    }

    #[test]
    fn a_log_that_is_not_there_is_empty() {
        let (_dir, mut log) = log(1000);
        assert_eq!(tail(&log.dir, 10).unwrap(), "");
        assert_eq!(log.look(), LOOK.1);
    }

    #[test]
    fn a_log_that_grows_fast_is_looked_at_often() {
        let (_dir, mut log) = log(1_000_000);
        let mut writer = log.open().unwrap();
        writer.write_all(&[b'x'; 900_000]).unwrap();
        assert_eq!(log.look(), LOOK.0);
    }
}
