//! The client: what producers, consumers, groups and admin calls share.

use super::brokers::Brokers;
use super::builder::{ClientBuilder, ClientConfig};
use super::metadata::{Metadata, Refresher};
use super::pace::Pace;
use super::recovery::Recovery;
use super::snapshot::Snapshot;
use crate::net::{Connection, Deadline, Interrupt, Peer};
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::Receiver;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A connection to a Kafka cluster: brokers, metadata, versions. Cheap to clone; all clones are the same client.
///
/// Producers, consumers, groups and admin calls share one. It has one thread of its own, `kafka-metadata`, which ends
/// when the last clone and everything built on it are gone.
///
/// ```no_run
/// # fn main() -> sarameya::Result<()> {
/// let client = sarameya::Client::connect("localhost:9092")?;
/// println!("{} partitions", client.partition_count("test3")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    /// Ends the refresher with the last clone.
    _refresher: Arc<RefresherGuard>,
}

/// What the crate's threads hold of a client. It does not keep the refresher alive by itself.
#[derive(Debug)]
pub(crate) struct Core {
    config: ClientConfig,
    brokers: Arc<Brokers>,
    metadata: Arc<Metadata>,
    interrupt: Interrupt,
}

#[derive(Debug)]
struct RefresherGuard {
    interrupt: Interrupt,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Client {
    /// Connects with the default settings to a cluster of which some brokers are named: `host:port,host:port`.
    ///
    /// Blocks until one of them has answered, at most the
    /// [connection setup timeout](ClientBuilder::connection_setup_timeout). An error names every address tried.
    pub fn connect(bootstrap_servers: &str) -> Result<Self> {
        Self::builder().bootstrap_servers(bootstrap_servers).build()
    }

    /// Settings first.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(super) fn start(config: ClientConfig) -> Result<Self> {
        let interrupt = Interrupt::new().map_err(|error| Error::io(error, "making a socket pair"))?;
        let (metadata, wanted) = Metadata::new();
        let brokers =
            Brokers::new(config.bootstrap.clone(), config.reconnect_backoff.clone(), config.connections_max_idle);
        let brokers = Arc::new(brokers);
        let refresher = Refresher {
            shared: metadata.clone(),
            brokers: brokers.clone(),
            net: config.net.clone(),
            interrupt: interrupt.clone(),
            request_timeout: config.request_timeout,
            max_age: config.metadata_max_age,
            max_idle: config.connections_max_idle,
            recovery: Recovery::new(config.metadata_recovery, config.rebootstrap_trigger),
            retry: config.retry_backoff.clone(),
            connection: None,
            rounds_here: 0,
            failed_rounds: 0,
            pace: Pace::default(),
            paced: true,
            wanted,
        };
        let thread = std::thread::Builder::new().name("kafka-metadata".into()).spawn(move || refresher.run());
        let thread =
            thread.map_err(|error| Error::new(ErrorKind::Thread, format!("starting kafka-metadata: {error}")))?;
        let guard = RefresherGuard { interrupt: interrupt.clone(), thread: Mutex::new(Some(thread)) };
        let deadline = Deadline::after(config.net.connection_setup_timeout);
        let core = Core { config, brokers, metadata, interrupt: interrupt.clone() };
        let client = Self { core: Arc::new(core), _refresher: Arc::new(guard) };
        let metadata = &client.core.metadata;
        metadata.wait_for(deadline, &interrupt, "a first answer from the cluster", |snapshot| {
            if !snapshot.brokers.is_empty() {
                return Ok(Some(()));
            }
            match metadata.last_error() {
                // Everybody answered, and nobody as a Kafka broker this crate can talk to: that does not pass.
                Some(error) if is_hopeless(error.kind()) => Err(error),
                _ => Ok(None),
            }
        })?;
        Ok(client)
    }

    /// The number of partitions of a topic. Blocks while its metadata is fetched, at most the request timeout. The
    /// topic is not created by asking.
    pub fn partition_count(&self, topic: &str) -> Result<usize> {
        let _in_use = self.core.use_topic(topic, false);
        self.core.wait_for_partitions(topic, &self.core.interrupt, Deadline::after(self.core.config.request_timeout))
    }

