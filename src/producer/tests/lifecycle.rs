//! Many threads, moving leaders, flush, close, threads that die.

use super::super::topics::{LastTopic, Topics};
use super::cluster::{Act, Cluster};
use crate::{
    Deliveries, Delivery, Error, ErrorCode, ErrorKind, Partitioner, Producer, ProducerBuilder, ProducerRecord,
    RoundRobinPartitioner, SendError, SyncProducer,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
const ONE_RECORD: usize = 70;

fn record(value: &str) -> ProducerRecord<'_> {
    ProducerRecord::new("t").partition(0).value(value)
}

fn builder(cluster: &Cluster) -> ProducerBuilder {
    Producer::builder(&cluster.client()).linger(Duration::ZERO)
}

fn kind_of_failure(delivery: &Delivery) -> (ErrorKind, bool) {
    match delivery.poll() {
        Some(Err(error)) => (error.error().kind(), error.is_possibly_persisted()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn t6_until_the_first_acknowledgement_one_batch_is_in_flight() {
    // A broker that knows nothing of a producer takes whatever comes first as its first: were the second batch on its
    // way while the first is refused, the first could never be written.
    let cluster = Cluster::new(1, 1, |request, _| {
        std::thread::sleep(30 * MS);
        if request.nth == 0 { Act::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER) } else { Act::Write }
    });
    let producer = builder(&cluster).batch_size(ONE_RECORD).build().unwrap();
    let deliveries: Vec<_> = (0..6).map(|i| producer.send(&record(&i.to_string())).unwrap()).collect();
    producer.flush(Duration::from_secs(5)).unwrap();
    let offsets: Vec<_> = deliveries.iter().map(|d| d.wait().unwrap().offset().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 5]);
    let sequences: Vec<_> = cluster.batches().iter().map(|batch| batch.sequence).collect();
    assert_eq!(sequences, [0, 0, 1, 2, 3, 4, 5], "the first again before any other");
}

#[test]
fn b3_a_moved_leader_is_followed_at_once_in_order_and_without_duplicates() {
    let cluster = Cluster::new(2, 1, |request, leader| match (request.nth, request.node) {
        (3, 1) => {
            leader.leader(2);
            Act::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        }
        (4.., 1) => Act::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER),
        _ => Act::Write,
    });
    let producer = builder(&cluster).batch_size(ONE_RECORD).build().unwrap();
    let start = Instant::now();
    let deliveries: Vec<_> = (0..20).map(|i| producer.send(&record(&i.to_string())).unwrap()).collect();
    let offsets: Vec<_> = deliveries.iter().map(|d| d.wait().unwrap().offset().unwrap()).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    assert!(start.elapsed() < 1000 * MS, "{:?}", start.elapsed());
    assert_eq!(cluster.requests().last().unwrap().node, 2);
}

#[test]
fn b3_the_new_leaders_sender_is_woken_for_what_the_old_one_refused() {
    // The metadata are newer than the answer, so that no refresh after it finds that the leader has moved.
    let cluster = Cluster::new(2, 1, |request, leader| match (request.batches[0].values[0].as_str(), request.node) {
        ("to 2", 1) | ("to 1", 2) => {
            leader.leader(3 - request.node);
            std::thread::sleep(400 * MS);
            Act::Refuse(ErrorCode::NOT_LEADER_OR_FOLLOWER)
        }
        _ => Act::Write,
    });
    let client = cluster.client();
    let producer = Producer::builder(&client).linger(Duration::ZERO).build().unwrap();
    let mut sent = 0;
    for (value, topic) in [("first", "u"), ("to 2", "v"), ("to 1", "w"), ("to 2", "x")] {
        let start = Instant::now();
        let delivery = producer.send(&record(value)).unwrap();
        sent += 1;
        cluster.wait_for_requests(2 * sent - 1 - usize::from(sent > 1));
        client.partition_count(topic).unwrap();
        delivery.wait().unwrap();
        assert!(start.elapsed() < 1500 * MS, "{value}: {:?}", start.elapsed());
    }
}

