//! A load generator: keep-alive connections that each send one request after another. It does as little
//! as it can, because it shares the machine with what it measures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Requests per second that were answered with 200, over all connections.
pub async fn requests_per_second(
    address: SocketAddr,
    request: &str,
    connections: usize,
    time: Duration,
) -> f64 {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let request = request.to_owned();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await;
            let mut answered = 0_u32;
            while start.elapsed() < time {
                let body = connection.send(&request).await;
                assert!(body > 0, "an empty answer");
                answered += 1;
            }
            answered
        });
    }
    let answered: u32 = tasks.join_all().await.into_iter().sum();
    f64::from(answered) / start.elapsed().as_secs_f64()
}

/// The bytes of one `GET`.
pub fn get(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n\r\n")
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            buffer: Vec::with_capacity(64 << 10),
        }
    }

    /// Send, read the whole answer, and say how long its body was. Anything but a 200 ends the run.
    pub async fn send(&mut self, request: &str) -> usize {
        self.stream
            .write_all(request.as_bytes())
            .await
            .expect("sent");
        self.buffer.clear();
        let (head, length) = loop {
            self.read_more().await;
            if let Some(found) = head_and_length(&self.buffer) {
                break found;
            }
        };
        while self.buffer.len() < head + length {
            self.read_more().await;
        }
        length
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        let (head, length) = head_and_length(&self.buffer).expect("an answer was read");
        &self.buffer[head..head + length]
    }

    async fn read_more(&mut self) {
        let read = self.stream.read_buf(&mut self.buffer).await.expect("read");
        assert!(read > 0, "the connection ended inside an answer");
    }
}

/// Where the body begins and how long it is, once the head is there.
fn head_and_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head in ASCII");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length:")
                .map(str::to_owned)
        })
        .expect("an answer with a content-length");
    Some((end, length.trim().parse().expect("a number")))
}
