//! The server's side of TLS, for the embedded cluster.

use super::{pem, provider::provider};
use crate::{Error, Result};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use std::sync::Arc;

/// What a listener shows, as PEM.
#[derive(Clone)]
pub(crate) struct ServerIdentity {
    pub(crate) certificates: String,
    pub(crate) key: String,
}

/// Begins sessions with clients.
#[derive(Clone)]
pub(crate) struct TlsAcceptor(Arc<ServerConfig>);

impl TlsAcceptor {
    /// With a `client_ca` clients need a certificate that it has issued. An error names Kafka's setting.
    pub(crate) fn new(identity: &ServerIdentity, client_ca: Option<&str>) -> Result<Self> {
        let provider = provider()?;
        let chain = pem::certificates(identity.certificates.as_bytes());
        let chain = chain.map_err(|why| Error::config("ssl.keystore.certificate.chain", why))?;
        let key = pem::private_key(identity.key.as_bytes(), None);
        let key = key.map_err(|why| Error::config("ssl.keystore.key", why))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("ssl.enabled.protocols", error.to_string()))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let refuse = |why: String| Error::config("ssl.truststore.certificates", why);
                let mut roots = RootCertStore::empty();
                for certificate in pem::certificates(ca.as_bytes()).map_err(refuse)? {
                    roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| refuse(error.to_string()))?)
            }
        };
        let refused = |error: rustls::Error| {
            Error::config("ssl.keystore.key", format!("the key and its certificate can't be used: {error}"))
        };
        Ok(Self(Arc::new(builder.with_single_cert(chain, key).map_err(refused)?)))
    }

    /// The server's end of a new connection.
    pub(crate) fn session(&self) -> Result<ServerConnection> {
        ServerConnection::new(Arc::clone(&self.0))
            .map_err(|error| Error::tls(format!("a TLS session can't begin: {error}")))
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerIdentity")
    }
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}
