//! The sender of one broker.

use super::delivery::{Outcome, SendError};
use super::partition::{Batch, Drained, Due, PartitionQueue};
use super::request::{self, InFlightBatch, Verdict};
use super::sequence::NO_PRODUCER_ID;
use super::shared::Shared;
use crate::net::{Connection, Deadline, Readiness, Waker};
use crate::protocol::messages::produce::{ProduceRequest, ProduceResponse};
use crate::{Error, ErrorKind, Result};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A request stops growing at this size: more would only delay the answer for what is already in it.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// What is postponed is not looked at again before.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// A sender with nothing to do ends after this time, and its connection with it.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How others reach a sender.
#[derive(Debug)]
pub(super) struct SenderHandle {
    node: i32,
    lists: Mutex<Lists>,
    /// The thread waits, or is about to: it must be woken for what is new.
    waiting: AtomicBool,
    waker: Waker,
    /// The sender itself. Whoever holds it drives it: the thread, or a lone synchronous caller.
    driver: Mutex<Sender>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Partitions that may have something to send. One may stand in it twice; that costs a look.
#[derive(Debug, Default)]
struct Lists {
    ready: VecDeque<Arc<PartitionQueue>>,
    timers: BinaryHeap<Timer>,
    retired: bool,
}

#[derive(Debug)]
struct Timer {
    at: Instant,
    partition: Arc<PartitionQueue>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    /// The earliest is the greatest, so that the heap gives it first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.at.cmp(&self.at)
    }
}

/// One per leader in use and producer, driven by thread `kafka-produce-{broker}`. Owns the connection and what is in
/// flight on it. Callers and the router put partitions on its lists; it ends when it was idle for a while, or with the
/// producer.
#[derive(Debug)]
struct Sender {
    node: i32,
    connection: Option<Connection>,
    in_flight: VecDeque<InFlightRequest>,
    last_used: Instant,
}

#[derive(Debug)]
struct InFlightRequest {
    batches: Vec<InFlightBatch>,
    deadline: Deadline,
    /// The metadata it was sent by, to be refreshed if it turns out stale.
    generation: u64,
}

/// Starts the thread of a sender.
pub(super) fn start(shared: &Arc<Shared>, node: i32) -> Result<Arc<SenderHandle>> {
    let sender = Sender { node, connection: None, in_flight: VecDeque::new(), last_used: Instant::now() };
    let handle = Arc::new(SenderHandle {
        node,
        lists: Mutex::default(),
        waiting: AtomicBool::new(false),
        waker: Waker::new().map_err(|error| Error::io(error, "making a socket pair"))?,
        driver: Mutex::new(sender),
        thread: Mutex::new(None),
    });
    let (shared, clone) = (shared.clone(), handle.clone());
    let thread = std::thread::Builder::new()
        .name(format!("kafka-produce-{node}"))
        .spawn(move || run(&shared, &clone))
        .map_err(|error| Error::new(ErrorKind::Thread, format!("starting kafka-produce-{node}: {error}")))?;
    *handle.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(handle)
}

/// The thread's loop.
fn run(shared: &Arc<Shared>, handle: &SenderHandle) {
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        while !shared.interrupt.is_triggered() {
            let mut sender = handle.lock_driver();
            sender.send_due(shared, handle);
            if !sender.in_flight.is_empty() {
                sender.await_answer(shared, handle);
                continue;
            }
            // Nobody else may drive it while it waits for an answer; while it has nothing to do, anybody may.
            let idle_since = sender.last_used;
            sender.drop_dead_connection();
            drop(sender);
            if handle.park(shared, idle_since + IDLE_LIMIT) {
                break;
            }
        }
        handle.lock_driver().fail_in_flight(shared);
    }));
    if died.is_err() {
        shared.fail_all(&Error::new(ErrorKind::Thread, format!("kafka-produce-{} panicked", handle.node)));
    }
    handle.lock_lists().retired = true;
}

impl SenderHandle {
    fn lock_lists(&self) -> MutexGuard<'_, Lists> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_driver(&self) -> MutexGuard<'_, Sender> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_retired(&self) -> bool {
        self.lock_lists().retired
    }

