//! Markers in the logs: the end of a transaction, and WriteTxnMarkers, versions 1 and 2, by which an administrator ends
//! one that hangs.

use super::transaction::{Identity, Part};
use crate::ErrorCode;
use crate::embedded::state::coordinator::Coordinated;
use crate::embedded::state::log::Marker;
use crate::embedded::state::topics::OFFSETS_TOPIC;
use crate::embedded::state::{Context, Reply, State, Time};
use crate::protocol::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};

impl State {
    /// Writes the markers of a decided transaction, as far as its partitions have leaders. It is complete with the last.
    pub(super) fn finish_transaction(&mut self, transactional_id: &str, now: Time) {
        let Some(entry) = self.transactions.by_id.get(transactional_id) else {
            self.transactions.unfinished.remove(transactional_id);
            return;
        };
        let commit = entry.transaction.phase == super::transaction::Phase::PrepareCommit;
        let coordinator_epoch = self.transaction_coordinator_epoch(transactional_id);
        let Identity { id, epoch } = entry.transaction.producer;
        let marker = Marker { producer_id: id, producer_epoch: epoch, commit, coordinator_epoch };
        let parts: Vec<Part> = entry.transaction.partitions.iter().cloned().collect();
        // A partition that will not have the marker any more does not hold up the others.
        let waits = |outcome| outcome == Err(ErrorCode::LEADER_NOT_AVAILABLE);
        let left: Vec<Part> = parts.into_iter().filter(|part| waits(self.write_marker(part, marker, now))).collect();
        let Some(entry) = self.transactions.by_id.get_mut(transactional_id) else { return };
        entry.transaction.partitions = left.into_iter().collect();
        if entry.transaction.partitions.is_empty() {
            entry.transaction.complete();
            entry.since = now;
            self.transactions.unfinished.remove(transactional_id);
            self.arm_transaction(transactional_id);
        }
    }

    /// Partitions may have leaders again: what waited for them goes on.
    pub(in crate::embedded::state) fn finish_transactions(&mut self) {
        let waiting: Vec<String> = self.transactions.unfinished.iter().cloned().collect();
        for transactional_id in waiting {
            self.finish_transaction(&transactional_id, self.now);
        }
    }

    fn transaction_coordinator_epoch(&self, transactional_id: &str) -> i32 {
        let partition = self.coordinators_partition(Coordinated::Transaction, transactional_id);
        let partition =
            partition.and_then(|partition| self.topics.partition(Coordinated::Transaction.topic(), partition));
        partition.map_or(0, |partition| partition.leader_epoch)
    }

    fn write_marker(&mut self, (topic, index): &Part, marker: Marker, now: Time) -> Result<(), ErrorCode> {
        let partition = self.topics.partition(topic, *index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if partition.leader.is_none() {
            return Err(ErrorCode::LEADER_NOT_AVAILABLE);
        }
        if topic == OFFSETS_TOPIC {
            // The group coordinator keeps offsets in no log.
            self.end_pending_offsets(marker.producer_id, marker.commit);
            return Ok(());
        }
        self.end_transaction(topic, *index, &marker, now).map(|_| ())
    }

    pub(in crate::embedded::state) fn write_txn_markers(
        &mut self,
        context: &Context,
        request: WriteTxnMarkersRequest,
    ) -> Reply {
        let markers = request.markers.into_iter().map(|asked| self.write_asked(context, asked)).collect();
        Reply::of(WriteTxnMarkersResponse { markers })
    }

    fn write_asked(&mut self, context: &Context, asked: WritableTxnMarker) -> WritableTxnMarkerResult {
        let marker = Marker {
            producer_id: asked.producer_id,
            producer_epoch: asked.producer_epoch,
            commit: asked.transaction_result,
            coordinator_epoch: asked.coordinator_epoch,
        };
        let mut topics = Vec::new();
        for topic in asked.topics {
            let mut partitions = Vec::new();
            for partition_index in topic.partition_indexes {
                let found = self.leader(context.broker, &topic.name, partition_index, -1).map(|_| ());
                let part = (topic.name.clone(), partition_index);
                let written = found.and_then(|()| self.write_marker(&part, marker, context.now));
                let error_code = written.err().unwrap_or(ErrorCode::NONE).0;
                partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
            }
            topics.push(WritableTxnMarkerTopicResult { name: topic.name, partitions });
        }
        WritableTxnMarkerResult { producer_id: asked.producer_id, topics }
    }
}
