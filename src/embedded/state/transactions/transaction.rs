//! One transactional id: its producer's identity and its transaction, as a state machine without time or logs (KIP-98,
//! KIP-360, KIP-890).

use crate::ErrorCode;
use std::collections::BTreeSet;

/// "None", of producer ids and epochs.
pub(super) const NO_ID: i64 = -1;
pub(super) const NO_EPOCH: i16 = -1;

/// A partition that has a part in a transaction.
pub(super) type Part = (String, i32);

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is a producer but has not been a transaction.
    Empty,
    Ongoing,
    /// It is decided, but not all partitions have their markers.
    PrepareCommit,
    PrepareAbort,
    CompleteCommit,
    CompleteAbort,
}

impl Phase {
    pub(super) const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// Kafka's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// A producer's id and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: i64,
    pub(super) epoch: i16,
}

/// What is to be done for a producer that begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// It has its identity.
    Ready,
    /// The transaction of the producer before it is to be aborted, after [`Transaction::fence`].
    Fence,
}

/// What is to be done for a producer that ends its transaction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is decided now: [`Transaction::prepare`].
    Now,
    /// It has been before: the answer was lost.
    Before,
}

/// A transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) producer: Identity,
    /// The id before the last change of any kind: another one than that of now only where the last change was to a new id.
    previous_id: i64,
    /// The epoch that a producer had which asked for the next one: it may ask again.
    last_epoch: i16,
    /// The id that comes into force with the end of the transaction, as the epochs of this one are used up.
    next_id: Option<i64>,
    pub(super) timeout_ms: i32,
    pub(super) phase: Phase,
    pub(super) partitions: BTreeSet<Part>,
    /// When the first partition was added, in milliseconds since 1970-01-01T00:00:00Z; -1 outside a transaction.
    pub(super) started_ms: i64,
}

/// The last epoch for producers: the one after it is kept for fencing.
const LAST_EPOCH: i16 = i16::MAX - 1;

fn is_exhausted(epoch: i16) -> bool {
    epoch >= LAST_EPOCH
}

impl Transaction {
    pub(super) fn new(id: i64) -> Self {
        Self {
            producer: Identity { id, epoch: NO_EPOCH },
            previous_id: NO_ID,
            last_epoch: NO_EPOCH,
            next_id: None,
            timeout_ms: 0,
            phase: Phase::Empty,
            partitions: BTreeSet::new(),
            started_ms: -1,
        }
    }

    /// A producer begins: a new one, or with `expected` one that goes on after an error and names what it was.
    pub(super) fn begin(
        &mut self,
        expected: Option<Identity>,
        timeout_ms: i32,
        new_id: impl FnOnce() -> i64,
    ) -> Result<Begun, ErrorCode> {
        if self.phase.is_prepared() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let fits = |expected: Identity| {
            self.producer.epoch == NO_EPOCH
                || expected.id == self.producer.id
                // The answer with the new id was lost.
                || expected.id == self.previous_id && is_exhausted(expected.epoch)
        };
        if !expected.is_none_or(fits) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        if self.phase == Phase::Ongoing {
            return Ok(Begun::Fence);
        }
        let same = expected.is_none_or(|expected| expected.epoch == self.producer.epoch);
        if is_exhausted(self.producer.epoch) && same {
            self.previous_id = self.producer.id;
            self.last_epoch = expected.map_or(NO_EPOCH, |_| self.producer.epoch);
            self.producer = Identity { id: new_id(), epoch: 0 };
        } else {
            self.raise(expected)?;
        }
        self.timeout_ms = timeout_ms;
        self.phase = Phase::Empty;
        self.started_ms = -1;
        Ok(Begun::Ready)
    }

    /// Gives the next epoch, or once more the present one to who has asked before.
    fn raise(&mut self, expected: Option<Identity>) -> Result<(), ErrorCode> {
        let current = self.producer.epoch;
        match expected {
            None => self.last_epoch = NO_EPOCH,
            Some(expected) if current == NO_EPOCH || expected.epoch == current => self.last_epoch = current,
            Some(expected) if expected.epoch == self.last_epoch => {
                self.previous_id = self.producer.id;
                return Ok(());
            }
            Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
        }
        self.previous_id = self.producer.id;
        self.producer.epoch = current.saturating_add(1);
        Ok(())
    }

