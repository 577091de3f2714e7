//! Offsets of share groups, and who keeps their state (KIP-932).

use super::groups::coordinator;
use super::routing::{Entity, Route, Topic};
use super::topics::by_name;
use super::values::by_topic;
use super::{Admin, Results, TopicPartition, Uuid, outcome};
use crate::protocol::messages::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsResponsePartition,
};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::{Error, Result};
use std::collections::HashMap;
use std::fmt;

/// From this version of FindCoordinator on there are coordinators of share groups' partitions, by keys of this type.
const SHARE_COORDINATORS: i16 = 6;
const SHARE_KEY_TYPE: i8 = 2;

/// How far a share group has got in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareGroupOffset {
    /// The first offset that is not done for good; `None` if the group has not begun with the partition.
    pub start_offset: Option<i64>,
    /// The leader epoch of that record; `None` if it is not known.
    pub leader_epoch: Option<i32>,
    /// How many records are to be done yet; `None` from brokers before 4.2, or if it is not known.
    pub lag: Option<i64>,
}

/// What a share group has got to, by partition.
pub type ShareGroupOffsets = Results<ShareGroupOffset, TopicPartition>;

/// A partition as one share group reads it: what a share coordinator keeps the state of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharePartitionKey {
    /// The share group.
    pub group: String,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number, from 0 on.
    pub partition: i32,
}

impl SharePartitionKey {
    /// A partition as this group reads it.
    pub fn new(group: impl Into<String>, topic_id: Uuid, partition: i32) -> Self {
        Self { group: group.into(), topic_id, partition }
    }
}

/// As Kafka writes it: `s1:gtb2stGYRk-vWZ2zAozmoA:0`.
impl fmt::Display for SharePartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group, self.topic_id, self.partition)
    }
}

impl Entity for SharePartitionKey {
    fn named(&self, error: Error) -> Error {
        error.with_partition(self.partition)
    }
}

