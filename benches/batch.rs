//! What a record costs on its way through memory, in time.

use benches::{RECORDS, build, check_and_decode, own, seal};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sarameya::batch::{Compression, Compressor, Decompressor};
use std::hint::black_box;

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(RECORDS.into()));
    let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::new());
    let mut buffer = Vec::with_capacity(1 << 20);
    group.bench_function("append", |b| {
        b.iter(|| buffer = black_box(build(std::mem::take(&mut buffer))).into_buffer());
    });
    for compression in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
        group.bench_function(format!("append and seal {compression}"), |b| {
            b.iter(|| {
                let sealed = seal(std::mem::take(&mut buffer), compression, &mut compressor);
                buffer = sealed.into_buffer().unwrap_or_default();
            });
        });
        let sealed = seal(Vec::new(), compression, &mut compressor);
        group.bench_function(format!("check and decode {compression}"), |b| {
            b.iter(|| black_box(check_and_decode(&sealed, &mut decompressor)));
        });
    }
    let mut sealed = seal(Vec::new(), Compression::None, &mut compressor);
    group.bench_function("owned records", |b| b.iter(|| black_box(own(&sealed, &mut decompressor))));
    group.finish();
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
