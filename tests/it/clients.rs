//! Clients that are slow, silent or many, at the real binary: they cost nothing that lasts.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use berth_tests::real::{DataDir, Host};
use berth_tests::wait_for;

use crate::lifecycle::body;

/// Half-open connections at once.
const SLOW: usize = 200;

/// Patience of a second, and no plugin to wait for.
const CONFIG: &str = r#"
[server]
header_timeout = "1s"
body_timeout = "1s"
write_timeout = "1s"
max_connections_per_address = 256
[callers]
requests_per_second = 10000
burst = 10000
"#;

async fn start(data: &DataDir) -> Host {
    start_with(data, "").await
}

/// As it is for clients that are only slow.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start_patient(data: &DataDir) -> Host {
    let config = data.path().join("berth.toml");
    let patient = format!("\"{}s\"", PATIENCE.as_secs());
    fs::write(&config, CONFIG.replace("\"1s\"", &patient)).unwrap();
    Host::start_with(data, &["--config", config.to_str().unwrap()]).await
}

/// With more said of callers.
async fn start_with(data: &DataDir, more: &str) -> Host {
    let config = data.path().join("berth.toml");
    fs::write(&config, format!("{CONFIG}{more}")).unwrap();
    Host::start_with(data, &["--config", config.to_str().unwrap()]).await
}

fn connect(host: &Host) -> TcpStream {
    let address = host.base().strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).unwrap();
    stream
}

/// What comes until the host hangs up.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    text
}

fn slow_clients(host: &Host) -> Vec<TcpStream> {
    let slow = (0..SLOW).map(|number| {
        let mut stream = connect(host);
        // Silent, in the middle of a head, and without the body that was announced.
        let sent: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /api/v1/databases HTTP/1.1\r\nhost: x\r\nx-slow: ",
            _ => b"POST /api/v1/databases HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
        };
        stream.write_all(sent).unwrap();
        stream
    });
    slow.collect()
}

fn open_files(host: &Host) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", host.pid())).unwrap();
    files.count()
}

#[tokio::test]
async fn half_open_connections_hold_up_nobody_and_leave_nothing() {
    let data = DataDir::new();
    let host = start(&data).await;
    host.get("/api/v1/databases").await.expect(200);
    let before = open_files(&host);
    let mut slow = Vec::new();
    // On a busy machine the first may be let go before the last is there.
    wait_for("the slow clients to be there", async || {
        slow = slow_clients(&host);
        (open_files(&host) >= before + SLOW / 3).then_some(())
    })
    .await;
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let asked = Instant::now();
        host.get("/api/v1/databases").await.expect(200);
        slowest = slowest.max(asked.elapsed());
    }
    println!(
        "100 requests beside {SLOW} slow clients: {:?}, the slowest {slowest:?}",
        began.elapsed()
    );
    assert!(slowest < Duration::from_millis(800), "{slowest:?}");
    wait_for("the slow clients to be let go", async || {
        (open_files(&host) <= before).then_some(())
    })
    .await;
    for mut stream in slow {
        rest(&mut stream);
    }
}

