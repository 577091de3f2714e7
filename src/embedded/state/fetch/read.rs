//! Reads a partition for a fetch: who may, from where, how far.

use super::super::State;
use super::super::log::{Log, Slice};
use super::{Fetch, TopicKey, Wanted};
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use bytes::Bytes;

/// The first version in which a consumer may read from a follower (KIP-392).
const FOLLOWER_VERSION: i16 = 11;

/// Where a partition is read, if it may be.
pub(super) struct Position<'a> {
    log: &'a Log,
    /// The end of what the reader may see.
    end_offset: i64,
    /// Another replica that the reader should rather ask.
    preferred: Option<i32>,
    /// Where the reader's history and this log part (KIP-595).
    diverging: Option<(i32, i64)>,
}

impl Position<'_> {
    /// Whether records are read, rather than something else told.
    pub(super) fn is_for_reading(&self) -> bool {
        self.preferred.is_none() && self.diverging.is_none()
    }

    /// How many bytes there are to read.
    pub(super) fn available(&self, offset: i64) -> u64 {
        self.log.available(offset, self.end_offset)
    }
}

/// A partition that is answered with an error.
pub(super) fn failed(partition_index: i32, code: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: code.0,
        high_watermark: -1,
        aborted_transactions: None,
        records: Some(Bytes::new()),
        ..Default::default()
    }
}

impl State {
    pub(super) fn position(&mut self, fetch: &Fetch, wanted: &Wanted, name: &str) -> Result<Position<'_>, ErrorCode> {
        let broker = fetch.context.broker;
        if let TopicKey::Id(id) = &wanted.topic
            && self.topics.get(name).is_some_and(|topic| topic.id != *id)
        {
            return Err(ErrorCode::INCONSISTENT_TOPIC_ID);
        }
        self.fault_at(ApiKey::FETCH, name, wanted.partition)?;
        let only_leader = fetch.replica_id >= 0 || fetch.context.version < FOLLOWER_VERSION;
        let preferred = self.preferred_replica(fetch, wanted, name);
        let replica = match only_leader {
            true => self.leader(broker, name, wanted.partition, wanted.leader_epoch)?,
            false => self.replica(broker, name, wanted.partition, wanted.leader_epoch)?,
        };
        let log = &replica.log;
        let end_offset = match fetch.replica_id {
            -1 if fetch.read_committed => log.last_stable_offset(),
            -1 => log.high_watermark(),
            _ => log.end_offset(),
        };
        let mut diverging = None;
        if preferred.is_none() {
            if wanted.last_epoch >= 0 {
                let (epoch, end) = log.end_offset_for_epoch(wanted.last_epoch).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
                if wanted.offset < log.start_offset() {
                    return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
                }
                diverging = (epoch < wanted.last_epoch || end < wanted.offset).then_some((epoch, end));
            }
            let readable = log.start_offset()..=log.end_offset();
            if diverging.is_none() && !readable.contains(&wanted.offset) {
                return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
            }
        }
        Ok(Position { log, end_offset, preferred, diverging })
    }

    /// The replica in the reader's rack, if the brokers choose by rack (KIP-392). Only the leader says so.
    fn preferred_replica(&self, fetch: &Fetch, wanted: &Wanted, name: &str) -> Option<i32> {
        let by_rack = self.settings.get("replica.selector.class").is_some_and(|class| class.contains("RackAware"));
        let partition = self.topics.partition(name, wanted.partition)?;
        let consumer = fetch.replica_id < 0 && fetch.context.version >= FOLLOWER_VERSION;
        let here = partition.leader == Some(fetch.context.broker);
        let in_log = partition.log.start_offset()..=partition.log.end_offset();
        if !by_rack || !consumer || !here || fetch.rack.is_empty() || !in_log.contains(&wanted.offset) {
            return None;
        }
        let in_rack = |id: &i32| {
            let broker = self.brokers.get(*id).filter(|broker| broker.is_active());
            broker.is_some_and(|broker| broker.rack.as_deref() == Some(&fetch.rack))
        };
        if in_rack(&fetch.context.broker) {
            return None;
        }
        partition.isr.iter().copied().find(in_rack)
    }

    pub(super) fn read_partition(
        &mut self,
        fetch: &Fetch,
        wanted: &Wanted,
        name: &str,
        max_bytes: usize,
        whole_first_batch: bool,
        endpoints: &mut Vec<NodeEndpoint>,
    ) -> PartitionData {
        let zstd_refused = fetch.context.version < 10 && self.is_zstd_topic(name);
        let data = match self.position(fetch, wanted, name) {
            _ if zstd_refused => Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
            Ok(position) => read(fetch, wanted, &position, max_bytes, whole_first_batch),
            Err(code) => Err(code),
        };
        let code = match data {
            Ok(data) => return data,
            Err(code) => code,
        };
        let mut data = failed(wanted.partition, code);
        let elsewhere = [ErrorCode::NOT_LEADER_OR_FOLLOWER, ErrorCode::FENCED_LEADER_EPOCH].contains(&code);
        if elsewhere && fetch.context.version >= 16 {
            let (leader, endpoint) = self.current_leader(name, wanted.partition);
            data.current_leader = LeaderIdAndEpoch { leader_id: leader.id, leader_epoch: leader.epoch };
            if let Some(broker) = endpoint.filter(|broker| endpoints.iter().all(|known| known.node_id != broker.id)) {
                let (host, rack) = (broker.host.clone(), broker.rack.clone());
                endpoints.push(NodeEndpoint {
                    node_id: broker.id,
                    host,
                    port: broker.port(fetch.context.listener).into(),
                    rack,
                });
            }
        }
        data
    }

    /// Whether the topic is configured for zstd, which readers before version 10 do not know.
    fn is_zstd_topic(&self, name: &str) -> bool {
        let topic = self.topics.get(name);
        topic.and_then(|topic| topic.configs.get("compression.type")).is_some_and(|codec| codec == "zstd")
    }
}

fn read(
    fetch: &Fetch,
    wanted: &Wanted,
    position: &Position<'_>,
    max_bytes: usize,
    whole_first_batch: bool,
) -> Result<PartitionData, ErrorCode> {
    let log = position.log;
    let mut data = PartitionData {
        partition_index: wanted.partition,
        high_watermark: log.high_watermark(),
        last_stable_offset: log.last_stable_offset(),
        log_start_offset: log.start_offset(),
        aborted_transactions: None,
        records: Some(Bytes::new()),
        ..Default::default()
    };
    if let Some((epoch, end_offset)) = position.diverging {
        data.diverging_epoch = EpochEndOffset { epoch, end_offset };
        return Ok(data);
    }
    if let Some(replica) = position.preferred {
        data.preferred_read_replica = replica;
        return Ok(data);
    }
    let slice = Slice {
        offset: wanted.offset,
        end_offset: position.end_offset,
        max_bytes: max_bytes.min(wanted.max_bytes),
        whole_first_batch,
    };
    let read = log.read(slice)?;
    if fetch.read_committed {
        let aborted = log.aborted_between(wanted.offset, read.next_offset);
        let aborted = aborted
            .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset });
        data.aborted_transactions = Some(aborted.collect());
    }
    data.records = Some(read.records);
    Ok(data)
}
