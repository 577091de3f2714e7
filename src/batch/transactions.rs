//! Which batches a reader of committed records sees.

use super::corrupt;
use super::reader::RecordBatch;
use crate::Result;
use std::collections::HashSet;

/// How a transaction ended, as a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ControlType {
    /// It was aborted.
    Abort,
    /// It was committed.
    Commit,
    /// A kind of control record that this crate does not know.
    Unknown(i16),
}

impl ControlType {
    /// Reads a control record's key: a version and a type.
    pub(super) fn parse(key: &[u8]) -> Result<Self> {
        let Some(&[v1, v0, t1, t0]) = key.first_chunk::<4>() else {
            return Err(corrupt(format!("a control record has a key of {} bytes", key.len())));
        };
        let version = i16::from_be_bytes([v1, v0]);
        if version < 0 {
            return Err(corrupt(format!("a control record has the version {version}")));
        }
        Ok(match i16::from_be_bytes([t1, t0]) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Unknown(other),
        })
    }
}

/// Tells the batches of committed transactions from those of aborted ones, for one fetch of one partition.
///
/// With the isolation level `read_committed` a broker returns the batches of aborted transactions too, and a list of
/// them beside: who, and from which offset on. An abort ends with its marker among the batches.
#[derive(Debug, Clone, Default)]
pub struct AbortedTransactions {
    /// First offset and producer id, those still ahead; the next one is last.
    ahead: Vec<(i64, i64)>,
    /// The producers whose transaction at this point is one that was aborted.
    aborting: HashSet<i64>,
}

impl AbortedTransactions {
    /// From producer ids and first offsets, in any order.
    pub fn new(aborted: impl IntoIterator<Item = (i64, i64)>) -> Self {
        let mut ahead: Vec<_> =
            aborted.into_iter().map(|(producer_id, first_offset)| (first_offset, producer_id)).collect();
        ahead.sort_unstable_by(|a, b| b.cmp(a));
        Self { ahead, aborting: HashSet::new() }
    }

    /// Whether this batch's records are for the reader. Every batch must be shown, in order. Control batches never are
    /// for the reader.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if the batch is a control batch that can't be decoded.
    pub fn admits(&mut self, batch: &RecordBatch) -> Result<bool> {
        // A producer id may be listed more than once; its earlier abort has ended when the later one's time comes.
        while let Some((_, producer_id)) = self.ahead.pop_if(|(first_offset, _)| *first_offset <= batch.last_offset()) {
            self.aborting.insert(producer_id);
        }
        if batch.is_control() {
            // A second marker for the same abort finds nothing to end: a coordinator that failed over may have
            // written it again.
            if batch.control_type()? == Some(ControlType::Abort) {
                self.aborting.remove(&batch.producer_id());
            }
            return Ok(false);
        }
        Ok(!batch.is_transactional() || !self.aborting.contains(&batch.producer_id()))
    }
}
