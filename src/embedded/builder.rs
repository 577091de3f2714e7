//! How a cluster is set up.

use super::clock::Clock;
use super::cluster::{Cluster, known_release};
use super::core::{Core, Limits};
use super::server::{self, Server};
use super::state::{Broker, Brokers, LOG_MEMORY, Settings, State};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const CONNECTIONS: usize = 2000;
/// In Kafka there is no limit by default, and the heap's size is one.
const QUEUED_BYTES: usize = 512 * 1024 * 1024;

/// Sets up a [`Cluster`]; from [`Cluster::builder`].
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    brokers: usize,
    port: u16,
    manual_clock: bool,
    settings: Settings,
    racks: Vec<String>,
    /// The releases that brokers play: all, or one by one.
    release: Option<String>,
    releases: BTreeMap<i32, String>,
    connections: usize,
}

impl ClusterBuilder {
    pub(super) fn new(brokers: usize) -> Self {
        Self {
            brokers,
            port: 0,
            manual_clock: false,
            settings: Settings::default(),
            racks: Vec::new(),
            release: None,
            releases: BTreeMap::new(),
            connections: CONNECTIONS,
        }
    }

    /// The first broker's port; the next brokers have the next ports. Defaults to any free ports.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// A broker setting by Kafka's name, for all brokers. What the cluster does not know is kept and has no effect.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.set(name, value);
        self
    }

    /// The racks of the brokers, in turn. Defaults to none. Kafka: `broker.rack`.
    #[must_use]
    pub fn racks(mut self, racks: &[&str]) -> Self {
        self.racks = racks.iter().map(|rack| (*rack).to_owned()).collect();
        self
    }

    /// Has all brokers play this release of Kafka, such as "2.5": the APIs and versions it has, the features, and what
    /// depends on them. Defaults to 4.3, the latest. [`start`](Self::start) fails for a release that is not known.
    ///
    /// What older brokers spoke that this crate has no messages for is not offered.
    #[must_use]
    pub fn as_version(mut self, version: &str) -> Self {
        self.release = Some(version.to_owned());
        self
    }

    /// Has one broker play this release of Kafka, as in the middle of an upgrade.
    #[must_use]
    pub fn broker_as_version(mut self, broker: i32, version: &str) -> Self {
        self.releases.insert(broker, version.to_owned());
        self
    }

    /// Time stands still in the cluster and passes only by [`Cluster::advance_clock`]: long polls, session timeouts,
    /// retention. Sockets are not concerned.
    #[must_use]
    pub fn manual_clock(mut self) -> Self {
        self.manual_clock = true;
        self
    }

    /// What the logs of all partitions may take together, in bytes. Where they would take more, those that take the most
    /// lose their oldest records, as if retention had deleted them. Defaults to 1 GiB.
    #[must_use]
    pub fn log_memory(mut self, bytes: u64) -> Self {
        self.settings.set(LOG_MEMORY, bytes.to_string());
        self
    }

    /// The most connections that clients may have to all brokers together; further ones are closed. Defaults to 2,000.
    /// Kafka: `max.connections`.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Binds the ports and starts the brokers; they are ready when this returns.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for no brokers at all or an unknown release, [`Network`](crate::ErrorKind::Network) if a port is
    /// taken or a thread can't be started.
    pub fn start(self) -> Result<Cluster> {
        let ids = 1..=i32::try_from(self.brokers).unwrap_or(i32::MAX);
        if ids.is_empty() {
            return Err(Error::config("brokers", "an embedded cluster needs at least one broker"));
        }
        let mut brokers = Vec::new();
        let mut listeners: Vec<TcpListener> = Vec::new();
        for (id, offset) in ids.zip(0..) {
            let port = if self.port == 0 { 0 } else { self.port.saturating_add(offset) };
            let listener = server::bind(port)?;
            let port = listener.local_addr().map_err(|error| Error::io(error, "asking for a port"))?.port();
            let rack = self.racks.get(usize::from(offset) % self.racks.len().max(1)).cloned();
            brokers.push(Broker { id, host: "127.0.0.1".into(), ports: vec![port], rack, running: true });
            listeners.push(listener);
        }
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall_ms = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let ids: Vec<i32> = brokers.iter().map(|broker| broker.id).collect();
        let limits = self.limits();
        let mut state = State::new(self.settings, Brokers::new(brokers), wall_ms, fastrand::u64(..));
        for id in &ids {
            if let Some(version) = self.releases.get(id).or(self.release.as_ref()) {
                state.set_release(*id, known_release(version)?);
            }
        }
        let core = Arc::new(Core::new(state, Clock::new(self.manual_clock), limits));
        let mut servers = Vec::new();
        for (id, listener) in ids.into_iter().zip(listeners) {
            servers.push((id, Server::start(id, listener, &core)?));
        }
        Cluster::new(core, Mutex::new(servers.into_iter().collect()))
    }

    fn limits(&self) -> Limits {
        let positive = |name: &str| u64::try_from(self.settings.number(name)).ok().filter(|value| *value > 0);
        let bytes = |name: &str| positive(name).and_then(|value| usize::try_from(value).ok());
        Limits {
            connections: self.connections,
            request_bytes: bytes("socket.request.max.bytes").unwrap_or(usize::MAX),
            queued_bytes: bytes("queued.max.request.bytes").unwrap_or(QUEUED_BYTES),
            idle: positive("connections.max.idle.ms").map(Duration::from_millis),
        }
    }
}
