//! The way of a record into its partition's open batch, or into a new one.

use super::super::budget::{Budget, Need};
use super::super::clock;
use super::super::delivery::{BatchOutcome, Delivery};
use super::{OpenBatch, PartitionQueue, State, Unsealed};
use crate::batch::{BatchBuilder, HEADER_BYTES};
use crate::{Error, ProducerRecord};
use std::sync::Arc;
use std::time::Instant;

/// A new batch's first buffer, if the last ones were no larger; it doubles up to the batch size, so that a slow partition
/// takes little.
const FIRST_BUFFER_BYTES: usize = 16 * 1024;

/// What came of an attempt to append.
#[derive(Debug)]
pub(in crate::producer) enum Appended {
    Done(Delivery),
    /// This record opened its batch: the partition's sender must be told.
    Opened(Opened),
    /// The record can't be written at all.
    Refused(Error),
    /// The record needs more memory than the budget has.
    NeedsMemory(Need),
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
    /// the caller already has; it stays theirs if nothing is opened for want of `may_open`, and else what is not needed
    /// of it is given back.
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
                    if let Err(need) = open.grow(needed, self.limits.batch_size, budget, granted) {
                        return Appended::NeedsMemory(need);
                    }
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
        let open = state.open.as_ref().map_or(0, |open| open.builder.len());
        let likely =
            open.max(state.likely_bytes).max(FIRST_BUFFER_BYTES).next_power_of_two().min(self.limits.batch_size);
        let need = Need { least: size, wanted: size.max(likely) };
        let buffer = granted.take_if(|buffer| buffer.capacity() >= size).or_else(|| budget.try_take_buffer(need));
        give_back(budget, granted);
        let Some(buffer) = buffer else { return Appended::NeedsMemory(need) };
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
    /// Makes the capacity `needed` at least, twice as much as it was if the batch may become that large. A used buffer
    /// serves best: its memory has been touched before.
    fn grow(
        &mut self,
        needed: usize,
        batch_size: usize,
        budget: &Budget,
        granted: &mut Option<Vec<u8>>,
    ) -> Result<(), Need> {
        let before = self.builder.capacity();
        let wanted = (before * 2).clamp(needed, batch_size.max(needed));
        let used_before = granted.take_if(|buffer| buffer.capacity() >= needed);
        if let Some(buffer) = used_before.or_else(|| budget.try_take_spare(wanted)) {
            budget.give_buffer(self.builder.move_to(buffer));
            give_back(budget, granted);
            return Ok(());
        }
        let more = wanted - before;
        let taken = take(budget, more, granted).ok_or(Need { least: more, wanted })?;
        self.builder.grow(more);
        budget.adjust(before + taken, self.builder.capacity());
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;
    use crate::backoff::Backoff;
    use std::time::Duration;

    fn queue() -> Arc<PartitionQueue> {
        let limits = Limits {
            batch_size: 100_000,
            linger: Duration::ZERO,
            max_in_flight: 5,
            idempotent: false,
            compressed: false,
            retry_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
        };
        Arc::new(PartitionQueue::new(Arc::from("t"), 0, limits))
    }

    /// Appends until a batch is opened; how large its buffer is, and the batch that was full.
    fn open(queue: &Arc<PartitionQueue>, budget: &Budget) -> (usize, Option<Unsealed>) {
        let record = ProducerRecord::new("t").value([b'v'; 1000].as_slice());
        loop {
            match queue.append(&record, budget, &mut None, true) {
                Appended::Done(_) => {}
                Appended::Opened(opened) => {
                    let capacity = queue.lock().open.as_ref().map(|open| open.builder.capacity());
                    return (capacity.expect("it is open"), opened.full);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_batch_begins_with_a_buffer_as_large_as_the_last_ones_were() {
        let (queue, budget) = (queue(), Budget::new(1 << 20));
        let (first, none) = open(&queue, &budget);
        assert_eq!((first, none.is_some()), (FIRST_BUFFER_BYTES, false));
        let (second, full) = open(&queue, &budget);
        assert_eq!((second, full.is_some()), (100_000, true), "the first was full");
        let after_small_ones = [(); 4].map(|()| {
            drop(queue.lock().close_open());
            open(&queue, &budget).0
        });
        assert_eq!(
            after_small_ones,
            [65_536, 32_768, FIRST_BUFFER_BYTES, FIRST_BUFFER_BYTES],
            "they had one record each"
        );
    }

    #[test]
    fn without_memory_for_a_large_buffer_a_batch_begins_with_what_there_is() {
        let (queue, budget) = (queue(), Budget::new(110_000));
        open(&queue, &budget);
        assert_eq!(open(&queue, &budget).0, 10_000);
    }

    #[test]
    fn a_batch_that_grows_goes_on_in_a_buffer_that_came_back() {
        let (queue, budget) = (queue(), Budget::new(1 << 20));
        let used_before = budget.try_take_buffer(Need { least: 100_000, wanted: 100_000 }).expect("nothing is used");
        let address = used_before.as_ptr().addr();
        open(&queue, &budget);
        budget.give_buffer(used_before);
        let (_, full) = open(&queue, &budget);
        let buffer = full.expect("the first").builder.into_buffer();
        assert_eq!((buffer.as_ptr().addr(), buffer.capacity()), (address, 100_000));
        assert_eq!(budget.used(), 200_000, "its own and the second's");
    }
}
