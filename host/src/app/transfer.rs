//! Exporting and importing the records of a data directory, while no host runs on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufWriter, ErrorKind};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::data_dir::DataDir;
use crate::config::Config;
use crate::model::{Error, Result, Secret};
use crate::store::sled::Sled;
use crate::store::{Sealer, Store, transfer};

/// Hears how many of how many records are done.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What was imported.
pub struct Imported {
    pub records: u64,
    pub into: PathBuf,
    /// Where the seal key has to be put before a host is started.
    pub seal_key_missing: Option<PathBuf>,
}

/// Write the records to a file that does not exist yet, or to the standard output.
pub async fn export(
    config: &Config,
    output: Option<&Path>,
    with_seal_key: bool,
    progress: Progress<'_>,
) -> Result<u64> {
    let store = config.data_dir.join("store");
    if !store.is_dir() {
        return Err(Error::failed(format!(
            "there is no store in the data directory {}",
            config.data_dir.display()
        )));
    }
    let data = DataDir::open(&config.data_dir)?;
    let seal_key = if with_seal_key {
        Some(read_seal_key(&data.path().join("seal.key"))?)
    } else {
        None
    };
    if let Some(path) = output
        && path.exists()
    {
        return Err(exists(path));
    }
    let store = open(data.path().join("store")).await?;
    let Some(path) = output else {
        let mut out = BufWriter::new(io::stdout().lock());
        return transfer::export(store.as_ref(), seal_key, &mut out, progress).await;
    };
    // A name that is nobody's: what somebody else keeps beside it is not ours to remove.
    let new = beside(path, &format!("{:016x}.new", rand::random::<u64>()));
    let written = write_file(&new, store.as_ref(), seal_key, progress).await;
    let records = match written {
        Ok(records) => records,
        Err(error) => {
            remove(&new);
            return Err(error);
        }
    };
    // Whole or not at all, and never in the place of another file.
    let named = rename_to_nothing(&new, path).and_then(|()| sync_parent(path));
    if named.is_err() {
        remove(&new);
    }
    named.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => trouble(path, "cannot be written", error),
    })?;
    Ok(records)
}

/// Make the store of a data directory that has none, or none with anything in it. It is built beside its place and
/// moved there when it is whole.
pub async fn import(
    config: &Config,
    input: impl BufRead,
    progress: Progress<'_>,
) -> Result<Imported> {
    let import = transfer::Import::open(input)?;
    let data = DataDir::open(&config.data_dir)?;
    let place = data.path().join("store");
    if place.exists() {
        let store = open(place.clone()).await?;
        let there = store.scan("", None, 1).await.map_err(Error::internal)?;
        if !there.is_empty() {
            return Err(Error::failed(format!(
                "the data directory {} has records already. Nothing was changed; import into another directory, \
                 or move {} away first",
                data.path().display(),
                place.display()
            )));
        }
    }
    let key_path = data.path().join("seal.key");
    let restored = key_to_restore(&key_path, import.header())?;
    let seal_key_missing = !key_path.exists() && restored.is_none();

    let building = data.path().join("store.importing");
    let built = build(&building, import, progress).await;
    let moved = built.and_then(|records| {
        if let Some(text) = &restored {
            Sealer::restore(&key_path, text)?;
        }
        take_place(&building, &place)
            .map_err(|error| trouble(&place, "cannot be put in its place", error))?;
        Ok(records)
    });
    discard(&building);
    Ok(Imported {
        records: moved?,
        into: data.path().to_owned(),
        seal_key_missing: seal_key_missing.then_some(key_path),
    })
}

