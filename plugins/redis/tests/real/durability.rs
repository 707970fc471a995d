//! What a killed server has lost: with `appendfsync always` nothing that it acknowledged, otherwise at most a second's.
//!
//! A process that is killed leaves what it wrote to the system, so a kill shows that each change is written before it is
//! answered. That it is also made durable by then is the server's to do: that it was told so, `settings` shows.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use berth_plugin_redis::Redis;
use berth_sdk::engine::settings::Settings;
use berth_sdk_testing::Signal;

use crate::server::Server;

pub fn live(version: &str, server: &mut Server) {
    for policy in ["always", "everysec"] {
        server.configure(&[("appendfsync", policy)]);
        Redis::reload(server.instance.clone()).expect("a reload");
        for round in 0..3 {
            let (acknowledged, last_second) = killed_while_writing(server, round);
            server.run();
            server.ready();
            let kept: u64 = server.ask(&["GET", "counter"]).parse().expect("a number");
            let lost = acknowledged.saturating_sub(kept);
            println!("{version} {policy}: {acknowledged} acknowledged, {lost} lost");
            assert!(acknowledged > 0, "{version} {policy}");
            match policy {
                "always" => assert_eq!(lost, 0, "{version}"),
                _ => assert!(lost <= last_second, "{version}: {lost} of {last_second}"),
            }
            server.ask(&["DEL", "counter"]);
        }
    }
    a_snapshot_is_taken_too(version, server);
    a_log_with_half_a_command_is_read(version, server);
}

/// Count as fast as one client can, and kill the server in the midst of it. Answers how far it was acknowledged, and
/// how many of that in the last second.
fn killed_while_writing(server: &mut Server, round: u32) -> (u64, u64) {
    let mut stream = UnixStream::connect(server.socket()).expect("a connection");
    let mut answers = BufReader::new(stream.try_clone().expect("a handle"));
    let mut ask = |command: &str| -> io::Result<String> {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        answers.read_line(&mut line)?;
        Ok(line)
    };
    let login = format!("AUTH berth {}", server.secret("berth"));
    assert_eq!(ask(&login).expect("a login"), "+OK\r\n");
    let enough = u64::from(200 + 400 * round);
    let (reached, killer) = mpsc::channel();
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let server = &*server;
        scope.spawn(move || {
            if killer.recv().is_ok() {
                server.send(Signal::SIGKILL);
            }
        });
        while let Ok(answer) = ask("INCR counter") {
            let number = answer
                .trim_end()
                .strip_prefix(':')
                .and_then(|n| n.parse::<u64>().ok());
            let Some(number) = number else { break };
            seen.push((number, Instant::now()));
            if number == enough {
                // Beside the writing, which goes on meanwhile.
                reached.send(()).expect("somebody who kills");
            }
        }
        // Without this a server that ended early leaves the killer waiting.
        drop(reached);
    });
    server.reap();
    let (last, end) = *seen.last().expect("answers");
    let recent = seen
        .iter()
        .filter(|(_, at)| end - *at <= Duration::from_secs(1));
    (last, recent.count() as u64)
}

fn a_snapshot_is_taken_too(version: &str, server: &Server) {
    server.ask(&["SET", "kept", "1"]);
    server.ask(&["BGSAVE"]);
    let done = || {
        server
            .ask(&["INFO", "persistence"])
            .contains("rdb_bgsave_in_progress:0")
    };
    assert!((0..5000).any(|_| done()), "{version}");
    let said = server.ask(&["INFO", "persistence"]);
    assert!(
        said.contains("rdb_last_bgsave_status:ok") && said.contains("aof_enabled:1"),
        "{said}"
    );
}

/// As a power cut leaves it.
fn a_log_with_half_a_command_is_read(version: &str, server: &mut Server) {
    server.ask(&["SET", "whole", "1"]);
    server.signal(Signal::SIGKILL);
    server.append_to_log(b"*3\r\n$3\r\nSET\r\n$4\r\nhal");
    server.run();
    server.ready();
    assert_eq!(server.ask(&["GET", "whole"]), "1", "{version}");
    assert_eq!(server.ask(&["EXISTS", "half"]), "0", "{version}");
    assert_eq!(server.ask(&["GET", "kept"]), "1", "{version}");
}
