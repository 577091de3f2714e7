//! How transactions end where nothing goes as usual: repeated requests, nothing to end, fencing, used-up epochs.

use std::thread;
use std::time::{Duration, Instant};

use sarameya::protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use sarameya::protocol::messages::*;

use crate::java::quiet;
use crate::raw::Raw;
use crate::target::{Target, compare};
use crate::transcript::Transcript;

const COMMIT: bool = true;
const ABORT: bool = false;
/// A broker looks for transactions that take too long every 10 seconds.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(60);
/// The last epoch that a producer can have.
const LAST_EPOCH: i16 = i16::MAX - 1;

type Producer = (i64, i16);

/// A transactional id, asked by hand.
struct Ends {
    raw: Raw,
    name: &'static str,
    transcript: Transcript,
    /// Producer ids, in the order of their coming.
    ids: Vec<i64>,
}

impl Ends {
    fn new(target: &Target, name: &'static str) -> Self {
        quiet(target, "topics", &["--create", "--topic", name, "--partitions", "2"], "");
        let raw = Raw::coordinator(target, 1, name);
        Self { raw, name, transcript: Transcript::default(), ids: Vec::new() }
    }

    fn say(&mut self, what: &str, code: i16, producer: Producer) {
        let id = match producer.0 {
            -1 => "-1".to_owned(),
            id => {
                let known = self.ids.iter().position(|known| *known == id);
                let at = known.unwrap_or_else(|| {
                    self.ids.push(id);
                    self.ids.len() - 1
                });
                format!("P{at}")
            }
        };
        self.transcript.line(&format!("{what}: {code}, {id} in epoch {}", producer.1));
    }

    fn init(&mut self, what: &str, from: Producer, transaction_timeout_ms: i32) -> Producer {
        let request = InitProducerIdRequest {
            transactional_id: Some(self.name.into()),
            transaction_timeout_ms,
            producer_id: from.0,
            producer_epoch: from.1,
        };
        let answer = self.raw.ask_ready(5, &request, |answer| answer.error_code);
        let producer = (answer.producer_id, answer.producer_epoch);
        self.say(&format!("init {what}"), answer.error_code, producer);
        producer
    }

    fn end(&mut self, what: &str, version: i16, producer: Producer, committed: bool) -> Producer {
        let request = EndTxnRequest {
            transactional_id: self.name.into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            committed,
        };
        let answer = self.raw.ask_ready(version, &request, |answer| answer.error_code);
        let next = (answer.producer_id, answer.producer_epoch);
        let verb = if committed { "commit" } else { "abort" };
        self.say(&format!("{verb} {what}, version {version}"), answer.error_code, next);
        next
    }

    /// Adds partitions as brokers do it for producers of transactions V2.
    fn add_for_broker(&mut self, what: &str, producer: Producer) {
        let topic = AddPartitionsToTxnTopic { name: self.name.into(), partitions: vec![0, 1] };
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: self.name.into(),
            producer_id: producer.0,
            producer_epoch: producer.1,
            verify_only: false,
            topics: vec![topic],
        };
        let request = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
        let code = |answer: &AddPartitionsToTxnResponse| {
            let topic = answer.results_by_transaction.first().and_then(|one| one.topic_results.first());
            topic.and_then(|topic| topic.results_by_partition.first()).map_or(0, |one| one.partition_error_code)
        };
        let answer = self.raw.ask_ready(5, &request, code);
        self.transcript.line(&format!("add {what}, version 5: {}", code(&answer)));
    }

    fn add(&mut self, what: &str, producer: Producer) {
        let topic = AddPartitionsToTxnTopic { name: self.name.into(), partitions: vec![0, 1] };
        let request = AddPartitionsToTxnRequest {
            v3_and_below_transactional_id: self.name.into(),
            v3_and_below_producer_id: producer.0,
            v3_and_below_producer_epoch: producer.1,
            v3_and_below_topics: vec![topic],
            ..Default::default()
        };
        let code = |answer: &AddPartitionsToTxnResponse| {
            let topic = answer.results_by_topic_v3_and_below.first();
            topic.and_then(|topic| topic.results_by_partition.first()).map_or(0, |one| one.partition_error_code)
        };
        let answer = self.raw.ask_ready(3, &request, code);
        self.transcript.line(&format!("add {what}: {}", code(&answer)));
    }

    fn state(&mut self) -> String {
        let request = DescribeTransactionsRequest { transactional_ids: vec![self.name.into()] };
        self.raw.ask(0, &request).transaction_states.remove(0).transaction_state
    }

    /// Waits until the transaction is in this state.
    fn wait(&mut self, state: &str) {
        let deadline = Instant::now() + TIMEOUT_LIMIT;
        while self.state() != state {
            assert!(Instant::now() < deadline, "{} instead of {state}", self.state());
            thread::sleep(Duration::from_millis(50));
        }
        self.transcript.line(state);
    }
}

