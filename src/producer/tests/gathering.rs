//! Batches with room wait for an outstanding answer, and what that must not hold up.

use super::super::gathering::GatherLimits;
use super::cluster::{Act, Cluster};
use crate::{Client, Delivery, Producer, ProducerRecord, SyncProducer};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// So many sends take long enough for a sender to get at the first of them, if nothing keeps it from that.
const MANY: usize = 500;
const BATCH_SIZE: usize = 16 * 1024;

/// A broker of two partitions that does not answer the second request.
fn silent_once() -> Cluster {
    Cluster::new(1, 2, |request, _| if request.nth == 1 { Act::Silence } else { Act::Write })
}

/// A client that gives up no request.
fn client(cluster: &Cluster) -> Client {
    cluster.builder().request_timeout(LONG).build().unwrap()
}

/// One that would wait for an answer for long, whose first record has been acknowledged.
fn producer(client: &Client) -> Producer {
    let mut builder = Producer::builder(client).linger(Duration::ZERO).batch_size(BATCH_SIZE);
    builder.gather_limits = GatherLimits { near: LONG, far: LONG };
    let producer = builder.build().unwrap();
    producer.send(&record(0, "first")).unwrap().wait().unwrap();
    producer
}

fn send_many(producer: &Producer, partition: i32, value: &str) -> Vec<Delivery> {
    let send = |_| {
        std::thread::yield_now();
        producer.send(&record(partition, value)).unwrap()
    };
    (0..MANY).map(send).collect()
}

fn record(partition: i32, value: &str) -> ProducerRecord<'_> {
    ProducerRecord::new("t").partition(partition).value(value)
}

/// The partitions and values of each request.
fn requests(cluster: &Cluster) -> Vec<Vec<(i32, Vec<String>)>> {
    let batches = |request: super::cluster::Produced| {
        let mut batches: Vec<_> = request.batches.into_iter().map(|batch| (batch.partition, batch.values)).collect();
        batches.sort();
        batches
    };
    cluster.requests().into_iter().map(batches).collect()
}

fn one(partition: i32, values: &[&str]) -> (i32, Vec<String>) {
    (partition, values.iter().map(|value| (*value).to_owned()).collect())
}

#[test]
fn what_comes_while_an_answer_is_outstanding_goes_together_when_it_is_there() {
    let (answer, answers) = crossbeam_channel::bounded(1);
    let cluster = Cluster::new(1, 2, move |request, _| {
        if request.nth == 1 {
            answers.recv().unwrap();
        }
        Act::Write
    });
    let client = client(&cluster);
    let producer = producer(&client);
    let mut deliveries = vec![producer.send(&record(0, "outstanding")).unwrap()];
    cluster.wait_for_requests(2);
    deliveries.extend(send_many(&producer, 0, "a"));
    deliveries.extend(send_many(&producer, 1, "b"));
    answer.send(()).unwrap();
    deliveries.iter().for_each(|delivery| _ = delivery.wait().unwrap());
    let together = vec![one(0, &["a"; MANY]), one(1, &["b"; MANY])];
    assert_eq!(requests(&cluster), [vec![one(0, &["first"])], vec![one(0, &["outstanding"])], together]);
}

#[test]
fn a_filled_batch_goes_at_once_and_takes_those_with_room_along() {
    let cluster = silent_once();
    let client = client(&cluster);
    let producer = producer(&client);
    let _outstanding = producer.send(&record(0, "outstanding")).unwrap();
    cluster.wait_for_requests(2);
    let _along = send_many(&producer, 1, "along");
    let filling = "x".repeat(BATCH_SIZE * 3 / 4);
    let _filling = [&filling, &filling].map(|value| producer.send(&record(0, value)).unwrap());
    cluster.wait_for_requests(3);
    assert_eq!(requests(&cluster)[2], [one(0, &[&filling]), one(1, &["along"; MANY])]);
}

#[test]
fn a_flush_does_not_wait_for_company() {
    let cluster = silent_once();
    let client = client(&cluster);
    let producer = producer(&client);
    let _outstanding = producer.send(&record(0, "outstanding")).unwrap();
    cluster.wait_for_requests(2);
    let _deliveries = send_many(&producer, 1, "flushed");
    std::thread::scope(|scope| {
        scope.spawn(|| producer.flush(LONG));
        cluster.wait_for_requests(3);
    });
    assert_eq!(requests(&cluster)[2], [one(1, &["flushed"; MANY])]);
}

#[test]
fn an_answer_that_does_not_come_holds_up_other_callers_only_for_moments() {
    let cluster = silent_once();
    let client = client(&cluster);
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    producer.send(&record(0, "first")).unwrap();
    std::thread::scope(|scope| {
        // Its thread drives the sender, and waits for the answer.
        scope.spawn(|| producer.send(&record(0, "outstanding")).unwrap());
        cluster.wait_for_requests(2);
        scope.spawn(|| producer.send(&record(1, "other")).unwrap());
        cluster.wait_for_requests(3);
    });
    assert_eq!(requests(&cluster)[2], [one(1, &["other"])]);
}
