//! The metadata refresher.

use super::brokers::Brokers;
use super::pace::Pace;
use super::recovery::Recovery;
use super::snapshot::Snapshot;
use crate::backoff::Backoff;
use crate::net::{Connection, Deadline, Interrupt, NetConfig, Peer};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::{Error, ErrorCode, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A broker cut off from the cluster goes on telling what was true once, so another one is asked after so many answers.
/// In quiet times that is once in a while, in an error loop once a second.
const ROUNDS_PER_CONNECTION: u32 = 5;
/// Errors of many partitions at once ask for metadata at once; what comes within this time is one request.
const COALESCED: Duration = Duration::from_millis(20);

/// One per client, thread `kafka-metadata`. Owns the refresh schedule and its connection; publishes snapshots.
/// Everybody may ask it for a refresh through [`Metadata`]; it ends when the client's interrupt is triggered.
pub(super) struct Refresher {
    pub(super) shared: Arc<Metadata>,
    pub(super) brokers: Arc<Brokers>,
    pub(super) net: NetConfig,
    pub(super) interrupt: Interrupt,
    pub(super) request_timeout: Duration,
    pub(super) max_age: Duration,
    /// Connections that were idle for so long are closed, its own and the pool's.
    pub(super) max_idle: Duration,
    pub(super) recovery: Recovery,
    pub(super) retry: Backoff,
    pub(super) connection: Option<Connection>,
    /// How many requests the connection has answered.
    pub(super) rounds_here: u32,
    /// How many rounds have failed in a row.
    pub(super) failed_rounds: u32,
    pub(super) pace: Pace,
    /// The round counts for the pace.
    pub(super) paced: bool,
    /// Bound 1: a token says "look again", and a second one would say no more.
    pub(super) wanted: Receiver<()>,
}

/// What the refresher shares with the rest of the client.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Read for every record produced without a cached topic: a read lock and a reference count.
    snapshot: RwLock<Arc<Snapshot>>,
    state: Mutex<State>,
    changed: Condvar,
    wake: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    topics: HashMap<Arc<str>, Use>,
    /// A refresh is wanted that starts after now.
    requested: bool,
    /// How many refreshes have ended, well or not.
    rounds: u64,
    last_error: Option<Error>,
    listeners: Vec<Sender<()>>,
    /// Why there will be no more refreshes.
    ended: Option<Error>,
}

#[derive(Debug, Default)]
struct Use {
    users: usize,
    creators: usize,
    /// Some request has asked for it since it came into use.
    asked: bool,
}

impl State {
    /// Whether a topic has come into use that nobody was asked about yet. That happens once for each, so it may be done
    /// at once however often it happens: nobody should wait because others have just done the same.
    fn has_newcomers(&self) -> bool {
        self.topics.values().any(|usage| !usage.asked)
    }
}

