//! What goes from a fetcher to the reader of a partition.

use crate::Result;
use bytes::Bytes;

/// How many deliveries may wait for the reader of a partition: one to go on with at once when it has finished the one
/// before, and one that arrived while a fetch was under way. More would add memory, not speed: a reader
/// that keeps up never has more than one, and one that does not is as slow with any number.
pub(super) const QUEUED_CHUNKS: usize = 2;

/// One message of a partition's channel.
#[derive(Debug)]
pub(super) struct Delivery {
    /// Of which seek it is; the reader throws away those of earlier ones.
    pub(super) epoch: u64,
    /// The batches, or an error that did not end the partition.
    pub(super) content: Result<Chunk>,
}

/// Whole batches of one partition, as they came in one answer. Their records have not been looked at.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// What was asked for: records before it are not for the reader.
    pub(super) fetch_offset: i64,
    /// The position after the last batch.
    pub(super) next_offset: i64,
    /// Producer ids and first offsets; empty unless only committed records are read.
    pub(super) aborted: Vec<(i64, i64)>,
}
