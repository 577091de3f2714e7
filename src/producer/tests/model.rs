//! A partition's queue against a model of a broker that enforces sequence numbers as Kafka does, in thousands of random
//! orders of events: nothing acknowledged is lost, nothing is there twice, the order is kept, every send is resolved.

use super::super::budget::Budget;
use super::super::delivery::{BatchOutcome, Delivery, Outcome, SendError};
use super::super::partition::{Appended, Batch, Doubt, Drained, Dropped, Fate, Limits, PartitionQueue, Unsealed};
use super::super::producer_id::ProducerIds;
use super::super::request::{Verdict, judge};
use super::super::sequence::{NO_PRODUCER_ID, ProducerId};
use crate::backoff::Backoff;
use crate::batch::{Compression, Compressor, Decompressor, RecordBatch, RecordBatches, SealedBatch};
use crate::protocol::messages::produce::PartitionProduceResponse;
use crate::{Error, ErrorCode, ErrorKind, ProducerRecord};
use bytes::Bytes;
use fastrand::Rng;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A broker takes batches of fewer records than this.
const TOO_MANY: usize = 6;
/// A broker refuses batches with a record whose value is a multiple of this.
const INVALID: u64 = 41;
const BUDGET: usize = 1 << 20;

/// The log of the partition and what its leader knows of the producer; both are there for every leader.
#[derive(Debug, Default)]
struct Log {
    values: Vec<u64>,
    epoch: Option<ProducerId>,
    /// First and last sequence and base offset of the last five batches.
    last: VecDeque<(i32, i32, i64)>,
}

impl Log {
    fn append(&mut self, bytes: &Bytes) -> Answer {
        let batch = only(bytes);
        batch.verify_crc().unwrap();
        let values = values(bytes);
        if values.len() >= TOO_MANY {
            return (ErrorCode::MESSAGE_TOO_LARGE, -1);
        }
        if values.iter().any(|value| value % INVALID == 0) {
            return (ErrorCode::INVALID_RECORD, -1);
        }
        let producer = ProducerId { id: batch.producer_id(), epoch: batch.producer_epoch() };
        let (first, count) = (batch.base_sequence(), values.len() as i32);
        if producer != NO_PRODUCER_ID {
            match self.epoch {
                // Nothing is known of it: whatever comes first is taken (KAFKA-15591).
                None => {}
                Some(known) if known.id == producer.id && producer.epoch < known.epoch => {
                    return (ErrorCode::INVALID_PRODUCER_EPOCH, -1);
                }
                Some(known) if known != producer && first != 0 => return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
                Some(known) if known != producer => {}
                Some(_) => {
                    if let Some(known) = self.last.iter().find(|known| (known.0, known.1) == (first, first + count - 1))
                    {
                        return (ErrorCode::NONE, known.2);
                    }
                    if self.last.back().is_some_and(|last| first != last.1 + 1) {
                        return (ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
                    }
                }
            }
            if self.epoch != Some(producer) {
                self.last.clear();
            }
            self.epoch = Some(producer);
            self.last.push_back((first, first + count - 1, self.values.len() as i64));
            if self.last.len() > 5 {
                self.last.pop_front();
            }
        }
        let base = self.values.len() as i64;
        self.values.extend(values);
        (ErrorCode::NONE, base)
    }
}

fn only(bytes: &Bytes) -> RecordBatch {
    RecordBatches::new(bytes.clone()).next().unwrap().unwrap()
}

fn values(bytes: &Bytes) -> Vec<u64> {
    let batch = only(bytes);
    let decoded = batch.decode(&mut Decompressor::new(), 1 << 20).unwrap();
    let value = |value: Option<&[u8]>| u64::from_be_bytes(value.unwrap()[..8].try_into().unwrap());
    decoded.records().map(|record| value(record.unwrap().value())).collect()
}

/// An error code and a base offset.
type Answer = (ErrorCode, i64);

/// What is asked of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Idempotent,
    /// Without idempotence and one batch on its way at a time: order, but duplicates of a batch after itself.
    Ordered,
    /// Without idempotence and several on their way: what was sent again may come later.
    Unordered,
}

