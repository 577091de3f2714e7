//! Record batches: building, compressing, reading. Outside the paved path.
//!
//! A user of the producer and the consumer needs nothing from here. It is public for tools that work on batches
//! themselves, such as mirrors, log readers and test servers; what is here may change more than the rest.
//!
//! - [`BatchBuilder`] writes records in place and [`seals`](BatchBuilder::seal) them into a [`SealedBatch`].
//! - [`RecordBatches`] walks what a fetch returned, magic 0, 1 and 2; [`scan`] looks at the headers only.
//! - [`Compressor`] and [`Decompressor`] hold the codecs' memory for a thread.
//! - [`AbortedTransactions`] says which batches a reader of committed records sees.
//!
//! No I/O, no threads, no clock. Bytes from the network are trusted with nothing: no length or count of theirs sizes
//! an allocation, and damage is an error of kind [`Corrupt`](crate::ErrorKind::Corrupt), never a panic.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::indexing_slicing))]

mod builder;
mod compression;
mod crc;
#[cfg(feature = "embedded")]
pub(crate) mod edit;
mod header;
mod legacy;
mod reader;
mod records;
mod sealed;
mod transactions;
mod varint;

#[cfg(all(test, feature = "fuzzing"))]
mod fuzz_tests;
#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use builder::BatchBuilder;
pub use compression::{Compression, CompressionLevels, Compressor, Decompressor};
pub use reader::{RecordBatch, RecordBatches, Scan, scan};
pub use records::{ConsumerRecords, DecodedBatch, RawHeader, Record, RecordHeaders, Records};
pub(crate) use records::{Place, Span};
pub use sealed::SealedBatch;
pub use transactions::{AbortedTransactions, ControlType};

use crate::{Error, ErrorKind};

/// The size of a batch's header in bytes, which is that of a batch without records.
pub const HEADER_BYTES: usize = header::HEADER;

/// Bytes that are not a record batch, or one whose parts contradict each other.
#[cold]
fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cold]
fn too_large(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::TooLarge, message)
}

#[cold]
fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}