    /// Shuts out the producer of now: whatever it sends from here on is refused.
    pub(super) fn fence(&mut self) {
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.last_epoch = NO_EPOCH;
    }

    /// Whether a request is from the producer of now.
    pub(super) fn check(&self, producer: Identity) -> Result<(), ErrorCode> {
        if self.producer.id != producer.id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if self.producer.epoch != producer.epoch {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        if self.phase.is_prepared() { Err(ErrorCode::CONCURRENT_TRANSACTIONS) } else { Ok(()) }
    }

    /// Takes partitions into the transaction, which begins with the first; whether it did.
    pub(super) fn add(&mut self, producer: Identity, parts: &[Part], now_ms: i64) -> Result<bool, ErrorCode> {
        self.check(producer)?;
        self.previous_id = self.producer.id;
        let begins = self.phase != Phase::Ongoing;
        if begins {
            self.phase = Phase::Ongoing;
            self.started_ms = now_ms;
            self.partitions.clear();
        }
        self.partitions.extend(parts.iter().cloned());
        Ok(begins)
    }

    /// Whether a producer may end its transaction. With `bumps` the epoch rises with every end (EndTxn from version 5
    /// on), so an old epoch may be a repeated request.
    pub(super) fn end(&self, producer: Identity, commit: bool, bumps: bool) -> Result<Ended, ErrorCode> {
        let again = bumps && self.producer.epoch == producer.epoch.saturating_add(1) && self.producer.id == producer.id;
        let again_with_new_id =
            bumps && self.previous_id == producer.id && producer.epoch == LAST_EPOCH && self.producer.epoch == 0;
        if self.producer.id != producer.id && !again_with_new_id {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        let repeated = again || again_with_new_id;
        let current = self.producer == producer;
        let valid = match self.phase {
            _ if !bumps => current,
            Phase::Empty | Phase::Ongoing => current,
            Phase::PrepareCommit | Phase::PrepareAbort => again,
            Phase::CompleteCommit | Phase::CompleteAbort => repeated || current,
        };
        if !valid {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        // Without bumps nothing tells a repeated request from a new one.
        let repeated = repeated || !bumps;
        match (self.phase, commit) {
            (Phase::Ongoing, _) => Ok(Ended::Now),
            (Phase::PrepareCommit, true) | (Phase::PrepareAbort, false) => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            (Phase::CompleteCommit, true) | (Phase::CompleteAbort, false) if repeated => Ok(Ended::Before),
            // A producer that does not know whether it has begun a transaction aborts it, and gets its epoch.
            (Phase::Empty, false) if bumps => Ok(Ended::Now),
            (Phase::CompleteCommit | Phase::CompleteAbort, false) if bumps && !repeated => Ok(Ended::Now),
            _ => Err(ErrorCode::INVALID_TXN_STATE),
        }
    }

    /// Decides the transaction; the markers carry [`producer`](Self::producer) as it is after this.
    pub(super) fn prepare(&mut self, commit: bool, bumps: bool, now_ms: i64, new_id: impl FnOnce() -> i64) {
        if bumps {
            self.next_id = is_exhausted(self.producer.epoch).then(new_id);
            self.last_epoch = self.producer.epoch;
            self.producer.epoch = self.producer.epoch.saturating_add(1);
        }
        if self.phase != Phase::Ongoing {
            self.partitions.clear();
            self.started_ms = now_ms;
        }
        self.phase = if commit { Phase::PrepareCommit } else { Phase::PrepareAbort };
    }

    /// All markers are written.
    pub(super) fn complete(&mut self) {
        self.phase = if self.phase == Phase::PrepareCommit { Phase::CompleteCommit } else { Phase::CompleteAbort };
        self.partitions.clear();
        self.previous_id = self.producer.id;
        if let Some(id) = self.next_id.take() {
            self.producer = Identity { id, epoch: 0 };
        }
    }

    /// What a producer goes on with after the end of this transaction.
    pub(super) fn next_producer(&self) -> Identity {
        self.next_id.map_or(self.producer, |id| Identity { id, epoch: 0 })
    }
}
