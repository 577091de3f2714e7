//! Kafka's `kafka-configs`.

use crate::java::{quiet, sorted_tool};
use crate::target::compare;
use crate::transcript::Transcript;

#[test]
fn settings_of_topics_are_described_and_altered() {
    require_kafka!();
    compare("configs-topics", |target| {
        let mut transcript = Transcript::default();
        quiet(target, "topics", &["--create", "--topic", "configs", "--config", "retention.ms=70000"], "");
        let mut configs = |arguments: &[&str]| {
            let topic = ["--entity-type", "topics", "--entity-name", "configs"];
            drop(sorted_tool(&mut transcript, target, "configs", &[&topic[..], arguments].concat()));
        };
        configs(&["--describe"]);
        configs(&["--alter", "--add-config", "max.message.bytes=200000,cleanup.policy=[compact,delete]"]);
        configs(&["--describe"]);
        configs(&["--alter", "--add-config", "retention.ms=nonsense"]);
        configs(&["--alter", "--add-config", "no.such.setting=1"]);
        configs(&["--alter", "--delete-config", "retention.ms,max.message.bytes"]);
        configs(&["--alter", "--delete-config", "flush.ms"]);
        configs(&["--describe"]);
        let missing = ["--entity-type", "topics", "--entity-name", "configs-missing"];
        sorted_tool(&mut transcript, target, "configs", &[&missing[..], &["--describe"]].concat());
        let alter = ["--alter", "--add-config", "retention.ms=1"];
        sorted_tool(&mut transcript, target, "configs", &[&missing[..], &alter].concat());
        transcript
    });
}

#[test]
fn all_settings_of_a_topic_have_the_values_and_sources_of_kafka() {
    require_kafka!();
    compare("configs-all", |target| {
        let mut transcript = Transcript::default();
        quiet(target, "topics", &["--create", "--topic", "configs-all", "--config", "retention.ms=70000"], "");
        let all = ["--entity-type", "topics", "--entity-name", "configs-all", "--describe", "--all"];
        transcript.sorted("--describe --all", &quiet(target, "configs", &all, ""));
        transcript
    });
}

#[test]
fn settings_of_brokers_are_described_and_altered() {
    require_kafka!();
    compare("configs-brokers", |target| {
        let mut transcript = Transcript::default();
        let mut configs = |arguments: &[&str]| {
            let brokers = ["--entity-type", "brokers"];
            drop(sorted_tool(&mut transcript, target, "configs", &[&brokers[..], arguments].concat()));
        };
        configs(&["--entity-default", "--describe"]);
        configs(&["--entity-default", "--alter", "--add-config", "max.connections=1234"]);
        configs(&["--entity-name", "1", "--alter", "--add-config", "max.connections=1111"]);
        configs(&["--entity-default", "--describe"]);
        configs(&["--entity-name", "1", "--describe"]);
        configs(&["--entity-name", "2", "--describe"]);
        configs(&["--entity-name", "1", "--alter", "--add-config", "max.connections=nonsense"]);
        configs(&["--entity-name", "1", "--alter", "--add-config", "node.id=7"]);
        configs(&["--entity-name", "1", "--alter", "--delete-config", "max.connections"]);
        configs(&["--entity-default", "--alter", "--delete-config", "max.connections"]);
        configs(&["--entity-name", "1", "--describe"]);
        configs(&["--entity-name", "9", "--describe"]);
        transcript
    });
}
