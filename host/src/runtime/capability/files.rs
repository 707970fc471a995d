//! Files of one instance, for the target component that carries its workload out.
//!
//! A path is relative to the instance's directory, goes through no link at all, and never into what the host
//! keeps there for itself. The instance's own processes can write there too, so nothing found is trusted.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use berth_bindings::target::berth::plugin::files;
use berth_bindings::target::berth::plugin::types::{Error, Retry};
use cap_std::fs::{Dir, DirBuilder, File, MetadataExt as _, OpenOptions, Permissions};
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::given_up::GivenUp;
use crate::runtime::scope::FileScope;
use crate::trace::inner_span;

/// What the host keeps in an instance's directory for itself.
pub const RESERVED: &str = ".berth";

const PATH_BYTES: usize = 512;
const CONTENT_BYTES: usize = 1 << 20;

/// The files of one call.
#[derive(Debug, Default)]
pub struct Files {
    /// None when the call is not about an instance: it can then do nothing.
    pub scope: Option<FileScope>,
}

impl FileScope {
    /// Make the instance's two directories, if they are not there. The instance's own is the host's: its user
    /// may enter it, and so cannot put anything in the place of what the host keeps there.
    pub fn prepare(&self) -> io::Result<()> {
        let instance_mode = if self.uid.is_some() { 0o750 } else { 0o700 };
        let host = self.uid.map(|_| geteuid().as_raw());
        make(&self.instance_dir, instance_mode, host, self.uid)?;
        make(&self.run_dir, 0o700, self.uid, self.uid)
    }

    fn open(&self) -> io::Result<Dir> {
        open_own(&self.instance_dir).map(Dir::from_std_file)
    }

    /// A directory below the instance's own, which must be there.
    fn dir(&self, path: &Path) -> io::Result<Dir> {
        path.iter()
            .try_fold(self.open()?, |dir, name| open_dir(&dir, name.as_ref()))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.prepare()?;
        let mut dir = self.open()?;
        for name in path {
            let mut builder = DirBuilder::new();
            cap_std::fs::DirBuilderExt::mode(&mut builder, 0o700);
            let made = match dir.create_dir_with(name, &builder) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
                made => made.map(|()| true)?,
            };
            let child = open_dir(&dir, name.as_ref())?;
            // Also one that an earlier call made and did not live to give away.
            let is_hosts = child.dir_metadata()?.uid() == geteuid().as_raw();
            let owed = self.uid.filter(|_| is_hosts);
            if let Some(uid) = owed {
                child.set_permissions(".", Permissions::from_std(mode(0o700)))?;
                fchown(&child, Some(uid), Some(uid))?;
                sync(&child)?;
            }
            if made || owed.is_some() {
                sync(&dir)?;
            }
            dir = child;
        }
        Ok(())
    }

    /// Complete or absent: written beside its place, flushed, and moved there.
    fn write(&self, path: &Path, content: &str, sensitive: bool) -> io::Result<()> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        self.prepare()?;
        let dir = self.dir(path.parent().unwrap_or(Path::new("")))?;
        let unfinished = format!(".{}.tmp", uuid::Uuid::new_v4().simple());
        let written = self
            .write_new(&dir, &unfinished, content, sensitive)
            .and_then(|()| dir.rename(&unfinished, &dir, name));
        if let Err(e) = written {
            // Best effort: it goes with the instance at the latest.
            let _still_there = dir.remove_file(&unfinished);
            return Err(e);
        }
        sync(&dir)
    }

    fn write_new(&self, dir: &Dir, name: &str, content: &str, sensitive: bool) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = dir.open_with(name, &options)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_std(mode(if sensitive {
            0o600
        } else {
            0o640
        })))?;
        if let Some(uid) = self.uid {
            fchown(&file, Some(uid), Some(uid))?;
        }
        file.sync_all()
    }

    fn remove_all(&self) -> io::Result<()> {
        for dir in [&self.run_dir, &self.instance_dir] {
            match std::fs::remove_dir_all(dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            if let Some(parent) = dir.parent() {
                match std::fs::File::open(parent) {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    opened => opened?.sync_all()?,
                }
            }
        }
        Ok(())
    }

    /// The host's name of a path. What is there of it already must not be a link.
    fn locate(&self, path: &Path) -> io::Result<PathBuf> {
        let root = match self.open() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(self.instance_dir.join(path));
            }
            opened => opened?,
        };
        let mut prefix = PathBuf::new();
        for name in path {
            prefix.push(name);
            match root.symlink_metadata(&prefix) {
                Ok(found) if found.is_symlink() => {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => break,
                Err(e) => return Err(e),
            }
        }
        Ok(self.instance_dir.join(path))
    }

    /// Bytes that a tree takes on disk. What vanishes while it is looked at counts nothing. There is no end to how
    /// long a tree takes, so it is asked at each entry whether somebody still waits.
    fn usage(&self, path: &Path, is_given_up: impl Fn() -> bool) -> io::Result<u64> {
        let gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let root = match self.open() {
            Err(e) if gone(&e) => return Ok(0),
            opened => opened?,
        };
        let mut bytes = match root.symlink_metadata(path) {
            Err(e) if gone(&e) => return Ok(0),
            Ok(found) if !found.is_dir() => return Ok(found.blocks() * 512),
            found => found?.blocks() * 512,
        };
        let mut open = vec![path.to_owned()];
        while let Some(dir) = open.pop() {
            let entries = match root.read_dir(&dir) {
                Err(e) if gone(&e) => continue,
                entries => entries?,
            };
            for entry in entries {
                if is_given_up() {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let entry = entry?;
                let found = match entry.metadata() {
                    Err(e) if gone(&e) => continue,
                    found => found?,
                };
                bytes = bytes.saturating_add(found.blocks() * 512);
                if found.is_dir() {
                    open.push(dir.join(entry.file_name()));
                }
            }
        }
        Ok(bytes)
    }
}