    /// The cluster's id; `None` for brokers older than 0.10.1.
    pub fn cluster_id(&self) -> Option<String> {
        self.core.snapshot().cluster_id.clone()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

/// An exchange that succeeds has something to say.
fn nothing_said() -> Error {
    Error::protocol("an exchange ended without an answer")
}

/// Kinds of errors that the next attempt would meet again.
fn is_hopeless(kind: ErrorKind) -> bool {
    use ErrorKind::{Authentication, Protocol, Tls, TooLarge, Unsupported};
    matches!(kind, Authentication | Protocol | Tls | TooLarge | Unsupported)
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.core.config).finish_non_exhaustive()
    }
}

impl Drop for RefresherGuard {
    fn drop(&mut self) {
        self.interrupt.trigger();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Everything the thread waits for ends with the interrupt, so this join is short. It may be dropped by a thread
        // of this crate, but never by the refresher itself, which holds no client.
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("kafka-metadata panicked");
        }
    }
}

/// A topic's metadata is refreshed while one of these lives.
#[derive(Debug)]
pub(crate) struct TopicUse {
    metadata: Arc<Metadata>,
    topic: Arc<str>,
    create: bool,
}

impl Drop for TopicUse {
    fn drop(&mut self) {
        self.metadata.remove_use(&self.topic, self.create);
    }
}

