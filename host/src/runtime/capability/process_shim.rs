//! The host's hand on the shims of one instance. Blocking; see `process`.
//!
//! What is wanted is written down before a shim is told, so that a shim that starts later knows it too, and
//! everything can be repeated. Calls on one instance take turns, by a lock that a killed host gives up.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use berth_bindings::target::berth::plugin::{process, types};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::process_check::confines;
use crate::runtime::scope::ProcessScope;
use crate::shim::wire::{Call, Home, Identity, Service, State, Status};
use crate::shim::{self, CallError, Group, Handle, Search};

/// A shim answers in well under a millisecond.
const ANSWER: Duration = Duration::from_secs(3);
/// How long one call may wait for something that should come at once.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// The shims of one instance.
#[derive(Debug)]
pub struct Shims {
    scope: ProcessScope,
    given_up: Arc<AtomicBool>,
}

impl Shims {
    /// `given_up` is set when nobody waits for the work any more.
    pub fn new(scope: ProcessScope, given_up: Arc<AtomicBool>) -> Self {
        Self { scope, given_up }
    }

    pub fn scope(&self) -> &ProcessScope {
        &self.scope
    }

    pub fn ensure(&self, member: &str, service: &Service) -> Result<(), types::Error> {
        self.make_private(&self.berth_dir())?;
        let _turn = self.turn()?;
        let home = self.home(member);
        self.make_private(home.dir())?;
        let before: Option<Service> = shim::read(&home.service()).map_err(broken)?;
        if before.as_ref() != Some(service) {
            shim::write_whole(&home.service(), service).map_err(broken)?;
        }
        self.want(&home)?;
        self.wake(&home)
    }

    pub fn start(&self, member: &str) -> Result<(), types::Error> {
        let home = self.home(member);
        let Some(_turn) = self.turn_if_there(&home)? else {
            return Err(types::Error::NotFound(format!("the member {member}")));
        };
        self.confine_anew(member, &home)?;
        self.want(&home)?;
        self.wake(&home)
    }

    pub fn inspect(&self, member: &str) -> Result<process::Status, types::Error> {
        let home = self.home(member);
        let Some(service) = known(&home)? else {
            return Ok(absent());
        };
        match shim::call(&home, Call::Status, ANSWER) {
            Ok(status) if is_current(&home, &service, &status) => return Ok(told(status)),
            Ok(_) | Err(CallError::Nobody) => {}
            Err(CallError::Broken(problem)) => return Err(silent(&problem)),
        }
        // It is gone, or did not hear of the last change: mend it.
        let Some(_turn) = self.turn_if_there(&home)? else {
            return Ok(absent());
        };
        if let Some(status) = at_rest(&home)? {
            return Ok(told(status));
        }
        self.wake(&home)?;
        match shim::call(&home, Call::Status, ANSWER) {
            Ok(status) => Ok(told(status)),
            Err(problem) => match at_rest(&home)? {
                Some(status) => Ok(told(status)),
                None => Err(silent(&problem.to_string())),
            },
        }
    }

    pub fn stop(&self, member: &str) -> Result<(), types::Error> {
        let home = self.home(member);
        let Some(_turn) = self.turn_if_there(&home)? else {
            return Ok(());
        };
        shim::remove(&home.wanted()).map_err(later)?;
        shim::sync_parent(&home.wanted()).map_err(later)?;
        if at_rest(&home)?.is_some() {
            return Ok(());
        }
        self.wake(&home)
    }

