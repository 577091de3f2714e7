//! Offsets that are committed in a transaction: TxnOffsetCommit's part of the group coordinator (KIP-98, KIP-447).

use super::Committed;
use super::commit::Committer;
use crate::ErrorCode;
use crate::embedded::state::State;
use crate::embedded::state::{Context, Coordinated};
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitResponsePartition,
    TxnOffsetCommitResponseTopic,
};

/// In a transaction a member epoch that is over is told as a generation that is.
fn transactional(code: ErrorCode) -> ErrorCode {
    if code == ErrorCode::STALE_MEMBER_EPOCH { ErrorCode::ILLEGAL_GENERATION } else { code }
}

impl State {
    /// Takes in the offsets of a transaction. Whether the producer may write them is not asked here. They count when
    /// [`end_pending_offsets`](Self::end_pending_offsets) is called for the producer id.
    pub(in crate::embedded) fn pend_offsets(
        &mut self,
        context: &Context,
        request: &TxnOffsetCommitRequest,
    ) -> Vec<TxnOffsetCommitResponseTopic> {
        let checked = self.check_pending(context, request);
        let mut topics = Vec::new();
        for topic in &request.topics {
            let partitions = topic.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let known = self.topics.partition(&topic.name, index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
                let pended = known
                    .and(checked)
                    .map_err(transactional)
                    .and_then(|()| self.pend_one(context, request, &topic.name, partition));
                let error_code = pended.err().unwrap_or(ErrorCode::NONE).0;
                TxnOffsetCommitResponsePartition { partition_index: index, error_code }
            });
            let partitions = partitions.collect();
            topics.push(TxnOffsetCommitResponseTopic { name: topic.name.clone(), partitions });
        }
        topics
    }

    fn check_pending(&mut self, context: &Context, request: &TxnOffsetCommitRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(context, Coordinated::Group, &request.group_id)?;
        let committer = Committer {
            group: &request.group_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            transactional: true,
            version: context.version,
        };
        let allowed = self.check_committer(committer, context.now)?;
        allowed.check(request.topics.iter().flat_map(|topic| {
            let id = |one: &TxnOffsetCommitRequestPartition| {
                self.committable(&topic.name, one.partition_index, one.committed_metadata.as_deref())
            };
            topic.partitions.iter().filter_map(id)
        }))
    }

    fn pend_one(
        &mut self,
        context: &Context,
        request: &TxnOffsetCommitRequest,
        topic: &str,
        partition: &TxnOffsetCommitRequestPartition,
    ) -> Result<(), ErrorCode> {
        self.fault_at(ApiKey::TXN_OFFSET_COMMIT, topic, partition.partition_index)?;
        self.check_metadata(partition.committed_metadata.as_deref())?;
        let TxnOffsetCommitRequestPartition { partition_index, committed_offset, committed_leader_epoch, .. } =
            *partition;
        let metadata = partition.committed_metadata.clone();
        let committed = Committed::new(committed_offset, committed_leader_epoch, metadata, context.now);
        self.offsets.pend(request.producer_id, &request.group_id, topic, partition_index, committed);
        self.watch_offsets(context.now);
        Ok(())
    }

    /// The transaction of a producer id has ended: its offsets are committed or dropped.
    pub(in crate::embedded) fn end_pending_offsets(&mut self, producer_id: i64, commit: bool) {
        self.offsets.end_pending(producer_id, commit);
    }
}
