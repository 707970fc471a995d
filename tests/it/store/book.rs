//! What the disk was told, in order, and what a power cut may leave of it.
//!
//! On the disk for sure is what was written to a file before its last sync that succeeded, and the names in a directory
//! before the last sync of that directory. Of everything later, each sector may be there or not, in any order;
//! names follow one another, as journals of file systems keep them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use rand::Rng;
use rand::rngs::StdRng;

/// The smallest part of a write that is there or not.
const SECTOR: usize = 512;

type File = usize;

#[derive(Clone, Debug)]
pub enum Entry {
    Written {
        file: File,
        at: u64,
        bytes: Range<usize>,
    },
    Cut {
        file: File,
        length: u64,
    },
    Synced {
        file: File,
    },
    SyncedNames,
    Name(NameChange),
    /// The child said that these commits were acknowledged.
    Acknowledged {
        bytes: Range<usize>,
    },
}

#[derive(Clone, Debug)]
pub enum NameChange {
    Made(String, File),
    Renamed(String, String),
    Removed(String),
}

pub struct Book {
    bytes: Vec<u8>,
    pub entries: Vec<Entry>,
}

impl Book {
    /// `acks` is the file in which the child says what was acknowledged.
    pub fn read(path: &Path, acks: &str) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let mut entries = Vec::new();
        let mut names: BTreeMap<String, File> = BTreeMap::new();
        let mut files = 0;
        let mut at = 0;
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        while at < bytes.len() {
            let kind = bytes[at];
            let name_length = usize::from(u16::from_be_bytes([bytes[at + 1], bytes[at + 2]]));
            let (offset, length) = (number(at + 3), number(at + 11));
            let name = String::from_utf8(bytes[at + 19..at + 19 + name_length].to_vec()).unwrap();
            let start = at + 19 + name_length;
            at = start + usize::try_from(length).unwrap();
            if name == acks {
                if kind == b'W' {
                    entries.push(Entry::Acknowledged { bytes: start..at });
                }
                continue;
            }
            let known = names.get(&name).copied();
            entries.push(match (kind, known) {
                (b'M', Some(_)) => continue,
                (b'M', None) => {
                    names.insert(name.clone(), files);
                    files += 1;
                    Entry::Name(NameChange::Made(name, files - 1))
                }
                (b'W', Some(file)) => Entry::Written {
                    file,
                    at: offset,
                    bytes: start..at,
                },
                (b'C', Some(file)) => Entry::Cut {
                    file,
                    length: offset,
                },
                (b'S', Some(file)) => Entry::Synced { file },
                (b'S', None) => Entry::SyncedNames,
                (b'N', Some(file)) => {
                    let to = String::from_utf8(bytes[start..at].to_vec()).unwrap();
                    names.remove(&name);
                    names.insert(to.clone(), file);
                    Entry::Name(NameChange::Renamed(name, to))
                }
                (b'R', Some(_)) => {
                    names.remove(&name);
                    Entry::Name(NameChange::Removed(name))
                }
                (kind, _) => panic!("{} {name}", char::from(kind)),
            });
        }
        Self { bytes, entries }
    }

    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        &self.bytes[range.clone()]
    }
}

/// What is on the disk at some entry of the book.
#[derive(Default)]
pub struct Disk {
    files: BTreeMap<File, Vec<u8>>,
    names: BTreeMap<String, File>,
    pending: Vec<Entry>,
    pending_names: Vec<NameChange>,
    pub acks: String,
}

/// How much of what was not synced is there.
#[derive(Clone, Copy, Debug)]
enum Luck {
    Nothing,
    Everything,
    /// The first so many writes, and of the next one the beginning.
    InOrder,
    /// Each write or not.
    Writes,
    /// Each sector or not, with this chance in a hundred.
    Sectors(u32),
}

impl Disk {
    pub fn advance(&mut self, book: &Book, entry: &Entry) {
        match entry {
            Entry::Written { .. } | Entry::Cut { .. } => self.pending.push(entry.clone()),
            Entry::Name(change) => self.pending_names.push(change.clone()),
            Entry::SyncedNames => {
                for change in std::mem::take(&mut self.pending_names) {
                    rename(&mut self.names, change);
                }
            }
            Entry::Acknowledged { bytes } => {
                self.acks += std::str::from_utf8(book.bytes(bytes)).unwrap();
            }
            Entry::Synced { file } => {
                let of_file = |entry: &mut Entry| match entry {
                    Entry::Written { file: of, .. } | Entry::Cut { file: of, .. } => of == file,
                    _ => false,
                };
                let content = self.files.entry(*file).or_default();
                for entry in self.pending.extract_if(.., of_file) {
                    apply(book, content, &entry, |_| true);
                }
            }
        }
    }

