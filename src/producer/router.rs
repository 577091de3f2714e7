//! The router: partitions without a sender, and records whose time runs out.

use super::partition::Dropped;
use super::request::expired;
use super::shared::Shared;
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::Receiver;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Starts the thread.
pub(super) fn start(shared: &Arc<Shared>, tokens: Receiver<()>) -> Result<JoinHandle<()>> {
    let shared = shared.clone();
    std::thread::Builder::new()
        .name("kafka-produce-router".into())
        .spawn(move || run(&shared, &tokens))
        .map_err(|error| Error::new(ErrorKind::Thread, format!("starting kafka-produce-router: {error}")))
}

/// One per producer, thread `kafka-produce-router`. Owns the assignment of partitions to senders and the delivery
/// timeout. Metadata refreshes and whoever finds a partition without a leader wake it; it ends with the producer.
fn run(shared: &Arc<Shared>, tokens: &Receiver<()>) {
    let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let refreshed = shared.core().listen();
        while !shared.interrupt.is_triggered() {
            let now = Instant::now();
            let orphans = assign_leaders(shared);
            let next = expire(shared, now);
            if orphans {
                shared.core().refresh_since(shared.core().snapshot().generation);
            }
            crossbeam_channel::select! {
                recv(tokens) -> _ => {}
                recv(refreshed) -> _ => {}
                recv(shared.interrupt.channel()) -> _ => break,
                default(next.saturating_duration_since(Instant::now())) => {}
            }
        }
    }));
    if died.is_err() {
        shared.fail_all(&Error::new(ErrorKind::Thread, "kafka-produce-router panicked"));
    }
}

/// Brings partitions and their leaders up to date; true if one with records has no leader.
fn assign_leaders(shared: &Arc<Shared>) -> bool {
    let snapshot = shared.core().snapshot();
    let mut orphans = false;
    for topic in shared.topics() {
        let topic = shared.grow(&topic, snapshot.partition_count(&topic.name).unwrap_or(0));
        for partition in topic.partitions() {
            let leader = snapshot.leader(&topic.name, partition.index).map(|leader| leader.node_id);
            let moved = partition.set_leader(leader);
            let idle = partition.is_idle();
            orphans |= leader.is_none() && !idle;
            if moved && !idle {
                log::debug!("{}-{} goes to {leader:?}", partition.topic, partition.index);
                shared.schedule(partition, true);
            }
        }
    }
    orphans
}

/// Fails what is older than the delivery timeout; returns when to look again.
fn expire(shared: &Arc<Shared>, now: Instant) -> Instant {
    let timeout = shared.config.delivery_timeout;
    // Nothing that is sent from now on can run out earlier.
    let mut next = now + timeout;
    let Some(limit) = now.checked_sub(timeout) else { return next };
    let mut dropped = Dropped::default();
    for topic in shared.topics() {
        for partition in topic.partitions() {
            let last = partition.last_error();
            let mut any = false;
            let fail = &mut |outcome: &super::delivery::BatchOutcome| {
                any = true;
                outcome.fail(expired(partition, last.as_ref()));
            };
            if let Some(oldest) = partition.expire(Some(limit), fail, &mut dropped) {
                next = next.min(oldest + timeout);
            }
            if any {
                shared.schedule(partition, true);
            }
        }
    }
    shared.free(dropped);
    next.max(now + Duration::from_millis(1))
}
