//! Transactions as producers, readers and administrators see them.

use super::super::release;
use super::super::test_records::{Batch, fetch, fetch_request, idempotent, offsets, produce_request};
use super::super::test_support::Harness;
use super::super::topics::TRANSACTIONS_TOPIC;
use crate::ErrorCode;
use crate::protocol::messages::add_partitions_to_txn::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use crate::protocol::messages::describe_producers::TopicRequest;
use crate::protocol::messages::describe_transactions::TransactionState;
use crate::protocol::messages::txn_offset_commit::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use crate::protocol::messages::write_txn_markers::{WritableTxnMarker, WritableTxnMarkerTopic};
use crate::protocol::messages::*;
use std::collections::BTreeMap;
use std::time::Duration;

const COMMIT: bool = true;
const ABORT: bool = false;
/// The producer's timeout in all tests.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A broker with the topic `t` of two partitions, and a coordinator.
fn harness() -> Harness {
    let mut harness = Harness::new(1);
    harness.state.create_topic("t", 2, 1, BTreeMap::new()).unwrap();
    for key_type in [0, 1] {
        let keys = vec!["x".into()];
        harness.call(1, 4, FindCoordinatorRequest { key_type, coordinator_keys: keys, ..Default::default() });
    }
    harness
}

/// Begins a producer, in this version of InitProducerId: the error or its id and epoch.
fn init_in(harness: &mut Harness, version: i16, expected: (i64, i16)) -> Result<(i64, i16), i16> {
    let request = InitProducerIdRequest {
        transactional_id: Some("x".into()),
        transaction_timeout_ms: TIMEOUT.as_millis() as i32,
        producer_id: expected.0,
        producer_epoch: expected.1,
    };
    let response = harness.call(1, version, request);
    if response.error_code == 0 {
        Ok((response.producer_id, response.producer_epoch))
    } else {
        Err(response.error_code)
    }
}

fn init(harness: &mut Harness) -> Result<(i64, i16), i16> {
    init_in(harness, 5, (-1, -1))
}

fn add(harness: &mut Harness, version: i16, producer: (i64, i16), partitions: &[i32]) -> Vec<i16> {
    let topic = AddPartitionsToTxnTopic { name: "t".into(), partitions: partitions.to_vec() };
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: "x".into(),
        v3_and_below_producer_id: producer.0,
        v3_and_below_producer_epoch: producer.1,
        v3_and_below_topics: vec![topic],
        ..Default::default()
    };
    let results = harness.call(1, version, request).results_by_topic_v3_and_below.remove(0).results_by_partition;
    results.iter().map(|result| result.partition_error_code).collect()
}

/// Ends a transaction: the error or the producer's id and epoch of then.
fn end(harness: &mut Harness, version: i16, producer: (i64, i16), committed: bool) -> Result<(i64, i16), i16> {
    let request =
        EndTxnRequest { transactional_id: "x".into(), producer_id: producer.0, producer_epoch: producer.1, committed };
    let response = harness.call(1, version, request);
    if response.error_code == 0 {
        Ok((response.producer_id, response.producer_epoch))
    } else {
        Err(response.error_code)
    }
}

/// Writes a batch of one record to partition 0, in this version of Produce.
fn write(harness: &mut Harness, version: i16, producer: (i64, i16), sequence: i32) -> i16 {
    let batch = Batch { transactional: true, ..idempotent(1, producer.0, producer.1, sequence) };
    let request = ProduceRequest { transactional_id: Some("x".into()), ..produce_request(-1, Some(batch.bytes())) };
    harness.call(1, version, request).responses.remove(0).partition_responses.remove(0).error_code
}

/// What a reader of committed records gets from partition 0: offsets with markers, and aborted producers.
fn committed(harness: &mut Harness) -> (Vec<i64>, Vec<i64>) {
    let request = FetchRequest { isolation_level: 1, ..fetch_request(0) };
    let data = fetch(harness, request);
    let aborted = data.aborted_transactions.clone().unwrap_or_default();
    (offsets(&data), aborted.iter().map(|aborted| aborted.producer_id).collect())
}

fn describe(harness: &mut Harness) -> TransactionState {
    let request = DescribeTransactionsRequest { transactional_ids: vec!["x".into()] };
    harness.call(1, 0, request).transaction_states.remove(0)
}

fn state(harness: &mut Harness) -> String {
    describe(harness).transaction_state
}

