//! What clients see of configs, and what they change.

use super::super::test_support::Harness;
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResource as ReplacedResource, AlterableConfig as ReplacedConfig,
};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use crate::protocol::messages::list_config_resources::ListConfigResourcesRequest;
use std::collections::BTreeMap;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const LOGGER: i8 = 8;
const METRICS: i8 = 16;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn harness(settings: &[(&str, &str)]) -> Harness {
    let mut harness = Harness::with(2, settings);
    harness.state.create_topic("t", 1, 1, BTreeMap::new()).unwrap();
    harness
}

fn describe(harness: &mut Harness, resource_type: i8, name: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys: None };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: false };
    harness.call(1, 4, request).results.remove(0)
}

#[track_caller]
fn config(harness: &mut Harness, resource_type: i8, name: &str, config: &str) -> DescribeConfigsResourceResult {
    let found = describe(harness, resource_type, name);
    assert_eq!(found.error_code, 0);
    found.configs.into_iter().find(|found| found.name == config).unwrap_or_else(|| panic!("no {config}"))
}

/// The value, where it comes from, and the values behind it.
#[track_caller]
fn value(harness: &mut Harness, resource_type: i8, name: &str, wanted: &str) -> (String, i8, Vec<String>) {
    let found = config(harness, resource_type, name, wanted);
    let synonyms =
        found.synonyms.into_iter().map(|s| format!("{}={}:{}", s.name, s.value.unwrap(), s.source)).collect();
    (found.value.unwrap(), found.config_source, synonyms)
}

