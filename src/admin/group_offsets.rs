//! Committed offsets of groups, and how far behind they are.

use super::groups::coordinator;
use super::records::OffsetSpec;
use super::routing::{Asking, Call, Entity, Route};
use super::values::by_topic;
use super::{Admin, GroupDescription, Results, TopicPartition, outcome};
use crate::group::offsets::MAX_OFFSET_VERSION;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::{Error, ErrorCode, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

/// From this version on many groups are asked for at once (KIP-709).
const MANY_GROUPS: i16 = 8;
/// From this version on the coordinator can be told to wait for transactions to be decided.
const REQUIRE_STABLE: i16 = 7;
/// Who commits without being a member.
pub(super) const NO_MEMBER: i32 = -1;

/// An offset that a group has committed: that of the next record to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommittedOffset {
    /// The offset.
    pub offset: i64,
    /// The leader epoch of the record before, if it was committed too.
    pub leader_epoch: Option<i32>,
    /// The text that was committed with it.
    pub metadata: String,
}

impl CommittedOffset {
    /// An offset without leader epoch and text.
    pub fn new(offset: i64) -> Self {
        Self { offset, leader_epoch: None, metadata: String::new() }
    }

    pub(super) fn to_commit(&self, partition_index: i32) -> OffsetCommitRequestPartition {
        OffsetCommitRequestPartition {
            partition_index,
            committed_offset: self.offset,
            committed_leader_epoch: self.leader_epoch.unwrap_or(-1),
            committed_metadata: Some(self.metadata.clone()),
        }
    }
}

/// What a group has committed, by partition.
pub type GroupOffsets = Results<CommittedOffset, TopicPartition>;

/// How far a group is behind.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GroupLag {
    /// The group and its members.
    pub group: GroupDescription,
    /// Every partition that it has committed an offset of or that a member has, in order.
    pub partitions: Vec<PartitionLag>,
}

impl GroupLag {
    /// The records that are still to be read in all partitions of which that is known.
    pub fn total(&self) -> i64 {
        self.partitions.iter().filter_map(PartitionLag::lag).sum()
    }
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PartitionLag {
    /// The partition.
    pub partition: TopicPartition,
    /// What the group has committed; `None` if nothing, or if that is not known: see [`error`](Self::error).
    pub committed: Option<CommittedOffset>,
    /// Where the partition ends: the offset of the next record to be written to it. `None` as above.
    pub end_offset: Option<i64>,
    /// The id of the member that has the partition.
    pub member_id: Option<String>,
    /// Why one of the offsets is not known.
    pub error: Option<Error>,
}

impl PartitionLag {
    /// The records between the committed offset and the end, if both are known. Never negative: the end may be older than
    /// the commit.
    pub fn lag(&self) -> Option<i64> {
        let committed = self.committed.as_ref()?;
        Some(self.end_offset?.saturating_sub(committed.offset).max(0))
    }
}

impl Admin {
    /// All offsets that groups have committed. RPC OffsetFetch to the coordinators, side by side, brokers from 1.0 on.
    /// A group that is not there has committed nothing.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, offsets) in admin.list_group_offsets(&["g1"])? {
    ///     println!("{group}: {:?}", offsets?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_group_offsets(&self, groups: &[&str]) -> Result<Results<GroupOffsets>> {
        let asked: Vec<_> = groups.iter().map(|group| (*group, None)).collect();
        self.list_group_offsets_of(&asked, false)
    }

