//! The client's settings.

use super::client::Client;
use super::recovery::MetadataRecovery;
use crate::backoff::Backoff;
#[cfg(feature = "tls")]
use crate::config::Tls;
use crate::config::{Properties, SecurityProtocol, Setting, address_list};
#[cfg(feature = "tls")]
use crate::net::TlsConnector;
use crate::net::{Dial, Dialer, Epoch, NetConfig, Peer, Proxy, Security, SocketSettings};
use crate::sasl::Sasl;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Kafka's settings in milliseconds are 32-bit numbers.
const TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);
/// What the header of a request can hold.
const CLIENT_ID_MAX: usize = i16::MAX as usize;

/// Checked settings.
#[derive(Debug, Clone)]
pub(crate) struct ClientConfig {
    pub(crate) bootstrap: Vec<Peer>,
    pub(crate) net: NetConfig,
    pub(crate) request_timeout: Duration,
    pub(crate) metadata_max_age: Duration,
    pub(crate) metadata_recovery: MetadataRecovery,
    pub(crate) rebootstrap_trigger: Duration,
    pub(crate) connections_max_idle: Duration,
    pub(crate) reconnect_backoff: Backoff,
    pub(crate) retry_backoff: Backoff,
    pub(crate) allow_auto_create_topics: bool,
    pub(crate) client_rack: Option<String>,
}