    /// How many writes and changes of names are not synced.
    pub fn unsure(&self) -> usize {
        self.pending.len() + self.pending_names.len()
    }

    /// A directory as a power cut may leave it now. Says how it was made.
    pub fn image(&self, book: &Book, random: &mut StdRng, directory: &Path) -> String {
        let mut names = self.names.clone();
        let named = random.random_range(0..=self.pending_names.len());
        for change in &self.pending_names[..named] {
            rename(&mut names, change.clone());
        }
        let luck = match random.random_range(0..8) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            2 | 3 => Luck::InOrder,
            4 => Luck::Writes,
            5 => Luck::Sectors(10),
            6 => Luck::Sectors(90),
            _ => Luck::Sectors(50),
        };
        let sector = if random.random() { 512 } else { 4096 };
        let lengthened = random.random_range(0..3) == 0;
        let reached = random.random_range(0..=self.pending.len());
        for (name, file) in &names {
            let mut content = self.files.get(file).cloned().unwrap_or_default();
            let mut longest = content.len();
            for (index, entry) in self.pending.iter().enumerate() {
                let (at, length) = match entry {
                    Entry::Written {
                        file: of,
                        at,
                        bytes,
                    } if of == file => (*at, bytes.len()),
                    Entry::Cut { file: of, .. } if of == file => (0, 0),
                    _ => continue,
                };
                longest = longest.max(usize::try_from(at).unwrap() + length);
                let whole = random.random::<bool>();
                let torn_at = usize::try_from(at).unwrap() + random.random_range(0..=length);
                // The last sector that was drawn, and whether it is there: the calls come in order.
                let mut drawn: Option<(usize, bool)> = None;
                apply(book, &mut content, entry, |at| match luck {
                    Luck::Nothing => false,
                    Luck::Everything => true,
                    Luck::InOrder => {
                        index < reached || (index == reached && at / sector < torn_at / sector)
                    }
                    Luck::Writes => whole,
                    Luck::Sectors(chance) => {
                        if drawn.is_none_or(|(of, _)| of != at / sector) {
                            drawn = Some((at / sector, random.random_range(0..100) < chance));
                        }
                        drawn.is_some_and(|(_, there)| there)
                    }
                });
            }
            if lengthened && content.len() < longest {
                content.resize(longest, 0);
            }
            let path = directory.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        format!(
            "{luck:?}, sectors of {sector}, {reached} of {} writes, {named} of {} names, lengthened: {lengthened}",
            self.pending.len(),
            self.pending_names.len()
        )
    }
}

fn rename(names: &mut BTreeMap<String, File>, change: NameChange) {
    match change {
        NameChange::Made(name, file) => {
            names.insert(name, file);
        }
        NameChange::Renamed(from, to) => {
            let file = names.remove(&from).expect("it was made before");
            names.insert(to, file);
        }
        NameChange::Removed(name) => {
            names.remove(&name);
        }
    }
}

/// Apply those parts of an entry whose sectors are there, asked by the place of their first byte.
fn apply(book: &Book, content: &mut Vec<u8>, entry: &Entry, mut there: impl FnMut(usize) -> bool) {
    match entry {
        Entry::Written { at, bytes, .. } => {
            let at = usize::try_from(*at).unwrap();
            let bytes = book.bytes(bytes);
            let mut done = 0;
            while done < bytes.len() {
                // To the end of the smallest sector there is.
                let next = bytes.len().min(done + SECTOR - (at + done) % SECTOR);
                if there(at + done) {
                    if content.len() < at + next {
                        content.resize(at + next, 0);
                    }
                    content[at + done..at + next].copy_from_slice(&bytes[done..next]);
                }
                done = next;
            }
        }
        Entry::Cut { length, .. } => {
            if there(0) {
                content.resize(usize::try_from(*length).unwrap(), 0);
            }
        }
        Entry::Synced { .. } | Entry::SyncedNames | Entry::Name(_) | Entry::Acknowledged { .. } => {
        }
    }
}
