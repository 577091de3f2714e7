//! OffsetFetch, versions 1 to 10: several groups from version 8 (KIP-709), only what no open transaction may change on
//! demand from version 7 (KIP-447), topic ids in version 10.

use crate::ErrorCode;
use crate::embedded::state::groups::Group;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use std::collections::BTreeMap;

const NO_ID: [u8; 16] = [0; 16];

impl State {
    pub(in crate::embedded::state) fn offset_fetch(&mut self, context: &Context, request: OffsetFetchRequest) -> Reply {
        if context.version >= 8 {
            let groups = request.groups.iter();
            let groups = groups.map(|group| self.fetched_group(context, group, request.require_stable)).collect();
            return Reply::of(OffsetFetchResponse { groups, ..Default::default() });
        }
        let topics = request.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| OffsetFetchRequestTopics {
                    name: topic.name,
                    partition_indexes: topic.partition_indexes,
                    ..Default::default()
                })
                .collect()
        });
        let group = OffsetFetchRequestGroup { group_id: request.group_id, topics, ..Default::default() };
        let mut fetched = self.fetched_group(context, &group, request.require_stable);
        // Version 1 has no place for an error but the partitions.
        if context.version == 1 && fetched.error_code != 0 {
            fetched.topics = failed_topics(&group, fetched.error_code);
        }
        Reply::of(single(fetched))
    }

    fn fetched_group(
        &self,
        context: &Context,
        asked: &OffsetFetchRequestGroup,
        stable: bool,
    ) -> OffsetFetchResponseGroup {
        let group_id = asked.group_id.clone();
        let checked = self.check_coordinator(context, Coordinated::Group, &group_id);
        if let Err(code) = checked.and_then(|()| self.check_offset_fetch(asked)) {
            return OffsetFetchResponseGroup { group_id, error_code: code.0, topics: Vec::new() };
        }
        let topics = match &asked.topics {
            Some(topics) => topics.iter().map(|topic| self.fetched_topic(context, &group_id, topic, stable)).collect(),
            None => self.all_fetched(context, &group_id, stable),
        };
        OffsetFetchResponseGroup { group_id, topics, error_code: ErrorCode::NONE.0 }
    }

    /// Whether a member may ask. A classic group lets everyone.
    fn check_offset_fetch(&self, asked: &OffsetFetchRequestGroup) -> Result<(), ErrorCode> {
        match self.groups.get(&asked.group_id) {
            Some(Group::Classic(_)) | None => Ok(()),
            Some(Group::Consumer(group)) => group.check_fetch(asked.member_id.as_deref(), asked.member_epoch),
        }
    }

    fn fetched_topic(
        &self,
        context: &Context,
        group: &str,
        asked: &OffsetFetchRequestTopics,
        stable: bool,
    ) -> OffsetFetchResponseTopics {
        let by_id = context.version >= 10;
        let name = if by_id { self.topics.name_of(&asked.topic_id) } else { Some(&*asked.name) };
        let partitions = asked.partition_indexes.iter().map(|partition| match name {
            Some(name) => self.fetched_partition(group, name, *partition, stable),
            None => unknown(*partition, ErrorCode::UNKNOWN_TOPIC_ID.0),
        });
        let partitions = partitions.collect();
        OffsetFetchResponseTopics { name: asked.name.clone(), topic_id: asked.topic_id, partitions }
    }

    fn all_fetched(&self, context: &Context, group: &str, stable: bool) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: BTreeMap<&str, Vec<OffsetFetchResponsePartitions>> = BTreeMap::new();
        for (topic, partition) in self.offsets.of_group(group).into_iter().flat_map(BTreeMap::keys) {
            let fetched = self.fetched_partition(group, topic, *partition, stable);
            topics.entry(topic).or_default().push(fetched);
        }
        let id = |name: &str| self.topics.get(name).map_or(NO_ID, |topic| topic.id);
        let all = topics.into_iter().map(|(name, partitions)| {
            let (by_id, by_name) = if context.version >= 10 { (id(name), "") } else { (NO_ID, name) };
            OffsetFetchResponseTopics { name: by_name.to_owned(), topic_id: by_id, partitions }
        });
        all.filter(|topic| context.version < 10 || topic.topic_id != NO_ID).collect()
    }

    fn fetched_partition(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        stable: bool,
    ) -> OffsetFetchResponsePartitions {
        if let Err(code) = self.fault_at(ApiKey::OFFSET_FETCH, topic, partition) {
            return unknown(partition, code.0);
        }
        if stable && self.offsets.is_pending(group, topic, partition) {
            return unknown(partition, ErrorCode::UNSTABLE_OFFSET_COMMIT.0);
        }
        let Some(committed) = self.offsets.get(group, topic, partition) else {
            return unknown(partition, ErrorCode::NONE.0);
        };
        OffsetFetchResponsePartitions {
            partition_index: partition,
            committed_offset: committed.offset,
            committed_leader_epoch: committed.leader_epoch,
            metadata: Some(committed.metadata.clone()),
            error_code: ErrorCode::NONE.0,
        }
    }
}

/// A partition without an offset.
fn unknown(partition_index: i32, error_code: i16) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(String::new()),
        error_code,
    }
}

fn failed_topics(asked: &OffsetFetchRequestGroup, code: i16) -> Vec<OffsetFetchResponseTopics> {
    let failed = |topic: &OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        partitions: topic.partition_indexes.iter().map(|partition| unknown(*partition, code)).collect(),
        ..Default::default()
    };
    asked.topics.iter().flatten().map(failed).collect()
}

/// The form before version 8.
fn single(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    let topics = group.topics.into_iter().map(topic).collect();
    OffsetFetchResponse { topics, error_code: group.error_code, ..Default::default() }
}
