//! Where the brokers are, when one may be dialled again, and idle connections for single calls.

use super::snapshot::Snapshot;
use crate::Error;
use crate::backoff::Backoff;
use crate::net::{Connection, Peer};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Idle connections kept per broker for single calls.
const IDLE_PER_BROKER: usize = 1;
/// Brokers close a connection that was idle for 10 minutes by default; this end does it first.
const IDLE_LIMIT: Duration = Duration::from_secs(180);

/// Shared by all threads of a client; every lock is held for a few instructions.
#[derive(Debug)]
pub(super) struct Brokers {
    bootstrap: Vec<Peer>,
    reconnect: Backoff,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Coordinators named by FindCoordinator, which the snapshot may not have yet.
    named: HashMap<i32, Peer>,
    attempts: HashMap<Peer, Attempts>,
    idle: HashMap<i32, Vec<Connection>>,
}

/// Failed attempts at one address, shared by all who dial it so that their number stays bounded together.
#[derive(Debug)]
struct Attempts {
    backoff: Backoff,
    not_before: Instant,
    error: Error,
}

impl Brokers {
    pub(super) fn new(bootstrap: Vec<Peer>, reconnect: Backoff) -> Self {
        Self { bootstrap, reconnect, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bootstrap(&self) -> &[Peer] {
        &self.bootstrap
    }

    /// The address of a node: metadata first, since it is refreshed.
    pub(super) fn peer(&self, node_id: i32, snapshot: &Snapshot) -> Option<Peer> {
        snapshot.brokers.get(&node_id).cloned().or_else(|| self.lock().named.get(&node_id).cloned())
    }

    pub(super) fn name(&self, peer: Peer) {
        self.lock().named.insert(peer.node_id, peer);
    }

    /// Everyone who can be asked for metadata, best first: those with no failed attempt, known nodes before bootstrap
    /// addresses, which are always asked as well so that a cluster whose brokers were all replaced is found again.
    pub(super) fn candidates(&self, snapshot: &Snapshot) -> Vec<Peer> {
        let mut nodes: Vec<Peer> = snapshot.brokers.values().cloned().collect();
        fastrand::shuffle(&mut nodes);
        let mut seeds = self.bootstrap.clone();
        fastrand::shuffle(&mut seeds);
        nodes.extend(seeds);
        let state = self.lock();
        nodes.sort_by_key(|peer| state.attempts.get(peer).map(|a| a.not_before));
        nodes
    }

    /// How long to wait before the next attempt at this address, and why the last one failed; `None` if it may be made.
    pub(super) fn delay(&self, peer: &Peer, now: Instant) -> Option<(Duration, Error)> {
        let state = self.lock();
        let attempts = state.attempts.get(peer).filter(|a| a.not_before > now)?;
        Some((attempts.not_before - now, attempts.error.clone()))
    }

    pub(super) fn attempt_failed(&self, peer: &Peer, error: &Error, now: Instant) {
        let mut state = self.lock();
        let attempts = state.attempts.entry(peer.clone()).or_insert_with(|| Attempts {
            backoff: self.reconnect.clone(),
            not_before: now,
            error: error.clone(),
        });
        attempts.not_before = now + attempts.backoff.next(fastrand::f64);
        attempts.error = error.clone();
    }

    pub(super) fn attempt_succeeded(&self, peer: &Peer) {
        self.lock().attempts.remove(peer);
    }

    /// An idle connection that still looks alive.
    pub(super) fn check_out(&self, peer: &Peer, now: Instant) -> Option<Connection> {
        loop {
            let connection = self.lock().idle.get_mut(&peer.node_id)?.pop()?;
            let fresh = now.saturating_duration_since(connection.last_used()) < IDLE_LIMIT;
            if fresh && connection.peer() == peer && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    pub(super) fn check_in(&self, connection: Connection) {
        let node_id = connection.peer().node_id;
        if node_id < 0 || !connection.is_reusable() {
            return;
        }
        let mut state = self.lock();
        let idle = state.idle.entry(node_id).or_default();
        if idle.len() < IDLE_PER_BROKER {
            idle.push(connection);
        }
    }

    /// Closes connections nobody has used for a while.
    pub(super) fn close_idle(&self, now: Instant) {
        let mut closed = Vec::new();
        let mut state = self.lock();
        for idle in state.idle.values_mut() {
            let stale = |c: &mut Connection| now.saturating_duration_since(c.last_used()) >= IDLE_LIMIT;
            closed.extend(idle.extract_if(.., stale));
        }
        state.idle.retain(|_, idle| !idle.is_empty());
        drop(state);
    }
}