struct Run {
    rng: Rng,
    mode: Mode,
    queue: Arc<PartitionQueue>,
    budget: Budget,
    ids: ProducerIds,
    now: Instant,
    log: Log,
    /// Which node leads; the client may not know yet.
    leader: i32,
    /// What is on the connection to each node, oldest first, with its answer once it has been handled.
    pipes: [VecDeque<(Batch, Option<Answer>)>; 2],
    /// A request that a broker had begun to handle when its connection died.
    late: Option<(i32, Bytes)>,
    sealing: Vec<Unsealed>,
    sent: Vec<(u64, Delivery)>,
    next: u64,
}

impl Run {
    fn new(seed: u64, mode: Mode) -> Self {
        let limits = Limits {
            batch_size: 61 + 8 * 20,
            linger: Duration::from_millis(5),
            max_in_flight: if mode == Mode::Ordered { 1 } else { 5 },
            idempotent: mode == Mode::Idempotent,
            compressed: false,
            retry_backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(1)),
        };
        let queue = Arc::new(PartitionQueue::new(Arc::from("t"), 0, limits));
        queue.set_leader(Some(0));
        Self {
            rng: Rng::with_seed(seed),
            mode,
            queue,
            budget: Budget::new(BUDGET),
            ids: ProducerIds::of(ProducerId { id: 7, epoch: 0 }),
            now: Instant::now(),
            log: Log::default(),
            leader: 0,
            pipes: Default::default(),
            late: None,
            sealing: Vec::new(),
            sent: Vec::new(),
            next: 1,
        }
    }

    fn step(&mut self) {
        // Far enough for linger and every backoff; created times are the real clock's.
        self.now += Duration::from_secs(10);
        let node = self.rng.usize(..2);
        match self.rng.u32(..100) {
            0..35 => self.append(),
            35..45 => self.seal_one(),
            45..63 => self.drain(node as i32),
            63..78 => self.handle(node),
            78..90 => self.answered(node),
            90..92 => self.lose(node),
            92..94 => self.arrive_late(),
            94..96 => self.leader = node as i32,
            96..98 => _ = self.queue.set_leader(Some(self.leader).filter(|_| self.rng.u32(..5) > 0)),
            98 => self.expire_some(),
            _ => drop(self.queue.hurry()),
        }
    }

    fn append(&mut self) {
        let value = self.next;
        self.next += 1;
        let record = ProducerRecord { value: Some(&value.to_be_bytes()), ..ProducerRecord::new("t").timestamp(1) };
        if let Some(delivery) =
            self.queue.append_in_place(&record, |batch, index| Delivery { batch: batch.clone(), index })
        {
            return self.sent.push((value, delivery));
        }
        match self.queue.append(&record, &self.budget, &mut None, true) {
            Appended::Done(delivery) => self.sent.push((value, delivery)),
            Appended::Opened(opened) => {
                self.sent.push((value, opened.delivery));
                self.sealing.extend(opened.full);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Callers that seal may end in any order.
    fn seal_one(&mut self) {
        if self.sealing.is_empty() {
            return;
        }
        let unsealed = self.sealing.swap_remove(self.rng.usize(..self.sealing.len()));
        let (slot, outcome) = (unsealed.slot(), unsealed.outcome.clone());
        if let Some(expired) = self.queue.sealed(slot, seal(unsealed), outcome) {
            self.recycle(expired);
        }
    }

    fn drain(&mut self, node: i32) {
        let mut batch = match self.queue.drain(node, self.now, self.rng.bool(), &self.ids) {
            Drained::Sealed(batch) => batch,
            Drained::Unsealed(unsealed, place) => {
                let outcome = unsealed.outcome.clone();
                Batch::drained(seal(unsealed), outcome, place)
            }
            Drained::Nothing(_) => return,
        };
        assert!(!batch.outcome.is_resolved(), "a batch that was given up is sent");
        let (producer, sequence) = batch.stamp().map_or((NO_PRODUCER_ID, -1), |s| (s.producer, s.base_sequence));
        batch.sealed.stamp(producer.id, producer.epoch, sequence, false);
        self.pipes[node as usize].push_back((batch, None));
    }

    /// The broker handles the oldest request of a connection, well or not.
    fn handle(&mut self, node: usize) {
        let Some(at) = self.pipes[node].iter().position(|(_, answer)| answer.is_none()) else { return };
        let bytes = self.pipes[node][at].0.sealed.bytes().clone();
        let answer = match self.rng.u32(..20) {
            _ if self.leader != node as i32 => (ErrorCode::NOT_LEADER_OR_FOLLOWER, -1),
            0 => (ErrorCode::NOT_ENOUGH_REPLICAS, -1),
            1 | 2 => match self.log.append(&bytes) {
                (ErrorCode::NONE, _) => (ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND, -1),
                refused => refused,
            },
            _ => self.log.append(&bytes),
        };
        self.pipes[node][at].1 = Some(answer);
    }

    fn answered(&mut self, node: usize) {
        let Some((batch, Some((code, base_offset)))) = self.pipes[node].pop_front_if(|(_, answer)| answer.is_some())
        else {
            return;
        };
        let answer = PartitionProduceResponse { error_code: code.0, base_offset, ..Default::default() };
        let earlier = !code.is_none() && self.queue.has_earlier(&batch);
        match judge(Some(answer), &batch, earlier) {
            Verdict::Done(outcome) => {
                let fate = match &outcome {
                    Outcome::Written { .. } => Fate::Written,
                    Outcome::Failed(SendError::PossiblyPersisted(_)) => Fate::Unknown,
                    _ => Fate::NotWritten,
                };
                self.queue.finished(&batch, fate);
                batch.outcome.resolve(outcome);
                self.recycle(batch.sealed);
            }
            Verdict::Retry { doubt, error, .. } => self.retry(batch, error, doubt, false),
            Verdict::NewSequence { new_id, error } => {
                assert!(!new_id, "{error}: nobody else uses this id");
                self.retry(batch, error, Doubt::Settled, true);
            }
            Verdict::Split(_) => self.split(batch),
        }
    }

    fn retry(&mut self, batch: Batch, error: Error, doubt: Doubt, new_sequence: bool) {
        if let Some(expired) = self.queue.retry(batch, error, self.now, doubt, new_sequence) {
            self.recycle(expired);
        }
    }

    fn split(&mut self, batch: Batch) {
        let parts = batch.sealed.split(&mut Compressor::default(), &mut Decompressor::new()).unwrap();
        let (mut outcomes, mut batches) = (Vec::new(), Vec::new());
        for (records, sealed) in parts {
            self.budget.adjust(0, sealed.capacity());
            let outcome = Arc::new(BatchOutcome::new(0, batch.outcome.created));
            outcomes.push((records.start, outcome.clone()));
            batches.push(batch.part(sealed, outcome));
        }
        self.queue.split(&batch, batches);
        batch.outcome.resolve(Outcome::Split(outcomes));
        self.recycle(batch.sealed);
    }

    /// A connection ends. What was on it may have been handled, or is, later, but only the one that was being handled.
    fn lose(&mut self, node: usize) {
        for _ in 0..self.rng.usize(..3) {
            self.handle(node);
        }
        let lost = std::mem::take(&mut self.pipes[node]);
        if self.late.is_none() && self.rng.bool() {
            let unhandled = lost.iter().find(|(_, answer)| answer.is_none());
            self.late = unhandled.map(|(batch, _)| (node as i32, batch.sealed.bytes().clone()));
        }
        for (batch, _) in lost {
            self.retry(batch, Error::new(ErrorKind::Network, "lost"), Doubt::Raised, false);
        }
    }

    fn arrive_late(&mut self) {
        // Without sequence numbers nothing protects from this one.
        if let Some((node, bytes)) = self.late.take().filter(|_| self.mode == Mode::Idempotent)
            && self.leader == node
        {
            self.log.append(&bytes);
        }
    }

    fn expire_some(&mut self) {
        let unresolved: Vec<_> = self.queue.hurry();
        if unresolved.is_empty() {
            return;
        }
        let limit = unresolved[self.rng.usize(..unresolved.len().min(3))].created;
        let mut dropped = Dropped::default();
        let late = || Error::new(ErrorKind::Timeout, "too late");
        self.queue.expire(Some(limit), &mut |outcome| assert!(outcome.fail(late())), &mut dropped);
        for builder in dropped.builders {
            self.budget.give_buffer(builder.into_buffer());
        }
        for sealed in dropped.sealed {
            self.recycle(sealed);
        }
    }

    fn recycle(&self, sealed: SealedBatch) {
        self.budget.give(sealed.capacity());
    }

    /// The network heals: everything must end within a number of steps.
    fn settle(&mut self) {
        self.queue.set_leader(Some(self.leader));
        for _ in 0..10_000 {
            if self.sealing.is_empty() && self.queue.is_idle() && self.pipes.iter().all(VecDeque::is_empty) {
                return;
            }
            self.now += Duration::from_secs(10);
            self.seal_one();
            self.drain(self.leader);
            for node in 0..2 {
                self.handle(node);
                self.answered(node);
            }
        }
        panic!("it never ends: {:?}", self.queue);
    }

    fn check(&self) {
        let log = &self.log.values;
        let mut written: Vec<u64> = log.clone();
        if self.mode == Mode::Unordered {
            written.sort_unstable();
        }
        if self.mode != Mode::Idempotent {
            // Duplicates are allowed, of a batch after itself.
            let mut seen = std::collections::HashSet::new();
            written.retain(|value| seen.insert(*value));
        }
        assert!(written.is_sorted_by(|a, b| a < b), "in order and once: {log:?}");
        for (value, delivery) in &self.sent {
            match delivery.poll().unwrap_or_else(|| panic!("{value} is unresolved")) {
                Ok(ack) => assert_eq!(log.get(ack.offset().unwrap() as usize), Some(value), "what was acknowledged"),
                Err(SendError::NotPersisted(error)) => assert!(!log.contains(value), "{value}: {error}"),
                Err(SendError::PossiblyPersisted(_)) => {}
            }
        }
        assert_eq!(self.budget.used(), 0, "memory that never came back");
    }
}

fn seal(unsealed: Unsealed) -> SealedBatch {
    unsealed.builder.seal(Compression::None, &mut Compressor::default()).unwrap()
}

fn run(seed: u64, mode: Mode) -> [usize; 3] {
    let mut run = Run::new(seed, mode);
    for _ in 0..300 {
        run.step();
    }
    run.settle();
    run.check();
    let mut outcomes = [0; 3];
    for (_, delivery) in &run.sent {
        outcomes[match delivery.poll() {
            Some(Ok(_)) => 0,
            Some(Err(SendError::NotPersisted(_))) => 1,
            _ => 2,
        }] += 1;
    }
    outcomes
}

fn many(mode: Mode) {
    let first = std::env::var("SARAMEYA_SEED").ok().and_then(|seed| seed.parse().ok());
    let (first, count) = first.map_or((0, 800), |seed| (seed, 1));
    let mut total = [0; 3];
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| run(seed, mode));
        let outcomes = outcome.unwrap_or_else(|_| panic!("SARAMEYA_SEED={seed} repeats it"));
        total.iter_mut().zip(outcomes).for_each(|(sum, n)| *sum += n);
    }
    println!("written, refused, unknown: {total:?}");
    assert!(count == 1 || total.iter().all(|n| *n > 500), "every kind of outcome was there: {total:?}");
}

#[test]
fn i1_to_i6_idempotent_batches_in_any_order_of_events() {
    many(Mode::Idempotent);
}

#[test]
fn i1_to_i6_without_idempotence_the_order_holds_as_well() {
    many(Mode::Ordered);
}

#[test]
fn i1_to_i6_without_idempotence_and_with_several_on_their_way_all_but_the_order_holds() {
    many(Mode::Unordered);
}