#[test]
fn t1_what_is_committed_can_be_read_with_the_commit_and_not_before() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(state(&mut harness), "Empty");
    assert_eq!(write(&mut harness, 11, producer, 0), 120, "the partition has not been added");
    assert_eq!(write(&mut harness, 9, producer, 0), 48, "as older clients are told it");
    assert_eq!(add(&mut harness, 3, producer, &[0, 1]), [0, 0]);
    assert_eq!(write(&mut harness, 11, producer, 0), 0);
    assert_eq!(state(&mut harness), "Ongoing");
    assert_eq!(committed(&mut harness), (vec![], vec![]));
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Ok((-1, -1)));
    assert_eq!(committed(&mut harness), (vec![0, 1], vec![]), "the record and the marker");
    assert_eq!(state(&mut harness), "CompleteCommit");
    assert_eq!(harness.state.log("t", 1).unwrap().end_offset(), 1, "partition 1 has its marker too");
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Ok((-1, -1)), "the answer may have been lost");
    assert_eq!(end(&mut harness, 4, producer, ABORT), Err(48));
}

#[test]
fn t2_what_is_aborted_is_named_to_readers() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    write(&mut harness, 11, producer, 0);
    assert_eq!(end(&mut harness, 4, producer, ABORT), Ok((-1, -1)));
    assert_eq!(committed(&mut harness), (vec![0, 1], vec![producer.0]));
    assert_eq!(state(&mut harness), "CompleteAbort");
}

#[test]
fn t3_a_second_producer_fences_the_first_and_aborts_its_transaction() {
    let mut harness = harness();
    let first = init(&mut harness).unwrap();
    add(&mut harness, 3, first, &[0]);
    write(&mut harness, 11, first, 0);
    assert_eq!(init(&mut harness), Err(51), "the transaction is aborted first");
    assert_eq!(committed(&mut harness).1, [first.0]);
    let second = init(&mut harness).unwrap();
    assert_eq!(second, (first.0, first.1 + 2));
    assert_eq!(add(&mut harness, 3, first, &[0]), [90]);
    assert_eq!(add(&mut harness, 1, first, &[0]), [47], "older clients know no PRODUCER_FENCED");
    assert_eq!(end(&mut harness, 4, first, COMMIT), Err(90));
    assert_eq!(end(&mut harness, 1, first, COMMIT), Err(47));
    assert_eq!(write(&mut harness, 11, first, 1), 47);
    assert_eq!(add(&mut harness, 3, (first.0 + 7, 0), &[0]), [49], "an id that is not the present one");
    assert_eq!(add(&mut harness, 3, second, &[0]), [0]);
}

#[test]
fn t4_transactions_v2_add_partitions_by_themselves_and_raise_the_epoch_with_each_end() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(write(&mut harness, 12, producer, 0), 0);
    assert_eq!(describe(&mut harness).topics[0].partitions, [0]);
    let next = end(&mut harness, 5, producer, COMMIT).unwrap();
    assert_eq!(next, (producer.0, producer.1 + 1));
    assert_eq!(end(&mut harness, 5, producer, COMMIT), Ok(next), "once more, as the answer was lost");
    assert_eq!(end(&mut harness, 5, producer, ABORT), Err(48));
    assert_eq!(write(&mut harness, 12, producer, 1), 47, "a late batch of the transaction that has ended");
    assert_eq!(write(&mut harness, 12, next, 0), 0);
    let last = end(&mut harness, 5, next, ABORT).unwrap();
    assert_eq!(last, (producer.0, producer.1 + 2));
    assert_eq!(committed(&mut harness), (vec![0, 1, 2, 3], vec![producer.0]));
    let after = end(&mut harness, 5, last, ABORT).unwrap();
    assert_eq!(after.1, last.1 + 1, "nothing to abort, but the epoch rises");
    assert_eq!(end(&mut harness, 5, after, COMMIT), Err(48));
}

#[test]
fn t5_a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut harness = harness();
    // Before transactions V2.
    harness.state.set_release(1, release("3.9").unwrap());
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    write(&mut harness, 11, producer, 0);
    harness.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(state(&mut harness), "Ongoing");
    harness.pass(Duration::from_millis(1));
    assert_eq!(state(&mut harness), "CompleteAbort");
    assert_eq!(committed(&mut harness).1, [producer.0]);
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Err(90));
    assert_eq!(init_in(&mut harness, 5, producer), Err(90), "a fenced producer can't go on by itself");
}

