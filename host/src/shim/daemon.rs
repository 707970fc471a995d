//! The shim as a process: how it gets away from the host, how there is only one, and its loop.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{chdir, dup2_stdout, getpid, setsid};
use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2,
};

use super::control::Control;
use super::files;
use super::member::Member;
use super::wire::{Home, Identity};

/// What the second stage says when it serves, and when another shim does already.
const READY: &str = "ready";
const BUSY: &str = "busy";
/// A shim that was killed is gone in an instant; only a broken disk holds one up.
const PREDECESSOR: Duration = Duration::from_secs(30);

/// The first stage, a child of the host: start the second, and end when that serves. Whoever kills the host in
/// between kills none of it.
pub fn launch(home: &Home) -> Result<(), String> {
    close_fds::set_fds_cloexec(3, &[]);
    let mut child = Command::new("/proc/self/exe")
        .arg0("berth")
        .arg("shim")
        .arg("--detached")
        .arg("--dir")
        .arg(home.dir())
        .env_clear()
        .envs(super::SMALL)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("the shim could not be started: {e}"))?;
    let mut word = String::new();
    let stdout = child.stdout.take().ok_or("the shim has no output")?;
    BufReader::new(stdout.take(1024))
        .read_line(&mut word)
        .map_err(|e| format!("the shim could not be heard: {e}"))?;
    match word.trim() {
        word @ (READY | BUSY) => {
            say(word);
            Ok(())
        }
        "" => Err("the shim ended before it served".to_owned()),
        problem => Err(problem.to_owned()),
    }
}

/// The second stage: be the member's shim until there is nothing to do.
pub fn serve(home: Home) -> Result<(), String> {
    detach().map_err(|e| format!("the shim could not detach itself: {e}"))?;
    let lock = take_place(&home).map_err(|e| {
        let problem = format!("the lock could not be taken: {e}");
        say(&problem);
        problem
    })?;
    let Some(lock) = lock else {
        say(BUSY);
        return Ok(());
    };
    let shim = Shim::open(home).map_err(|e| {
        let problem = format!("the shim could not begin: {e}");
        say(&problem);
        problem
    })?;
    let result = shim.run().map_err(|e| format!("the shim broke off: {e}"));
    drop(lock);
    result
}

fn detach() -> nix::Result<()> {
    // Fails for the leader of a group only, which a child of the first stage is not.
    setsid()?;
    chdir("/")?;
    umask(Mode::from_bits_truncate(0o077));
    prctl::set_name(c"berth-shim")?;
    prctl::set_child_subreaper(true)
}

fn say(word: &str) {
    // The first stage may be gone by now; then nobody needs to hear it.
    let _ = writeln!(io::stdout(), "{word}");
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = dup2_stdout(null);
    }
}

/// Take the member's place, and say so. `None` when another shim has it. The process that held it before is gone
/// afterwards: its children were told so, or have left their record.
fn take_place(home: &Home) -> io::Result<Option<Flock<File>>> {
    let Some(lock) = lock(home)? else {
        return Ok(None);
    };
    let own = Identity::of(getpid().as_raw()).ok_or_else(|| io::Error::other("no /proc"))?;
    files::write_in_place(&home.lock(), &own)?;
    Ok(Some(lock))
}

/// The lock alone, which works on a full disk too. Held until this process ends, or the answer is dropped.
pub fn lock(home: &Home) -> io::Result<Option<Flock<File>>> {
    let path = home.lock();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    if !is_same(&lock, &path)? {
        return Err(io::Error::other("the member was removed"));
    }
    let deadline = Instant::now() + PREDECESSOR;
    if let Some(before) = files::read::<Identity>(&path)? {
        // Files are closed before children hear of their parent's end.
        while before.is_alive() {
            if Instant::now() > deadline {
                return Err(io::Error::other("an earlier shim does not end"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(Some(lock))
}

fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((held.dev(), held.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

struct Shim {
    member: Member,
    control: Control,
    wakened: UnixStream,
    asked_to_end: Arc<AtomicBool>,
}

impl Shim {
    fn open(home: Home) -> io::Result<Self> {
        let (wakened, waker) = UnixStream::pair()?;
        wakened.set_nonblocking(true)?;
        let asked_to_end = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGTERM, Arc::clone(&asked_to_end))?;
        for signal in [SIGTERM, SIGCHLD] {
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        // Meant for somebody else, or for nobody.
        for signal in [SIGALRM, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2] {
            signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        Ok(Self {
            control: Control::bind(&home)?,
            member: Member::open(home, waker)?,
            wakened,
            asked_to_end,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut said = false;
        let mut log_due = Instant::now();
        loop {
            let due = self.member.advance();
            if !said {
                said = true;
                say(READY);
            }
            if self.member.is_ended() {
                return Ok(());
            }
            if log_due <= Instant::now() {
                log_due = Instant::now() + self.member.look_around();
            }
            let due = [due, self.control.next_timeout(), Some(log_due)];
            self.wait(due.into_iter().flatten().min())?;
            self.reap();
            if self.asked_to_end.load(Ordering::SeqCst) {
                self.member.terminate();
            }
            let member = &mut self.member;
            self.control.serve(|call| {
                match call {
                    super::wire::Call::Status => {}
                    super::wire::Call::Reload => member.reload(),
                }
                member.status()
            });
        }
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(self.wakened.as_fd())
            .chain(self.member.watched())
            .chain(self.control.fds())
            .collect();
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let timeout = until.map_or(PollTimeout::NONE, |until| {
            // Rounded up, or the last millisecond would be spent in a spin.
            let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [0; 64];
        while self.wakened.read(&mut buffer).is_ok_and(|count| count > 0) {}
        Ok(())
    }

    fn reap(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
            self.member.reaped(status);
        }
    }
}
