//! Topics: create, delete, list, add partitions.

use super::configs::Config;
use super::lookup;
use super::routing::{Entity, Route, Topic};
use super::{Admin, Results, Uuid, outcome};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::protocol::messages::metadata::MetadataResponseTopic;
use crate::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};

/// From this version on the broker fills in partitions and replication factor by its own defaults (KIP-464).
const BROKER_DEFAULTS: i16 = 4;
/// From this version on topics to delete are listed with room for their ids.
const TOPIC_STATES: i16 = 6;

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: i32,
    replication_factor: i16,
    assignments: BTreeMap<i32, Vec<i32>>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// With the broker's default number of partitions and replication factor, which brokers before 2.4 do not fill in.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: -1,
            replication_factor: -1,
            assignments: BTreeMap::new(),
            configs: BTreeMap::new(),
        }
    }

    /// The number of partitions. Kafka: `num.partitions` is the broker's default.
    #[must_use]
    pub fn partitions(mut self, partitions: i32) -> Self {
        self.partitions = partitions;
        self
    }

    /// How many replicas each partition has. Kafka: `default.replication.factor` is the broker's default.
    #[must_use]
    pub fn replication_factor(mut self, replicas: i16) -> Self {
        self.replication_factor = replicas;
        self
    }

    /// The brokers of one partition, the preferred leader first. With assignments, all partitions must have one, and
    /// neither their number nor a replication factor may be given.
    #[must_use]
    pub fn assignment(mut self, partition: i32, brokers: impl Into<Vec<i32>>) -> Self {
        self.assignments.insert(partition, brokers.into());
        self
    }

    /// A setting of the topic, such as `cleanup.policy`.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(name.into(), value.into());
        self
    }

    pub(crate) fn creatable(&self, version: i16) -> Result<CreatableTopic> {
        let missing = match (self.partitions, self.replication_factor) {
            (-1, _) => Some("num.partitions"),
            (_, -1) => Some("default.replication.factor"),
            _ => None,
        };
        if let Some(setting) = missing.filter(|_| version < BROKER_DEFAULTS && self.assignments.is_empty()) {
            let message = format!(
                "the broker can't choose the number of partitions or replicas, give both: CreateTopics {BROKER_DEFAULTS} is \
                 needed, and the broker has it up to version {version}"
            );
            let error = Error::new(ErrorKind::Unsupported, message).with_setting(setting);
            return Err(error.with_topic(self.name.as_str()));
        }
        let assignment = |(partition, brokers): (&i32, &Vec<i32>)| CreatableReplicaAssignment {
            partition_index: *partition,
            broker_ids: brokers.clone(),
        };
        let config =
            |(name, value): (&String, &String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
        Ok(CreatableTopic {
            name: self.name.clone(),
            num_partitions: self.partitions,
            replication_factor: self.replication_factor,
            assignments: self.assignments.iter().map(assignment).collect(),
            configs: self.configs.iter().map(config).collect(),
        })
    }
}

/// What the broker made of a [`NewTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedTopic {
    /// The topic's id; `None` from brokers before 2.8.
    pub id: Option<Uuid>,
    /// The number of partitions; `None` from brokers before 2.4, or if the principal may not describe the topic's configs.
    pub partitions: Option<i32>,
    /// The number of replicas of each partition; `None` as above.
    pub replication_factor: Option<i16>,
    /// The topic's settings, defaults and all; empty as above.
    pub configs: Vec<Config>,
}

impl CreatedTopic {
    fn new(result: CreatableTopicResult) -> Self {
        let configs = result.configs.unwrap_or_default();
        Self {
            id: Uuid::some(result.topic_id),
            partitions: Some(result.num_partitions).filter(|n| *n >= 0),
            replication_factor: Some(result.replication_factor).filter(|n| *n >= 0),
            configs: configs.into_iter().map(Config::of_created_topic).collect(),
        }
    }
}

/// How many partitions a topic is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPartitions {
    topic: String,
    total: i32,
    assignments: Vec<Vec<i32>>,
}

impl NewPartitions {
    /// So many partitions in all. There can't be fewer than now.
    pub fn new(topic: impl Into<String>, total: i32) -> Self {
        Self { topic: topic.into(), total, assignments: Vec::new() }
    }

    /// The brokers of the next new partition, the preferred leader first. With assignments, all new partitions must have
    /// one, in their order.
    #[must_use]
    pub fn assignment(mut self, brokers: impl Into<Vec<i32>>) -> Self {
        self.assignments.push(brokers.into());
        self
    }
}