#[test]
fn t5_the_timeout_counts_from_the_first_partition() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    harness.pass(TIMEOUT - Duration::from_secs(1));
    add(&mut harness, 3, producer, &[0]);
    harness.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(state(&mut harness), "Ongoing");
    harness.pass(Duration::from_millis(1));
    assert_eq!(state(&mut harness), "CompleteAbort");
}

#[test]
fn t5_in_transactions_v2_a_producer_that_was_late_may_go_on_in_the_next_epoch() {
    let mut harness = harness();
    let (id, epoch) = init(&mut harness).unwrap();
    write(&mut harness, 12, (id, epoch), 0);
    harness.pass(TIMEOUT);
    assert_eq!((state(&mut harness), committed(&mut harness).1), ("CompleteAbort".to_owned(), vec![id]));
    assert_eq!(write(&mut harness, 12, (id, epoch), 1), 47);
    assert_eq!(end(&mut harness, 5, (id, epoch), COMMIT), Err(48));
    assert_eq!(end(&mut harness, 5, (id, epoch), ABORT), Ok((id, epoch + 1)), "which is what has happened");
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Ok((id, epoch + 1)));
    assert_eq!(init(&mut harness), Ok((id, epoch + 2)));
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Err(90), "somebody else has come since");
}

#[test]
fn a_producer_that_is_fenced_in_its_last_epoch_leaves_a_new_id() {
    let mut harness = harness();
    let last = with_epoch(&mut harness, i16::MAX - 1);
    assert_eq!(write(&mut harness, 12, last, 0), 0);
    assert_eq!(init(&mut harness), Err(51));
    let (new, epoch) = init(&mut harness).unwrap();
    assert!(new != last.0 && epoch == 1);
    assert_eq!(end(&mut harness, 5, last, COMMIT), Err(49));
}

#[test]
fn a_timer_of_an_ended_transaction_does_not_touch_the_next_one() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    harness.pass(TIMEOUT - Duration::from_millis(1));
    end(&mut harness, 4, producer, COMMIT).unwrap();
    add(&mut harness, 3, producer, &[0]);
    harness.pass(TIMEOUT - Duration::from_millis(1));
    assert_eq!(state(&mut harness), "Ongoing");
}

#[test]
fn a_producer_goes_on_in_the_next_epoch_and_may_ask_for_it_twice() {
    let mut harness = harness();
    let (id, epoch) = init(&mut harness).unwrap();
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Ok((id, epoch + 1)));
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Ok((id, epoch + 1)), "the first answer was lost");
    assert_eq!(init_in(&mut harness, 5, (id, epoch + 1)), Ok((id, epoch + 2)));
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Err(90));
    assert_eq!(init_in(&mut harness, 3, (id, epoch)), Err(47), "older clients know no PRODUCER_FENCED");
    assert_eq!(init_in(&mut harness, 5, (id + 9, epoch)), Err(90));
    assert_eq!(init_in(&mut harness, 5, (id, -1)), Err(42));
}

/// Puts the producer's epoch where few are left.
fn with_epoch(harness: &mut Harness, epoch: i16) -> (i64, i16) {
    let (id, _) = init(harness).unwrap();
    let entry = harness.state.transactions.by_id.get_mut("x").unwrap();
    entry.transaction.producer.epoch = epoch;
    (id, epoch)
}

#[test]
fn when_the_epochs_are_used_up_there_is_a_new_producer_id() {
    let mut harness = harness();
    let (id, epoch) = with_epoch(&mut harness, i16::MAX - 1);
    let (new, first) = init_in(&mut harness, 5, (id, epoch)).unwrap();
    assert!(new != id && first == 0);
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Ok((new, 0)), "the first answer was lost");
    assert_eq!(init_in(&mut harness, 5, (id, epoch)), Err(90), "the old id is known for one change only");
    assert_eq!(add(&mut harness, 3, (id, epoch), &[0]), [49]);
}

#[test]
fn in_transactions_v2_the_new_id_comes_with_the_end_of_the_last_transaction() {
    let mut harness = harness();
    let last = with_epoch(&mut harness, i16::MAX - 1);
    assert_eq!(write(&mut harness, 12, last, 0), 0);
    let (new, epoch) = end(&mut harness, 5, last, COMMIT).unwrap();
    assert!(new != last.0 && epoch == 0);
    assert_eq!(end(&mut harness, 5, last, COMMIT), Ok((new, 0)), "the first answer was lost");
    assert_eq!(end(&mut harness, 5, last, ABORT), Err(48));
    assert_eq!(end(&mut harness, 5, (last.0, last.1 - 1), COMMIT), Err(49));
    assert_eq!(committed(&mut harness), (vec![0, 1], vec![]));
    assert_eq!(write(&mut harness, 12, (new, 0), 0), 0);
    assert_eq!(end(&mut harness, 5, last, COMMIT), Err(49), "the new id is in use");
}

