//! How the real binary ends when it is asked to: in order, within a bound, and with every operation where the next
//! host takes it up.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use berth_tests::real::{DataDir, Host, psql};
use berth_tests::wait_for;
use nix::sys::signal::Signal;

use crate::lifecycle::{body, credentials, destroy};

async fn ended(host: &mut Host) -> ExitStatus {
    wait_for("the host to end", async || host.ended()).await
}

fn log(data: &DataDir) -> String {
    fs::read_to_string(data.path().join("host.log")).unwrap()
}

#[tokio::test]
async fn asked_to_end_in_the_middle_of_creations_it_parks_them() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    for (round, signal) in [Signal::SIGTERM, Signal::SIGINT].into_iter().enumerate() {
        let mut ids = Vec::new();
        for number in 0..2 {
            let wanted = body(&format!("parked-{round}-{number}"));
            let created = host.post("/api/v1/databases", &wanted).await.expect(201);
            ids.push(created["id"].as_str().unwrap().to_owned());
        }
        let asked = Instant::now();
        host.signal(signal);
        let status = ended(&mut host).await;
        let took = asked.elapsed();
        println!("{signal} during two creations: ended after {took:?}");
        assert_eq!(status.code(), Some(0), "{}", log(&data));
        // The grace is 10 s, and once is enough.
        assert!(took < Duration::from_secs(15), "{took:?}");
        assert!(log(&data).contains("berth has ended"), "{}", log(&data));

        host = Host::start(&data).await;
        for id in &ids {
            host.wait_status(id, "running").await;
            psql(&credentials(&host, id).await, "select 1").unwrap();
        }
        for id in &ids {
            destroy(&host, id).await;
        }
        data.nothing_but_the_host().await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_before_the_end_is_there_after_it() {
    let data = DataDir::new();
    let mut host = Host::start(&data).await;
    // Refused by its fields, so that it needs no server; the load is what matters.
    let mut known = Vec::new();
    let path = "/api/v1/databases";
    let load = async {
        for number in 0.. {
            let wanted = body(&format!("load-{number}"));
            match host.try_post(path, &wanted).await {
                Ok(answer) if answer.status == 201 => {
                    known.push(answer.body["id"].as_str().unwrap().to_owned());
                    if number == 3 {
                        host.signal(Signal::SIGTERM);
                    }
                }
                Ok(answer) => panic!("{answer:?}"),
                // It does not listen any more.
                Err(_) => return,
            }
        }
    };
    load.await;
    assert_eq!(ended(&mut host).await.code(), Some(0), "{}", log(&data));
    let host = Host::start(&data).await;
    let listed = host.get(&format!("{path}?limit=100")).await.expect(200);
    let listed: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|database| database["id"].as_str().unwrap())
        .collect();
    for id in &known {
        assert!(listed.contains(&id.as_str()), "{id} was acknowledged");
    }
    assert!(known.len() >= 4);
    for id in &known {
        host.delete(&format!("{path}/{id}")).await.expect(202);
    }
    for id in &known {
        host.wait_status(id, "destroyed").await;
    }
    data.nothing_but_the_host().await;
}

#[tokio::test]
async fn a_request_under_way_is_waited_for_and_a_second_signal_does_not() {
    let data = DataDir::new();
    let config = data.path().join("berth.toml");
    let patient =
        "[server]\nshutdown_grace = \"60s\"\nbody_timeout = \"60s\"\nrequest_timeout = \"60s\"\n";
    fs::write(&config, patient).unwrap();
    let flags = ["--config", config.to_str().unwrap()];

    let mut host = Host::start_with(&data, &flags).await;
    let mut client = half_a_request(&host);
    host.signal(Signal::SIGTERM);
    refuses(&host).await;
    assert!(host.is_alive(), "a request is under way");
    client.write_all(b"{}").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    assert_eq!(ended(&mut host).await.code(), Some(0), "{}", log(&data));

    let mut host = Host::start_with(&data, &flags).await;
    let _client = half_a_request(&host);
    host.signal(Signal::SIGTERM);
    refuses(&host).await;
    let asked = Instant::now();
    host.signal(Signal::SIGTERM);
    assert_eq!(ended(&mut host).await.code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(20));
}

/// A request that the host has begun and whose body is not there yet.
fn half_a_request(host: &Host) -> TcpStream {
    let address = host.base().strip_prefix("http://").unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    let patience = Some(Duration::from_secs(60));
    client.set_read_timeout(patience).unwrap();
    let head = format!(
        "POST /api/v1/databases HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        host.key()
    );
    client.write_all(head.as_bytes()).unwrap();
    // That it may go on says that its body is being waited for.
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on[..], b"HTTP/1.1 100 Continue\r\n\r\n");
    client
}

async fn refuses(host: &Host) {
    let address = host.base().strip_prefix("http://").unwrap();
    wait_for("the host to listen no more", async || {
        TcpStream::connect(address).is_err().then_some(())
    })
    .await;
}
