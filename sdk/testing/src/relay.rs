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

/// What the host does: it carries an address that the engine knows to the server's socket.
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Relay {
    pub fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(State::Open));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Without a server the client is cut off.
                if let Ok(server) = UnixStream::connect(&socket) {
                    carry(client, server, &shared).expect("a relay");
                }
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cut it at a message: the first is number 0. Nothing passes after that, as if the one who calls had died.
    pub fn cut(&self, message: usize, lost: Lost) {
        *locked(&self.state) = State::Cut(message, lost);
    }

    /// Let everything pass again. Answers whether it was cut.
    pub fn open(&self) -> bool {
        let was = std::mem::replace(&mut *locked(&self.state), State::Open);
        matches!(was, State::Last | State::Closed)
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

/// Whether a message of the client's may pass. What it sends at once is one, which is how drivers write.
fn may_pass(state: &Mutex<State>) -> bool {
    let mut state = locked(state);
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
fn may_answer(state: &Mutex<State>) -> bool {
    let mut state = locked(state);
    match *state {
        State::Open | State::Cut(..) => true,
        State::Last | State::Closed => {
            *state = State::Closed;
            false
        }
    }
}

fn carry(client: TcpStream, server: UnixStream, state: &Arc<Mutex<State>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    let (there, back) = (Arc::clone(state), Arc::clone(state));
    thread::spawn(move || {
        let end = pass(&mut from_client, &mut to_server, || may_pass(&there));
        if !end {
            drop(from_client.shutdown(Shutdown::Both));
        }
        to_server.shutdown(Shutdown::Write)
    });
    thread::spawn(move || {
        pass(&mut from_server, &mut to_client, || may_answer(&back));
        to_client.shutdown(Shutdown::Both)
    });
    Ok(())
}

/// Pass on what comes, as long as it may. Answers whether it came to its end by itself.
fn pass(from: &mut impl Read, to: &mut impl Write, may: impl Fn() -> bool) -> bool {
    let mut buffer = [0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return true,
            Ok(_) if !may() => return false,
            Ok(read) => {
                if to.write_all(&buffer[..read]).is_err() {
                    return true;
                }
            }
        }
    }
}