#[test]
fn a_timeout_longer_than_the_brokers_allow_is_refused_and_so_is_none() {
    let mut harness = harness();
    for (transaction_timeout_ms, code) in [(900_000, 0), (900_001, 50), (0, 50)] {
        let request = InitProducerIdRequest {
            transactional_id: Some("x".into()),
            transaction_timeout_ms,
            producer_id: -1,
            producer_epoch: -1,
        };
        assert_eq!(harness.call(1, 5, request).error_code, code);
    }
}

#[test]
fn partitions_are_added_to_those_there_are() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(add(&mut harness, 3, producer, &[0]), [0]);
    let begun = describe(&mut harness).transaction_start_time_ms;
    harness.pass(Duration::from_secs(1));
    assert_eq!(add(&mut harness, 3, producer, &[1]), [0]);
    let described = describe(&mut harness);
    assert_eq!((described.topics[0].partitions.as_slice(), described.transaction_start_time_ms), (&[0, 1][..], begun));
}

#[test]
fn nobody_goes_on_under_an_id_that_another_has() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(init_in(&mut harness, 5, (producer.0 + 7, producer.1)), Err(90));
    assert_eq!(init_in(&mut harness, 5, producer), Ok((producer.0, producer.1 + 1)));
}

#[test]
fn in_transactions_v2_who_does_not_know_whether_it_has_begun_aborts() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(end(&mut harness, 5, producer, COMMIT), Err(48));
    assert_eq!(end(&mut harness, 5, producer, ABORT), Ok((producer.0, producer.1 + 1)));
    assert_eq!(state(&mut harness), "CompleteAbort");
}

#[test]
fn all_partitions_are_added_or_none() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(add(&mut harness, 3, producer, &[0, 7]), [55, 3]);
    assert_eq!(state(&mut harness), "Empty");
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Err(48), "there is no transaction");
}

#[test]
fn a_partition_that_is_to_fail_is_not_added_and_neither_are_the_others() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    let (api, code) = (ApiKey::ADD_PARTITIONS_TO_TXN, ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    harness.state.fail_partition("t", 1, Some(api), code);
    assert_eq!(add(&mut harness, 3, producer, &[0, 1]), [55, code.0]);
    assert_eq!(state(&mut harness), "Empty");
    assert_eq!(add(&mut harness, 3, producer, &[0]), [0]);
    harness.state.fail_partition("t", 1, Some(api), ErrorCode::NONE);
    assert_eq!(add(&mut harness, 3, producer, &[1]), [0]);
}

#[test]
fn brokers_ask_whether_a_partition_is_in_a_transaction() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    let topic = AddPartitionsToTxnTopic { name: "t".into(), partitions: vec![0, 1] };
    let transaction = AddPartitionsToTxnTransaction {
        transactional_id: "x".into(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        verify_only: true,
        topics: vec![topic],
    };
    let request = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
    let result = harness.call(1, 5, request).results_by_transaction.remove(0).topic_results.remove(0);
    let codes: Vec<i16> = result.results_by_partition.iter().map(|result| result.partition_error_code).collect();
    assert_eq!(codes, [0, 120]);
}

fn commit_offset(harness: &mut Harness, version: i16, producer: (i64, i16), committed_offset: i64) -> i16 {
    let partition = TxnOffsetCommitRequestPartition { partition_index: 0, committed_offset, ..Default::default() };
    let topic = TxnOffsetCommitRequestTopic { name: "t".into(), partitions: vec![partition] };
    let request = TxnOffsetCommitRequest {
        transactional_id: "x".into(),
        group_id: "g".into(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        topics: vec![topic],
        ..Default::default()
    };
    harness.call(1, version, request).topics[0].partitions[0].error_code
}

fn group_offset(harness: &Harness) -> Option<i64> {
    harness.state.offsets.get("g", "t", 0).map(|committed| committed.offset)
}

#[test]
fn t6_offsets_count_with_the_commit() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    assert_eq!(commit_offset(&mut harness, 2, producer, 5), 48, "the group has not been added");
    let request = AddOffsetsToTxnRequest {
        transactional_id: "x".into(),
        producer_id: producer.0,
        producer_epoch: producer.1,
        group_id: "g".into(),
    };
    assert_eq!(harness.call(1, 3, request).error_code, 0);
    assert_eq!(commit_offset(&mut harness, 2, producer, 5), 0);
    assert_eq!(group_offset(&harness), None);
    end(&mut harness, 4, producer, COMMIT).unwrap();
    assert_eq!(group_offset(&harness), Some(5));
    assert_eq!(commit_offset(&mut harness, 5, producer, 6), 0, "from version 5 on the group is added with it");
    end(&mut harness, 4, producer, ABORT).unwrap();
    assert_eq!(group_offset(&harness), Some(5));
}