    /// Offsets that groups have committed of some partitions, or of all for `None`; partitions without one are left out.
    /// RPC OffsetFetch to the coordinators, side by side, brokers from 1.0 on.
    ///
    /// With `require_stable` (Kafka: `isolation.level=read_committed` of a consumer), brokers from 2.5 on are asked again
    /// while a transaction that has written offsets is open, until the deadline.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let partitions = [TopicPartition::new("test3", 0)];
    /// for (group, offsets) in admin.list_group_offsets_of(&[("g1", Some(&partitions))], true)? {
    ///     println!("{group}: {:?}", offsets?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_group_offsets_of(
        &self,
        groups: &[(&str, Option<&[TopicPartition]>)],
        require_stable: bool,
    ) -> Result<Results<GroupOffsets>> {
        list_offsets(&self.call(), groups, require_stable)
    }

    /// Commits offsets for a group without being a member. RPC OffsetCommit to the coordinator, brokers from 1.0 on.
    /// Refused with UNKNOWN_MEMBER_ID for partitions whose group has members.
    ///
    /// ```no_run
    /// use sarameya::admin::CommittedOffset;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, done) in admin.alter_group_offsets("g1", &[(("test3", 0).into(), CommittedOffset::new(42))])? {
    ///     println!("{partition}: {done:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<Results<(), TopicPartition>> {
        let wanted: HashMap<&TopicPartition, &CommittedOffset> = offsets.iter().map(|(p, o)| (p, o)).collect();
        let partitions = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        self.call().run(partitions, &Route::GroupCoordinator(group), |asking, partitions| {
            let version = asking.version::<OffsetCommitRequest>()?.min(MAX_OFFSET_VERSION);
            let partition = |topic: &str, partition_index| {
                let offset = wanted.get(&TopicPartition::new(topic, partition_index))?;
                Some(offset.to_commit(partition_index))
            };
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| OffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: numbers.into_iter().filter_map(|number| partition(topic, number)).collect(),
                ..Default::default()
            });
            let request = OffsetCommitRequest {
                group_id: group.to_owned(),
                generation_id_or_member_epoch: NO_MEMBER,
                topics: topics.collect(),
                ..Default::default()
            };
            let response = asking.call_version(&request, version)?;
            let doing = format!("the offset was not committed for group {group:?}");
            let answers = response.topics.into_iter().flat_map(|topic| {
                let answer = |code, number| (TopicPartition::new(&topic.name, number), outcome(code, None, &doing));
                topic.partitions.iter().map(|p| answer(p.error_code, p.partition_index)).collect::<Vec<_>>()
            });
            Ok(answers.collect())
        })
    }

    /// Deletes committed offsets of a group. RPC OffsetDelete to the coordinator, brokers from 2.4 on. Refused with
    /// GROUP_SUBSCRIBED_TO_TOPIC for topics that a member reads.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, outcome) in admin.delete_group_offsets("g1", &[TopicPartition::new("test3", 0)])? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Results<(), TopicPartition>> {
        self.call().run(partitions.to_vec(), &Route::GroupCoordinator(group), |asking, partitions| {
            let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| OffsetDeleteRequestTopic {
                name: topic.to_owned(),
                partitions: numbers.into_iter().map(partition).collect(),
            });
            let response =
                asking.call(&OffsetDeleteRequest { group_id: group.to_owned(), topics: topics.collect() })?;
            let doing = format!("the offset of group {group:?} was not deleted");
            outcome(response.error_code, None, &format!("no offsets of group {group:?} were deleted"))?;
            let answers = response.topics.into_iter().flat_map(|topic| {
                let answer = |code, number| (TopicPartition::new(&topic.name, number), outcome(code, None, &doing));
                topic.partitions.iter().map(|p| answer(p.error_code, p.partition_index)).collect::<Vec<_>>()
            });
            Ok(answers.collect())
        })
    }

    /// How far groups are behind: their members, what they have committed and where the partitions end, in one call.
    /// RPCs ConsumerGroupDescribe or DescribeGroups, OffsetFetch, ListOffsets; brokers from 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, lag) in admin.group_lag(&["g1"])? {
    ///     println!("{group} is {} records behind", lag?.total());
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn group_lag(&self, groups: &[&str]) -> Result<Results<GroupLag>> {
        let call = self.call();
        let described = self.describe_groups_in(&call, groups.iter().map(|group| (*group).to_owned()).collect())?;
        let there: Vec<_> =
            described.iter().filter(|(_, d)| d.is_ok()).map(|(group, _)| (group.as_str(), None)).collect();
        let committed = if there.is_empty() { Vec::new() } else { list_offsets(&call, &there, false)? };
        let mut committed: HashMap<String, Result<GroupOffsets>> = committed.into_iter().collect();

        let mut lags: Results<GroupLag> = Vec::new();
        for (group, description) in described {
            let lag = description.and_then(|description| {
                let missing = || Err(Error::protocol(format!("nothing is known of the offsets of {group:?}")));
                let offsets = committed.remove(&group).unwrap_or_else(missing)?;
                Ok(without_ends(description, offsets))
            });
            lags.push((group, lag));
        }
        let whole = lags.iter().filter_map(|(_, lag)| lag.as_ref().ok());
        let partitions: BTreeSet<&TopicPartition> =
            whole.flat_map(|lag| &lag.partitions).map(|p| &p.partition).collect();
        let ends = self.ends(&call, partitions.into_iter().cloned().collect());
        for partition in lags.iter_mut().filter_map(|(_, lag)| lag.as_mut().ok()).flat_map(|lag| &mut lag.partitions) {
            match ends.get(&partition.partition) {
                Some(Ok(end)) => partition.end_offset = *end,
                Some(Err(error)) => partition.error = partition.error.take().or_else(|| Some(error.clone())),
                None => {}
            }
        }
        Ok(lags)
    }

    /// Where partitions end. That none could be asked is said for each.
    fn ends(&self, call: &Call<'_>, partitions: Vec<TopicPartition>) -> HashMap<TopicPartition, Result<Option<i64>>> {
        let sought: Vec<_> = partitions.into_iter().map(|partition| (partition, OffsetSpec::Latest)).collect();
        let isolation_level = crate::IsolationLevel::ReadUncommitted;
        match super::records::list_offsets_in(call, &sought, isolation_level) {
            Ok(found) => found.into_iter().map(|(p, found)| (p, found.map(|found| found.offset))).collect(),
            Err(error) => sought.into_iter().map(|(p, _)| (p, Err(error.clone()))).collect(),
        }
    }
}