fn alter(harness: &mut Harness, resource_type: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> (i16, String) {
    let change = |(name, config_operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    };
    let configs = changes.iter().map(change).collect();
    let resource = AlterConfigsResource { resource_type, resource_name: name.into(), configs };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = harness.call(1, 1, request).responses.remove(0);
    (response.error_code, response.error_message.unwrap_or_default())
}

#[test]
fn a_topics_config_is_its_own_or_the_brokers_or_the_default() {
    let mut harness = harness(&[("log.segment.bytes", "2000000"), ("log.retention.hours", "2")]);
    let expected = ["log.segment.bytes=2000000:4", "log.segment.bytes=1073741824:5"].map(str::to_owned);
    assert_eq!(value(&mut harness, TOPIC, "t", "segment.bytes"), ("2000000".into(), 4, expected.to_vec()));
    assert_eq!(value(&mut harness, TOPIC, "t", "retention.ms"), ("7200000".into(), 5, vec![]));
    assert_eq!(value(&mut harness, TOPIC, "t", "preallocate").0, "false");
    let changes = [("segment.bytes", SET, Some("3000000"))];
    assert_eq!(alter(&mut harness, TOPIC, "t", &changes).0, 0);
    let (shown, source, synonyms) = value(&mut harness, TOPIC, "t", "segment.bytes");
    assert_eq!((shown.as_str(), source, synonyms[0].as_str()), ("3000000", 1, "segment.bytes=3000000:1"));
    assert_eq!(harness.state.topic_number("t", "segment.bytes"), 3_000_000);
    assert_eq!(harness.state.topic_number("absent", "segment.bytes"), 2_000_000);
    assert_eq!(harness.state.topic_config("t", "no.such.config"), None);
    assert_eq!(alter(&mut harness, TOPIC, "t", &[("segment.bytes", DELETE, None)]).0, 0);
    assert_eq!(harness.state.topic_number("t", "segment.bytes"), 2_000_000);
}

#[test]
fn a_broker_that_keeps_records_for_ever_says_so_in_every_unit() {
    let mut harness = harness(&[("log.retention.hours", "-1")]);
    assert_eq!(value(&mut harness, TOPIC, "t", "retention.ms").0, "-1");
}

#[test]
fn a_brokers_config_is_its_own_or_that_of_all_or_what_it_was_started_with() {
    let mut harness = harness(&[("log.cleaner.threads", "2")]);
    let synonyms = |harness: &mut Harness| value(harness, BROKER, "1", "log.cleaner.threads");
    assert_eq!(
        synonyms(&mut harness),
        ("2".into(), 4, ["log.cleaner.threads=2:4", "log.cleaner.threads=1:5"].map(str::to_owned).into())
    );
    assert_eq!(alter(&mut harness, BROKER, "", &[("log.cleaner.threads", SET, Some("3"))]).0, 0);
    assert_eq!(synonyms(&mut harness).1, 3);
    assert_eq!(alter(&mut harness, BROKER, "1", &[("log.cleaner.threads", SET, Some("4"))]).0, 0);
    let (shown, source, all) = synonyms(&mut harness);
    assert_eq!((shown.as_str(), source, all.len()), ("4", 2, 4));
    assert_eq!(harness.state.settings.number("log.cleaner.threads"), 3);
    assert_eq!(harness.state.settings.get_for(1, "log.cleaner.threads"), Some("4"));
    let cluster = describe(&mut harness, BROKER, "").configs;
    let cluster: Vec<_> = cluster.iter().map(|config| (config.name.as_str(), config.config_source)).collect();
    assert_eq!(cluster, [("log.cleaner.threads", 3), ("min.insync.replicas", 3)]);
    assert_eq!(config(&mut harness, BROKER, "1", "node.id").value.as_deref(), Some("1"));
    assert!(config(&mut harness, BROKER, "1", "node.id").read_only);
}

#[test]
fn min_insync_replicas_is_one_value_for_all_brokers_from_4_1_on() {
    const NAME: &str = "min.insync.replicas";
    let mut harness = harness(&[(NAME, "2")]);
    let all = ["min.insync.replicas=2:3", "min.insync.replicas=2:4", "min.insync.replicas=1:5"].map(str::to_owned);
    assert_eq!(value(&mut harness, TOPIC, "t", NAME), ("2".into(), 3, all.into()));
    assert_eq!(alter(&mut harness, BROKER, "", &[(NAME, SET, Some("1"))]).0, 0);
    for (broker, changes) in [("1", (NAME, SET, Some("2"))), ("", (NAME, DELETE, None))] {
        let (code, words) = alter(&mut harness, BROKER, broker, &[changes]);
        assert_eq!(code, 40);
        assert!(words.ends_with("while ELR is enabled."), "{words}");
    }
    assert_eq!(value(&mut harness, TOPIC, "t", NAME).1, 3);
    harness.state.set_release(1, super::super::releases::release("4.0").unwrap());
    assert_eq!(value(&mut harness, TOPIC, "t", NAME).1, 4);
}

#[test]
fn passwords_are_never_shown() {
    let mut harness = harness(&[("ssl.keystore.password", "secret")]);
    let shown = config(&mut harness, BROKER, "1", "ssl.keystore.password");
    assert_eq!((shown.is_sensitive, shown.value, shown.config_source), (true, None, 4));
    assert!(shown.synonyms.iter().all(|synonym| synonym.value.is_none()));
}

#[test]
fn only_the_configs_that_are_asked_for_are_answered() {
    let mut harness = harness(&[]);
    let keys = Some(vec!["retention.ms".into(), "no.such.config".into()]);
    let resource =
        DescribeConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configuration_keys: keys };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let configs = harness.call(1, 4, request).results.remove(0).configs;
    assert_eq!(configs.len(), 1);
    assert_eq!((configs[0].config_type, configs[0].synonyms.len()), (5, 0));
    assert_eq!(describe(&mut harness, TOPIC, "t").configs.len(), 33);
}

#[test]
fn a_groups_config_is_its_own_or_the_brokers_and_keeps_to_the_brokers_limits() {
    let mut harness = harness(&[]);
    let name = "consumer.session.timeout.ms";
    let shown = value(&mut harness, GROUP, "g", name);
    assert_eq!(shown, ("45000".into(), 5, vec!["group.consumer.session.timeout.ms=45000:5".into()]));
    assert_eq!(alter(&mut harness, GROUP, "g", &[(name, SET, Some("50000"))]).0, 0);
    assert_eq!(value(&mut harness, GROUP, "g", name).1, 8);
    assert_eq!((harness.state.group_number("g", name), harness.state.group_number("h", name)), (50_000, 45_000));
    let mut refused = |value, words: &str| {
        assert_eq!(alter(&mut harness, GROUP, "g", &[(name, SET, Some(value))]), (40, words.to_owned()));
    };
    refused("1", "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms");
    refused("70000", "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms");
    refused("0", "Invalid value 0 for configuration consumer.session.timeout.ms: Value must be at least 1");
    let standby = [("streams.num.standby.replicas", SET, Some("9"))];
    let words = "streams.num.standby.replicas must be less than or equal to group.streams.max.standby.replicas";
    assert_eq!(alter(&mut harness, GROUP, "g", &standby), (40, words.to_owned()));
    assert_eq!(alter(&mut harness, GROUP, "g", &[("share.auto.offset.reset", SET, Some("x"))]).0, 40);
    assert_eq!(alter(&mut harness, GROUP, "g", &[("share.auto.offset.reset", SET, Some("by_duration:PT1H"))]).0, 0);
}