impl Core {
    pub(crate) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The newest view of the cluster.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.metadata.snapshot()
    }

    /// Wants newer metadata than `generation`; does not wait. To be called with the generation that turned out stale.
    pub(crate) fn refresh_since(&self, generation: u64) {
        self.metadata.refresh_since(generation);
    }

    /// A token arrives after every metadata refresh, well ended or not. The channel is disconnected when the client ends.
    pub(crate) fn listen(&self) -> Receiver<()> {
        self.metadata.listen()
    }

    /// Keeps the topic's metadata fresh while the answer lives. With `create` it may be created by asking for it, if
    /// `allow.auto.create.topics` and the broker allow that.
    pub(crate) fn use_topic(&self, topic: &str, create: bool) -> TopicUse {
        let topic: Arc<str> = Arc::from(topic);
        let create = create && self.config.allow_auto_create_topics;
        self.metadata.add_use(&topic, create);
        TopicUse { metadata: self.metadata.clone(), topic, create }
    }

    /// Waits until a snapshot has what `find` looks for, refreshing meanwhile.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Deadline,
        interrupt: &Interrupt,
        waiting_for: &str,
        find: impl FnMut(&Snapshot) -> Result<Option<T>>,
    ) -> Result<T> {
        self.metadata.wait_for(deadline, interrupt, waiting_for, find)
    }

    /// Waits until the topic's partitions are known, and fails at once if the broker refuses or the topic stays unknown
    /// until the deadline. The topic must be in use.
    pub(crate) fn wait_for_partitions(&self, topic: &str, interrupt: &Interrupt, deadline: Deadline) -> Result<usize> {
        let asked_at = self.snapshot().generation;
        let mut last = None;
        let waited = self.wait_for(deadline, interrupt, "the topic's metadata", |snapshot| {
            if let Some(count) = snapshot.partition_count(topic) {
                return Ok(Some(count));
            }
            match snapshot.topic(topic).map(|t| t.error) {
                // An older refusal may have been lifted since.
                Some(code) if !code.is_retriable() && snapshot.generation > asked_at => {
                    Err(Error::from_code(code, "the topic can't be used").with_topic(topic))
                }
                code => {
                    last = code;
                    Ok(None)
                }
            }
        });
        waited.map_err(|error| match (error.kind(), last) {
            // The broker's own word for it says more than that time went by.
            (ErrorKind::Timeout, Some(code)) => {
                Error::from_code(code, "the topic did not become available before the deadline").with_topic(topic)
            }
            _ => error.with_topic(topic),
        })
    }

    /// Where a node is.
    pub(crate) fn peer(&self, node_id: i32) -> Result<Peer> {
        let unknown = || Error::new(ErrorKind::Network, format!("broker {node_id} is not in the cluster's metadata"));
        self.brokers.peer(node_id, &self.snapshot()).ok_or_else(unknown)
    }

    pub(super) fn name_broker(&self, peer: Peer) {
        self.brokers.name(peer);
    }

    /// Dials a node for an owner that keeps the connection. Waits while the node's reconnect backoff lasts; a failure
    /// makes that longer for everybody and asks for new metadata.
    pub(crate) fn dial(&self, node_id: i32, interrupt: &Interrupt, deadline: Deadline) -> Result<Connection> {
        let generation = self.snapshot().generation;
        let dialled = self.peer(node_id).and_then(|peer| self.dial_peer(&peer, interrupt, deadline));
        if dialled.is_err() {
            self.refresh_since(generation);
        }
        dialled
    }

    /// For how long [`dial`](Self::dial) would only wait: for owners of what could go to another node meanwhile.
    pub(crate) fn dial_delay(&self, node_id: i32) -> Duration {
        self.peer(node_id).map_or(Duration::ZERO, |peer| self.brokers.delay(&peer, Instant::now()))
    }

    fn dial_peer(&self, peer: &Peer, interrupt: &Interrupt, deadline: Deadline) -> Result<Connection> {
        while let Err((delay, error)) = self.brokers.claim(peer, Instant::now()) {
            if deadline.remaining() <= delay {
                return Err(error);
            }
            if interrupt.wait(delay) {
                return Err(Error::new(ErrorKind::Closed, "closed while waiting to connect again"));
            }
        }
        let dialled = Connection::dial(peer, &self.config.net, interrupt, deadline);
        match &dialled {
            Ok(_) => self.brokers.attempt_succeeded(peer),
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => self.brokers.attempt_failed(peer, error, Instant::now()),
        }
        dialled
    }

    /// Borrows a connection to a node for one exchange. A connection that was idle and turns out to be dead is replaced
    /// once, so `exchange` may run twice.
    pub(crate) fn with_node<T>(
        &self,
        node_id: i32,
        interrupt: &Interrupt,
        deadline: Deadline,
        mut exchange: impl FnMut(&mut Connection) -> Result<T>,
    ) -> Result<T> {
        let mut said = None;
        self.exchange(node_id, interrupt, deadline, &mut |connection| {
            said = Some(exchange(connection)?);
            Ok(())
        })?;
        said.ok_or_else(nothing_said)
    }

    /// The same, compiled once for all that may be asked.
    fn exchange(
        &self,
        node_id: i32,
        interrupt: &Interrupt,
        deadline: Deadline,
        exchange: &mut dyn FnMut(&mut Connection) -> Result<()>,
    ) -> Result<()> {
        let peer = self.peer(node_id)?;
        if let Some(mut connection) = self.brokers.check_out(&peer, Instant::now()) {
            connection.set_interrupt(interrupt);
            match exchange(&mut connection) {
                Err(error) if error.kind() == ErrorKind::Network => log::debug!("idle connection: {error}"),
                outcome => {
                    self.check_in(connection);
                    return outcome;
                }
            }
        }
        let mut connection = self.dial(node_id, interrupt, deadline)?;
        let outcome = exchange(&mut connection);
        self.check_in(connection);
        outcome
    }

    fn check_in(&self, connection: Connection) {
        if self.brokers.check_in(connection) {
            self.metadata.wake();
        }
    }

    /// Borrows a connection to any broker for one exchange; tries the next one if a connection can't be made or breaks.
    /// The exchange gets the deadline for this broker.
    pub(crate) fn with_any<T>(
        &self,
        interrupt: &Interrupt,
        deadline: Deadline,
        mut exchange: impl FnMut(&mut Connection, Deadline) -> Result<T>,
    ) -> Result<T> {
        let mut said = None;
        self.exchange_with_any(interrupt, deadline, &mut |connection, share| {
            said = Some(exchange(connection, share)?);
            Ok(())
        })?;
        said.ok_or_else(nothing_said)
    }

    fn exchange_with_any(
        &self,
        interrupt: &Interrupt,
        deadline: Deadline,
        exchange: &mut dyn FnMut(&mut Connection, Deadline) -> Result<()>,
    ) -> Result<()> {
        let snapshot = self.snapshot();
        let mut last = None;
        let mut nodes = self.brokers.candidates(&snapshot, false).into_iter().filter(|p| p.node_id >= 0).peekable();
        while let Some(peer) = nodes.next() {
            // One broker that accepts and never answers must leave time for the next.
            let left = deadline.remaining();
            let share = if nodes.peek().is_some() { deadline.within(left / 2) } else { deadline };
            match self.exchange(peer.node_id, interrupt, share, &mut |connection| exchange(connection, share)) {
                Err(error) if matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout) => {
                    // One that hangs is asked last the next time.
                    if error.kind() == ErrorKind::Timeout && error.code().is_none() {
                        self.brokers.attempt_failed(&peer, &error, Instant::now());
                    }
                    last = Some(error);
                }
                outcome => return outcome,
            }
            if deadline.has_passed() || interrupt.is_triggered() {
                break;
            }
        }
        self.refresh_since(snapshot.generation);
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Network, "no broker is known")))
    }

    /// The client's own interrupt, for calls on a user's thread.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }
}
