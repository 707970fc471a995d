//! The listener: plain on loopback, TLS elsewhere, and never a password over a network in the clear unless the
//! operator insists.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use prometheus_client::metrics::gauge::Gauge;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::connections::{Bounds, Connections};
use crate::config::Server;
use crate::model::{Error, Result};

pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    header_timeout: Duration,
    bounds: Bounds,
    grace: Duration,
}

impl Listener {
    pub fn bind(config: &Server) -> Result<Self> {
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(cert), Some(key)) => Some(tls(cert, key)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::failed(
                    "--tls-cert and --tls-key go together: give both or neither",
                ));
            }
        };
        let asked = config.listen;
        if tls.is_none() && !asked.ip().is_loopback() && !config.insecure_listen {
            return Err(Error::failed(format!(
                "{asked} can be reached from outside this machine, and passwords would travel in the clear. Give \
                 --tls-cert and --tls-key, listen on 127.0.0.1, or insist with --insecure-listen"
            )));
        }
        let socket = TcpListener::bind(asked).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        });
        let (socket, address) = socket.map_err(|error| {
            Error::failed(format!("cannot listen on {asked}: {error}")).caused_by(error)
        })?;
        Ok(Self {
            socket,
            address,
            tls,
            header_timeout: config.header_timeout,
            bounds: Bounds {
                most: config.max_connections,
                most_per_address: config.max_connections_per_address,
                write_timeout: config.write_timeout,
            },
            grace: config.shutdown_grace,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Until `end`; requests under way then have a while to be answered. `open` counts connections.
    pub async fn serve(
        self,
        router: Router,
        open: Gauge,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let handle = Handle::new();
        tokio::spawn({
            let handle = handle.clone();
            async move {
                end.await;
                handle.graceful_shutdown(Some(self.grace));
            }
        });
        let mut server = axum_server::from_tcp(self.socket)
            .map_err(Error::internal)?
            .handle(handle);
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout);
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let connections = Connections::new(self.bounds, open);
        // Only HTTP/1, or a connection is first looked at for another version, for as long as it says nothing. Said
        // last: a change of the acceptor forgets it.
        let served = match self.tls {
            None => {
                let server = server.acceptor(connections).http1_only();
                server.serve(service).await
            }
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls)
                    .handshake_timeout(self.header_timeout)
                    .acceptor(connections);
                let server = server.acceptor(acceptor).http1_only();
                server.serve(service).await
            }
        };
        served
            .map_err(|error| Error::failed(format!("the listener ended: {error}")).caused_by(error))
    }
}

