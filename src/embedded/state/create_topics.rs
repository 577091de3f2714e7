//! CreateTopics, versions 2 to 7, and CreatePartitions, versions 0 to 3. As with KRaft, any broker takes them.
//!
//! A topic is there, with its leaders, when the answer is written. -1 partitions or replicas stand for the brokers'
//! defaults in every version (KIP-464).

use super::placement::{MAX_PARTITIONS, too_many};
use super::refusal::{Refusal, code_and_message, without_duplicates};
use super::topics::check_name;
use super::{Context, Reply, State, uuid};
use crate::ErrorCode;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::protocol::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
use std::collections::BTreeMap;

/// Where Kafka keeps its metadata; no client makes it.
pub(super) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";
/// What stands in the last field of a result if the configs are there.
const DUPLICATE: &str = "Duplicate topic name.";

/// A topic that may be made.
struct Plan {
    assignment: Vec<Vec<i32>>,
    configs: BTreeMap<String, String>,
}

impl State {
    pub(super) fn create_topics(&mut self, context: &Context, request: CreateTopicsRequest) -> Reply {
        if self.is_refused_by_follower(context) {
            let topics = request.topics.into_iter().map(|topic| refused(topic.name, ErrorCode::NOT_CONTROLLER.into()));
            return Reply::of(CreateTopicsResponse { topics: topics.collect(), ..Default::default() });
        }
        let (topics, duplicates) = without_duplicates(request.topics, |topic| &topic.name);
        let asked: usize = topics.iter().map(|topic| self.asked_partitions(topic)).sum();
        let beyond = asked > MAX_PARTITIONS as usize;
        let mut results = Vec::new();
        for topic in topics {
            let plan = if beyond { Err(too_many()) } else { self.plan_topic(&topic) };
            results.push(match plan {
                Ok(plan) => self.create_planned(topic.name, plan, request.validate_only),
                Err(refusal) => refused(topic.name, refusal),
            });
        }
        let twice = |name| refused(name, Refusal::new(ErrorCode::INVALID_REQUEST, DUPLICATE));
        results.extend(duplicates.into_iter().map(twice));
        Reply::of(CreateTopicsResponse { topics: results, ..Default::default() })
    }

    /// How many partitions a topic is to have, if it can be made.
    fn asked_partitions(&self, topic: &CreatableTopic) -> usize {
        let number = match topic.num_partitions {
            _ if !topic.assignments.is_empty() => return topic.assignments.len(),
            -1 => self.topic_defaults().0,
            number => number,
        };
        usize::try_from(number).unwrap_or(0)
    }

    /// Makes a topic without a request for it.
    pub(in crate::embedded) fn create_new_topic(&mut self, topic: CreatableTopic) -> Result<(), Refusal> {
        let Plan { assignment, configs } = self.plan_topic(&topic)?;
        self.create_topic_on(&topic.name, assignment, configs)?;
        Ok(())
    }

    fn plan_topic(&mut self, topic: &CreatableTopic) -> Result<Plan, Refusal> {
        if topic.name == CLUSTER_METADATA_TOPIC {
            let message = format!("Creation of internal topic {CLUSTER_METADATA_TOPIC} is prohibited.");
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        }
        check_name(&topic.name)?;
        self.check_free(&topic.name)?;
        let configs = set_configs(&topic.configs)?;
        self.check_topic_configs(&configs)?;
        let assignment = if topic.assignments.is_empty() { self.placed(topic)? } else { self.assigned(topic)? };
        Ok(Plan { assignment, configs })
    }

