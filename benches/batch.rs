//! What a record costs in the hot paths, without a broker.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sarameya::batch::{BatchBuilder, Compression, Compressor, Decompressor, RecordBatches, SealedBatch};
use std::hint::black_box;

const RECORDS: u64 = 1000;
const VALUE: [u8; 92] = [b'x'; 92];
const CAP: usize = 128 << 20;

fn build(buffer: Vec<u8>) -> BatchBuilder {
    let mut builder = BatchBuilder::new(buffer);
    for i in 0..RECORDS {
        let timestamp = 1_700_000_000_000 + i as i64;
        builder.append(timestamp, Some(&i.to_be_bytes()), Some(&VALUE), &[]).expect("fits");
    }
    builder
}

fn seal(compression: Compression) -> SealedBatch {
    build(Vec::new()).seal(compression, &mut Compressor::default()).expect("compiled in")
}

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(RECORDS));
    let mut buffer = Vec::with_capacity(1 << 20);
    group.bench_function("append", |b| {
        b.iter(|| buffer = black_box(build(std::mem::take(&mut buffer))).into_buffer());
    });
    for compression in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        let mut compressor = Compressor::default();
        group.bench_function(format!("append and seal {compression}"), |b| {
            b.iter(|| {
                let sealed =
                    build(std::mem::take(&mut buffer)).seal(compression, &mut compressor).expect("compiled in");
                buffer = sealed.into_buffer().unwrap_or_default();
            });
        });
        let sealed = seal(compression);
        let mut decompressor = Decompressor::new();
        group.bench_function(format!("check and decode {compression}"), |b| {
            b.iter(|| {
                let mut sum = 0;
                for batch in RecordBatches::new(sealed.bytes().clone()) {
                    let batch = batch.expect("a batch");
                    batch.verify_crc().expect("the right checksum");
                    let decoded = batch.decode(&mut decompressor, CAP).expect("decodes");
                    for record in decoded.records() {
                        sum += record.expect("a record").value().map_or(0, <[u8]>::len);
                    }
                }
                black_box(sum)
            });
        });
    }
    let sealed = seal(Compression::None);
    group.bench_function("owned records", |b| {
        b.iter(|| {
            for batch in RecordBatches::new(sealed.bytes().clone()) {
                let decoded = batch.expect("a batch").decode(&mut Decompressor::new(), CAP).expect("decodes");
                decoded.into_consumer_records("t".into(), 0).for_each(|record| drop(black_box(record)));
            }
        });
    });
    group.finish();
    let mut sealed = sealed;
    let mut sequence = 0;
    c.bench_function("stamp", |b| {
        b.iter(|| {
            sequence += 1;
            sealed.stamp(1, 0, sequence, false);
        });
    });
}

criterion_group!(benches, batch);
criterion_main!(benches);
