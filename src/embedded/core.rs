//! What all threads of a cluster share: the state behind its lock, the clock, and who waits for an answer.

use super::clock::Clock;
use super::state::{ConnectionId, Context, Reply, State, Time};
use crate::protocol::Message;
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Shared by the acceptors, the connections, the clock's thread and the handle.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) clock: Clock,
    inner: Mutex<Inner>,
    /// Tells the clock's thread that something is due earlier than it thought, or that the cluster has ended.
    sooner: Condvar,
}

#[derive(Debug)]
struct Inner {
    state: State,
    connections: HashMap<ConnectionId, Peer>,
    next_connection: u64,
    /// What the clock's thread waits for.
    armed: Option<Time>,
    ended: bool,
}

/// The way to a connection's thread.
#[derive(Debug)]
struct Peer {
    broker: i32,
    answers: Sender<Reply>,
    socket: TcpStream,
}

impl Core {
    pub(super) fn new(state: State, clock: Clock) -> Self {
        let inner = Inner { state, connections: HashMap::new(), next_connection: 0, armed: None, ended: false };
        Self { clock, inner: Mutex::new(inner), sooner: Condvar::new() }
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
        self.settle(&mut inner);
        answer
    }

    /// Takes in a connection to a broker; `None` if that broker does not run or there are too many.
    pub(super) fn connect(
        &self,
        broker: i32,
        socket: TcpStream,
        limit: usize,
    ) -> Option<(ConnectionId, Receiver<Reply>)> {
        let mut inner = self.lock();
        if inner.ended || !inner.state.brokers.is_running(broker) || inner.connections.len() >= limit {
            return None;
        }
        let id = ConnectionId(inner.next_connection);
        inner.next_connection += 1;
        // Bound 1: a connection has one request under way, so there is never a second answer.
        let (answers, receiver) = crossbeam_channel::bounded(1);
        inner.connections.insert(id, Peer { broker, answers, socket });
        Some((id, receiver))
    }

    pub(super) fn disconnect(&self, id: ConnectionId) {
        let mut inner = self.lock();
        inner.connections.remove(&id);
        inner.state.connection_closed(id);
    }

    /// Serves a request. `Parked` means that the answer comes over the connection's channel.
    pub(super) fn handle(&self, context: &Context, body: Box<dyn Message>) -> Reply {
        let mut inner = self.lock();
        let reply = inner.state.handle(context, body);
        self.settle(&mut inner);
        reply
    }

    /// Ends the connections of a broker, or all.
    pub(super) fn drop_connections(&self, broker: Option<i32>) {
        let mut inner = self.lock();
        let concerned = |peer: &Peer| broker.is_none_or(|broker| peer.broker == broker);
        let gone: Vec<ConnectionId> =
            inner.connections.iter().filter(|(_, peer)| concerned(peer)).map(|(id, _)| *id).collect();
        for id in gone {
            // Ends a read or write of the connection's thread; dropping the sender ends its wait for an answer.
            if let Some(peer) = inner.connections.remove(&id) {
                let _ = peer.socket.shutdown(Shutdown::Both);
            }
            inner.state.connection_closed(id);
        }
    }

    /// How many connections there are, to one broker or to all.
    pub(super) fn connections(&self, broker: Option<i32>) -> usize {
        let inner = self.lock();
        inner.connections.values().filter(|peer| broker.is_none_or(|broker| peer.broker == broker)).count()
    }

    /// Hands out what is finished, and sees to it that the clock's thread wakes in time.
    fn settle(&self, inner: &mut Inner) {
        for (id, reply) in inner.state.take_answers() {
            if let Some(peer) = inner.connections.get(&id) {
                // There is room, see `connect`; if the thread has just ended nobody needs the answer.
                let _ = peer.answers.try_send(reply);
            }
        }
        let next = inner.state.next_deadline();
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
            self.settle(&mut inner);
            inner.armed = inner.state.next_deadline();
            let wait = inner.armed.and_then(|armed| self.clock.until(armed));
            inner = match wait {
                Some(wait) => self.sooner.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0,
                None => self.sooner.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
            inner.armed = None;
        }
    }
}
