//! One partition's records on their way: the open batch, the sealed ones, and those in flight. No I/O.

use super::budget::Budget;
use super::delivery::{BatchOutcome, Delivery};
use super::producer_id::ProducerIds;
use super::sequence::{NO_PRODUCER_ID, Sequence, Stamp};
use crate::backoff::Backoff;
use crate::batch::{BatchBuilder, HEADER_BYTES, SealedBatch};
use crate::{Error, ProducerRecord};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A new batch's first buffer; it doubles up to the batch size, so that a slow partition takes little.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

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
    pub(super) max_in_flight: usize,
    pub(super) idempotent: bool,
    pub(super) retry_backoff: Backoff,
}

#[derive(Debug)]
struct State {
    open: Option<OpenBatch>,
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
    /// Set when it is first sent, together with `order`.
    stamp: Option<Stamp>,
    order: Option<u64>,
    /// An earlier attempt's outcome is unknown.
    pub(super) was_in_doubt: bool,
}

/// A batch that is to be compressed and checksummed outside the lock.
#[derive(Debug)]
pub(super) struct Unsealed {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<BatchOutcome>,
    slot: u64,
}

/// What came of an attempt to append.
#[derive(Debug)]
pub(super) enum Appended {
    Done {
        delivery: Delivery,
        /// When the batch was opened, if this record opened it.
        opened: Option<Instant>,
        /// A full batch that this record did not fit into; the caller is to seal it.
        full: Option<Unsealed>,
    },
    /// The record can't be written at all.
    Refused(Error),
    /// The record needs this many bytes more than the budget has.
    NeedsMemory(usize),
    /// The record could go anywhere and would open a batch here: it may as well open it elsewhere.
    WouldOpen,
}

/// When a partition has something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    At(Instant),
    /// Not before something happens that asks again: a batch is sealed, an answer comes, the leader changes.
    Later,
}

/// A batch to send.
#[derive(Debug)]
pub(super) enum Drained {
    Sealed(Batch),
    Unsealed(Unsealed, Option<Stamp>, u64),
    Nothing(Due),
}

impl Batch {
    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    pub(super) fn new(
        sealed: SealedBatch,
        outcome: Arc<BatchOutcome>,
        stamp: Option<Stamp>,
        order: Option<u64>,
    ) -> Self {
        Self { sealed, outcome, stamp, order, was_in_doubt: false }
    }
}

