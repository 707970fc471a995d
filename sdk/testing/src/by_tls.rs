//! The way to a server that takes nobody without TLS: the host speaks it, beside the address where it does not.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::relay::{Gate, pass};

/// `openssl s_client` carries, a process for each connection, to where these arguments of it say. What passes the gate are
/// the messages as they are without TLS.
pub fn carry_by_tls(port: u16, server: &[&str], gate: Gate) {
    let listener = TcpListener::bind(("127.0.1.1", port)).expect("a listener");
    let server: Vec<String> = server.iter().map(|&text| text.into()).collect();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut tls = Command::new("openssl");
            // It looks at no certificate, and would read all of the machine's authorities for each connection.
            let none = ["-no-CAfile", "-no-CApath", "-no-CAstore"];
            tls.args(["s_client", "-quiet"]).args(none).args(&server);
            carry(client, tls, &gate).expect("a relay");
        }
    });
}

/// The process ends when one of the two does.
fn carry(client: TcpStream, mut tls: Command, gate: &Gate) -> io::Result<()> {
    client.set_nodelay(true)?;
    let piped = tls.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tls = piped.stderr(Stdio::null()).spawn()?;
    let (Some(mut to_server), Some(mut from_server)) = (tls.stdin.take(), tls.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let (mut from_client, mut to_client) = (client.try_clone()?, client);
    let (there, back) = (gate.clone(), gate.clone());
    let sender = thread::spawn(move || {
        if !pass(&mut from_client, &mut to_server, || there.may_pass()) {
            drop(from_client.shutdown(Shutdown::Both));
        }
    });
    let pid = Pid::from_raw(i32::try_from(tls.id()).expect("a pid"));
    thread::spawn(move || {
        pass(&mut from_server, &mut to_client, || back.may_answer());
        to_client.shutdown(Shutdown::Both)
    });
    thread::spawn(move || {
        drop(sender.join());
        // It waits for the server's end otherwise, which waits for its.
        let _ = kill(pid, Signal::SIGTERM);
        tls.wait()
    });
    Ok(())
}