impl Admin {
    /// How far share groups have got. RPC DescribeShareGroupOffsets to the coordinators, side by side, brokers from 4.1
    /// on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, offsets) in admin.list_share_group_offsets(&["s1"])? {
    ///     println!("{group}: {:?}", offsets?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_share_group_offsets(&self, groups: &[&str]) -> Result<Results<ShareGroupOffsets>> {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.call().run(groups, &coordinator(), |asking, groups| {
            let asked =
                |group: &String| DescribeShareGroupOffsetsRequestGroup { group_id: group.clone(), topics: None };
            let groups = groups.iter().map(asked).collect();
            let response = asking.call(&DescribeShareGroupOffsetsRequest { groups })?;
            let answers = response.groups.into_iter().map(|group| {
                let doing = format!("the offsets of share group {:?} are not known", group.group_id);
                let whole = outcome(group.error_code, group.error_message.as_deref(), &doing);
                let offsets = group.topics.into_iter().flat_map(|topic| {
                    topic
                        .partitions
                        .into_iter()
                        .map(move |p| (TopicPartition::new(&topic.topic_name, p.partition_index), offset(p)))
                });
                (group.group_id, whole.map(|()| offsets.collect()))
            });
            Ok(answers.collect())
        })
    }

    /// Sets where a share group without members goes on. RPC AlterShareGroupOffsets to the coordinator, brokers from 4.1
    /// on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, outcome) in admin.alter_share_group_offsets("s1", &[(TopicPartition::new("test3", 0), 0)])? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_share_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, i64)],
    ) -> Result<Results<(), TopicPartition>> {
        let wanted: HashMap<&TopicPartition, i64> = offsets.iter().map(|(partition, at)| (partition, *at)).collect();
        let partitions = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        self.call().run(partitions, &Route::GroupCoordinator(group), |asking, partitions| {
            let partition = |topic: &str, partition_index| {
                let start_offset = *wanted.get(&TopicPartition::new(topic, partition_index))?;
                Some(AlterShareGroupOffsetsRequestPartition { partition_index, start_offset })
            };
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| AlterShareGroupOffsetsRequestTopic {
                topic_name: topic.to_owned(),
                partitions: numbers.into_iter().filter_map(|number| partition(topic, number)).collect(),
            });
            let request = AlterShareGroupOffsetsRequest { group_id: group.to_owned(), topics: topics.collect() };
            let response = asking.call(&request)?;
            let doing = format!("no offsets of share group {group:?} were set");
            outcome(response.error_code, response.error_message.as_deref(), &doing)?;
            let answers = response.responses.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let outcome = outcome(p.error_code, p.error_message.as_deref(), "the offset was not set");
                    (TopicPartition::new(&topic.topic_name, p.partition_index), outcome)
                })
            });
            Ok(answers.collect())
        })
    }

    /// Has a share group without members forget topics. RPC DeleteShareGroupOffsets to the coordinator, brokers from 4.1
    /// on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.delete_share_group_offsets("s1", &["test3"])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_share_group_offsets(&self, group: &str, topics: &[&str]) -> Result<Results> {
        let topics = topics.iter().map(|topic| Topic((*topic).to_owned())).collect();
        let deleted = self.call().run(topics, &Route::GroupCoordinator(group), |asking, topics| {
            let topic = |Topic(name): &Topic| DeleteShareGroupOffsetsRequestTopic { topic_name: name.clone() };
            let topics = topics.iter().map(topic).collect();
            let response = asking.call(&DeleteShareGroupOffsetsRequest { group_id: group.to_owned(), topics })?;
            let doing = format!("no offsets of share group {group:?} were deleted");
            outcome(response.error_code, response.error_message.as_deref(), &doing)?;
            let answers = response.responses.into_iter().map(|topic| {
                let outcome = outcome(topic.error_code, topic.error_message.as_deref(), "offsets were not deleted");
                (Topic(topic.topic_name), outcome)
            });
            Ok(answers.collect())
        })?;
        Ok(by_name(deleted))
    }

    /// The node ids of the brokers that keep the state of partitions for share groups, as brokers ask for them: for who
    /// wants to know why a share group does not get on. RPC FindCoordinator 6 to any broker, brokers from 4.1 on. Only for
    /// principals that may do ClusterAction.
    ///
    /// ```no_run
    /// use sarameya::admin::SharePartitionKey;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let key = SharePartitionKey::new("s1", "gtb2stGYRk-vWZ2zAozmoA".parse()?, 0);
    /// for (key, outcome) in admin.find_share_coordinators(&[key])? {
    ///     println!("{key}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn find_share_coordinators(&self, keys: &[SharePartitionKey]) -> Result<Results<i32, SharePartitionKey>> {
        let by_text: HashMap<String, &SharePartitionKey> = keys.iter().map(|key| (key.to_string(), key)).collect();
        self.call().run(keys.to_vec(), &Route::Any, |asking, keys| {
            asking.needs::<FindCoordinatorRequest>(SHARE_COORDINATORS, "share coordinators can't be found")?;
            let coordinator_keys = keys.iter().map(ToString::to_string).collect();
            let key_type = SHARE_KEY_TYPE;
            let response = asking.call(&FindCoordinatorRequest { key_type, coordinator_keys, ..Default::default() })?;
            let answers = response.coordinators.into_iter().filter_map(|found| {
                let key = by_text.get(&found.key)?;
                let doing = format!("the share coordinator of {key} was not found");
                let found = outcome(found.error_code, found.error_message.as_deref(), &doing).map(|()| found.node_id);
                Some(((*key).clone(), found))
            });
            Ok(answers.collect())
        })
    }
}

fn offset(partition: DescribeShareGroupOffsetsResponsePartition) -> Result<ShareGroupOffset> {
    outcome(partition.error_code, partition.error_message.as_deref(), "the offset is not known")?;
    Ok(ShareGroupOffset {
        start_offset: Some(partition.start_offset).filter(|offset| *offset >= 0),
        leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
        lag: Some(partition.lag).filter(|lag| *lag >= 0),
    })
}
