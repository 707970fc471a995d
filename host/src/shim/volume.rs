//! The directory that init tasks fill, and the marker that says they were done.
//!
//! The marker stands beside the directory, not in it: a copy of the content must not carry it along, or
//! half a copy would count as whole. Every path is opened part by part from a directory handle of the instance, and
//! through no link: the member's processes can plant one that leads to what the host keeps in the instance itself.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

#[derive(Debug)]
pub struct Volume {
    instance: Dir,
    /// The directory that it stands in, its marker beside it.
    parent: PathBuf,
    name: String,
    marker: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing is in it yet.
    Empty,
    /// Tasks began to fill it and did not come to their end.
    Partial,
    /// The tasks were done.
    Filled,
    /// The tasks were done once, and now it is gone or empty. It must not be filled anew: to whoever asks for
    /// their data an error is better than an empty database.
    Lost,
}

impl Volume {
    /// `dir` is below the instance's directory.
    pub fn open(instance_dir: &Path, dir: &str) -> io::Result<Self> {
        let path = Path::new(dir);
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a volume without a name"))?;
        Ok(Self {
            instance: Dir::open_ambient_dir(instance_dir, ambient_authority())?,
            parent: parent_of(path).to_owned(),
            name: name.to_owned(),
            marker: format!(".{name}.filled"),
        })
    }

    pub fn content(&self) -> io::Result<Content> {
        let parent = below(&self.instance, &self.parent)?;
        let marked = parent.try_exists(&self.marker)?;
        let empty = match open_dir(&parent, self.name.as_ref()) {
            Ok(dir) => dir.entries()?.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound && marked => true,
            Err(error) => return Err(error),
        };
        Ok(match (marked, empty) {
            (true, true) => Content::Lost,
            (true, false) => Content::Filled,
            (false, true) => Content::Empty,
            (false, false) => Content::Partial,
        })
    }

    /// Remove what tasks left behind that were cut short. Only when no process of the member lives.
    pub fn wipe(&self) -> io::Result<()> {
        let parent = below(&self.instance, &self.parent)?;
        if parent.try_exists(&self.marker)? {
            return Err(io::Error::other("a volume that was filled is not wiped"));
        }
        let dir = open_dir(&parent, self.name.as_ref())?;
        for entry in dir.entries()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dir.remove_dir_all(entry.file_name())?;
            } else {
                dir.remove_file(entry.file_name())?;
            }
        }
        Ok(())
    }

    /// Make the content last, then say that it is whole.
    pub fn complete(&self) -> io::Result<()> {
        let parent = below(&self.instance, &self.parent)?;
        // One pass over the file system is quicker than one over a thousand files, and reports write errors.
        nix::unistd::syncfs(&open_dir(&parent, self.name.as_ref())?)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut marker = parent.open_with(&self.marker, &options)?;
        marker.write_all(b"The directory beside this file was filled completely.\n")?;
        marker.sync_all()?;
        parent.into_std_file().sync_all()
    }
}

/// Remove files that a killed server leaves behind. Only when no process of the member lives.
pub fn remove_stale(instance_dir: &Path, stale: &[String]) -> io::Result<()> {
    if stale.is_empty() {
        return Ok(());
    }
    let instance = Dir::open_ambient_dir(instance_dir, ambient_authority())?;
    for path in stale {
        let path = Path::new(path);
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
        match below(&instance, parent_of(path)).and_then(|dir| dir.remove_file(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A directory below the instance's own, opened part by part.
fn below(instance: &Dir, path: &Path) -> io::Result<Dir> {
    let start = open_dir(instance, ".".as_ref())?;
    path.components().try_fold(start, |dir, part| match part {
        Component::Normal(name) => open_dir(&dir, name),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            Err(ErrorKind::InvalidInput.into())
        }
    })
}

/// A directory in a directory, not through a link. For reading: a handle for paths alone cannot be synced.
fn open_dir(dir: &Dir, name: &OsStr) -> io::Result<Dir> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty())?;
    Ok(Dir::from_std_file(opened.into()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn volume() -> (tempfile::TempDir, Volume) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("main/volumes/data")).unwrap();
        let volume = Volume::open(dir.path(), "main/volumes/data").unwrap();
        (dir, volume)
    }

    #[test]
    fn the_marker_comes_last_and_protects() {
        let (dir, volume) = volume();
        let data = dir.path().join("main/volumes/data");
        assert_eq!(volume.content().unwrap(), Content::Empty);
        fs::create_dir_all(data.join("base/1")).unwrap();
        fs::write(data.join("base/1/2"), "x").unwrap();
        fs::write(data.join("version"), "x").unwrap();
        assert_eq!(volume.content().unwrap(), Content::Partial);
        volume.wipe().unwrap();
        assert_eq!(volume.content().unwrap(), Content::Empty);
        fs::write(data.join("version"), "x").unwrap();
        volume.complete().unwrap();
        assert_eq!(volume.content().unwrap(), Content::Filled);
        volume.wipe().unwrap_err();
        assert!(data.join("version").exists());
        fs::remove_file(data.join("version")).unwrap();
        assert_eq!(volume.content().unwrap(), Content::Lost);
        fs::remove_dir(&data).unwrap();
        assert_eq!(volume.content().unwrap(), Content::Lost);
    }

    #[test]
    fn a_volume_that_was_never_made_is_an_error() {
        let (dir, volume) = volume();
        fs::remove_dir(dir.path().join("main/volumes/data")).unwrap();
        assert_eq!(volume.content().unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn links_lead_nowhere() {
        let (dir, volume) = volume();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        symlink(outside.path(), dir.path().join("main/volumes/data/link")).unwrap();
        volume.wipe().unwrap();
        assert!(outside.path().join("precious").exists());
        symlink(outside.path(), dir.path().join("main/link")).unwrap();
        remove_stale(dir.path(), &["main/link/precious".to_owned()]).unwrap_err();
        assert!(outside.path().join("precious").exists());
        let planted = dir.path().join("main/volumes/.data.filled");
        symlink(outside.path().join("new"), &planted).unwrap();
        volume.complete().unwrap_err();
        assert!(!outside.path().join("new").exists());
        fs::remove_file(&planted).unwrap();

        // Nor to what the host keeps in the instance: a link there stays inside of it.
        let record = dir.path().join(".berth/main/service.json");
        fs::create_dir_all(record.parent().unwrap()).unwrap();
        fs::write(&record, "x").unwrap();
        let volumes = dir.path().join("main/volumes");
        let refused = |stale: &str| {
            assert_ne!(volume.content().unwrap_err().kind(), ErrorKind::NotFound);
            volume.wipe().unwrap_err();
            volume.complete().unwrap_err();
            remove_stale(dir.path(), &[stale.to_owned()]).unwrap_err();
            assert!(record.exists(), "{stale}");
        };
        fs::rename(volumes.join("data"), dir.path().join("main/moved")).unwrap();
        symlink("../../.berth", volumes.join("data")).unwrap();
        refused("main/volumes/data/main/service.json");
        fs::rename(&volumes, dir.path().join("main/away")).unwrap();
        symlink("../.berth", &volumes).unwrap();
        refused("main/volumes/main/service.json");
    }

    #[test]
    fn stale_files_go_and_may_be_absent() {
        let (dir, _volume) = volume();
        let stale = dir.path().join("main/volumes/data/server.pid");
        fs::write(&stale, "1").unwrap();
        let list = [
            "main/volumes/data/server.pid".to_owned(),
            "main/none".to_owned(),
        ];
        remove_stale(dir.path(), &list).unwrap();
        assert!(!stale.exists());
    }
}
