//! What it costs to choose a record's partition.

use criterion::{Criterion, criterion_group, criterion_main};
use sarameya::{
    Crc32Partitioner, Fnv1aPartitioner, Murmur2Partitioner, Partitioner, ProducerRecord, RandomPartitioner,
    RoundRobinPartitioner,
};
use std::hint::black_box;

fn partitioners(c: &mut Criterion) {
    let round_robin = RoundRobinPartitioner::default();
    let all: [(&str, &dyn Partitioner); 5] = [
        ("murmur2", &Murmur2Partitioner),
        ("fnv1a", &Fnv1aPartitioner),
        ("crc32", &Crc32Partitioner),
        ("round robin", &round_robin),
        ("random", &RandomPartitioner),
    ];
    for (name, partitioner) in all {
        let mut group = c.benchmark_group(name);
        for length in [8, 32, 256] {
            let key = vec![b'k'; length];
            let record = ProducerRecord::new("t").key(&key);
            group.bench_function(format!("key of {length} bytes"), |b| {
                b.iter(|| partitioner.partition(black_box(&record), 12));
            });
        }
        let record = ProducerRecord::new("t");
        group.bench_function("no key", |b| b.iter(|| partitioner.partition(black_box(&record), 12)));
    }
}

criterion_group!(benches, partitioners);
criterion_main!(benches);
