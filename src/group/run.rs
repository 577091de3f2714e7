//! The thread in `consume`: it runs the assignor and the sessions, with the user's code.

use super::assignor::{Assignment, Assignor, GroupAssignment, GroupMember, assign};
use super::builder::GroupConfig;
use super::claim::ConsumerGroupClaim;
use super::consumer_group::StopHandle;
use super::driver::{Command, Event};
use super::errors::ErrorSink;
use super::handler::{ConsumerGroupHandler, HandlerResult};
use super::link::CoordinatorFinder;
use super::membership::EndCause;
use super::offset_fetch::{fetch_request, fetched_offsets};
use super::offsets::{MAX_OFFSET_VERSION, Position};
use super::session::ConsumerGroupSession;
use crate::cluster::{Core, TopicUse};
use crate::consumer::{ConsumerCore, PartitionStream, Start, StartOffset, StartPartition};
use crate::net::Deadline;
use crate::protocol::messages::offset_fetch::OffsetFetchRequest;
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::Receiver;
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How much later than planned the driver's end may come before its waits are cut off.
const INTERRUPT_MARGIN: Duration = Duration::from_millis(250);

/// The thread that called `consume`. Owns the fetching side and runs `setup`, `cleanup` and the assignor; the driver of
/// the membership sends it events, and it answers with commands.
pub(super) struct Runner<'a> {
    core: Arc<Core>,
    config: &'a GroupConfig,
    topics: &'a [String],
    stop: &'a StopHandle,
    finder: Arc<CoordinatorFinder>,
    handler: &'a dyn ConsumerGroupHandler,
    errors: &'a ErrorSink,
    consumer: ConsumerCore,
    /// The first error that ends `consume`, and by when that is to have happened.
    failure: Mutex<Option<(Error, Instant)>>,
    in_use: Vec<TopicUse>,
    refreshed: Receiver<()>,
    /// How many partitions the topics had when the first session began; later ones are read from their first record.
    first_seen: OnceLock<BTreeMap<String, i32>>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(
        consumer: ConsumerCore,
        config: &'a GroupConfig,
        topics: &'a [String],
        stop: &'a StopHandle,
        finder: Arc<CoordinatorFinder>,
        handler: &'a dyn ConsumerGroupHandler,
        errors: &'a ErrorSink,
    ) -> Self {
        let core = finder.core().clone();
        Self {
            in_use: topics.iter().map(|topic| core.use_topic(topic, false)).collect(),
            refreshed: core.listen(),
            core,
            config,
            topics,
            stop,
            finder,
            handler,
            errors,
            consumer,
            failure: Mutex::new(None),
            first_seen: OnceLock::new(),
        }
    }

    /// Serves events until the membership is done.
    pub(super) fn run(mut self, events: &Receiver<Event>) -> Result<()> {
        // What the leader's assignment was made from; only the leader watches for changes.
        let mut assigned_from: Option<BTreeMap<String, i32>> = None;
        if let Err(error) = self.check_topics() {
            self.fail(error);
        }
        let result = loop {
            let event = match self.end_by() {
                Some(by) => events.recv_deadline(by + INTERRUPT_MARGIN),
                None => crossbeam_channel::select! {
                    recv(events) -> event => event.map_err(Into::into),
                    recv(self.stop.stopping()) -> _ => continue,
                },
            };
            match event {
                Ok(Event::Assign { generation_id, assignor, members }) => {
                    let assignment = self.assign(&assignor, &members, &mut assigned_from);
                    self.stop.push(Command::Assigned(generation_id, assignment));
                }
                Ok(Event::Start(session, assignor)) => {
                    self.serve(&session, &assignor, assigned_from.take());
                    self.stop.push(Command::SessionEnded);
                }
                Ok(Event::Done(result)) => break result,
                Err(crossbeam_channel::RecvTimeoutError::Disconnected) => {
                    break Err(Error::new(ErrorKind::Thread, "kafka-group died"));
                }
                Err(crossbeam_channel::RecvTimeoutError::Timeout) => {
                    if self.end_by().is_some_and(|by| Instant::now() >= by) {
                        // The driver is stuck in a connection attempt; nothing is waited for any more.
                        self.stop.interrupt().trigger();
                    }
                }
            }
        };
        self.in_use.clear();
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some((failure, _)) => Err(failure),
            // The interrupt ends a stop that took too long; that is no error of the user's.
            None if self.stop.interrupt().is_triggered() => Ok(()),
            None => result,
        }
    }

    /// Refuses topics that the broker refuses.
    fn check_topics(&self) -> Result<()> {
        let deadline = Deadline::after(self.core.config().request_timeout);
        let generation = self.core.snapshot().generation;
        let looked = self.core.wait_for(deadline, self.stop.interrupt(), "metadata of the subscribed topics", |s| {
            for topic in self.topics {
                match s.topic(topic).map(|known| known.error) {
                    Some(code) if !code.is_none() && !code.is_retriable() => {
                        return Err(
                            Error::from_code(code, "the topic can't be subscribed to").with_topic(topic.as_str())
                        );
                    }
                    _ => {}
                }
            }
            let all = self.topics.iter().all(|topic| s.topic(topic).is_some());
            Ok((all || s.generation > generation + 1 || self.stop.is_stopped()).then_some(()))
        });
        match looked {
            // A cluster that does not answer now may do so later, and a topic may still come.
            Err(error) if error.is_retriable() || error.kind() == ErrorKind::Closed => Ok(()),
            other => other,
        }
    }

    /// Ends `consume` with this error.
    fn fail(&self, error: Error) {
        log::error!("consumer group {:?}: {error}", self.config.group_id);
        let by = Instant::now() + self.config.close_timeout;
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((error, by));
        self.stop.push(Command::Stop(by));
    }

    /// By when `consume` is to have ended, if it is to end.
    fn end_by(&self) -> Option<Instant> {
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, by)| *by);
        self.stop.by().into_iter().chain(failed).min()
    }

    /// Runs the assignor over fresh metadata of all members' topics.
    fn assign(
        &self,
        name: &str,
        members: &[GroupMember],
        assigned_from: &mut Option<BTreeMap<String, i32>>,
    ) -> Result<GroupAssignment> {
        let Some(assignor) = self.assignor(name) else {
            return Err(Error::protocol(format!(
                "the coordinator picked the assignor {name:?}, which was not offered"
            )));
        };
        let mut topics: Vec<&str> = members.iter().flat_map(|m| m.topics.iter().map(String::as_str)).collect();
        topics.sort_unstable();
        topics.dedup();
        let counts = self.partition_counts(&topics)?;
        let assigned = catch_unwind(AssertUnwindSafe(|| assign(&**assignor, members, &counts)));
        let assignment = assigned.map_err(|panic| panicked("the assignor", &*panic))??;
        let watched = topics.iter().map(|topic| ((*topic).to_owned(), counts.get(*topic).copied().unwrap_or(0)));
        *assigned_from = Some(watched.collect());
        Ok(assignment)
    }

    fn partition_counts(&self, topics: &[&str]) -> Result<BTreeMap<String, i32>> {
        let _in_use: Vec<TopicUse> = topics.iter().map(|topic| self.core.use_topic(topic, false)).collect();
        let generation = self.core.snapshot().generation;
        // The group waits for the assignment; nobody may take this member for dead meanwhile.
        let deadline = Deadline::after(self.core.config().request_timeout.min(self.config.session_timeout / 3));
        self.core.wait_for(deadline, self.stop.interrupt(), "metadata of the group's topics", |snapshot| {
            let fresh = snapshot.generation > generation && topics.iter().all(|t| snapshot.topic(t).is_some());
            let count =
                |t: &&str| Some(((*t).to_owned(), i32::try_from(snapshot.partition_count(t)?).unwrap_or(i32::MAX)));
            Ok(fresh.then(|| topics.iter().filter_map(count).collect()))
        })
    }

    fn assignor(&self, name: &str) -> Option<&Arc<dyn Assignor>> {
        self.config.assignors.iter().find(|assignor| assignor.name() == name)
    }

    /// Serves one session from its start to its last commit.
    fn serve(&self, session: &ConsumerGroupSession, assignor: &str, watched: Option<BTreeMap<String, i32>>) {
        // To be known before the topics grow.
        self.first_seen();
        log::info!("group {:?}: member {:?} claims {:?}", self.config.group_id, session.member_id(), session.claims());
        if let Some(assignor) = self.assignor(assignor) {
            let told =
                catch_unwind(AssertUnwindSafe(|| assignor.on_assignment(session.claims(), session.generation_id())));
            if let Err(panic) = told {
                self.fail(panicked("the assignor", &*panic));
            }
        }
        let starts = match self.start_offsets(session) {
            Ok(starts) => starts,
            Err(error) => {
                if !session.is_ending() {
                    self.fail(error);
                }
                return;
            }
        };
        self.call(session, "setup", || self.handler.setup(session));
        if !session.is_ending() && self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.run_claims(session, starts, watched);
        }
        if session.is_lost() {
            self.call(session, "lost", || self.handler.lost(session));
            return;
        }
        self.call(session, "cleanup", || self.handler.cleanup(session));
        if self.config.auto_commit.is_some() {
            self.final_commit(session);
        }
        session.tracker().close();
    }

    fn final_commit(&self, session: &ConsumerGroupSession) {
        // What is left of the time for stopping, less some for leaving; else of the time for a rebalance.
        let left = self
            .stop
            .by()
            .map_or(self.config.rebalance_timeout, |by| by.saturating_duration_since(Instant::now()).mul_f64(0.75));
        if let Err(error) = session.commit_within(left.min(self.core.config().request_timeout)) {
            log::warn!("the last commit of a session: {error}");
            self.errors.report(error);
        }
    }

    /// Runs user code on this thread; an error or a panic ends `consume`.
    fn call(&self, session: &ConsumerGroupSession, what: &str, code: impl FnOnce() -> HandlerResult) {
        if let Some(error) = outcome_of(what, catch_unwind(AssertUnwindSafe(code))) {
            self.fail(error);
            self.stop.push(Command::EndSession(EndCause::HandlerReturned));
            debug_assert!(!session.member_id().is_empty());
        }
    }

    /// One thread per claim; returns when all have ended.
    fn run_claims(
        &self,
        session: &ConsumerGroupSession,
        starts: Vec<(StartPartition, StartOffset)>,
        watched: Option<BTreeMap<String, i32>>,
    ) {
        let (partitions, initial): (Vec<_>, Vec<_>) = starts.into_iter().unzip();
        let streams = self.consumer.add(partitions);
        // One place per claim: an ending claim never waits.
        let (done, ended) = crossbeam_channel::bounded(streams.len());
        std::thread::scope(|scope| {
            let mut running = 0;
            for (stream, initial) in streams.into_iter().zip(initial) {
                let name = format!("kafka-claim-{}-{}", stream.topic(), stream.partition());
                let done = done.clone();
                let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, move || {
                    self.run_claim(session, stream, initial);
                    let _ = done.send(());
                });
                match spawned {
                    Ok(_) => running += 1,
                    Err(error) => {
                        self.fail(Error::new(ErrorKind::Thread, format!("starting a claim's thread: {error}")));
                        self.stop.push(Command::EndSession(EndCause::HandlerReturned));
                    }
                }
            }
            drop(done);
            self.watch(session, running, &ended, watched);
        });
    }

    /// Waits for the claims, or in a session without claims for its end. The leader looks for new partitions meanwhile.
    fn watch(
        &self,
        session: &ConsumerGroupSession,
        claims: usize,
        ended: &Receiver<()>,
        mut watched: Option<BTreeMap<String, i32>>,
    ) {
        let never = crossbeam_channel::never();
        let mut refreshed = &self.refreshed;
        let idle = claims == 0;
        let mut left = claims;
        while left > 0 || (idle && !session.is_ending()) {
            // Without claims nobody else says when the session ends.
            let session_end = if idle { session.ended() } else { &never };
            crossbeam_channel::select! {
                recv(if idle { &never } else { ended }) -> _ => left -= 1,
                recv(session_end) -> _ => {}
                recv(refreshed) -> token => {
                    if token.is_err() {
                        // There will be no more metadata to look at.
                        refreshed = &never;
                    }
                }
            }
            if watched.as_ref().is_some_and(|counts| self.has_changed(counts)) && !session.is_ending() {
                watched = None;
                log::info!("group {:?}: partitions of its topics changed", self.config.group_id);
                self.stop.push(Command::EndSession(EndCause::MetadataChanged));
            }
        }
    }

    fn has_changed(&self, counts: &BTreeMap<String, i32>) -> bool {
        let snapshot = self.core.snapshot();
        counts.iter().any(|(topic, count)| {
            // Unknown for the moment is no change: partitions do not vanish.
            snapshot.partition_count(topic).is_some_and(|now| i32::try_from(now) != Ok(*count))
        })
    }

    /// The body of a claim's thread. One per claim, thread `kafka-claim-{topic}-{partition}` (scoped). Owns the claim; the
    /// fetcher sends it chunks; it ends when the handler returns.
    fn run_claim(&self, session: &ConsumerGroupSession, stream: PartitionStream, initial: StartOffset) {
        let (topic, partition) = (stream.topic().to_owned(), stream.partition());
        let mut claim = ConsumerGroupClaim::new(session.clone(), stream, initial);
        let outcome = catch_unwind(AssertUnwindSafe(|| self.handler.consume_claim(session, &mut claim)));
        session.tracker().end_claim(&topic, partition);
        if let Some(error) = outcome_of("consume_claim", outcome) {
            self.fail(error.with_topic(topic).with_partition(partition));
        }
        if !session.is_ending() {
            self.stop.push(Command::EndSession(EndCause::HandlerReturned));
        }
    }

    /// Where each claim starts. Asks until all are answered: a claim without an answer must not start by the policy for
    /// partitions without a committed offset.
    fn start_offsets(&self, session: &ConsumerGroupSession) -> Result<Vec<(StartPartition, StartOffset)>> {
        let mut pending: Assignment = session.claims().clone();
        pending.retain(|topic, partitions| {
            let subscribed = self.topics.contains(topic);
            if !subscribed {
                log::warn!("the group's leader assigned {topic}, which this member does not subscribe to");
            }
            subscribed && !partitions.is_empty()
        });
        let mut backoff = self.core.config().retry_backoff.clone();
        let mut starts = Vec::new();
        while !pending.is_empty() {
            let fetched = match self.fetch_offsets(&pending) {
                Ok(fetched) => fetched,
                Err(error) if error.is_retriable() || error.kind() == ErrorKind::Protocol => {
                    log::debug!("fetching committed offsets: {error}");
                    self.finder.forget();
                    self.pause(session, backoff.next(fastrand::f64))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(error) = fetched.failed {
                return Err(error);
            }
            if fetched.find_coordinator {
                self.finder.forget();
            }
            for ((topic, partition), committed) in fetched.found {
                starts.push(self.start_of(session, topic, partition, committed)?);
            }
            pending = fetched.pending;
            if !pending.is_empty() {
                if let Some(error) = fetched.errors.first() {
                    log::debug!("fetching committed offsets: {error}");
                }
                self.pause(session, backoff.next(fastrand::f64))?;
            }
        }
        Ok(starts)
    }

    fn start_of(
        &self,
        session: &ConsumerGroupSession,
        topic: String,
        partition: i32,
        committed: Option<Position>,
    ) -> Result<(StartPartition, StartOffset)> {
        let (start, initial, from) = match (&committed, self.config.start) {
            (Some(Position { offset, leader_epoch, .. }), _) => {
                let start = Start::Offset { offset: *offset, leader_epoch: *leader_epoch };
                (start, StartOffset::Offset(*offset), *offset)
            }
            // All that is in it was written since the group began to read.
            (None, Some(StartOffset::Latest)) if self.is_younger(&topic, partition) => {
                (StartOffset::Earliest.into(), StartOffset::Earliest, 0)
            }
            (None, Some(policy)) => (policy.into(), policy, 0),
            (None, None) => {
                let message =
                    format!("group {:?} has committed nothing here, and has no other start", self.config.group_id);
                let error = Error::new(ErrorKind::OffsetOutOfRange, message);
                return Err(error.with_topic(topic).with_partition(partition).with_setting("auto.offset.reset"));
            }
        };
        session.tracker().start_claim(&topic, partition, from, committed);
        Ok((StartPartition { topic: Arc::from(topic), partition, start }, initial))
    }

    /// How many partitions the topics had when this was first called; 0 for those that were not there.
    fn first_seen(&self) -> &BTreeMap<String, i32> {
        self.first_seen.get_or_init(|| {
            let snapshot = self.core.snapshot();
            let count = |topic: &String| snapshot.partition_count(topic).and_then(|count| i32::try_from(count).ok());
            self.topics.iter().map(|topic| (topic.clone(), count(topic).unwrap_or(0))).collect()
        })
    }

    /// Whether the partition was made after this member's first session had begun.
    fn is_younger(&self, topic: &str, partition: i32) -> bool {
        self.first_seen().get(topic).is_some_and(|count| partition >= *count)
    }

    fn fetch_offsets(&self, claims: &Assignment) -> Result<super::offset_fetch::FetchedOffsets> {
        let deadline = Deadline::after(self.core.config().request_timeout);
        let node = self.finder.node(deadline)?;
        self.core.with_node(node, self.stop.interrupt(), deadline, |connection| {
            let version = connection.version::<OffsetFetchRequest>()?.min(MAX_OFFSET_VERSION);
            let request = fetch_request(&self.config.group_id, claims, true, version);
            let response = connection.call_version(&request, version, deadline)?;
            Ok(fetched_offsets(&self.config.group_id, claims, response, version))
        })
    }

    /// Waits before another try, unless the session ends.
    fn pause(&self, session: &ConsumerGroupSession, pause: Duration) -> Result<()> {
        match session.ended().recv_timeout(pause) {
            Err(crossbeam_channel::RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Error::new(ErrorKind::Closed, "the session ended before it began")),
        }
    }
}

impl Drop for Runner<'_> {
    fn drop(&mut self) {
        // `consume` waits for its threads, also when this one unwinds; they wait for nothing but what this ends.
        if std::thread::panicking() {
            self.stop.interrupt().trigger();
        }
    }
}

/// The error of user code, if it failed.
fn outcome_of(what: &str, outcome: std::thread::Result<HandlerResult>) -> Option<Error> {
    match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            let text = format!("the handler's {what} failed: {error}");
            // An error of this crate that a handler passes on keeps its code.
            let code = error.downcast_ref::<Error>().and_then(Error::code);
            let wrapped = Error::new(ErrorKind::Handler, text).with_boxed_source(error);
            Some(match code {
                Some(code) => wrapped.with_code(code),
                None => wrapped,
            })
        }
        Err(panic) => Some(panicked(&format!("the handler's {what}"), &*panic)),
    }
}

fn panicked(who: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(ErrorKind::HandlerPanic, format!("{who} panicked: {}", text.unwrap_or("no message")))
}
