//! What is measured, in time by `batch` and in instructions by `instructions`: the way of a record through memory.

use sarameya::batch::{BatchBuilder, Compression, Compressor, Decompressor, RecordBatches, SealedBatch};

/// How many records a batch has here.
pub const RECORDS: u32 = 1000;
/// With the key of 8 bytes, records of 100 bytes.
pub const VALUE: [u8; 92] = [b'x'; 92];
const CAP: usize = 128 << 20;

/// A batch of [`RECORDS`] records, in this memory.
///
/// # Panics
/// If a record does not fit, which none does here.
pub fn build(buffer: Vec<u8>) -> BatchBuilder {
    let mut builder = BatchBuilder::new(buffer);
    for i in 0..RECORDS {
        let timestamp = 1_700_000_000_000 + i64::from(i);
        builder.append(timestamp, Some(&u64::from(i).to_be_bytes()), Some(&VALUE), &[]).expect("fits");
    }
    builder
}

/// The batch, ready to be sent.
///
/// # Panics
/// If the codec is not compiled in.
pub fn seal(buffer: Vec<u8>, compression: Compression, compressor: &mut Compressor) -> SealedBatch {
    build(buffer).seal(compression, compressor).expect("compiled in")
}

/// Checks a batch and looks at each record where it is; returns how many bytes the values have.
///
/// # Panics
/// If the batch is damaged.
pub fn check_and_decode(sealed: &SealedBatch, decompressor: &mut Decompressor) -> usize {
    let mut sum = 0;
    for batch in RecordBatches::new(sealed.bytes().clone()) {
        let batch = batch.expect("a batch");
        batch.verify_crc().expect("the right checksum");
        let decoded = batch.decode(decompressor, CAP).expect("decodes");
        for record in decoded.records() {
            sum += record.expect("a record").value().map_or(0, <[u8]>::len);
        }
    }
    sum
}

/// Makes records that own their memory; returns how many.
///
/// # Panics
/// If the batch is damaged.
pub fn own(sealed: &SealedBatch, decompressor: &mut Decompressor) -> usize {
    let batches = RecordBatches::new(sealed.bytes().clone());
    let records = batches.map(|batch| batch.expect("a batch").decode(decompressor, CAP).expect("decodes"));
    records.map(|decoded| decoded.into_consumer_records("t".into(), 0).count()).sum()
}
