//! Sockets of a component: its own instance's members, and nobody else.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

/// Answer everything with itself until the peer closes its side.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// A server that echoes, on a socket of this name in the instance's run directory.
fn serve(runtime: &Runtime, id: InstanceId, name: &str) {
    let scope = runtime.directories().of(id, None);
    scope.prepare().unwrap();
    let listener = UnixListener::bind(scope.run_dir.join(name)).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
}

fn unix(name: &str) -> Dial {
    Dial::Unix(name.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_talks_to_its_member_over_a_unix_socket() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    serve(&runtime, id, "probe.sock");
    for what in ["chat", "stream"] {
        let context = instance(id, what, unix("probe.sock"));
        engine(&runtime).bootstrap(&context).await.unwrap();
    }
    let seen = engine(&runtime)
        .observe(&instance(id, "", unix("probe.sock")))
        .await
        .unwrap();
    assert!(seen[0].ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_talks_to_its_member_over_tcp_without_nagles_delay() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let mut context = instance(InstanceId::generate(), "chat", Dial::Tcp(address));
    context.endpoints = vec![endpoint(address.port())];
    let started = Instant::now();
    engine(&runtime).bootstrap(&context).await.unwrap();
    // 200 exchanges of the pattern that costs 40 ms each otherwise.
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_gets_every_byte() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    let scope = runtime.directories().of(id, None);
    scope.prepare().unwrap();
    let listener = UnixListener::bind(scope.run_dir.join("probe.sock")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&vec![7; 1 << 20]).await.unwrap();
    });
    let context = instance(id, "slow-reader", unix("probe.sock"));
    engine(&runtime).bootstrap(&context).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_refused_and_not_an_error_of_the_host() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let context = instance(InstanceId::generate(), "", unix("probe.sock"));
    let seen = engine(&runtime).observe(&context).await.unwrap();
    assert!(!seen[0].ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_address_can_be_reached() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let real = listener.local_addr().unwrap().to_string();
    for to in [
        &*real,
        "10.0.0.1:4000",
        "10.0.0.1:22",
        "169.254.169.254:80",
        "[::1]:80",
    ] {
        let spec = spec(&[("do", "connect"), ("to", to)]);
        let error = engine(&runtime)
            .validate(InstanceId::generate(), &spec)
            .await
            .unwrap_err();
        assert!(error.public().starts_with("connect: "), "{to}: {error:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(nobody.is_err(), "somebody connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn dials_of_another_instance_or_of_the_host_are_refused() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    let other: SocketAddr = "127.0.0.1:4101".parse().unwrap();
    let elsewhere: SocketAddr = "8.8.8.8:4100".parse().unwrap();
    let anywhere: SocketAddr = "0.0.0.0:4100".parse().unwrap();
    for dial in [
        unix("../other/probe.sock"),
        unix("/run/docker.sock"),
        unix(".."),
        unix(""),
        Dial::Tcp(other),
        Dial::Tcp(elsewhere),
        Dial::Tcp(anywhere),
    ] {
        let context = instance(id, "", dial.clone());
        assert!(
            engine(&runtime).observe(&context).await.is_err(),
            "{dial:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_somebody_elses_socket_is_not_followed() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let (id, victim) = (InstanceId::generate(), InstanceId::generate());
    serve(&runtime, victim, "probe.sock");
    let scope = runtime.directories().of(id, None);
    scope.prepare().unwrap();
    let theirs = runtime
        .directories()
        .of(victim, None)
        .run_dir
        .join("probe.sock");
    symlink(theirs, scope.run_dir.join("probe.sock")).unwrap();
    std::fs::write(scope.run_dir.join("plain"), "").unwrap();
    for name in ["probe.sock", "plain"] {
        let seen = engine(&runtime)
            .observe(&instance(id, "", unix(name)))
            .await
            .unwrap();
        assert!(!seen[0].ready, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_another_user_is_not_used() {
    let place = Place::with_fixtures();
    let runtime = place.open().await;
    let id = InstanceId::generate();
    serve(&runtime, id, "probe.sock");
    let mut context = instance(id, "", unix("probe.sock"));
    context.uid = Some(nix::unistd::geteuid().as_raw() + 1);
    let seen = engine(&runtime).observe(&context).await.unwrap();
    assert!(!seen[0].ready);
}
