//! What a broker does to batches of magic 2: it gives them offsets and its epoch, writes control batches, and leaves
//! out records.

use super::builder::BatchBuilder;
use super::compression::{Compression, Compressor, Decompressor};
use super::header::{
    ATTRIBUTES_AT, CODEC_MASK, CONTROL, COUNT_AT, CRC_AT, HEADER, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LENGTH_AT,
    LOG_APPEND_TIME, LOG_OVERHEAD, MAX_TIMESTAMP_AT,
};
use super::reader::RecordBatch;
use super::records::Record;
use super::varint::Cursor;
use super::{corrupt, too_large};
use crate::Result;
use byteorder::{BigEndian, ByteOrder};

/// Gives a batch its place in a log. The checksum does not cover these fields.
pub(crate) fn assign_offset(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    if let Some(header) = batch.first_chunk_mut::<HEADER>() {
        BigEndian::write_i64(header, base_offset);
        BigEndian::write_i32(&mut header[LEADER_EPOCH_AT..], leader_epoch);
    }
}

/// Sets the largest timestamp; with `append_time` it is the broker's and goes for all records.
pub(crate) fn set_max_timestamp(batch: &mut [u8], timestamp: i64, append_time: bool) {
    let Some(header) = batch.first_chunk_mut::<HEADER>() else { return };
    let attributes = BigEndian::read_i16(&header[ATTRIBUTES_AT..]) & !LOG_APPEND_TIME;
    let attributes = if append_time { attributes | LOG_APPEND_TIME } else { attributes };
    BigEndian::write_i16(&mut header[ATTRIBUTES_AT..], attributes);
    BigEndian::write_i64(&mut header[MAX_TIMESTAMP_AT..], timestamp);
    write_crc(batch);
}

/// A batch that holds the marker which ends a transaction. It has no offset yet.
pub(crate) fn end_transaction_marker(
    producer_id: i64,
    epoch: i16,
    commit: bool,
    coordinator_epoch: i32,
    timestamp: i64,
) -> Result<Vec<u8>> {
    let key = [0, 0, 0, u8::from(commit)];
    let mut value = [0; 6];
    BigEndian::write_i32(&mut value[2..], coordinator_epoch);
    let mut builder = BatchBuilder::new(Vec::with_capacity(HEADER + 32));
    builder.append(timestamp, Some(&key), Some(&value), &[])?;
    let mut sealed = builder.seal(Compression::None, &mut Compressor::default())?;
    sealed.stamp(producer_id, epoch, -1, true);
    let mut batch = sealed.bytes().to_vec();
    if let Some(header) = batch.first_chunk_mut::<HEADER>() {
        let attributes = BigEndian::read_i16(&header[ATTRIBUTES_AT..]) | CONTROL;
        BigEndian::write_i16(&mut header[ATTRIBUTES_AT..], attributes);
    }
    write_crc(&mut batch);
    Ok(batch)
}

/// The batch with its records compressed in another way.
pub(crate) fn recompress(batch: &RecordBatch, codec: Compression, cap: usize) -> Result<Vec<u8>> {
    let decoded = batch.decode(&mut Decompressor::new(), cap)?;
    rebuilt(batch, codec, decoded.payload(), None)
}

/// The batch with only the records that `keep` wants; it spans the same offsets. `None` if it wants them all.
pub(crate) fn retain(
    batch: &RecordBatch,
    cap: usize,
    mut keep: impl FnMut(&Record<'_>) -> bool,
) -> Result<Option<Vec<u8>>> {
    let decoded = batch.decode(&mut Decompressor::new(), cap)?;
    let mut cursor = Cursor { bytes: decoded.payload(), at: 0 };
    let (mut kept, mut count, mut all) = (Vec::new(), 0i32, true);
    for record in decoded.records() {
        let record = record?;
        // The same bytes that the record was read from, its length in front of it.
        let start = cursor.at;
        let length = usize::try_from(cursor.varint()?).map_err(|_| corrupt("a record of negative length"))?;
        cursor.take(length)?;
        if keep(&record) {
            kept.extend_from_slice(decoded.payload().get(start..cursor.at).unwrap_or_default());
            count = count.saturating_add(1);
        } else {
            all = false;
        }
    }
    if all {
        return Ok(None);
    }
    rebuilt(batch, batch.compression()?, &kept, Some(count)).map(Some)
}

/// Lets a batch end earlier, with only the records before that offset.
pub(crate) fn cut(batch: &RecordBatch, end_offset: i64, cap: usize) -> Result<Vec<u8>> {
    let kept = retain(batch, cap, |record| record.offset() < end_offset)?;
    let mut bytes = kept.unwrap_or_else(|| batch.bytes().to_vec());
    let delta = i32::try_from(end_offset.saturating_sub(1).saturating_sub(batch.base_offset()));
    let delta = delta.map_err(|_| corrupt("a batch is cut beyond its end"))?;
    if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
        BigEndian::write_i32(&mut header[LAST_OFFSET_DELTA_AT..], delta);
    }
    write_crc(&mut bytes);
    Ok(bytes)
}