fn without_ends(group: GroupDescription, offsets: GroupOffsets) -> GroupLag {
    let mut partitions: BTreeMap<TopicPartition, PartitionLag> = BTreeMap::new();
    let empty = |partition: TopicPartition| PartitionLag {
        partition,
        committed: None,
        end_offset: None,
        member_id: None,
        error: None,
    };
    for (partition, committed) in offsets {
        let lag = partitions.entry(partition.clone()).or_insert_with(|| empty(partition));
        match committed {
            Ok(committed) => lag.committed = Some(committed),
            Err(error) => lag.error = Some(error),
        }
    }
    for member in &group.members {
        for partition in &member.assignment {
            let lag = partitions.entry(partition.clone()).or_insert_with(|| empty(partition.clone()));
            lag.member_id = Some(member.member_id.clone());
        }
    }
    GroupLag { group, partitions: partitions.into_values().collect() }
}

fn list_offsets(
    call: &Call<'_>,
    groups: &[(&str, Option<&[TopicPartition]>)],
    require_stable: bool,
) -> Result<Results<GroupOffsets>> {
    let wanted: HashMap<&str, Option<&[TopicPartition]>> = groups.iter().copied().collect();
    let names = groups.iter().map(|(group, _)| (*group).to_owned()).collect();
    call.run(names, &coordinator(), |asking, groups| {
        let version = asking.version::<OffsetFetchRequest>()?.min(MAX_OFFSET_VERSION);
        let require_stable = require_stable && version >= REQUIRE_STABLE;
        let of = |group: &String| wanted.get(group.as_str()).copied().flatten();
        if version < MANY_GROUPS {
            let one =
                |group: &String| Ok((group.clone(), fetch_one(asking, group, of(group), require_stable, version)?));
            return groups.iter().map(one).collect();
        }
        let topic = |(topic, partition_indexes): (&str, Vec<i32>)| OffsetFetchRequestTopics {
            name: topic.to_owned(),
            partition_indexes,
            ..Default::default()
        };
        let request_group = |group: &String| OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: of(group).map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
            ..Default::default()
        };
        let request_groups = groups.iter().map(request_group).collect();
        let request = OffsetFetchRequest { groups: request_groups, require_stable, ..Default::default() };
        let response = asking.call_version(&request, version)?;
        let answers = response.groups.into_iter().map(|group| {
            let whole = outcome(group.error_code, None, &format!("no offsets of group {:?}", group.group_id));
            let offsets = whole.and_then(|()| {
                let partitions = group.topics.into_iter().flat_map(|topic| {
                    topic.partitions.into_iter().map(move |p| {
                        let partition = TopicPartition::new(&topic.name, p.partition_index);
                        (partition, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata)
                    })
                });
                fetched(partitions)
            });
            (group.group_id, offsets)
        });
        Ok(answers.collect())
    })
}

/// The offsets of one group from a broker that does not know how to answer for several. The outer error ends the exchange.
fn fetch_one(
    asking: &mut Asking<'_>,
    group: &str,
    partitions: Option<&[TopicPartition]>,
    require_stable: bool,
    version: i16,
) -> Result<Result<GroupOffsets>> {
    let topic = |(topic, partition_indexes): (&str, Vec<i32>)| OffsetFetchRequestTopic {
        name: topic.to_owned(),
        partition_indexes,
    };
    let topics = partitions.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics, require_stable, ..Default::default() };
    let response = asking.call_version(&request, version)?;
    let whole = outcome(response.error_code, None, &format!("no offsets of group {group:?}"));
    Ok(whole.and_then(|()| {
        fetched(response.topics.into_iter().flat_map(|topic| {
            topic.partitions.into_iter().map(move |p| {
                let partition = TopicPartition::new(&topic.name, p.partition_index);
                (partition, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata)
            })
        }))
    }))
}

/// What the answer says of each partition. An error that passes is one of the whole group, so that it is asked again.
pub(super) fn fetched<K: Entity + Display + Ord>(
    partitions: impl Iterator<Item = (K, i16, i64, i32, Option<String>)>,
) -> Result<Results<CommittedOffset, K>> {
    let mut offsets = Vec::new();
    for (partition, code, offset, leader_epoch, metadata) in partitions {
        if code != ErrorCode::NONE.0 {
            let words = format!("the committed offset of {partition} is not known");
            let error = partition.named(Error::from_code(ErrorCode(code), words));
            if super::routing::passes(&error, false) {
                return Err(error);
            }
            offsets.push((partition, Err(error)));
        } else if offset >= 0 {
            let leader_epoch = Some(leader_epoch).filter(|epoch| *epoch >= 0);
            let metadata = metadata.unwrap_or_default();
            offsets.push((partition, Ok(CommittedOffset { offset, leader_epoch, metadata })));
        }
    }
    offsets.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(offsets)
}
