//! The way to a server's socket that the host has for an engine.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
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
