//! What becomes of sends when brokers refuse, forget, lose answers or say nothing.

use super::cluster::{Act, Cluster, Produced, Switch};
use crate::protocol::messages::produce::BatchIndexAndErrorMessage;
use crate::{
    Acks, Client, Delivery, Error, ErrorCode, ErrorKind, Producer, ProducerBuilder, ProducerRecord, RecordMetadata,
    SendError, SyncProducer,
};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// So small that every record is a batch of its own.
const ONE_RECORD: usize = 70;

fn record<'a>(value: &'a str) -> ProducerRecord<'a> {
    ProducerRecord::new("t").partition(0).value(value)
}

fn builder(client: &Client) -> ProducerBuilder {
    Producer::builder(client).linger(Duration::ZERO)
}

/// Sends numbers as records, one batch each.
fn send_each(producer: &Producer, count: usize) -> Vec<Delivery> {
    (0..count).map(|i| producer.send(&record(&i.to_string())).unwrap()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}

fn offsets(deliveries: &[Delivery]) -> Vec<i64> {
    deliveries.iter().map(|delivery| delivery.wait().unwrap().offset().unwrap()).collect()
}

/// For what happens on another thread right after something was seen.
fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(1));
        std::thread::yield_now();
    }
}

fn not_persisted(outcome: Result<RecordMetadata, SendError>) -> Error {
    match outcome {
        Err(SendError::NotPersisted(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn possibly_persisted(outcome: Result<RecordMetadata, SendError>) -> Error {
    match outcome {
        Err(SendError::PossiblyPersisted(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn first(code: ErrorCode) -> impl Fn(&Produced, &Switch<'_>) -> Act {
    move |request, _| if request.nth == 0 { Act::Refuse(code) } else { Act::Write }
}

#[test]
fn p1_without_idempotence_a_retry_goes_before_anything_newer() {
    let cluster = Cluster::new(1, 1, |request, _| match request.nth % 3 {
        0 => Act::Refuse(ErrorCode::NOT_ENOUGH_REPLICAS),
        _ => Act::Write,
    });
    let client = cluster.client();
    let producer = builder(&client).acks(Acks::Leader).batch_size(ONE_RECORD).build().unwrap();
    let deliveries = send_each(&producer, 20);
    assert_eq!(offsets(&deliveries), (0..20).collect::<Vec<_>>());
    assert_eq!(cluster.log("t", 0), numbers(20));
    assert!(cluster.batches().iter().all(|batch| batch.producer == (-1, -1)));
}

#[test]
fn p1_without_idempotence_batches_wait_for_each_other_only_until_more_in_flight_are_asked_for() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Silence);
    let client = cluster.client();
    let producer = builder(&client).idempotence(false).max_in_flight(3).batch_size(ONE_RECORD).build().unwrap();
    send_each(&producer, 3);
    cluster.wait_for_requests(3);

    let default = builder(&client).idempotence(false).build().unwrap();
    let asked_for = builder(&client).acks(Acks::Leader).max_in_flight(5).build().unwrap();
    let idempotent = builder(&client).build().unwrap();
    let limits = [default, asked_for, idempotent].map(|producer| producer.shared().limits().max_in_flight);
    assert_eq!(limits, [1, 5, 5]);
}

#[test]
fn p2_an_answer_lost_after_the_write_makes_no_duplicate() {
    let cluster = Cluster::new(1, 1, |request, _| match request.nth % 4 {
        1 => Act::WriteAndClose,
        2 => Act::Close,
        _ => Act::Write,
    });
    let client = cluster.client();
    let producer = builder(&client).batch_size(ONE_RECORD).build().unwrap();
    let deliveries = send_each(&producer, 30);
    assert_eq!(offsets(&deliveries), (0..30).collect::<Vec<_>>());
    assert_eq!(cluster.log("t", 0), numbers(30));
}

#[test]
fn p3_a_sequence_the_broker_does_not_follow_begins_anew() {
    let cluster = Cluster::new(1, 1, |request, _| match request.nth {
        1 => Act::Refuse(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER),
        _ => Act::Write,
    });
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    for value in ["0", "1", "2"] {
        producer.send(&record(value)).unwrap();
    }
    let stamps: Vec<_> = cluster.batches().iter().map(|batch| (batch.producer.1, batch.sequence)).collect();
    assert_eq!(stamps, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    assert_eq!(cluster.log("t", 0), numbers(3));
}

#[test]
fn p4_a_forgotten_producer_begins_anew_unless_that_could_write_twice() {
    let cluster = Cluster::new(1, 1, |request, _| match request.nth {
        1 | 4 => Act::Refuse(ErrorCode::UNKNOWN_PRODUCER_ID),
        3 => Act::Close,
        _ => Act::Write,
    });
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    producer.send(&record("0")).unwrap();
    assert_eq!(producer.send(&record("1")).unwrap().offset(), Some(1));
    // The connection ends, and then the broker has forgotten all: the first attempt may be in the log.
    let error = possibly_persisted(producer.send(&record("2")));
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_PRODUCER_ID));
    assert_eq!(producer.send(&record("3")).unwrap().offset(), Some(2));
    let stamps: Vec<_> = cluster.batches().iter().map(|batch| (batch.producer.1, batch.sequence)).collect();
    assert_eq!(stamps, [(0, 0), (0, 1), (1, 0), (1, 1), (1, 1), (2, 0)]);
}

#[test]
fn p4_an_epoch_that_others_have_passed_leads_to_a_new_id() {
    let cluster = Cluster::new(1, 1, first(ErrorCode::INVALID_PRODUCER_EPOCH));
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    producer.send(&record("0")).unwrap();
    let ids: Vec<_> = cluster.batches().iter().map(|batch| (batch.producer, batch.sequence)).collect();
    assert_eq!(ids, [((1000, 0), 0), ((1001, 0), 0)]);
}

#[test]
fn p5_a_duplicate_is_a_success_without_an_offset() {
    let cluster = Cluster::new(1, 1, first(ErrorCode::DUPLICATE_SEQUENCE_NUMBER));
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    assert_eq!(producer.send(&record("0")).unwrap().offset(), None);
    assert_eq!(cluster.requests().len(), 1);
}

#[test]
fn p8_a_record_over_a_limit_is_refused_here_or_after_one_try() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Refuse(ErrorCode::MESSAGE_TOO_LARGE));
    let client = cluster.client();
    let producer = builder(&client).max_request_size(500).build().unwrap();
    let error = not_persisted(producer.send(&record(&"x".repeat(500))).map(|_| unreachable!()));
    assert_eq!(
        (error.kind(), error.setting(), error.topic()),
        (ErrorKind::TooLarge, Some("max.request.size"), Some("t"))
    );
    assert_eq!(cluster.requests().len(), 0);
    let error = not_persisted(producer.send(&record("small")).unwrap().wait());
    assert_eq!((error.kind(), error.partition()), (ErrorKind::TooLarge, Some(0)));
    assert_eq!(cluster.requests().len(), 1);
}

#[test]
fn p8_a_batch_over_the_brokers_limit_is_sent_in_parts_and_in_order() {
    let cluster = Cluster::new(1, 1, |request, _| match request.batches[0].values.len() {
        0..=3 => Act::Write,
        _ => Act::Refuse(ErrorCode::MESSAGE_TOO_LARGE),
    });
    let client = cluster.client();
    let producer = builder(&client).linger(200 * MS).build().unwrap();
    let mut deliveries = send_each(&producer, 10);
    // What a flush waits for includes the parts.
    producer.flush(Duration::from_secs(5)).unwrap();
    assert!(deliveries.iter().all(|delivery| delivery.poll().is_some()));
    deliveries.push(producer.send(&record("10")).unwrap());
    assert_eq!(offsets(&deliveries), (0..11).collect::<Vec<_>>());
    assert_eq!(cluster.log("t", 0), numbers(11));
}

#[test]
fn p9_a_full_buffer_blocks_for_max_block_and_names_the_setting() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Silence);
    let client = cluster.client();
    let producer = builder(&client)
        .batch_size(1000)
        .max_request_size(1000)
        .buffer_memory(4000)
        .max_block(1000 * MS)
        .build()
        .unwrap();
    let value = "x".repeat(700);
    let mut sent = 0;
    let error = loop {
        let start = Instant::now();
        match producer.send(&record(&value)) {
            Ok(_) => sent += 1,
            Err(error) => {
                // Less than the 60 s that a send may block if nothing is said.
                assert!((990 * MS..30_000 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
                break not_persisted(Err(error));
            }
        }
    };
    assert_eq!((error.kind(), error.setting()), (ErrorKind::QueueFull, Some("buffer.memory")));
    assert!((2..=5).contains(&sent), "{sent}");
    let start = Instant::now();
    assert_eq!(not_persisted(producer.try_send(&record(&value)).map(|_| unreachable!())).kind(), ErrorKind::QueueFull);
    assert!(start.elapsed() < 1000 * MS, "try_send never blocks");
    producer.close(Duration::ZERO).unwrap_err();
}

#[test]
fn p10_what_expires_in_the_queue_is_not_persisted_and_its_memory_is_free() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    cluster.set_leader(-1);
    let client = cluster.builder().request_timeout(500 * MS).build().unwrap();
    let producer = builder(&client).batch_size(ONE_RECORD).delivery_timeout(1000 * MS).build().unwrap();
    let start = Instant::now();
    for delivery in send_each(&producer, 5) {
        let error = not_persisted(delivery.wait());
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Timeout, Some("delivery.timeout.ms")));
    }
    // Less than the 2 min that a delivery may take if nothing is said.
    assert!((1000 * MS..30_000 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
    wait_until(|| producer.shared().budget.used() == 0);
    cluster.set_leader(1);
    assert_eq!(offsets(&send_each(&producer, 5)), [0, 1, 2, 3, 4]);
}

#[test]
fn p10_what_expires_in_flight_is_possibly_persisted_and_keeps_its_bytes() {
    let cluster = Cluster::new(1, 1, |request, _| if request.nth == 0 { Act::Silence } else { Act::Write });
    let client = cluster.builder().request_timeout(300 * MS).build().unwrap();
    let producer = builder(&client).delivery_timeout(300 * MS).build().unwrap();
    // The connection is made at leisure, so the request goes out after the record was handed over.
    let delivery = producer.send(&record("0")).unwrap();
    possibly_persisted(delivery.wait());
    let next = producer.send(&record("1")).unwrap();
    next.wait().unwrap();
    let stamps: Vec<_> = cluster.batches().iter().map(|b| (b.producer.1, b.sequence, b.values[0].clone())).collect();
    assert_eq!(stamps, [(0, 0, "0".into()), (1, 0, "1".into())], "the gap is closed by a new epoch");
    producer.flush(Duration::from_secs(1)).unwrap();
    assert_eq!(producer.shared().budget.used(), 0);
}

#[test]
fn p12_records_that_are_at_fault_are_named() {
    let cluster = Cluster::new(1, 2, |_, _| {
        Act::Answer(Box::new(|response| {
            for partition in response.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses) {
                if partition.index == 0 {
                    partition.error_code = ErrorCode::INVALID_RECORD.0;
                    let message = Some("no key".to_owned());
                    partition.record_errors =
                        vec![BatchIndexAndErrorMessage { batch_index: 1, batch_index_error_message: message }];
                }
            }
        }))
    });
    let client = cluster.client();
    let producer = builder(&client).linger(100 * MS).build().unwrap();
    let deliveries = send_each(&producer, 3);
    let other = producer.send(&ProducerRecord::new("t").partition(1).value("other")).unwrap();
    other.wait().unwrap();
    let errors: Vec<_> = deliveries.iter().map(|delivery| not_persisted(delivery.wait())).collect();
    assert_eq!(errors[1].code(), Some(ErrorCode::INVALID_RECORD));
    assert!(errors[1].to_string().contains("no key"), "{}", errors[1]);
    assert_eq!((errors[0].code(), errors[2].code()), (None, None));
    assert!(errors[0].to_string().contains("another record"), "{}", errors[0]);
}

#[test]
fn w12_an_answer_without_the_partition_leaves_it_unknown_and_more_than_asked_is_ignored() {
    let cluster = Cluster::new(1, 1, |request, _| match request.nth {
        0 => Act::Answer(Box::new(|response| response.responses.clear())),
        _ => Act::Answer(Box::new(|response| {
            let mut other = response.responses[0].clone();
            other.partition_responses[0].index = 77;
            let mut again = response.responses[0].clone();
            again.partition_responses[0].base_offset = 999;
            response.responses.extend([other, again]);
        })),
    });
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    assert_eq!(possibly_persisted(producer.send(&record("0"))).kind(), ErrorKind::Protocol);
    assert_eq!(producer.send(&record("1")).unwrap().offset(), Some(1));
}

#[test]
fn w14_without_acks_a_send_is_done_when_it_is_written() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).acks(Acks::None).build_sync().unwrap();
    assert_eq!(producer.send(&record("0")).unwrap().offset(), None);
    cluster.wait_for_requests(1);
    cluster.close_connections();
    // The end of a connection is seen before the next request goes out on it.
    producer.send(&record("1")).unwrap();
    cluster.wait_for_requests(2);
    assert_eq!(cluster.batches()[1].values, ["1"]);
}

