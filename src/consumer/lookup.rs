//! Questions to a leader about offsets: where a partition begins or ends, and whether its log was cut. Pure: requests are
//! made and answers read here, the fetcher sends and receives them.

use super::classify::{Verdict, classify};
use super::cursor::{Cursor, Start};
use crate::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};

/// The timestamps that stand for the ends of a log.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// What consumers give as replica id.
const CONSUMER: i32 = -1;

/// What is known after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Begin here.
    At(i64),
    /// Nothing is that late: look for the end of the log.
    BeyondEnd,
    /// An error: the offset stays unknown, or as it was.
    Failed(Verdict),
}

/// What is known of a log after a look at where an epoch ended in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    /// What was read is still what the log has.
    Valid,
    /// The log was cut: it went on from this offset with other records.
    Truncated(i64),
    /// An error: the question is still open.
    Failed(Verdict),
}

/// One question for all of these cursors, in the order of topics; `None` if none of them needs it.
pub(super) fn list_offsets(cursors: &[Cursor], isolation_level: i8, timeout_ms: i32) -> Option<ListOffsetsRequest> {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for cursor in cursors {
        let Some(timestamp) = sought(cursor.at) else { continue };
        let (name, partition_index) = cursor.key();
        if topics.last().is_none_or(|topic| topic.name != name) {
            topics.push(ListOffsetsTopic { name: name.to_owned(), partitions: Vec::new() });
        }
        if let Some(topic) = topics.last_mut() {
            let current_leader_epoch = cursor.leader.epoch;
            topic.partitions.push(ListOffsetsPartition { partition_index, current_leader_epoch, timestamp });
        }
    }
    let request = ListOffsetsRequest { replica_id: CONSUMER, isolation_level, topics, timeout_ms };
    (!request.topics.is_empty()).then_some(request)
}

/// The timestamp that stands for a start; `None` if it is an offset already.
fn sought(start: Start) -> Option<i64> {
    match start {
        Start::Offset { .. } => None,
        Start::Earliest => Some(EARLIEST),
        Start::Latest => Some(LATEST),
        Start::Timestamp(timestamp) => Some(timestamp.max(0)),
    }
}

/// Reads the answer for a partition that asked for this start.
pub(super) fn found(start: Start, answer: &ListOffsetsPartitionResponse) -> Found {
    match classify(ErrorCode(answer.error_code)) {
        Verdict::Go if answer.offset >= 0 => Found::At(answer.offset),
        // Only a search by time may find nothing.
        Verdict::Go if matches!(start, Start::Timestamp(_)) => Found::BeyondEnd,
        // No offset is not offset -1: the leader does not know yet.
        Verdict::Go => Found::Failed(Verdict::Later),
        // The question names no offset, so no offset can be out of range.
        Verdict::OutOfRange => Found::Failed(Verdict::Later),
        verdict => Found::Failed(verdict),
    }
}

/// One question for all of these cursors that need it; `None` if none does.
pub(super) fn epoch_ends(cursors: &[Cursor]) -> Option<OffsetForLeaderEpochRequest> {
    let mut topics: Vec<OffsetForLeaderTopic> = Vec::new();
    for cursor in cursors.iter().filter(|cursor| cursor.unvalidated) {
        let Start::Offset { leader_epoch, .. } = cursor.at else { continue };
        let (name, partition) = cursor.key();
        if topics.last().is_none_or(|topic| topic.topic != name) {
            topics.push(OffsetForLeaderTopic { topic: name.to_owned(), partitions: Vec::new() });
        }
        if let Some(topic) = topics.last_mut() {
            let current_leader_epoch = cursor.leader.epoch;
            topic.partitions.push(OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch });
        }
    }
    let request = OffsetForLeaderEpochRequest { replica_id: CONSUMER, topics };
    (!request.topics.is_empty()).then_some(request)
}

/// Reads the answer for a partition whose next offset is this.
pub(super) fn validity(offset: i64, answer: &EpochEndOffset) -> Validity {
    match classify(ErrorCode(answer.error_code)) {
        // The leader has no record of epochs that old: nothing says that anything was lost.
        Verdict::Go if answer.end_offset < 0 || answer.leader_epoch < 0 => Validity::Valid,
        Verdict::Go if answer.end_offset < offset => Validity::Truncated(answer.end_offset),
        Verdict::Go => Validity::Valid,
        verdict => Validity::Failed(verdict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: ErrorCode, offset: i64) -> ListOffsetsPartitionResponse {
        ListOffsetsPartitionResponse { error_code: code.0, offset, ..Default::default() }
    }

    fn end(code: ErrorCode, leader_epoch: i32, end_offset: i64) -> EpochEndOffset {
        EpochEndOffset { error_code: code.0, leader_epoch, end_offset, ..Default::default() }
    }

    #[test]
    fn o10_a_negative_offset_is_not_an_offset() {
        for start in [Start::Earliest, Start::Latest] {
            assert_eq!(found(start, &answer(ErrorCode::NONE, 7)), Found::At(7));
            assert_eq!(found(start, &answer(ErrorCode::NONE, -1)), Found::Failed(Verdict::Later));
            assert_eq!(found(start, &answer(ErrorCode::NONE, i64::MIN)), Found::Failed(Verdict::Later));
        }
        assert_eq!(found(Start::Timestamp(5), &answer(ErrorCode::NONE, -1)), Found::BeyondEnd);
    }

    #[test]
    fn o7_errors_leave_the_offset_unknown() {
        for code in [
            ErrorCode::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::OFFSET_NOT_AVAILABLE,
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::OFFSET_OUT_OF_RANGE,
            ErrorCode(9999),
        ] {
            for start in [Start::Earliest, Start::Latest, Start::Timestamp(5)] {
                assert!(matches!(found(start, &answer(code, -1)), Found::Failed(_)), "{code}");
            }
            assert!(matches!(validity(10, &end(code, 3, 0)), Validity::Failed(_)), "{code}");
        }
    }

    #[test]
    fn o3_an_epoch_that_ended_before_the_position_means_that_the_log_was_cut() {
        assert_eq!(validity(10, &end(ErrorCode::NONE, 3, 9)), Validity::Truncated(9));
        assert_eq!(validity(10, &end(ErrorCode::NONE, 3, 0)), Validity::Truncated(0));
        assert_eq!(validity(10, &end(ErrorCode::NONE, 3, 10)), Validity::Valid);
        assert_eq!(validity(10, &end(ErrorCode::NONE, 3, 11)), Validity::Valid);
    }

    #[test]
    fn o4_an_epoch_the_leader_does_not_know_is_no_data_loss() {
        assert_eq!(validity(10, &end(ErrorCode::NONE, -1, -1)), Validity::Valid);
        assert_eq!(validity(10, &end(ErrorCode::NONE, -1, 5)), Validity::Valid);
    }
}