#[test]
fn transactions_end_alike_whatever_is_repeated_or_missing() {
    require_kafka!();
    compare("ends", |target| {
        let mut ends = Ends::new(target, "ends");
        let first = ends.init("a new producer", (-1, -1), 60_000);
        ends.end("nothing", 5, first, COMMIT);
        let second = ends.end("nothing", 5, first, ABORT);
        ends.end("once more", 5, first, ABORT);
        ends.end("the other way", 5, first, COMMIT);
        ends.end("nothing", 5, second, COMMIT);
        let third = ends.end("nothing", 5, second, ABORT);
        ends.add("after that", third);
        let fourth = ends.end("it", 5, third, COMMIT);
        ends.wait("CompleteCommit");
        ends.end("once more", 5, third, COMMIT);
        ends.end("the other way", 5, third, ABORT);
        ends.end("in an older epoch", 5, second, COMMIT);
        ends.end("in an epoch to come", 5, (fourth.0, fourth.1 + 1), ABORT);
        ends.end("with another id", 5, (fourth.0 + 1_000_000, fourth.1), ABORT);
        let fifth = ends.end("nothing", 5, fourth, ABORT);
        ends.wait("CompleteAbort");
        ends.add("in version 4", fifth);
        ends.end("it", 4, fifth, COMMIT);
        ends.wait("CompleteCommit");
        ends.end("once more", 4, fifth, COMMIT);
        ends.end("the other way", 4, fifth, ABORT);
        ends.end("in an older epoch", 4, fourth, ABORT);
        ends.end("in an older epoch", 1, fourth, ABORT);
        let sixth = ends.init("the next epoch", fifth, 60_000);
        ends.init("the next epoch once more", fifth, 60_000);
        ends.init("an older epoch", fourth, 60_000);
        ends.end("nothing", 4, sixth, ABORT);
        ends.end("nothing", 4, sixth, COMMIT);
        ends.transcript
    });
}

#[test]
fn producers_are_fenced_alike() {
    require_kafka!();
    compare("ends-fenced", |target| {
        let mut ends = Ends::new(target, "ends-fenced");
        for version in [4, 5] {
            let first = ends.init("a producer", (-1, -1), 60_000);
            match version {
                4 => ends.add("its transaction", first),
                _ => ends.add_for_broker("its transaction", first),
            }
            // The first attempt aborts the transaction of the one before.
            let second = ends.init("another producer", (-1, -1), 60_000);
            ends.wait("Empty");
            ends.add("by the fenced one", first);
            ends.end("by the fenced one", version, first, ABORT);
            ends.init("the fenced one goes on", first, 60_000);
            ends.add("by the other", second);
            ends.end("by the other", version, second, COMMIT);
            ends.wait("CompleteCommit");
        }
        ends.transcript
    });
}

#[test]
fn transactions_that_take_too_long_end_alike() {
    require_kafka!();
    compare("ends-late", |target| {
        let mut ends = Ends::new(target, "ends-late");
        for version in [4, 5] {
            let late = ends.init("a producer", (-1, -1), 1_000);
            match version {
                4 => ends.add("its transaction", late),
                _ => ends.add_for_broker("its transaction", late),
            }
            ends.wait("CompleteAbort");
            ends.add("by the late one", late);
            ends.end("by the late one", version, late, ABORT);
            ends.end("by the late one", version, late, COMMIT);
            ends.init("the late one goes on", late, 60_000);
        }
        ends.transcript
    });
}

#[test]
fn used_up_epochs_lead_to_a_new_id_alike() {
    require_kafka!();
    compare("ends-epochs", |target| {
        let mut ends = Ends::new(target, "ends-epochs");
        let mut last = ends.init("a producer", (-1, -1), 60_000);
        // All at once: the broker takes them one by one.
        const AT_ONCE: i16 = 30;
        while last.1 < LAST_EPOCH {
            let count = AT_ONCE.min(LAST_EPOCH - last.1);
            let request = |epoch| InitProducerIdRequest {
                transactional_id: Some(ends.name.into()),
                transaction_timeout_ms: 60_000,
                producer_id: last.0,
                producer_epoch: epoch,
            };
            let requests: Vec<_> = (0..count).map(|at| request(last.1 + at)).collect();
            requests.iter().for_each(|request| ends.raw.send(5, request));
            for _ in 0..count {
                let answer = ends.raw.receive::<InitProducerIdRequest>(5);
                assert_eq!((answer.error_code, answer.producer_epoch), (0, last.1 + 1));
                last.1 += 1;
            }
        }
        ends.add("in the last epoch", last);
        let new = ends.end("in the last epoch", 5, last, COMMIT);
        ends.wait("CompleteCommit");
        ends.end("in the last epoch once more", 5, last, COMMIT);
        ends.end("in the last epoch the other way", 5, last, ABORT);
        ends.end("in an epoch before", 5, (last.0, last.1 - 1), COMMIT);
        ends.add("with the used-up id", last);
        ends.add("with the new id", new);
        ends.end("with the new id", 5, new, ABORT);
        ends.init("the used-up id", last, 60_000);
        ends.transcript
    });
}
