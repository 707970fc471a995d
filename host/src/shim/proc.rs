//! Processes as `/proc` shows them. Reads only; who may be signalled is decided elsewhere.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::wire::Identity;

/// A living process. Zombies are dead: whoever should reap them may be slow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub pid: i32,
    pub parent: i32,
    /// Whether it has a controlling terminal, so somebody may sit before it.
    pub terminal: bool,
    pub start: u64,
}

/// `None` when there is no such process, or only what is left of it, or it cannot be told.
pub fn live(pid: i32) -> Option<Live> {
    look(pid).ok().flatten()
}

fn look(pid: i32) -> io::Result<Option<Live>> {
    let text = match read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(error) if is_gone(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(stat) = parse(pid, &text) else {
        return Ok(None);
    };
    let dead = match stat.state {
        'X' | 'x' => true,
        // The first thread may have ended before the others.
        'Z' => !has_living_thread(pid),
        _ => false,
    };
    Ok((!dead).then_some(stat.live))
}

/// A file about a process. Its name stands there, which is any bytes: one that is no text shall not keep all others from
/// being seen.
fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let bytes = fs::read(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Every living process that can be seen. That they cannot be looked at, as when no file can be opened, is an error: it
/// shall not look as if there were none.
pub fn all() -> io::Result<Vec<Live>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
            all.extend(look(pid)?);
        }
    }
    Ok(all)
}

/// What reading about a process or a group says that has ended meanwhile, or that is hidden as those of other users can be.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let gone = [Errno::ESRCH, Errno::ENODEV].map(|errno| Some(errno as i32));
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
    ) || gone.contains(&error.raw_os_error())
}

/// The real user. Not the owner of `/proc/PID`, which is root for a process that may not be dumped.
pub fn uid(pid: i32) -> Option<u32> {
    let status = read(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

pub fn cwd(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

impl Identity {
    /// `None` when the process is not alive.
    pub fn of(pid: i32) -> Option<Self> {
        let live = live(pid)?;
        Some(Self {
            pid,
            start: live.start,
            boot: boot_id().to_owned(),
        })
    }

    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && live(self.pid).is_some_and(|p| p.start == self.start)
    }

    /// How long ago it started.
    pub fn age(&self) -> Duration {
        let ticks = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .and_then(|ticks| u32::try_from(ticks).ok())
            .unwrap_or(100);
        let started = self.start as f64 / f64::from(ticks);
        let up = fs::read_to_string("/proc/uptime")
            .ok()
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(started);
        Duration::from_secs_f64((up - started).max(0.0))
    }
}

/// A handle on a process that a later one with the same number cannot take over.
#[derive(Debug)]
pub struct Handle {
    pub identity: Identity,
    fd: OwnedFd,
}

impl Handle {
    /// `None` when it is not that process any more.
    pub fn open(identity: Identity) -> Option<Self> {
        let fd = pidfd_open(Pid::from_raw(identity.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after the handle was made: from here on both mean the same process.
        identity.is_alive().then_some(Self { identity, fd })
    }

    /// Of a child that was not reaped yet: also of one that has ended already.
    pub fn of_child(pid: i32) -> io::Result<Self> {
        let text = read(format!("/proc/{pid}/stat"))?;
        let stat = parse(pid, &text).ok_or(io::ErrorKind::InvalidData)?;
        let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            identity: Identity {
                pid,
                start: stat.live.start,
                boot: boot_id().to_owned(),
            },
            fd: pidfd_open(raw, PidfdFlags::empty())?,
        })
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn kill(&self) -> Result<(), String> {
        self.signal(Signal::KILL)
    }

    /// A process that has ended needs no signal; that is not an error.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        match pidfd_send_signal(&self.fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(format!(
                "cannot signal process {}: {error}",
                self.identity.pid
            )),
        }
    }
}

/// End these processes at once.
pub fn kill(processes: &[Live]) {
    for process in processes {
        let identity = Identity {
            pid: process.pid,
            start: process.start,
            boot: boot_id().to_owned(),
        };
        if let Some(handle) = Handle::open(identity) {
            // Whoever asked looks again whether it is gone; there is nobody to tell otherwise.
            let _ = handle.kill();
        }
    }
}

fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    })
}

struct Stat {
    state: char,
    live: Live,
}

fn parse(pid: i32, text: &str) -> Option<Stat> {
    // The name stands in brackets and may hold anything, brackets and spaces too.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        live: Live {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            terminal: *fields.get(4)? != "0",
            start: fields.get(19)?.parse().ok()?,
        },
    })
}

fn has_living_thread(pid: i32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().any(|thread| {
        read(thread.path().join("stat"))
            .ok()
            .and_then(|text| parse(pid, &text))
            .is_some_and(|stat| !matches!(stat.state, 'Z' | 'X' | 'x'))
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_obstacle() {
        let text = "7 (a) b (c)) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        let stat = parse(7, text).unwrap();
        assert_eq!(stat.state, 'S');
        assert_eq!(stat.live.parent, 3);
        assert_eq!(stat.live.start, 4242);
        assert!(!stat.live.terminal);
    }

    #[test]
    fn a_name_that_is_no_text_hides_nobody() {
        let folder = tempfile::tempdir().unwrap();
        // The name of a process is that of its program's file.
        let program = folder.path().join(OsStr::from_bytes(b"od\xffd"));
        fs::copy("/usr/bin/tail", &program).unwrap();
        let mut child = Command::new(&program)
            .args(["-f", "/dev/null"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap();
        assert!(stat.contains(&0xff), "{stat:?}");
        let seen = all();
        let known = Handle::of_child(pid).map(|handle| handle.identity.pid);
        let of = uid(pid);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(seen.unwrap().iter().any(|process| process.pid == pid));
        assert_eq!(known.unwrap(), pid);
        assert_eq!(of, Some(nix::unistd::getuid().as_raw()));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = Command::new("tail")
            .args(["-f", "/dev/null"])
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let identity = Identity::of(pid).unwrap();
        assert!(identity.is_alive());
        let handle = Handle::open(identity.clone()).unwrap();
        handle.signal(Signal::KILL).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while identity.is_alive() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        // Not reaped yet, so the number is still taken, and it can still be known as a child.
        assert_eq!(Handle::of_child(pid).unwrap().identity, identity);
        child.wait().unwrap();
        handle.signal(Signal::KILL).unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_is_another() {
        let own = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        let earlier = Identity {
            start: own.start - 1,
            ..own.clone()
        };
        assert!(!earlier.is_alive());
        assert!(Handle::open(earlier).is_none());
        let other_boot = Identity {
            boot: "another".into(),
            ..own
        };
        assert!(!other_boot.is_alive());
    }

    #[test]
    fn the_user_of_a_process_is_known() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(uid(pid), Some(nix::unistd::getuid().as_raw()));
    }
}