#[test]
fn a_partition_without_a_leader_holds_up_the_end_and_nothing_else() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![2], vec![1]], BTreeMap::new()).unwrap();
    harness.state.create_topic_on(TRANSACTIONS_TOPIC, vec![vec![1]], BTreeMap::new()).unwrap();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0, 1]);
    harness.state.broker_stopped(2);
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Ok((-1, -1)));
    assert_eq!(
        (state(&mut harness).as_str(), describe(&mut harness).topics[0].partitions.as_slice()),
        ("PrepareCommit", &[0][..])
    );
    assert_eq!(harness.state.log("t", 1).unwrap().end_offset(), 1);
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Err(51));
    assert_eq!(end(&mut harness, 4, producer, ABORT), Err(48));
    assert_eq!(add(&mut harness, 3, producer, &[1]), [51]);
    assert_eq!(init(&mut harness), Err(51));
    harness.state.broker_started(2);
    assert_eq!(state(&mut harness), "CompleteCommit");
    assert_eq!(harness.state.log("t", 0).unwrap().end_offset(), 1);
}

#[test]
fn a_record_that_comes_before_the_end_is_through_is_to_be_sent_again() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![1], vec![2]], BTreeMap::new()).unwrap();
    harness.state.create_topic_on(TRANSACTIONS_TOPIC, vec![vec![1]], BTreeMap::new()).unwrap();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0, 1]);
    harness.state.broker_stopped(2);
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Ok((-1, -1)));
    assert_eq!(write(&mut harness, 12, producer, 0), 51);
    assert_eq!(write(&mut harness, 11, producer, 0), 19, "older clients try again after this one only");
    harness.state.broker_started(2);
    assert_eq!(add(&mut harness, 3, producer, &[0]), [0]);
    assert_eq!(write(&mut harness, 11, producer, 0), 0);
}

#[test]
fn a_transaction_goes_on_in_a_partition_that_is_in_it_while_nobody_coordinates() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on("t", vec![vec![1]], BTreeMap::new()).unwrap();
    harness.state.create_topic_on(TRANSACTIONS_TOPIC, vec![vec![2]], BTreeMap::new()).unwrap();
    let (transactional_id, transaction_timeout_ms) = (Some("x".into()), TIMEOUT.as_millis() as i32);
    let request = InitProducerIdRequest { transactional_id, transaction_timeout_ms, ..Default::default() };
    let begun = harness.call(2, 2, request);
    let producer = (begun.producer_id, begun.producer_epoch);
    assert_eq!((begun.error_code, write(&mut harness, 12, producer, 0)), (0, 0));
    harness.state.broker_stopped(2);
    assert_eq!(write(&mut harness, 12, producer, 1), 0);
}

#[test]
fn a_deleted_topic_does_not_hold_up_the_end() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    harness.state.remove_topic("t");
    assert_eq!(end(&mut harness, 4, producer, COMMIT), Ok((-1, -1)));
    assert_eq!(state(&mut harness), "CompleteCommit");
}

#[test]
fn only_the_coordinator_answers() {
    let mut harness = Harness::new(2);
    harness.state.create_topic_on(TRANSACTIONS_TOPIC, vec![vec![2]], BTreeMap::new()).unwrap();
    harness.state.create_topic_on("t", vec![vec![2]], BTreeMap::new()).unwrap();
    assert_eq!(init(&mut harness), Err(16));
    assert_eq!(add(&mut harness, 3, (0, 0), &[0]), [16]);
    assert_eq!(end(&mut harness, 4, (0, 0), COMMIT), Err(16));
    assert_eq!(describe(&mut harness).error_code, 16);
    harness.state.move_leader(TRANSACTIONS_TOPIC, 0, 1).unwrap();
    assert_eq!(describe(&mut harness).error_code, 105);
    assert_eq!(end(&mut harness, 4, (0, 0), COMMIT), Err(49));
    let producer = init(&mut harness).unwrap();
    let mut listed = |broker| harness.call(broker, 2, ListTransactionsRequest::default()).transaction_states.len();
    assert_eq!((listed(1), listed(2)), (1, 0));
    // Markers are for the leaders of the partitions themselves.
    let topic = WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0] };
    let marker = WritableTxnMarker { producer_id: producer.0, topics: vec![topic], ..Default::default() };
    let results = harness.call(1, 1, WriteTxnMarkersRequest { markers: vec![marker] }).markers.remove(0).topics;
    assert_eq!(results[0].partitions[0].error_code, 6);
}

