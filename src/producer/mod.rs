//! Producing.
//!
//! A record's way: [`Producer::send`] chooses the partition and encodes the record into that partition's open batch
//! ([`partition`]), on the caller's thread. Whoever closes the batch compresses it. The sender of the partition's
//! leader ([`sender`]) puts one batch of each ready partition into a request ([`request`]) and, when the answer comes,
//! resolves the batch's outcome ([`delivery`]), which wakes the callers that wait for it.

mod budget;
mod builder;
mod clock;
mod deliveries;
mod delivery;
mod gathering;
mod lists;
mod partition;
mod partitioner;
#[expect(clippy::module_inception, reason = "the producer is the folder's main noun")]
mod producer;
mod producer_id;
mod request;
mod router;
mod sender;
mod sequence;
mod shared;
mod sync_producer;
#[cfg(test)]
mod tests;
mod topics;

pub use builder::{Acks, ProducerBuilder};
pub use deliveries::Deliveries;
pub use delivery::{Delivery, RecordMetadata, SendError};
pub use partitioner::{
    Crc32Partitioner, Fnv1aPartitioner, Murmur2Partitioner, Partitioner, RandomPartitioner, RoundRobinPartitioner,
};
pub use producer::Producer;
pub use sync_producer::SyncProducer;
