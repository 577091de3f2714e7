//! Records as users see them.

use crate::batch::{Place, RecordHeaders, Span};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// A record to be produced; it borrows what it sends.
///
/// ```
/// use sarameya::ProducerRecord;
/// let record = ProducerRecord::new("test3").key("k1").value("v1").header("trace", b"42");
/// assert_eq!(record.key_bytes(), Some(&b"k1"[..]));
/// ```
#[derive(Debug, Clone)]
pub struct ProducerRecord<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: Option<i32>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<Header<'a>>,
    pub(crate) timestamp: Option<i64>,
}

/// A record header: a name and a value that may be null. Names may repeat; order is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// The header's name.
    pub key: &'a str,
    /// The header's value.
    pub value: Option<&'a [u8]>,
}

impl<'a> ProducerRecord<'a> {
    /// A record for this topic, without key, value and headers.
    pub fn new(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: Vec::new(), timestamp: None }
    }

    /// Sends it to this partition; without it the partitioner chooses.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The key. Without one it is null.
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    /// The value. Without one it is null, which in a compacted topic deletes the key.
    pub fn value<V: AsRef<[u8]> + ?Sized>(mut self, value: &'a V) -> Self {
        self.value = Some(value.as_ref());
        self
    }

    /// Adds a header.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, key: &'a str, value: &'a V) -> Self {
        self.headers.push(Header { key, value: Some(value.as_ref()) });
        self
    }

    /// Adds a header with a null value.
    pub fn null_header(mut self, key: &'a str) -> Self {
        self.headers.push(Header { key, value: None });
        self
    }

    /// The record's time, in milliseconds since 1970-01-01T00:00:00Z. Without it: the time of the send, exact for the first
    /// record of a batch and else as of the system's last clock tick, which is 1 to 10 ms ago at most.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The key, as given.
    pub fn key_bytes(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value, as given.
    pub fn value_bytes(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, as given.
    pub fn headers(&self) -> &[Header<'a>] {
        &self.headers
    }
}

/// Whose clock a record's timestamp is from. Kafka: `message.timestamp.type` of the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The record has no timestamp: it was written before Kafka 0.10.
    NoTimestampType,
    /// The producer's, or whatever it set.
    CreateTime,
    /// The broker's, when it wrote the record.
    LogAppendTime,
}

/// A consumed record.
///
/// It owns a share of the fetched batch it came in, so a clone copies nothing, and it may go to other threads and live
/// on. One record that is kept keeps its whole batch in memory, and what was fetched with it: copy key and value out
/// of records that stay for long.
#[derive(Clone)]
pub struct ConsumerRecord {
    batch: Arc<BatchData>,
    place: Place,
}

/// What the records of a batch have in common.
#[derive(Debug)]
pub(crate) struct BatchData {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) payload: Bytes,
}

impl ConsumerRecord {
    /// A record at a place of this batch's payload.
    pub(crate) fn new(batch: Arc<BatchData>, place: Place) -> Self {
        Self { batch, place }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.batch.topic
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// The offset in the partition.
    pub fn offset(&self) -> i64 {
        self.place.offset
    }

    /// The record's time, in milliseconds since 1970-01-01T00:00:00Z; -1 if it has none.
    pub fn timestamp(&self) -> i64 {
        self.place.timestamp
    }

    /// Whose clock the time is from.
    pub fn timestamp_type(&self) -> TimestampType {
        self.batch.timestamp_type
    }

    /// The epoch of the leader that wrote it; -1 if unknown.
    pub fn leader_epoch(&self) -> i32 {
        self.batch.leader_epoch
    }

    /// The key; `None` if it is null.
    pub fn key(&self) -> Option<&[u8]> {
        self.place.key.of(&self.batch.payload)
    }

    /// The value; `None` if it is null, which in a compacted topic deletes the key.
    pub fn value(&self) -> Option<&[u8]> {
        self.place.value.of(&self.batch.payload)
    }

    /// The key as shared bytes, without a copy.
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.shared(self.place.key)
    }

    /// The value as shared bytes, without a copy.
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.shared(self.place.value)
    }

    /// The headers, in their order.
    pub fn headers(&self) -> RecordHeaders<'_> {
        let bytes = self.place.headers.of(&self.batch.payload).unwrap_or_default();
        RecordHeaders::new(bytes, self.place.header_count)
    }

    fn shared(&self, span: Span) -> Option<Bytes> {
        span.of(&self.batch.payload).map(|part| self.batch.payload.slice_ref(part))
    }
}

impl fmt::Debug for ConsumerRecord {
    /// Shows where the record is and how large, not what is in it: that may be large, or a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerRecord")
            .field("topic", &self.topic())
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .field("timestamp", &self.timestamp())
            .field("key_len", &self.key().map(<[u8]>::len))
            .field("value_len", &self.value().map(<[u8]>::len))
            .field("headers", &self.headers().len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, Compression, Compressor, Decompressor, RecordBatches};

    #[test]
    fn a_consumed_record_outlives_its_fetch_and_copies_nothing() {
        fn assert_bounds<T: Send + Sync + Clone + fmt::Debug + 'static>() {}
        assert_bounds::<ConsumerRecord>();
        let mut builder = BatchBuilder::new(Vec::new());
        let headers = [Header { key: "h", value: Some(b"x") }, Header { key: "n", value: None }];
        builder.append(5, Some(b"key"), Some(b"value"), &headers).unwrap();
        builder.append(6, Some(b""), None, &[]).unwrap();
        let sealed = builder.seal(Compression::None, &mut Compressor::default()).unwrap();
        let fetched = sealed.bytes().clone();
        let memory = fetched.as_ptr_range();

        let batch = RecordBatches::new(fetched).next().unwrap().unwrap();
        let decoded = batch.decode(&mut Decompressor::new(), 0).unwrap();
        let records: Vec<_> = decoded.into_consumer_records("t".into(), 3).map(|record| record.unwrap()).collect();
        let first = records[0].clone();
        assert_eq!((first.topic(), first.partition(), first.offset(), first.timestamp()), ("t", 3, 0, 5));
        assert_eq!((first.timestamp_type(), first.leader_epoch()), (TimestampType::CreateTime, -1));
        assert_eq!((first.key(), first.value()), (Some(&b"key"[..]), Some(&b"value"[..])));
        assert!(memory.contains(&first.value_bytes().unwrap().as_ptr()));
        assert_eq!(first.key_bytes().unwrap(), "key");
        assert!(first.headers().eq(headers));
        assert_eq!((records[1].key(), records[1].value()), (Some(&b""[..]), None));
        assert_eq!((records[1].key_bytes().unwrap().len(), records[1].value_bytes()), (0, None));
        assert_eq!(records[1].headers().len(), 0);
        let shown = format!("{first:?}");
        assert!(!shown.contains("value\"") && !shown.contains("118, 97"), "neither as text nor as numbers: {shown}");
    }
}