/// Settings of a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    bootstrap_servers: String,
    client_id: String,
    client_rack: String,
    connection_setup_timeout: Duration,
    request_timeout: Duration,
    metadata_max_age: Duration,
    metadata_recovery: MetadataRecovery,
    rebootstrap_trigger: Duration,
    connections_max_idle: Duration,
    reconnect_backoff: Duration,
    reconnect_backoff_max: Duration,
    retry_backoff: Duration,
    retry_backoff_max: Duration,
    allow_auto_create_topics: bool,
    max_response_bytes: usize,
    dialer: Dialer,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    sasl: Option<Sasl>,
}

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            bootstrap_servers: String::new(),
            client_id: "sarameya".into(),
            client_rack: String::new(),
            connection_setup_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            metadata_max_age: Duration::from_secs(300),
            metadata_recovery: MetadataRecovery::default(),
            rebootstrap_trigger: Duration::from_secs(300),
            connections_max_idle: Duration::from_secs(540),
            reconnect_backoff: Duration::from_millis(50),
            reconnect_backoff_max: Duration::from_secs(1),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            allow_auto_create_topics: true,
            max_response_bytes: 100 * 1024 * 1024,
            dialer: Dialer::default(),
            #[cfg(feature = "tls")]
            tls: None,
            sasl: None,
        }
    }

    /// Some brokers of the cluster, `host:port` separated by commas; the rest is found through them. Required.
    ///
    /// Kafka: `bootstrap.servers`.
    pub fn bootstrap_servers(mut self, addresses: impl Into<String>) -> Self {
        self.bootstrap_servers = addresses.into();
        self
    }

    /// The name that brokers log and apply quotas to.
    ///
    /// Kafka: `client.id`. Defaults to `sarameya`.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// Where this client runs, so that a broker may send it to a replica nearby (KIP-392).
    ///
    /// Kafka: `client.rack`. Defaults to none.
    pub fn client_rack(mut self, rack: impl Into<String>) -> Self {
        self.client_rack = rack.into();
        self
    }

    /// How long setting up one connection may take: name look-up, TCP and the first exchange together. It also bounds
    /// [`build`](Self::build).
    ///
    /// Kafka: `socket.connection.setup.timeout.ms`. Defaults to 10 s.
    pub fn connection_setup_timeout(mut self, timeout: Duration) -> Self {
        self.connection_setup_timeout = timeout;
        self
    }

    /// How long one request and its whole answer may take.
    ///
    /// Kafka: `request.timeout.ms`. Defaults to 30 s. Range: 1 ms to 2147483647 ms, as for all times but the age of
    /// metadata.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How old metadata may get before it is refreshed without need: new partitions are noticed by then.
    ///
    /// Kafka: `metadata.max.age.ms`. Defaults to 5 min.
    pub fn metadata_max_age(mut self, age: Duration) -> Self {
        self.metadata_max_age = age;
        self
    }

    /// What to do when none of the known brokers says where the cluster is (KIP-899).
    ///
    /// Kafka: `metadata.recovery.strategy`. Defaults to [`Rebootstrap`](MetadataRecovery::Rebootstrap).
    pub fn metadata_recovery(mut self, strategy: MetadataRecovery) -> Self {
        self.metadata_recovery = strategy;
        self
    }

    /// When metadata could not be had for so long, all brokers are forgotten, connections to them are ended, and the client
    /// begins again at its bootstrap addresses (KIP-1102). It does so at once when a broker asks for it, or when another cluster
    /// answers. Zero is at the second attempt.
    ///
    /// Kafka: `metadata.recovery.rebootstrap.trigger.ms`. Defaults to 5 min. Only with the strategy
    /// [`Rebootstrap`](MetadataRecovery::Rebootstrap).
    pub fn rebootstrap_trigger(mut self, after: Duration) -> Self {
        self.rebootstrap_trigger = after;
        self
    }

    /// Closes a connection that nothing has used for so long: those for single calls and the one for metadata. It should be
    /// less than the brokers' own limit, 10 min by default. `Duration::MAX` is never. The connections of producers and
    /// consumers are closed sooner, or are never idle.
    ///
    /// Kafka: `connections.max.idle.ms`, where -1 is never. Defaults to 9 min.
    pub fn connections_max_idle(mut self, limit: Duration) -> Self {
        self.connections_max_idle = limit;
        self
    }

    /// The pause before a broker is dialled again after a failed attempt; it doubles up to `max`, with a jitter of 20 %.
    ///
    /// Kafka: `reconnect.backoff.ms`, `reconnect.backoff.max.ms`. Defaults to 50 ms and 1 s.
    pub fn reconnect_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.reconnect_backoff = min;
        self.reconnect_backoff_max = max;
        self
    }

    /// The pause before a failed request is repeated; it doubles up to `max`, with a jitter of 20 %.
    ///
    /// Kafka: `retry.backoff.ms`, `retry.backoff.max.ms`. Defaults to 100 ms and 1 s.
    pub fn retry_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.retry_backoff = min;
        self.retry_backoff_max = max;
        self
    }

    /// Whether producing to an absent topic may create it, if the broker allows that too. Consuming never creates one.
    ///
    /// Kafka: `allow.auto.create.topics`. Defaults to true.
    pub fn allow_auto_create_topics(mut self, allow: bool) -> Self {
        self.allow_auto_create_topics = allow;
        self
    }

    /// The largest answer taken from a broker, in bytes; a larger one breaks the connection before memory is taken for
    /// it. It must be above the consumer's `fetch.max.bytes`, and brokers exceed that for a single large batch.
    ///
    /// Kafka (librdkafka): `receive.message.max.bytes`. Defaults to 100 MiB. Range: 1 KiB to 2 GiB.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.max_response_bytes = bytes;
        self
    }

    /// Makes all connections through this proxy, those to the bootstrap addresses included. Tokens from an OpenID provider
    /// are asked for without it.
    ///
    /// By name, which is this crate's own: `proxy.url`, such as `socks5://host:1080` or `http://host:3128`, and
    /// `proxy.username`, `proxy.password`. Defaults to none; the environment is not looked at.
    pub fn proxy(mut self, proxy: Proxy) -> Self {
        self.dialer.proxy = Some(Arc::new(proxy));
        self
    }

    /// Makes connections by this dialler instead of TCP. With a [proxy](Self::proxy) it connects to that.
    ///
    /// Sarama: `Net.Proxy.Dialer`. Defaults to TCP to the first of all addresses of a name that accepts, IPv6 or IPv4.
    pub fn dialer(mut self, dialer: impl Dial + 'static) -> Self {
        self.dialer.custom = Some(Arc::new(dialer));
        self
    }

    /// Whether the system asks a peer that says nothing for 60 s if it is still there.
    ///
    /// Kafka (librdkafka): `socket.keepalive.enable`. Defaults to true, as Kafka's Java client always does it.
    pub fn keepalive(mut self, keepalive: bool) -> Self {
        self.dialer.sockets.keepalive = keepalive;
        self
    }

    /// Whether small requests are sent at once, rather than together with the next ones (Nagle's algorithm).
    ///
    /// Kafka (librdkafka): `socket.nagle.disable`. Defaults to true.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.dialer.sockets.nodelay = nodelay;
        self
    }

    /// The size of sockets' send buffer, in bytes. The system may round it.
    ///
    /// Kafka: `send.buffer.bytes`, where -1 is the system's choice. Defaults to the system's choice, which grows with the
    /// way's length; a size of one's own is mostly a limit.
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.dialer.sockets.send_buffer = Some(bytes);
        self
    }

    /// The size of sockets' receive buffer, in bytes. The system may round it.
    ///
    /// Kafka: `receive.buffer.bytes`, where -1 is the system's choice. Defaults to the system's choice, which grows with the
    /// way's length; a size of one's own is mostly a limit.
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.dialer.sockets.receive_buffer = Some(bytes);
        self
    }

    /// Speaks TLS with all brokers, the bootstrap addresses included.
    ///
    /// Kafka: `security.protocol` SSL or SASL_SSL. Defaults to plaintext.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Authenticates with all brokers, the bootstrap addresses included.
    ///
    /// Kafka: `security.protocol` SASL_PLAINTEXT or SASL_SSL, `sasl.mechanism`, `sasl.jaas.config`. Defaults to no
    /// authentication. A mechanism that shows brokers the secret itself is warned of if TLS is not used too.
    pub fn sasl(mut self, sasl: Sasl) -> Self {
        self.sasl = Some(sasl);
        self
    }

    /// Takes the settings that are the client's from a list of settings by their Kafka names.
    ///
    /// An error names a setting whose value can't be read, or that asks for what this crate does not have.
    pub fn properties(mut self, properties: &Properties) -> Result<Self> {
        for setting in properties.iter() {
            self.set(&setting)?;
        }
        if let Some(proxy) = Proxy::from_properties(properties)? {
            self = self.proxy(proxy);
        }
        if let Some(protocol) = SecurityProtocol::from_properties(properties)? {
            self = self.protect(protocol, properties)?;
        }
        Ok(self)
    }

    /// Protects connections in this way and no other. To go on with less than was asked for would be worse than to fail.
    fn protect(mut self, protocol: SecurityProtocol, properties: &Properties) -> Result<Self> {
        self.sasl = protocol.has_sasl().then(|| sasl(properties)).transpose()?;
        #[cfg(feature = "tls")]
        {
            self.tls = protocol.has_tls().then(|| Tls::from_properties(properties)).transpose()?;
        }
        #[cfg(not(feature = "tls"))]
        if protocol.has_tls() {
            let message = format!("{} needs sarameya's feature tls", protocol.name());
            return Err(Error::config("security.protocol", message));
        }
        Ok(self)
    }

    fn set(&mut self, setting: &Setting<'_>) -> Result<()> {
        match setting.name() {
            "bootstrap.servers" => self.bootstrap_servers = setting.text().to_owned(),
            "client.id" => self.client_id = setting.text().to_owned(),
            "client.rack" => self.client_rack = setting.text().to_owned(),
            "socket.connection.setup.timeout.ms" => self.connection_setup_timeout = setting.milliseconds()?,
            "request.timeout.ms" => self.request_timeout = setting.milliseconds()?,
            "metadata.max.age.ms" => self.metadata_max_age = setting.milliseconds()?,
            "reconnect.backoff.ms" => self.reconnect_backoff = setting.milliseconds()?,
            "reconnect.backoff.max.ms" => self.reconnect_backoff_max = setting.milliseconds()?,
            "retry.backoff.ms" => self.retry_backoff = setting.milliseconds()?,
            "retry.backoff.max.ms" => self.retry_backoff_max = setting.milliseconds()?,
            "allow.auto.create.topics" => self.allow_auto_create_topics = setting.boolean()?,
            "metadata.recovery.strategy" => self.metadata_recovery = recovery(setting)?,
            "metadata.recovery.rebootstrap.trigger.ms" => self.rebootstrap_trigger = setting.milliseconds()?,
            "connections.max.idle.ms" => {
                self.connections_max_idle =
                    if setting.text() == "-1" { Duration::MAX } else { setting.milliseconds()? };
            }
            "socket.keepalive.enable" => self.dialer.sockets.keepalive = setting.boolean()?,
            "socket.nagle.disable" => self.dialer.sockets.nodelay = setting.boolean()?,
            "send.buffer.bytes" => self.dialer.sockets.send_buffer = buffer_bytes(setting)?,
            "receive.buffer.bytes" => self.dialer.sockets.receive_buffer = buffer_bytes(setting)?,
            "receive.message.max.bytes" => self.max_response_bytes = setting.number()?,
            _ => {}
        }
        Ok(())
    }

    /// Connects. Blocks until a broker has answered, at most the connection setup timeout; an error names the setting
    /// at fault or every address tried.
    pub fn build(self) -> Result<Client> {
        Client::start(self.check()?)
    }

    fn warn_of_shown_secrets(&self) {
        #[cfg(feature = "tls")]
        let protected = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let protected = false;
        if let Some(sasl) = self.sasl.as_ref().filter(|sasl| sasl.shows_the_secret() && !protected) {
            log::warn!("{} without TLS: anybody on the way can read the password or token", sasl.mechanism());
        }
    }

    fn check(self) -> Result<ClientConfig> {
        self.warn_of_shown_secrets();
        let bootstrap = address_list("bootstrap.servers", &self.bootstrap_servers)?
            .into_iter()
            .map(|(host, port)| Peer { node_id: -1, host: Arc::from(host), port })
            .collect();
        if !(1024..=i32::MAX as usize).contains(&self.max_response_bytes) {
            return Err(Error::config("receive.message.max.bytes", "must lie between 1 KiB and 2 GiB"));
        }
        for (name, timeout) in [
            ("socket.connection.setup.timeout.ms", self.connection_setup_timeout),
            ("request.timeout.ms", self.request_timeout),
            ("metadata.max.age.ms", self.metadata_max_age),
            ("connections.max.idle.ms", self.connections_max_idle),
            ("reconnect.backoff.ms", self.reconnect_backoff),
            ("retry.backoff.ms", self.retry_backoff),
        ] {
            if timeout.is_zero() {
                return Err(Error::config(name, "must be more than 0"));
            }
            // These are 64-bit numbers in Kafka: there is no limit to them.
            let unlimited = ["metadata.max.age.ms", "connections.max.idle.ms"].contains(&name);
            if timeout > TIMEOUT_MAX && !unlimited {
                return Err(Error::config(name, "must not be above 2147483647 ms"));
            }
        }
        if let Some(proxy) = &self.dialer.proxy {
            proxy.check()?;
        }
        let SocketSettings { send_buffer, receive_buffer, .. } = self.dialer.sockets;
        for (name, bytes) in [("send.buffer.bytes", send_buffer), ("receive.buffer.bytes", receive_buffer)] {
            if bytes.is_some_and(|bytes| i32::try_from(bytes).is_err()) {
                return Err(Error::config(name, "must not be above 2147483647 bytes"));
            }
        }
        if self.client_id.len() > CLIENT_ID_MAX {
            return Err(Error::config("client.id", format!("must not be longer than {CLIENT_ID_MAX} bytes")));
        }
        for (name, other, min, max) in [
            ("reconnect.backoff.max.ms", "reconnect.backoff.ms", self.reconnect_backoff, self.reconnect_backoff_max),
            ("retry.backoff.max.ms", "retry.backoff.ms", self.retry_backoff, self.retry_backoff_max),
        ] {
            if max > TIMEOUT_MAX {
                return Err(Error::config(name, "must not be above 2147483647 ms"));
            }
            if max < min {
                return Err(Error::config(name, format!("must not be below {other}")));
            }
        }
        Ok(ClientConfig {
            bootstrap,
            net: NetConfig {
                client_id: Arc::from(self.client_id),
                connection_setup_timeout: self.connection_setup_timeout,
                max_response_bytes: self.max_response_bytes,
                dialer: self.dialer,
                security: Security {
                    #[cfg(feature = "tls")]
                    tls: self.tls.as_ref().map(TlsConnector::new).transpose()?.map(Arc::new),
                    sasl: self.sasl,
                },
                epoch: Epoch::default(),
            },
            request_timeout: self.request_timeout,
            metadata_max_age: self.metadata_max_age,
            metadata_recovery: self.metadata_recovery,
            rebootstrap_trigger: self.rebootstrap_trigger,
            connections_max_idle: self.connections_max_idle,
            reconnect_backoff: Backoff::new(self.reconnect_backoff, self.reconnect_backoff_max),
            retry_backoff: Backoff::new(self.retry_backoff, self.retry_backoff_max),
            allow_auto_create_topics: self.allow_auto_create_topics,
            client_rack: Some(self.client_rack).filter(|rack| !rack.is_empty()),
        })
    }
}

