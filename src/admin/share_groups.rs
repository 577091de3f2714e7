//! Offsets of share groups (KIP-932).

use super::groups::coordinator;
use super::routing::{Route, Topic};
use super::topics::by_name;
use super::values::by_topic;
use super::{Admin, Results, TopicPartition, outcome};
use crate::Result;
use crate::protocol::messages::alter_share_group_offsets::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsRequestPartition, AlterShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::delete_share_group_offsets::{
    DeleteShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequestTopic,
};
use crate::protocol::messages::describe_share_group_offsets::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequestGroup, DescribeShareGroupOffsetsResponsePartition,
};
use std::collections::HashMap;

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
}

fn offset(partition: DescribeShareGroupOffsetsResponsePartition) -> Result<ShareGroupOffset> {
    outcome(partition.error_code, partition.error_message.as_deref(), "the offset is not known")?;
    Ok(ShareGroupOffset {
        start_offset: Some(partition.start_offset).filter(|offset| *offset >= 0),
        leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
        lag: Some(partition.lag).filter(|lag| *lag >= 0),
    })
}