#[test]
fn a_client_metrics_config_shows_what_was_set() {
    let mut harness = harness(&[]);
    assert_eq!(value(&mut harness, METRICS, "m", "interval.ms"), ("300000".into(), 5, vec![]));
    assert_eq!(alter(&mut harness, METRICS, "m", &[("interval.ms", SET, Some("1000"))]).0, 0);
    assert_eq!(value(&mut harness, METRICS, "m", "interval.ms"), ("1000".into(), 7, vec!["interval.ms=1000:7".into()]));
}

#[test]
fn lists_grow_and_shrink_by_their_parts() {
    let mut harness = harness(&[]);
    let policy = |harness: &Harness| harness.state.topic_config("t", "cleanup.policy").unwrap().into_owned();
    assert_eq!(alter(&mut harness, TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]).0, 0);
    assert_eq!(policy(&harness), "delete,compact");
    assert_eq!(alter(&mut harness, TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]).0, 0);
    assert_eq!(policy(&harness), "delete,compact", "what is in it already is not added again");
    assert_eq!(alter(&mut harness, TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]).0, 0);
    assert_eq!(policy(&harness), "compact");
    let (code, words) = alter(&mut harness, TOPIC, "t", &[("retention.ms", SUBTRACT, Some("1"))]);
    assert_eq!((code, words.as_str()), (40, "Can't SUBTRACT to key retention.ms because its type is not LIST."));
}

#[test]
fn a_change_is_refused_in_the_words_of_kafka_and_changes_nothing() {
    let mut harness = harness(&[]);
    let set = |name, value| (name, SET, Some(value));
    for (kind, name, changes, code, words) in [
        (TOPIC, "t", vec![set("flush.ms", "5"), set("foo", "1")], 40, "Unknown topic config name: foo"),
        (TOPIC, "t", vec![("flush.ms", SET, None)], 42, "Null value not supported for : flush.ms"),
        (TOPIC, "t", vec![set("flush.ms", "1"), set("flush.ms", "2")], 42, "Error due to duplicate config keys"),
        (
            TOPIC,
            "t",
            vec![set("min.compaction.lag.ms", "10"), set("max.compaction.lag.ms", "5")],
            40,
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
        ),
        (
            TOPIC,
            "t",
            vec![set("remote.storage.enable", "true")],
            40,
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
        (TOPIC, "absent", vec![set("flush.ms", "1")], 3, "The topic 'absent' does not exist."),
        (TOPIC, "", vec![set("flush.ms", "1")], 42, "Default topic resources are not allowed."),
        (BROKER, "7", vec![set("log.retention.ms", "1")], 42, "Unexpected broker id, expected 1, but received 7"),
        (BROKER, "x", vec![set("log.retention.ms", "1")], 42, "Node id must be an integer, but it is: x"),
        (BROKER, "", vec![set("node.id", "1")], 42, "Cannot update these configs dynamically: [node.id]"),
        (
            BROKER,
            "1",
            vec![set("log.cleaner.threads", "x")],
            42,
            "Invalid value x for configuration log.cleaner.threads: Not a number of type INT",
        ),
        (GROUP, "g", vec![set("foo", "1")], 40, "Unknown group config name: foo"),
        (GROUP, "", vec![set("consumer.session.timeout.ms", "1")], 42, "Default group resources are not allowed."),
        (METRICS, "m", vec![set("foo", "1")], 42, "Unknown client metrics configuration: foo"),
        (METRICS, "", vec![set("interval.ms", "100")], 42, "Subscription name can't be empty"),
        (
            METRICS,
            "m",
            vec![set("interval.ms", "1")],
            42,
            "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
        ),
        (METRICS, "m", vec![set("match", "x=y")], 40, "Illegal client matching pattern: x=y"),
        (LOGGER, "1", vec![set("nolog", "INFO")], 40, "Logger nolog does not exist!"),
        (LOGGER, "7", vec![set("root", "INFO")], 42, "Unexpected node id. Expected 1, but received 7"),
        (
            TOPIC,
            "t",
            vec![set("leader.replication.throttled.replicas", "0:x")],
            40,
            "Invalid value [0:x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (3, "x", vec![set("a", "b")], 42, "Unknown resource type 3"),
    ] {
        assert_eq!(alter(&mut harness, kind, name, &changes), (code, words.to_owned()));
    }
    assert_eq!(value(&mut harness, TOPIC, "t", "flush.ms").1, 5);
}

#[test]
fn the_old_way_of_altering_replaces_all_that_was_set() {
    let mut harness = harness(&[]);
    alter(&mut harness, TOPIC, "t", &[("flush.ms", SET, Some("5")), ("retention.ms", SET, Some("6"))]);
    let replace = |harness: &mut Harness, validate_only| {
        let configs = vec![ReplacedConfig { name: "retention.ms".into(), value: Some("7".into()) }];
        let resource = ReplacedResource { resource_type: TOPIC, resource_name: "t".into(), configs };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only };
        assert_eq!(harness.call(1, 2, request).responses[0].error_code, 0);
        (harness.state.topic_number("t", "retention.ms"), harness.state.topic_number("t", "flush.ms"))
    };
    assert_eq!(replace(&mut harness, true), (6, 5));
    assert_eq!(replace(&mut harness, false), (7, i64::MAX));
}

#[test]
fn a_resource_that_is_twice_in_a_request_is_not_changed() {
    let mut harness = harness(&[]);
    let resource = AlterConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configs: Vec::new() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource.clone(), resource], validate_only: false };
    let codes: Vec<_> = harness.call(1, 1, request).responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [42, 42]);
}

