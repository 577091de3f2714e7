//! Topics described: leaders, replicas, in-sync replicas.

use super::acls::{AclOperation, authorized_operations};
use super::lookup::{metadata, named_topic};
use super::routing::{Asking, Route, Topic};
use super::topics::by_name;
use super::{Admin, Results, Uuid, outcome};
use crate::protocol::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    RequestCursor, TopicRequest,
};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::{Error, ErrorKind, Result};

/// From this version on topics can be asked for by their ids.
const METADATA_BY_ID: i16 = 12;
/// Partitions in one answer; Kafka's own default.
const PAGE: i32 = 2000;

/// A topic in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers before 2.8.
    pub id: Option<Uuid>,
    /// Whether it is one of Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, by their numbers.
    pub partitions: Vec<PartitionDescription>,
    /// What this principal may do with it, if that was [asked for](Admin::include_authorized_operations).
    pub authorized_operations: Option<Vec<AclOperation>>,
}

/// A partition in full. Brokers are given by their node ids.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The leader; `None` while there is none.
    pub leader: Option<i32>,
    /// How often the leader has changed; `None` from brokers before 2.1.
    pub leader_epoch: Option<i32>,
    /// The brokers that have a replica, the preferred leader first.
    pub replicas: Vec<i32>,
    /// The replicas that are in sync.
    pub isr: Vec<i32>,
    /// The replicas that are offline; brokers before 1.0 do not tell.
    pub offline_replicas: Vec<i32>,
    /// The eligible leader replicas outside the in-sync ones (KIP-966); `None` from brokers before 4.0.
    pub eligible_leader_replicas: Option<Vec<i32>>,
    /// The last known eligible leader replicas; `None` from brokers before 4.0.
    pub last_known_elr: Option<Vec<i32>>,
}

impl From<MetadataResponsePartition> for PartitionDescription {
    fn from(partition: MetadataResponsePartition) -> Self {
        Self {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            offline_replicas: partition.offline_replicas,
            eligible_leader_replicas: None,
            last_known_elr: None,
        }
    }
}

impl From<DescribeTopicPartitionsResponsePartition> for PartitionDescription {
    fn from(partition: DescribeTopicPartitionsResponsePartition) -> Self {
        Self {
            partition: partition.partition_index,
            leader: Some(partition.leader_id).filter(|id| *id >= 0),
            leader_epoch: Some(partition.leader_epoch).filter(|epoch| *epoch >= 0),
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            offline_replicas: partition.offline_replicas,
            eligible_leader_replicas: Some(partition.eligible_leader_replicas.unwrap_or_default()),
            last_known_elr: Some(partition.last_known_elr.unwrap_or_default()),
        }
    }
}

impl TopicDescription {
    fn of_metadata(topic: MetadataResponseTopic) -> Self {
        let mut partitions: Vec<PartitionDescription> = topic.partitions.into_iter().map(Into::into).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Self {
            name: topic.name.unwrap_or_default(),
            id: Uuid::some(topic.topic_id),
            internal: topic.is_internal,
            partitions,
            authorized_operations: authorized_operations(topic.topic_authorized_operations),
        }
    }
}

impl Admin {
    /// Describes topics by name. RPC DescribeTopicPartitions to any broker, page by page, from brokers from 4.0 on;
    /// RPC Metadata from others, from 1.0 on. Creates no topic.
    ///
    /// A topic made a moment ago may be unknown to the broker that is asked.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, description) in admin.describe_topics(&["test3"])? {
    ///     for partition in description?.partitions {
    ///         println!("{topic}-{}: leader {:?}, in sync {:?}", partition.partition, partition.leader, partition.isr);
    ///     }
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_topics(&self, topics: &[&str]) -> Result<Results<TopicDescription>> {
        let authorized = self.include_authorized_operations;
        let names = topics.iter().map(|topic| Topic((*topic).to_owned())).collect();
        let described = self.call().run(names, &Route::Any, |asking, names| {
            if asking.version::<DescribeTopicPartitionsRequest>().is_ok() {
                return described_by_pages(asking, names, authorized);
            }
            let asked = names.iter().map(|Topic(name)| named_topic(name)).collect();
            let response = metadata(asking, Some(asked), authorized)?;
            let answers = response.topics.into_iter().map(|topic| {
                let described = outcome(topic.error_code, None, "the topic can't be described");
                (
                    Topic(topic.name.clone().unwrap_or_default()),
                    described.map(|()| TopicDescription::of_metadata(topic)),
                )
            });
            Ok(answers.collect())
        })?;
        Ok(by_name(described))
    }