#[test]
fn what_a_caller_leaves_in_flight_is_received_by_the_thread() {
    let cluster = Cluster::new(1, 2, |request, _| {
        match request.batches[0].values[0].as_str() {
            "short" => std::thread::sleep(60 * MS),
            "long" => std::thread::sleep(120 * MS),
            _ => {}
        }
        Act::Write
    });
    let producer = SyncProducer::builder(&cluster.client()).build_sync().unwrap();
    let send = |partition: i32, value: &str| {
        let start = Instant::now();
        producer.send(&ProducerRecord::new("t").partition(partition).value(value)).unwrap();
        start.elapsed()
    };
    send(0, "first");
    send(1, "first");
    // The thread lets go of the sender.
    std::thread::sleep(20 * MS);
    std::thread::scope(|scope| {
        let short = scope.spawn(|| send(0, "short"));
        cluster.wait_for_requests(3);
        let long = scope.spawn(|| send(1, "long"));
        assert!(short.join().unwrap() < 110 * MS, "its own answer is all it waits for");
        assert!(long.join().unwrap() < 1000 * MS);
    });
}

#[test]
fn what_comes_after_the_end_is_resolved_by_who_brings_it() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Silence);
    let producer = builder(&cluster).build().unwrap();
    producer.shared().resolve_all(&Error::new(ErrorKind::Closed, "the end"));
    // A thread that had seen the producer open a moment before.
    let delivery = producer.send(&record("late")).unwrap();
    assert_eq!(kind_of_failure(&delivery).0, ErrorKind::Closed);
    producer.close(Duration::ZERO).unwrap();
}

#[test]
fn p13_many_threads_on_one_synchronous_producer_keep_their_order_and_none_starves() {
    let cluster = Cluster::new(1, 2, |request, _| {
        if request.nth % 10 == 9 {
            std::thread::sleep(3 * MS);
        }
        if request.nth % 50 == 49 { Act::WriteAndClose } else { Act::Write }
    });
    let producer = SyncProducer::builder(&cluster.client()).build_sync().unwrap();
    let slowest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (producer, slowest) = (&producer, &slowest);
            scope.spawn(move || {
                for i in 0..40 {
                    let value = format!("{thread} {i}");
                    let start = Instant::now();
                    producer.send(&ProducerRecord::new("t").partition(thread % 2).value(&value)).unwrap();
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = slowest.max(start.elapsed());
                }
            });
        }
    });
    let slowest = slowest.into_inner().unwrap();
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    for thread in 0..16 {
        let prefix = format!("{thread} ");
        let log = cluster.log("t", thread % 2);
        let own: Vec<&str> = log.iter().filter_map(|value| value.strip_prefix(&prefix)).collect();
        assert_eq!(own, (0..40).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

/// A caller that sends by itself must not keep what others have for itself, nor leave it behind.
#[test]
fn a_lone_caller_hands_over_what_others_have_to_send() {
    let cluster = Cluster::new(1, 4, |_, _| {
        std::thread::sleep(2 * MS);
        Act::Write
    });
    let client = cluster.client();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    producer.send(&record("first")).unwrap();
    std::thread::scope(|scope| {
        for partition in 0..4 {
            let producer = &producer;
            scope.spawn(move || {
                for i in 0..25 {
                    let start = Instant::now();
                    let value = i.to_string();
                    producer.send(&ProducerRecord::new("t").partition(partition).value(&value)).unwrap();
                    assert!(start.elapsed() < 1000 * MS, "{:?}", start.elapsed());
                    // So that now one, now several are at it.
                    std::thread::sleep(Duration::from_micros(fastrand::u64(0..4000)));
                }
            });
        }
    });
}

#[test]
fn p15_flush_ends_linger_and_waits_for_all() {
    let cluster = Cluster::new(1, 3, |_, _| Act::Write);
    let producer = builder(&cluster).linger(Duration::from_secs(20)).build().unwrap();
    let send = |i: i32| producer.send(&ProducerRecord::new("t").partition(i % 3).value(&i.to_string())).unwrap();
    let deliveries: Vec<_> = (0..30).map(send).collect();
    assert!(deliveries.iter().all(|delivery| delivery.poll().is_none()));
    let start = Instant::now();
    producer.flush(Duration::from_secs(5)).unwrap();
    assert!(start.elapsed() < 1000 * MS);
    assert!(deliveries.iter().all(|delivery| matches!(delivery.poll(), Some(Ok(_)))));
}

#[test]
fn p15_close_is_bounded_and_says_what_is_known_of_each_record() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Silence);
    let producer = builder(&cluster).batch_size(ONE_RECORD).build().unwrap();
    let deliveries: Vec<_> = (0..3).map(|i| producer.send(&record(&i.to_string())).unwrap()).collect();
    cluster.wait_for_requests(1);
    let start = Instant::now();
    assert_eq!(producer.flush(50 * MS).unwrap_err().kind(), ErrorKind::Timeout);
    let shared = producer.shared().clone();
    assert_eq!(producer.close(100 * MS).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < 600 * MS, "{:?}", start.elapsed());
    let failures: Vec<_> = deliveries.iter().map(kind_of_failure).collect();
    let closed = ErrorKind::Closed;
    assert_eq!(failures, [(closed, true), (closed, false), (closed, false)]);
    assert!(shared.senders().iter().all(|sender| sender.is_retired()), "threads have ended");
}