#[test]
fn resources_with_configs_are_listed_and_in_version_0_those_of_client_metrics() {
    let mut harness = harness(&[]);
    alter(&mut harness, GROUP, "g", &[("consumer.session.timeout.ms", SET, Some("50000"))]);
    alter(&mut harness, METRICS, "m", &[("interval.ms", SET, Some("100"))]);
    let list = |harness: &mut Harness, version, resource_types: &[i8]| {
        let response = harness.call(1, version, ListConfigResourcesRequest { resource_types: resource_types.to_vec() });
        let names = response.config_resources.into_iter().map(|resource| resource.resource_name);
        (response.error_code, names.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(list(&mut harness, 0, &[]), (0, "m".into()));
    assert_eq!(list(&mut harness, 1, &[]), (0, "t 1 2 1 2 m g".into()));
    assert_eq!(list(&mut harness, 1, &[GROUP]), (0, "g".into()));
    assert_eq!(list(&mut harness, 1, &[99]), (35, String::new()));
}

#[test]
fn a_loggers_level_can_be_seen_and_set() {
    let mut harness = harness(&[]);
    assert_eq!(config(&mut harness, LOGGER, "1", "root").value.as_deref(), Some("INFO"));
    assert_eq!(alter(&mut harness, LOGGER, "1", &[("root", SET, Some("DEBUG"))]).0, 0);
    assert_eq!(config(&mut harness, LOGGER, "1", "root").value.as_deref(), Some("DEBUG"));
    assert_eq!(alter(&mut harness, LOGGER, "1", &[("root", SET, Some("FOO"))]).0, 40);
}

#[test]
fn what_can_not_be_described_is_refused_in_the_words_of_kafka() {
    let mut harness = harness(&[]);
    for (kind, name, code, words) in [
        (TOPIC, "absent", 3, ""),
        (
            TOPIC,
            "b/d",
            17,
            "Topic name is invalid: 'b/d' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        ),
        (BROKER, "2", 42, "Unexpected broker id, expected 1 or empty string, but received 2"),
        (BROKER, "x", 42, "Broker id must be an integer, but it is: x"),
        (GROUP, "", 42, "Group name must not be empty"),
    ] {
        let found = describe(&mut harness, kind, name);
        assert_eq!((found.error_code, found.error_message.unwrap_or_default()), (code, words.to_owned()));
        assert!(found.configs.is_empty());
    }
}