#[test]
fn retries_limit_the_attempts() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Refuse(ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND));
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).retries(2).build_sync().unwrap();
    let error = possibly_persisted(producer.send(&record("0")));
    assert_eq!((error.setting(), cluster.requests().len()), (Some("retries"), 3));
    let refused = SyncProducer::builder(&client).retries(0).idempotence(true).build_sync().unwrap_err();
    assert_eq!(refused.setting(), Some("enable.idempotence"));
}

#[test]
fn an_unknown_answer_may_mean_anything() {
    let cluster = Cluster::new(1, 1, first(ErrorCode(4711)));
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    assert_eq!(possibly_persisted(producer.send(&record("0"))).code(), Some(ErrorCode(4711)));
    producer.send(&record("1")).unwrap();
}

#[test]
fn t2_a_topic_that_is_gone_fails_in_time_and_says_why() {
    let cluster = Cluster::new(1, 1, |request, switch| {
        if request.nth == 3 {
            // From here on the metadata says so too, so that no attempt is under way when the time is over.
            switch.leader(-1);
        }
        Act::Refuse(ErrorCode::UNKNOWN_TOPIC_ID)
    });
    let client = cluster.builder().request_timeout(1000 * MS).build().unwrap();
    let producer = builder(&client).delivery_timeout(1200 * MS).build().unwrap();
    let error = not_persisted(producer.send(&record("0")).unwrap().wait());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("UNKNOWN_TOPIC_ID"), "{error}");
    assert!(cluster.requests().len() > 2);
}

#[test]
fn a_topic_that_can_not_be_had_is_the_brokers_word_not_a_timeout() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    let client = cluster.client();
    let producer = builder(&client).max_block(700 * MS).build().unwrap();
    for (topic, code) in
        [("missing", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), ("forbidden", ErrorCode::TOPIC_AUTHORIZATION_FAILED)]
    {
        let error = not_persisted(producer.send(&ProducerRecord::new(topic).value("x")).map(|_| unreachable!()));
        assert_eq!((error.code(), error.topic()), (Some(code), Some(topic)), "{error}");
    }
    let error = not_persisted(producer.try_send(&ProducerRecord::new("forbidden").value("x")).map(|_| unreachable!()));
    assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
}