#[test]
fn p15_close_while_others_send_leaves_nobody_waiting() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    let client = cluster.client();
    for _ in 0..20 {
        let producer = Arc::new(Producer::builder(&client).linger(Duration::ZERO).build().unwrap());
        producer.send(&record("first")).unwrap().wait().unwrap();
        let started = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let (producer, started) = (&producer, &started);
                scope.spawn(move || {
                    loop {
                        started.fetch_add(1, Ordering::Relaxed);
                        match producer.send(&record("more")) {
                            Ok(delivery) => {
                                let outcome = delivery.wait_timeout(Duration::from_secs(5));
                                let Some(Ok(_)) = outcome else {
                                    let Some(Err(error)) = outcome else { panic!("never resolved") };
                                    assert_eq!(error.error().kind(), ErrorKind::Closed);
                                    continue;
                                };
                            }
                            Err(error) => {
                                assert_eq!(error.error().kind(), ErrorKind::Closed);
                                break;
                            }
                        }
                    }
                });
            }
            while started.load(Ordering::Relaxed) < 10 {
                std::thread::yield_now();
            }
            producer.close_impl(Duration::from_secs(5)).unwrap();
        });
    }
}

struct Moody;

impl Partitioner for Moody {
    fn partition(&self, record: &ProducerRecord<'_>, partitions: usize) -> Option<usize> {
        match record.value {
            Some(b"panic") => panic!("on purpose"),
            Some(b"beyond") => Some(partitions),
            _ => Some(0),
        }
    }
}

#[test]
fn p17_a_partitioner_that_fails_costs_only_that_send() {
    let cluster = Cluster::new(1, 2, |_, _| Act::Write);
    let producer = SyncProducer::builder(&cluster.client()).partitioner(Moody).build_sync().unwrap();
    for value in ["good", "panic", "beyond", "good"] {
        let outcome = producer.send(&ProducerRecord::new("t").value(value));
        match (value, outcome) {
            ("good", Ok(_)) => {}
            ("good", Err(error)) => panic!("{error}"),
            (_, Err(SendError::NotPersisted(error))) => assert_eq!(error.kind(), ErrorKind::InvalidArgument),
            (_, outcome) => panic!("{outcome:?}"),
        }
    }
    assert_eq!(cluster.log("t", 0), ["good", "good"]);

    // The same with a batch open that they could go into.
    let producer = builder(&cluster).linger(Duration::from_secs(60)).partitioner(Moody).build().unwrap();
    let sent = ["good", "panic", "beyond", "good"].map(|value| producer.send(&ProducerRecord::new("t").value(value)));
    assert_eq!(sent.map(|sent| sent.is_ok()), [true, false, false, true]);
    let beyond = producer.send(&record("good").partition(2)).unwrap_err();
    assert_eq!((beyond.error().kind(), beyond.error().partition()), (ErrorKind::InvalidArgument, Some(2)));
    producer.close(Duration::from_secs(5)).unwrap();
    assert_eq!(cluster.log("t", 0), ["good"; 4]);
}

#[test]
fn records_of_topics_in_turn_go_to_their_own() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    let producer = builder(&cluster).linger(Duration::from_secs(60)).build().unwrap();
    for (topic, value) in [("a", "0"), ("b", "1"), ("b", "2"), ("a", "3"), ("c", "4"), ("a", "5"), ("b", "6")] {
        producer.send(&ProducerRecord::new(topic).value(value)).unwrap();
    }
    producer.close(Duration::from_secs(5)).unwrap();
    assert_eq!(cluster.log("a", 0), ["0", "3", "5"]);
    assert_eq!(cluster.log("b", 0), ["1", "2", "6"]);
    assert_eq!(cluster.log("c", 0), ["4"]);
}