#[test]
fn an_id_that_is_not_used_is_forgotten() {
    let mut harness = harness();
    let first = init(&mut harness).unwrap();
    harness.pass(Duration::from_secs(7 * 24 * 3600));
    assert_eq!(describe(&mut harness).error_code, 105);
    assert!(init(&mut harness).unwrap().0 > first.0);
}

#[test]
fn an_administrator_sees_who_hangs_and_ends_it() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    write(&mut harness, 11, producer, 0);
    let asking =
        || DescribeProducersRequest { topics: vec![TopicRequest { name: "t".into(), partition_indexes: vec![0, 9] }] };
    let partitions = harness.call(1, 0, asking()).topics.remove(0).partitions;
    let seen = &partitions[0].active_producers[0];
    assert_eq!((seen.producer_id, seen.producer_epoch, seen.last_sequence), (producer.0, producer.1.into(), 0));
    assert_eq!((seen.current_txn_start_offset, partitions[1].error_code), (0, 3));
    let topic = WritableTxnMarkerTopic { name: "t".into(), partition_indexes: vec![0, 9] };
    let marker = WritableTxnMarker {
        producer_id: producer.0,
        producer_epoch: producer.1,
        transaction_result: ABORT,
        topics: vec![topic],
        ..Default::default()
    };
    let results = harness.call(1, 1, WriteTxnMarkersRequest { markers: vec![marker] }).markers.remove(0).topics;
    let codes: Vec<i16> = results[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [0, 3]);
    assert_eq!(committed(&mut harness).1, [producer.0]);
    let partitions = harness.call(1, 0, asking()).topics.remove(0).partitions;
    assert_eq!(partitions[0].active_producers[0].current_txn_start_offset, -1);
}

#[test]
fn transactions_are_listed_by_state_producer_age_and_name() {
    let mut harness = harness();
    let producer = init(&mut harness).unwrap();
    add(&mut harness, 3, producer, &[0]);
    harness.pass(Duration::from_secs(10));
    // One that was never open counts as open since long ago.
    let other = InitProducerIdRequest {
        transactional_id: Some("xż".into()),
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    assert_eq!(harness.call(1, 5, other).error_code, 0);
    let mut list = |change: &dyn Fn(&mut ListTransactionsRequest)| {
        let mut request = ListTransactionsRequest::default();
        change(&mut request);
        let response = harness.call(1, 2, request);
        (response.error_code, response.transaction_states.len(), response.unknown_state_filters)
    };
    let found = |count| (0, count, vec![]);
    assert_eq!(list(&|_| {}), found(2));
    assert_eq!(list(&|request| request.state_filters = vec!["Ongoing".into()]), found(1));
    assert_eq!(list(&|request| request.state_filters = vec!["Empty".into(), "Odd".into()]), (0, 1, vec!["Odd".into()]));
    assert_eq!(list(&|request| request.producer_id_filters = vec![producer.0 + 9]), found(0));
    assert_eq!(list(&|request| request.duration_filter = 9_999), found(2));
    assert_eq!(list(&|request| request.duration_filter = 10_000), found(1));
    assert_eq!(list(&|request| request.transactional_id_pattern = Some("x|y".into())), found(1));
    assert_eq!(list(&|request| request.transactional_id_pattern = Some("x.".into())), found(1));
    assert_eq!(list(&|request| request.transactional_id_pattern = Some("x..".into())), found(0));
    assert_eq!(list(&|request| request.transactional_id_pattern = Some("y.*".into())), found(0));
    let costly = format!("(?i){}", r"[\x{0}-\x{10ffff}]".repeat(100));
    for refused in ["(", &costly] {
        assert_eq!(list(&|request| request.transactional_id_pattern = Some(refused.into())).0, 128);
    }
}
