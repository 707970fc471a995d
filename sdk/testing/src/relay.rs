//! The way to a server that the host has for an engine, which can be cut at any message.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What of a message is lost with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The message itself: the server never hears it.
    Request,
    /// The server's answer to it.
    Answer,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    /// So many messages pass before the one that is the last.
    Cut(usize, Lost),
    /// The last message is under way, and its answer is not to come.
    Last,
    /// Nothing passes any more.
    Closed,
}

/// Whether messages pass, by whichever way: it may be cut.
#[derive(Clone)]
pub struct Gate(Arc<Mutex<State>>);

/// What the host does: it carries an address that the engine knows to the server's socket.
pub struct Relay {
    address: SocketAddr,
}

impl Relay {
    /// To a socket, through a gate that others may have too: who dies lets go of all ways at once.
    pub fn to(socket: PathBuf, gate: &Gate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let shared = gate.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a server the client is cut off.
                if let Ok(server) = UnixStream::connect(&socket) {
                    carry(client, server, &shared).expect("a relay");
                }
            }
        });
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Gate {
    /// One through which all passes.
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(State::Open)))
    }

    /// Cut it at a message: the first is number 0. Nothing passes after that, as if the one who calls had died.
    pub fn cut(&self, message: usize, lost: Lost) {
        *self.locked() = State::Cut(message, lost);
    }

    /// Let everything pass again. Answers whether it was cut.
    pub fn reopen(&self) -> bool {
        let was = std::mem::replace(&mut *self.locked(), State::Open);
        matches!(was, State::Last | State::Closed)
    }

    /// Whether a message of the client's may pass. What it sends at once is one, which is how drivers write.
    pub fn may_pass(&self) -> bool {
        let mut state = self.locked();
        let (next, passes) = match *state {
            State::Open => (State::Open, true),
            State::Cut(0, Lost::Request) => (State::Closed, false),
            State::Cut(0, Lost::Answer) => (State::Last, true),
            State::Cut(more, lost) => (State::Cut(more - 1, lost), true),
            State::Last | State::Closed => (State::Closed, false),
        };
        *state = next;
        passes
    }

    /// Whether what the server says may pass.
    pub fn may_answer(&self) -> bool {
        let mut state = self.locked();
        match *state {
            State::Open | State::Cut(..) => true,
            State::Last | State::Closed => {
                *state = State::Closed;
                false
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

fn carry(client: TcpStream, server: UnixStream, gate: &Gate) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    let (there, back) = (gate.clone(), gate.clone());
    thread::spawn(move || {
        let end = pass(&mut from_client, &mut to_server, || there.may_pass());
        if !end {
            drop(from_client.shutdown(Shutdown::Both));
        }
        to_server.shutdown(Shutdown::Write)
    });
    thread::spawn(move || {
        pass(&mut from_server, &mut to_client, || back.may_answer());
        to_client.shutdown(Shutdown::Both)
    });
    Ok(())
}

/// Pass on what comes, as long as it may. Answers whether it came to its end by itself.
pub fn pass(from: &mut impl Read, to: &mut impl Write, may: impl Fn() -> bool) -> bool {
    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return true,
            Ok(_) if !may() => return false,
            Ok(read) => {
                let written = to.write_all(&buffer[..read]);
                if written.and_then(|()| to.flush()).is_err() {
                    return true;
                }
            }
        }
    }
}
