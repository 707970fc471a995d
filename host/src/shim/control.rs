//! The control socket, both ends. One request and one answer per connection, a line of JSON each.
//!
//! The socket lives in the home, where only the host's own user may go, and is reached through a handle of that
//! directory: a data directory's path may be longer than a socket's name can be.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::files;
use super::wire::{Call, Home, MAX_LINE, Reply, Request, Status, VERSION};

/// A caller that has not said what it wants after this is dropped.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_CALLERS: usize = 16;

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens: no shim runs, or it has not come so far yet.
    #[error("no shim answers")]
    Nobody,
    #[error("the shim does not answer: {0}")]
    Broken(String),
}

/// Ask the member's shim.
pub fn call(home: &Home, call: Call, timeout: Duration) -> Result<Status, CallError> {
    let mut stream = open(home)?;
    let broken = |error: io::Error| CallError::Broken(error.to_string());
    stream.set_nonblocking(false).map_err(broken)?;
    stream.set_read_timeout(Some(timeout)).map_err(broken)?;
    stream.set_write_timeout(Some(timeout)).map_err(broken)?;
    let request = Request {
        version: VERSION,
        call,
    };
    let mut line = serde_json::to_vec(&request).map_err(|e| broken(e.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_LINE as u64))
        .read_line(&mut answer)
        .map_err(broken)?;
    match serde_json::from_str(&answer) {
        Ok(Reply::Status(status)) => Ok(status),
        Ok(Reply::Error(problem)) => Err(CallError::Broken(problem)),
        Err(error) => Err(CallError::Broken(error.to_string())),
    }
}

fn open(home: &Home) -> Result<UnixStream, CallError> {
    let nobody = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => CallError::Nobody,
        _ => CallError::Broken(error.to_string()),
    };
    let dir = File::open(home.dir()).map_err(nobody)?;
    // Not blocking: a shim that hangs must not make its caller hang.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(|e| nobody(e.into()))?;
    let address = UnixAddr::new(&through(&dir)).map_err(|e| nobody(e.into()))?;
    connect(socket.as_raw_fd(), &address).map_err(|e| nobody(e.into()))?;
    Ok(socket.into())
}

fn through(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(Home::socket_name())
}

/// The shim's end.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    callers: Vec<Caller>,
}

#[derive(Debug)]
struct Caller {
    stream: UnixStream,
    heard: Vec<u8>,
    until: Instant,
}

impl Control {
    /// The caller holds the member's lock, so a socket that is there is nobody's.
    pub fn bind(home: &Home) -> io::Result<Self> {
        files::remove(&home.dir().join(Home::socket_name()))?;
        let dir = File::open(home.dir())?;
        let path = through(&dir);
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            callers: Vec::new(),
        })
    }

    /// What to wait for.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let callers = self.callers.iter().map(|caller| caller.stream.as_fd());
        // With too many callers, new ones wait.
        let listener = (self.callers.len() < MOST_CALLERS).then(|| self.listener.as_fd());
        listener.into_iter().chain(callers)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.callers.iter().map(|caller| caller.until).min()
    }

    /// Hear everyone and answer those who have said what they want. Never waits for anybody.
    pub fn serve(&mut self, mut answer: impl FnMut(Call) -> Status) {
        while self.callers.len() < MOST_CALLERS
            && let Ok((stream, _)) = self.listener.accept()
        {
            if stream.set_nonblocking(true).is_ok() {
                self.callers.push(Caller {
                    stream,
                    heard: Vec::new(),
                    until: Instant::now() + PATIENCE,
                });
            }
        }
        let now = Instant::now();
        self.callers
            .retain_mut(|caller| caller.until > now && !caller.serve(&mut answer));
    }
}

impl Caller {
    /// Whether it is done with.
    fn serve(&mut self, answer: &mut impl FnMut(Call) -> Status) -> bool {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return true,
            }
            if let Some(end) = self.heard.iter().position(|b| *b == b'\n') {
                let reply = match serde_json::from_slice::<Request>(&self.heard[..end]) {
                    Ok(request) if request.version > VERSION => {
                        Reply::Error(format!("this shim speaks version {VERSION} only"))
                    }
                    Ok(request) => Reply::Status(answer(request.call)),
                    Err(error) => Reply::Error(format!("not a request: {error}")),
                };
                // An answer fits into the socket's buffer; who does not take it has gone away.
                if let Ok(mut line) = serde_json::to_vec(&reply) {
                    line.push(b'\n');
                    let _ = self.stream.write_all(&line);
                }
                return true;
            }
            if self.heard.len() > MAX_LINE {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::State;
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket's name may be.
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        (dir, Home::new(deep))
    }

    fn status() -> Status {
        Status {
            version: VERSION,
            state: State::Restarting("words ".repeat(100)),
            restarts: 3,
            generation: "g".into(),
            wanted: true,
        }
    }

    fn talk(control: &mut Control, client: impl FnOnce() + Send) -> Vec<Call> {
        let mut calls = Vec::new();
        std::thread::scope(|scope| {
            let client = scope.spawn(client);
            while !client.is_finished() {
                control.serve(|call| {
                    calls.push(call);
                    status()
                });
                std::thread::yield_now();
            }
        });
        calls
    }

    #[test]
    fn a_call_is_answered() {
        let (_dir, home) = home();
        let timeout = Duration::from_secs(30);
        assert!(matches!(
            call(&home, Call::Status, timeout),
            Err(CallError::Nobody)
        ));
        let mut control = Control::bind(&home).unwrap();
        let calls = talk(&mut control, || {
            assert_eq!(call(&home, Call::Status, timeout).unwrap(), status());
            assert_eq!(call(&home, Call::Reload, timeout).unwrap(), status());
        });
        assert_eq!(calls, [Call::Status, Call::Reload]);
        let socket = home.dir().join(Home::socket_name());
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(control);
        // The socket is still there, and nobody behind it.
        assert!(matches!(
            call(&home, Call::Status, timeout),
            Err(CallError::Nobody)
        ));
        Control::bind(&home).unwrap();
    }

    #[test]
    fn nonsense_and_silence_disturb_nobody() {
        let (_dir, home) = home();
        let mut control = Control::bind(&home).unwrap();
        let silent: Vec<UnixStream> = (0..MOST_CALLERS - 1)
            .map(|_| open(&home).unwrap())
            .collect();
        let calls = talk(&mut control, || {
            for line in [
                "nonsense\n".to_owned(),
                r#"{"version":99,"call":"status"}"#.to_owned() + "\n",
            ] {
                let mut stream = open(&home).unwrap();
                stream.set_nonblocking(false).unwrap();
                stream.write_all(line.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with(r#"{"error":"#), "{answer}");
            }
            call(&home, Call::Status, Duration::from_secs(30)).unwrap();
        });
        assert_eq!(calls, [Call::Status]);
        drop(silent);
    }
}