    /// Describes all topics this principal may describe, by name. RPC Metadata to any broker, brokers from 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for topic in admin.describe_all_topics()? {
    ///     println!("{topic:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_all_topics(&self) -> Result<Vec<TopicDescription>> {
        let authorized = self.include_authorized_operations;
        let response = self.call().ask(&Route::Any, |asking| metadata(asking, None, authorized))?;
        let whole = response.topics.into_iter().filter(|topic| topic.error_code == 0);
        let mut topics: Vec<_> = whole.map(TopicDescription::of_metadata).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Describes topics by their ids. RPC Metadata 12 to any broker, brokers from 2.8 on.
    ///
    /// ```no_run
    /// use sarameya::admin::Uuid;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let id: Uuid = "bvEe8qERSRiB6c9Wx0H5yQ".parse()?;
    /// for (id, outcome) in admin.describe_topics_by_id(&[id])? {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_topics_by_id(&self, ids: &[Uuid]) -> Result<Results<TopicDescription, Uuid>> {
        let authorized = self.include_authorized_operations;
        self.call().run(ids.to_vec(), &Route::Any, |asking, ids| {
            asking.needs::<MetadataRequest>(METADATA_BY_ID, "topics can't be described by id")?;
            let asked = ids.iter().map(|id| MetadataRequestTopic { topic_id: id.0, name: None }).collect();
            let response = metadata(asking, Some(asked), authorized)?;
            let answers = response.topics.into_iter().map(|topic| {
                let id = Uuid(topic.topic_id);
                let doing = format!("the topic with the id {id} can't be described");
                let described = outcome(topic.error_code, None, &doing);
                (id, described.map(|()| TopicDescription::of_metadata(topic)))
            });
            Ok(answers.collect())
        })
    }
}

fn described_by_pages(
    asking: &mut Asking<'_>,
    names: &[Topic],
    authorized: bool,
) -> Result<Results<TopicDescription, Topic>> {
    let mut names: Vec<String> = names.iter().map(|Topic(name)| name.clone()).collect();
    // The broker answers in this order, and a page ends anywhere.
    names.sort();
    let mut answers: Results<TopicDescription, Topic> = Vec::new();
    let mut cursor: Option<(String, i32)> = None;
    loop {
        let left = names.iter().filter(|name| cursor.as_ref().is_none_or(|(topic, _)| *name >= topic));
        let response = asking.call(&DescribeTopicPartitionsRequest {
            topics: left.map(|name| TopicRequest { name: name.clone() }).collect(),
            response_partition_limit: PAGE,
            cursor: cursor.clone().map(|(topic_name, partition_index)| RequestCursor { topic_name, partition_index }),
        })?;
        for topic in response.topics {
            add_page(&mut answers, topic, authorized);
        }
        let Some(next) = response.next_cursor.map(|next| (next.topic_name, next.partition_index)) else {
            return Ok(answers);
        };
        if cursor.is_some_and(|cursor| next <= cursor) {
            return Err(Error::new(ErrorKind::Protocol, "the pages of DescribeTopicPartitions do not go forward"));
        }
        cursor = Some(next);
    }
}

fn add_page(
    answers: &mut Results<TopicDescription, Topic>,
    topic: DescribeTopicPartitionsResponseTopic,
    authorized: bool,
) {
    let name = topic.name.unwrap_or_default();
    if let Err(error) = outcome(topic.error_code, None, "the topic can't be described") {
        return answers.push((Topic(name), Err(error)));
    }
    let partitions = topic.partitions.into_iter().map(PartitionDescription::from);
    if let Some((Topic(last), Ok(description))) = answers.last_mut()
        && *last == name
    {
        return description.partitions.extend(partitions);
    }
    let description = TopicDescription {
        name: name.clone(),
        id: Uuid::some(topic.topic_id),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        authorized_operations: authorized.then(|| authorized_operations(topic.topic_authorized_operations)).flatten(),
    };
    answers.push((Topic(name), Ok(description)));
}
