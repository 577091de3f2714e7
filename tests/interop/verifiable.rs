//! Kafka's VerifiableProducer and VerifiableConsumer, with several members in a group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::java::{Running, quiet, start};
use crate::target::{Target, compare};
use crate::transcript::{Said, Transcript};

const PARTITIONS: usize = 4;
const RECORDS: u64 = 60;
/// A rebalance waits for the slowest member, and both clusters and all members share two cores.
const SETTLE_LIMIT: Duration = Duration::from_secs(90);

#[test]
fn verifiable_producer_with_each_acks() {
    require_kafka!();
    compare("verifiable-producer", |target| {
        let mut transcript = Transcript::default();
        create(target, "verifiable-producer");
        for acks in ["-1", "1"] {
            let mut said = produce(target, "verifiable-producer", &["--acks", acks, "--value-prefix", "7"]);
            said.output.retain(|line| line.contains("producer_send_success"));
            for line in &mut said.output {
                let sent = event(line);
                *line = format!("{}@{} {} {}", sent["partition"], sent["offset"], sent["key"], sent["value"]);
            }
            transcript.sorted(&format!("acks {acks}"), &said);
        }
        transcript
    });
}

#[test]
fn members_share_a_topic_by_range() {
    require_kafka!();
    compare("verifiable-range", |target| members(target, "range", &classic("RangeAssignor"), true));
}

#[test]
fn members_share_a_topic_by_round_robin() {
    require_kafka!();
    compare("verifiable-round-robin", |target| members(target, "round-robin", &classic("RoundRobinAssignor"), true));
}

#[test]
fn members_share_a_topic_cooperatively() {
    require_kafka!();
    compare("verifiable-cooperative", |target| {
        members(target, "cooperative", &classic("CooperativeStickyAssignor"), false)
    });
}

#[test]
fn members_share_a_topic_by_the_uniform_assignor_of_the_broker() {
    require_kafka!();
    compare("verifiable-uniform", |target| {
        let protocol = ["--group-protocol", "consumer"].map(str::to_owned);
        members(target, "uniform", &protocol, false)
    });
}

#[test]
fn members_share_a_topic_by_the_range_assignor_of_the_broker() {
    require_kafka!();
    compare("verifiable-remote-range", |target| {
        let protocol = ["--group-protocol", "consumer", "--group-remote-assignor", "range"].map(str::to_owned);
        members(target, "remote-range", &protocol, true)
    });
}

/// Classic members, then some of both kinds, then one of the new kind, and back.
#[test]
fn members_change_their_protocol_while_the_group_works() {
    require_kafka!();
    compare("verifiable-migration", |target| {
        let mut transcript = Transcript::default();
        let name = "verifiable-migration";
        create(target, name);
        let member = |protocol: &str| {
            let strategy = classic("RangeAssignor");
            let mut arguments = vec!["--topic", name, "--group-id", name, "--group-protocol", protocol];
            if protocol == "classic" {
                arguments.extend(strategy.iter().map(String::as_str));
            }
            Member::start(target, &arguments)
        };
        let mut kind = |all: &mut [Member], sizes: &[usize]| {
            settle(all, sizes);
            let arguments = ["--describe", "--state", "--group", name];
            let deadline = Instant::now() + SETTLE_LIMIT;
            let mut said = quiet(target, "consumer-groups", &arguments, "");
            while !said.output.iter().any(|line| line.contains(" Stable ")) {
                assert!(Instant::now() < deadline, "{said:?}");
                said = quiet(target, "consumer-groups", &arguments, "");
            }
            transcript.sorted(&format!("{sizes:?}"), &said);
            let mut listed = quiet(target, "consumer-groups", &["--list", "--type"], "");
            listed.output.retain(|line| line.starts_with(name));
            transcript.sorted("listed", &listed);
        };
        let mut all = vec![member("classic"), member("classic")];
        kind(&mut all, &[2, 2]);
        all.push(member("consumer"));
        kind(&mut all, &[1, 1, 2]);
        all.remove(2).stop();
        kind(&mut all, &[2, 2]);
        all.push(member("consumer"));
        settle(&mut all, &[1, 1, 2]);
        all.drain(..2).for_each(|member| drop(member.stop()));
        kind(&mut all, &[4]);
        all.push(member("classic"));
        kind(&mut all, &[2, 2]);
        all.remove(0).stop();
        kind(&mut all, &[4]);
        all.into_iter().for_each(|member| drop(member.stop()));
        transcript
    });
}

#[test]
fn static_members_come_back_without_a_rebalance() {
    require_kafka!();
    for (case, protocol) in [("verifiable-static-classic", "classic"), ("verifiable-static-consumer", "consumer")] {
        compare(case, |target| {
            let mut transcript = Transcript::default();
            create(target, case);
            let protocol = ["--group-protocol", protocol];
            let member = |instance: &str| {
                let arguments = ["--topic", case, "--group-id", case, "--group-instance-id", instance];
                Member::start(target, &[&arguments[..], &protocol].concat())
            };
            let mut all = vec![member("one"), member("two")];
            settle(&mut all, &[2, 2]);
            let shares: Vec<_> = all.iter().map(|member| member.held.clone()).collect();
            // How they got there depends on who came first.
            let seen = [all[0].running.said().output.len(), 0];
            all.remove(1).stop();
            all.push(member("two"));
            settle(&mut all, &[2, 2]);
            for ((member, before), seen) in all.iter().zip(&shares).zip(seen) {
                let output = &member.running.said().output[seen..];
                // One that says nothing may come late from before.
                let events = output.iter().map(|line| event(line));
                let events = events.filter(|event| event["partitions"].as_array().is_none_or(|all| !all.is_empty()));
                let events: Vec<_> = events.map(|event| event["name"].clone()).collect();
                transcript.line(&format!("the same share: {}, after {events:?}", member.held == *before));
            }
            all.into_iter().for_each(|member| drop(member.stop()));
            transcript
        });
    }
}

