//! One partition's records on their way: the open batch, the sealed ones, and those in flight. No I/O.

mod append;

use super::delivery::BatchOutcome;
use super::producer_id::ProducerIds;
use super::sequence::{NO_PRODUCER_ID, Sequence, Stamp};
use crate::Error;
use crate::backoff::Backoff;
use crate::batch::{BatchBuilder, SealedBatch};
pub(super) use append::{Appended, Opened, max_size};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When to look again for a producer id that is being asked for.
const NO_ID_PAUSE: Duration = Duration::from_millis(10);

/// Any thread that produces appends here; the sender of the partition's leader takes batches out. Its lock is held for
/// the copy of one record, or for moving a batch.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    pub(super) topic: Arc<str>,
    pub(super) index: i32,
    /// The node to send to; -1 while there is none. Set by the router.
    leader: AtomicI32,
    limits: Limits,
    state: Mutex<State>,
}

/// Settings a partition goes by.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) batch_size: usize,
    pub(super) linger: Duration,
    /// Of this partition's batches. Without idempotence more than one may lose their order: the broker can't keep it.
    pub(super) max_in_flight: usize,
    pub(super) idempotent: bool,
    pub(super) compressed: bool,
    pub(super) retry_backoff: Backoff,
}

#[derive(Debug)]
struct State {
    open: Option<OpenBatch>,
    /// How large the next batch is likely to get: what the largest of the last few held, the less the longer ago.
    likely_bytes: usize,
    /// Closed batches, oldest first. Those to be sent again stand before those never sent.
    slots: VecDeque<Slot>,
    next_slot: u64,
    /// Everything unresolved, oldest first: what `flush` waits for and the delivery timeout applies to.
    outstanding: VecDeque<Arc<BatchOutcome>>,
    in_flight: usize,
    /// The node that all batches in flight went to.
    in_flight_node: i32,
    sequence: Sequence,
    next_order: u64,
    backoff: Backoff,
    not_before: Option<Instant>,
    /// The open batch is to go without waiting for the end of linger.
    hurry: bool,
    /// Why the last attempt failed, for the error of records that run out of time.
    last_error: Option<Error>,
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    outcome: Arc<BatchOutcome>,
    /// When it was opened, in milliseconds since 1970.
    opened_ms: i64,
}

#[derive(Debug)]
enum Slot {
    /// A caller compresses it; this keeps its place.
    Sealing(u64),
    Sealed(Batch),
}

/// A sealed batch.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) sealed: SealedBatch,
    pub(super) outcome: Arc<BatchOutcome>,
    /// Set when it is first sent, together with `order`. Taken back only when it is known not to be in the log.
    stamp: Option<Stamp>,
    /// Its place among all batches of the partition that were ever sent; parts of a split batch share one.
    order: Option<u64>,
    /// An earlier attempt's outcome is unknown.
    was_in_doubt: bool,
    /// How often it was sent.
    attempts: u32,
}

/// What became of a batch that left the queue for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Written,
    NotWritten,
    Unknown,
}

/// What an answer, or its absence, says about whether a batch to be sent again is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// This attempt may have written it.
    Raised,
    /// This attempt has not written it; an earlier one may have.
    Unchanged,
    /// No attempt has written it.
    Settled,
}

/// Memory of batches that were given up.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) builders: Vec<BatchBuilder>,
    pub(super) sealed: Vec<SealedBatch>,
}

/// A batch that is to be compressed and checksummed outside the lock.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<BatchOutcome>,
    slot: u64,
}

/// Where a batch stands that was taken out to be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    stamp: Option<Stamp>,
    order: u64,
}

/// When a partition has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// Now, but the open batch has room: it may as well wait until others have joined it.
    Unfilled,
    At(Instant),
    /// Not before something happens that asks again: a batch is sealed, an answer comes, the leader changes.
    Later,
}

/// A batch to send.
#[derive(Debug)]
pub(super) enum Drained {
    Sealed(Batch),
    Unsealed(Unsealed, Place),
    Nothing(Due),
}

impl Batch {
    /// A batch that was never sent.
    fn new(sealed: SealedBatch, outcome: Arc<BatchOutcome>) -> Self {
        Self { sealed, outcome, stamp: None, order: None, was_in_doubt: false, attempts: 0 }
    }

    /// A batch that was drained before it was sealed.
    pub(super) fn drained(sealed: SealedBatch, outcome: Arc<BatchOutcome>, place: Place) -> Self {
        let Place { stamp, order } = place;
        Self { sealed, outcome, stamp, order: Some(order), was_in_doubt: false, attempts: 1 }
    }

