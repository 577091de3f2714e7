//! The handle on a running cluster.

use super::builder::ClusterBuilder;
use super::core::Core;
use super::listener::Listener;
use super::port::{self, Reservation};
use super::server::Server;
use super::state::{Broker, Refusal, Release, release, release_names};
use crate::{Error, ErrorKind, NewTopic, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A Kafka cluster in this process. Dropping it ends its brokers, their ports and all threads.
///
/// Brokers have the node ids `1..=N`. All methods may be called from any thread and take effect before they return.
///
/// Threads: one for each broker (`kafka-embedded-accept-{id}`), one for each connection (`kafka-embedded-{id}`), and
/// `kafka-embedded-clock`.
#[derive(Debug)]
pub struct Cluster {
    pub(super) core: Arc<Core>,
    /// The brokers that run.
    servers: Mutex<HashMap<i32, Server>>,
    /// Keeps the ports of those that do not.
    _reservations: Vec<Reservation>,
    clock: Option<JoinHandle<()>>,
    /// The names of the listeners with the addresses of the brokers' ports there.
    bootstrap_servers: Vec<(String, String)>,
}

impl Cluster {
    /// Starts a cluster of this many brokers on free loopback ports, with Kafka's default settings.
    ///
    /// # Errors
    /// As [`ClusterBuilder::start`].
    pub fn start(brokers: usize) -> Result<Self> {
        Self::builder(brokers).start()
    }

    /// For a cluster with other settings.
    pub fn builder(brokers: usize) -> ClusterBuilder {
        ClusterBuilder::new(brokers)
    }

    pub(super) fn new(
        core: Arc<Core>,
        servers: Mutex<HashMap<i32, Server>>,
        reservations: Vec<Reservation>,
        listeners: &[Listener],
    ) -> Result<Self> {
        let addresses = |listener: usize| {
            let address = |broker: &Broker| format!("{}:{}", broker.host, broker.port(listener));
            core.with_state(|state, _| state.brokers.iter().map(address).collect::<Vec<_>>()).join(",")
        };
        let named = listeners.iter().enumerate().map(|(at, listener)| (listener.name.clone(), addresses(at)));
        let bootstrap_servers = named.collect();
        let mut cluster = Self { core, servers, _reservations: reservations, clock: None, bootstrap_servers };
        let core = Arc::clone(&cluster.core);
        let clock = std::thread::Builder::new().name("kafka-embedded-clock".into()).spawn(move || core.run_clock());
        cluster.clock = Some(clock.map_err(|error| Error::io(error, "starting the clock's thread"))?);
        Ok(cluster)
    }

    /// Where the brokers listen: `host:port`, comma separated, stopped ones too. Of several listeners it is the first.
    /// Kafka: `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> &str {
        self.bootstrap_servers.first().map_or("", |(_, addresses)| addresses)
    }

    /// The same for a listener by its name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a name that no listener has.
    pub fn bootstrap_servers_of(&self, listener: &str) -> Result<&str> {
        let found = self.bootstrap_servers.iter().find(|(name, _)| name == listener);
        let addresses = found.map(|(_, addresses)| addresses.as_str());
        addresses.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no listener {listener}")))
    }

    /// Makes a topic whose partitions have as many replicas as there are running brokers, three at most.
    ///
    /// # Errors
    /// The code that Kafka would give: TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        self.core.with_state(|state, _| {
            let factor = state.brokers.running().count().min(3) as i16;
            let created = state.create_topic(name, partitions, factor, BTreeMap::new()).map(|_| ());
            created.map_err(|code| Error::from_code(code, format!("topic {name} was not made")))
        })
    }

    /// Stops a broker: its ports and connections are closed, other in-sync replicas lead its partitions. Nothing
    /// happens if it does not run. Clients are refused by its ports; on Linux nobody else gets these meanwhile.
    pub fn stop_broker(&self, id: i32) {
        // Locked until its ports are closed: who starts it again at once is to find them free.
        let mut servers = self.servers();
        self.core.with_state(|state, _| state.broker_stopped(id));
        drop(servers.remove(&id));
        self.core.drop_connections(Some(id));
        self.core.pause(id, false);
    }

    /// Starts a stopped broker, on the ports it had. Nothing happens if it runs.
    ///
    /// # Errors
    /// [`Network`](ErrorKind::Network) if the port has been taken by someone else, [`Config`](ErrorKind::Config) for an id
    /// that no broker has.
    pub fn start_broker(&self, id: i32) -> Result<()> {
        let mut servers = self.servers();
        if servers.contains_key(&id) {
            return Ok(());
        }
        let ports = self.core.with_state(|state, _| state.brokers.get(id).map(|broker| broker.ports.clone()));
        let ports = ports.ok_or_else(|| Error::new(ErrorKind::Config, format!("there is no broker {id}")))?;
        let ports = ports.into_iter().map(port::reopen).collect::<Result<_>>()?;
        self.core.with_state(|state, _| state.broker_started(id));
        servers.insert(id, Server::start(id, ports, &self.core)?);
        Ok(())
    }

    /// Makes a topic of chosen replicas and configs. What is not given is what the brokers have by default.
    ///
    /// # Errors
    /// The code that Kafka would give: TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS,
    /// INVALID_REPLICATION_FACTOR, INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG.
    pub fn create_topic_with(&self, topic: &NewTopic) -> Result<()> {
        let topic = topic.creatable(i16::MAX)?;
        let name = topic.name.clone();
        let created = self.core.with_state(|state, _| state.create_new_topic(topic));
        created.map_err(|refusal| refused(refusal, &format!("topic {name} was not made")).with_topic(name.as_str()))
    }

    /// Who leads a partition; `None` while nobody does.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Option<i32>> {
        let leader = self.core.with_state(|state, _| state.leader_of(topic, partition));
        leader.map_err(|refusal| {
            refused(refusal, "there is no such partition").with_topic(topic).with_partition(partition)
        })
    }

    /// Adds partitions to a topic until it has `count`, with as many replicas as the others.
    ///
    /// # Errors
    /// The code that Kafka would give: UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS if it has so many already.
    pub fn create_partitions(&self, topic: &str, count: i32) -> Result<()> {
        let added = self.core.with_state(|state, _| state.grow_topic(topic, count));
        added.map_err(|refusal| refused(refusal, "no partitions were added").with_topic(topic))
    }

    /// Moves the leader of a partition to a running broker, which becomes a replica if it is none. The leader epoch rises.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; BROKER_NOT_AVAILABLE if the broker does not run.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<()> {
        let moved = self.core.with_state(|state, _| state.move_leader(topic, partition, broker));
        moved
            .map_err(|refusal| refused(refusal, "the leader was not moved").with_topic(topic).with_partition(partition))
    }

    /// Says which replicas of a partition are in sync. A leader that is not among them gives way to the first that runs.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION; INVALID_REPLICA_ASSIGNMENT for a broker that is no replica, or none at all.
    pub fn set_in_sync_replicas(&self, topic: &str, partition: i32, brokers: &[i32]) -> Result<()> {
        let set = self.core.with_state(|state, _| state.set_isr(topic, partition, brokers));
        set.map_err(|refusal| {
            refused(refusal, "the in-sync replicas were not set").with_topic(topic).with_partition(partition)
        })
    }

    /// Makes a broker play another release of Kafka, see [`ClusterBuilder::as_version`]: an upgrade, or a downgrade. Its
    /// connections are closed, as by the restart that this takes.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a release or a broker that there is not.
    pub fn set_version(&self, broker: i32, version: &str) -> Result<()> {
        let release = known_release(version)?;
        self.core.with_state(|state, _| {
            if state.brokers.get(broker).is_none() {
                return Err(Error::new(ErrorKind::Config, format!("there is no broker {broker}")));
            }
            state.set_release(broker, release);
            Ok(())
        })?;
        self.core.drop_connections(Some(broker));
        Ok(())
    }

    /// Closes all connections to a broker; it goes on listening.
    pub fn drop_connections(&self, broker: i32) {
        self.core.drop_connections(Some(broker));
    }

    /// How many connections clients have to a broker.
    pub fn connections(&self, broker: i32) -> usize {
        self.core.connections(broker)
    }

    /// Moves the cluster's clock ahead. What is due by then has happened when this returns.
    pub fn advance_clock(&self, time: Duration) {
        self.core.clock.add(time);
        self.core.time_has_passed();
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    fn servers(&self) -> MutexGuard<'_, HashMap<i32, Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn known_release(version: &str) -> Result<&'static Release> {
    release(version).ok_or_else(|| {
        let known = release_names().join(", ");
        Error::config("version", format!("no broker can play Kafka {version}; these are known: {known}"))
    })
}

fn refused(refusal: Refusal, what: &str) -> Error {
    let words = refusal.message.map(|words| format!("{what}: {words}"));
    Error::from_code(refusal.code, words.unwrap_or_else(|| what.to_owned()))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.core.end();
        self.core.drop_connections(None);
        self.servers().clear();
        self.core.join_threads();
        if let Some(clock) = self.clock.take() {
            let _ = clock.join();
        }
    }
}
