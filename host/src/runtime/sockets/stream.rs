//! The two streams of a connection, straight over the socket's own readiness: no task and no copy between
//! while the peer keeps up. When it does not, one bounded remainder is written by a task of its own, as a
//! kernel would, so that a component that reads before it flushes cannot lock itself up.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use nix::sys::socket::{self, MsgFlags};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most bytes taken from a component, or given to it, at once; and most that wait to be sent.
pub(super) const WINDOW: usize = 64 << 10;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Wire {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection as its socket sees it; the streams share it.
#[derive(Clone, Debug)]
pub(super) struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wire: Wire,
    state: Mutex<State>,
    /// Told when a remainder has left.
    sent: Notify,
}

#[derive(Debug, Default)]
struct State {
    receive_closed: bool,
    send: Send,
}

#[derive(Debug, Default)]
enum Send {
    #[default]
    Open,
    /// A remainder is on its way; then the sending side is closed, if the flag says so.
    Draining {
        task: AbortHandle,
        close: bool,
    },
    /// It broke, and the component has not been told yet.
    Failed(io::Error),
    Closed,
}

#[derive(Debug)]
pub(super) struct Input(Connection);

#[derive(Debug)]
pub(super) struct Output(Connection);

impl Wire {
    fn try_read(&self, buffer: &mut Limit<BytesMut>) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_read_buf(buffer),
            Self::Tcp(stream) => stream.try_read_buf(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tcp(stream) => stream.try_write(bytes),
        }
    }

    /// Also where the runtime has not seen yet that it is writable, as right after it was connected.
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        Ok(socket::send(self.fd().as_raw_fd(), bytes, flags)?)
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.writable().await,
            Self::Tcp(stream) => stream.writable().await,
        }
    }

    async fn write_all(&self, mut bytes: Bytes) -> io::Result<()> {
        while !bytes.is_empty() {
            self.writable().await?;
            match self.try_write(&bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => drop(bytes.split_to(n)),
                Err(e) if is_not_now(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => socket::Shutdown::Read,
            Shutdown::Write => socket::Shutdown::Write,
            Shutdown::Both => socket::Shutdown::Both,
        };
        match socket::shutdown(self.fd().as_raw_fd(), how) {
            // The peer was quicker.
            Ok(()) | Err(nix::errno::Errno::ENOTCONN) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

impl Connection {
    pub(super) fn new(wire: Wire) -> Self {
        Self(Arc::new(Shared {
            wire,
            state: Mutex::default(),
            sent: Notify::new(),
        }))
    }

    pub(super) fn streams(&self) -> (Input, Output) {
        (Input(self.clone()), Output(self.clone()))
    }

    /// Close one side or both. What was taken for sending is sent first.
    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let mut state = self.state();
        if matches!(how, Shutdown::Read | Shutdown::Both) {
            state.receive_closed = true;
            self.0.wire.shutdown(Shutdown::Read)?;
        }
        if matches!(how, Shutdown::Write | Shutdown::Both) {
            match &mut state.send {
                Send::Open => {
                    state.send = Send::Closed;
                    self.0.wire.shutdown(Shutdown::Write)?;
                }
                Send::Draining { close, .. } => *close = true,
                Send::Failed(_) | Send::Closed => {}
            }
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Send what the socket would not take, then close if that was asked for meanwhile.
    fn drain(&self, rest: Bytes) -> AbortHandle {
        let connection = self.clone();
        let task = tokio::spawn(async move {
            let outcome = connection.0.wire.write_all(rest).await;
            let mut state = connection.state();
            let close = matches!(state.send, Send::Draining { close: true, .. });
            let outcome = if close && outcome.is_ok() {
                connection.0.wire.shutdown(Shutdown::Write)
            } else {
                outcome
            };
            state.send = match outcome {
                Ok(()) if close => Send::Closed,
                Ok(()) => Send::Open,
                Err(e) => Send::Failed(e),
            };
            drop(state);
            connection.0.sent.notify_waiters();
        });
        task.abort_handle()
    }

    /// Wait until nothing is on its way any more.
    async fn drained(&self) {
        loop {
            let mut sent = pin!(self.0.sent.notified());
            sent.as_mut().enable();
            if !matches!(self.state().send, Send::Draining { .. }) {
                return;
            }
            sent.await;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // After an orderly end nothing is left: `cancel` has waited. Otherwise the call was cut short.
        if let Send::Draining { task, .. } = &self.0.state().send {
            task.abort();
        }
    }
}

#[async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.0.state().receive_closed {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let size = size.min(WINDOW);
        let mut buffer = BytesMut::with_capacity(size).limit(size);
        match self.0.0.wire.try_read(&mut buffer) {
            Ok(0) => {
                self.0.state().receive_closed = true;
                Err(StreamError::Closed)
            }
            Ok(_) => Ok(buffer.into_inner().freeze()),
            Err(e) if is_not_now(&e) => Ok(Bytes::new()),
            Err(e) => {
                self.0.state().receive_closed = true;
                Err(StreamError::LastOperationFailed(e.into()))
            }
        }
    }
}

#[async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        if self.0.state().receive_closed {
            return;
        }
        // An error is told by the read that follows.
        let _told_by_read = self.0.0.wire.readable().await;
    }
}

#[async_trait]
impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        let mut state = self.0.state();
        match state.send {
            Send::Open if bytes.len() <= WINDOW => {}
            Send::Closed => return Err(StreamError::Closed),
            Send::Open | Send::Draining { .. } | Send::Failed(_) => {
                return Err(StreamError::trap("wrote more than was permitted"));
            }
        }
        while !bytes.is_empty() {
            match self.0.0.wire.write_now(&bytes) {
                Ok(n) => drop(bytes.split_to(n)),
                Err(e) if is_not_now(&e) => {
                    state.send = Send::Draining {
                        task: self.0.drain(bytes),
                        close: false,
                    };
                    return Ok(());
                }
                Err(e) => {
                    state.send = Send::Closed;
                    return Err(failure(e));
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Everything is on its way as soon as it is written; readiness says when it has left.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let mut state = self.0.state();
        match &state.send {
            Send::Open => Ok(WINDOW),
            Send::Draining { .. } => Ok(0),
            Send::Closed => Err(StreamError::Closed),
            Send::Failed(_) => match std::mem::replace(&mut state.send, Send::Closed) {
                Send::Failed(e) => Err(failure(e)),
                Send::Open | Send::Draining { .. } | Send::Closed => Err(StreamError::Closed),
            },
        }
    }

    async fn cancel(&mut self) {
        // The component has let go of the stream; what it wrote before still leaves, within the call's time.
        self.0.drained().await;
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.0.drained().await;
    }
}

fn failure(e: io::Error) -> StreamError {
    match e.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => StreamError::Closed,
        _ => StreamError::LastOperationFailed(e.into()),
    }
}

fn is_not_now(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