fn tls(cert: &std::path::Path, key: &std::path::Path) -> Result<RustlsConfig> {
    let refuse = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        Error::failed(format!("{} cannot be used: {error}", path.display()))
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect)
        .map_err(|error| refuse(cert, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refuse(key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| refuse(cert, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;

    use axum::routing::get;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
    use tokio::sync::oneshot;
    use tokio::task::{JoinHandle, spawn_blocking};

    use super::*;
    use crate::config::Config;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

    struct Running {
        address: SocketAddr,
        end: oneshot::Sender<()>,
        served: JoinHandle<Result<()>>,
    }

    fn config() -> Server {
        let mut config = Config::default().server;
        config.listen = "127.0.0.1:0".parse().unwrap();
        config
    }

    fn start(config: &Server) -> Running {
        let listener = Listener::bind(config).unwrap();
        let address = listener.address();
        let (end, ended) = oneshot::channel::<()>();
        let router = Router::new().route("/", get(async || "served"));
        let end_of_test = async move {
            // A dropped sender ends it too.
            let _ = ended.await;
        };
        let served = tokio::spawn(listener.serve(router, Gauge::default(), end_of_test));
        Running {
            address,
            end,
            served,
        }
    }

    /// Everything that comes back until the other side closes.
    async fn exchange(address: SocketAddr, sent: &'static [u8]) -> String {
        let exchange = spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            let mut answer = String::new();
            // Whoever is not let in may be hung up on in the middle of it.
            let ended = stream
                .write_all(sent)
                .and_then(|()| stream.read_to_string(&mut answer));
            let hung_up = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
            assert!(
                ended.as_ref().err().is_none_or(|e| hung_up(e.kind())),
                "{ended:?}"
            );
            answer
        });
        exchange.await.unwrap()
    }

    #[tokio::test]
    async fn plain_is_for_loopback() {
        let running = start(&config());
        assert!(exchange(running.address, REQUEST).await.ends_with("served"));
        let mut config = config();
        config.listen = "0.0.0.0:0".parse().unwrap();
        let refused = Listener::bind(&config).err().unwrap();
        assert!(refused.public().contains("--tls-cert"), "{refused}");
        config.insecure_listen = true;
        assert!(Listener::bind(&config).is_ok());
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let running = start(&config());
        let mut config = config();
        config.listen = running.address;
        let refused = Listener::bind(&config).err().unwrap();
        let begin = format!("cannot listen on {}", running.address);
        assert!(refused.public().starts_with(&begin), "{refused}");
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_head_is_let_go() {
        let mut config = config();
        config.header_timeout = Duration::from_millis(100);
        let running = start(&config);
        let answer = exchange(running.address, b"GET / HTTP/1.1\r\nhost: x\r\n").await;
        assert!(!answer.contains("served"), "{answer}");
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_or_nothing_more_is_let_go() {
        let mut config = config();
        config.header_timeout = Duration::from_millis(100);
        let running = start(&config);
        assert_eq!(exchange(running.address, b"").await, "");
        // Half of what tells HTTP/2 apart.
        assert_eq!(exchange(running.address, b"PRI * HTT").await, "");
        let kept_open = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        assert!(
            exchange(running.address, kept_open)
                .await
                .ends_with("served")
        );
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_room_comes_back() {
        let mut config = config();
        config.max_connections_per_address = 2;
        let running = start(&config);
        let held: Vec<_> = (0..2).map(|_| open(running.address)).collect();
        assert_eq!(exchange(running.address, REQUEST).await, "");
        drop(held);
        while !exchange(running.address, REQUEST).await.ends_with("served") {
            tokio::task::yield_now().await;
        }
    }

    /// A connection that was let in: half a request on it is not refused.
    fn open(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        stream
    }

    #[tokio::test]
    async fn who_does_not_finish_the_handshake_is_let_go() {
        let made = rcgen::generate_simple_self_signed(["berth.test".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut config = config();
        config.header_timeout = Duration::from_millis(100);
        (config.tls_cert, config.tls_key) = (Some(cert), Some(key));
        let running = start(&config);
        assert_eq!(exchange(running.address, b"").await, "");
        assert_eq!(exchange(running.address, b"\x16\x03\x01").await, "");
    }

    #[tokio::test]
    async fn the_end_waits_for_no_idle_client() {
        let running = start(&config());
        let mut idle = TcpStream::connect(running.address).unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let idle = spawn_blocking(move || {
            let mut answer = String::new();
            idle.read_to_string(&mut answer).map(|_| answer)
        });
        // Another request is served after the idle one was.
        exchange(running.address, REQUEST).await;
        running.end.send(()).unwrap();
        let served = tokio::time::timeout(Duration::from_secs(60), running.served);
        served.await.expect("it ends").unwrap().unwrap();
        assert!(idle.await.unwrap().unwrap().ends_with("served"));
    }

    #[tokio::test]
    async fn with_a_certificate_it_speaks_tls() {
        let made = rcgen::generate_simple_self_signed(["berth.test".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert"), dir.path().join("key"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut config = config();
        config.listen = "0.0.0.0:0".parse().unwrap();
        (config.tls_cert, config.tls_key) = (Some(cert.clone()), Some(key.clone()));
        let running = start(&config);
        let port = running.address.port();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let answer = spawn_blocking(move || {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from("berth.test").unwrap();
            let connection = ClientConnection::new(Arc::new(client), name).unwrap();
            let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut stream = StreamOwned::new(connection, socket);
            stream.write_all(REQUEST).unwrap();
            let mut answer = Vec::new();
            // How the other side closes is not what this is about.
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8(answer).unwrap()
        });
        assert!(answer.await.unwrap().ends_with("served"));

        config.tls_key = Some(cert);
        let refused = Listener::bind(&config).err().unwrap();
        assert!(refused.public().contains("cannot be used"), "{refused}");
        config.tls_key = None;
        let refused = Listener::bind(&config).err().unwrap();
        assert!(refused.public().contains("go together"), "{refused}");
    }
}
