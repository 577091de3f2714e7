//! Where the brokers are, when one may be dialled again, and idle connections for single calls.

use super::snapshot::Snapshot;
use crate::Error;
use crate::backoff::Backoff;
use crate::net::{Connection, Deadline, Peer};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Idle connections kept per broker for single calls.
const IDLE_PER_BROKER: usize = 1;
/// An address nobody has tried for so long starts again with the shortest backoff, if it is ever tried again.
const ATTEMPTS_KEPT: Duration = Duration::from_secs(60);

/// Shared by all threads of a client; every lock is held for a few instructions.
#[derive(Debug)]
pub(super) struct Brokers {
    bootstrap: Vec<Peer>,
    reconnect: Backoff,
    idle_limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Coordinators named by FindCoordinator, which the snapshot may not have yet.
    named: HashMap<i32, Peer>,
    attempts: HashMap<Address, Attempts>,
    idle: HashMap<i32, Vec<Connection>>,
    /// Somebody comes by itself to close the idle ones.
    watched: bool,
}

/// The same broker is dialled by its node id and as a bootstrap address.
type Address = (Arc<str>, u16);

fn address(peer: &Peer) -> Address {
    (peer.host.clone(), peer.port)
}

/// Failed attempts at one address, shared by all who dial it so that their number stays bounded together.
#[derive(Debug)]
struct Attempts {
    backoff: Backoff,
    /// The current step of the backoff.
    wait: Duration,
    not_before: Instant,
    error: Error,
}

