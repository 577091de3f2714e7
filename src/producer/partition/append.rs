//! The way of a record into its partition's open batch, or into a new one.

use super::super::budget::Budget;
use super::super::clock;
use super::super::delivery::{BatchOutcome, Delivery};
use super::{OpenBatch, PartitionQueue, State, Unsealed};
use crate::batch::{BatchBuilder, HEADER_BYTES};
use crate::{Error, ProducerRecord};
use std::sync::Arc;
use std::time::Instant;

/// A new batch's first buffer; it doubles up to the batch size, so that a slow partition takes little.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

/// What came of an attempt to append.
#[derive(Debug)]
pub(in crate::producer) enum Appended {
    Done(Delivery),
    /// This record opened its batch: the partition's sender must be told.
    Opened(Opened),
    /// The record can't be written at all.
    Refused(Error),
    /// The record needs this many bytes more than the budget has.
    NeedsMemory(usize),
    /// The record could go anywhere and would open a batch here: it may as well open it elsewhere.
    WouldOpen,
}

/// A record that opened a batch.
#[derive(Debug)]
pub(in crate::producer) struct Opened {
    pub(in crate::producer) delivery: Delivery,
    pub(in crate::producer) partition: Arc<PartitionQueue>,
    /// A full batch that this record did not fit into; the caller is to seal it.
    pub(in crate::producer) full: Option<Unsealed>,
}

impl PartitionQueue {
    /// Writes the record into the open batch if it has room: the way of nearly all records. Then `keep` makes what the
    /// caller has of it from the batch's outcome and the record's index. `None` if there is more to be done, which
    /// [`append`](Self::append) does.
    #[inline]
    pub(in crate::producer) fn append_in_place<T>(
        &self,
        record: &ProducerRecord<'_>,
        keep: impl FnOnce(&Arc<BatchOutcome>, u32) -> T,
    ) -> Option<T> {
        let now_ms = record.timestamp.unwrap_or_else(clock::coarse_ms);
        let mut state = self.lock();
        let open = state.open.as_mut()?;
        let timestamp = open.timestamp(record, now_ms);
        let limit = self.limits.batch_size;
        let index = open.builder.append_in_place(limit, timestamp, record.key, record.value, &record.headers)?;
        Some(keep(&open.outcome, index))
    }

    /// Writes the record into the open batch, or into a new one if it `may_open` one. `granted` is memory of the budget
    /// the caller already has; it stays theirs if nothing is opened for want
    /// of `may_open`, and else what is not needed of it is given back.
    #[cold]
    pub(in crate::producer) fn append(
        self: &Arc<Self>,
        record: &ProducerRecord<'_>,
        budget: &Budget,
        granted: &mut Option<Vec<u8>>,
        may_open: bool,
    ) -> Appended {
        let now_ms = record.timestamp.unwrap_or_else(clock::coarse_ms);
        let mut state = self.lock();
        if let Some(open) = &mut state.open {
            let timestamp = open.timestamp(record, now_ms);
            let needed =
                open.builder.len() + open.builder.record_size(timestamp, record.key, record.value, &record.headers);
            if needed <= self.limits.batch_size {
                if needed > open.builder.capacity() {
                    let more = (open.builder.capacity() * 2).clamp(needed, self.limits.batch_size.max(needed))
                        - open.builder.capacity();
                    let Some(taken) = take(budget, more, granted) else { return Appended::NeedsMemory(more) };
                    let before = open.builder.capacity();
                    open.builder.grow(more);
                    budget.adjust(before + taken, open.builder.capacity());
                } else {
                    give_back(budget, granted);
                }
                return match open.builder.append(timestamp, record.key, record.value, &record.headers) {
                    Ok(index) => Appended::Done(Delivery { batch: open.outcome.clone(), index }),
                    Err(error) => Appended::Refused(error.with_partition(self.index)),
                };
            }
        }
        if !may_open {
            return Appended::WouldOpen;
        }
        self.open(&mut state, record, budget, granted)
    }

    /// Opens a batch with this record; what was open is full.
    fn open(
        self: &Arc<Self>,
        state: &mut State,
        record: &ProducerRecord<'_>,
        budget: &Budget,
        granted: &mut Option<Vec<u8>>,
    ) -> Appended {
        let size = HEADER_BYTES + max_size(record);
        let wanted = size.max(FIRST_BUFFER_BYTES.min(self.limits.batch_size));
        let buffer = granted.take_if(|buffer| buffer.capacity() >= size);
        let buffer = buffer.or_else(|| budget.try_take_buffer(wanted)).or_else(|| budget.try_take_buffer(size));
        give_back(budget, granted);
        let Some(buffer) = buffer else { return Appended::NeedsMemory(size) };
        let (now, opened_ms) = (Instant::now(), clock::now_ms());
        let timestamp = record.timestamp.unwrap_or(opened_ms);
        let outcome = Arc::new(BatchOutcome::new(self.index, now));
        let mut builder = BatchBuilder::new(buffer);
        if !self.limits.compressed {
            builder = builder.summing();
        }
        let index = match builder.append(timestamp, record.key, record.value, &record.headers) {
            Ok(index) => index,
            Err(error) => {
                budget.give_buffer(builder.into_buffer());
                return Appended::Refused(error.with_partition(self.index));
            }
        };
        let full = state.close_open();
        state.open = Some(OpenBatch { builder, outcome: outcome.clone(), opened_ms });
        state.outstanding.push_back(outcome.clone());
        let delivery = Delivery { batch: outcome, index };
        Appended::Opened(Opened { delivery, partition: self.clone(), full })
    }
}

impl OpenBatch {
    /// The record's own timestamp, or now: by a coarse clock, but not before the batch was opened.
    #[inline]
    fn timestamp(&self, record: &ProducerRecord<'_>, now_ms: i64) -> i64 {
        if record.timestamp.is_some() { now_ms } else { now_ms.max(self.opened_ms) }
    }
}

/// What a record takes at most, in whatever batch.
pub(in crate::producer) fn max_size(record: &ProducerRecord<'_>) -> usize {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    BatchBuilder::max_record_size(length(record.key), length(record.value), &record.headers)
}

/// Takes at least `bytes`: what the caller was granted if that is enough, else from the budget. Returns how many.
fn take(budget: &Budget, bytes: usize, granted: &mut Option<Vec<u8>>) -> Option<usize> {
    if let Some(buffer) = granted.take_if(|buffer| buffer.capacity() >= bytes) {
        return Some(buffer.capacity());
    }
    give_back(budget, granted);
    budget.try_take(bytes).then_some(bytes)
}

fn give_back(budget: &Budget, granted: &mut Option<Vec<u8>>) {
    if let Some(buffer) = granted.take() {
        budget.give_buffer(buffer);
    }
}