    /// Puts a partition on a list; false if the sender has retired meanwhile.
    pub(super) fn schedule(&self, partition: &Arc<PartitionQueue>, due: Due, wake: bool) -> bool {
        let mut lists = self.lock_lists();
        if lists.retired {
            return false;
        }
        match due {
            Due::Now => lists.ready.push_back(partition.clone()),
            Due::At(at) => lists.timers.push(Timer { at, partition: partition.clone() }),
            Due::Later => return true,
        }
        drop(lists);
        // The thread says that it waits before it looks at the lists for the last time, so one of the two sees the other.
        if wake && self.waiting.load(Ordering::SeqCst) {
            self.waker.wake();
        }
        true
    }

    /// Wakes the thread if there is something to send: what a caller that drove the sender leaves behind.
    pub(super) fn pass_on(&self) {
        let lists = self.lock_lists();
        let any = !lists.ready.is_empty() || !lists.timers.is_empty();
        drop(lists);
        if any && self.waiting.load(Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// Waits without work, at most until `retire`; true if the sender has retired.
    fn park(&self, shared: &Shared, retire: Instant) -> bool {
        self.waiting.store(true, Ordering::SeqCst);
        let mut lists = self.lock_lists();
        let timer = lists.timers.peek().map(|timer| timer.at);
        let now = Instant::now();
        let busy = !lists.ready.is_empty() || timer.is_some_and(|at| at <= now);
        if !busy && timer.is_none() && now >= retire {
            lists.retired = true;
            return true;
        }
        drop(lists);
        if !busy {
            let until = timer.map_or(retire, |timer| timer.min(retire));
            let waited = self.waker.wait(&shared.interrupt, Deadline::at(until));
            if let Err(error) = waited {
                log::debug!("kafka-produce-{}: {error}", self.node);
            }
        }
        self.waiting.store(false, Ordering::SeqCst);
        self.waker.drain();
        false
    }

    /// The next partition that may have something to send.
    fn pop(&self, now: Instant) -> Option<Arc<PartitionQueue>> {
        let mut lists = self.lock_lists();
        while lists.timers.peek().is_some_and(|timer| timer.at <= now) {
            let timer = lists.timers.pop()?;
            lists.ready.push_back(timer.partition);
        }
        lists.ready.pop_front()
    }

    fn next_timer(&self) -> Option<Instant> {
        self.lock_lists().timers.peek().map(|timer| timer.at)
    }

    /// Lets a synchronous caller send what is due and wait for the answer itself, if nobody else is at it and nothing
    /// is in flight: that spares a lone caller two changes of thread. True if it did.
    pub(super) fn try_drive(&self, shared: &Arc<Shared>, done: &dyn Fn() -> bool) -> bool {
        let Ok(mut sender) = self.driver.try_lock() else { return false };
        if sender.connection.is_none() || !sender.in_flight.is_empty() {
            return false;
        }
        sender.send_due(shared, self);
        while !done() && !sender.in_flight.is_empty() {
            sender.await_answer(shared, self);
        }
        drop(sender);
        // What came meanwhile found the sender taken.
        self.pass_on();
        true
    }

    /// Waits for the thread's end, at most until `deadline`; true if it has ended.
    pub(super) fn join(&self, deadline: Deadline) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) else {
            return true;
        };
        while !thread.is_finished() {
            if deadline.has_passed() {
                log::error!("kafka-produce-{} did not end in time", self.node);
                return false;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        thread.join().is_ok()
    }
}

impl Sender {
    /// Sends requests while there is something due and room in flight.
    fn send_due(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) {
        while self.in_flight.len() < shared.config.max_in_flight {
            if let Some(until) = self.connection.as_ref().and_then(Connection::throttled_until) {
                self.postpone(handle, until);
                return;
            }
            if !self.has_work(handle) || !self.prepare(shared, handle) {
                return;
            }
            let batches = self.collect(shared, handle);
            if batches.is_empty() {
                return;
            }
            self.send(shared, batches);
        }
    }

    fn has_work(&self, handle: &SenderHandle) -> bool {
        let now = Instant::now();
        let lists = handle.lock_lists();
        !lists.ready.is_empty() || lists.timers.peek().is_some_and(|timer| timer.at <= now)
    }

    /// Moves what is ready to a later time.
    fn postpone(&self, handle: &SenderHandle, until: Instant) {
        let now = Instant::now();
        while let Some(partition) = handle.pop(now) {
            handle.lock_lists().timers.push(Timer { at: until.max(now + MIN_PAUSE), partition });
        }
    }

    /// Sees to it that there is a connection and a producer id; else postpones all work.
    fn prepare(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) -> bool {
        let deadline = Deadline::after(shared.core().config().request_timeout);
        self.drop_dead_connection();
        let mut prepared = Ok(());
        if self.connection.is_none() {
            match shared.core().dial(self.node, &shared.interrupt, deadline) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => prepared = Err(error),
            }
        }
        if prepared.is_ok() && shared.config.idempotence {
            prepared = shared.ids.ensure(shared.core(), &shared.interrupt, deadline);
        }
        let Err(error) = prepared else { return true };
        match error.kind() {
            ErrorKind::Closed => {}
            // No right to be idempotent, or a broker that can't: waiting changes nothing.
            ErrorKind::Authorization | ErrorKind::Authentication | ErrorKind::Unsupported => shared.fail_all(&error),
            ErrorKind::Broker if !error.is_retriable() => shared.fail_all(&error),
            _ => log::warn!("producing to broker {}: {error}", self.node),
        }
        self.postpone(handle, Instant::now() + Duration::from_millis(100));
        // The leader may be another one by the time the lists are looked at again.
        shared.wake_router();
        false
    }

    /// An idle connection that the broker has closed is replaced before anything is written to it.
    fn drop_dead_connection(&mut self) {
        if self.in_flight.is_empty() && self.connection.as_ref().is_some_and(|c| !c.is_reusable()) {
            self.connection = None;
        }
    }

    /// Takes at most one batch of each partition that is ready.
    fn collect(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) -> Vec<InFlightBatch> {
        let now = Instant::now();
        let snapshot = shared.core().snapshot();
        let mut batches: Vec<InFlightBatch> = Vec::new();
        let mut again = Vec::new();
        let mut dropped = Vec::new();
        let mut size = 0;
        while size < REQUEST_BYTES {
            let Some(partition) = handle.pop(now) else { break };
            if batches.iter().any(|item| Arc::ptr_eq(&item.partition, &partition)) {
                again.push(partition);
                continue;
            }
            let batch = match partition.drain(self.node, now, &shared.ids, &mut dropped) {
                Drained::Sealed(batch) => batch,
                Drained::Unsealed(unsealed, stamp, order) => {
                    let outcome = unsealed.outcome.clone();
                    match shared.seal(unsealed) {
                        Ok(sealed) => Batch::new(sealed, outcome, stamp, Some(order)),
                        Err(()) => {
                            partition.finished(&outcome, false, stamp.is_some());
                            continue;
                        }
                    }
                }
                Drained::Nothing(due) => {
                    shared.schedule_due(&partition, due, false);
                    continue;
                }
            };
            let item = stamped(partition, batch, &snapshot);
            size += item.batch.sealed.len();
            again.push(item.partition.clone());
            batches.push(item);
        }
        for sealed in dropped {
            shared.recycle(sealed);
        }
        // What they have beyond this batch goes into the next request.
        for partition in again {
            shared.schedule(&partition, false);
        }
        batches
    }

    fn send(&mut self, shared: &Arc<Shared>, batches: Vec<InFlightBatch>) {
        self.last_used = Instant::now();
        let generation = shared.core().snapshot().generation;
        let deadline = Deadline::of(self.last_used, shared.core().config().request_timeout);
        for item in &batches {
            item.batch.outcome.set_in_doubt();
        }
        let written = self.write(shared, &batches, deadline);
        match written {
            Ok(()) if shared.config.acks.answered() => {
                self.in_flight.push_back(InFlightRequest { batches, deadline, generation });
            }
            Ok(()) => {
                for item in batches {
                    self.resolve(shared, item, Outcome::Written { base_offset: -1, log_append_time: -1 });
                }
            }
            // The request could not be put into words; the connection is as it was.
            Err(error) if self.connection.as_ref().is_some_and(|c| !c.is_broken()) => {
                for item in batches {
                    item.batch.outcome.clear_doubt();
                    let error = SendError::NotPersisted(named(&item.partition, error.clone()));
                    self.resolve(shared, item, Outcome::Failed(error));
                }
            }
            Err(error) => {
                self.in_flight.push_back(InFlightRequest { batches, deadline, generation });
                self.connection_lost(shared, &error);
            }
        }
    }

    fn write(&mut self, shared: &Shared, batches: &[InFlightBatch], deadline: Deadline) -> Result<()> {
        let Some(connection) = &mut self.connection else {
            return Err(Error::new(ErrorKind::Network, "no connection"));
        };
        let mut version = connection.version::<ProduceRequest>()?;
        // From version 13 on topics go by their ids, which all must be known.
        if version >= 13 && batches.iter().any(|item| item.topic_id == [0; 16]) {
            version = 12;
        }
        if version < shared.config.compression_floor() {
            let message = format!("the broker is too old for {}", shared.config.compression);
            return Err(Error::new(ErrorKind::Unsupported, message).with_setting("compression.type"));
        }
        let timeout_ms = i32::try_from(shared.core().config().request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = request::build(batches, shared.config.acks.code(), timeout_ms, version);
        connection.send_version(&request, version, shared.config.acks.answered(), deadline)
    }

    /// Waits for the next answer, for something new to send, or for the oldest request's deadline.
    fn await_answer(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) {
        let Some(oldest) = self.in_flight.front() else { return };
        let deadline = oldest.deadline;
        let Some(connection) = &mut self.connection else { return };
        let has_room = self.in_flight.len() < shared.config.max_in_flight;
        let mut until = deadline;
        let mut waker = None;
        if has_room {
            handle.waiting.store(true, Ordering::SeqCst);
            waker = Some(&handle.waker);
            if !handle.lock_lists().ready.is_empty() {
                // Came after the last look.
                handle.waiting.store(false, Ordering::SeqCst);
                return;
            }
            if let Some(timer) = handle.next_timer() {
                until = until.min(Deadline::at(timer));
            }
        }
        let waited = connection.wait_readable(waker, until);
        if has_room {
            handle.waiting.store(false, Ordering::SeqCst);
            handle.waker.drain();
        }
        match waited {
            Ok(Readiness::Ready) => match connection.receive::<ProduceRequest>(deadline) {
                Ok(response) => self.answered(shared, response),
                Err(error) => self.connection_lost(shared, &error),
            },
            Ok(Readiness::TimedOut) if deadline.has_passed() => {
                let error = Error::new(ErrorKind::Timeout, "no answer to a produce request within the request timeout");
                self.connection_lost(shared, &error);
            }
            Ok(Readiness::Woken | Readiness::TimedOut) => {}
            Err(error) => self.connection_lost(shared, &error),
        }
    }

    fn answered(&mut self, shared: &Arc<Shared>, response: ProduceResponse) {
        let Some(request) = self.in_flight.pop_front() else { return };
        self.last_used = Instant::now();
        let answers = request::answers(response, &request.batches);
        for (item, answer) in request.batches.into_iter().zip(answers) {
            let earlier = answer.as_ref().is_some_and(|a| a.error_code != 0) && item.partition.has_earlier(&item.batch);
            let verdict = request::judge(answer, &item.batch, earlier);
            self.carry_out(shared, item, verdict, request.generation);
        }
    }

    fn carry_out(&mut self, shared: &Arc<Shared>, item: InFlightBatch, verdict: Verdict, generation: u64) {
        match verdict {
            Verdict::Done(outcome) => self.resolve(shared, item, outcome),
            Verdict::Retry { in_doubt, refresh, error } => {
                log::debug!("{}-{}: {error}; sending it again", item.partition.topic, item.partition.index);
                if refresh {
                    shared.core().refresh_since(generation);
                }
                self.retry(shared, item, error, in_doubt, false);
            }
            Verdict::NewSequence { new_id, error } => {
                log::warn!("{}-{}: {error}; beginning a new sequence", item.partition.topic, item.partition.index);
                let producer = item.batch.stamp().map_or(NO_PRODUCER_ID, |stamp| stamp.producer);
                if new_id {
                    shared.ids.discard(producer);
                }
                self.retry(shared, item, error, false, true);
            }
            Verdict::Split(error) => self.split(shared, item, error),
        }
    }

    /// Final: tells the callers, gives back the memory.
    fn resolve(&mut self, shared: &Arc<Shared>, item: InFlightBatch, outcome: Outcome) {
        let written = matches!(outcome, Outcome::Written { .. });
        let InFlightBatch { partition, batch, .. } = item;
        // A batch that was given up while in flight keeps that outcome, but its sequence number has been used.
        partition.finished(&batch.outcome, written, batch.stamp().is_some());
        let outcome = match outcome {
            Outcome::Failed(SendError::NotPersisted(error)) => {
                Outcome::Failed(SendError::NotPersisted(named(&partition, error)))
            }
            Outcome::Failed(SendError::PossiblyPersisted(error)) => {
                Outcome::Failed(SendError::PossiblyPersisted(named(&partition, error)))
            }
            Outcome::Rejected { records, error } => Outcome::Rejected { records, error: named(&partition, error) },
            other => other,
        };
        batch.outcome.resolve(outcome);
        shared.recycle(batch.sealed);
        shared.schedule(&partition, false);
    }

    fn retry(&mut self, shared: &Arc<Shared>, item: InFlightBatch, error: Error, in_doubt: bool, broken: bool) {
        let InFlightBatch { partition, mut batch, .. } = item;
        if !in_doubt && !batch.was_in_doubt {
            batch.outcome.clear_doubt();
        }
        batch.was_in_doubt |= in_doubt;
        partition.retry(batch, error, Instant::now(), broken);
        shared.schedule(&partition, false);
    }

    fn split(&mut self, shared: &Arc<Shared>, item: InFlightBatch, error: Error) {
        let InFlightBatch { partition, batch, .. } = item;
        let was_stamped = batch.stamp().is_some();
        log::info!(
            "{}-{}: a batch of {} records is sent in parts: {error}",
            partition.topic,
            partition.index,
            batch.sealed.count()
        );
        match shared.split(batch.sealed) {
            Ok(parts) => {
                let created = batch.outcome.created;
                let mut outcomes = Vec::new();
                let mut batches = Vec::new();
                for (records, sealed) in parts {
                    let outcome = Arc::new(super::delivery::BatchOutcome::new(partition.index, created));
                    outcomes.push((records.start, outcome.clone()));
                    batches.push(Batch::new(sealed, outcome, None, None));
                }
                partition.split(&batch.outcome, batches, was_stamped);
                batch.outcome.resolve(Outcome::Split(outcomes));
            }
            Err(error) => {
                partition.finished(&batch.outcome, false, was_stamped);
                batch.outcome.resolve(Outcome::Failed(SendError::NotPersisted(named(&partition, error))));
            }
        }
        shared.schedule(&partition, false);
    }

    /// The connection is gone, and with it all answers: what was in flight is in doubt and goes again, in its order.
    fn connection_lost(&mut self, shared: &Arc<Shared>, error: &Error) {
        self.connection = None;
        if error.kind() != ErrorKind::Closed {
            log::warn!("producing to broker {}: {error}", self.node);
        }
        for request in std::mem::take(&mut self.in_flight) {
            shared.core().refresh_since(request.generation);
            for item in request.batches {
                self.retry(shared, item, error.clone(), true, false);
            }
        }
    }

    /// The producer ends: nothing more will be known of what is in flight.
    fn fail_in_flight(&mut self, shared: &Arc<Shared>) {
        self.connection = None;
        for request in std::mem::take(&mut self.in_flight) {
            for item in request.batches {
                let error = Error::new(ErrorKind::Closed, "the producer was closed before the broker had answered");
                self.resolve(shared, item, Outcome::Failed(SendError::PossiblyPersisted(error)));
            }
        }
    }
}

/// Writes the batch's place in its sequence into its header.
fn stamped(partition: Arc<PartitionQueue>, mut batch: Batch, snapshot: &crate::cluster::Snapshot) -> InFlightBatch {
    let topic_id = snapshot.topic(&partition.topic).map_or([0; 16], |topic| topic.id);
    let (producer, base_sequence) = batch.stamp().map_or((NO_PRODUCER_ID, -1), |s| (s.producer, s.base_sequence));
    batch.sealed.stamp(producer.id, producer.epoch, base_sequence, false);
    InFlightBatch { partition, topic_id, batch }
}

fn named(partition: &PartitionQueue, error: Error) -> Error {
    error.with_topic(partition.topic.clone()).with_partition(partition.index)
}