impl Metadata {
    pub(super) fn new() -> (Arc<Self>, Receiver<()>) {
        let (wake, wanted) = crossbeam_channel::bounded(1);
        let shared = Self { snapshot: RwLock::default(), state: Mutex::default(), changed: Condvar::new(), wake };
        (Arc::new(shared), wanted)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wants a refresh unless a snapshot newer than `generation` is there. Does not wait.
    pub(super) fn refresh_since(&self, generation: u64) {
        if self.snapshot().generation <= generation {
            self.request(&mut self.lock());
        }
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.lock().last_error.clone()
    }

    fn request(&self, state: &mut State) {
        state.requested = true;
        self.wake();
    }

    /// Has the refresher look at what there is to do.
    pub(super) fn wake(&self) {
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    pub(super) fn add_use(&self, topic: &Arc<str>, create: bool) {
        let mut state = self.lock();
        let entry = state.topics.entry(topic.clone()).or_default();
        entry.users += 1;
        entry.creators += usize::from(create);
        if self.snapshot().is_unsettled(topic) {
            self.request(&mut state);
        }
    }

    pub(super) fn remove_use(&self, topic: &Arc<str>, create: bool) {
        let mut state = self.lock();
        if let Some(entry) = state.topics.get_mut(topic) {
            entry.users -= 1;
            entry.creators -= usize::from(create);
            if entry.users == 0 {
                state.topics.remove(topic);
            }
        }
    }

    /// A channel that gets a token after every refresh, well ended or not.
    pub(super) fn listen(&self) -> Receiver<()> {
        // Bound 1: a token says "look at the snapshot", and a second one would say no more.
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.lock().listeners.push(sender);
        receiver
    }

    /// Waits until `find` finds what it looks for in a snapshot, asking for refreshes meanwhile. `find` may also give
    /// up with an error. At the deadline the last refresh's error, if any, is the source of the timeout.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Deadline,
        interrupt: &Interrupt,
        waiting_for: &str,
        mut find: impl FnMut(&Snapshot) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            // The count of rounds is taken before the look, so that no round in between is missed.
            let mut state = self.lock();
            let rounds = state.rounds;
            drop(state);
            if let Some(found) = find(&self.snapshot())? {
                return Ok(found);
            }
            state = self.lock();
            if state.rounds == rounds {
                self.request(&mut state);
            }
            while state.rounds == rounds {
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
                if interrupt.is_triggered() {
                    return Err(Error::new(ErrorKind::Closed, format!("closed while waiting for {waiting_for}")));
                }
                let left = deadline.remaining();
                if left.is_zero() {
                    return Err(timed_out(waiting_for, state.last_error.clone()));
                }
                // An interrupt does not notify the condition, so it is looked for now and then.
                let nap = left.min(Duration::from_millis(100));
                state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

fn timed_out(waiting_for: &str, cause: Option<Error>) -> Error {
    match cause {
        Some(cause) => {
            // A refusal by the broker is what the user must hear of, not that time went by.
            if !cause.is_retriable() {
                return cause;
            }
            Error::new(
                ErrorKind::Timeout,
                format!("the deadline passed while waiting for {waiting_for}; last: {cause}"),
            )
            .with_source(cause)
        }
        None => Error::new(ErrorKind::Timeout, format!("the deadline passed while waiting for {waiting_for}")),
    }
}

impl Refresher {
    /// The thread's loop.
    pub(super) fn run(mut self) {
        let mut due = Deadline::after(self.max_age);
        loop {
            let closing = self.close_idle();
            // The token of a request may have been taken in a pause.
            if !self.shared.lock().requested {
                crossbeam_channel::select! {
                    recv(self.wanted) -> _ => {}
                    recv(self.interrupt.channel()) -> _ => break,
                    default(closing.unwrap_or(due).min(due).remaining()) => {}
                }
            }
            if !due.has_passed() && !self.shared.lock().requested {
                continue;
            }
            let schedule = self.round();
            if self.pause(Deadline::after(schedule.pause)) {
                break;
            }
            due = Deadline::after(schedule.next.min(self.max_age));
        }
    }

    /// What is asked for meanwhile is part of the next round; only new topics end the pause. True if the client ends.
    fn pause(&self, until: Deadline) -> bool {
        loop {
            crossbeam_channel::select! {
                recv(self.wanted) -> _ => {
                    if self.shared.lock().has_newcomers() {
                        return false;
                    }
                }
                recv(self.interrupt.channel()) -> _ => return true,
                default(until.remaining()) => return false,
            }
        }
    }

    /// Closes idle connections before brokers do. Says when the next one is due, if there is any.
    fn close_idle(&mut self) -> Option<Deadline> {
        let now = Instant::now();
        let limit = |connection: &Connection| Deadline::of(connection.last_used(), self.max_idle);
        let own = self.connection.as_ref().map(limit);
        if own.is_some_and(|limit| limit.instant() <= now) {
            self.connection = None;
        }
        let own = own.filter(|_| self.connection.is_some());
        own.into_iter().chain(self.brokers.close_idle(now)).min()
    }

    /// One refresh; says how long to pause before anybody may ask for the next one, and when to refresh unasked.
    fn round(&mut self) -> Schedule {
        self.shared.lock().requested = false;
        let outcome = self.refresh();
        let mut state = self.shared.lock();
        state.rounds += 1;
        let pause = self.pace.delay(Instant::now()).max(COALESCED);
        let schedule = match &outcome {
            Ok(snapshot) if state.topics.keys().all(|topic| !snapshot.is_unsettled(topic)) => {
                self.retry.reset();
                Schedule { pause, next: self.max_age }
            }
            // Looked at again unasked, ever more seldom; others may ask sooner, since the cluster does answer.
            Ok(_) => Schedule { pause, next: self.retry.next(fastrand::f64) },
            Err(_) => Schedule { pause: pause.max(self.retry.next(fastrand::f64)), next: Duration::ZERO },
        };
        state.last_error = outcome.err();
        if let Some(error) = &state.last_error {
            log::debug!("metadata refresh failed: {error}");
        }
        state.listeners.retain(|listener| !matches!(listener.try_send(()), Err(TrySendError::Disconnected(()))));
        drop(state);
        self.shared.changed.notify_all();
        schedule
    }

    fn refresh(&mut self) -> Result<Arc<Snapshot>> {
        let old = self.shared.snapshot();
        let (existing, created): (Vec<_>, Vec<_>) = {
            let mut state = self.shared.lock();
            self.paced = !state.has_newcomers();
            state.topics.values_mut().for_each(|usage| usage.asked = true);
            let creatable = |topic: &Arc<str>, usage: &Use| usage.creators > 0 && old.partition_count(topic).is_none();
            state.topics.iter().map(|(t, u)| (t.clone(), creatable(t, u))).partition(|(_, create)| !create)
        };
        // The flag to create topics goes for a whole request, so those that may not be created are asked apart. With no
        // topic at all the brokers are what is asked for.
        let requests = match (existing.is_empty(), created.is_empty()) {
            (_, true) => vec![(existing, false)],
            (true, false) => vec![(created, true)],
            (false, false) => vec![(existing, false), (created, true)],
        };
        let mut snapshot = old;
        for (topics, create) in requests {
            let names: Vec<Arc<str>> = topics.into_iter().map(|(topic, _)| topic).collect();
            let response = self.ask(&names, create)?;
            if self.shared.snapshot().is_of_another_cluster(&response) {
                self.begin_again("another cluster answers by the same addresses");
            }
            let state = self.shared.lock();
            let kept = |topic: &str| state.topics.contains_key(topic);
            let merged = self.shared.snapshot().merge(&response, Instant::now(), kept);
            drop(state);
            snapshot = self.publish(merged);
        }
        Ok(snapshot)
    }

    fn publish(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        *self.shared.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        snapshot
    }

    /// Forgets all brokers and ends all connections to them, so that the bootstrap addresses are asked next (KIP-1102).
    fn begin_again(&mut self, why: &str) {
        log::warn!("the client begins again at its bootstrap addresses: {why}");
        self.net.epoch.advance();
        self.connection = None;
        self.brokers.forget();
        self.publish(self.shared.snapshot().forgotten());
    }

    /// Asks the connection at hand, then everybody who may be dialled now; begins again if it must.
    fn ask(&mut self, topics: &[Arc<str>], create: bool) -> Result<MetadataResponse> {
        if self.recovery.attempt(Instant::now()) && !self.shared.snapshot().brokers.is_empty() {
            self.begin_again("no broker has said for long where the cluster is");
        }
        let deadline = Deadline::after(self.request_timeout);
        let mut outcome = self.ask_brokers(topics, create, deadline);
        if outcome.as_ref().is_err_and(|error| self.must_begin_again(error)) {
            self.begin_again("a broker asks for it");
            outcome = self.ask_brokers(topics, create, deadline);
        }
        if outcome.is_ok() {
            self.recovery.succeeded();
        }
        outcome
    }

    /// Whether a known broker has sent this client back to where it came from.
    fn must_begin_again(&self, error: &Error) -> bool {
        error.code() == Some(ErrorCode::REBOOTSTRAP_REQUIRED)
            && self.recovery.may_rebootstrap()
            && !self.shared.snapshot().brokers.is_empty()
    }

    fn ask_brokers(&mut self, topics: &[Arc<str>], create: bool, deadline: Deadline) -> Result<MetadataResponse> {
        let kept = self.connection.take().filter(|_| self.rounds_here < ROUNDS_PER_CONNECTION);
        if let Some(connection) = kept.and_then(Connection::reusable) {
            // A broker that hangs must leave time for the others.
            let peer = connection.peer().clone();
            match self.ask_on(connection, topics, create, deadline.within(self.request_timeout / 2)) {
                Ok(response) => return Ok(response),
                Err(error) if self.must_begin_again(&error) => return Err(error),
                Err(error) => {
                    log::debug!("metadata from the known connection: {error}");
                    // It would be no faster over a new connection: the others come first.
                    if error.kind() == ErrorKind::Timeout && error.code().is_none() {
                        self.brokers.attempt_failed(&peer, &error, Instant::now());
                    }
                }
            }
        }
        self.ask_candidates(topics, create, deadline)
    }

    fn ask_candidates(&mut self, topics: &[Arc<str>], create: bool, deadline: Deadline) -> Result<MetadataResponse> {
        let candidates = self.brokers.candidates(&self.shared.snapshot(), self.recovery.may_rebootstrap());
        let patience = self.patience(candidates.len());
        let mut failures: Vec<(String, Error)> = Vec::new();
        for peer in candidates {
            if self.interrupt.is_triggered() {
                return Err(Error::new(ErrorKind::Closed, "the client is closed"));
            }
            // Those left come first in the next round, since nothing failed there.
            if deadline.has_passed() {
                break;
            }
            if let Err((_, error)) = self.brokers.claim(&peer, Instant::now()) {
                failures.push((peer.address(), error));
                continue;
            }
            match self.dial_and_ask(&peer, topics, create, deadline.within(patience)) {
                Ok(response) => {
                    self.failed_rounds = 0;
                    return Ok(response);
                }
                Err(error) if self.must_begin_again(&error) => return Err(error),
                Err(error) => failures.push((peer.address(), error)),
            }
        }
        self.failed_rounds = self.failed_rounds.saturating_add(1);
        Err(all_failed(failures))
    }

    /// How long one of so many candidates may take. At first all of them have a turn within the time to set up one
    /// connection, which is also what [`build`](super::ClientBuilder::build) may take; if all fail, longer the next time.
    fn patience(&self, candidates: usize) -> Duration {
        // Less than all of that time, so that there is some left to tell why they failed.
        let time = self.net.connection_setup_timeout - self.net.connection_setup_timeout / 16;
        let share = time / u32::try_from(candidates).unwrap_or(u32::MAX).max(1);
        share.saturating_mul(1 << self.failed_rounds.min(16)).min(self.request_timeout)
    }

    fn dial_and_ask(
        &mut self,
        peer: &Peer,
        topics: &[Arc<str>],
        create: bool,
        deadline: Deadline,
    ) -> Result<MetadataResponse> {
        let dialled = Connection::dial(peer, &self.net, &self.interrupt, deadline);
        self.rounds_here = 0;
        let asked = dialled.and_then(|connection| self.ask_on(connection, topics, create, deadline));
        match &asked {
            Err(error) if error.kind() == ErrorKind::Closed => {}
            // A broker that accepts and never answers is no better than one that does not accept.
            Err(error) if error.code().is_none() => self.brokers.attempt_failed(peer, error, Instant::now()),
            _ => self.brokers.attempt_succeeded(peer),
        }
        asked
    }

    fn ask_on(
        &mut self,
        mut connection: Connection,
        topics: &[Arc<str>],
        create: bool,
        deadline: Deadline,
    ) -> Result<MetadataResponse> {
        let topic = |name: &Arc<str>| MetadataRequestTopic { name: Some(name.to_string()), ..Default::default() };
        let version = connection.version::<MetadataRequest>()?;
        let request = MetadataRequest {
            // Version 0 has no way to ask for no topic at all but the others: null is all, empty is none.
            topics: Some(topics.iter().map(topic).collect()),
            allow_auto_topic_creation: create || version < 4,
            ..Default::default()
        };
        if self.paced {
            self.pace.spend(Instant::now());
        }
        let response = connection.call_version(&request, version, deadline)?;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            code => {
                let Peer { node_id, .. } = *connection.peer();
                let error = Error::from_code(code, "the broker refused a metadata request");
                return Err(error.with_broker(node_id, connection.peer().address()));
            }
        }
        self.rounds_here += u32::from(self.paced);
        self.connection = Some(connection);
        Ok(response)
    }
}

impl Drop for Refresher {
    /// However the thread ends, those who wait for it learn why.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = Some(if std::thread::panicking() {
            Error::new(ErrorKind::Thread, "kafka-metadata panicked")
        } else {
            Error::new(ErrorKind::Closed, "the client is closed")
        });
        state.listeners.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// When to look again.
struct Schedule {
    /// Nobody is heard before.
    pause: Duration,
    /// After the pause, unasked.
    next: Duration,
}

/// One error that names every address tried and why it failed. It is of the kind they have in common, if any.
fn all_failed(failures: Vec<(String, Error)>) -> Error {
    let mut list: Vec<String> = Vec::new();
    for (address, error) in &failures {
        // Errors of a connection name its address themselves.
        let line = if error.address().is_some() { error.to_string() } else { format!("{address}: {error}") };
        if !list.contains(&line) {
            list.push(line);
        }
    }
    let message = format!("no broker could be asked ({})", list.join("; "));
    let Some((_, last)) = failures.last() else { return Error::new(ErrorKind::Network, message) };
    let same =
        |error: &Error| (error.kind(), error.code(), error.setting()) == (last.kind(), last.code(), last.setting());
    let all_alike = failures.iter().all(|(_, error)| same(error));
    let error = match last.code() {
        _ if !all_alike => Error::new(ErrorKind::Network, message),
        Some(code) => Error::from_code(code, message),
        None => Error::new(last.kind(), message),
    };
    let error = match last.setting() {
        Some(setting) if all_alike => error.with_setting(setting),
        _ => error,
    };
    error.with_source(last.clone())
}
