//! The peer of a read: a bare axum handler that answers with bytes it was given.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;

/// The handler in a process of its own, which ends with it.
pub struct Bare {
    process: Child,
    pub address: SocketAddr,
}

impl Bare {
    pub fn start(body: &[u8]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("own path"))
            .arg("bare-http")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a subprocess");
        let mut stdin = process.stdin.take().expect("piped");
        stdin.write_all(body).expect("the body");
        drop(stdin);
        let mut address = String::new();
        let mut stdout = process.stdout.take().expect("piped");
        let mut byte = [0];
        while stdout.read_exact(&mut byte).is_ok() && byte != *b"\n" {
            address.push(char::from(byte[0]));
        }
        let address = address.parse().expect("an address");
        Self { process, address }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may be gone already; either way nothing is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The subprocess: the body comes through standard input, the address goes out as a line.
pub async fn serve() {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).expect("the body");
    let body = Bytes::from(body);
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    let routes = Router::new().route("/api/v1/databases/{id}", get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("its address"));
    axum::serve(listener, routes).await.expect("served");
}