/// A batch's header with other records behind it.
fn rebuilt(batch: &RecordBatch, codec: Compression, records: &[u8], count: Option<i32>) -> Result<Vec<u8>> {
    let header = batch.bytes().get(..HEADER).ok_or_else(|| corrupt("a batch without a whole header"))?;
    let mut bytes = header.to_vec();
    if !records.is_empty() {
        Compressor::default().compress(codec, records, &mut bytes)?;
    }
    let length = i32::try_from(bytes.len().saturating_sub(LOG_OVERHEAD));
    let length = length.map_err(|_| too_large("a batch beyond 31 bits"))?;
    if let Some(header) = bytes.first_chunk_mut::<HEADER>() {
        BigEndian::write_i32(&mut header[LENGTH_AT..], length);
        let attributes = BigEndian::read_i16(&header[ATTRIBUTES_AT..]) & !CODEC_MASK;
        let codec = if records.is_empty() { Compression::None } else { codec };
        BigEndian::write_i16(&mut header[ATTRIBUTES_AT..], attributes | i16::from(codec.id()));
        if let Some(count) = count {
            BigEndian::write_i32(&mut header[COUNT_AT..], count);
        }
    }
    write_crc(&mut bytes);
    Ok(bytes)
}

fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(ATTRIBUTES_AT..).unwrap_or_default());
    if let Some(header) = batch.first_chunk_mut::<HEADER>() {
        BigEndian::write_u32(&mut header[CRC_AT..], crc);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ControlType, RecordBatches};
    use super::*;
    use crate::record::TimestampType;

    const CAP: usize = 1 << 20;

    fn batch(codec: Compression) -> RecordBatch {
        let mut builder = BatchBuilder::new(Vec::new());
        for i in 0..10i64 {
            builder.append(1000 + i, Some(&[i as u8]), Some(&[b'v'; 100]), &[]).unwrap();
        }
        let sealed = builder.seal(codec, &mut Compressor::default()).unwrap();
        let mut bytes = sealed.bytes().to_vec();
        assign_offset(&mut bytes, 50, 3);
        read(bytes)
    }

    fn read(bytes: Vec<u8>) -> RecordBatch {
        let batch = RecordBatches::new(bytes).next().unwrap().unwrap();
        batch.verify_crc().unwrap();
        batch
    }

    fn offsets(batch: &RecordBatch) -> Vec<i64> {
        let decoded = batch.decode(&mut Decompressor::new(), CAP).unwrap();
        decoded.records().map(|record| record.unwrap().offset()).collect()
    }

    #[test]
    fn a_place_in_the_log_and_append_time_keep_the_checksum_right() {
        let mut bytes = batch(Compression::None).bytes().to_vec();
        set_max_timestamp(&mut bytes, 77, true);
        let appended = read(bytes.clone());
        assert_eq!((appended.base_offset(), appended.last_offset(), appended.leader_epoch()), (50, 59, 3));
        assert_eq!((appended.timestamp_type(), appended.max_timestamp()), (TimestampType::LogAppendTime, 77));
        set_max_timestamp(&mut bytes, 78, false);
        assert_eq!(read(bytes).timestamp_type(), TimestampType::CreateTime);
    }

    #[test]
    fn records_are_left_out_and_the_offsets_stay() {
        for codec in Compression::ALL.into_iter().filter(|codec| codec.is_supported()) {
            let batch = batch(codec);
            assert!(retain(&batch, CAP, |_| true).unwrap().is_none());
            let kept = read(retain(&batch, CAP, |record| record.offset() % 3 == 0).unwrap().unwrap());
            assert_eq!(offsets(&kept), [51, 54, 57]);
            assert_eq!((kept.base_offset(), kept.last_offset(), kept.compression().unwrap()), (50, 59, codec));
            let none = read(retain(&batch, CAP, |_| false).unwrap().unwrap());
            assert_eq!((none.count(), none.last_offset(), offsets(&none)), (Some(0), 59, Vec::new()));
            let cut = read(cut(&batch, 54, CAP).unwrap());
            assert_eq!((offsets(&cut), cut.next_offset()), (vec![50, 51, 52, 53], 54));
            let again = read(recompress(&batch, Compression::None, CAP).unwrap());
            assert_eq!((offsets(&again), again.compression().unwrap()), (offsets(&batch), Compression::None));
        }
    }

    #[test]
    fn a_marker_is_a_control_batch_of_its_producer() {
        for (commit, kind) in [(true, ControlType::Commit), (false, ControlType::Abort)] {
            let marker = read(end_transaction_marker(7, 2, commit, 5, 1000).unwrap());
            assert!(marker.is_control() && marker.is_transactional());
            assert_eq!((marker.producer_id(), marker.producer_epoch(), marker.base_sequence()), (7, 2, -1));
            assert_eq!(marker.control_type().unwrap(), Some(kind));
        }
    }
}
