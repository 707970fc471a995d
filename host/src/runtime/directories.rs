//! Where instances live on this machine: each in the directory of its storage class, and their sockets under short
//! names below the data directory.
//!
//! A class's directory may be another disk, which may not be mounted. What is not there then must not be taken for
//! never made: an empty directory where databases were is known by the mark that is missing in it, and nothing is made
//! or removed there.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::model::resources::DEFAULT_STORAGE_CLASS;
use crate::model::{Error, InstanceId, Result};

use super::builds::write_whole;
use super::scope::FileScope;

/// Which directory it is, in the directory of a class, and below the data directory for each class: the same in both.
const MARK: &str = ".berth-storage";
const MARKS: &str = "storage";

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Directories {
    data: PathBuf,
    run: PathBuf,
    /// By class: the directory that holds those of its instances.
    classes: BTreeMap<String, PathBuf>,
}

/// Why a class cannot be used. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("its directory {} is not there: make it, or mount its disk", .0.display())]
    Missing(PathBuf),
    #[error(
        "its directory {} is not the one that holds its databases: mount its disk; or, if they are given up, remove {} to begin anew",
        .0.display(),
        .1.display()
    )]
    Another(PathBuf, PathBuf),
    #[error("its directory {} cannot be used: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

impl Directories {
    /// With the data directory as the only class.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data: data_dir.to_owned(),
            run: data_dir.join("run"),
            classes: BTreeMap::from([(
                DEFAULT_STORAGE_CLASS.to_owned(),
                data_dir.join("instances"),
            )]),
        }
    }

    /// With these classes too. A relative directory is below the data directory.
    #[must_use]
    pub fn with(mut self, classes: impl IntoIterator<Item = (String, PathBuf)>) -> Self {
        for (class, dir) in classes {
            let instances = self.data.join(dir).join("instances");
            self.classes.entry(class).or_insert(instances);
        }
        self
    }

    /// The directories of one instance of the class that every machine has, whether they are there or not.
    pub fn of(&self, instance: InstanceId, uid: Option<u32>) -> FileScope {
        self.below(&self.data.join("instances"), instance, uid)
    }

    /// The directories of one instance of this class, whether they are there or not. An error when the class's own is
    /// not.
    pub fn of_class(
        &self,
        class: &str,
        instance: InstanceId,
        uid: Option<u32>,
    ) -> Result<FileScope> {
        let root = self.class(class)?;
        Ok(self.below(root, instance, uid))
    }

    /// See that a class can be used.
    pub fn check(&self, class: &str) -> Result<()> {
        self.class(class).map(drop)
    }

    /// Directories that one instance may have: one in each class.
    pub fn candidates(&self, instance: InstanceId) -> impl Iterator<Item = PathBuf> {
        let name = instance.to_string();
        self.classes.values().map(move |root| root.join(&name))
    }

    /// Make what holds the directories of instances. What is wrong with a class is told, and keeps no other from
    /// working.
    pub fn prepare(&self) -> io::Result<()> {
        make(&self.run)?;
        for (class, root) in &self.classes {
            if self.is_foreign(root) {
                if let Err(problem) = self.prepare_class(class, root) {
                    tracing::error!(class, "the storage class cannot be used: {problem}");
                }
                continue;
            }
            // Ours, and always there.
            if let Some(dir) = root.parent() {
                make(dir)?;
            }
            make(root)?;
        }
        Ok(())
    }

    /// What all that the host keeps lies below.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// What no plan may name and no instance may read.
    pub(super) fn closed(&self) -> impl Iterator<Item = &Path> {
        let foreign = self.classes.values().filter(|root| self.is_foreign(root));
        std::iter::once(self.data.as_path()).chain(foreign.map(PathBuf::as_path))
    }

    fn class(&self, class: &str) -> Result<&Path> {
        let Some(root) = self.classes.get(class) else {
            return Err(Error::unavailable(format!(
                "there is no storage class `{class:.64}` here"
            )));
        };
        if self.is_foreign(root)
            && let Err(problem) = self.recognise(class, root)
        {
            let message = format!("the storage class `{class}` cannot be used now");
            return Err(Error::unavailable(message).caused_by(problem));
        }
        Ok(root)
    }

    fn below(&self, root: &Path, instance: InstanceId, uid: Option<u32>) -> FileScope {
        let name = instance.to_string();
        let short = blake3::hash(name.as_bytes()).to_hex();
        FileScope {
            run_dir: self.run.join(&short[..12]),
            instance_dir: root.join(name),
            uid,
        }
    }

    /// Whether it may be on another disk than the records.
    fn is_foreign(&self, root: &Path) -> bool {
        !root.starts_with(&self.data)
    }

    /// The directory itself is the operator's, and never made: it may be where a disk is to be mounted.
    fn prepare_class(&self, class: &str, root: &Path) -> std::result::Result<(), Unusable> {
        let problem = |error| Unusable::Io(root.to_owned(), error);
        let dir = root.parent().unwrap_or(root);
        if !dir.is_dir() {
            return Err(Unusable::Missing(dir.to_owned()));
        }
        let known = self.data.join(MARKS).join(class);
        if read(&known).map_err(problem)?.is_some() {
            self.recognise(class, root)?;
        } else {
            make(root).map_err(problem)?;
            let mark = root.join(MARK);
            let text = match read(&mark).map_err(problem)? {
                Some(text) => text,
                None => {
                    let text = uuid::Uuid::new_v4().to_string();
                    write_whole(&mark, &[text.as_bytes()]).map_err(problem)?;
                    text
                }
            };
            make(&self.data.join(MARKS)).map_err(problem)?;
            write_whole(&known, &[text.as_bytes()]).map_err(problem)?;
        }
        // Also what was not writable any more would be found out only by a database.
        let trial = root.join(format!("{MARK}.{}", uuid::Uuid::new_v4().simple()));
        fs::write(&trial, b"")
            .and_then(|()| fs::remove_file(&trial))
            .map_err(problem)?;
        tell_if_closed(dir);
        Ok(())
    }

    fn recognise(&self, class: &str, root: &Path) -> std::result::Result<(), Unusable> {
        let problem = |error| Unusable::Io(root.to_owned(), error);
        let known = self.data.join(MARKS).join(class);
        let expected = read(&known).map_err(problem)?;
        let found = read(&root.join(MARK)).map_err(problem)?;
        match (expected, found) {
            (Some(expected), Some(found)) if expected == found => Ok(()),
            (Some(_), _) => Err(Unusable::Another(root.to_owned(), known)),
            (None, _) => Err(Unusable::Missing(root.to_owned())),
        }
    }
}