fn recovery(setting: &Setting<'_>) -> Result<MetadataRecovery> {
    match setting.text() {
        text if text.eq_ignore_ascii_case("rebootstrap") => Ok(MetadataRecovery::Rebootstrap),
        text if text.eq_ignore_ascii_case("none") => Ok(MetadataRecovery::None),
        other => Err(setting.refuse(&format!("{other:?} is neither rebootstrap nor none"))),
    }
}

/// A size, or -1 for what the system thinks right.
fn buffer_bytes(setting: &Setting<'_>) -> Result<Option<usize>> {
    if setting.text() == "-1" { Ok(None) } else { setting.number().map(Some) }
}

fn sasl(properties: &Properties) -> Result<Sasl> {
    const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
    if properties.get("sasl.mechanism").map(str::trim) == Some("OAUTHBEARER") && properties.get(ENDPOINT).is_some() {
        #[cfg(feature = "oidc")]
        if let Some(provider) = crate::net::OidcClientCredentials::from_properties(properties)? {
            return Ok(Sasl::oauthbearer(provider));
        }
        #[cfg(not(feature = "oidc"))]
        return Err(Error::config(ENDPOINT, "needs sarameya's feature oidc"));
    }
    Sasl::from_properties(properties)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::logged::logged;

    fn from(properties: &str) -> Result<ClientConfig> {
        ClientBuilder::new().properties(&properties.parse()?)?.check()
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = from("bootstrap.servers=a:1").unwrap();
        assert_eq!(config.request_timeout, Duration::from_secs(30));
        assert_eq!(config.net.connection_setup_timeout, Duration::from_secs(10));
        assert_eq!(config.metadata_max_age, Duration::from_secs(300));
        assert!(config.allow_auto_create_topics);
        assert_eq!(config.client_rack, None);
    }

    #[test]
    fn settings_are_taken_by_their_kafka_names() {
        let config = from(
            "bootstrap.servers=a:1,b:2\nclient.id=me\nclient.rack=r\nrequest.timeout.ms=7\nlinger.ms=3\n\
             metadata.max.age.ms=9223372036854775807\nallow.auto.create.topics=FALSE\nsecurity.protocol=plaintext\n\
             socket.connection.setup.timeout.ms=8\nreceive.message.max.bytes=1024",
        );
        let config = config.unwrap();
        let addresses: Vec<String> = config.bootstrap.iter().map(Peer::address).collect();
        assert_eq!(addresses, ["a:1", "b:2"]);
        assert_eq!((&*config.net.client_id, config.client_rack.as_deref()), ("me", Some("r")));
        assert_eq!(config.request_timeout, Duration::from_millis(7));
        assert_eq!(config.net.connection_setup_timeout, Duration::from_millis(8));
        assert_eq!(config.metadata_max_age, Duration::from_millis(i64::MAX as u64));
        assert!(!config.allow_auto_create_topics);
        assert_eq!(config.net.max_response_bytes, 1024);
    }

    #[test]
    fn settings_of_the_network_are_taken_by_their_names() {
        let config = from("bootstrap.servers=a:1").unwrap();
        assert_eq!(config.metadata_recovery, MetadataRecovery::Rebootstrap);
        assert_eq!(config.rebootstrap_trigger, Duration::from_secs(300));
        assert_eq!(config.connections_max_idle, Duration::from_secs(540));
        let sockets = config.net.dialer.sockets;
        assert!(sockets.keepalive && sockets.nodelay && sockets.send_buffer.is_none());
        assert!(config.net.dialer.proxy.is_none());
        let config = from(
            "bootstrap.servers=a:1\nmetadata.recovery.strategy=NONE\nmetadata.recovery.rebootstrap.trigger.ms=0\n\
             connections.max.idle.ms=-1\nsocket.keepalive.enable=false\nsocket.nagle.disable=false\n\
             send.buffer.bytes=131072\nreceive.buffer.bytes=-1\nproxy.url=socks5://p\n\
             proxy.username=alice\nproxy.password=hunter2",
        );
        let config = config.unwrap();
        assert_eq!((config.metadata_recovery, config.rebootstrap_trigger), (MetadataRecovery::None, Duration::ZERO));
        assert_eq!(config.connections_max_idle, Duration::MAX);
        let sockets = config.net.dialer.sockets;
        assert!(!sockets.keepalive && !sockets.nodelay);
        assert_eq!((sockets.send_buffer, sockets.receive_buffer), (Some(131_072), None));
        let shown = format!("{config:?}");
        assert!(shown.contains("socks5://p:1080 with credentials") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    #[cfg(feature = "tls")]
    fn tls_is_taken_from_kafkas_settings() {
        let tls = "bootstrap.servers=a:1\nsecurity.protocol=ssl\nssl.endpoint.identification.algorithm=";
        // With the feature it is only the file that is missing.
        let (store_type, key_store_type) = if cfg!(feature = "stores") {
            ("ssl.truststore.location", "ssl.keystore.location")
        } else {
            ("ssl.truststore.type", "ssl.keystore.type")
        };
        for (settings, setting) in [
            ("ssl.truststore.location=/no/ca.pem", "ssl.truststore.location"),
            ("ssl.truststore.location=/no/ca.jks\nssl.truststore.type=JKS", store_type),
            ("ssl.truststore.location=/no/ca\nssl.truststore.type=BCFKS", "ssl.truststore.type"),
            ("ssl.truststore.location=/no/a\nssl.truststore.certificates=b", "ssl.truststore.location"),
            ("ssl.truststore.certificates=-----BEGIN X", "ssl.truststore.certificates"),
            ("ssl.keystore.location=/no/me.p12\nssl.keystore.type=PKCS12", key_store_type),
            ("ssl.keystore.location=/no/me\nssl.keystore.type=BCFKS", "ssl.keystore.type"),
            ("ssl.keystore.key=x", "ssl.keystore.certificate.chain"),
            ("ssl.keystore.certificate.chain=x", "ssl.keystore.key"),
            ("ssl.keystore.location=/no/a\nssl.keystore.key=x", "ssl.keystore.location"),
            ("ssl.enabled.protocols=TLSv1.1,SSLv3", "ssl.enabled.protocols"),
            ("ssl.cipher.suites=TLS_NULL_WITH_NULL_NULL", "ssl.cipher.suites"),
            ("ssl.endpoint.identification.algorithm=ldaps", "ssl.endpoint.identification.algorithm"),
        ] {
            let error = from(&format!("{tls}\n{settings}")).unwrap_err();
            assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)), "{settings}: {error}");
        }
        let two = from(&format!("{tls}\nssl.truststore.location=/no/a\nssl.truststore.certificates=b")).unwrap_err();
        assert!(two.to_string().contains("exclude each other"), "{two}");
        // What is not asked for is not looked at.
        let config = from("bootstrap.servers=a:1\nssl.truststore.location=/no/ca.pem").unwrap();
        assert!(config.net.security.tls.is_none());
        // A later list takes protection away only by name.
        let both = ClientBuilder::new().bootstrap_servers("a:1").tls(Tls::new().danger_accept_any_certificate());
        let kept = both.properties(&"client.id=x".parse().unwrap()).unwrap();
        assert!(kept.clone().check().unwrap().net.security.tls.is_some());
        let off = kept.properties(&"security.protocol=PLAINTEXT".parse().unwrap()).unwrap();
        assert!(off.check().unwrap().net.security.tls.is_none());
    }

    #[test]
    #[cfg(feature = "tls")]
    fn l4_a_protocol_is_what_was_asked_for_and_neither_less_nor_another() {
        let jaas = "sasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config=ScramLoginModule required username=u password=p;";
        for (protocol, tls, sasl) in [
            ("PLAINTEXT", false, false),
            ("SSL", true, false),
            ("SASL_PLAINTEXT", false, true),
            ("SASL_SSL", true, true),
            (" sasl_ssl ", true, true),
        ] {
            let before = ClientBuilder::new().bootstrap_servers("a:1").tls(Tls::new().danger_accept_any_certificate());
            // What this machine trusts is not what is tested.
            let trusted = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem().replace('\n', " ");
            let settings = format!("security.protocol={protocol}\n{jaas}\nssl.truststore.certificates={trusted}");
            let asked = before.properties(&settings.parse().unwrap()).unwrap();
            let verified = asked.tls.as_ref().map(|tls| tls.verification);
            assert_eq!(verified, tls.then_some(crate::config::Verification::Full), "{protocol}");
            let security = asked.check().unwrap().net.security;
            assert_eq!((security.tls.is_some(), security.sasl.is_some()), (tls, sasl), "{protocol}");
        }
        for unknown in ["", "TLS", "SASL", "SSL,PLAINTEXT"] {
            let error = from(&format!("bootstrap.servers=a:1\nsecurity.protocol={unknown}")).unwrap_err();
            assert_eq!(error.setting(), Some("security.protocol"), "{unknown:?}");
        }
    }

    #[test]
    #[cfg(feature = "tls")]
    fn l2_names_are_verified_unless_the_empty_algorithm_says_otherwise() {
        use crate::config::Verification;
        for (settings, expected) in [
            ("", Verification::Full),
            ("ssl.endpoint.identification.algorithm=https", Verification::Full),
            ("ssl.endpoint.identification.algorithm=HTTPS", Verification::Full),
            ("ssl.endpoint.identification.algorithm=", Verification::NotTheName),
        ] {
            let tls = Tls::from_properties(&settings.parse().unwrap()).unwrap();
            assert_eq!(tls.verification, expected, "{settings}");
        }
        let any = Tls::new().danger_accept_any_host_name().verification;
        assert_eq!((any, Tls::new().verification), (Verification::NotTheName, Verification::Full));
        assert_eq!(Tls::new().danger_accept_any_certificate().verification, Verification::Nothing);
    }

    #[test]
    #[cfg(feature = "tls")]
    fn versions_suites_and_passwords_of_tls_come_from_their_settings() {
        let settings = "ssl.enabled.protocols=TLSv1.1, TLSv1.3\nssl.cipher.suites=A, B\nssl.truststore.password=t\n\
                        ssl.keystore.password=s\nssl.key.password=k";
        let tls = Tls::from_properties(&settings.parse().unwrap()).unwrap();
        assert_eq!(tls.versions, Some(vec![crate::TlsVersion::V1_3]));
        assert_eq!(tls.cipher_suites, Some(vec!["A".to_owned(), "B".to_owned()]));
        let own = &tls.identity_passwords;
        let secrets = [&tls.roots_password, &own.store, &own.key].map(|secret| secret.as_ref().unwrap().expose());
        assert_eq!(secrets, ["t", "s", "k"]);
    }

    #[test]
    fn a_secret_that_everybody_on_the_way_can_read_is_warned_of() {
        let warned = |builder: ClientBuilder| {
            let (checked, lines) = logged(|| builder.bootstrap_servers("a:1").check());
            checked.unwrap();
            lines.iter().filter(|line| line.starts_with("WARN") && line.contains("without TLS")).count()
        };
        let token = || Sasl::oauthbearer(crate::OAuthBearerToken::new("t"));
        for (sasl, expected) in [
            (Sasl::plain("u", "p"), 1),
            (token(), 1),
            (Sasl::scram_sha_256("u", "p"), 0),
            (Sasl::scram_sha_512("u", "p"), 0),
        ] {
            assert_eq!(warned(ClientBuilder::new().sasl(sasl.clone())), expected, "{sasl:?}");
            #[cfg(feature = "tls")]
            {
                let tls = Tls::new().danger_accept_any_certificate();
                assert_eq!(warned(ClientBuilder::new().sasl(sasl).tls(tls)), 0);
            }
        }
    }

    #[test]
    fn an_error_names_the_setting_at_fault() {
        for (properties, setting) in [
            ("client.id=me", "bootstrap.servers"),
            ("bootstrap.servers=a", "bootstrap.servers"),
            ("request.timeout.ms=0", "request.timeout.ms"),
            ("request.timeout.ms=2147483648", "request.timeout.ms"),
            ("metadata.max.age.ms=0", "metadata.max.age.ms"),
            ("metadata.recovery.strategy=always", "metadata.recovery.strategy"),
            ("metadata.recovery.rebootstrap.trigger.ms=-1", "metadata.recovery.rebootstrap.trigger.ms"),
            ("connections.max.idle.ms=0", "connections.max.idle.ms"),
            ("connections.max.idle.ms=-2", "connections.max.idle.ms"),
            ("send.buffer.bytes=-2", "send.buffer.bytes"),
            ("receive.buffer.bytes=2147483648", "receive.buffer.bytes"),
            ("socket.keepalive.enable=yes", "socket.keepalive.enable"),
            ("proxy.url=p:1", "proxy.url"),
            ("proxy.username=u", "proxy.url"),
            ("proxy.url=http://p:1\nproxy.password=x", "proxy.username"),
            ("proxy.url=http://u:v@p:1\nproxy.username=x", "proxy.username"),
            ("proxy.url=socks5://p\nproxy.username=u", "proxy.password"),
            ("retry.backoff.max.ms=99", "retry.backoff.max.ms"),
            ("reconnect.backoff.ms=1001", "reconnect.backoff.max.ms"),
            ("reconnect.backoff.max.ms=2147483648", "reconnect.backoff.max.ms"),
            ("receive.message.max.bytes=1023", "receive.message.max.bytes"),
            ("receive.message.max.bytes=2147483648", "receive.message.max.bytes"),
            ("security.protocol=TLS", "security.protocol"),
            ("security.protocol=SASL_SSL", "sasl.mechanism"),
            ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN", "sasl.jaas.config"),
            ("allow.auto.create.topics=1", "allow.auto.create.topics"),
        ] {
            let addressed = if setting == "bootstrap.servers" { "" } else { "bootstrap.servers=a:1\n" };
            let error = from(&format!("{addressed}{properties}")).unwrap_err();
            assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)), "{properties}");
        }
        let long = ClientBuilder::new().bootstrap_servers("a:1").client_id("x".repeat(40_000)).check();
        assert_eq!(long.unwrap_err().setting(), Some("client.id"));
    }
}
