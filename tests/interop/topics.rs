//! Kafka's `kafka-topics`.

use crate::java::{sorted_tool, tool};
use crate::target::compare;
use crate::transcript::Transcript;

#[test]
fn topics_are_created_described_altered_and_deleted() {
    require_kafka!();
    compare("topics", |target| {
        let mut transcript = Transcript::default();
        let mut topics = |arguments: &[&str]| drop(sorted_tool(&mut transcript, target, "topics", arguments));
        topics(&["--create", "--topic", "topics-a", "--partitions", "3", "--replication-factor", "3"]);
        topics(&["--create", "--topic", "topics-a", "--partitions", "3", "--replication-factor", "3"]);
        topics(&["--create", "--if-not-exists", "--topic", "topics-a"]);
        topics(&["--create", "--topic", "topics-b", "--replica-assignment", "1:2,2:3,3:1,1:3"]);
        let settings = ["--config", "retention.ms=60000", "--config", "cleanup.policy=compact"];
        topics(&[["--create", "--topic", "topics-c", "--partitions"].as_slice(), &["1"], &settings].concat());
        topics(&["--create", "--topic", "topics-defaults"]);
        topics(&["--describe", "--topic", "topics-a"]);
        topics(&["--describe", "--topic", "topics-[bc]"]);
        topics(&["--describe", "--topic", "topics-defaults"]);
        topics(&["--describe", "--topic", "topics-missing"]);
        topics(&["--describe", "--topic", "topics-.*", "--topics-with-overrides"]);
        topics(&["--describe", "--topic", "topics-.*", "--under-replicated-partitions"]);
        topics(&["--describe", "--topic", "topics-.*", "--unavailable-partitions"]);
        topics(&["--describe", "--topic", "topics-.*", "--at-min-isr-partitions"]);
        topics(&["--list", "--topic", "topics-.*"]);
        topics(&["--alter", "--topic", "topics-a", "--partitions", "5"]);
        topics(&["--alter", "--topic", "topics-a", "--partitions", "2"]);
        topics(&[
            "--alter",
            "--topic",
            "topics-b",
            "--partitions",
            "6",
            "--replica-assignment",
            "1:2,2:3,3:1,1:3,3:2,2:1",
        ]);
        topics(&["--alter", "--topic", "topics-missing", "--partitions", "2"]);
        topics(&["--describe", "--topic", "topics-[ab]"]);
        topics(&["--delete", "--topic", "topics-a"]);
        topics(&["--delete", "--topic", "topics-missing"]);
        topics(&["--delete", "--if-exists", "--topic", "topics-missing"]);
        topics(&["--delete", "--topic", "topics-[bc]"]);
        topics(&["--list", "--topic", "topics-.*"]);
        transcript
    });
}

#[test]
fn wrong_topics_are_refused_in_the_same_words() {
    require_kafka!();
    compare("topics-refused", |target| {
        let mut transcript = Transcript::default();
        let mut create = |arguments: &[&str]| {
            drop(tool(&mut transcript, target, "topics", &[["--create", "--topic"].as_slice(), arguments].concat()));
        };
        create(&["a bad name"]);
        create(&[".."]);
        create(&[&"n".repeat(250)]);
        create(&["refused", "--replication-factor", "4"]);
        create(&["refused", "--replication-factor", "0"]);
        create(&["refused", "--partitions", "0"]);
        create(&["refused", "--config", "retention.ms=never"]);
        create(&["refused", "--config", "retention.ms=-2"]);
        create(&["refused", "--config", "cleanup.policy=burn"]);
        create(&["refused", "--config", "no.such.setting=1"]);
        create(&["refused", "--replica-assignment", "1:1"]);
        create(&["refused", "--replica-assignment", "1:9"]);
        create(&["refused", "--replica-assignment", "1:2,3"]);
        create(&["refused_collides"]);
        create(&["refused.collides"]);
        tool(&mut transcript, target, "topics", &["--list", "--topic", "refused.*"]);
        transcript
    });
}
