//! Records to be produced by tests of the state, and what becomes of them.

use super::test_support::Harness;
use crate::batch::{BatchBuilder, Compression, Compressor, Decompressor, RecordBatches};
use crate::protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use crate::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use bytes::Bytes;

/// When a harness starts, by the wall clock.
pub(super) const START_MS: i64 = 1_700_000_000_000;

/// A codec that is compiled in, if there is one.
pub(super) fn any_codec() -> Compression {
    Compression::ALL.into_iter().rev().find(|codec| codec.is_supported()).unwrap_or_default()
}

/// A batch to be written. Made by [`batch`].
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) records: Vec<(i64, Option<&'static str>, Option<&'static str>)>,
    pub(super) codec: Compression,
    /// Producer id, epoch, sequence.
    pub(super) producer: (i64, i16, i32),
    pub(super) transactional: bool,
}

/// A batch of this many records with keys.
pub(super) fn batch(count: usize) -> Batch {
    let records = vec![(START_MS, Some("key"), Some("value")); count];
    Batch { records, codec: Compression::None, producer: (-1, -1, -1), transactional: false }
}

/// The same from an idempotent producer.
pub(super) fn idempotent(count: usize, id: i64, epoch: i16, sequence: i32) -> Batch {
    Batch { producer: (id, epoch, sequence), ..batch(count) }
}

impl Batch {
    pub(super) fn bytes(&self) -> Bytes {
        let mut builder = BatchBuilder::new(Vec::new());
        for (timestamp, key, value) in &self.records {
            builder.append(*timestamp, key.map(str::as_bytes), value.map(str::as_bytes), &[]).unwrap();
        }
        let mut sealed = builder.seal(self.codec, &mut Compressor::default()).unwrap();
        let (id, epoch, sequence) = self.producer;
        sealed.stamp(id, epoch, sequence, self.transactional);
        sealed.bytes().clone()
    }
}

/// A request that writes to partition 0 of `t`.
pub(super) fn produce_request(acks: i16, records: Option<Bytes>) -> ProduceRequest {
    let partition_data = vec![PartitionProduceData { index: 0, records }];
    let topic_data = vec![TopicProduceData { name: "t".into(), partition_data, ..Default::default() }];
    ProduceRequest { acks, timeout_ms: 1000, topic_data, ..Default::default() }
}

/// Writes bytes to partition 0 of `t` in version 12, by broker 1.
#[track_caller]
pub(super) fn produce_bytes(harness: &mut Harness, bytes: Bytes) -> PartitionProduceResponse {
    let mut response = harness.call(1, 12, produce_request(-1, Some(bytes)));
    response.responses.remove(0).partition_responses.remove(0)
}

#[track_caller]
pub(super) fn produce(harness: &mut Harness, batch: &Batch) -> PartitionProduceResponse {
    produce_bytes(harness, batch.bytes())
}

/// What becomes of a batch: error code and base offset.
#[track_caller]
pub(super) fn outcome(harness: &mut Harness, batch: &Batch) -> (i16, i64) {
    let response = produce(harness, batch);
    (response.error_code, response.base_offset)
}

/// A request that reads partition 0 of `t` from an offset on, without waiting.
pub(super) fn fetch_request(offset: i64) -> FetchRequest {
    let partition = FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topics = vec![FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() }];
    FetchRequest { min_bytes: 1, topics, ..Default::default() }
}

/// Reads partition 0 of `t` by broker 1 in version 12.
#[track_caller]
pub(super) fn fetch(harness: &mut Harness, request: FetchRequest) -> PartitionData {
    harness.call(1, 12, request).responses.remove(0).partitions.remove(0)
}

/// The offsets of fetched records, of whole batches.
pub(super) fn offsets(data: &PartitionData) -> Vec<i64> {
    let mut offsets = Vec::new();
    for batch in RecordBatches::new(data.records.clone().unwrap()) {
        let batch = batch.unwrap();
        batch.verify_crc().unwrap();
        let decoded = batch.decode(&mut Decompressor::new(), 1 << 24).unwrap();
        offsets.extend(decoded.records().map(|record| record.unwrap().offset()));
    }
    offsets
}
