//! TLS of the host's own, for a server that takes nobody without it: the component writes and reads plain bytes.
//!
//! Whose certificate the server shows is not looked at. Who listens is known already, as with a connection without TLS:
//! the user that owns the socket, or the port that is set aside for the instance. And while a certificate is renewed, the
//! server still shows the former one.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

/// Every instance's certificate has it among its names; nobody asks for it.
const NAME: &str = "localhost";

/// Shake hands, and answer with the end for the component. A task carries the bytes until one side ends.
pub(super) async fn wrap<S>(stream: S) -> io::Result<UnixStream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let connector = TlsConnector::from(configuration()?);
    let mut server = connector.connect(name, stream).await?;
    let (ours, mut theirs) = UnixStream::pair()?;
    tokio::spawn(async move {
        // However it ends, both ends are closed, and the component sees that.
        drop(copy_bidirectional(&mut theirs, &mut server).await);
    });
    Ok(ours)
}

fn configuration() -> io::Result<Arc<ClientConfig>> {
    static MADE: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(Arc::clone(made));
    }
    let provider = Arc::new(ring::default_provider());
    let mut made = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(KnownAlready(provider)))
        .with_no_client_auth();
    // Servers of different instances have nothing to do with each other.
    made.resumption = Resumption::disabled();
    made.enable_sni = false;
    Ok(Arc::clone(MADE.get_or_init(|| Arc::new(made))))
}

/// Takes every certificate, and sees that the server has its key.
#[derive(Debug)]
struct KnownAlready(Arc<CryptoProvider>);

impl ServerCertVerifier for KnownAlready {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn acceptor() -> TlsAcceptor {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["elsewhere".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    #[tokio::test]
    async fn plain_bytes_come_out_at_the_server_and_back_and_the_end_is_seen() {
        let (near, far) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move {
            let mut stream = acceptor().accept(far).await.unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
            stream.shutdown().await.unwrap();
            asked
        });
        let mut component = wrap(near).await.unwrap();
        component.write_all(b"ping").await.unwrap();
        let mut answer = Vec::new();
        component.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"pong");
        assert_eq!(&server.await.unwrap(), b"ping");
    }

    #[tokio::test]
    async fn a_component_that_goes_away_is_gone_for_the_server() {
        let (near, far) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move {
            let mut stream = acceptor().accept(far).await.unwrap();
            stream.read(&mut [0; 4]).await
        });
        drop(wrap(near).await.unwrap());
        assert!(!matches!(server.await.unwrap(), Ok(1..)));
    }

    #[tokio::test]
    async fn a_server_without_tls_is_no_connection() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let server = tokio::spawn(async move { far.write_all(b"no TLS is spoken here").await });
        assert!(wrap(near).await.is_err());
        server.await.unwrap().unwrap();
    }
}
