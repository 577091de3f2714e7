//! A synchronous, blocking Apache Kafka client: OS threads and channels, no async runtime.
#![forbid(unsafe_code)]

mod backoff;
pub mod batch;
mod cluster;
mod config;
mod consumer;
mod error;
mod group;
mod net;
mod producer;
pub mod protocol;
mod record;

pub use cluster::{Client, ClientBuilder};
pub use config::Properties;
pub use consumer::{
    BatchRecords, FetchedBatch, IntoRecords, IsolationLevel, OffsetReset, PartitionConsumer, PartitionConsumerBuilder,
    PartitionRecords, StartOffset,
};
pub use error::{Error, ErrorCode, ErrorKind, Result};
pub use group::{
    Assignment, Assignor, ClaimRecords, ConsumerGroup, ConsumerGroupBuilder, ConsumerGroupClaim, ConsumerGroupHandler,
    ConsumerGroupSession, Errors, GroupAssignment, GroupMember, HandlerResult, RangeAssignor, RoundRobinAssignor,
    StopHandle,
};
pub use producer::{
    Acks, Crc32Partitioner, Delivery, Fnv1aPartitioner, Murmur2Partitioner, Partitioner, Producer, ProducerBuilder,
    RandomPartitioner, RecordMetadata, RoundRobinPartitioner, SendError, SyncProducer,
};
pub use record::{ConsumerRecord, Header, ProducerRecord, TimestampType};