    pub fn remove_all(&self) -> Result<(), types::Error> {
        let berth_dir = self.berth_dir();
        let _turn = match self.turn() {
            Ok(turn) => Some(turn),
            // Nothing was ever started here, or all of it is gone; processes are looked for all the same.
            Err(_) if !berth_dir.exists() => None,
            Err(error) => return Err(error),
        };
        let homes = homes(&berth_dir).map_err(later)?;
        for home in &homes {
            // A shim that starts from here on finds nothing to do.
            shim::remove(&home.wanted()).map_err(later)?;
            shim::remove(&home.service()).map_err(later)?;
        }
        // Held to the end, so that no shim can begin.
        let _locks = homes
            .iter()
            .map(|home| self.end_shim(home))
            .collect::<Result<Vec<_>, _>>()?;
        self.end_processes(&homes)?;
        remove_groups(&homes)?;
        match fs::remove_dir_all(&berth_dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(later(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub fn log_tail(&self, member: &str, max_bytes: usize) -> Result<String, types::Error> {
        let home = self.home(member);
        if known(&home)?.is_none() {
            return Err(types::Error::NotFound(format!("the member {member}")));
        }
        shim::tail(&home.log_dir(), max_bytes).map_err(broken)
    }

    /// What the operator wants today holds from this start on, whatever did when the member was made.
    fn confine_anew(&self, member: &str, home: &Home) -> Result<(), types::Error> {
        let Some(mut service) = known(home)? else {
            return Ok(());
        };
        let confines = Some(confines(&self.scope, member));
        if service.confines != confines {
            service.confines = confines;
            shim::write_whole(&home.service(), &service).map_err(broken)?;
        }
        Ok(())
    }

    fn berth_dir(&self) -> PathBuf {
        self.scope.files.instance_dir.join(".berth")
    }

    fn home(&self, member: &str) -> Home {
        Home::new(self.berth_dir().join(member))
    }

    /// Below a directory that must be there: one whose instance was removed is not made again.
    fn make_private(&self, dir: &Path) -> Result<(), types::Error> {
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(broken(error)),
            Ok(()) => shim::sync_parent(dir).map_err(broken),
            Err(_) => Ok(()),
        }
    }

    fn want(&self, home: &Home) -> Result<(), types::Error> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(home.wanted())
            .and_then(|_| shim::sync_parent(&home.wanted()))
            .map_err(broken)
    }

    /// The instance's turn, if the member is still there once it has come.
    fn turn_if_there(&self, home: &Home) -> Result<Option<Flock<File>>, types::Error> {
        if known(home)?.is_none() {
            return Ok(None);
        }
        let turn = match self.turn() {
            Ok(turn) => turn,
            Err(_) if known(home)?.is_none() => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(known(home)?.map(|_| turn))
    }

    /// One call at a time for an instance, whatever host it comes from.
    fn turn(&self) -> Result<Flock<File>, types::Error> {
        let path = self.berth_dir().join("turn");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.given_up.load(Ordering::SeqCst) {
                return Err(types::Error::Failed("the call was given up".to_owned()));
            }
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(later)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever had it may have removed the file with the instance.
                Ok(turn) if is_linked(&turn).map_err(later)? => return Ok(turn),
                Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(later(errno.into())),
            }
            if Instant::now() > deadline {
                return Err(wait("another call on the instance is at work"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Have a shim that goes by what is written: tell the one there is, or start one.
    fn wake(&self, home: &Home) -> Result<(), types::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match shim::call(home, Call::Reload, ANSWER) {
                Ok(_) => return Ok(()),
                Err(CallError::Nobody) => {
                    if self.launch(home)? {
                        return Ok(());
                    }
                }
                // One that is just ending hangs up.
                Err(CallError::Broken(problem)) if Instant::now() > deadline => {
                    return Err(silent(&problem));
                }
                Err(CallError::Broken(_)) => {}
            }
            if Instant::now() > deadline {
                return Err(silent("it neither serves nor ends"));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Start a shim and wait until it serves. False when there is another, which may be starting or ending.
    fn launch(&self, home: &Home) -> Result<bool, types::Error> {
        let output = Command::new(&self.scope.berth_exe)
            .arg0("berth")
            .args(["shim", "--dir"])
            .arg(home.dir())
            // Out of reach of a terminal's Ctrl-C from the first moment on; it takes a session of its own.
            .process_group(0)
            .env_clear()
            .envs(shim::SMALL)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(|e| types::Error::Failed(format!("the shim cannot be started: {e}")))?;
        if output.status.success() {
            return Ok(output.stdout.starts_with(b"ready"));
        }
        let problem = String::from_utf8_lossy(&output.stderr);
        Err(wait(&format!(
            "no shim could be started: {}",
            problem.trim()
        )))
    }

    /// End the member's shim and keep its place taken.
    fn end_shim(&self, home: &Home) -> Result<Flock<File>, types::Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = shim::lock(home).map_err(later)? {
                return Ok(lock);
            }
            let shim: Option<Identity> = shim::read(&home.lock()).map_err(later)?;
            if let Some(handle) = shim.and_then(Handle::open) {
                handle.kill().map_err(|problem| wait(&problem))?;
            }
            if Instant::now() > deadline {
                return Err(wait("a shim of the instance does not end"));
            }
            thread::sleep(PAUSE);
        }
    }

    fn end_processes(&self, homes: &[Home]) -> Result<(), types::Error> {
        let search = everything(&self.scope, homes);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = search.find().map_err(later)?;
            if left.is_empty() {
                return Ok(());
            }
            shim::kill(&left);
            if Instant::now() > deadline {
                return Err(wait(&format!("{} processes do not end", left.len())));
            }
            thread::sleep(PAUSE);
        }
    }
}

/// How many processes of an instance live, by what the host itself sees, whatever its target says. Of one that was
/// stopped those do not count that Berth did not start: nobody ends them, so a look at its files by somebody of the
/// same user would keep it from ever being stopped.
pub fn living(scope: &ProcessScope, ended: Ended) -> io::Result<usize> {
    let homes = homes(&scope.files.instance_dir.join(".berth"))?;
    let search = match ended {
        Ended::Stopped => Search::started(&homes),
        Ended::Removed => everything(scope, &homes),
    };
    Ok(search.find()?.len())
}

/// How an instance has ended, as its target says.
#[derive(Clone, Copy, Debug)]
pub enum Ended {
    Stopped,
    Removed,
}

fn everything(scope: &ProcessScope, homes: &[Home]) -> Search {
    let files = &scope.files;
    let dirs = [&files.instance_dir, &files.run_dir]
        .into_iter()
        .map(|dir| dir.canonicalize().unwrap_or_else(|_| dir.clone()))
        .collect();
    Search::instance(files.uid, dirs, homes)
}

/// Nothing lives in them any more; the kernel may take a moment to notice.
fn remove_groups(homes: &[Home]) -> Result<(), types::Error> {
    let deadline = Instant::now() + PATIENCE;
    for group in homes.iter().map(Group::recorded) {
        while let Err(error) = group.remove() {
            if Instant::now() > deadline {
                return Err(wait(&format!("a control group cannot be removed: {error}")));
            }
            thread::sleep(PAUSE);
        }
        group.remove_parents();
    }
    Ok(())
}

fn homes(berth_dir: &Path) -> io::Result<Vec<Home>> {
    let entries = match fs::read_dir(berth_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut homes = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            homes.push(Home::new(entry.path()));
        }
    }
    Ok(homes)
}

fn known(home: &Home) -> Result<Option<Service>, types::Error> {
    shim::read(&home.service()).map_err(broken)
}

fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}

fn is_wanted(home: &Home) -> bool {
    home.wanted().exists()
}

fn is_current(home: &Home, service: &Service, status: &Status) -> bool {
    status.generation == service.generation && status.wanted == is_wanted(home)
}

/// The status of a member that is stopped for good: not wanted, and its shim left when all had ended.
fn at_rest(home: &Home) -> Result<Option<Status>, types::Error> {
    let status: Option<Status> = shim::read(&home.state()).map_err(broken)?;
    Ok(status.filter(|status| status.state == State::Stopped && !is_wanted(home)))
}

fn absent() -> process::Status {
    process::Status {
        state: process::State::Absent,
        restarts: 0,
    }
}

fn told(status: Status) -> process::Status {
    process::Status {
        state: match status.state {
            State::Initialising => process::State::Initialising,
            State::Running(ms) => process::State::Running(ms),
            State::Restarting(how) => process::State::Restarting(how),
            State::Failed(how) => process::State::Failed(how),
            // Until it is done it is not stopped.
            State::Stopping => process::State::Running(0),
            State::Stopped => process::State::Stopped,
        },
        restarts: status.restarts,
    }
}

fn silent(problem: &str) -> types::Error {
    wait(&format!("the member's shim does not answer: {problem}"))
}

fn wait(reason: &str) -> types::Error {
    types::Error::RetryAfter(types::Retry {
        after_ms: 500,
        reason: reason.to_owned(),
    })
}

/// A problem that a repetition may outlast.
fn later(error: io::Error) -> types::Error {
    wait(&error.to_string())
}

fn broken(error: io::Error) -> types::Error {
    types::Error::Failed(format!("the member's files cannot be used: {error}"))
}
