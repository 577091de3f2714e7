//! What all threads of a cluster share: the state behind its lock, the clock, and who waits for an answer.

use super::clock::Clock;
use super::faults::Faults;
use super::link::Link;
use super::listener::Entrance;
use super::memory::Memory;
use super::state::{ConnectionId, Context, Reply, State, Time, checked};
use crate::protocol::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a client may ask of a broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections to the whole cluster. Kafka: `max.connections`.
    pub(super) connections: usize,
    /// A request's size in bytes. Kafka: `socket.request.max.bytes`.
    pub(super) request_bytes: usize,
    /// The bytes of all large requests that are read or served. Kafka: `queued.max.request.bytes`.
    pub(super) queued_bytes: usize,
    /// How long a client may be silent; `None`: for ever. Kafka: `connections.max.idle.ms`.
    pub(super) idle: Option<Duration>,
}

/// Shared by the acceptors, the connections, the clock's thread and the handle.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    pub(super) memory: Arc<Memory>,
    pub(super) faults: Faults,
    /// Of each listener.
    pub(super) entrances: Vec<Entrance>,
    inner: Mutex<Inner>,
    /// Tells the clock's thread that something is due earlier than it thought, or that the cluster has ended.
    sooner: Condvar,
    /// Tells threads of paused brokers to go on.
    resumed: Condvar,
    /// Whether any broker is paused, to be asked without the lock.
    pausing: AtomicBool,
    /// The threads of connections. They end with their links and are joined at the end of the cluster, not earlier: a
    /// broker may be stopped by a script of the user's that runs on one of them.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    links: HashMap<ConnectionId, Arc<Link>>,
    next_connection: u64,
    /// Answers that are held back by a fault, by the time when they go out and the order of their coming.
    delayed: BTreeMap<(Time, u64), (ConnectionId, Reply)>,
    next_delayed: u64,
    /// Brokers that neither read nor write.
    paused: BTreeSet<i32>,
    /// What the clock's thread waits for.
    armed: Option<Time>,
    ended: bool,
}

