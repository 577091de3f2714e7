//! Compaction (`cleanup.policy=compact`): of each key only the last record stays.

use super::config::LogConfig;
use super::{Log, Stored, UNPACKED_BYTES, only_batch};
use crate::batch::{AbortedTransactions, Decompressor, RecordBatch, edit};
use std::collections::{HashMap, VecDeque};

impl Log {
    /// Compacts what is old enough and decided, but never the last batch, if enough has come since the last time.
    pub(in crate::embedded) fn compact(&mut self, config: &LogConfig, now_ms: i64) {
        let Some(last) = self.batches.back() else { return };
        let mut end_offset = self.last_stable_offset().min(last.batch.base_offset());
        let young = |stored: &&Stored| now_ms.saturating_sub(stored.written_ms) < config.min_compaction_lag_ms;
        if let Some(young) = self.batches.iter().find(young) {
            end_offset = end_offset.min(young.batch.base_offset());
        }
        let dirty = self.available(self.compacted_to, end_offset);
        let cleanable = self.available(self.start_offset, end_offset);
        if dirty as f64 <= config.min_cleanable_dirty_ratio * cleanable as f64 {
            return;
        }
        let latest = self.latest_by_key(end_offset);
        let mut kept = VecDeque::with_capacity(self.batches.len());
        for stored in self.batches.drain(..) {
            if stored.batch.is_control() || stored.batch.base_offset() >= end_offset {
                kept.push_back(stored);
                continue;
            }
            let tombstones = now_ms.saturating_sub(stored.written_ms) < config.delete_retention_ms;
            let wanted = |offset: i64, key: &[u8], has_value: bool| {
                latest.get(key) == Some(&offset) && (has_value || tombstones)
            };
            kept.extend(cleaned(stored, wanted));
        }
        let mut position = 0;
        for stored in &mut kept {
            stored.position = position;
            position += stored.batch.bytes().len() as u64;
        }
        self.batches = kept;
        self.compacted_to = end_offset;
    }

    /// The offset of the last record of each key, without those of aborted transactions.
    fn latest_by_key(&self, end_offset: i64) -> HashMap<Vec<u8>, i64> {
        let mut latest = HashMap::new();
        let aborted = self.aborted.iter().map(|aborted| (aborted.producer_id, aborted.first_offset));
        let mut admitted = AbortedTransactions::new(aborted);
        let mut decompressor = Decompressor::new();
        for batch in self.batches().take_while(|batch| batch.base_offset() < end_offset) {
            if !admitted.admits(batch).unwrap_or(false) {
                continue;
            }
            let Ok(decoded) = batch.decode(&mut decompressor, UNPACKED_BYTES) else { continue };
            for record in decoded.records().map_while(Result::ok) {
                if let Some(key) = record.key() {
                    latest.insert(key.to_vec(), record.offset());
                }
            }
        }
        latest
    }
}

/// A batch with only the records that are wanted; `None` if there is none.
fn cleaned(stored: Stored, wanted: impl Fn(i64, &[u8], bool) -> bool) -> Option<Stored> {
    let mut count = 0;
    let retained = edit::retain(&stored.batch, UNPACKED_BYTES, |record| {
        // Records that came before the topic was compacted may have no key; they go.
        let keep = record.key().is_some_and(|key| wanted(record.offset(), key, record.value().is_some()));
        count += i32::from(keep);
        keep
    });
    let batch: RecordBatch = match retained {
        Ok(Some(bytes)) if count > 0 => only_batch(bytes)?,
        Ok(Some(_)) => return None,
        // All are wanted; or they can't be decoded, which they could when they came.
        Ok(None) | Err(_) => return Some(stored),
    };
    Some(Stored { batch, ..stored })
}
