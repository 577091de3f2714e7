//! Consumer groups of our members, and of ours with Java's, on real Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sarameya::admin::{OffsetSpec, TopicPartition};
use sarameya::{Admin, Client, Producer, ProducerRecord};

use crate::support::examples;
use crate::support::kafka::{Cluster, Version};
use crate::support::process::{Process, input_file};
use crate::support::{unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn group_walk_kafka_1_0_2_two_members_share_and_one_takes_over() {
    require_kafka!();
    two_members_share_and_one_takes_over(Version::V1_0_2);
}

#[test]
fn group_walk_kafka_2_5_1_two_members_share_and_one_takes_over() {
    require_kafka!();
    two_members_share_and_one_takes_over(Version::V2_5_1);
}

#[test]
fn group_walk_kafka_4_3_0_two_members_share_and_one_takes_over() {
    require_kafka!();
    two_members_share_and_one_takes_over(Version::V4_3_0);
}

/// What a user tries first, with the example programs; Kafka's own tool says what the group has stored.
fn two_members_share_and_one_takes_over(version: Version) {
    const CLIENT_ID: &str = "walker";
    let cluster = Cluster::shared(version);
    let (topic, group) = (unique("walk"), unique("walkers"));
    cluster.create_topic(&topic, 3);
    let folder = tempfile::tempdir().expect("a folder");
    let config = format!("client.id={CLIENT_ID}\nauto.commit.interval.ms=200\nheartbeat.interval.ms=300\n");
    let config = input_file(folder.path(), &config).display().to_string();
    let member = || {
        let (bootstrap, config) = (cluster.bootstrap(), config.as_str());
        let connection = ["--bootstrap-server", &bootstrap, "--command-config", config];
        let what = ["--topic", &topic, "--group", &group, "--from-beginning"];
        examples::spawn("consumer_auto_commit", &[connection.as_slice(), &what].concat())
    };

    let mut sent = 0;
    for acks in ["0", "1", "all"] {
        let offset = send(cluster, &topic, "key", &sent.to_string(), acks);
        assert_eq!(offset, if acks == "0" { -1 } else { sent });
        sent += 1;
        // Without acks nothing tells that the broker has it, and the next program has a connection of its own.
        wait_until("it is written", LIMIT, || written(cluster, &topic, 3) == sent);
    }
    let mut first = member();
    wait_until("the first member owns all partitions", LIMIT, || owned(&first) == [0, 1, 2].into());
    let second = member();
    wait_until("the members share the partitions", LIMIT, || {
        let (first, second) = (owned(&first), owned(&second));
        !first.is_empty() && !second.is_empty() && first.is_disjoint(&second) && first.len() + second.len() == 3
    });
    // These keys go to all three partitions.
    for key in ["a", "b", "c", "d", "e", "f"] {
        send(cluster, &topic, key, &sent.to_string(), "all");
        sent += 1;
    }
    let seen = |members: &[&Process]| -> Vec<i64> {
        let mut values: Vec<i64> = members.iter().flat_map(|each| values(each)).collect();
        values.sort_unstable();
        values
    };
    let all = |sent: i64| (0..sent).collect::<Vec<_>>();
    wait_until("both together have all", LIMIT, || seen(&[&first, &second]).len() >= 9);
    assert_eq!(seen(&[&first, &second]), all(sent), "each once");
    let owners = |members: &[&Process]| -> BTreeMap<i32, String> {
        members.iter().flat_map(|each| owned(each).into_iter().map(|p| (p, member_id(each)))).collect()
    };
    assert_described(cluster, &group, &owners(&[&first, &second]), sent, CLIENT_ID);

    assert!(first.terminate(LIMIT).success());
    wait_until("the second member takes over", LIMIT, || owned(&second) == [0, 1, 2].into());
    for key in ["a", "b", "c", "d", "e", "f"] {
        send(cluster, &topic, key, &sent.to_string(), "1");
        sent += 1;
    }
    wait_until("the second member has the rest", LIMIT, || seen(&[&first, &second]).len() >= 15);
    assert_eq!(seen(&[&first, &second]), all(sent), "each once");
    assert_described(cluster, &group, &owners(&[&second]), sent, CLIENT_ID);
}

#[test]
fn mixed_group_kafka_3_9_1_shares_with_java_by_range() {
    require_kafka!();
    shares_with_java(Version::V3_9_1, "RangeAssignor");
}

#[test]
fn mixed_group_kafka_2_5_1_shares_with_java_by_round_robin() {
    require_kafka!();
    shares_with_java(Version::V2_5_1, "RoundRobinAssignor");
}

/// Two of our members and a Java consumer: whoever leads the group, all understand what it assigned. Java joins first,
/// so that it leads and ours join its rounds; then it leaves, one of ours leads, and it comes back to be assigned by us.
fn shares_with_java(version: Version, assignor: &str) {
    let cluster = Cluster::shared(version);
    let (topic, group) = (unique("mixed"), unique("mixed"));
    cluster.create_topic(&topic, 6);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = Producer::builder(&client).build().expect("a producer");
    let mut sent = 0;
    let mut send_to_all = || {
        for partition in (0..6).cycle().take(60) {
            let value = sent.to_string();
            drop(producer.send(&ProducerRecord::new(&topic).partition(partition).value(&value)).expect("a send"));
            sent += 1;
        }
        producer.flush(LIMIT).expect("a flush");
        sent
    };
    let strategy = format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}");
    let java = || {
        let what = ["--topic", &topic, "--group", &group, "--from-beginning", "--consumer-property", &strategy];
        let quick = ["--consumer-property", "heartbeat.interval.ms=300", "--consumer-property", "client.id=java"];
        cluster.tools().spawn("console-consumer", &[what.as_slice(), &quick].concat())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let config = input_file(folder.path(), &format!("client.id=ours\nheartbeat.interval.ms=300\n{strategy}\n"));
    let (bootstrap, config) = (cluster.bootstrap(), config.display().to_string());
    let ours = || {
        let connection = ["--bootstrap-server", &bootstrap, "--command-config", &config];
        let what = ["--topic", &topic, "--group", &group, "--from-beginning"];
        examples::spawn("consumer_auto_commit", &[connection.as_slice(), &what].concat())
    };

    send_to_all();
    let mut first_java = java();
    wait_until("Java consumes alone", LIMIT, || numbers(&first_java).len() == 60);
    let members = [ours(), ours()];
    let shares = |each: usize| {
        let [first, second] = members.each_ref().map(owned);
        first.is_disjoint(&second) && first.len() == each && second.len() == each
    };
    wait_until("each of three has two", LIMIT, || shares(2));
    let expected = send_to_all();
    let seen = |java: &[&Process]| -> Vec<i64> {
        let ours = members.iter().flat_map(values);
        let mut all: Vec<i64> = ours.chain(java.iter().flat_map(|each| numbers(each))).collect();
        all.sort_unstable();
        all
    };
    wait_until("all of the second round", LIMIT, || seen(&[&first_java]).len() >= 120);
    assert_eq!(seen(&[&first_java]), (0..expected).collect::<Vec<_>>(), "each once");

    first_java.terminate(LIMIT);
    wait_until("ours have three each", LIMIT, || shares(3));
    let second_java = java();
    wait_until("each of three has two again", LIMIT, || shares(2));
    let rows = describe(cluster, &group);
    let by_client: BTreeMap<&str, usize> = rows.iter().fold(BTreeMap::new(), |mut counts, row| {
        *counts.entry(row["CLIENT-ID"].as_str()).or_default() += 1;
        counts
    });
    assert_eq!(by_client, BTreeMap::from([("java", 2), ("ours", 4)]), "{rows:?}");
    let expected = send_to_all();
    wait_until("all of the third round", LIMIT, || seen(&[&first_java, &second_java]).len() >= 180);
    assert_eq!(seen(&[&first_java, &second_java]), (0..expected).collect::<Vec<_>>(), "each once");
    assert_eq!(numbers(&second_java).len(), 20);
}

/// The values that a console consumer has printed.
fn numbers(java: &Process) -> Vec<i64> {
    java.stdout().lines().filter_map(|line| line.parse().ok()).collect()
}

/// Sends one record with the example program; returns its offset as printed.
fn send(cluster: &Cluster, topic: &str, key: &str, value: &str, acks: &str) -> i64 {
    let bootstrap = cluster.bootstrap();
    let arguments = ["--bootstrap-server", &bootstrap, "--topic", topic, "--key", key, "--value", value];
    let sent = examples::spawn("sync_producer", &[arguments.as_slice(), &["--acks", acks]].concat());
    let sent = sent.finish(LIMIT).success();
    let place = sent.stdout.trim_end().strip_prefix("produce ").and_then(|place| place.split_once('/'));
    place.expect("produce PARTITION/OFFSET").1.parse().expect("an offset")
}

/// How many records readers of a topic can have.
fn written(cluster: &Cluster, topic: &str, partitions: i32) -> i64 {
    let admin = Admin::new(&Client::connect(&cluster.bootstrap()).expect("a client"));
    let ends: Vec<_> = (0..partitions).map(|n| (TopicPartition::new(topic, n), OffsetSpec::Latest)).collect();
    let found = admin.list_offsets(&ends).expect("an answer");
    found.into_iter().filter_map(|(_, end)| end.expect("an offset").offset).sum()
}

/// Waits until the tool shows that the group has committed all `total` records, then checks who owns what.
fn assert_described(cluster: &Cluster, group: &str, owners: &BTreeMap<i32, String>, total: i64, client_id: &str) {
    let mut rows = Vec::new();
    wait_until("all is committed", LIMIT, || {
        rows = describe(cluster, group);
        rows.iter().filter_map(|row| row["CURRENT-OFFSET"].parse::<i64>().ok()).sum::<i64>() == total
    });
    for row in &rows {
        // A partition never written to has nothing to commit.
        let nothing = row["LOG-END-OFFSET"] == "0" && row["CURRENT-OFFSET"] == "-";
        assert!(nothing || (row["LAG"] == "0" && row["CURRENT-OFFSET"] == row["LOG-END-OFFSET"]), "{rows:?}");
        assert_eq!(row["CLIENT-ID"], client_id, "{rows:?}");
    }
    let described: BTreeMap<i32, String> =
        rows.iter().map(|row| (row["PARTITION"].parse().expect("a partition"), row["CONSUMER-ID"].clone())).collect();
    assert_eq!(&described, owners);
}

/// The lines of `consumer-groups --describe`, by the names of the columns, which differ over the versions.
pub(crate) fn describe(cluster: &Cluster, group: &str) -> Vec<BTreeMap<String, String>> {
    let output = cluster.tools().consumer_groups(&["--describe", "--group", group]);
    let mut lines = output.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let header = lines.by_ref().find(|words| words.contains(&"CURRENT-OFFSET")).unwrap_or_default();
    lines
        .filter(|words| words.len() == header.len())
        .map(|words| header.iter().zip(words).map(|(name, word)| ((*name).to_owned(), word.to_owned())).collect())
        .collect()
}

/// The values of the records that an example has printed, which are numbers in this test.
fn values(member: &Process) -> Vec<i64> {
    let text = member.stdout();
    let lines = text.lines().filter(|line| line.starts_with("Message "));
    lines.map(|line| line.rsplit_once(" val:").expect("a value").1.parse().expect("a number")).collect()
}

/// The partitions in the last `Setup` line: `Setup "id" {"topic": [0, 1]}`.
fn owned(member: &Process) -> BTreeSet<i32> {
    let Some(line) = last_setup(member) else { return BTreeSet::new() };
    let Some((_, list)) = line.split_once('[') else { return BTreeSet::new() };
    list.trim_end_matches("]}").split(", ").map(|each| each.parse().expect("a partition")).collect()
}

fn member_id(member: &Process) -> String {
    last_setup(member).and_then(|line| Some(line.split('"').nth(1)?.to_owned())).expect("a member id")
}

fn last_setup(member: &Process) -> Option<String> {
    member.stdout().lines().rfind(|line| line.starts_with("Setup ")).map(str::to_owned)
}
