//! The consumer group: one call that serves session after session.

use super::assignor::Assignment;
use super::builder::{ConsumerGroupBuilder, GroupConfig};
use super::commit::Committer;
use super::driver::{Command, Commands, Driver};
use super::errors::{ErrorSink, Errors, errors};
use super::handler::ConsumerGroupHandler;
use super::link::CoordinatorFinder;
use super::membership::{GroupProtocol, Membership, MembershipConfig, SessionStart};
use super::run::Runner;
use super::session::ConsumerGroupSession;
use super::subscription::encode_subscription;
use crate::cluster::Client;
use crate::consumer::{ConsumerCore, FetchConfig};
use crate::net::Interrupt;
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A member of a consumer group: [`consume`](Self::consume) hands the records of its share of the partitions to a handler,
/// one thread per partition, until it is stopped.
///
/// ```no_run
/// use sarameya::{Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupSession, StartOffset};
///
/// let client = Client::connect("localhost:9092")?;
/// let mut group = ConsumerGroup::builder(&client, "g1").start(StartOffset::Earliest).build()?;
/// let stop = group.stop_handle(); // for ctrl-c, or another thread
/// group.consume(&["test3"], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
///     for record in claim {
///         let record = record?;
///         println!("{} {:?}", record.offset(), record.value());
///         session.mark(&record);
///     }
///     Ok(())
/// })?;
/// # stop.stop();
/// # Ok::<(), sarameya::Error>(())
/// ```
pub struct ConsumerGroup {
    client: Client,
    config: GroupConfig,
    fetch: FetchConfig,
    stop: StopHandle,
    sink: ErrorSink,
    errors: Errors,
}

/// Stops a [`ConsumerGroup`] from any thread, also from its handler. Cloneable.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Stop>);

#[derive(Debug)]
struct Stop {
    stopped: AtomicBool,
    commands: Arc<Commands>,
    /// Ends every wait of the group's threads at once.
    interrupt: Interrupt,
    close_timeout: Duration,
    /// When the group is to have ended at the latest.
    by: Mutex<Option<Instant>>,
    /// Dropping it is the broadcast that the group is stopped. No message is ever sent.
    alive: Mutex<Option<Sender<()>>>,
    stopping: Receiver<()>,
    running: Mutex<bool>,
    ended: Condvar,
}

impl StopHandle {
    /// Lets `consume` end: claims end, handlers return, what is marked is committed, the member leaves. Returns at once.
    /// It is for good: a later `consume` returns without doing anything.
    pub fn stop(&self) {
        if self.0.stopped.swap(true, Ordering::SeqCst) {
            return;
        }
        let by = Instant::now() + self.0.close_timeout;
        *self.0.by.lock().unwrap_or_else(PoisonError::into_inner) = Some(by);
        drop(self.0.alive.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.0.commands.push(Command::Stop(by));
    }

    /// Stops and blocks until `consume` has returned, at most `timeout`. A handler that does not return is an error of
    /// kind [`Timeout`](ErrorKind::Timeout). Not to be called from a handler, which would wait for itself.
    pub fn stop_and_wait(&self, timeout: Duration) -> Result<()> {
        self.stop();
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.ended.wait_timeout_while(running, timeout, |running| *running);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return Err(Error::new(ErrorKind::Timeout, "a handler has not returned, so the group has not ended"));
        }
        Ok(())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn by(&self) -> Option<Instant> {
        *self.0.by.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, command: Command) {
        self.0.commands.push(command);
    }

    /// A channel that is disconnected when the group is stopped.
    pub(super) fn stopping(&self) -> &Receiver<()> {
        &self.0.stopping
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.0.interrupt
    }
}

impl ConsumerGroup {
    /// Settings first.
    pub fn builder(client: &Client, group_id: &str) -> ConsumerGroupBuilder {
        ConsumerGroupBuilder::new(client, group_id)
    }

    pub(super) fn new(client: Client, config: GroupConfig, fetch: FetchConfig) -> Result<Self> {
        let interrupt = Interrupt::new().map_err(|error| Error::io(error, "making a socket pair"))?;
        // Bound 0: the channel carries nothing, only its disconnection.
        let (alive, stopping) = crossbeam_channel::bounded(0);
        let stop = Stop {
            alive: Mutex::new(Some(alive)),
            stopping,
            stopped: AtomicBool::new(false),
            commands: Arc::new(Commands::new()?),
            interrupt,
            close_timeout: config.close_timeout,
            by: Mutex::new(None),
            running: Mutex::new(false),
            ended: Condvar::new(),
        };
        let (sink, errors) = errors();
        Ok(Self { client, config, fetch, stop: StopHandle(Arc::new(stop)), sink, errors })
    }

    /// A handle to end [`consume`](Self::consume) with.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The errors of the background.
    pub fn errors(&self) -> Errors {
        self.errors.clone()
    }

