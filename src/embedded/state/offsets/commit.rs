//! OffsetCommit, versions 2 to 10 (KIP-211 for retention, KIP-345 for static members, KIP-848 for member epochs; topic ids
//! in version 10).

use super::Committed;
use crate::ErrorCode;
use crate::embedded::state::consumer_group::Allowed;
use crate::embedded::state::groups::{ClassicGroup, Group};
use crate::embedded::state::{Context, Coordinated, Reply, State, Time};
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use std::time::Duration;

/// Who commits, by what it says of itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct Committer<'a> {
    pub(in crate::embedded) group: &'a str,
    pub(in crate::embedded) member_id: &'a str,
    pub(in crate::embedded) instance_id: Option<&'a str>,
    /// The generation, or the member epoch; negative for whoever is no member.
    pub(in crate::embedded) generation: i32,
    /// In a transaction.
    pub(in crate::embedded) transactional: bool,
    /// The version of the request.
    pub(in crate::embedded) version: i16,
}

impl State {
    pub(in crate::embedded::state) fn offset_commit(
        &mut self,
        context: &Context,
        request: OffsetCommitRequest,
    ) -> Reply {
        let names: Vec<Result<String, ErrorCode>> =
            request.topics.iter().map(|topic| self.committed_topic(context, topic)).collect();
        let exists = |name: &str, partition: i32| self.topics.partition(name, partition).is_some();
        let any = request.topics.iter().zip(&names).any(|(topic, name)| {
            name.as_ref().is_ok_and(|name| topic.partitions.iter().any(|one| exists(name, one.partition_index)))
        });
        let checked = if any { self.check_commit(context, &request, &names) } else { Ok(()) };
        let expires = (request.retention_time_ms >= 0)
            .then(|| context.now.saturating_add(Duration::from_millis(request.retention_time_ms.unsigned_abs())));
        let topics = request.topics.iter().zip(names).map(|(topic, name)| {
            let partitions = topic.partitions.iter().map(|partition| {
                let committed = name.as_ref().map_err(|code| *code).and_then(|name| {
                    self.topics
                        .partition(name, partition.partition_index)
                        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
                    checked?;
                    self.fault_at(ApiKey::OFFSET_COMMIT, name, partition.partition_index)?;
                    self.commit_one(&request.group_id, name, partition, context.now, expires)
                });
                let error_code = committed.err().unwrap_or(ErrorCode::NONE).0;
                OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic { name: topic.name.clone(), topic_id: topic.topic_id, partitions }
        });
        Reply::of(OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
    }

    fn committed_topic(&self, context: &Context, topic: &OffsetCommitRequestTopic) -> Result<String, ErrorCode> {
        if context.version >= 10 {
            let name = self.topics.name_of(&topic.topic_id);
            return name.map(str::to_owned).ok_or(ErrorCode::UNKNOWN_TOPIC_ID);
        }
        let found = self.topics.get(&topic.name);
        found.map(|topic| topic.name.clone()).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// `names` are those of the request's topics, as far as they exist.
    fn check_commit(
        &mut self,
        context: &Context,
        request: &OffsetCommitRequest,
        names: &[Result<String, ErrorCode>],
    ) -> Result<(), ErrorCode> {
        self.check_coordinator(context, Coordinated::Group, &request.group_id)?;
        let committer = Committer {
            group: &request.group_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
            transactional: false,
            version: context.version,
        };
        let allowed = self.check_committer(committer, context.now)?;
        // A commit shows that a member is there as a heartbeat does.
        self.with_classic(&request.group_id, context.now, |group, turn| {
            if !group.is_completing() {
                group.touch(turn, &request.member_id);
            }
        });
        let known = request.topics.iter().zip(names).filter_map(|(topic, name)| Some((topic, name.as_ref().ok()?)));
        allowed.check(known.flat_map(|(topic, name)| {
            let id = |one: &OffsetCommitRequestPartition| {
                self.committable(name, one.partition_index, one.committed_metadata.as_deref())
            };
            topic.partitions.iter().filter_map(id)
        }))
    }

    /// The topic id and number of a partition, if it exists and what is committed for it is short enough.
    pub(super) fn committable(&self, topic: &str, partition: i32, metadata: Option<&str>) -> Option<([u8; 16], i32)> {
        self.topics.partition(topic, partition)?;
        self.check_metadata(metadata).ok()?;
        Some((self.topics.get(topic)?.id, partition))
    }

    /// Whether someone may commit, and what. A group that nobody knows is made for whoever needs no members.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, ILLEGAL_GENERATION, STALE_MEMBER_EPOCH, UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID,
    /// REBALANCE_IN_PROGRESS, UNSUPPORTED_VERSION.
    pub(in crate::embedded) fn check_committer(
        &mut self,
        committer: Committer<'_>,
        now: Time,
    ) -> Result<Allowed, ErrorCode> {
        let Committer { group: id, generation, transactional, version, .. } = committer;
        match self.groups.get(id) {
            Some(Group::Classic(group)) => group.check_committer(committer).map(|()| Allowed::All),
            Some(Group::Consumer(group)) => group.check_committer(committer),
            None if generation < 0 => {
                self.groups.insert(id, Group::Classic(ClassicGroup::new(id, now)));
                Ok(Allowed::All)
            }
            None if version >= 9 && !transactional => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    fn commit_one(
        &mut self,
        group: &str,
        topic: &str,
        partition: &OffsetCommitRequestPartition,
        now: Time,
        expires: Option<Time>,
    ) -> Result<(), ErrorCode> {
        self.check_metadata(partition.committed_metadata.as_deref())?;
        let OffsetCommitRequestPartition { committed_offset, committed_leader_epoch, .. } = *partition;
        let metadata = partition.committed_metadata.clone();
        let mut committed = Committed::new(committed_offset, committed_leader_epoch, metadata, now);
        committed.expires = expires;
        self.offsets.commit(group, topic, partition.partition_index, committed);
        self.watch_offsets(now);
        Ok(())
    }

    /// Whether a commit's metadata is short enough, counted in Java's characters.
    ///
    /// # Errors
    /// OFFSET_METADATA_TOO_LARGE if not.
    pub(super) fn check_metadata(&self, metadata: Option<&str>) -> Result<(), ErrorCode> {
        let length = metadata.unwrap_or_default().encode_utf16().count();
        let limit = usize::try_from(self.settings.number("offset.metadata.max.bytes")).unwrap_or(0);
        if length > limit { Err(ErrorCode::OFFSET_METADATA_TOO_LARGE) } else { Ok(()) }
    }
}

impl ClassicGroup {
    fn check_committer(&self, committer: Committer<'_>) -> Result<(), ErrorCode> {
        let Committer { member_id, instance_id, generation, transactional, .. } = committer;
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !transactional && !self.is_empty() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !transactional && self.is_completing() {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }
}
