//! The listener: plain on loopback, TLS elsewhere, and never a password over a network in the clear unless the
//! operator insists.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Server;
use crate::model::{Error, Result};

pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    header_timeout: Duration,
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
            grace: config.shutdown_grace,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Until `end`; requests under way then have a while to be answered.
    pub async fn serve(
        self,
        router: Router,
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
        let service = router.into_make_service();
        let served = match self.tls {
            None => server.acceptor(NoDelayAcceptor::new()).serve(service).await,
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
                server.acceptor(acceptor).serve(service).await
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
