//! The router.

use super::core::Shared;
use super::cursor::{Cursor, Start};
use super::fetcher;
use super::handle::FetcherHandle;
use super::settings::OffsetReset;
use crate::cluster::{Leader, Snapshot};
use crate::{Error, ErrorCode, ErrorKind, Result};
use crossbeam_channel::Receiver;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the router waits at most before it looks at everything again, whatever it has been told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// After so many attempts the reader hears of an error that may pass by itself: with the default backoff, in 2 s.
const PATIENCE: u32 = 5;

/// One per consumer, thread `kafka-router`. Owns the cursors that have no fetcher, for their leader is unknown or they
/// wait, and the list of fetchers. Streams' makers and fetchers give it cursors through an inbox; it makes no
/// request, so one slow broker holds up nobody. It ends with the consumer, after its fetchers.
struct Router {
    shared: Arc<Shared>,
    cursors: Vec<Cursor>,
    fetchers: HashMap<i32, Arc<FetcherHandle>>,
}

/// Starts the thread. `woken` gets a token when there is something in the inbox.
pub(super) fn start(shared: Arc<Shared>, woken: Receiver<()>) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("kafka-router".into())
        .spawn(move || {
            let _end = End(shared.clone());
            Router { shared, cursors: Vec::new(), fetchers: HashMap::new() }.run(&woken);
        })
        .map_err(|error| Error::new(ErrorKind::Thread, format!("starting kafka-router: {error}")))
}

/// Sees to it that nobody waits for a router that is gone, however it went.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let died = std::thread::panicking().then(|| Error::new(ErrorKind::Thread, "kafka-router panicked"));
        self.0.router_ended(died);
    }
}

/// What is to be done with a cursor.
enum Route {
    To(Leader),
    /// Look again then, or earlier if there is new metadata.
    Wait(Instant),
    /// Tell the reader, and look again after a pause.
    Complain(Error),
    Stop(Error),
}

impl Router {
    fn run(mut self, woken: &Receiver<()>) {
        let mut refreshed = self.shared.core().listen();
        while !self.shared.interrupt().is_triggered() {
            self.cursors.extend(self.shared.take_routed());
            let until = self.route(Instant::now());
            let wait = until.saturating_duration_since(Instant::now());
            crossbeam_channel::select! {
                recv(woken) -> _ => {}
                recv(refreshed) -> token => if token.is_err() {
                    // The client has ended; so will this consumer, which holds it, unless its refresher died.
                    refreshed = crossbeam_channel::never();
                },
                recv(self.shared.common.ended()) -> _ => {}
                default(wait) => {}
            }
        }
        self.cursors.clear();
        for fetcher in self.fetchers.values() {
            fetcher.join();
        }
    }

    /// Hands over all cursors that can go, each fetcher's in one go; says when to look again.
    fn route(&mut self, now: Instant) -> Instant {
        let mut until = now + LOOK_AGAIN;
        if self.cursors.is_empty() {
            return until;
        }
        let snapshot = self.shared.core().snapshot();
        let mut ready: HashMap<i32, Vec<Cursor>> = HashMap::new();
        let mut waiting = Vec::new();
        for mut cursor in std::mem::take(&mut self.cursors) {
            if cursor.state.is_ended() {
                continue;
            }
            cursor.follow_seek();
            match self.decide(&mut cursor, &snapshot, now) {
                Route::To(leader) => {
                    assign(&mut cursor, leader);
                    ready.entry(leader.node_id).or_default().push(cursor);
                    continue;
                }
                Route::Wait(at) => until = until.min(at),
                Route::Complain(error) => {
                    // A topic that was made a moment ago is not known everywhere yet.
                    if !error.is_retriable() || cursor.failures() >= PATIENCE {
                        cursor.complain(error);
                    }
                    cursor.failed(now);
                    until = until.min(cursor.retry.not_before.unwrap_or(until));
                }
                Route::Stop(error) => {
                    cursor.stop(error);
                    continue;
                }
            }
            waiting.push(cursor);
        }
        self.cursors = waiting;
        for (node, cursors) in ready {
            self.hand_over(node, cursors, now);
        }
        until
    }