/// The key's text, if the import brings it and it has to be written.
fn key_to_restore(path: &Path, header: &transfer::Header) -> Result<Option<Secret>> {
    let wanted = &header.seal_key;
    if let Some(sealer) = Sealer::load(path)? {
        let found = sealer.key_id().to_string();
        if found == *wanted {
            return Ok(None);
        }
        return Err(Error::failed(format!(
            "what is to be imported is sealed with the key {wanted}, and {} holds {found}. Nothing was changed",
            path.display()
        )));
    }
    let Some(text) = &header.seal_key_file else {
        return Ok(None);
    };
    let brought = Sealer::from_text(text).map(|sealer| sealer.key_id().to_string());
    if brought.as_ref() != Some(wanted) {
        return Err(Error::failed(
            "line 1 of the input brings a seal key that is not the one it names. Nothing was changed",
        ));
    }
    Ok(Some(text.clone()))
}

async fn build<R: BufRead>(
    at: &Path,
    import: transfer::Import<R>,
    progress: Progress<'_>,
) -> Result<u64> {
    // What is left of an import that was cut short.
    discard(at);
    let store = open(at.to_owned()).await?;
    import.into_store(store.as_ref(), progress).await
}

/// A name changes at once, so there is never half a store.
fn take_place(built: &Path, place: &Path) -> io::Result<()> {
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    fs::rename(built, place)?;
    sync_parent(place)
}

/// A store that is not needed any more, with the lock that stands beside it.
fn discard(store: &Path) {
    for (path, is_dir) in [(store.to_owned(), true), (beside(store, "lock"), false)] {
        let removed = if is_dir {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        if let Err(error) = removed
            && error.kind() != ErrorKind::NotFound
        {
            eprintln!("berth: {} cannot be removed: {error}", path.display());
        }
    }
}

async fn open(path: PathBuf) -> Result<Arc<Sled>> {
    let opened = tokio::task::spawn_blocking(move || Sled::open(&path)).await;
    Ok(Arc::new(opened.map_err(Error::internal)??))
}

async fn write_file(
    path: &Path,
    store: &dyn Store,
    seal_key: Option<Secret>,
    progress: Progress<'_>,
) -> Result<u64> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| trouble(path, "cannot be made", error))?;
    let metadata = file.metadata();
    let metadata = metadata.map_err(|error| trouble(path, "cannot be looked at", error))?;
    if seal_key.is_some() && metadata.permissions().mode() & 0o077 != 0 {
        return Err(Error::failed(format!(
            "{} is on a file system where others can read each file, and the seal key would be in this one. Mount it \
             so that they cannot (FAT: with umask=077), choose another place, or leave --with-seal-key away",
            path.parent().unwrap_or(path).display()
        )));
    }
    let mut out = BufWriter::new(&file);
    let records = transfer::export(store, seal_key, &mut out, progress).await?;
    drop(out);
    file.sync_all()
        .map_err(|error| trouble(path, "cannot be synced", error))?;
    Ok(records)
}

fn read_seal_key(path: &Path) -> Result<Secret> {
    // It is refused if it is not one, or if others may read it.
    if Sealer::load(path)?.is_none() {
        return Err(Error::failed(format!("{} is missing", path.display())));
    }
    let text = fs::read_to_string(path).map_err(|error| trouble(path, "cannot be read", error))?;
    Ok(Secret::new(text))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        eprintln!("berth: {} cannot be removed: {error}", path.display());
    }
}

/// Not every file system knows a rename that replaces nothing, and of the others not every one knows links.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(()),
        Err(Errno::INVAL | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::hard_link(from, to) {
        Ok(()) => {
            remove(from);
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // The name is taken first, so that what is replaced is ours. Dying in between leaves an empty file there, which
    // no import takes for an export.
    let mut options = OpenOptions::new();
    drop(options.write(true).create_new(true).mode(0o600).open(to)?);
    fs::rename(from, to).inspect_err(|_| remove(to))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

fn exists(path: &Path) -> Error {
    Error::failed(format!(
        "{} exists already, and is not written over",
        path.display()
    ))
}

fn trouble(path: &Path, what: &str, error: io::Error) -> Error {
    Error::failed(format!("{} {what}: {error}", path.display())).caused_by(error)
}
