//! The log of a partition, in memory.

/// A partition's record batches, in the order of their offsets.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Log {
    start_offset: i64,
    end_offset: i64,
}

impl Log {
    /// The offset of the first record that can still be read.
    pub(in crate::embedded) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset of the next record.
    pub(in crate::embedded) fn end_offset(&self) -> i64 {
        self.end_offset
    }
}