/// A request whose body nobody reads, but for the end of its head.
fn with_a_body(host: &Host) -> String {
    format!(
        "GET /rdb/v1/regions/fr-par/database-engines HTTP/1.1\r\nhost: x\r\nx-auth-token: {}\r\n",
        host.key()
    )
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_may_come_after_the_head() {
    let data = DataDir::new();
    let host = start_patient(&data).await;
    let mut stream = connect(&host);
    // Clients send `{}` with a GET in a packet of its own. Were it not waited for, the connection would be closed upon
    // it, and the answer be lost if it was long.
    let head = with_a_body(&host);
    for (said, body) in [
        ("content-length: 2", "{}"),
        ("transfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
        ("content-length: 2\r\nconnection: close", "{}"),
    ] {
        write!(stream, "{head}{said}\r\n\r\n").unwrap();
        let early = Some(Duration::from_millis(300));
        stream.set_read_timeout(early).unwrap();
        let early = stream.peek(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::WouldBlock);
        stream.write_all(body.as_bytes()).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        let answer = answer(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with('}'), "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_waited_for_long() {
    let data = DataDir::new();
    let host = start_patient(&data).await;
    // Whoever waits to be told to send a body is not told to for nothing; and who may not ask is not waited for.
    let waits = format!(
        "{}expect: 100-continue\r\ncontent-length: 2",
        with_a_body(&host)
    );
    let stranger = "POST /api/v1/databases HTTP/1.1\r\nhost: x\r\ncontent-length: 9";
    for (request, status) in [(&*waits, "200"), (stranger, "401")] {
        let mut stream = connect(&host);
        let began = Instant::now();
        write!(stream, "{request}\r\n\r\n").unwrap();
        let answer = answer(&mut stream);
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn who_sends_far_too_much_learns_of_it() {
    let data = DataDir::new();
    let host = start_patient(&data).await;
    let mut stream = connect(&host);
    let much = vec![b' '; 2 << 20];
    write!(
        stream,
        "POST /api/v1/databases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        host.key(),
        much.len()
    )
    .unwrap();
    stream.write_all(&much).unwrap();
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// One answer, of the length that it says it has.
fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let whole = |answer: &[u8]| {
        let text = String::from_utf8_lossy(answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))?;
        (body.len() == length.parse::<usize>().unwrap()).then_some(text)
    };
    loop {
        if let Some(text) = whole(&answer) {
            return text;
        }
        let mut more = [0; 64 << 10];
        let read = stream.read(&mut more).unwrap();
        assert!(
            read > 0,
            "it ends early: {}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&more[..read]);
    }
}

#[tokio::test]
async fn a_client_that_drips_is_not_given_more_time() {
    let data = DataDir::new();
    let host = start(&data).await;
    let mut stream = connect(&host);
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nx-drip: ")
        .unwrap();
    let began = Instant::now();
    // A byte now and then is no progress.
    wait_for("it to be let go", async || {
        stream.write_all(b"a").is_err().then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_body_that_is_never_sent_ends_in_a_clear_refusal() {
    let data = DataDir::new();
    let host = start(&data).await;
    let mut stream = connect(&host);
    let head = format!(
        "POST /api/v1/databases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"name\"",
        host.key()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"body_too_slow\""), "{answer}");
    let all = host.get("/api/v1/databases").await.expect(200);
    assert_eq!(all, serde_json::json!([]));
    // Where nobody reads it, the answer is what it would be.
    let mut stream = connect(&host);
    write!(stream, "{}content-length: 2\r\n\r\n", with_a_body(&host)).unwrap();
    assert!(rest(&mut stream).starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_let_go() {
    let data = DataDir::new();
    let host = start(&data).await;
    let before = open_files(&host);
    let mut stream = connect(&host);
    stream.set_nonblocking(true).unwrap();
    let ask = format!(
        "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        host.key()
    );
    // It asks and asks, and never reads.
    wait_for(
        "nothing more to be taken from it, and it to be let go",
        async || {
            loop {
                match stream.write(ask.as_bytes()) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                    Err(_) => return Some(()),
                }
            }
        },
    )
    .await;
    wait_for("its connection to be closed", async || {
        (open_files(&host) <= before).then_some(())
    })
    .await;
    host.get("/api/v1/databases").await.expect(200);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_a_request_under_way() {
    let data = DataDir::new();
    let host = start_with(&data, "concurrent = 1\n").await;
    let mut stream = connect(&host);
    stream.set_nonblocking(true).unwrap();
    let ask = format!(
        "GET /openapi.json HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        host.key()
    );
    // More than what the kernel takes for a client that does not read.
    let asks = ask.repeat(500);
    let mut left = asks.as_bytes();
    let mut send = || match stream.write(left) {
        Ok(n) => left = &left[n..],
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
    };
    let path = "/api/v1/databases";
    let refused = wait_for("its key to have no other request", async || {
        send();
        let answer = host.get(path).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    let refused = refused.expect(429);
    assert!(refused.to_string().contains("under way"), "{refused}");
    // It stays so, but for moments between two answers, until the client is let go.
    wait_for("it to be let go", async || match stream.write(b"\r\n") {
        Ok(_) => None,
        Err(error) => (error.kind() != ErrorKind::WouldBlock).then_some(()),
    })
    .await;
    for _ in 0..20 {
        host.get(path).await.expect(200);
    }
}

#[tokio::test]
async fn more_than_an_address_may_have_are_closed_at_once() {
    let data = DataDir::new();
    let host = start(&data).await;
    let mut many: Vec<TcpStream> = (0..300).map(|_| connect(&host)).collect();
    let closed = wait_for("the last of them to be closed", async || {
        let mut closed = 0;
        for stream in &mut many {
            stream.set_nonblocking(true).unwrap();
            match stream.read(&mut [0; 1]) {
                Ok(0) => closed += 1,
                Ok(_) => panic!("nothing was asked"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => closed += 1,
            }
        }
        (closed >= 44).then_some(closed)
    })
    .await;
    println!("{closed} of 300 were closed");
    drop(many);
    wait_for("room for a good client", async || {
        let answer = host.try_post("/api/v1/databases", &body("")).await;
        answer
            .is_ok_and(|answer| answer.status == 422)
            .then_some(())
    })
    .await;
}