    /// Joins the group and serves session after session until it is stopped; blocks until then. After a stop it returns
    /// `Ok`, when handlers have returned, what is marked is committed and the group left, within the
    /// [close timeout](ConsumerGroupBuilder::close_timeout). Handlers that take longer are waited for all the same, but what
    /// they mark after that time can't be committed, and the result is an error of kind [`Timeout`](ErrorKind::Timeout).
    ///
    /// In each session: the member joins and gets its partitions, committed offsets are fetched, `setup` runs here, then
    /// `consume_claim` for each partition on a thread of its own, `kafka-claim-{topic}-{partition}`; when all have
    /// returned `cleanup` runs here, what is marked is committed, and heartbeats, which go on all the time, stop last.
    ///
    /// Returns an error that ends the membership: the handler's own (kind [`Handler`](ErrorKind::Handler) or
    /// [`HandlerPanic`](ErrorKind::HandlerPanic)), a refusal by the broker (authorization, a fenced instance id), a topic
    /// that can't be subscribed to. Everything that may pass is retried.
    pub fn consume(&mut self, topics: &[&str], handler: &dyn ConsumerGroupHandler) -> Result<()> {
        if topics.is_empty() || topics.iter().any(|topic| topic.is_empty()) {
            return Err(Error::new(ErrorKind::InvalidArgument, "a consumer group needs topics with names"));
        }
        if self.stop.is_stopped() {
            return Ok(());
        }
        *self.stop.0.running.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.0.commands.clear();
        if let Some(by) = self.stop.by() {
            // Stopped between the look and the clearing.
            self.stop.0.commands.push(Command::Stop(by));
        }
        let outcome = self.consume_until_stopped(topics, handler);
        *self.stop.0.running.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.stop.0.ended.notify_all();
        outcome
    }

    fn consume_until_stopped(&self, topics: &[&str], handler: &dyn ConsumerGroupHandler) -> Result<()> {
        let mut topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        topics.sort_unstable();
        topics.dedup();
        let core = self.client.core();
        let finder = CoordinatorFinder::new(core.clone(), self.config.group_id.clone(), self.stop.interrupt().clone());
        let finder = Arc::new(finder);
        let current = Arc::new(Mutex::new(None));
        // Bound 16: a claim that waits for its commit is one entry, and those beyond wait to get in as they would inside.
        let (commits, requests) = crossbeam_channel::bounded(16);
        // Bound 0: the channel carries nothing, only its disconnection.
        let (running, finish) = crossbeam_channel::bounded::<()>(0);
        // Bound 4: at most an assignment, a session and the end are ever unread, since each waits for what came before.
        let (events, received) = crossbeam_channel::bounded(4);
        let request_timeout = core.config().request_timeout;
        let new_session = |start: SessionStart| {
            ConsumerGroupSession::new(start, self.config.offset_retention, commits.clone(), request_timeout)
        };
        let membership = self.membership(&topics)?;
        let consumer = ConsumerCore::start(&self.client, self.fetch.clone())?;
        let committer = Committer {
            finder: finder.clone(),
            requests,
            finish,
            commands: self.stop.0.commands.clone(),
            current: current.clone(),
            interval: self.config.auto_commit,
            retention: self.config.offset_retention.is_some(),
            request_timeout,
            backoff: core.config().retry_backoff.clone(),
            errors: self.sink.clone(),
            connection: None,
        };
        let driver = Driver {
            membership,
            finder: finder.clone(),
            commands: self.stop.0.commands.clone(),
            events,
            current,
            new_session: &new_session,
            connection: None,
            in_flight: None,
        };
        std::thread::scope(|scope| {
            let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
            let failed = |error: std::io::Error| Error::new(ErrorKind::Thread, format!("starting a thread: {error}"));
            spawn("kafka-commit").spawn_scoped(scope, || committer.run()).map_err(failed)?;
            spawn("kafka-group").spawn_scoped(scope, || driver.run()).map_err(failed)?;
            let runner = Runner::new(consumer, &self.config, &topics, &self.stop, finder, handler, &self.sink);
            let outcome = runner.run(&received);
            drop(running);
            outcome
        })
    }

    fn membership(&self, topics: &[String]) -> Result<Membership> {
        let client = self.client.core().config();
        let config = MembershipConfig {
            group_id: self.config.group_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.rebalance_timeout,
            heartbeat_interval: self.config.heartbeat_interval,
            request_timeout: client.request_timeout,
            retry_backoff: client.retry_backoff.range(),
        };
        let protocols = self.config.assignors.iter().map(|assignor| {
            let metadata = encode_subscription(topics, assignor.user_data(topics), &Assignment::new())?;
            Ok(GroupProtocol { name: assignor.name().to_owned(), metadata })
        });
        Ok(Membership::new(config, protocols.collect::<Result<_>>()?, Instant::now(), fastrand::f64))
    }
}

impl fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerGroup").field("config", &self.config).finish_non_exhaustive()
    }
}
