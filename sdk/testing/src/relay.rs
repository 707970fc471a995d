//! The way to a server's socket that the host has for an engine.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

/// What the host does: it carries an address that the engine knows to the server's socket.
pub fn relay(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // Without a server the client is cut off.
            if let Ok(server) = UnixStream::connect(&socket) {
                carry(client, server).expect("a relay");
            }
        }
    });
    address
}

/// The same where the host speaks TLS to the server, beside the address where it does not: `openssl s_client` does it, a
/// process for each connection.
pub fn relay_by_tls(port: u16, server: &[&str]) {
    let listener = TcpListener::bind(("127.0.1.1", port)).expect("a listener");
    let server: Vec<String> = server.iter().map(|&text| text.into()).collect();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut tls = Command::new("openssl");
            tls.args(["s_client", "-quiet"]).args(&server);
            carry_by(client, tls).expect("a relay");
        }
    });
}

/// The process ends when one of the two does.
fn carry_by(client: TcpStream, mut tls: Command) -> io::Result<()> {
    client.set_nodelay(true)?;
    let piped = tls.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tls = piped.stderr(Stdio::null()).spawn()?;
    let (Some(mut to_server), Some(mut from_server)) = (tls.stdin.take(), tls.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let sender = thread::spawn(move || copy(&mut from_client, &mut to_server));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(tls.id()).expect("a pid"));
    thread::spawn(move || {
        copy(&mut from_server, &mut to_client);
        to_client.shutdown(Shutdown::Both)
    });
    thread::spawn(move || {
        drop(sender.join());
        // It waits for the server's end otherwise, which waits for its.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        tls.wait()
    });
    Ok(())
}

/// Piece by piece: between a pipe and a socket the kernel would wait for more.
fn copy(from: &mut dyn Read, to: &mut dyn Write) {
    drop(io::copy(from, to));
}

fn carry(client: TcpStream, server: UnixStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (mut from_server, mut to_server) = (server.try_clone()?, server);
    thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        to_server.shutdown(Shutdown::Write)
    });
    thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        to_client.shutdown(Shutdown::Both)
    });
    Ok(())
}
