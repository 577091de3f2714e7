//! Transactions: the coordinator's part (`coordinator`), what producers ask of it (`requests`), markers in the logs
//! (`markers`), and what administrators see (`describe`). `transaction` is the state machine of one transactional id.
//!
//! Markers are written when the transaction is decided, so it is complete when the answer comes, except while a
//! partition of it has no leader.

mod coordinator;
mod describe;
mod markers;
mod requests;
#[cfg(test)]
mod tests;
mod transaction;

use super::Time;
use std::collections::{BTreeMap, BTreeSet};
use transaction::Transaction;

/// A transactional id, with what time does to it.
#[derive(Debug)]
struct Entry {
    transaction: Transaction,
    /// When its transaction began, or its state last changed.
    since: Time,
    /// For when its timer is set: there is one for each id.
    armed: Option<Time>,
}

/// All transactional ids. Brokers share what is known of them, so a coordinator that takes over knows it all.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    by_id: BTreeMap<String, Entry>,
    /// Those that lack markers, since a partition has no leader.
    unfinished: BTreeSet<String>,
}
