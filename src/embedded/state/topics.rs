//! Topics and partitions: who leads them, and how they are made.

use super::log::Log;
use super::{Refusal, State, uuid};
use crate::ErrorCode;
use std::collections::{BTreeMap, HashMap};

/// The topic that holds committed offsets in Kafka: the leaders of its partitions are the groups' coordinators.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The same for transactions.
pub(super) const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// The longest name of a topic, in characters.
const MAX_NAME: usize = 249;

/// A topic.
#[derive(Debug)]
pub(in crate::embedded) struct Topic {
    pub(in crate::embedded) name: String,
    pub(in crate::embedded) id: [u8; 16],
    pub(in crate::embedded) partitions: Vec<Partition>,
    /// What was set for this topic, by Kafka's names.
    pub(in crate::embedded) configs: BTreeMap<String, String>,
}

impl Topic {
    pub(in crate::embedded) fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether a topic of this name is one that the brokers keep for themselves.
pub(super) fn is_internal(name: &str) -> bool {
    [OFFSETS_TOPIC, TRANSACTIONS_TOPIC].contains(&name)
}

/// A partition. All replicas share one log, so an in-sync replica is always the equal of the leader.
#[derive(Debug)]
pub(in crate::embedded) struct Partition {
    pub(in crate::embedded) leader: Option<i32>,
    pub(in crate::embedded) leader_epoch: i32,
    /// The preferred leader first.
    pub(in crate::embedded) replicas: Vec<i32>,
    pub(in crate::embedded) isr: Vec<i32>,
    pub(in crate::embedded) log: Log,
}

/// All topics.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Topics {
    by_name: BTreeMap<String, Topic>,
    names: HashMap<[u8; 16], String>,
}

impl Topics {
    pub(in crate::embedded) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name)
    }

    pub(in crate::embedded) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get_mut(name)
    }

    pub(in crate::embedded) fn name_of(&self, id: &[u8; 16]) -> Option<&str> {
        self.names.get(id).map(String::as_str)
    }

    /// In the order of their names.
    pub(in crate::embedded) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values()
    }

    pub(in crate::embedded) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Topic> {
        self.by_name.values_mut()
    }

    pub(in crate::embedded) fn partition(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.get(topic)?.partitions.get(usize::try_from(partition).ok()?)
    }

    pub(in crate::embedded) fn partition_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.get_mut(topic)?.partitions.get_mut(usize::try_from(partition).ok()?)
    }

    pub(in crate::embedded) fn insert(&mut self, topic: Topic) {
        self.names.insert(topic.id, topic.name.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    pub(in crate::embedded) fn remove(&mut self, name: &str) -> Option<Topic> {
        let topic = self.by_name.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }
}

/// Whether Kafka takes it for a topic's name.
pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let why = match name {
        "" => "the empty string is not allowed".into(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.chars().count() > MAX_NAME => {
            format!("the length of '{name}' is longer than the max allowed length {MAX_NAME}")
        }
        _ if !name.chars().all(legal) => {
            let rest = "contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
            format!("'{name}' {rest}")
        }
        _ => return Ok(()),
    };
    Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: {why}")))
}

pub(super) fn is_valid_name(name: &str) -> bool {
    check_name(name).is_ok()
}

impl State {
    /// Makes a topic with replicas spread over the brokers.
    pub(in crate::embedded) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        replication_factor: i16,
        configs: BTreeMap<String, String>,
    ) -> Result<&Topic, ErrorCode> {
        if partitions < 1 {
            return Err(ErrorCode::INVALID_PARTITIONS);
        }
        let assignment = self.place(partitions, replication_factor).map_err(|refusal| refusal.code)?;
        self.create_topic_on(name, assignment, configs)
    }

    /// Makes a topic with the replicas of each partition given, the preferred leader first.
    pub(in crate::embedded) fn create_topic_on(
        &mut self,
        name: &str,
        assignment: Vec<Vec<i32>>,
        configs: BTreeMap<String, String>,
    ) -> Result<&Topic, ErrorCode> {
        if !is_valid_name(name) {
            return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        if self.topics.get(name).is_some() {
            return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
        }
        let partitions = assignment.into_iter().map(|replicas| self.new_partition(replicas)).collect();
        let topic = Topic { name: name.to_owned(), id: uuid(&mut self.random), partitions, configs };
        self.topics.insert(topic);
        self.topics.get(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    fn new_partition(&self, replicas: Vec<i32>) -> Partition {
        let isr: Vec<i32> = replicas.iter().copied().filter(|id| self.brokers.is_running(*id)).collect();
        Partition { leader: isr.first().copied(), leader_epoch: 0, replicas, isr, log: Log::default() }
    }

    /// Takes a topic away with all that it holds; whether it was there.
    pub(in crate::embedded) fn remove_topic(&mut self, name: &str) -> bool {
        let removed = self.topics.remove(name).is_some();
        self.offsets.remove_topic(name);
        self.leaders_changed();
        removed
    }

    /// Adds partitions with these replicas to a topic that is there.
    pub(super) fn add_partitions(&mut self, topic: &str, assignment: Vec<Vec<i32>>) {
        let partitions: Vec<Partition> = assignment.into_iter().map(|replicas| self.new_partition(replicas)).collect();
        if let Some(topic) = self.topics.get_mut(topic) {
            topic.partitions.extend(partitions);
        }
    }

    /// Partitions have other leaders, or are gone: who waits for them is told.
    pub(super) fn leaders_changed(&mut self) {
        self.finish_transactions();
        self.wake_all_fetches();
    }

    /// A broker has stopped: it leaves the in-sync replicas, except where it is the last one, and others lead.
    pub(in crate::embedded) fn broker_stopped(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(id) {
            broker.running = false;
        }
        self.give_up_partitions(id);
    }

    /// A broker is no part of the cluster any more, whether it runs or not.
    pub(super) fn broker_unregistered(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(id) {
            broker.registered = false;
        }
        self.give_up_partitions(id);
    }

    fn give_up_partitions(&mut self, id: i32) {
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.isr.len() > 1 {
                partition.isr.retain(|replica| *replica != id);
            }
            if partition.leader == Some(id) {
                partition.leader = partition.isr.iter().copied().find(|replica| *replica != id);
                partition.leader_epoch += 1;
            }
        }
        self.forget_sessions(id);
        self.leaders_changed();
    }

    /// A broker has come back: it is registered and in sync at once, and leads what has no leader.
    pub(in crate::embedded) fn broker_started(&mut self, id: i32) {
        if let Some(broker) = self.brokers.get_mut(id) {
            (broker.running, broker.registered) = (true, true);
        }
        for partition in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let eligible = partition.isr.contains(&id) || partition.leader.is_some();
            if !partition.replicas.contains(&id) || !eligible {
                continue;
            }
            if !partition.isr.contains(&id) {
                partition.isr.push(id);
            }
            if partition.leader.is_none() {
                partition.leader = Some(id);
                partition.leader_epoch += 1;
            }
        }
        self.leaders_changed();
    }
}