impl Core {
    pub(super) fn new(state: State, clock: Clock, limits: Limits, entrances: Vec<Entrance>) -> Self {
        let inner = Inner {
            state,
            links: HashMap::new(),
            next_connection: 0,
            delayed: BTreeMap::new(),
            next_delayed: 0,
            paused: BTreeSet::new(),
            armed: None,
            ended: false,
        };
        Self {
            clock,
            limits,
            memory: Memory::new(limits.queued_bytes),
            faults: Faults::default(),
            entrances,
            inner: Mutex::new(inner),
            sooner: Condvar::new(),
            resumed: Condvar::new(),
            pausing: AtomicBool::new(false),
            threads: Mutex::new(Vec::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is changed step by step; a panic in between is a bug, but no reason to hang every client.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks or changes the state, outside any request.
    pub(super) fn with_state<T>(&self, ask: impl FnOnce(&mut State, Time) -> T) -> T {
        let mut inner = self.lock();
        let now = self.clock.now();
        inner.state.advance(now);
        let answer = ask(&mut inner.state, now);
        self.settle(&mut inner, now);
        answer
    }

    /// Takes in a connection to a broker; `None` if that broker does not run or there are too many.
    pub(super) fn connect(&self, broker: i32, listener: usize, socket: TcpStream) -> Option<Arc<Link>> {
        let mut inner = self.lock();
        let runs = inner.state.brokers.get(broker).is_some_and(|broker| broker.running);
        if inner.ended || !runs || inner.links.len() >= self.limits.connections {
            return None;
        }
        let id = ConnectionId(inner.next_connection);
        inner.next_connection += 1;
        let link = Arc::new(Link::new(id, broker, listener, socket));
        inner.links.insert(id, Arc::clone(&link));
        Some(link)
    }

    pub(super) fn disconnect(&self, id: ConnectionId) {
        let mut inner = self.lock();
        if inner.links.remove(&id).is_some() {
            inner.forget(id);
        }
    }

    /// Serves a request. `Parked` means that the link will have the answer.
    pub(super) fn handle(&self, link: &Link, context: &Context, body: Box<dyn Message>) -> Reply {
        let body = checked(context, body);
        let mut inner = self.lock();
        if link.is_ended() {
            return Reply::Close;
        }
        let reply = inner.state.handle(context, body);
        let reply = self.parked(&mut inner, link, reply);
        self.settle(&mut inner, context.now);
        reply
    }

    /// Holds an answer back for a time by the cluster's clock. `Parked` means that the link will have it.
    pub(super) fn delay(&self, link: &Link, reply: Reply, delay: Duration) -> Reply {
        let mut inner = self.lock();
        if link.is_ended() {
            return Reply::Close;
        }
        let now = self.clock.now();
        let order = inner.next_delayed;
        inner.next_delayed += 1;
        inner.delayed.insert((now.saturating_add(delay), order), (link.id, reply));
        let reply = self.parked(&mut inner, link, Reply::Parked);
        self.settle(&mut inner, now);
        reply
    }

    fn parked(&self, inner: &mut Inner, link: &Link, reply: Reply) -> Reply {
        if let (Reply::Parked, Err(error)) = (&reply, link.park()) {
            log::warn!("embedded broker {} can't park a request: {error}", link.broker);
            inner.forget(link.id);
            return Reply::Close;
        }
        reply
    }

    /// Ends the connections of a broker, or all.
    pub(super) fn drop_connections(&self, broker: Option<i32>) {
        let mut inner = self.lock();
        let concerned = |link: &Link| broker.is_none_or(|broker| link.broker == broker);
        let gone: Vec<Arc<Link>> = inner.links.values().filter(|link| concerned(link)).cloned().collect();
        for link in gone {
            link.end();
            inner.links.remove(&link.id);
            inner.forget(link.id);
        }
        drop(inner);
        self.memory.wake();
        self.resumed.notify_all();
    }

    /// How many connections there are to a broker.
    pub(super) fn connections(&self, broker: i32) -> usize {
        self.lock().links.values().filter(|link| link.broker == broker).count()
    }

    /// From now on a broker neither reads nor writes, or does so again.
    pub(super) fn pause(&self, broker: i32, paused: bool) {
        let mut inner = self.lock();
        if paused {
            inner.paused.insert(broker);
        } else {
            inner.paused.remove(&broker);
        }
        self.pausing.store(!inner.paused.is_empty(), Ordering::SeqCst);
        self.resumed.notify_all();
    }

    /// Waits while the link's broker is paused.
    pub(super) fn pass_pause(&self, link: &Link) {
        if !self.pausing.load(Ordering::SeqCst) {
            return;
        }
        let mut inner = self.lock();
        while inner.paused.contains(&link.broker) && !link.is_ended() {
            inner = self.resumed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands out what is finished, and sees to it that the clock's thread wakes in time.
    fn settle(&self, inner: &mut Inner, now: Time) {
        for (id, reply) in inner.state.take_answers() {
            inner.hand_out(id, reply);
        }
        while let Some(due) = inner.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let (id, reply) = due.remove();
            inner.hand_out(id, reply);
        }
        let next = inner.next_deadline();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            self.sooner.notify_one();
        }
    }

    /// After the clock has been moved by hand: what is due now happens before this returns.
    pub(super) fn time_has_passed(&self) {
        self.with_state(|_, _| {});
        self.sooner.notify_one();
    }

    /// Ends the clock's thread and refuses what comes later.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.sooner.notify_one();
    }

    /// The thread `kafka-embedded-clock`, one for each cluster: lets happen what is due. It owns nothing, is told of
    /// earlier deadlines through `sooner`, and ends with the cluster.
    pub(super) fn run_clock(&self) {
        let mut inner = self.lock();
        while !inner.ended {
            let now = self.clock.now();
            inner.state.advance(now);
            self.settle(&mut inner, now);
            inner.armed = inner.next_deadline();
            let wait = inner.armed.and_then(|armed| self.clock.until(armed));
            inner = match wait {
                Some(wait) => self.sooner.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.sooner.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
            inner.armed = None;
        }
    }

    /// Keeps a connection's thread, to be joined at the end.
    pub(super) fn keep_thread(&self, thread: JoinHandle<()>) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }

    #[cfg(test)]
    pub(super) fn kept_threads(&self) -> usize {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits for the end of all threads of connections, except for the one that calls.
    pub(super) fn join_threads(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let this = std::thread::current().id();
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != this) {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn next_deadline(&self) -> Option<Time> {
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        [self.state.next_deadline(), delayed].into_iter().flatten().min()
    }

    fn hand_out(&self, id: ConnectionId, reply: Reply) {
        // A link that has gone needs no answer.
        if let Some(link) = self.links.get(&id) {
            link.answer(reply);
        }
    }

    /// Nothing is to be answered on this connection any more.
    fn forget(&mut self, id: ConnectionId) {
        self.delayed.retain(|_, (connection, _)| *connection != id);
        self.state.connection_closed(id);
    }
}
