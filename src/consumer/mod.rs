//! Consuming: from the broker's answer to the records of a partition.
//!
//! ```text
//!  kafka-router --- cursors ---> kafka-fetch-{broker} --- chunks (2 per partition) ---> whoever reads the stream
//!        ^                               |
//!        +------ cursors that moved -----+
//! ```
//!
//! A partition is served by a [`Cursor`](cursor::Cursor), which exists once and is owned by one thread at a time: by the
//! router while its leader is unknown or it has to wait, by a fetcher otherwise. Its other end is a
//! [`PartitionStream`], read by a thread of the user's, where checksums, decompression and decoding take place.
//! Cursors travel through inboxes that never block, so there is no cycle in which two threads wait for each other.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod chunk;
mod classify;
mod core;
mod cursor;
mod fetched;
mod fetcher;
mod handle;
mod lookup;
mod partition_consumer;
mod progress;
mod router;
mod session;
mod settings;
mod stream;

pub use fetched::{BatchRecords, FetchedBatch, IntoRecords};
pub use partition_consumer::{PartitionConsumer, PartitionConsumerBuilder, PartitionRecords};
pub use settings::{IsolationLevel, OffsetReset, StartOffset};

pub(crate) use self::core::{ConsumerCore, StartPartition};
pub(crate) use cursor::Start;
pub(crate) use settings::{FetchConfig, fetch_setters};
pub(crate) use stream::{Next, PartitionStream};
