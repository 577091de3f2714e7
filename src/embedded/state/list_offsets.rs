//! ListOffsets, versions 1 to 11: offsets by timestamp, and the ends of a partition (KIP-79, KIP-734, KIP-405, KIP-1005).

use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use std::collections::HashSet;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
/// The replica id of a consumer.
const CONSUMER: i32 = -1;
/// The replica id of a tool that may ask any replica.
const DEBUGGING: i32 = -2;
const READ_COMMITTED: i8 = 1;

/// A place in a log: timestamp, offset, leader epoch.
type Found = (i64, i64, i32);

impl State {
    pub(super) fn list_offsets(&mut self, context: &Context, request: ListOffsetsRequest) -> Reply {
        let mut asked = HashSet::new();
        let mut twice = HashSet::new();
        for topic in &request.topics {
            let all = topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index));
            twice.extend(all.filter(|partition| !asked.insert(*partition)));
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let found = match twice.contains(&(topic.name.as_str(), index)) {
                    true => Err(ErrorCode::INVALID_REQUEST),
                    false => self.list_offset(context, &request, &topic.name, partition),
                };
                let (code, (timestamp, offset, epoch)) = match found {
                    Ok(found) => (ErrorCode::NONE, found.unwrap_or((-1, -1, -1))),
                    Err(code) => (code, (-1, -1, -1)),
                };
                partitions.push(ListOffsetsPartitionResponse {
                    partition_index: index,
                    error_code: code.0,
                    timestamp,
                    offset,
                    leader_epoch: if context.version >= 4 { epoch } else { -1 },
                });
            }
            topics.push(ListOffsetsTopicResponse { name: topic.name.clone(), partitions });
        }
        Reply::of(ListOffsetsResponse { topics, ..Default::default() })
    }

    fn list_offset(
        &mut self,
        context: &Context,
        request: &ListOffsetsRequest,
        topic: &str,
        partition: &ListOffsetsPartition,
    ) -> Result<Option<Found>, ErrorCode> {
        let oldest_version = match partition.timestamp {
            EARLIEST_PENDING_UPLOAD => 11,
            LATEST_TIERED => 9,
            EARLIEST_LOCAL => 8,
            MAX_TIMESTAMP => 7,
            EARLIEST.. => 1,
            _ => i16::MAX,
        };
        if context.version < oldest_version {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        let (index, epoch) = (partition.partition_index, partition.current_leader_epoch);
        let replica = match request.replica_id {
            DEBUGGING => self.replica(context.broker, topic, index, epoch)?,
            _ => self.leader(context.broker, topic, index, epoch)?,
        };
        let log = &replica.log;
        let end_offset = match (request.replica_id, request.isolation_level) {
            (CONSUMER, READ_COMMITTED) => log.last_stable_offset(),
            (CONSUMER, _) => log.high_watermark(),
            _ => log.end_offset(),
        };
        let found = match partition.timestamp {
            LATEST => return Ok(Some((-1, end_offset, replica.leader_epoch))),
            EARLIEST | EARLIEST_LOCAL => return Ok(Some((-1, log.start_offset(), log.start_epoch().unwrap_or(-1)))),
            // There is no second tier: nothing is there, and nothing waits for it.
            LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(Some((-1, -1, -1))),
            MAX_TIMESTAMP => log.max_timestamp(),
            timestamp => log.find_timestamp(timestamp),
        };
        // What a reader can't read yet is not there.
        let found = found.filter(|found| found.offset < end_offset);
        Ok(found.map(|found| (found.timestamp, found.offset, found.leader_epoch)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_records::*;
    use super::super::test_support::Harness;
    use super::*;
    use crate::batch::Compression;
    use crate::protocol::messages::list_offsets::ListOffsetsTopic;
    use std::collections::BTreeMap;

    fn asking(timestamp: i64) -> ListOffsetsRequest {
        let partition = ListOffsetsPartition { timestamp, ..Default::default() };
        let topics = vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }];
        ListOffsetsRequest { replica_id: CONSUMER, topics, ..Default::default() }
    }

    #[track_caller]
    fn found(harness: &mut Harness, version: i16, request: ListOffsetsRequest) -> (i16, Found) {
        let answer = harness.call(1, version, request).topics.remove(0).partitions.remove(0);
        (answer.error_code, (answer.timestamp, answer.offset, answer.leader_epoch))
    }

    /// Offsets 0 to 5 in two batches, the second compressed, with timestamps out of order.
    fn harness() -> Harness {
        let mut harness = Harness::new(1);
        harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
        for (codec, times) in [(Compression::None, [10, 30, 20]), (any_codec(), [25, 50, 40])] {
            let records = times.map(|time| (START_MS + time, Some("key"), Some("value"))).to_vec();
            assert_eq!(produce(&mut harness, &Batch { records, codec, ..batch(0) }).error_code, 0);
        }
        harness
    }

    #[test]
    fn the_ends_have_the_leaders_epoch_from_version_4_on() {
        let mut harness = harness();
        for version in 1..=11 {
            let epoch = if version < 4 { -1 } else { 0 };
            assert_eq!(found(&mut harness, version, asking(LATEST)), (0, (-1, 6, epoch)));
            assert_eq!(found(&mut harness, version, asking(EARLIEST)), (0, (-1, 0, epoch)));
        }
        harness.state.reset_log_start("t", 0, 2).unwrap();
        assert_eq!(found(&mut harness, 8, asking(EARLIEST)), (0, (-1, 2, 0)));
        assert_eq!(found(&mut harness, 8, asking(EARLIEST_LOCAL)), (0, (-1, 2, 0)));
        assert_eq!(found(&mut harness, 9, asking(LATEST_TIERED)), (0, (-1, -1, -1)));
    }

    #[test]
    fn a_timestamp_finds_the_first_record_at_or_after_it_also_in_compressed_batches() {
        let mut harness = harness();
        for (time, offset) in [(0, 0), (10, 0), (11, 1), (30, 1), (31, 4), (50, 4), (41, 4)] {
            let (code, (timestamp, at, epoch)) = found(&mut harness, 5, asking(START_MS + time));
            assert_eq!((code, at, epoch), (0, offset, 0), "{time}");
            assert!(timestamp >= START_MS + time);
        }
        assert_eq!(found(&mut harness, 5, asking(START_MS + 51)), (0, (-1, -1, -1)));
        harness.state.reset_log_start("t", 0, 2).unwrap();
        assert_eq!(found(&mut harness, 5, asking(START_MS)), (0, (START_MS + 20, 2, 0)), "not before the start");
        assert_eq!(found(&mut harness, 7, asking(MAX_TIMESTAMP)), (0, (START_MS + 50, 4, 0)));
    }

    #[test]
    fn versions_that_do_not_know_a_timestamp_say_so() {
        let mut harness = harness();
        let unsupported = [(6, MAX_TIMESTAMP), (7, EARLIEST_LOCAL), (8, LATEST_TIERED), (10, -6), (11, -7)];
        for (version, timestamp) in unsupported {
            assert_eq!(found(&mut harness, version, asking(timestamp)).0, ErrorCode::UNSUPPORTED_VERSION.0);
        }
    }

    #[test]
    fn committed_readers_do_not_see_beyond_the_stable_end() {
        let mut harness = harness();
        let config = super::super::log::LogConfig::of(harness.state.topics.get("t").unwrap(), &harness.state.settings);
        let open = Batch { transactional: true, ..idempotent(1, 3, 0, 0) };
        let super::super::log::Checked::Sound(open) = super::super::log::check(Some(&open.bytes()), true) else {
            panic!("a sound batch")
        };
        harness.state.topics.partition_mut("t", 0).unwrap().log.append(open, &config, 0, START_MS).unwrap();
        let committed = ListOffsetsRequest { isolation_level: READ_COMMITTED, ..asking(LATEST) };
        assert_eq!(found(&mut harness, 5, committed).1.1, 6);
        assert_eq!(found(&mut harness, 5, asking(LATEST)).1.1, 7);
    }

    #[test]
    fn a_partition_asked_for_twice_and_a_stale_epoch_are_refused() {
        let mut harness = harness();
        let mut twice = asking(LATEST);
        twice.topics.push(twice.topics[0].clone());
        assert_eq!(found(&mut harness, 5, twice).0, ErrorCode::INVALID_REQUEST.0);
        harness.state.truncate("t", 0, 3).unwrap();
        let mut stale = asking(LATEST);
        stale.topics[0].partitions[0].current_leader_epoch = 0;
        assert_eq!(found(&mut harness, 5, stale).0, ErrorCode::FENCED_LEADER_EPOCH.0);
        assert_eq!(found(&mut harness, 5, asking(LATEST)), (0, (-1, 3, 1)));
    }
}
