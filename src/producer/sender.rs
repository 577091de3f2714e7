//! The sender of one broker.

use super::delivery::{BatchOutcome, Outcome, SendError};
use super::gathering::Gathering;
use super::lists::Lists;
use super::partition::{Batch, Doubt, Drained, Due, Fate, PartitionQueue};
use super::request::{self, InFlightBatch, Verdict};
use super::sequence::NO_PRODUCER_ID;
use super::shared::Shared;
use crate::net::{Connection, Deadline, Readiness, Waker};
use crate::protocol::messages::produce::{ProduceRequest, ProduceResponse};
use crate::{Error, ErrorKind, Result};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A request stops growing at this size: more would only delay the answer for what is already in it.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// What is postponed is not looked at again before.
const MIN_PAUSE: Duration = Duration::from_millis(1);
/// When to look again after no connection or no producer id could be had; making one waits for the backoff itself.
const UNPREPARED_PAUSE: Duration = Duration::from_millis(100);
/// A sender with nothing to do ends after this time, and its connection with it.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// How others reach a sender.
#[derive(Debug)]
pub(super) struct SenderHandle {
    node: i32,
    lists: Mutex<Lists>,
    /// The thread has let go of the sender and waits, or is about to.
    parked: AtomicBool,
    thread_waker: Waker,
    /// Whoever holds the sender waits for an answer, or is about to, and what it could send meanwhile.
    awaiting: AtomicU8,
    driver_waker: Waker,
    /// The sender itself. Whoever holds it drives it: the thread, or a lone synchronous caller.
    driver: Mutex<Sender>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What a driver that waits for an answer wants to be woken for.
const NOTHING: u8 = 0;
/// All but batches with room: it looks after those by itself.
const FILLED: u8 = 1;
const ANYTHING: u8 = 2;

/// Who drives a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Thread,
    Caller,
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
    gathering: Gathering,
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
    let sender = Sender {
        node,
        connection: None,
        in_flight: VecDeque::new(),
        last_used: Instant::now(),
        gathering: Gathering::new(shared.config.gather_limits),
    };
    let waker = || Waker::new().map_err(|error| Error::io(error, "making a socket pair"));
    let handle = Arc::new(SenderHandle {
        node,
        lists: Mutex::default(),
        parked: AtomicBool::new(false),
        thread_waker: waker()?,
        awaiting: AtomicU8::new(NOTHING),
        driver_waker: waker()?,
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
            sender.send_due(shared, handle, By::Thread);
            if !sender.in_flight.is_empty() {
                sender.await_answer(shared, handle, By::Thread);
                continue;
            }
            sender.drop_dead_connection(shared);
            if handle.retire(sender.last_used + IDLE_LIMIT) {
                sender.connection = None;
                return;
            }
            let retire = sender.last_used + IDLE_LIMIT;
            // Said while the sender is still held, so that a caller that drives it next and leaves something behind
            // knows to wake this thread.
            handle.parked.store(true, Ordering::SeqCst);
            drop(sender);
            handle.park(shared, retire);
        }
        handle.lock_driver().fail_in_flight(shared);
    }));
    handle.lock_lists().retired = true;
    if died.is_err() {
        shared.fail_all(&Error::new(ErrorKind::Thread, format!("kafka-produce-{} panicked", handle.node)));
    }
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
        let news = lists.push(partition, due);
        drop(lists);
        if wake && news {
            self.wake(due != Due::Unfilled);
        }
        true
    }

    /// Wakes whoever waits with this sender, unless there is only a batch with room and a driver that looks after those
    /// by itself. Both flags are set before the last look at the lists, so of a thread that adds to them and one that is
    /// about to wait, one sees the other.
    fn wake(&self, filled: bool) {
        match self.awaiting.load(Ordering::SeqCst) {
            FILLED if !filled => {}
            NOTHING if !self.parked.load(Ordering::SeqCst) => {}
            NOTHING => self.thread_waker.wake(),
            _ => self.driver_waker.wake(),
        }
    }

    /// Wakes the thread if there is something to do: what a caller that drove the sender, or could not, leaves behind.
    pub(super) fn pass_on(&self, in_flight: bool) {
        let lists = self.lock_lists();
        let (any, only_unfilled) = (in_flight || !lists.is_empty(), !in_flight && lists.has_only_unfilled());
        drop(lists);
        if any {
            self.wake(!only_unfilled);
        }
    }

    /// Ends it if it has been idle until `at`; true if so. To be called with the sender held and nothing in flight.
    fn retire(&self, at: Instant) -> bool {
        let mut lists = self.lock_lists();
        lists.retired = lists.is_empty() && Instant::now() >= at;
        lists.retired
    }

    /// Waits without the sender until there may be work, at most until `retire`.
    fn park(&self, shared: &Shared, retire: Instant) {
        let lists = self.lock_lists();
        let timer = lists.next_timer();
        let busy = lists.has_work(Instant::now(), true);
        drop(lists);
        if !busy {
            let until = timer.map_or(retire, |timer| timer.min(retire));
            if let Err(error) = self.thread_waker.wait(&shared.interrupt, Deadline::at(until)) {
                log::debug!("kafka-produce-{}: {error}", self.node);
            }
        }
        self.parked.store(false, Ordering::SeqCst);
        self.thread_waker.drain();
    }

    /// Moves what is ready to a later time, each partition once, and leaves out those that have nothing to send.
    fn postpone(&self, until: Instant, why: Option<&Error>) {
        let now = Instant::now();
        let until = until.max(now + MIN_PAUSE);
        let mut partitions = Vec::new();
        let mut lists = self.lock_lists();
        partitions.extend(std::iter::from_fn(|| lists.pop(now, true)));
        drop(lists);
        partitions.sort_by_key(|partition| Arc::as_ptr(partition).addr());
        partitions.dedup_by(|a, b| Arc::ptr_eq(a, b));
        partitions.retain(|partition| partition.due(now) != Due::Later);
        if let Some(error) = why {
            partitions.iter().for_each(|partition| partition.set_last_error(error));
        }
        let mut lists = self.lock_lists();
        for partition in partitions {
            lists.push(&partition, Due::At(until));
        }
    }

    /// Lets a synchronous caller send what is due and wait for the answer itself, if nobody else is at it and nothing
    /// is in flight: that spares a lone caller two changes of thread. It does nothing that may take longer than a
    /// request: connections are made by the thread.
    pub(super) fn try_drive(&self, shared: &Arc<Shared>, done: &dyn Fn() -> bool) {
        let Ok(mut sender) = self.driver.try_lock() else { return self.pass_on(false) };
        if !sender.in_flight.is_empty() {
            drop(sender);
            return self.pass_on(true);
        }
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loop {
                sender.send_due(shared, self, By::Caller);
                if done() || sender.in_flight.is_empty() || shared.interrupt.is_triggered() {
                    break;
                }
                sender.await_answer(shared, self, By::Caller);
            }
            !sender.in_flight.is_empty()
        }));
        drop(sender);
        // What came meanwhile found the sender taken; what others have in flight is the thread's from here on.
        self.pass_on(*died.as_ref().unwrap_or(&true));
        if died.is_err() {
            shared.fail_all(&Error::new(ErrorKind::Thread, format!("the sender of broker {} panicked", self.node)));
        }
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
    fn send_due(&mut self, shared: &Arc<Shared>, handle: &SenderHandle, by: By) {
        while self.in_flight.len() < shared.config.max_in_flight {
            let now = Instant::now();
            if !handle.lock_lists().has_work(now, self.gathers_until(now).is_none()) {
                return;
            }
            if let Some(until) = self.connection.as_ref().and_then(Connection::throttled_until) {
                handle.postpone(until, None);
                return;
            }
            if !self.is_prepared(shared) && (by == By::Caller || !self.prepare(shared, handle)) {
                return;
            }
            let batches = self.collect(shared, handle);
            if batches.is_empty() {
                continue;
            }
            self.send(shared, batches);
        }
    }

    /// Whether it can send without waiting for anything but the socket.
    fn is_prepared(&mut self, shared: &Arc<Shared>) -> bool {
        self.drop_dead_connection(shared);
        self.connection.is_some() && (!shared.config.idempotence || shared.ids.current().is_some())
    }

    /// Sees to it that there is a connection and a producer id; else postpones all work.
    fn prepare(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) -> bool {
        let deadline = Deadline::after(shared.core().config().request_timeout);
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
            ErrorKind::Authorization | ErrorKind::Authentication | ErrorKind::Tls | ErrorKind::Unsupported => {
                shared.fail_all(&error)
            }
            ErrorKind::Broker if !error.is_retriable() => shared.fail_all(&error),
            _ => log::warn!("producing to broker {}: {error}", self.node),
        }
        handle.postpone(Instant::now() + UNPREPARED_PAUSE, Some(&error));
        // The leader may be another one by the time the lists are looked at again.
        shared.wake_router();
        false
    }

    /// An idle connection that the broker has closed is replaced before anything is written to it.
    fn drop_dead_connection(&mut self, shared: &Shared) {
        if self.in_flight.is_empty() && self.connection.as_mut().is_some_and(|c| !c.is_reusable()) {
            self.connection = None;
            if !shared.config.acks.answered() {
                // The broker's only way to refuse something then, but it may as well have been idle for long.
                log::warn!("broker {} closed the connection; with acks 0 records may be lost", self.node);
            }
        }
    }

    /// Puts the partition on the list of its leader's sender. That one is awake if it is this one.
    fn schedule(&self, shared: &Arc<Shared>, partition: &Arc<PartitionQueue>) {
        shared.schedule(partition, partition.leader() != Some(self.node));
    }

    /// Until when batches with room wait for an answer, if they do.
    fn gathers_until(&self, now: Instant) -> Option<Instant> {
        self.gathering.until(now, self.round_trip())
    }

    fn round_trip(&self) -> Option<Duration> {
        self.connection.as_ref().and_then(Connection::round_trip_at_most)
    }

    /// Takes at most one batch of each partition that is ready.
    fn collect(&mut self, shared: &Arc<Shared>, handle: &SenderHandle) -> Vec<InFlightBatch> {
        let now = Instant::now();
        let gathers = self.gathers_until(now).is_some();
        let snapshot = shared.core().snapshot();
        let mut batches: Vec<InFlightBatch> = Vec::new();
        let mut again = Vec::new();
        let mut size = 0;
        while size < REQUEST_BYTES {
            let unfilled = !gathers || !batches.is_empty();
            let Some(partition) = handle.lock_lists().pop(now, unfilled) else { break };
            if batches.iter().any(|item| Arc::ptr_eq(&item.partition, &partition)) {
                again.push(partition);
                continue;
            }
            let batch = match partition.drain(self.node, now, unfilled, &shared.ids) {
                Drained::Sealed(batch) => batch,
                Drained::Unsealed(unsealed, place) => {
                    let outcome = unsealed.outcome.clone();
                    match shared.seal(unsealed) {
                        Ok(sealed) => Batch::drained(sealed, outcome, place),
                        Err(()) => {
                            partition.finished_at(&outcome, place, Fate::NotWritten);
                            self.schedule(shared, &partition);
                            continue;
                        }
                    }
                }
                Drained::Nothing(due) => {
                    shared.schedule_due(&partition, due, partition.leader() != Some(self.node));
                    continue;
                }
            };
            let item = stamped(partition, batch, &snapshot);
            size += item.batch.sealed.len();
            again.push(item.partition.clone());
            batches.push(item);
        }
        // What they have beyond this batch goes into the next request.
        for partition in again {
            self.schedule(shared, &partition);
        }
        batches
    }

    fn send(&mut self, shared: &Arc<Shared>, batches: Vec<InFlightBatch>) {
        self.last_used = Instant::now();
        let generation = shared.core().snapshot().generation;
        let deadline = Deadline::of(self.last_used, shared.core().config().request_timeout);
        let written = self.write(shared, &batches, deadline);
        match written {
            Ok(()) if shared.config.acks.answered() => {
                self.gathering.sent(self.last_used);
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
                    let error = SendError::new(item.batch.was_in_doubt(), error.clone());
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
    fn await_answer(&mut self, shared: &Arc<Shared>, handle: &SenderHandle, by: By) {
        let Some(oldest) = self.in_flight.front() else { return };
        let deadline = oldest.deadline;
        let now = Instant::now();
        let gathers = self.gathers_until(now);
        // Filled batches of others can wait for a near broker's answer, too, if that makes a lone caller's come sooner.
        let blocking = by == By::Caller && self.gathering.can_block(now, self.round_trip());
        let Some(connection) = &mut self.connection else { return };
        let has_room = self.in_flight.len() < shared.config.max_in_flight;
        let mut until = deadline;
        let mut waker = None;
        if has_room {
            handle.awaiting.store(if gathers.is_some() { FILLED } else { ANYTHING }, Ordering::SeqCst);
            waker = Some(&handle.driver_waker);
            let lists = handle.lock_lists();
            if lists.has_work(now, gathers.is_none()) {
                // Came after the last look.
                handle.awaiting.store(NOTHING, Ordering::SeqCst);
                return;
            }
            for at in lists.next_timer().into_iter().chain(gathers) {
                until = until.min(Deadline::at(at));
            }
        }
        let waited = if blocking {
            connection.wait_readable_blocking(waker, until)
        } else {
            connection.wait_readable(waker, until)
        };
        if has_room {
            handle.awaiting.store(NOTHING, Ordering::SeqCst);
            handle.driver_waker.drain_after(waited.as_ref().ok().copied());
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
        self.gathering.end();
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
            Verdict::Retry { doubt, refresh, error } => {
                log::debug!("{}-{}: {error}; sending it again", item.partition.topic, item.partition.index);
                if refresh {
                    shared.core().refresh_since(generation);
                }
                self.retry(shared, item, error, doubt, false);
            }
            Verdict::NewSequence { new_id, error } => {
                log::warn!("{}-{}: {error}; beginning a new sequence", item.partition.topic, item.partition.index);
                let producer = item.batch.stamp().map_or(NO_PRODUCER_ID, |stamp| stamp.producer);
                if new_id {
                    shared.ids.discard(producer);
                }
                self.retry(shared, item, error, Doubt::Settled, true);
            }
            Verdict::Split(error) => self.split(shared, item, error),
        }
    }

    /// Final: tells the callers, gives back the memory.
    fn resolve(&mut self, shared: &Arc<Shared>, item: InFlightBatch, outcome: Outcome) {
        let InFlightBatch { partition, batch, .. } = item;
        let fate = match &outcome {
            Outcome::Written { .. } => Fate::Written,
            Outcome::Failed(SendError::PossiblyPersisted(_)) => Fate::Unknown,
            Outcome::Failed(SendError::NotPersisted(_)) | Outcome::Rejected { .. } | Outcome::Split(_) => {
                Fate::NotWritten
            }
        };
        // A batch that was given up while in flight keeps that outcome, but its sequence number has been used.
        partition.finished(&batch, fate);
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
        let Batch { sealed, outcome: shared_outcome, .. } = batch;
        // First the memory: who has waited for the outcome finds it free.
        shared.recycle(sealed);
        shared_outcome.resolve(outcome);
        self.schedule(shared, &partition);
    }

    fn retry(&mut self, shared: &Arc<Shared>, item: InFlightBatch, error: Error, doubt: Doubt, new_sequence: bool) {
        if item.batch.attempts() > shared.config.retries {
            let in_doubt = match doubt {
                Doubt::Raised => true,
                Doubt::Unchanged => item.batch.was_in_doubt(),
                Doubt::Settled => false,
            };
            let outcome = Outcome::Failed(SendError::new(in_doubt, error.with_setting("retries")));
            return self.resolve(shared, item, outcome);
        }
        let InFlightBatch { partition, batch, .. } = item;
        if let Some(expired) = partition.retry(batch, error, Instant::now(), doubt, new_sequence) {
            shared.recycle(expired);
        }
        self.schedule(shared, &partition);
    }

    fn split(&mut self, shared: &Arc<Shared>, item: InFlightBatch, error: Error) {
        if item.batch.outcome.is_resolved() {
            // Its time has run out; nobody waits for its parts.
            return self.resolve(shared, item, Outcome::Failed(SendError::NotPersisted(error)));
        }
        log::info!(
            "{}-{}: a batch of {} records is sent in parts: {error}",
            item.partition.topic,
            item.partition.index,
            item.batch.sealed.count()
        );
        let parts = match shared.split(&item.batch.sealed) {
            Ok(parts) => parts,
            Err(error) => return self.resolve(shared, item, Outcome::Failed(SendError::NotPersisted(error))),
        };
        let InFlightBatch { partition, batch, .. } = item;
        let mut outcomes = Vec::new();
        let mut batches = Vec::new();
        for (records, sealed) in parts {
            let outcome = Arc::new(BatchOutcome::new(partition.index, batch.outcome.created));
            outcomes.push((records.start, outcome.clone()));
            batches.push(batch.part(sealed, outcome));
        }
        partition.split(&batch, batches);
        batch.outcome.resolve(Outcome::Split(outcomes));
        shared.recycle(batch.sealed);
        self.schedule(shared, &partition);
    }

    /// The connection is gone, and with it all answers: what was in flight is in doubt and goes again, in its order.
    fn connection_lost(&mut self, shared: &Arc<Shared>, error: &Error) {
        self.connection = None;
        self.gathering.end();
        if error.kind() != ErrorKind::Closed {
            log::warn!("producing to broker {}: {error}", self.node);
        }
        for request in std::mem::take(&mut self.in_flight) {
            shared.core().refresh_since(request.generation);
            for item in request.batches {
                self.retry(shared, item, error.clone(), Doubt::Raised, false);
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
