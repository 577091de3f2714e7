//! The coordinator: identities, fencing, and what happens to transactional ids by themselves.

use super::Entry;
use super::transaction::{Begun, Ended, Identity, Part, Phase, Transaction};
use crate::ErrorCode;
use crate::embedded::state::coordinator::Coordinated;
use crate::embedded::state::timers::Timer;
use crate::embedded::state::{Context, State, Time};
use std::time::Duration;

/// The producer that is named in a request, if it is.
pub(super) fn identity(id: i64, epoch: i16) -> Option<Identity> {
    (id != -1 || epoch != -1).then_some(Identity { id, epoch })
}

impl State {
    /// Gives a producer with a transactional id its identity.
    pub(super) fn begin_producer(
        &mut self,
        context: &Context,
        transactional_id: &str,
        timeout_ms: i32,
        expected: Option<Identity>,
    ) -> Result<Identity, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.check_coordinator(context, Coordinated::Transaction, transactional_id)?;
        if timeout_ms <= 0 || i64::from(timeout_ms) > self.settings.number("transaction.max.timeout.ms") {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let next = &mut self.next_producer_id;
        let mut new_id = || {
            let id = *next;
            *next += 1;
            id
        };
        let entry = self.transactions.by_id.entry(transactional_id.to_owned()).or_insert_with(|| Entry {
            transaction: Transaction::new(new_id()),
            since: context.now,
            armed: None,
        });
        let begun = entry.transaction.begin(expected, timeout_ms, new_id)?;
        let producer = entry.transaction.producer;
        match begun {
            Begun::Ready => {
                entry.since = context.now;
                self.arm_transaction(transactional_id);
                Ok(producer)
            }
            Begun::Fence => {
                self.fence_and_abort(transactional_id, context.now);
                // The next attempt gets an epoch that nobody has had.
                Err(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
        }
    }

    /// Takes partitions into a producer's transaction.
    pub(super) fn add_parts(
        &mut self,
        transactional_id: &str,
        producer: Identity,
        parts: &[Part],
        now: Time,
    ) -> Result<(), ErrorCode> {
        let now_ms = self.wall_ms(now);
        let entry = self.known(transactional_id)?;
        if entry.transaction.add(producer, parts, now_ms)? {
            entry.since = now;
            self.arm_transaction(transactional_id);
        }
        Ok(())
    }

    /// Whether a partition is in a producer's transaction.
    pub(super) fn verify_part(
        &mut self,
        transactional_id: &str,
        producer: Identity,
        part: &Part,
    ) -> Result<(), ErrorCode> {
        let transaction = &self.known(transactional_id)?.transaction;
        transaction.check(producer)?;
        let is_in = transaction.phase == Phase::Ongoing && transaction.partitions.contains(part);
        is_in.then_some(()).ok_or(ErrorCode::TRANSACTION_ABORTABLE)
    }

    /// Ends a producer's transaction, and says what the producer goes on with.
    pub(super) fn end_producers_transaction(
        &mut self,
        transactional_id: &str,
        producer: Identity,
        commit: bool,
        bumps: bool,
        now: Time,
    ) -> Result<Identity, ErrorCode> {
        let transaction = &self.known(transactional_id)?.transaction;
        if transaction.end(producer, commit, bumps)? == Ended::Before {
            return Ok(transaction.producer);
        }
        self.decide(transactional_id, commit, bumps, now);
        let next = self.known(transactional_id)?.transaction.next_producer();
        self.finish_transaction(transactional_id, now);
        Ok(next)
    }

    /// Decides a transaction; its markers are still to be written.
    fn decide(&mut self, transactional_id: &str, commit: bool, bumps: bool, now: Time) {
        let now_ms = self.wall_ms(now);
        let next = &mut self.next_producer_id;
        let new_id = || {
            let id = *next;
            *next += 1;
            id
        };
        if let Some(entry) = self.transactions.by_id.get_mut(transactional_id) {
            entry.transaction.prepare(commit, bumps, now_ms, new_id);
            self.transactions.unfinished.insert(transactional_id.to_owned());
        }
    }

    /// Shuts out the producer of now and aborts its transaction. In a cluster with transactions V2 the end itself raises the
    /// epoch, whatever the producer speaks, and the producer may ask for the new one.
    fn fence_and_abort(&mut self, transactional_id: &str, now: Time) {
        let coordinator = self.coordinator(Coordinated::Transaction, transactional_id).unwrap_or_default();
        let bumps = self.feature(coordinator, "transaction.version") >= 2;
        if let Some(entry) = self.transactions.by_id.get_mut(transactional_id) {
            if !bumps {
                entry.transaction.fence();
            }
            self.decide(transactional_id, false, bumps, now);
            self.finish_transaction(transactional_id, now);
        }
    }

    fn known(&mut self, transactional_id: &str) -> Result<&mut Entry, ErrorCode> {
        if transactional_id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        self.transactions.by_id.get_mut(transactional_id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)
    }

    /// Sets the timer of a transactional id: for the end of its transaction, or for its own.
    pub(super) fn arm_transaction(&mut self, transactional_id: &str) {
        let Some(due) = self.transaction_due(transactional_id) else { return };
        let Some(entry) = self.transactions.by_id.get_mut(transactional_id) else { return };
        let timer = || Timer::Transaction(transactional_id.to_owned());
        if let Some(before) = entry.armed.replace(due) {
            self.timers.unset(before, timer());
        }
        self.timers.set(due, timer());
    }

    /// When time changes something: an open transaction is aborted, an unused id is forgotten. Kafka:
    /// `transaction.timeout.ms` of the producer, `transactional.id.expiration.ms`.
    fn transaction_due(&self, transactional_id: &str) -> Option<Time> {
        let entry = self.transactions.by_id.get(transactional_id)?;
        let patience = match entry.transaction.phase {
            Phase::Ongoing => i64::from(entry.transaction.timeout_ms),
            Phase::PrepareCommit | Phase::PrepareAbort => return None,
            _ => self.settings.number("transactional.id.expiration.ms"),
        };
        let patience = Duration::from_millis(u64::try_from(patience).unwrap_or(0));
        Some(entry.since.saturating_add(patience))
    }

    pub(in crate::embedded::state) fn transaction_timer(&mut self, transactional_id: &str, at: Time) {
        let due = self.transaction_due(transactional_id).is_some_and(|due| due <= at);
        let Some(entry) = self.transactions.by_id.get_mut(transactional_id) else { return };
        entry.armed = None;
        if !due {
            self.arm_transaction(transactional_id);
        } else if entry.transaction.phase == Phase::Ongoing {
            self.fence_and_abort(transactional_id, at);
        } else {
            self.transactions.by_id.remove(transactional_id);
        }
    }
}
