//! Topics: create and delete.

use super::{Admin, Judged, Results, entity_error, passes};
use crate::net::Deadline;
use crate::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

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
            let message = "the broker is too old to choose the number of partitions or replicas: give both";
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

impl Admin {
    /// Creates topics. RPC CreateTopics, brokers from 1.0 on.
    ///
    /// Blocks until the controller has created them; brokers learn of them a moment later. The outer error is one of the
    /// whole call; each topic has its own, such as TOPIC_ALREADY_EXISTS. That one may also mean that an earlier try of
    /// this very call did it: a connection that breaks before the answer came is a reason to try again.
    pub fn create_topics(&self, topics: &[NewTopic]) -> Result<Results> {
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        let deadline = Deadline::after(self.timeout);
        let mut outcomes = Outcomes::new(&names)?;
        let waiting = RefCell::new(outcomes.pending.clone());
        let called = self.on_controller::<CreateTopicsRequest, ()>(
            deadline,
            |version| {
                let left = waiting.borrow();
                let chosen = topics.iter().filter(|topic| left.contains(&topic.name));
                Ok(CreateTopicsRequest {
                    topics: chosen.map(|topic| topic.creatable(version)).collect::<Result<_>>()?,
                    timeout_ms: milliseconds(deadline.remaining()),
                    validate_only: false,
                })
            },
            |response| {
                let answers = response.topics.into_iter().map(|t| (t.name, ErrorCode(t.error_code), t.error_message));
                let judged = outcomes.take(answers, "the topic was not created");
                waiting.borrow_mut().clone_from(&outcomes.pending);
                judged
            },
        );
        outcomes.finish(called)
    }

    /// Deletes topics and their records, by name. RPC DeleteTopics, brokers from 1.0 on.
    ///
    /// Blocks until the controller has taken it on; the records go in the background. The outer error is one of the whole
    /// call; each topic has its own.
    pub fn delete_topics(&self, topics: &[&str]) -> Result<Results> {
        let deadline = Deadline::after(self.timeout);
        let mut outcomes = Outcomes::new(topics)?;
        let waiting = RefCell::new(outcomes.pending.clone());
        let called = self.on_controller::<DeleteTopicsRequest, ()>(
            deadline,
            |version| {
                let left = waiting.borrow().clone();
                let timeout_ms = milliseconds(deadline.remaining());
                let mut request = DeleteTopicsRequest { timeout_ms, ..Default::default() };
                if version >= TOPIC_STATES {
                    let state = |name| DeleteTopicState { name: Some(name), topic_id: [0; 16] };
                    request.topics = left.into_iter().map(state).collect();
                } else {
                    request.topic_names = left;
                }
                Ok(request)
            },
            |response| {
                let answers = response
                    .responses
                    .into_iter()
                    .map(|t| (t.name.unwrap_or_default(), ErrorCode(t.error_code), t.error_message));
                let judged = outcomes.take(answers, "the topic was not deleted");
                waiting.borrow_mut().clone_from(&outcomes.pending);
                judged
            },
        );
        outcomes.finish(called)
    }
}

/// What is known of each topic of a call.
struct Outcomes {
    names: Vec<String>,
    known: HashMap<String, Result<()>>,
    pending: Vec<String>,
}

impl Outcomes {
    fn new(names: &[&str]) -> Result<Self> {
        if let Some(name) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return Err(Error::new(ErrorKind::InvalidArgument, "the topic is given twice").with_topic(*name));
        }
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { pending: names.clone(), names, known: HashMap::new() })
    }

    /// Takes the answers for pending topics; those with an error that may pass stay pending.
    fn take(&mut self, answers: impl Iterator<Item = (String, ErrorCode, Option<String>)>, failed: &str) -> Judged<()> {
        let mut again = None;
        for (name, code, words) in answers {
            // One that was not asked for, or twice.
            if !self.pending.contains(&name) {
                continue;
            }
            let outcome = match code {
                ErrorCode::NONE => Ok(()),
                code => Err(entity_error(code, words.as_deref(), failed).with_topic(name.as_str())),
            };
            if let Err(error) = &outcome
                && passes(code)
            {
                again = Some(error.clone());
            } else {
                self.pending.retain(|other| *other != name);
            }
            self.known.insert(name, outcome);
        }
        if let Some(error) = again {
            return Judged::Again(error);
        }
        for name in std::mem::take(&mut self.pending) {
            let missing = Error::protocol("the controller's answer leaves out this topic").with_topic(name.as_str());
            self.known.insert(name, Err(missing));
        }
        Judged::Done(())
    }

    /// The results in the order of the call; an error of the whole call only if nothing is known of any topic.
    fn finish(mut self, called: Result<()>) -> Result<Results> {
        if let Err(error) = called {
            if self.known.is_empty() {
                return Err(error);
            }
            for name in &self.pending {
                self.known.entry(name.clone()).or_insert_with(|| Err(error.clone()));
            }
        }
        let unknown = || Err(Error::protocol("nothing is known of this topic"));
        Ok(self.names.iter().map(|name| (name.clone(), self.known.remove(name).unwrap_or_else(unknown))).collect())
    }
}

fn milliseconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, code: ErrorCode) -> (String, ErrorCode, Option<String>) {
        (name.into(), code, None)
    }

    #[test]
    fn each_topic_has_its_own_result_in_the_order_of_the_call() {
        let mut outcomes = Outcomes::new(&["a", "b", "c"]).unwrap();
        let first = [
            answer("c", ErrorCode::NOT_CONTROLLER),
            answer("b", ErrorCode::TOPIC_ALREADY_EXISTS),
            answer("x", ErrorCode::NONE),
        ];
        assert!(matches!(outcomes.take(first.into_iter(), "no"), Judged::Again(_)));
        assert_eq!(outcomes.pending, ["a", "c"], "what failed for good is not tried again");
        assert!(matches!(outcomes.take([answer("c", ErrorCode::NONE)].into_iter(), "no"), Judged::Done(())));
        let results = outcomes.finish(Ok(())).unwrap();
        assert_eq!(results.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(results[0].1.as_ref().unwrap_err().kind(), ErrorKind::Protocol, "left out of the answer");
        assert_eq!(results[1].1.as_ref().unwrap_err().code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
        assert!(results[2].1.is_ok());
    }

    #[test]
    fn old_brokers_are_not_asked_for_defaults_they_lack() {
        let topic = NewTopic::new("t").partitions(3);
        assert_eq!(topic.creatable(3).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(topic.creatable(4).unwrap().replication_factor, -1);
        assert!(NewTopic::new("t").assignment(0, [1]).creatable(2).is_ok());
        assert_eq!(Outcomes::new(&["t", "u", "t"]).err().unwrap().topic(), Some("t"));
    }
}