impl PartitionQueue {
    pub(super) fn new(topic: Arc<str>, index: i32, limits: Limits) -> Self {
        let state = State {
            open: None,
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

    /// Writes the record into the open batch, or into a new one. `granted` are bytes of the budget the caller already
    /// has; what is not needed of them is given back.
    pub(super) fn append(
        &self,
        record: &ProducerRecord<'_>,
        timestamp: i64,
        budget: &Budget,
        granted: usize,
        may_open: bool,
    ) -> Appended {
        let mut state = self.lock();
        if let Some(open) = &mut state.open {
            let needed =
                open.builder.len() + open.builder.record_size(timestamp, record.key, record.value, &record.headers);
            if needed <= self.limits.batch_size {
                if needed > open.builder.capacity() {
                    let more = (open.builder.capacity() * 2).clamp(needed, self.limits.batch_size.max(needed))
                        - open.builder.capacity();
                    if !take(budget, more, granted) {
                        return Appended::NeedsMemory(more);
                    }
                    let before = open.builder.capacity();
                    open.builder.grow(more);
                    budget.adjust(before + more, open.builder.capacity());
                } else if granted > 0 {
                    budget.give(granted);
                }
                return match open.builder.append(timestamp, record.key, record.value, &record.headers) {
                    Ok(index) => {
                        let delivery = Delivery { batch: open.outcome.clone(), index };
                        Appended::Done { delivery, opened: None, full: None }
                    }
                    Err(error) => Appended::Refused(error),
                };
            }
            if !may_open {
                return Appended::WouldOpen;
            }
        } else if !may_open {
            return Appended::WouldOpen;
        }
        let size = HEADER_BYTES + max_size(record);
        let wanted = size.max(FIRST_BUFFER_BYTES.min(self.limits.batch_size));
        let buffer = if granted >= size {
            let buffer = Vec::with_capacity(size);
            budget.adjust(granted, buffer.capacity());
            buffer
        } else {
            match budget.try_take_buffer(wanted).or_else(|| budget.try_take_buffer(size)) {
                Some(buffer) => {
                    budget.give(granted);
                    buffer
                }
                None => {
                    budget.give(granted);
                    return Appended::NeedsMemory(size);
                }
            }
        };
        let now = Instant::now();
        let outcome = Arc::new(BatchOutcome::new(self.index, now));
        let mut builder = BatchBuilder::new(buffer);
        let index = match builder.append(timestamp, record.key, record.value, &record.headers) {
            Ok(index) => index,
            Err(error) => {
                budget.give_buffer(builder.into_buffer());
                return Appended::Refused(error);
            }
        };
        let full = state.close_open();
        state.open = Some(OpenBatch { builder, outcome: outcome.clone() });
        state.outstanding.push_back(outcome.clone());
        Appended::Done { delivery: Delivery { batch: outcome, index }, opened: Some(now), full }
    }

    /// Puts a sealed batch into the place that was kept for it.
    pub(super) fn sealed(&self, unsealed_slot: u64, sealed: SealedBatch, outcome: Arc<BatchOutcome>) {
        let mut state = self.lock();
        let slot = state.slots.iter_mut().find(|slot| matches!(slot, Slot::Sealing(id) if *id == unsealed_slot));
        if let Some(slot) = slot {
            *slot = Slot::Sealed(Batch::new(sealed, outcome, None, None));
        }
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

    /// Takes the next batch if one may be sent to `node` now. Batches given up meanwhile go to `dropped`.
    pub(super) fn drain(&self, node: i32, now: Instant, ids: &ProducerIds, dropped: &mut Vec<SealedBatch>) -> Drained {
        let mut state = self.lock();
        state.drop_resolved(dropped);
        if self.limits.idempotent {
            state.renew_sequence(ids);
            if state.in_flight == 0 && state.sequence.producer() == NO_PRODUCER_ID {
                // The last epoch is used up; the sender asks for a new id before it comes back.
                return Drained::Nothing(Due::At(now + NO_ID_PAUSE));
            }
        }
        match state.due(&self.limits, self.leader.load(Ordering::Acquire), now) {
            Due::Now if self.leader.load(Ordering::Acquire) == node => {}
            Due::Now => return Drained::Nothing(Due::Later),
            due => return Drained::Nothing(due),
        }
        let order = state.next_order;
        if let Some(Slot::Sealed(mut batch)) = state.slots.pop_front() {
            state.in_flight += 1;
            state.in_flight_node = node;
            if batch.order.is_none() {
                batch.order = Some(order);
                state.next_order += 1;
                if self.limits.idempotent {
                    batch.stamp = Some(state.sequence.stamp(batch.sealed.count()));
                }
            } else if batch.stamp.is_none() && self.limits.idempotent {
                batch.stamp = Some(state.sequence.stamp(batch.sealed.count()));
            }
            return Drained::Sealed(batch);
        }
        let Some(open) = state.open.take() else { return Drained::Nothing(Due::Later) };
        state.hurry = false;
        state.in_flight += 1;
        state.in_flight_node = node;
        state.next_order += 1;
        let stamp = self.limits.idempotent.then(|| state.sequence.stamp(open.builder.count() as i32));
        let unsealed = Unsealed { builder: open.builder, outcome: open.outcome, slot: u64::MAX };
        Drained::Unsealed(unsealed, stamp, order)
    }

    /// A batch in flight has its final answer.
    pub(super) fn finished(&self, outcome: &Arc<BatchOutcome>, written: bool, was_stamped: bool) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.forget(outcome);
        if written {
            state.sequence.acknowledge();
            state.backoff.reset();
            state.last_error = None;
            state.not_before = None;
        } else if was_stamped {
            // Its sequence numbers will never be used, so the broker would refuse all that follow.
            state.sequence.set_broken();
        }
    }

    /// A batch in flight is to be sent again. It goes before everything that was sent after it.
    pub(super) fn retry(&self, batch: Batch, error: Error, now: Instant, broken: bool) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.last_error = Some(error);
        if broken {
            state.sequence.set_broken();
        }
        let pause = state.backoff.next(fastrand::f64);
        state.not_before = Some(now + pause);
        let later = |slot: &Slot| match slot {
            Slot::Sealed(other) => other.order.is_none_or(|order| Some(order) > batch.order),
            Slot::Sealing(_) => true,
        };
        let at = state.slots.iter().position(later).unwrap_or(state.slots.len());
        state.slots.insert(at, Slot::Sealed(batch));
    }

    /// A batch in flight was too large and is to be sent in parts.
    pub(super) fn split(&self, whole: &Arc<BatchOutcome>, parts: Vec<Batch>, was_stamped: bool) {
        let mut state = self.lock();
        state.in_flight -= 1;
        if was_stamped {
            state.sequence.set_broken();
        }
        let at = state.outstanding.iter().position(|other| Arc::ptr_eq(other, whole)).unwrap_or(0);
        state.forget(whole);
        for part in parts.into_iter().rev() {
            state.outstanding.insert(at, part.outcome.clone());
            state.slots.push_front(Slot::Sealed(part));
        }
    }

    /// Whether an earlier batch than this one is unresolved: in flight, or to be sent again.
    pub(super) fn has_earlier(&self, batch: &Batch) -> bool {
        let state = self.lock();
        let first = state.outstanding.front();
        state.sequence.is_broken() || first.is_some_and(|first| !Arc::ptr_eq(first, &batch.outcome))
    }

    /// Lets the open batch go at once; returns what is unresolved now.
    pub(super) fn hurry(&self) -> Vec<Arc<BatchOutcome>> {
        let mut state = self.lock();
        state.hurry = state.open.is_some();
        state.outstanding.iter().cloned().collect()
    }

    /// Resolves everything created up to `limit` by `fail`; returns when the oldest that stays was created. Batches in
    /// flight keep their bytes: those belong to their request until it is answered or its socket is dead.
    pub(super) fn expire(
        &self,
        limit: Instant,
        fail: &mut dyn FnMut(&BatchOutcome),
        dropped: &mut Vec<BatchBuilder>,
    ) -> Option<Instant> {
        let mut state = self.lock();
        while let Some(oldest) = state.outstanding.front() {
            if oldest.created > limit {
                return Some(oldest.created);
            }
            let oldest = oldest.clone();
            state.outstanding.pop_front();
            // Nobody may append to it any more.
            dropped.extend(state.open.take_if(|open| Arc::ptr_eq(&open.outcome, &oldest)).map(|open| open.builder));
            fail(&oldest);
        }
        None
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

/// What a record takes at most, in whatever batch.
pub(super) fn max_size(record: &ProducerRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    BatchBuilder::max_record_size(length(record.key), length(record.value), &record.headers)
}

/// Takes `bytes`: from what the caller was granted if that is enough, else from the budget.
fn take(budget: &Budget, bytes: usize, granted: usize) -> bool {
    if granted >= bytes {
        budget.give(granted - bytes);
        return true;
    }
    if granted > 0 {
        budget.give(granted);
    }
    budget.try_take(bytes)
}

impl State {
    fn close_open(&mut self) -> Option<Unsealed> {
        let open = self.open.take()?;
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

    /// Drops batches at the front that were resolved while they waited.
    fn drop_resolved(&mut self, dropped: &mut Vec<SealedBatch>) {
        while let Some(Slot::Sealed(batch)) = self.slots.front() {
            if !batch.outcome.is_resolved() {
                break;
            }
            if batch.stamp.is_some() {
                self.sequence.set_broken();
            }
            if let Some(Slot::Sealed(batch)) = self.slots.pop_front() {
                self.forget(&batch.outcome.clone());
                dropped.push(batch.sealed);
            }
        }
    }

    /// Starts a new sequence where the old one is broken or of an old epoch. That needs the partition to be quiet: what
    /// is in flight, or may be in the log under the old epoch, must keep its place.
    fn renew_sequence(&mut self, ids: &ProducerIds) {
        if self.in_flight > 0 {
            return;
        }
        if self.sequence.is_broken() {
            self.sequence.restart(ids.bump(self.sequence.producer()));
            for slot in &mut self.slots {
                if let Slot::Sealed(batch) = slot {
                    batch.stamp = None;
                }
            }
            return;
        }
        let stamped = self.slots.iter().any(|slot| matches!(slot, Slot::Sealed(batch) if batch.stamp.is_some()));
        if let Some(current) = ids.current().filter(|current| *current != self.sequence.producer() && !stamped) {
            self.sequence.restart(current);
        }
    }

    fn due(&self, limits: &Limits, leader: i32, now: Instant) -> Due {
        let in_flight_limit = if limits.idempotent {
            self.sequence.in_flight_limit(limits.max_in_flight)
        } else {
            // Without sequence numbers the broker can't keep the order of retries, so there is nothing to overtake.
            1
        };
        let elsewhere = self.in_flight > 0 && self.in_flight_node != leader;
        if leader < 0
            || elsewhere
            || self.in_flight >= in_flight_limit
            || (self.sequence.is_broken() && self.in_flight > 0)
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
        if due <= now { Due::Now } else { Due::At(due) }
    }
}