impl files::Host for Files {
    async fn make_dir(&mut self, path: String) -> Result<(), Error> {
        self.run("make the directory", path, |scope, path| {
            scope.make_dir(path)
        })
        .await
    }

    async fn write(&mut self, path: String, content: String, sensitive: bool) -> Result<(), Error> {
        if content.len() > CONTENT_BYTES {
            return Err(Error::Failed(format!(
                "the file `{path:.100}` is larger than {CONTENT_BYTES} bytes"
            )));
        }
        self.run("write the file", path, move |scope, path| {
            scope.write(path, &content, sensitive)
        })
        .await
    }

    async fn remove_all(&mut self) -> Result<(), Error> {
        let scope = self.scope()?;
        match blocking("remove all", move || scope.remove_all()).await? {
            Ok(()) => Ok(()),
            // Somebody still writes there.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(Error::RetryAfter(Retry {
                    after_ms: 200,
                    reason: "files are still being written".to_owned(),
                }))
            }
            Err(e) => Err(Error::Failed(format!("cannot remove the files: {e}"))),
        }
    }

    async fn locate(&mut self, path: String) -> Result<String, Error> {
        let found = self
            .run("name the path", path, |scope, path| scope.locate(path))
            .await?;
        text(found)
    }

    /// Makes nothing: a look at an instance that is being removed must not bring its directories back.
    async fn run_dir(&mut self) -> Result<String, Error> {
        text(self.scope()?.run_dir)
    }

    async fn usage(&mut self, path: String) -> Result<u64, Error> {
        self.run_long("measure", path, |scope, path, given_up| {
            scope.usage(path, || given_up.load(Ordering::SeqCst))
        })
        .await
    }
}

impl Files {
    fn scope(&self) -> Result<FileScope, Error> {
        self.scope
            .clone()
            .ok_or_else(|| Error::Failed("this call is not about an instance".to_owned()))
    }

    /// Check the path and do the work off the runtime. Errors name the path as the component knows it.
    async fn run<T: Send + 'static>(
        &self,
        what: &'static str,
        path: String,
        work: impl FnOnce(&FileScope, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let scope = self.scope()?;
        if !is_inside(&path) {
            return Err(Error::Failed(format!(
                "cannot {what} `{path:.100}`: a path must lead below the instance's directory"
            )));
        }
        let name = path.clone();
        blocking(what, move || work(&scope, Path::new(&path)))
            .await?
            .map_err(|e| Error::Failed(format!("cannot {what} `{name}`: {e}")))
    }

    /// The same for work that may take long: it is told when its caller is gone.
    async fn run_long<T: Send + 'static>(
        &self,
        what: &'static str,
        path: String,
        work: impl FnOnce(&FileScope, &Path, &AtomicBool) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let waits = GivenUp::default();
        let given_up = waits.flag();
        self.run(what, path, move |scope, path| work(scope, path, &given_up))
            .await
    }
}

/// Work off the runtime. What has not begun when its caller is gone never begins: a file must not appear after
/// what came later.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let span = inner_span!("capability", of = "files", call = what);
    AbortOnDropHandle::new(tokio::task::spawn_blocking(work))
        .instrument(span)
        .await
        .map_err(|_| Error::Failed("the work on files was interrupted".to_owned()))
}

fn is_inside(path: &str) -> bool {
    let plain = |component: Component<'_>| match component {
        Component::Normal(name) => name != RESERVED,
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            false
        }
    };
    (1..=PATH_BYTES).contains(&path.len())
        && !path.contains(|c: char| c.is_control())
        && Path::new(path).components().all(plain)
}

/// A directory of the host's, with this mode and owner, whether it was there or not.
fn make(path: &Path, bits: u32, owner: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let made = match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
        made => made.map(|()| true)?,
    };
    let dir = open_own(path)?;
    let found = dir.metadata()?;
    if found.permissions().mode() & 0o7777 != bits {
        dir.set_permissions(mode(bits))?;
    }
    let other = |wanted: Option<u32>, found: u32| wanted.is_some_and(|id| id != found);
    if other(owner, found.uid()) || other(group, found.gid()) {
        fchown(&dir, owner, group)?;
    }
    if made && let Some(parent) = path.parent() {
        dir.sync_all()?;
        open_own(parent)?.sync_all()?;
    }
    Ok(())
}

/// A directory of the host's, so that it can be synced too: cap-std's own way to open one cannot.
fn open_own(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(path)
}

/// A directory in a directory, not through a link.
fn open_dir(dir: &Dir, name: &Path) -> io::Result<Dir> {
    let mut options = OpenOptions::new();
    options.read(true);
    cap_std::fs::OpenOptionsExt::custom_flags(
        &mut options,
        (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits(),
    );
    let file: File = dir.open_with(name, &options)?;
    Ok(Dir::from_std_file(file.into_std()))
}

fn sync(dir: &Dir) -> io::Result<()> {
    dir.try_clone()?.into_std_file().sync_all()
}

fn mode(bits: u32) -> std::fs::Permissions {
    std::fs::Permissions::from_mode(bits)
}

fn text(path: PathBuf) -> Result<String, Error> {
    path.into_os_string()
        .into_string()
        .map_err(|_| Error::Failed("the data directory's name is not text".to_owned()))
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