/// None when it is not there.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// One that instances lie below: as root their own users pass through it; all that is not theirs is closed to them one
/// by one.
fn make(dir: &Path) -> io::Result<()> {
    let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        made => made?,
    }
    // The process's mask may have taken something away.
    fs::set_permissions(dir, fs::Permissions::from_mode(mode))
}

/// Warn when the instances' own users cannot pass through what leads to their directories.
pub(super) fn tell_if_closed(dir: &Path) {
    let closed = dir.ancestors().find(|dir| {
        dir.metadata()
            .is_ok_and(|m| m.permissions().mode() & 0o001 == 0)
    });
    if let Some(closed) = closed
        && geteuid().is_root()
    {
        tracing::warn!(
            directory = %closed.display(),
            "the instances' own users cannot pass through this directory to their data: choose another or open it (chmod o+x)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_instance_lies_in_the_directory_of_its_class() {
        let root = tempfile::tempdir().unwrap();
        let (data, disk) = (root.path().join("data"), root.path().join("disk"));
        fs::create_dir(&data).unwrap();
        fs::create_dir(&disk).unwrap();
        let directories = Directories::new(&data).with([
            ("bulk".to_owned(), disk.clone()),
            ("near".to_owned(), "near".into()),
            // Not to be had otherwise.
            (DEFAULT_STORAGE_CLASS.to_owned(), "/elsewhere".into()),
        ]);
        directories.prepare().unwrap();
        let id = InstanceId::generate();
        let of = |class: &str| directories.of_class(class, id, None).unwrap().instance_dir;
        let name = id.to_string();
        assert_eq!(of("lssd"), data.join("instances").join(&name));
        assert_eq!(of("bulk"), disk.join("instances").join(&name));
        assert_eq!(of("near"), data.join("near/instances").join(&name));
        assert_eq!(directories.candidates(id).count(), 3);
        assert_eq!(directories.of(id, None).instance_dir, of("lssd"));
        let runs = directories.of_class("bulk", id, None).unwrap().run_dir;
        assert_eq!(runs, directories.of(id, None).run_dir);
        assert!(directories.check("other").is_err());
        let passage = if geteuid().is_root() { 0o711 } else { 0o700 };
        assert_eq!(mode(&disk.join("instances")), passage);
        // Started again, all is as it was.
        directories.prepare().unwrap();
        assert_eq!(of("bulk"), disk.join("instances").join(&name));
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_not_taken_for_an_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let (data, disk) = (root.path().join("data"), root.path().join("disk"));
        fs::create_dir(&data).unwrap();
        let directories = Directories::new(&data).with([("bulk".to_owned(), disk.clone())]);
        // Not there from the beginning: said, and nothing made.
        directories.prepare().unwrap();
        assert!(!disk.exists());
        directories.check("bulk").unwrap_err();
        directories.check("lssd").unwrap();

        fs::create_dir(&disk).unwrap();
        directories.prepare().unwrap();
        directories.check("bulk").unwrap();
        // As when it is taken away, and when something else is there.
        let away = root.path().join("away");
        fs::rename(&disk, &away).unwrap();
        directories.check("bulk").unwrap_err();
        fs::create_dir_all(disk.join("instances")).unwrap();
        directories.prepare().unwrap();
        directories.check("bulk").unwrap_err();
        fs::remove_dir_all(&disk).unwrap();
        fs::rename(&away, &disk).unwrap();
        directories.check("bulk").unwrap();
    }

    #[test]
    fn callers_are_told_no_path() {
        let directories = Directories::new(Path::new("/nowhere"))
            .with([("bulk".to_owned(), "/not/there".into())]);
        let refused = directories.check("bulk").unwrap_err();
        assert!(!refused.public().contains("/not"), "{}", refused.public());
        assert!(format!("{refused:?}").contains("/not/there"));
    }
}
