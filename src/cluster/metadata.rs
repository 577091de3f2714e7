//! The metadata refresher.

use super::brokers::Brokers;
use super::snapshot::Snapshot;
use crate::backoff::Backoff;
use crate::net::{Connection, Deadline, Interrupt, NetConfig, Peer};
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::{Error, ErrorCode, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// One per client, thread `kafka-metadata`. Owns the refresh schedule and its connection; publishes snapshots.
/// Everybody may ask it for a refresh through [`Metadata`]; it ends when the client's interrupt is triggered.
pub(super) struct Refresher {
    pub(super) shared: Arc<Metadata>,
    pub(super) brokers: Arc<Brokers>,
    pub(super) net: NetConfig,
    pub(super) interrupt: Interrupt,
    pub(super) request_timeout: Duration,
    pub(super) max_age: Duration,
    pub(super) retry: Backoff,
    pub(super) connection: Option<Connection>,
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
    ended: bool,
}

#[derive(Debug, Default)]
struct Use {
    users: usize,
    creators: usize,
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

    fn request(&self, state: &mut State) {
        state.requested = true;
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }

    pub(super) fn add_use(&self, topic: &Arc<str>, create: bool) {
        let mut state = self.lock();
        let entry = state.topics.entry(topic.clone()).or_default();
        entry.users += 1;
        entry.creators += usize::from(create);
        let known = self.snapshot().topics.contains_key(topic);
        if !known {
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
                if state.ended || interrupt.is_triggered() {
                    return Err(Error::new(ErrorKind::Closed, "the client is closed"));
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
        let mut next = Instant::now() + self.max_age;
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            crossbeam_channel::select! {
                recv(self.wanted) -> _ => {}
                recv(self.interrupt.channel()) -> _ => break,
                default(wait) => {}
            }
            let due = Instant::now() >= next;
            if !due && !self.shared.lock().requested {
                continue;
            }
            let delay = self.round();
            if self.interrupt.wait(delay.pause) {
                break;
            }
            next = Instant::now() + delay.next.min(self.max_age);
            self.brokers.close_idle(Instant::now());
        }
        let mut state = self.shared.lock();
        state.ended = true;
        state.listeners.clear();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// One refresh; says how long to pause before anybody may ask for the next one, and when to refresh unasked.
    fn round(&mut self) -> Schedule {
        self.shared.lock().requested = false;
        let outcome = self.refresh();
        let mut state = self.shared.lock();
        state.rounds += 1;
        let schedule = match &outcome {
            Ok(snapshot) if state.topics.keys().all(|topic| !snapshot.is_unsettled(topic)) => {
                self.retry.reset();
                // Errors of many partitions at once ask at once; this bounds what they cost together.
                Schedule { pause: Duration::from_millis(20), next: self.max_age }
            }
            _ => {
                let pause = self.retry.next(fastrand::f64);
                Schedule { pause, next: Duration::ZERO }
            }
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
            let state = self.shared.lock();
            let creatable = |topic: &Arc<str>, usage: &Use| usage.creators > 0 && old.partition_count(topic).is_none();
            state.topics.iter().map(|(t, u)| (t.clone(), creatable(t, u))).partition(|(_, create)| !create)
        };
        let mut snapshot = old;
        for (topics, create) in [(existing, false), (created, true)] {
            // The flag to create topics goes for a whole request, so those that may not be created are asked apart.
            if create && topics.is_empty() {
                continue;
            }
            let names: Vec<Arc<str>> = topics.into_iter().map(|(topic, _)| topic).collect();
            let response = self.ask(&names, create)?;
            let state = self.shared.lock();
            let merged = snapshot.merge(&response, Instant::now(), |topic| state.topics.contains_key(topic));
            drop(state);
            snapshot = Arc::new(merged);
            *self.shared.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        }
        Ok(snapshot)
    }

    /// Asks the connection at hand, then everybody who may be dialled now.
    fn ask(&mut self, topics: &[Arc<str>], create: bool) -> Result<MetadataResponse> {
        let deadline = Deadline::after(self.request_timeout);
        if let Some(connection) = self.connection.take().filter(Connection::is_reusable) {
            match self.ask_on(connection, topics, create, deadline) {
                Ok(response) => return Ok(response),
                Err(error) => log::debug!("metadata from the known connection: {error}"),
            }
        }
        let mut failures: Vec<(String, Error)> = Vec::new();
        for peer in self.brokers.candidates(&self.shared.snapshot()) {
            if self.interrupt.is_triggered() {
                return Err(Error::new(ErrorKind::Closed, "the client is closed"));
            }
            if let Some((_, error)) = self.brokers.delay(&peer, Instant::now()) {
                failures.push((peer.address(), error));
                continue;
            }
            match self.dial(&peer, deadline).and_then(|c| self.ask_on(c, topics, create, deadline)) {
                Ok(response) => return Ok(response),
                Err(error) => failures.push((peer.address(), error)),
            }
        }
        Err(all_failed(failures))
    }

    fn dial(&self, peer: &Peer, deadline: Deadline) -> Result<Connection> {
        let dialled = Connection::dial(peer, &self.net, &self.interrupt, deadline);
        match &dialled {
            Ok(_) => self.brokers.attempt_succeeded(peer),
            Err(error) => self.brokers.attempt_failed(peer, error, Instant::now()),
        }
        dialled
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
        let response = connection.call_version(&request, version, deadline)?;
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => {}
            code => return Err(Error::from_code(code, "the broker refused a metadata request")),
        }
        self.connection = Some(connection);
        Ok(response)
    }
}

struct Schedule {
    pause: Duration,
    next: Duration,
}

/// One error that names every address tried and why it failed.
fn all_failed(failures: Vec<(String, Error)>) -> Error {
    let mut list: Vec<String> = Vec::new();
    for (address, error) in &failures {
        let line = format!("{address}: {error}");
        if !list.contains(&line) {
            list.push(line);
        }
    }
    let last = failures.into_iter().map(|(_, error)| error).next_back();
    let kind = match last.as_ref().map(Error::kind) {
        Some(kind @ (ErrorKind::Authentication | ErrorKind::Unsupported | ErrorKind::Closed)) => kind,
        _ => ErrorKind::Network,
    };
    let error = Error::new(kind, format!("no broker could be asked ({})", list.join("; ")));
    match last {
        Some(last) => error.with_source(last),
        None => error,
    }
}