impl Brokers {
    pub(super) fn new(bootstrap: Vec<Peer>, reconnect: Backoff, idle_limit: Duration) -> Self {
        Self { bootstrap, reconnect, idle_limit, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address of a node: metadata first, since it is refreshed.
    pub(super) fn peer(&self, node_id: i32, snapshot: &Snapshot) -> Option<Peer> {
        snapshot.brokers.get(&node_id).cloned().or_else(|| self.lock().named.get(&node_id).cloned())
    }

    pub(super) fn name(&self, peer: Peer) {
        self.lock().named.insert(peer.node_id, peer);
    }

    /// Everyone who can be asked for metadata, best first: those with no failed attempt, known nodes before bootstrap
    /// addresses. With `bootstrap` those are asked as well although nodes are known, so that a cluster whose brokers were
    /// all replaced is found again.
    pub(super) fn candidates(&self, snapshot: &Snapshot, bootstrap: bool) -> Vec<Peer> {
        let mut nodes: Vec<Peer> = snapshot.brokers.values().cloned().collect();
        fastrand::shuffle(&mut nodes);
        if bootstrap || nodes.is_empty() {
            let mut seeds = self.bootstrap.clone();
            fastrand::shuffle(&mut seeds);
            nodes.extend(seeds);
        }
        let mut seen = HashSet::new();
        nodes.retain(|peer| seen.insert(address(peer)));
        let state = self.lock();
        nodes.sort_by_key(|peer| state.attempts.get(&address(peer)).map(|a| a.not_before));
        nodes
    }

    /// Takes the next attempt at this address. Of all who wait for it one gets it, the others the next delay and why the
    /// last attempt failed. An address without failed attempts may be dialled by everybody.
    pub(super) fn claim(&self, peer: &Peer, now: Instant) -> Result<(), (Duration, Error)> {
        let mut state = self.lock();
        let Some(attempts) = state.attempts.get_mut(&address(peer)) else { return Ok(()) };
        if attempts.not_before > now {
            return Err((attempts.not_before - now, attempts.error.clone()));
        }
        attempts.wait = attempts.backoff.next(fastrand::f64);
        attempts.not_before = now + attempts.wait;
        Ok(())
    }

    /// For how long nobody gets the next attempt at this address; zero if it is free.
    pub(super) fn delay(&self, peer: &Peer, now: Instant) -> Duration {
        let state = self.lock();
        state.attempts.get(&address(peer)).map_or(Duration::ZERO, |a| a.not_before.saturating_duration_since(now))
    }

    /// A claimed attempt failed. The backoff counts from now, and has been made longer by the claim.
    pub(super) fn attempt_failed(&self, peer: &Peer, error: &Error, now: Instant) {
        let mut state = self.lock();
        let attempts = state.attempts.entry(address(peer)).or_insert_with(|| {
            let mut backoff = self.reconnect.clone();
            let wait = backoff.next(fastrand::f64);
            Attempts { backoff, wait, not_before: now, error: error.clone() }
        });
        attempts.not_before = now + attempts.wait;
        attempts.error = error.clone();
    }

    pub(super) fn attempt_succeeded(&self, peer: &Peer) {
        self.lock().attempts.remove(&address(peer));
    }

    /// An idle connection that still looks alive.
    pub(super) fn check_out(&self, peer: &Peer, now: Instant) -> Option<Connection> {
        loop {
            let mut connection = self.lock().idle.get_mut(&peer.node_id)?.pop()?;
            let fresh = now.saturating_duration_since(connection.last_used()) < self.idle_limit;
            if fresh && connection.peer() == peer && connection.is_reusable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next call. True if whoever [closes](Self::close_idle) the idle ones must be told that there
    /// are some again.
    #[must_use]
    pub(super) fn check_in(&self, mut connection: Connection) -> bool {
        let node_id = connection.peer().node_id;
        if node_id < 0 || !connection.is_reusable() {
            return false;
        }
        let mut state = self.lock();
        let idle = state.idle.entry(node_id).or_default();
        if idle.len() >= IDLE_PER_BROKER {
            return false;
        }
        idle.push(connection);
        !std::mem::replace(&mut state.watched, true)
    }

    /// Closes connections nobody has used for a while, and forgets failures at addresses nobody dials any more. Says
    /// when to come again, if there is reason to.
    pub(super) fn close_idle(&self, now: Instant) -> Option<Deadline> {
        let mut closed = Vec::new();
        let mut state = self.lock();
        for idle in state.idle.values_mut() {
            let stale = |c: &mut Connection| now.saturating_duration_since(c.last_used()) >= self.idle_limit;
            closed.extend(idle.extract_if(.., stale));
        }
        state.idle.retain(|_, idle| !idle.is_empty());
        state.attempts.retain(|_, a| now.saturating_duration_since(a.not_before) < ATTEMPTS_KEPT);
        let oldest = state.idle.values().flatten().map(Connection::last_used).min();
        state.watched = oldest.is_some();
        drop(state);
        oldest.map(|used| Deadline::of(used, self.idle_limit))
    }

    /// Forgets all but the bootstrap addresses and what failed.
    pub(super) fn forget(&self) {
        let mut state = self.lock();
        state.named.clear();
        // Closed outside the lock.
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    const MS: Duration = Duration::from_millis(1);

    fn peer(node_id: i32, host: &str) -> Peer {
        Peer { node_id, host: Arc::from(host), port: 9092 }
    }

    fn brokers(bootstrap: &[&str]) -> Brokers {
        let bootstrap = bootstrap.iter().map(|host| peer(-1, host)).collect();
        Brokers::new(bootstrap, Backoff::new(100 * MS, 1000 * MS), Duration::from_secs(540))
    }

    #[test]
    fn c12_attempts_at_a_broker_that_is_down_stay_bounded_however_many_dial_it() {
        let brokers = brokers(&[]);
        let error = Error::new(ErrorKind::Network, "refused");
        let start = Instant::now();
        // Two threads that know it as node 1 and one that knows it as a bootstrap address.
        let diallers = [peer(1, "a"), peer(1, "a"), peer(-1, "a")];
        let mut attempts = Vec::new();
        for ms in 0..60_000 {
            let now = start + ms * MS;
            for dialler in &diallers {
                match brokers.claim(dialler, now) {
                    Ok(()) => {
                        attempts.push(ms);
                        brokers.attempt_failed(dialler, &error, now);
                    }
                    Err((delay, _)) => assert!(delay <= 1200 * MS),
                }
            }
        }
        assert!((50..=80).contains(&attempts.len()), "{} attempts", attempts.len());
        let gaps: Vec<u32> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!((80..=121).contains(&gaps[0]) && gaps[5..].iter().all(|gap| *gap >= 800), "{gaps:?}");
        brokers.attempt_succeeded(&peer(1, "a"));
        assert!(brokers.claim(&peer(1, "a"), start).is_ok(), "no backoff after a success");
    }

    #[test]
    fn c12_a_claimed_attempt_that_takes_long_holds_the_others_back() {
        let brokers = brokers(&[]);
        let start = Instant::now();
        let a = peer(1, "a");
        brokers.attempt_failed(&a, &Error::new(ErrorKind::Network, "refused"), start);
        let later = start + 500 * MS;
        brokers.claim(&a, later).unwrap();
        let (delay, error) = brokers.claim(&a, later + MS).unwrap_err();
        assert!(delay > 100 * MS, "{delay:?}");
        assert!(error.to_string().contains("refused"));
    }

    #[test]
    fn candidates_are_nodes_then_bootstrap_addresses_and_last_what_failed() {
        let brokers = brokers(&["seed", "a"]);
        let mut snapshot = Snapshot::default();
        snapshot.brokers.insert(1, peer(1, "a"));
        snapshot.brokers.insert(2, peer(2, "b"));
        let now = Instant::now();
        brokers.attempt_failed(&peer(1, "a"), &Error::new(ErrorKind::Network, "refused"), now);
        let candidates = |snapshot: &Snapshot, bootstrap| -> Vec<(i32, String)> {
            brokers.candidates(snapshot, bootstrap).iter().map(|p| (p.node_id, p.host.to_string())).collect()
        };
        assert_eq!(candidates(&snapshot, true), [(2, "b".into()), (-1, "seed".into()), (1, "a".into())]);
        assert_eq!(candidates(&snapshot, false), [(2, "b".into()), (1, "a".into())]);
        let unknown = candidates(&Snapshot::default(), false);
        assert_eq!(unknown, [(-1, "seed".into()), (-1, "a".into())], "there is nobody else");
    }

    #[test]
    fn failures_at_addresses_nobody_dials_any_more_are_forgotten() {
        let brokers = brokers(&[]);
        let now = Instant::now();
        brokers.attempt_failed(&peer(1, "a"), &Error::new(ErrorKind::Network, "refused"), now);
        brokers.close_idle(now + Duration::from_secs(30));
        assert_eq!(brokers.lock().attempts.len(), 1);
        brokers.close_idle(now + Duration::from_secs(90));
        assert_eq!(brokers.lock().attempts.len(), 0);
    }
}