    fn decide(&self, cursor: &mut Cursor, snapshot: &Snapshot, now: Instant) -> Route {
        let (name, partition) = cursor.key();
        let named = snapshot.leader(name, partition);
        // A pause is for the broker that failed; a new leader is asked at once.
        let replaced = cursor.retry.stale.is_some() && named.is_some_and(|leader| cursor.leader != leader);
        if let Some(at) = cursor.retry.not_before.filter(|at| *at > now && !replaced) {
            return Route::Wait(at);
        }
        if let Some(hint) = cursor.retry.hint.filter(|hint| snapshot.brokers.contains_key(&hint.node_id)) {
            // Newer than the metadata: nothing to wait for.
            if named.is_none_or(|leader| leader.epoch < hint.epoch) {
                return Route::To(hint);
            }
        }
        if let Some((generation, believed)) = cursor.retry.stale
            && snapshot.generation <= generation
            && now < believed
        {
            self.shared.core().refresh_since(generation);
            return Route::Wait(believed);
        }
        let Some(topic) = snapshot.topic(name) else {
            self.shared.core().refresh_since(snapshot.generation);
            return Route::Wait(now + LOOK_AGAIN);
        };
        if topic.partitions.is_empty() && topic.error != ErrorCode::LEADER_NOT_AVAILABLE {
            // Kept until the refresher believes it, so this is no passing state of one broker.
            self.shared.core().refresh_since(snapshot.generation);
            return Route::Complain(Error::from_code(topic.error, "the topic can't be read"));
        }
        if !topic.partitions.is_empty() && usize::try_from(partition).map_or(true, |p| p >= topic.partitions.len()) {
            let count = topic.partitions.len();
            let message = format!("the topic has {count} partitions only");
            return Route::Complain(Error::from_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
        }
        if let Some(error) = self.follow_recreation(cursor, topic.id) {
            return Route::Stop(error);
        }
        if let Some((replica, until)) = cursor.preferred {
            if now < until && snapshot.brokers.contains_key(&replica) && cursor.offset().is_some() {
                return Route::To(Leader { node_id: replica, epoch: named.map_or(-1, |leader| leader.epoch) });
            }
            match now < until {
                true => cursor.leave_replica(now),
                false => cursor.preferred = None,
            }
        }
        match named {
            Some(leader) => Route::To(leader),
            None => {
                self.shared.core().refresh_since(snapshot.generation);
                Route::Wait(now + LOOK_AGAIN)
            }
        }
    }

    /// A topic that was deleted and created again has other records at the same offsets.
    fn follow_recreation(&self, cursor: &mut Cursor, id: [u8; 16]) -> Option<Error> {
        if id == [0; 16] {
            return None;
        }
        let former = std::mem::replace(&mut cursor.topic_id, id);
        if former == [0; 16] || former == id {
            return None;
        }
        cursor.unvalidated = false;
        let offset = cursor.offset()?;
        cursor.reset_from = Some((offset, "the topic was deleted and created again"));
        cursor.at = match self.shared.config().reset {
            OffsetReset::Earliest => Start::Earliest,
            OffsetReset::Latest => Start::Latest,
            OffsetReset::Fail => {
                let message = format!("the topic was deleted and created again; offset {offset} means nothing in it");
                return Some(Error::new(ErrorKind::OffsetOutOfRange, message));
            }
        };
        None
    }

    fn hand_over(&mut self, node: i32, cursors: Vec<Cursor>, now: Instant) {
        let mut rejected = cursors;
        if let Some(fetcher) = self.fetchers.get(&node) {
            match fetcher.give(rejected) {
                Ok(()) => return,
                // It was idle for long and has ended.
                Err(back) => rejected = back,
            }
        }
        match fetcher::start(&self.shared, node, rejected) {
            Ok(fetcher) => {
                if let Some(former) = self.fetchers.insert(node, fetcher) {
                    former.join();
                }
            }
            Err((error, back)) => {
                for mut cursor in back {
                    cursor.complain(error.clone());
                    cursor.failed(now);
                    self.cursors.push(cursor);
                }
            }
        }
    }
}

/// Prepares a cursor for the fetcher of this leader, or of a replica under this leader.
fn assign(cursor: &mut Cursor, leader: Leader) {
    if cursor.leader.epoch != leader.epoch {
        // A new leader may have cut what the former one had shown.
        cursor.unvalidated |= matches!(cursor.at, Start::Offset { leader_epoch: 0.., .. }) && cursor.leader.epoch >= 0;
    }
    cursor.leader = leader;
    cursor.retry.stale = None;
    cursor.retry.hint = None;
    cursor.retry.not_before = None;
}