#[test]
fn deliveries_that_two_producers_share_mix_up_no_topics() {
    let clusters = [(); 2].map(|()| Cluster::new(1, 1, |_, _| Act::Write));
    let producers = [0, 1].map(|i| builder(&clusters[i]).linger(Duration::from_secs(60)).build().unwrap());
    let mut deliveries = Deliveries::new();
    for (i, topic, value) in [
        (0, "a", "0"),
        (0, "a", "1"),
        (0, "a", "2"),
        (1, "a", "3"),
        (1, "a", "4"),
        (1, "b", "5"),
        (0, "b", "6"),
        (0, "a", "7"),
    ] {
        producers[i].send_to(&ProducerRecord::new(topic).value(value), &mut deliveries).unwrap();
    }
    for producer in producers {
        producer.close(Duration::from_secs(5)).unwrap();
    }
    let logs = [0, 1].map(|i| ["a", "b"].map(|topic| clusters[i].log(topic, 0)));
    assert_eq!(logs, [[vec!["0", "1", "2", "7"], vec!["6"]], [vec!["3", "4"], vec!["5"]]]);
    assert!(std::iter::from_fn(|| deliveries.poll()).map(Result::unwrap).count() == 8);
}

#[test]
fn a_topic_is_kept_from_the_second_time_in_a_row_and_until_it_has_grown() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Write);
    let client = cluster.client();
    let limits = builder(&cluster).build().unwrap().shared().limits();
    let mut topics = Topics::new();
    let [a, b] = ["a", "b"].map(|name| topics.add(name, client.core().use_topic(name, true)));
    let (producer, mut last) = (topics.producer(), LastTopic::default());
    let is_kept = |last: &LastTopic, name: &str| last.get(producer, name).is_some_and(|topic| *topic.name == *name);
    for topic in [&a, &b, &a] {
        last.found(topic);
    }
    assert!(!is_kept(&last, "a") && !is_kept(&last, "b"), "in turn");
    last.found(&a);
    assert!(is_kept(&last, "a") && !is_kept(&last, "b"));
    assert!(last.get(Topics::new().producer(), "a").is_none(), "another producer's");

    let grown = topics.grow(&a, 2, &limits);
    assert!(!is_kept(&last, "a"), "there are more partitions");
    assert_eq!(topics.get("a").map(|topic| topic.partitions().len()), Some(2));
    last.found(&grown);
    last.found(&grown);
    assert_eq!(last.get(producer, "a").map(|topic| topic.partitions().len()), Some(2));
}

#[test]
fn a_partitioner_is_asked_once_for_a_record_that_opens_a_batch() {
    let cluster = Cluster::new(1, 3, |_, _| Act::Write);
    let producer = builder(&cluster).linger(Duration::from_secs(60)).partitioner(RoundRobinPartitioner::default());
    let producer = producer.build().unwrap();
    let mut deliveries = Deliveries::new();
    for value in ["0", "1", "2", "3", "4", "5"] {
        producer.send_to(&ProducerRecord::new("t").value(value), &mut deliveries).unwrap();
    }
    producer.flush(Duration::from_secs(5)).unwrap();
    let partitions: Vec<_> = std::iter::from_fn(|| deliveries.poll()).map(|sent| sent.unwrap().partition()).collect();
    let first = partitions[0];
    assert_eq!(partitions, (first..first + 6).map(|partition| partition % 3).collect::<Vec<_>>());
}

#[test]
fn x11_what_ends_the_producer_is_told_to_all_who_wait_and_all_who_come() {
    let cluster = Cluster::new(1, 1, |_, _| Act::Silence);
    let producer = builder(&cluster).batch_size(1000).max_request_size(1000).buffer_memory(2000).build().unwrap();
    let value = "x".repeat(900);
    let delivery = producer.send(&record(&value)).unwrap();
    cluster.wait_for_requests(1);
    let queued = producer.send(&record(&value)).unwrap();
    std::thread::scope(|scope| {
        let blocked = scope.spawn(|| producer.send(&record(&value)));
        while !producer.shared().budget.has_waiters() {
            std::thread::yield_now();
        }
        let start = Instant::now();
        producer.shared().fail_all(&Error::new(ErrorKind::Thread, "kafka-produce-1 panicked"));
        let error = blocked.join().unwrap().unwrap_err();
        assert_eq!(error.error().kind(), ErrorKind::Thread, "{error}");
        assert!(start.elapsed() < 500 * MS);
    });
    assert_eq!(kind_of_failure(&delivery), (ErrorKind::Thread, true));
    assert_eq!(kind_of_failure(&queued), (ErrorKind::Thread, false));
    let error = producer.send(&record("late")).unwrap_err();
    assert!(!error.is_possibly_persisted() && error.error().kind() == ErrorKind::Thread, "{error}");
    producer.close(Duration::from_secs(5)).unwrap();
}