/// A topic in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicListing {
    /// Its name.
    pub name: String,
    /// Its id; `None` from brokers before 2.8.
    pub id: Option<Uuid>,
    /// Whether it is one of Kafka's own, such as `__consumer_offsets`.
    pub internal: bool,
    /// How many partitions it has.
    pub partitions: usize,
}

impl Entity for Uuid {}

impl Admin {
    /// Creates topics. RPC CreateTopics to the controller, brokers from 1.0 on.
    ///
    /// Blocks until the controller has created them; brokers learn of them a moment later. The outer error is one of the
    /// whole call; each topic has its own, such as TOPIC_ALREADY_EXISTS. That one may also mean that an earlier try of
    /// this very call did it: a connection that breaks before the answer came is a reason to try again.
    ///
    /// ```no_run
    /// use sarameya::admin::NewTopic;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.create_topics(&[NewTopic::new("test3").partitions(3).config("retention.ms", "3600000")])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn create_topics(&self, topics: &[NewTopic]) -> Result<Results<CreatedTopic>> {
        self.create_or_validate_topics(topics, false)
    }

    /// Checks as [`create_topics`](Self::create_topics) does, and creates nothing. RPC CreateTopics to the controller,
    /// brokers from 1.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::NewTopic;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.validate_create_topics(&[NewTopic::new("test3").partitions(3)])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_create_topics(&self, topics: &[NewTopic]) -> Result<Results<CreatedTopic>> {
        self.create_or_validate_topics(topics, true)
    }

    fn create_or_validate_topics(&self, topics: &[NewTopic], validate_only: bool) -> Result<Results<CreatedTopic>> {
        let wanted: HashMap<&str, &NewTopic> = topics.iter().map(|topic| (topic.name.as_str(), topic)).collect();
        let created = self.call().run(all(topics.iter().map(|t| &t.name)), &Route::Controller, |asking, names| {
            let version = asking.version::<CreateTopicsRequest>()?;
            let chosen = names.iter().filter_map(|Topic(name)| wanted.get(name.as_str()));
            let topics = chosen.map(|topic| topic.creatable(version)).collect::<Result<_>>()?;
            let response =
                asking.call(&CreateTopicsRequest { topics, timeout_ms: asking.timeout_ms(), validate_only })?;
            let answer = |result: CreatableTopicResult| {
                let failed = outcome(result.error_code, result.error_message.as_deref(), "the topic was not created");
                (Topic(result.name.clone()), failed.map(|()| CreatedTopic::new(result)))
            };
            Ok(response.topics.into_iter().map(answer).collect())
        })?;
        Ok(by_name(created))
    }

    /// Deletes topics and their records, by name. RPC DeleteTopics to the controller, brokers from 1.0 on.
    ///
    /// Blocks until the controller has taken it on; the records go in the background. UNKNOWN_TOPIC_OR_PARTITION may also
    /// mean that an earlier try of this very call did it.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.delete_topics(&["test3"])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_topics(&self, topics: &[&str]) -> Result<Results> {
        let deleted = self.call().run(all(topics.iter().copied()), &Route::Controller, |asking, names| {
            let version = asking.version::<DeleteTopicsRequest>()?;
            let mut request = DeleteTopicsRequest { timeout_ms: asking.timeout_ms(), ..Default::default() };
            let names = names.iter().map(|Topic(name)| name.clone());
            if version >= TOPIC_STATES {
                let state = |name| DeleteTopicState { name: Some(name), topic_id: [0; 16] };
                request.topics = names.map(state).collect();
            } else {
                request.topic_names = names.collect();
            }
            let response = asking.call(&request)?;
            let answers = response.responses.into_iter().map(|topic| {
                let outcome = outcome(topic.error_code, topic.error_message.as_deref(), "the topic was not deleted");
                (Topic(topic.name.unwrap_or_default()), outcome)
            });
            Ok(answers.collect())
        })?;
        Ok(by_name(deleted))
    }

    /// Deletes topics by their ids, so that a topic of the same name made meanwhile is safe. RPC DeleteTopics 6 to the
    /// controller, brokers from 2.8 on.
    ///
    /// ```no_run
    /// use sarameya::admin::Uuid;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let id: Uuid = "bvEe8qERSRiB6c9Wx0H5yQ".parse()?;
    /// for (id, outcome) in admin.delete_topics_by_id(&[id])? {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_topics_by_id(&self, ids: &[Uuid]) -> Result<Results<(), Uuid>> {
        self.call().run(ids.to_vec(), &Route::Controller, |asking, ids| {
            asking.needs::<DeleteTopicsRequest>(TOPIC_STATES, "topics can't be deleted by id")?;
            let topics = ids.iter().map(|id| DeleteTopicState { name: None, topic_id: id.0 }).collect();
            let timeout_ms = asking.timeout_ms();
            let response = asking.call(&DeleteTopicsRequest { topics, timeout_ms, ..Default::default() })?;
            let answers = response.responses.into_iter().map(|topic| {
                let id = Uuid(topic.topic_id);
                // Somebody who may not see the topic is not told its name.
                let words = topic.error_message.as_deref().unwrap_or("it was not deleted");
                let outcome = outcome(topic.error_code, None, &format!("the topic with the id {id}: {words}"));
                let named = |error: Error| match &topic.name {
                    Some(name) => error.with_topic(name.as_str()),
                    None => error,
                };
                (id, outcome.map_err(named))
            });
            Ok(answers.collect())
        })
    }

    /// All topics this principal may describe, by name; Kafka's own as well. RPC Metadata to any broker, brokers from
    /// 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for topic in admin.list_topics()?.into_iter().filter(|topic| !topic.internal) {
    ///     println!("{} {}", topic.name, topic.partitions);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_topics(&self) -> Result<Vec<TopicListing>> {
        let response = self.call().ask(&Route::Any, |asking| lookup::metadata(asking, None, false))?;
        let listing = |topic: MetadataResponseTopic| {
            Some(TopicListing {
                name: topic.name?,
                id: Uuid::some(topic.topic_id),
                internal: topic.is_internal,
                partitions: topic.partitions.len(),
            })
        };
        let mut topics: Vec<_> = response.topics.into_iter().filter_map(listing).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Adds partitions to topics. RPC CreatePartitions to the controller, brokers from 1.0 on.
    ///
    /// INVALID_PARTITIONS says that a topic has as many already, which may have been done by an earlier try of this very
    /// call. Records with keys go to other partitions from then on.
    ///
    /// ```no_run
    /// use sarameya::admin::NewPartitions;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.create_partitions(&[NewPartitions::new("test3", 6)])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn create_partitions(&self, topics: &[NewPartitions]) -> Result<Results> {
        self.create_or_validate_partitions(topics, false)
    }

    /// Checks as [`create_partitions`](Self::create_partitions) does, and adds nothing. RPC CreatePartitions to the
    /// controller, brokers from 1.0 on.
    ///
    /// ```no_run
    /// use sarameya::admin::NewPartitions;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (topic, outcome) in admin.validate_create_partitions(&[NewPartitions::new("test3", 6)])? {
    ///     println!("{topic}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn validate_create_partitions(&self, topics: &[NewPartitions]) -> Result<Results> {
        self.create_or_validate_partitions(topics, true)
    }

    fn create_or_validate_partitions(&self, topics: &[NewPartitions], validate_only: bool) -> Result<Results> {
        let wanted: HashMap<&str, &NewPartitions> = topics.iter().map(|topic| (topic.topic.as_str(), topic)).collect();
        let created = self.call().run(all(topics.iter().map(|t| &t.topic)), &Route::Controller, |asking, names| {
            let assignment = |brokers: &Vec<i32>| CreatePartitionsAssignment { broker_ids: brokers.clone() };
            let topic = |topic: &&NewPartitions| CreatePartitionsTopic {
                name: topic.topic.clone(),
                count: topic.total,
                assignments: (!topic.assignments.is_empty())
                    .then(|| topic.assignments.iter().map(assignment).collect()),
            };
            let topics = names.iter().filter_map(|Topic(name)| wanted.get(name.as_str())).map(topic).collect();
            let response =
                asking.call(&CreatePartitionsRequest { topics, timeout_ms: asking.timeout_ms(), validate_only })?;
            let answers = response.results.into_iter().map(|result| {
                let words = result.error_message.as_deref();
                (Topic(result.name), outcome(result.error_code, words, "partitions were not added"))
            });
            Ok(answers.collect())
        })?;
        Ok(by_name(created))
    }
}

fn all(names: impl Iterator<Item = impl AsRef<str>>) -> Vec<Topic> {
    names.map(|name| Topic(name.as_ref().to_owned())).collect()
}

pub(super) fn by_name<T>(results: Results<T, Topic>) -> Results<T> {
    results.into_iter().map(|(Topic(name), outcome)| (name, outcome)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_brokers_are_not_asked_for_defaults_they_lack() {
        let topic = NewTopic::new("t").partitions(3);
        assert_eq!(topic.creatable(3).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(topic.creatable(4).unwrap().replication_factor, -1);
        assert!(NewTopic::new("t").assignment(0, [1]).creatable(2).is_ok());
    }
}
