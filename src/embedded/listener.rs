//! The listeners that every broker has.

use super::link::Link;
use super::state::MECHANISMS;
use super::transport::Transport;
#[cfg(feature = "tls")]
use crate::net::{ServerIdentity, TlsAcceptor};
use crate::{Error, Result};
use std::sync::Arc;

/// A port of every broker, and what a client needs to get in there; for
/// [`ClusterBuilder::listener`](super::ClusterBuilder::listener).
///
/// Clients are always told the ports of the listener that they have asked.
///
/// ```
/// use sarameya::embedded::{Cluster, Listener};
///
/// let cluster = Cluster::builder(3)
///     .listener(Listener::new("INTERNAL"))
///     .listener(Listener::new("CLIENTS").sasl(&["PLAIN", "SCRAM-SHA-256"]))
///     .user("alice", "alice-secret")
///     .start()?;
/// println!("bootstrap.servers={}", cluster.bootstrap_servers_of("CLIENTS")?);
/// # Ok::<(), sarameya::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Listener {
    pub(super) name: String,
    pub(super) mechanisms: Option<Vec<String>>,
    #[cfg(feature = "tls")]
    identity: Option<ServerIdentity>,
    #[cfg(feature = "tls")]
    client_ca: Option<String>,
}

/// How connections by a listener begin.
#[derive(Debug)]
pub(super) struct Entrance {
    #[cfg(feature = "tls")]
    tls: Option<TlsAcceptor>,
}

impl Entrance {
    /// A new connection's transport; `None` if there can't be one.
    pub(super) fn open(&self, link: &Arc<Link>) -> Option<Transport> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let session = tls.session().inspect_err(|error| log::warn!("embedded broker {}: {error}", link.broker));
            return Some(Transport::Tls(Arc::clone(link), Box::new(session.ok()?)));
        }
        Some(Transport::Plain(Arc::clone(link)))
    }
}

impl Listener {
    /// A listener for anyone, in plain text. Its name is for [`bootstrap_servers_of`](super::Cluster::bootstrap_servers_of).
    /// Kafka: `listeners`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mechanisms: None,
            #[cfg(feature = "tls")]
            identity: None,
            #[cfg(feature = "tls")]
            client_ca: None,
        }
    }

    /// Clients have to authenticate by one of these mechanisms: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`. Who
    /// may come in, [`ClusterBuilder::user`](super::ClusterBuilder::user) says; by `OAUTHBEARER` whoever has a token without a
    /// signature that has not expired, as with Kafka's default validator. Kafka: `sasl.enabled.mechanisms`.
    #[must_use]
    pub fn sasl(mut self, mechanisms: &[&str]) -> Self {
        self.mechanisms = Some(mechanisms.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// The listener speaks TLS, and shows these certificates, its own first, with the key of the first; both as PEM.
    /// Clients reach the brokers as `127.0.0.1`, which is to be among the names. There with the feature `tls`. Kafka:
    /// `ssl.keystore.certificate.chain`, `ssl.keystore.key`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, certificates_pem: &str, key_pem: &str) -> Self {
        self.identity = Some(ServerIdentity { certificates: certificates_pem.to_owned(), key: key_pem.to_owned() });
        self
    }

    /// Clients have to show a certificate that one of these authorities has issued; as PEM. Goes with
    /// [`tls`](Self::tls). Kafka: `ssl.client.auth=required`, `ssl.truststore.certificates`.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn client_ca(mut self, certificates_pem: &str) -> Self {
        self.client_ca = Some(certificates_pem.to_owned());
        self
    }

    /// How connections begin. Refuses what can't be served.
    pub(super) fn entrance(&self) -> Result<Entrance> {
        self.check()?;
        Ok(Entrance {
            #[cfg(feature = "tls")]
            tls: self.acceptor()?,
        })
    }

    #[cfg(feature = "tls")]
    fn acceptor(&self) -> Result<Option<TlsAcceptor>> {
        let Some(identity) = &self.identity else {
            let message = format!("listener {} asks for clients' certificates and has no TLS", self.name);
            return match self.client_ca {
                None => Ok(None),
                Some(_) => Err(Error::config("ssl.client.auth", message)),
            };
        };
        TlsAcceptor::new(identity, self.client_ca.as_deref()).map(Some)
    }

    fn check(&self) -> Result<()> {
        let Some(mechanisms) = &self.mechanisms else { return Ok(()) };
        let name = &self.name;
        if mechanisms.is_empty() {
            let message = format!("listener {name} has SASL and no mechanism");
            return Err(Error::config("sasl.enabled.mechanisms", message));
        }
        match mechanisms.iter().find(|mechanism| !MECHANISMS.contains(&mechanism.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                let message = format!("listener {name}: {unknown} is none of {}", MECHANISMS.join(", "));
                Err(Error::config("sasl.enabled.mechanisms", message))
            }
        }
    }
}
