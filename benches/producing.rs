//! What a record costs from `send` to its delivery, with one and with many threads at one producer. The cluster is in this
//! process and takes its part of the processors, as a broker on the same machine does.

use benches::VALUE;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sarameya::embedded::Cluster;
use sarameya::{Client, Deliveries, Producer, ProducerRecord};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
/// Between them all, so that runs with one and with many threads do the same.
const RECORDS: usize = 64_000;

fn produce(producer: &Producer, records: usize, partitions: i32, keyed: bool) {
    let mut deliveries = Deliveries::new();
    let check = |delivered: sarameya::RecordMetadata| assert!(delivered.offset().is_some());
    for i in 0..records as u64 {
        let key = i.to_be_bytes();
        let record = ProducerRecord::new("t").value(&VALUE);
        let record = if keyed { record.key(&key) } else { record.partition(i as i32 % partitions) };
        producer.send_to(&record, &mut deliveries).expect("there is room");
        while let Some(delivered) = deliveries.poll() {
            check(delivered.expect("delivered"));
        }
    }
    producer.flush(LIMIT).expect("flushed");
    while let Some(delivered) = deliveries.wait() {
        check(delivered.expect("delivered"));
    }
}

fn producing(c: &mut Criterion) {
    let mut group = c.benchmark_group("producing");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.sample_size(10);
    for (partitions, keyed) in [(1, false), (6, true), (100, true)] {
        for threads in [1, 4, 16] {
            let cluster = Cluster::builder(1).log_memory(64 << 20).start().expect("starts");
            cluster.create_topic("t", partitions).expect("created");
            let client = Client::connect(cluster.bootstrap_servers()).expect("connects");
            let producer = Producer::builder(&client).build().expect("builds");
            let name = format!("{partitions} partitions, {threads} threads");
            group.bench_function(name, |b| {
                b.iter(|| {
                    std::thread::scope(|scope| {
                        for _ in 0..threads {
                            scope.spawn(|| produce(&producer, RECORDS / threads, partitions, keyed));
                        }
                    });
                });
            });
            producer.close(LIMIT).expect("closes");
        }
    }
}

criterion_group!(benches, producing);
criterion_main!(benches);