    /// Whether neither this topic nor one whose metrics would have the same name is there.
    fn check_free(&self, name: &str) -> Result<(), Refusal> {
        if self.topics.get(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
        }
        let unified = |name: &str| name.replace('.', "_");
        if !name.contains(['.', '_']) {
            return Ok(());
        }
        match self.topics.iter().find(|topic| unified(&topic.name) == unified(name)) {
            Some(topic) => {
                let message = format!("Topic '{name}' collides with existing topic: {}", topic.name);
                Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))
            }
            None => Ok(()),
        }
    }

    fn placed(&mut self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let partitions = topic.num_partitions;
        let factor = topic.replication_factor;
        if factor < -1 || factor == 0 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        if partitions < -1 || partitions == 0 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        let (default_partitions, default_factor) = self.topic_defaults();
        let partitions = if partitions == -1 { default_partitions } else { partitions };
        self.place(partitions, if factor == -1 { default_factor } else { factor })
    }

    fn assigned(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let contradiction = |what: &str| {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
        };
        if topic.replication_factor != -1 {
            return contradiction("replication factor");
        }
        if topic.num_partitions != -1 {
            return contradiction("numPartitions");
        }
        let refused = |message: String| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        let mut replicas: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let mut factor = None;
        for CreatableReplicaAssignment { partition_index, broker_ids } in &topic.assignments {
            self.check_new_assignment(*partition_index, broker_ids, factor)?;
            factor = Some(broker_ids.len());
            if replicas.insert(*partition_index, broker_ids.clone()).is_some() {
                let what = "Found multiple manual partition assignments for partition";
                return refused(format!("{what} {partition_index}"));
            }
        }
        if !replicas.keys().copied().eq(0..i32::try_from(replicas.len()).unwrap_or(i32::MAX)) {
            return refused("partitions should be a consecutive 0-based integer sequence".into());
        }
        Ok(replicas.into_values().collect())
    }

    fn create_planned(&mut self, name: String, plan: Plan, validate_only: bool) -> CreatableTopicResult {
        let Plan { assignment, configs } = plan;
        let entries = self.topic_config_entries(&configs).into_iter().map(|entry| CreatableTopicConfigs {
            value: entry.value.filter(|_| !entry.is_sensitive),
            name: entry.name,
            read_only: entry.read_only,
            config_source: entry.source,
            is_sensitive: entry.is_sensitive,
        });
        let mut result = CreatableTopicResult {
            configs: Some(entries.collect()),
            num_partitions: i32::try_from(assignment.len()).unwrap_or(i32::MAX),
            replication_factor: assignment.first().and_then(|first| i16::try_from(first.len()).ok()).unwrap_or(-1),
            ..Default::default()
        };
        if validate_only {
            result.topic_id = uuid(&mut self.random);
        } else {
            match self.create_topic_on(&name, assignment, configs) {
                Ok(topic) => result.topic_id = topic.id,
                Err(code) => return refused(name, code.into()),
            }
        }
        CreatableTopicResult { name, ..result }
    }

    /// How many partitions and replicas a topic gets if nobody says. Kafka: `num.partitions`,
    /// `default.replication.factor`.
    pub(super) fn topic_defaults(&self) -> (i32, i16) {
        let partitions = i32::try_from(self.settings.number("num.partitions")).unwrap_or(1);
        let factor = i16::try_from(self.settings.number("default.replication.factor")).unwrap_or(1);
        (partitions, factor)
    }

    pub(super) fn create_partitions(&mut self, context: &Context, request: CreatePartitionsRequest) -> Reply {
        let follower = self.is_refused_by_follower(context);
        let (topics, duplicates) = without_duplicates(request.topics, |topic| &topic.name);
        let result = |name: String, outcome: &Result<(), Refusal>| {
            let (error_code, error_message) = code_and_message(outcome);
            CreatePartitionsTopicResult { name, error_code, error_message }
        };
        let twice = Err(Refusal::new(ErrorCode::INVALID_REQUEST, DUPLICATE));
        let mut results: Vec<_> = duplicates.into_iter().map(|name| result(name, &twice)).collect();
        for topic in topics {
            let plan = if follower { Err(ErrorCode::NOT_CONTROLLER.into()) } else { self.plan_partitions(&topic) };
            let outcome = plan.map(|assignment| {
                if !request.validate_only {
                    self.add_partitions(&topic.name, assignment);
                }
            });
            results.push(result(topic.name, &outcome));
        }
        Reply::of(CreatePartitionsResponse { results, ..Default::default() })
    }

    /// Adds partitions until there are `count`.
    pub(in crate::embedded) fn grow_topic(&mut self, topic: &str, count: i32) -> Result<(), Refusal> {
        let asked = CreatePartitionsTopic { name: topic.to_owned(), count, assignments: None };
        let assignment = self.plan_partitions(&asked)?;
        self.add_partitions(topic, assignment);
        Ok(())
    }

    fn plan_partitions(&mut self, topic: &CreatePartitionsTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let existing = self.topics.get(&topic.name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let have = i32::try_from(existing.partitions.len()).unwrap_or(i32::MAX);
        let factor = existing.partitions.first().map_or(1, |partition| partition.replicas.len());
        let refused = |message: String| Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        let (name, count) = (&topic.name, topic.count);
        if count == have {
            return refused(format!("Topic already has {have} partition(s)."));
        }
        if count < have {
            let rest = format!("{count} would not be an increase.");
            return refused(format!("The topic {name} currently has {have} partition(s); {rest}"));
        }
        let additional = count - have;
        let Some(assignments) = &topic.assignments else {
            return self.place(additional, i16::try_from(factor).unwrap_or(i16::MAX));
        };
        if i32::try_from(assignments.len()) != Ok(additional) {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        for (assignment, partition) in assignments.iter().zip(have..) {
            self.check_new_assignment(partition, &assignment.broker_ids, Some(factor))?;
        }
        Ok(assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect())
    }
}

/// The configs of a request; each must have a value.
fn set_configs(configs: &[CreatableTopicConfig]) -> Result<BTreeMap<String, String>, Refusal> {
    let unset: Vec<&str> =
        configs.iter().filter(|config| config.value.is_none()).map(|config| config.name.as_str()).collect();
    if !unset.is_empty() {
        let message = format!("Null value not supported for topic configs: {}", unset.join(","));
        return Err(Refusal::new(ErrorCode::INVALID_CONFIG, message));
    }
    let pair = |config: &CreatableTopicConfig| Some((config.name.clone(), config.value.clone()?));
    Ok(configs.iter().filter_map(pair).collect())
}

fn refused(name: String, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refusal.code.0,
        error_message: refusal.message,
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::releases::release;
    use super::super::test_support::Harness;
    use super::*;

    fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
        CreatableTopic { name: name.into(), num_partitions, replication_factor, ..Default::default() }
    }

    fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> CreatableTopic {
        let assignment = |(partition_index, ids): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: ids.to_vec(),
        };
        CreatableTopic { assignments: assignments.iter().map(assignment).collect(), ..topic(name, -1, -1) }
    }

    fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
        CreatableTopicConfig { name: name.into(), value: value.map(str::to_owned) }
    }

    fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
        CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: false }
    }

    /// What becomes of one topic.
    #[track_caller]
    fn create(harness: &mut Harness, topic: CreatableTopic) -> CreatableTopicResult {
        harness.call(1, 7, request(vec![topic])).topics.remove(0)
    }

    #[test]
    fn a_topic_is_made_with_what_was_asked_for_or_the_defaults() {
        let mut harness = Harness::with(3, &[("num.partitions", "4"), ("default.replication.factor", "2")]);
        let made = create(&mut harness, topic("a", -1, -1));
        assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (0, 4, 2));
        assert_eq!(harness.state.topics.get("a").unwrap().id, made.topic_id);
        let configs = vec![config("retention.ms", Some("1000"))];
        let made = create(&mut harness, CreatableTopic { configs, ..topic("b", 1, 3) });
        let shown = made.configs.unwrap();
        let entry = shown.iter().find(|entry| entry.name == "retention.ms").unwrap();
        assert_eq!((entry.value.as_deref(), entry.config_source), (Some("1000"), 1));
        assert!(shown.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(harness.state.topic_number("b", "retention.ms"), 1000);
        let made = create(&mut harness, assigned("c", &[(1, &[2, 3]), (0, &[3, 1])]));
        assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (0, 2, 2));
        assert_eq!(harness.state.topics.partition("c", 1).unwrap().leader, Some(2));
    }

    #[test]
    fn nothing_is_made_if_the_request_is_only_to_be_checked() {
        let mut harness = Harness::new(1);
        let request = CreateTopicsRequest { validate_only: true, ..request(vec![topic("t", 2, 1)]) };
        let result = harness.call(1, 7, request).topics.remove(0);
        assert_eq!((result.error_code, result.num_partitions), (0, 2));
        assert!(harness.state.topics.get("t").is_none());
    }

    #[test]
    fn each_topic_is_refused_for_its_own_reason_in_the_words_of_kafka() {
        let mut harness = Harness::new(2);
        harness.state.create_topic("have.it", 1, 1, BTreeMap::new()).unwrap();
        let both = CreatableTopic { num_partitions: 1, ..assigned("t", &[(0, &[1])]) };
        let with = |configs| CreatableTopic { configs, ..topic("t", 1, 1) };
        for (topic, code, words) in [
            (topic("have.it", 1, 1), 36, "Topic 'have.it' already exists."),
            (topic("have_it", 1, 1), 17, "Topic 'have_it' collides with existing topic: have.it"),
            (topic("", 1, 1), 17, "Topic name is invalid: the empty string is not allowed"),
            (topic("..", 1, 1), 17, "Topic name is invalid: '..' is not allowed"),
            (topic("__cluster_metadata", 1, 1), 42, "Creation of internal topic __cluster_metadata is prohibited."),
            (topic("t", 0, 1), 37, "Number of partitions was set to an invalid non-positive value."),
            (topic("t", -5, 1), 37, "Number of partitions was set to an invalid non-positive value."),
            (topic("t", 1, -5), 38, "Replication factor must be larger than 0, or -1 to use the default value."),
            (topic("t", 1, 0), 38, "Replication factor must be larger than 0, or -1 to use the default value."),
            (
                topic("t", 1, 3),
                38,
                "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
                 because only 2 broker(s) are registered or some brokers have all their log directories cordoned.",
            ),
            (topic("t", 10_001, 1), 44, "Excessively large number of partitions per request."),
            (both, 42, "A manual partition assignment was specified, but numPartitions was not set to -1."),
            (assigned("t", &[(1, &[1])]), 39, "partitions should be a consecutive 0-based integer sequence"),
            (assigned("t", &[(0, &[1]), (0, &[2])]), 39, "Found multiple manual partition assignments for partition 0"),
            (
                assigned("t", &[(0, &[1]), (1, &[1, 2])]),
                39,
                "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with \
                 previous partitions, which have 1 replica(s).",
            ),
            (with(vec![config("foo", Some("1"))]), 40, "Unknown topic config name: foo"),
            (
                with(vec![config("flush.ms", Some("soon"))]),
                40,
                "Invalid value soon for configuration flush.ms: Not a number of type LONG",
            ),
            (
                with(vec![config("retention.ms", None), config("flush.ms", None)]),
                40,
                "Null value not supported for topic configs: retention.ms,flush.ms",
            ),
        ] {
            let result = create(&mut harness, topic);
            assert_eq!((result.error_code, result.error_message.as_deref()), (code, Some(words)));
            assert!(harness.state.topics.get("t").is_none());
        }
    }

    #[test]
    fn a_request_for_very_many_partitions_makes_none_of_them() {
        let mut harness = Harness::with(1, &[("num.partitions", "4")]);
        let one: &[i32] = &[1];
        let cases = [
            vec![topic("a", 5000, 1), topic("b", 5001, 1)],
            vec![topic("a", -1, 1), topic("b", 9_997, 1)],
            vec![assigned("a", &[0, 1, 2, 3, 4].map(|partition| (partition, one))), topic("b", 9_996, 1)],
            vec![topic("a", -5, 1), topic("b", 10_001, 1)],
        ];
        for topics in cases {
            let results = harness.call(1, 7, request(topics.clone())).topics;
            assert_eq!(results.iter().map(|result| result.error_code).collect::<Vec<_>>(), [44, 44], "{topics:?}");
            assert_eq!(harness.state.topics.iter().count(), 0);
        }
    }

    #[test]
    fn a_name_that_is_twice_in_a_request_is_not_made_but_the_others_are() {
        let mut harness = Harness::new(1);
        let response = harness.call(1, 7, request(vec![topic("a", 1, 1), topic("b", 1, 1), topic("a", 2, 1)]));
        let codes: Vec<_> = response.topics.iter().map(|result| (result.name.as_str(), result.error_code)).collect();
        assert_eq!(codes, [("b", 0), ("a", 42)]);
        assert!(harness.state.topics.get("a").is_none());
    }

    #[test]
    fn before_kraft_only_the_controller_makes_topics() {
        let mut harness = Harness::new(2);
        (1..=2).for_each(|id| harness.state.set_release(id, release("2.5").unwrap()));
        let at = |harness: &mut Harness, broker, name| {
            harness.call(broker, 5, request(vec![topic(name, 1, 1)])).topics[0].error_code
        };
        assert_eq!(at(&mut harness, 2, "a"), 41);
        assert_eq!(at(&mut harness, 1, "a"), 0);
        let more = CreatePartitionsTopic { name: "a".into(), count: 2, assignments: None };
        let more = CreatePartitionsRequest { topics: vec![more], ..Default::default() };
        assert_eq!(harness.call(2, 2, more).results[0].error_code, 41);
        harness.state.broker_stopped(1);
        assert_eq!(at(&mut harness, 2, "b"), 0);
    }

    #[test]
    fn partitions_are_added_but_never_taken_away() {
        let mut harness = Harness::new(2);
        harness.state.create_topic("t", 2, 1, BTreeMap::new()).unwrap();
        let ask = |harness: &mut Harness, count, assignments: Option<&[&[i32]]>, validate_only| {
            let assignment = |ids: &&[i32]| crate::protocol::messages::create_partitions::CreatePartitionsAssignment {
                broker_ids: ids.to_vec(),
            };
            let assignments = assignments.map(|all| all.iter().map(assignment).collect());
            let topic = CreatePartitionsTopic { name: "t".into(), count, assignments };
            let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, validate_only };
            let result = harness.call(2, 3, request).results.remove(0);
            (result.error_code, result.error_message.unwrap_or_default())
        };
        let mut refused = |count, assignments: Option<&[&[i32]]>, code, words: &str| {
            assert_eq!(ask(&mut harness, count, assignments, false), (code, words.to_owned()));
        };
        refused(2, None, 37, "Topic already has 2 partition(s).");
        refused(1, None, 37, "The topic t currently has 2 partition(s); 1 would not be an increase.");
        let one: &[&[i32]] = &[&[1]];
        refused(
            4,
            Some(one),
            39,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        );
        let two: &[&[i32]] = &[&[1, 2]];
        refused(
            3,
            Some(two),
            39,
            "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with \
             previous partitions, which have 1 replica(s).",
        );
        refused(20_000, None, 44, "Excessively large number of partitions per request.");
        assert_eq!(ask(&mut harness, 3, None, true).0, 0);
        assert_eq!(harness.state.topics.get("t").unwrap().partitions.len(), 2);
        assert_eq!(ask(&mut harness, 4, Some(&[&[2], &[1]]), false).0, 0);
        let topic = harness.state.topics.get("t").unwrap();
        let leaders: Vec<_> = topic.partitions.iter().skip(2).map(|partition| partition.leader).collect();
        assert_eq!(leaders, [Some(2), Some(1)]);
        let absent = CreatePartitionsTopic { name: "absent".into(), count: 2, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![absent], ..Default::default() };
        assert_eq!(harness.call(1, 3, request).results[0].error_code, 3);
    }
}
