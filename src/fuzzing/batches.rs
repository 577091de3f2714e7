//! What a fetch returns: record batches of each magic and codec, decoded borrowed and owned.
//!
//! Input: the bytes of a partition in an answer to Fetch.

use super::CAP;
use crate::batch::{AbortedTransactions, DecodedBatch, Decompressor, RecordBatch, RecordBatches, scan};
use bytes::Bytes;

pub(super) fn decode(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = scan(&bytes);
    let mut decompressor = Decompressor::new();
    for batch in RecordBatches::new(bytes).map_while(Result::ok) {
        let _ = (batch.verify_crc(), batch.control_type());
        let Ok(decoded) = batch.decode(&mut decompressor, CAP) else { continue };
        for record in decoded.records().map_while(Result::ok) {
            record.headers().for_each(drop);
        }
        for record in decoded.into_consumer_records("t".into(), 0).map_while(Result::ok) {
            record.headers().for_each(drop);
        }
    }
}

/// Reads all there is, and checks what must hold whatever the bytes are.
pub(super) fn check(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let scanned = scan(&bytes);
    let mut decompressor = Decompressor::new();
    let mut filter = AbortedTransactions::new([(1, 0), (-1, 5)]);
    let mut batches = RecordBatches::new(bytes.clone());
    let (mut count, mut complete, mut next_offset, mut failed) = (0, 0, None, false);
    let mut last = -1;
    for batch in batches.by_ref() {
        assert!(!failed, "something after an error");
        let Ok(batch) = batch else {
            failed = true;
            continue;
        };
        count += 1;
        complete += batch.bytes().len();
        assert!(next_offset.is_none_or(|next| next < batch.next_offset()));
        next_offset = Some(batch.next_offset());
        let _ = (batch.verify_crc(), batch.control_type(), filter.admits(&batch));
        let Ok(decoded) = batch.decode(&mut decompressor, CAP) else { continue };
        assert!(decoded.payload().len() <= CAP.max(bytes.len()));
        last = check_records(&batch, &decoded, last.max(batch.base_offset() - 1));
    }
    assert_eq!((scanned.batches, scanned.complete, scanned.next_offset), (count, complete, next_offset));
    assert_eq!((scanned.incomplete, scanned.error.is_some()), (batches.incomplete(), failed));
    assert_eq!(batches.remaining(), bytes.len() - complete);
}

/// Returns the largest offset; borrowed and owned records must be the same.
fn check_records(batch: &RecordBatch, decoded: &DecodedBatch, before: i64) -> i64 {
    let mut owned = decoded.clone().into_consumer_records("t".into(), 0);
    // A compressed message of magic 0 or 1 only says where it ends.
    let mut last = if batch.count().is_none() { -1 } else { before };
    let (mut failed, mut records) = (false, 0);
    for record in decoded.records() {
        assert!(!failed, "something after an error");
        records += 1;
        let twin = owned.next().expect("as many owned records as borrowed ones");
        assert_eq!(record.is_ok(), twin.is_ok());
        let (Ok(record), Ok(twin)) = (record, twin) else {
            failed = true;
            continue;
        };
        assert!(record.offset() > last && record.offset() < batch.next_offset());
        last = record.offset();
        assert_eq!((record.offset(), record.timestamp()), (twin.offset(), twin.timestamp()));
        assert_eq!((record.key(), record.value()), (twin.key(), twin.value()));
        assert!(record.headers().eq(twin.headers()));
        assert_eq!(record.headers().count(), record.headers().len());
    }
    assert!(owned.next().is_none());
    if let (false, Some(count)) = (failed, batch.count()) {
        assert_eq!(records, count);
    }
    last
}