    /// A part of this batch, with its place.
    pub(super) fn part(&self, sealed: SealedBatch, outcome: Arc<BatchOutcome>) -> Self {
        Self { order: self.order, ..Self::new(sealed, outcome) }
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    pub(super) fn was_in_doubt(&self) -> bool {
        self.was_in_doubt
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    fn place(&self) -> Option<Place> {
        self.order.map(|order| Place { stamp: self.stamp, order })
    }
}

impl PartitionQueue {
    pub(super) fn new(topic: Arc<str>, index: i32, limits: Limits) -> Self {
        let state = State {
            open: None,
            likely_bytes: 0,
            slots: VecDeque::new(),
            next_slot: 0,
            outstanding: VecDeque::new(),
            in_flight: 0,
            in_flight_node: -1,
            sequence: Sequence::new(),
            next_order: 0,
            backoff: limits.retry_backoff.clone(),
            not_before: None,
            hurry: false,
            last_error: None,
        };
        Self { topic, index, leader: AtomicI32::new(-1), limits, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leader(&self) -> Option<i32> {
        Some(self.leader.load(Ordering::Acquire)).filter(|node| *node >= 0)
    }

    /// Sets the leader; true if it is another one than before.
    pub(super) fn set_leader(&self, node: Option<i32>) -> bool {
        let node = node.unwrap_or(-1);
        self.leader.swap(node, Ordering::AcqRel) != node
    }

    /// Puts a sealed batch into the place that was kept for it; gives it back if it was given up meanwhile.
    pub(super) fn sealed(
        &self,
        unsealed_slot: u64,
        sealed: SealedBatch,
        outcome: Arc<BatchOutcome>,
    ) -> Option<SealedBatch> {
        let mut state = self.lock();
        let is_it = |slot: &Slot| matches!(slot, Slot::Sealing(id) if *id == unsealed_slot);
        let Some(at) = state.slots.iter().position(is_it) else { return Some(sealed) };
        if outcome.is_resolved() {
            state.slots.remove(at);
            return Some(sealed);
        }
        state.slots[at] = Slot::Sealed(Batch::new(sealed, outcome));
        None
    }

    /// Gives up the place of a batch that could not be sealed.
    pub(super) fn abandon(&self, unsealed_slot: u64, outcome: &Arc<BatchOutcome>) {
        let mut state = self.lock();
        state.slots.retain(|slot| !matches!(slot, Slot::Sealing(id) if *id == unsealed_slot));
        state.forget(outcome);
    }

    /// When there is something to send to `node`.
    pub(super) fn due(&self, now: Instant) -> Due {
        self.lock().due(&self.limits, self.leader.load(Ordering::Acquire), now)
    }

    /// Takes the next batch if one may be sent to `node` now; one with room only if `unfilled` ones are wanted. From here
    /// on it counts as in doubt: expiry must not call a batch unwritten that is about to be written.
    pub(super) fn drain(&self, node: i32, now: Instant, unfilled: bool, ids: &ProducerIds) -> Drained {
        let mut state = self.lock();
        if self.limits.idempotent {
            state.renew_sequence(ids);
            if state.in_flight == 0 && state.sequence.producer() == NO_PRODUCER_ID {
                // The last epoch is used up; the sender asks for a new id before it comes back.
                return Drained::Nothing(Due::At(now + NO_ID_PAUSE));
            }
        }
        let leader = self.leader.load(Ordering::Acquire);
        match state.due(&self.limits, leader, now) {
            Due::Now | Due::Unfilled if leader != node => return Drained::Nothing(Due::Later),
            Due::Now => {}
            Due::Unfilled if unfilled => {}
            due => return Drained::Nothing(due),
        }
        let drained = match state.slots.pop_front() {
            Some(Slot::Sealed(mut batch)) => {
                let place = state.place(batch.place(), batch.sealed.count(), &self.limits);
                batch.stamp = place.stamp;
                batch.order = Some(place.order);
                batch.attempts = batch.attempts.saturating_add(1);
                batch.outcome.set_in_doubt();
                Drained::Sealed(batch)
            }
            Some(sealing) => {
                state.slots.push_front(sealing);
                return Drained::Nothing(Due::Later);
            }
            None => {
                let Some(open) = state.open.take() else { return Drained::Nothing(Due::Later) };
                state.hurry = false;
                let place = state.place(None, open.builder.count() as i32, &self.limits);
                open.outcome.set_in_doubt();
                Drained::Unsealed(Unsealed { builder: open.builder, outcome: open.outcome, slot: u64::MAX }, place)
            }
        };
        state.in_flight += 1;
        state.in_flight_node = node;
        drained
    }

    /// A batch in flight is done with.
    pub(super) fn finished(&self, batch: &Batch, fate: Fate) {
        if let Some(place) = batch.place() {
            self.finished_at(&batch.outcome, place, fate);
        }
    }

    /// Like [`finished`](Self::finished), for a batch that may not have come to be sealed.
    pub(super) fn finished_at(&self, outcome: &Arc<BatchOutcome>, place: Place, fate: Fate) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.forget(outcome);
        match fate {
            Fate::Written => {
                state.sequence.acknowledge();
                state.backoff.reset();
                state.last_error = None;
                state.not_before = None;
            }
            // Its sequence numbers will not be used again, so the broker would refuse all that follow.
            Fate::NotWritten => state.miss(place, true),
            Fate::Unknown => state.miss(place, false),
        }
    }

    /// A batch in flight is to be sent again. It goes before everything that was sent after it. With `new_sequence` the
    /// broker does not want it under its sequence number. Gives it back if its time has run out meanwhile.
    pub(super) fn retry(
        &self,
        mut batch: Batch,
        error: Error,
        now: Instant,
        doubt: Doubt,
        new_sequence: bool,
    ) -> Option<SealedBatch> {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.last_error = Some(error);
        match doubt {
            Doubt::Raised => batch.was_in_doubt = true,
            Doubt::Unchanged => {}
            Doubt::Settled => batch.was_in_doubt = false,
        }
        if !batch.was_in_doubt {
            batch.outcome.clear_doubt();
        }
        if new_sequence {
            state.sequence.set_broken(batch.order);
        }
        let pause = state.backoff.next(fastrand::f64);
        state.not_before = Some(now + pause);
        if batch.outcome.is_resolved() {
            state.give_up(&batch);
            return Some(batch.sealed);
        }
        let at = state.position(batch.order);
        state.slots.insert(at, Slot::Sealed(batch));
        None
    }

    /// A batch in flight was too large, is not in the log, and is to be sent in parts.
    pub(super) fn split(&self, whole: &Batch, parts: Vec<Batch>) {
        let mut state = self.lock();
        state.in_flight -= 1;
        if let Some(place) = whole.place() {
            state.miss(place, true);
        }
        let place = state.outstanding.iter().position(|other| Arc::ptr_eq(other, &whole.outcome)).unwrap_or(0);
        state.forget(&whole.outcome);
        let at = state.position(whole.order);
        for part in parts.into_iter().rev() {
            state.outstanding.insert(place, part.outcome.clone());
            state.slots.insert(at, Slot::Sealed(part));
        }
    }

    /// Whether something before this batch is known to be missing from the log: waits to be sent again, or was refused.
    /// Answers come in order, so all that was sent before it has its answer.
    pub(super) fn has_earlier(&self, batch: &Batch) -> bool {
        let state = self.lock();
        let waits = matches!(state.slots.front(), Some(Slot::Sealed(first)) if first.order.is_some() && first.order < batch.order);
        waits || state.sequence.broken().is_some_and(|absent_from| batch.order.is_some_and(|order| order > absent_from))
    }

    /// Lets the open batch go at once; returns what is unresolved now.
    pub(super) fn hurry(&self) -> Vec<Arc<BatchOutcome>> {
        let mut state = self.lock();
        state.hurry = state.open.is_some();
        state.outstanding.iter().cloned().collect()
    }

    /// Resolves everything created up to `limit` by `fail`, or everything; returns when the oldest that stays was
    /// created. Batches in flight keep their bytes: those belong to their request until it is answered or its socket is
    /// dead.
    pub(super) fn expire(
        &self,
        limit: Option<Instant>,
        fail: &mut dyn FnMut(&BatchOutcome),
        dropped: &mut Dropped,
    ) -> Option<Instant> {
        let mut state = self.lock();
        let mut any = false;
        let mut oldest_left = None;
        while let Some(oldest) = state.outstanding.pop_front() {
            if limit.is_some_and(|limit| oldest.created > limit) {
                oldest_left = Some(oldest.created);
                state.outstanding.push_front(oldest);
                break;
            }
            // Nobody may append to it any more.
            let open = state.open.take_if(|open| Arc::ptr_eq(&open.outcome, &oldest));
            dropped.builders.extend(open.map(|open| open.builder));
            fail(&oldest);
            any = true;
        }
        if any {
            state.drop_resolved(dropped);
        }
        oldest_left
    }

    /// Why nothing is sent just now, for the error of records that run out of time.
    pub(super) fn set_last_error(&self, error: &Error) {
        self.lock().last_error = Some(error.clone());
    }

    pub(super) fn last_error(&self) -> Option<Error> {
        self.lock().last_error.clone()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.lock().outstanding.is_empty()
    }
}

impl Unsealed {
    pub(super) fn slot(&self) -> u64 {
        self.slot
    }
}

impl State {
    fn close_open(&mut self) -> Option<Unsealed> {
        let open = self.open.take()?;
        self.likely_bytes = open.builder.len().max(self.likely_bytes / 2);
        self.hurry = false;
        let slot = self.next_slot;
        self.next_slot += 1;
        self.slots.push_back(Slot::Sealing(slot));
        Some(Unsealed { builder: open.builder, outcome: open.outcome, slot })
    }

    fn forget(&mut self, outcome: &Arc<BatchOutcome>) {
        if let Some(at) = self.outstanding.iter().position(|other| Arc::ptr_eq(other, outcome)) {
            self.outstanding.remove(at);
        }
    }

    /// Drops batches that were resolved while they waited.
    fn drop_resolved(&mut self, dropped: &mut Dropped) {
        let slots = std::mem::take(&mut self.slots);
        for slot in slots {
            match slot {
                Slot::Sealed(batch) if batch.outcome.is_resolved() => {
                    self.give_up(&batch);
                    dropped.sealed.push(batch.sealed);
                }
                // Who seals a batch drops it if it is resolved by then.
                slot => self.slots.push_back(slot),
            }
        }
    }

    /// A batch that waited to be sent again never will be.
    fn give_up(&mut self, batch: &Batch) {
        if let Some(place) = batch.place() {
            self.miss(place, !batch.was_in_doubt);
        }
    }

    /// A sequence number is missing for good if its batch is known to be `absent`, else perhaps.
    fn miss(&mut self, place: Place, absent: bool) {
        if place.stamp.is_some() {
            self.sequence.set_broken(absent.then_some(place.order));
        }
    }

    /// Where a batch with this order belongs: before all later ones, and before parts that share its order, which are
    /// sent one by one and so are later ones.
    fn position(&self, order: Option<u64>) -> usize {
        let later = |slot: &Slot| match slot {
            Slot::Sealed(other) => other.order.is_none_or(|other| Some(other) >= order),
            Slot::Sealing(_) => true,
        };
        self.slots.iter().position(later).unwrap_or(self.slots.len())
    }

    /// The place of a batch that is sent now: the one it has, as far as it has one.
    fn place(&mut self, before: Option<Place>, records: i32, limits: &Limits) -> Place {
        let order = before.map(|place| place.order).unwrap_or_else(|| {
            self.next_order += 1;
            self.next_order - 1
        });
        let stamp = before.and_then(|place| place.stamp);
        let stamp = stamp.or_else(|| limits.idempotent.then(|| self.sequence.stamp(records)));
        Place { stamp, order }
    }

    /// Starts a new sequence where the old one is broken or of an old epoch. That needs the partition to be quiet: what
    /// is in flight, or may be in the log under the old epoch, must keep its stamp, or it could be written twice.
    fn renew_sequence(&mut self, ids: &ProducerIds) {
        if self.in_flight > 0 {
            return;
        }
        let stamped = |slot: &Slot| matches!(slot, Slot::Sealed(batch) if batch.stamp.is_some());
        let Some(absent_from) = self.sequence.broken() else {
            let quiet = !self.slots.iter().any(stamped);
            if let Some(current) = ids.current().filter(|current| *current != self.sequence.producer() && quiet) {
                self.sequence.restart(current);
            }
            return;
        };
        let unsure = |slot: &Slot| {
            let Slot::Sealed(batch) = slot else { return false };
            batch.stamp.is_some() && batch.was_in_doubt && batch.order < Some(absent_from)
        };
        // The answers to those, sent again as they were, say whether they are in the log.
        if self.slots.iter().any(unsure) {
            return;
        }
        self.sequence.restart(ids.bump(self.sequence.producer()));
        for slot in &mut self.slots {
            if let Slot::Sealed(batch) = slot
                && batch.stamp.take().is_some()
            {
                batch.was_in_doubt = false;
                batch.outcome.clear_doubt();
            }
        }
    }

    fn due(&self, limits: &Limits, leader: i32, now: Instant) -> Due {
        let in_flight_limit =
            if limits.idempotent { self.sequence.in_flight_limit(limits.max_in_flight) } else { limits.max_in_flight };
        let elsewhere = self.in_flight > 0 && self.in_flight_node != leader;
        if leader < 0
            || elsewhere
            || self.in_flight >= in_flight_limit
            || (self.sequence.broken().is_some() && self.in_flight > 0)
        {
            return Due::Later;
        }
        let due = match (self.slots.front(), &self.open) {
            (Some(Slot::Sealing(_)), _) => return Due::Later,
            // What is sent again goes alone, so that everything before it is known.
            (Some(Slot::Sealed(batch)), _) if batch.order.is_some() && self.in_flight > 0 => return Due::Later,
            (Some(Slot::Sealed(_)), _) => now,
            (None, Some(_)) if self.hurry => now,
            (None, Some(open)) => open.outcome.created + limits.linger,
            (None, None) => return Due::Later,
        };
        let due = self.not_before.map_or(due, |not_before| not_before.max(due));
        match due {
            due if due > now => Due::At(due),
            _ if self.slots.is_empty() && !self.hurry => Due::Unfilled,
            _ => Due::Now,
        }
    }
}
