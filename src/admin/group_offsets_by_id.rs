//! Committed offsets by the ids of topics: never those of another topic that had the name before, or has it since.

use super::group_offsets::{NO_MEMBER, fetched};
use super::groups::coordinator;
use super::routing::{Entity, Route};
use super::{Admin, CommittedOffset, Results, Uuid, outcome};
use crate::protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// From this version of OffsetCommit and OffsetFetch on topics have ids instead of names.
const TOPIC_IDS: i16 = 10;

/// A partition of a topic that is named by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number, from 0 on.
    pub partition: i32,
}

impl TopicIdPartition {
    /// A partition of a topic.
    pub fn new(topic_id: Uuid, partition: i32) -> Self {
        Self { topic_id, partition }
    }
}

/// The id and the number: `gtb2stGYRk-vWZ2zAozmoA-0`.
impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

impl Entity for TopicIdPartition {
    fn named(&self, error: Error) -> Error {
        error.with_partition(self.partition)
    }
}

/// What a group has committed, by partition, with topics by their ids.
pub type GroupOffsetsById = Results<CommittedOffset, TopicIdPartition>;

impl Admin {
    /// Offsets that groups have committed of some partitions, or of all for `None`, with topics by their ids; partitions
    /// without one are left out, as are topics that are no longer there. RPC OffsetFetch to the coordinators, side by
    /// side, brokers from 4.1 on. An id that no topic has is an UNKNOWN_TOPIC_ID of its partitions.
    ///
    /// `require_stable` is that of [`list_group_offsets_of`](Self::list_group_offsets_of).
    ///
    /// ```no_run
    /// use sarameya::admin::TopicIdPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let partitions = [TopicIdPartition::new("gtb2stGYRk-vWZ2zAozmoA".parse()?, 0)];
    /// for (group, offsets) in admin.list_group_offsets_by_id(&[("g1", Some(&partitions)), ("g2", None)], false)? {
    ///     println!("{group}: {:?}", offsets?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_group_offsets_by_id(
        &self,
        groups: &[(&str, Option<&[TopicIdPartition]>)],
        require_stable: bool,
    ) -> Result<Results<GroupOffsetsById>> {
        let wanted: HashMap<&str, Option<&[TopicIdPartition]>> = groups.iter().copied().collect();
        let names = groups.iter().map(|(group, _)| (*group).to_owned()).collect();
        self.call().run(names, &coordinator(), |asking, groups| {
            asking.needs::<OffsetFetchRequest>(TOPIC_IDS, "committed offsets can't be had by topic id")?;
            let topic = |(topic_id, partition_indexes): (Uuid, Vec<i32>)| OffsetFetchRequestTopics {
                topic_id: topic_id.0,
                partition_indexes,
                ..Default::default()
            };
            let asked = |group: &String| OffsetFetchRequestGroup {
                group_id: group.clone(),
                topics: wanted
                    .get(group.as_str())
                    .copied()
                    .flatten()
                    .map(|all| by_id(all).into_iter().map(topic).collect()),
                ..Default::default()
            };
            let groups = groups.iter().map(asked).collect();
            let request = OffsetFetchRequest { groups, require_stable, ..Default::default() };
            let response = asking.call_version(&request, TOPIC_IDS)?;
            let answers = response.groups.into_iter().map(|group| {
                let whole = outcome(group.error_code, None, &format!("no offsets of group {:?}", group.group_id));
                let offsets = whole.and_then(|()| {
                    fetched(group.topics.into_iter().flat_map(|topic| {
                        let partition = move |number| TopicIdPartition::new(Uuid(topic.topic_id), number);
                        topic.partitions.into_iter().map(move |p| {
                            (
                                partition(p.partition_index),
                                p.error_code,
                                p.committed_offset,
                                p.committed_leader_epoch,
                                p.metadata,
                            )
                        })
                    }))
                });
                (group.group_id, offsets)
            });
            Ok(answers.collect())
        })
    }

    /// Commits offsets for a group without being a member, with topics by their ids. RPC OffsetCommit to the coordinator,
    /// brokers from 4.1 on. Refused with UNKNOWN_MEMBER_ID for partitions whose group has members, with UNKNOWN_TOPIC_ID
    /// for those of an id that no topic has.
    ///
    /// ```no_run
    /// use sarameya::admin::{CommittedOffset, TopicIdPartition};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let partition = TopicIdPartition::new("gtb2stGYRk-vWZ2zAozmoA".parse()?, 0);
    /// for (partition, done) in admin.alter_group_offsets_by_id("g1", &[(partition, CommittedOffset::new(42))])? {
    ///     println!("{partition}: {done:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_group_offsets_by_id(
        &self,
        group: &str,
        offsets: &[(TopicIdPartition, CommittedOffset)],
    ) -> Result<Results<(), TopicIdPartition>> {
        let wanted: HashMap<TopicIdPartition, &CommittedOffset> = offsets.iter().map(|(p, o)| (*p, o)).collect();
        let partitions = offsets.iter().map(|(partition, _)| *partition).collect();
        self.call().run(partitions, &Route::GroupCoordinator(group), |asking, partitions| {
            asking.needs::<OffsetCommitRequest>(TOPIC_IDS, "offsets can't be committed by topic id")?;
            let partition = |topic_id, number| {
                let offset = wanted.get(&TopicIdPartition::new(topic_id, number))?;
                Some(offset.to_commit(number))
            };
            let topics = by_id(partitions).into_iter().map(|(topic_id, numbers)| OffsetCommitRequestTopic {
                topic_id: topic_id.0,
                partitions: numbers.into_iter().filter_map(|number| partition(topic_id, number)).collect(),
                ..Default::default()
            });
            let request = OffsetCommitRequest {
                group_id: group.to_owned(),
                generation_id_or_member_epoch: NO_MEMBER,
                topics: topics.collect(),
                ..Default::default()
            };
            let response = asking.call_version(&request, TOPIC_IDS)?;
            let answers = response.topics.into_iter().flat_map(|topic| {
                let topic_id = Uuid(topic.topic_id);
                let doing =
                    format!("the offset of the topic with the id {topic_id} was not committed for group {group:?}");
                let answer = |code, number| (TopicIdPartition::new(topic_id, number), outcome(code, None, &doing));
                topic.partitions.iter().map(|p| answer(p.error_code, p.partition_index)).collect::<Vec<_>>()
            });
            Ok(answers.collect())
        })
    }
}

/// Partitions in any order, grouped by topic for a request.
fn by_id<'a>(partitions: impl IntoIterator<Item = &'a TopicIdPartition>) -> BTreeMap<Uuid, Vec<i32>> {
    let mut topics = BTreeMap::<_, Vec<i32>>::new();
    for TopicIdPartition { topic_id, partition } in partitions {
        topics.entry(*topic_id).or_default().push(*partition);
    }
    topics
}
