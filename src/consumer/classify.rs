//! The decisions of a fetcher. Pure: no I/O, no clock of its own.

use crate::{ErrorCode, ErrorKind};
use std::time::{Duration, Instant};

/// A damaged answer is asked for again this many times: damage on the way is gone then, damage on disk is not.
pub(super) const DAMAGED_LIMIT: u32 = 3;

/// What an error code of one partition means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No error.
    Go,
    /// Another broker is to be asked: look at newer metadata. The offset stays.
    Moved,
    /// The same broker can answer in a while. The offset stays.
    Later,
    /// The leader does not have this offset: the reset policy decides.
    OutOfRange,
    /// The user must hear of it; it may pass, so it is tried again. The offset stays.
    Refused,
    /// The broker can't read its log here: a few more attempts, then the end. Never skipped.
    Damaged,
    /// Trying again changes nothing.
    Hopeless,
}

/// The one place that says what errors of a partition mean, for Fetch, ListOffsets and OffsetForLeaderEpoch.
pub(super) fn classify(code: ErrorCode) -> Verdict {
    match code {
        ErrorCode::NONE => Verdict::Go,
        // The leader changed, and our metadata or the broker's does not know yet.
        ErrorCode::NOT_LEADER_OR_FOLLOWER
        | ErrorCode::FENCED_LEADER_EPOCH
        | ErrorCode::LEADER_NOT_AVAILABLE
        | ErrorCode::REPLICA_NOT_AVAILABLE
        // The disk of this replica failed: the controller is about to move the leadership.
        | ErrorCode::KAFKA_STORAGE_ERROR
        // Deleted, recreated, or so new that this broker has not heard of it.
        | ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        | ErrorCode::UNKNOWN_TOPIC_ID
        | ErrorCode::INCONSISTENT_TOPIC_ID => Verdict::Moved,
        // The broker's metadata is behind ours: it will catch up.
        ErrorCode::UNKNOWN_LEADER_EPOCH
        // A new leader that does not know yet how far its log is committed.
        | ErrorCode::OFFSET_NOT_AVAILABLE
        | ErrorCode::REQUEST_TIMED_OUT => Verdict::Later,
        ErrorCode::OFFSET_OUT_OF_RANGE => Verdict::OutOfRange,
        ErrorCode::CORRUPT_MESSAGE => Verdict::Damaged,
        // The version is the highest both sides know, so the broker can't convert what it has for us.
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        | ErrorCode::UNSUPPORTED_VERSION
        // A search by time in a log older than timestamps.
        | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
        | ErrorCode::INVALID_TOPIC_EXCEPTION => Verdict::Hopeless,
        // An operator may grant the right while we wait.
        ErrorCode::TOPIC_AUTHORIZATION_FAILED => Verdict::Refused,
        other if other.is_retriable() => Verdict::Later,
        // What is not known is not hidden, and no reason to give up or to move the offset.
        _ => Verdict::Refused,
    }
}

/// Whether reading the same bytes again may end otherwise.
pub(super) fn may_be_read_again(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Corrupt | ErrorKind::Protocol)
}

/// How long the broker may keep a request for want of data.
///
/// While a partition is left out because its reader has not made room, the request must not be kept for long: what
/// the reader drained meanwhile is not asked for before the answer. The longer it has not drained, the less
/// likely it does so now, so a stuck reader costs few requests in all.
pub(super) fn long_poll(now: Instant, full_since: Option<Instant>, max_wait: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_millis(5);
    match full_since {
        None => max_wait,
        Some(since) => now.saturating_duration_since(since).max(SHORTEST).min(max_wait),
    }
}

/// Whether a chunk is copied so that it does not hold the whole answer in memory. A reader that waits takes it at once
/// and may hold more than one that has others queued already.
pub(super) fn pins_too_much(chunk: usize, answer: usize, reader_waits: bool) -> bool {
    const SMALL: usize = 256 * 1024;
    let share = if reader_waits { 16 } else { 4 };
    answer > SMALL && chunk.saturating_mul(share) < answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn o2_o5_only_out_of_range_touches_the_offset() {
        for code in (-2..200).map(ErrorCode).filter(|code| *code != ErrorCode::OFFSET_OUT_OF_RANGE) {
            assert_ne!(classify(code), Verdict::OutOfRange, "{code}");
        }
        assert_eq!(classify(ErrorCode::OFFSET_OUT_OF_RANGE), Verdict::OutOfRange);
        assert_eq!(classify(ErrorCode::OFFSET_NOT_AVAILABLE), Verdict::Later);
        assert_eq!(classify(ErrorCode::FENCED_LEADER_EPOCH), Verdict::Moved);
        assert_eq!(classify(ErrorCode::UNKNOWN_LEADER_EPOCH), Verdict::Later);
    }

    #[test]
    fn b3_a_moved_leader_is_looked_up_and_a_missing_right_is_told() {
        assert_eq!(classify(ErrorCode::NOT_LEADER_OR_FOLLOWER), Verdict::Moved);
        assert_eq!(classify(ErrorCode::TOPIC_AUTHORIZATION_FAILED), Verdict::Refused);
        assert_eq!(classify(ErrorCode(9999)), Verdict::Refused);
        assert_eq!(classify(ErrorCode::NONE), Verdict::Go);
    }

    #[test]
    fn no_error_kafka_calls_retriable_ends_a_partition() {
        for code in (1..200).map(ErrorCode).filter(|code| code.is_retriable()) {
            assert_ne!(classify(code), Verdict::Hopeless, "{code}");
        }
    }

    #[test]
    fn the_long_poll_is_short_after_a_reader_filled_up_and_long_when_it_is_stuck() {
        let now = Instant::now();
        let max = 500 * MS;
        assert_eq!(long_poll(now, None, max), max);
        assert_eq!(long_poll(now, Some(now), max), 5 * MS);
        assert_eq!(long_poll(now + 40 * MS, Some(now), max), 40 * MS);
        assert_eq!(long_poll(now + 4000 * MS, Some(now), max), max);
        assert_eq!(long_poll(now, Some(now), MS), MS, "a wait asked for below the shortest stays");
    }

    #[test]
    fn x4_a_chunk_pins_at_most_a_few_times_its_size() {
        let mib = 1024 * 1024;
        assert!(!pins_too_much(mib, mib, false));
        assert!(!pins_too_much(mib, 4 * mib, false));
        assert!(pins_too_much(mib, 5 * mib, false));
        assert!(!pins_too_much(mib, 16 * mib, true));
        assert!(pins_too_much(mib, 17 * mib, true));
        assert!(!pins_too_much(10, 200 * 1024, false), "small answers are not worth a copy");
    }
}
