//! Sequence numbers of one partition's batches: what makes retries harmless. Pure.

/// A producer id with its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProducerId {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// Without idempotence batches carry no producer id.
pub(super) const NO_PRODUCER_ID: ProducerId = ProducerId { id: -1, epoch: -1 };

/// A batch's place in its producer's sequence. It stays the same for all its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) producer: ProducerId,
    pub(super) base_sequence: i32,
}

/// The sequence of one partition.
#[derive(Debug)]
pub(super) struct Sequence {
    producer: ProducerId,
    next: i32,
    /// A batch has been acknowledged since the sequence (re)started.
    acknowledged: bool,
    /// The broker's and our idea of the sequence differ: start again in a new epoch once nothing is in flight. No batch
    /// of this order or a later one is in the log under the old epoch.
    broken: Option<u64>,
}

impl Sequence {
    pub(super) fn new() -> Self {
        Self { producer: NO_PRODUCER_ID, next: 0, acknowledged: false, broken: None }
    }

    pub(super) fn producer(&self) -> ProducerId {
        self.producer
    }

    /// If it is broken: the order from which on no batch is in the log; `u64::MAX` if any may be.
    pub(super) fn broken(&self) -> Option<u64> {
        self.broken
    }

    /// Something is missing from the sequence, so the broker refuses what follows. `absent_from` is the order of the
    /// batch that is known to be missing, or `None` for a batch that was given up and may be there or not.
    pub(super) fn set_broken(&mut self, absent_from: Option<u64>) {
        if self.producer != NO_PRODUCER_ID {
            let from = absent_from.unwrap_or(u64::MAX);
            self.broken = Some(self.broken.map_or(from, |before| before.min(from)));
        }
    }

    /// Starts at 0 for this producer id and epoch. Nothing may be in flight.
    pub(super) fn restart(&mut self, producer: ProducerId) {
        *self = Self { producer, ..Self::new() };
    }

    /// The stamp of the next new batch.
    pub(super) fn stamp(&mut self, records: i32) -> Stamp {
        let stamp = Stamp { producer: self.producer, base_sequence: self.next };
        self.next = increment(self.next, records);
        stamp
    }

    pub(super) fn acknowledge(&mut self) {
        self.acknowledged = true;
    }

    /// How many batches may be in flight: a broker that knows nothing of a producer takes whatever batch comes first as
    /// its first, so until one is acknowledged there must be no second (KAFKA-15591).
    pub(super) fn in_flight_limit(&self, configured: usize) -> usize {
        if self.acknowledged { configured } else { 1 }
    }
}

/// Sequences run from 0 to 2^31 - 1 and begin again at 0.
fn increment(sequence: i32, by: i32) -> i32 {
    (sequence as u32).wrapping_add(by as u32) as i32 & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_sequences_wrap_to_zero() {
        assert_eq!(increment(i32::MAX, 1), 0);
        assert_eq!(increment(i32::MAX - 1, 5), 3);
        assert_eq!(increment(0, i32::MAX), i32::MAX);
    }

    #[test]
    fn the_first_batch_known_to_be_missing_counts() {
        let mut sequence = Sequence::new();
        sequence.set_broken(Some(1));
        assert_eq!(sequence.broken(), None, "without a producer id there is nothing to break");
        sequence.restart(ProducerId { id: 1, epoch: 0 });
        sequence.set_broken(None);
        assert_eq!(sequence.broken(), Some(u64::MAX));
        sequence.set_broken(Some(7));
        sequence.set_broken(Some(9));
        sequence.set_broken(None);
        assert_eq!(sequence.broken(), Some(7));
    }

    #[test]
    fn t6_one_in_flight_until_the_first_acknowledgement_of_each_start() {
        let mut sequence = Sequence::new();
        sequence.restart(ProducerId { id: 1, epoch: 0 });
        assert_eq!(sequence.in_flight_limit(5), 1);
        assert_eq!(sequence.stamp(10).base_sequence, 0);
        sequence.acknowledge();
        assert_eq!(sequence.in_flight_limit(5), 5);
        assert_eq!(sequence.stamp(1).base_sequence, 10);
        sequence.set_broken(None);
        sequence.restart(ProducerId { id: 1, epoch: 1 });
        assert_eq!(sequence.broken(), None);
        assert_eq!((sequence.in_flight_limit(5), sequence.stamp(1).base_sequence), (1, 0));
    }
}