/// One member, two, three, then one again, which reads all that was written meanwhile.
fn members(target: &Target, name: &str, assignor: &[String], exact: bool) -> Transcript {
    let mut transcript = Transcript::default();
    let name = format!("verifiable-{name}");
    create(target, &name);
    let mut arguments = vec!["--topic", &name, "--group-id", &name];
    arguments.extend(assignor.iter().map(String::as_str));
    let mut all = Vec::new();
    for sizes in [&[4][..], &[2, 2], &[1, 1, 2]] {
        all.push(Member::start(target, &arguments));
        settle(&mut all, sizes);
        shares(&mut transcript, &all, exact);
    }
    for member in all.split_off(1) {
        let said = member.stop();
        let ended = said.output.iter().any(|line| line.contains("shutdown_complete"));
        transcript.line(&format!("one has shut down: {ended}, exit status {}", said.status));
    }
    settle(&mut all, &[PARTITIONS]);
    let mut first = all.remove(0);
    produce(target, &name, &[]);
    first.read(RECORDS);
    for (partition, (from, to)) in &first.read {
        transcript.line(&format!("read of partition {partition}: {from} to {to}"));
    }
    first.stop();
    let mut committed = quiet(target, "consumer-groups", &["--describe", "--group", &name], "");
    committed.errors.clear();
    transcript.sorted("committed", &committed);
    transcript
}

/// Who holds what: the sets where the assignor decides all by itself, else the numbers, as member ids are random.
fn shares(transcript: &mut Transcript, members: &[Member], exact: bool) {
    let mut shares: Vec<String> = members
        .iter()
        .map(|member| if exact { format!("{:?}", member.held) } else { format!("{} partitions", member.held.len()) })
        .collect();
    shares.sort();
    transcript.line(&format!("shares: {}", shares.join(" ")));
}

/// Waits until the members hold so many partitions each, in some order, and all together.
#[track_caller]
fn settle(members: &mut [Member], sizes: &[usize]) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let mut held: Vec<usize> = members.iter().map(|member| member.held.len()).collect();
        held.sort_unstable();
        let union: BTreeSet<_> = members.iter().flat_map(|member| &member.held).collect();
        if held == sizes && union.len() == PARTITIONS {
            return;
        }
        assert!(Instant::now() < deadline, "the members hold {held:?} instead of {sizes:?}");
        for member in &mut *members {
            member.next_event(Duration::from_millis(20));
        }
    }
}

/// A VerifiableConsumer, and what its events so far mean.
struct Member {
    running: Running,
    held: BTreeSet<u64>,
    /// First and last offset read of each partition.
    read: BTreeMap<u64, (u64, u64)>,
    count: u64,
}

impl Member {
    fn start(target: &Target, arguments: &[&str]) -> Self {
        let running = start(target, "verifiable-consumer", arguments);
        Self { running, held: BTreeSet::new(), read: BTreeMap::new(), count: 0 }
    }

    /// Reads its events until so many records have come.
    #[track_caller]
    fn read(&mut self, count: u64) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        while self.count < count {
            assert!(Instant::now() < deadline, "only {} records of {count}", self.count);
            self.next_event(SETTLE_LIMIT);
        }
    }

    #[track_caller]
    fn next_event(&mut self, wait: Duration) {
        let Some(line) = self.running.poll_line(wait) else { return };
        let event = event(&line);
        let partitions = event["partitions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let number = |value: &Value| value.as_u64().expect("a number");
        let indexes = partitions.iter().map(|partition| number(&partition["partition"]));
        match event["name"].as_str().expect("a name") {
            "partitions_assigned" => self.held.extend(indexes),
            "partitions_revoked" => indexes.for_each(|index| {
                self.held.remove(&index);
            }),
            "records_consumed" => {
                self.count += number(&event["count"]);
                for partition in partitions {
                    let range = (number(&partition["minOffset"]), number(&partition["maxOffset"]));
                    let seen = self.read.entry(number(&partition["partition"])).or_insert(range);
                    *seen = (seen.0.min(range.0), seen.1.max(range.1));
                }
            }
            _ => {}
        }
    }

    #[track_caller]
    fn stop(self) -> Said {
        self.running.terminate()
    }
}

fn classic(assignor: &str) -> [String; 2] {
    ["--assignment-strategy".to_owned(), format!("org.apache.kafka.clients.consumer.{assignor}")]
}

fn create(target: &Target, topic: &str) {
    quiet(target, "topics", &["--create", "--topic", topic, "--partitions", &PARTITIONS.to_string()], "");
}

fn produce(target: &Target, topic: &str, arguments: &[&str]) -> Said {
    let count = RECORDS.to_string();
    let start = ["--topic", topic, "--max-messages", &count, "--repeating-keys", "10"];
    let said = quiet(target, "verifiable-producer", &[&start[..], arguments].concat(), "");
    assert_eq!(said.status, 0, "{said:?}");
    said
}

fn event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}
