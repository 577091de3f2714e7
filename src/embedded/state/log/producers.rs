//! What a partition knows of idempotent producers (KIP-98, KIP-360), by the rules of Kafka 4: their epoch, their last
//! five batches, and the transaction that is under way.

use crate::ErrorCode;
use crate::batch::RecordBatch;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many batches are remembered: as many as a producer may have in flight.
const BATCHES: usize = 5;
/// "None yet", of epochs and sequence numbers.
const NONE: i16 = -1;

/// A batch of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) struct Written {
    pub(in crate::embedded) first_offset: i64,
    pub(in crate::embedded) last_offset: i64,
    pub(in crate::embedded) first_sequence: i32,
    pub(in crate::embedded) last_sequence: i32,
    pub(in crate::embedded) timestamp: i64,
}

impl Written {
    pub(super) fn of(batch: &RecordBatch) -> Self {
        let delta = batch.last_offset() - batch.base_offset();
        Self {
            first_offset: batch.base_offset(),
            last_offset: batch.last_offset(),
            first_sequence: batch.base_sequence(),
            last_sequence: later(batch.base_sequence(), i32::try_from(delta).unwrap_or(i32::MAX)),
            timestamp: batch.max_timestamp(),
        }
    }
}

/// A producer as a partition knows it.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Producer {
    pub(in crate::embedded) epoch: i16,
    /// The epoch of the transaction coordinator that wrote the last marker.
    pub(in crate::embedded) coordinator_epoch: i32,
    /// Of the last batch or marker, in milliseconds since 1970-01-01T00:00:00Z.
    pub(in crate::embedded) last_timestamp: i64,
    /// Where the transaction that is under way begins in this partition.
    pub(in crate::embedded) transaction_start: Option<i64>,
    batches: VecDeque<Written>,
    /// The end of the log after its last batch.
    last_offset: i64,
}

impl Producer {
    fn new() -> Self {
        Self {
            epoch: NONE,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_start: None,
            batches: VecDeque::new(),
            last_offset: -1,
        }
    }

    /// The last sequence number; -1 if there is none in this epoch.
    pub(in crate::embedded) fn last_sequence(&self) -> i32 {
        self.batches.back().map_or(-1, |batch| batch.last_sequence)
    }

    fn bump(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// A batch that a producer wants to write.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct Claim {
    pub(in crate::embedded) producer_id: i64,
    pub(in crate::embedded) epoch: i16,
    pub(in crate::embedded) first_sequence: i32,
    pub(in crate::embedded) last_sequence: i32,
    pub(in crate::embedded) transactional: bool,
}

/// All producers of a partition, and their transactions.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Producers {
    by_id: HashMap<i64, Producer>,
    /// First offset and producer id of the transactions that are under way.
    ongoing: BTreeMap<i64, i64>,
}

impl Producers {
    pub(in crate::embedded) fn get(&self, producer_id: i64) -> Option<&Producer> {
        self.by_id.get(&producer_id)
    }

    /// All of them, in no order.
    pub(in crate::embedded) fn iter(&self) -> impl Iterator<Item = (i64, &Producer)> {
        self.by_id.iter().map(|(id, producer)| (*id, producer))
    }

    pub(in crate::embedded) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Where the first transaction begins that is under way.
    pub(super) fn first_unstable_offset(&self) -> Option<i64> {
        self.ongoing.first_key_value().map(|(offset, _)| *offset)
    }

    /// Whether the batch may be written; `Some` if it has been already, and is one of the last five.
    pub(super) fn check(&self, claim: &Claim) -> Result<Option<Written>, ErrorCode> {
        let Some(producer) = self.by_id.get(&claim.producer_id) else {
            // Whatever is not known may have been deleted: any sequence number will do.
            return Ok(None);
        };
        if producer.epoch == claim.epoch {
            let same = |batch: &&Written| {
                batch.first_sequence == claim.first_sequence && batch.last_sequence == claim.last_sequence
            };
            if let Some(duplicate) = producer.batches.iter().find(same) {
                return Ok(Some(*duplicate));
            }
        }
        if claim.epoch < producer.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let in_sequence = if claim.epoch == producer.epoch {
            claim.first_sequence == later(producer.last_sequence(), 1)
        } else {
            claim.first_sequence == 0
        };
        if !in_sequence && producer.epoch != NONE {
            return Err(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        }
        if producer.transaction_start.is_some() && !claim.transactional {
            return Err(ErrorCode::INVALID_TXN_STATE);
        }
        Ok(None)
    }

    /// A batch with a producer id has been written.
    pub(super) fn wrote(&mut self, batch: &RecordBatch) {
        let producer = self.by_id.entry(batch.producer_id()).or_insert_with(Producer::new);
        producer.bump(batch.producer_epoch());
        if producer.batches.len() == BATCHES {
            producer.batches.pop_front();
        }
        let written = Written::of(batch);
        producer.batches.push_back(written);
        producer.last_timestamp = written.timestamp;
        producer.last_offset = written.last_offset;
        if batch.is_transactional() && producer.transaction_start.is_none() {
            producer.transaction_start = Some(written.first_offset);
            self.ongoing.insert(written.first_offset, batch.producer_id());
        }
    }

    /// Whether a marker of this producer epoch and coordinator epoch may be written.
    pub(super) fn check_marker(&self, producer_id: i64, epoch: i16, coordinator_epoch: i32) -> Result<(), ErrorCode> {
        match self.by_id.get(&producer_id) {
            Some(producer) if epoch < producer.epoch => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
            Some(producer) if coordinator_epoch < producer.coordinator_epoch => {
                Err(ErrorCode::TRANSACTION_COORDINATOR_FENCED)
            }
            _ => Ok(()),
        }
    }

    /// A marker has been written; where its transaction began, if there was one in this partition.
    pub(super) fn wrote_marker(&mut self, marker: &RecordBatch, coordinator_epoch: i32) -> Option<i64> {
        let producer = self.by_id.entry(marker.producer_id()).or_insert_with(Producer::new);
        producer.bump(marker.producer_epoch());
        producer.coordinator_epoch = coordinator_epoch;
        producer.last_timestamp = marker.max_timestamp();
        producer.last_offset = marker.last_offset();
        let start = producer.transaction_start.take()?;
        self.ongoing.remove(&start);
        Some(start)
    }

    /// Forgets who has not written since, except where a transaction is under way. Kafka:
    /// `producer.id.expiration.ms`.
    pub(super) fn expire(&mut self, oldest_timestamp: i64) {
        self.by_id
            .retain(|_, producer| producer.transaction_start.is_some() || producer.last_timestamp > oldest_timestamp);
    }

    /// Forgets producers whose records have all been deleted.
    pub(super) fn forget_before(&mut self, offset: i64) {
        self.by_id.retain(|_, producer| producer.transaction_start.is_some() || producer.last_offset >= offset);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The sequence number some places later; after the largest comes 0.
pub(super) fn later(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum).unwrap_or_else(|_| (sum - i64::from(i32::MAX) - 1) as i32)
}
