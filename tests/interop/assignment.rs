//! Who gets which partitions from the broker's assignors where nobody has had any (KIP-848): members with ids of our choice,
//! one request at a time.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use sarameya::protocol::messages::ConsumerGroupHeartbeatRequest;

use crate::java::quiet;
use crate::raw::Raw;
use crate::target::{Target, compare};
use crate::transcript::Transcript;

/// Real brokers learn of new topics late on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// By topic id.
type Shares = BTreeMap<[u8; 16], Vec<i32>>;

/// Members that subscribe before there is anything, so that the partitions of all topics are given out at once.
fn shares(target: &Target, assignor: &str, subscriptions: &[(&str, &[&str])], topics: &[(&str, usize)]) -> Transcript {
    let group = topics[0].0;
    let no_wait = ["--alter", "--entity-type", "groups", "--entity-name", group, "--add-config"];
    let said = quiet(target, "configs", &[&no_wait[..], &["consumer.assignment.interval.ms=0"]].concat(), "");
    assert_eq!(said.status, 0, "{said:?}");
    let mut raw = Raw::coordinator(target, 0, group);
    let mut epochs: BTreeMap<&str, i32> = BTreeMap::new();
    for (member, topics) in subscriptions {
        let answer = raw.ask_ready(1, &heartbeat(group, member, 0, assignor, Some(topics)), |answer| answer.error_code);
        assert_eq!(answer.error_code, 0, "{answer:?}");
        epochs.insert(member, answer.member_epoch);
    }
    for (topic, partitions) in topics {
        quiet(target, "topics", &["--create", "--topic", topic, "--partitions", &partitions.to_string()], "");
    }
    let wanted: usize = topics.iter().map(|(_, partitions)| partitions).sum();
    let mut shares: BTreeMap<&str, Shares> = BTreeMap::new();
    let deadline = Instant::now() + LIMIT;
    while shares.values().flat_map(Shares::values).map(Vec::len).sum::<usize>() < wanted {
        assert!(Instant::now() < deadline, "of {wanted} partitions these were given out: {shares:?}");
        thread::sleep(Duration::from_millis(20));
        for (member, epoch) in &mut epochs {
            let answer = raw.ask(1, &heartbeat(group, member, *epoch, assignor, None));
            assert_eq!(answer.error_code, 0, "{answer:?}");
            *epoch = answer.member_epoch;
            if let Some(assignment) = answer.assignment {
                let topics = assignment.topic_partitions.into_iter();
                shares.insert(member, topics.map(|topic| (topic.topic_id, topic.partitions)).collect());
            }
        }
    }
    let mut transcript = Transcript::default();
    for (member, shares) in shares {
        let mut partitions: Vec<Vec<i32>> = shares.into_values().collect();
        partitions.iter_mut().for_each(|partitions| partitions.sort_unstable());
        partitions.sort_unstable();
        transcript.line(&format!("{member}: {partitions:?}"));
    }
    transcript
}

/// The first one joins a group, those after it go on.
fn heartbeat(
    group: &str,
    member: &str,
    member_epoch: i32,
    assignor: &str,
    topics: Option<&[&str]>,
) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: group.into(),
        member_id: member.into(),
        member_epoch,
        rebalance_timeout_ms: if topics.is_some() { 60_000 } else { -1 },
        subscribed_topic_names: topics.map(|topics| topics.iter().map(|topic| (*topic).to_owned()).collect()),
        server_assignor: topics.map(|_| assignor.to_owned()),
        topic_partitions: topics.map(|_| Vec::new()),
        ..Default::default()
    }
}

#[test]
fn members_alike_get_what_kafka_gives_them() {
    require_kafka!();
    compare("assignment-alike", |target| {
        let all: [(&str, &[&str]); 4] = ["orders-1", "orders-2", "a", "zz"].map(|member| (member, &["alike"][..]));
        shares(target, "uniform", &all, &[("alike", 11)])
    });
}

#[test]
fn members_that_differ_get_what_kafka_gives_them() {
    require_kafka!();
    compare("assignment-different", |target| {
        let both: &[&str] = &["different", "different-other"];
        let all = [("orders-1", &both[..1]), ("orders-2", both), ("a", both), ("zz", &both[1..])];
        shares(target, "uniform", &all, &[("different", 11), ("different-other", 5)])
    });
}

#[test]
fn members_get_the_ranges_that_kafka_gives_them() {
    require_kafka!();
    compare("assignment-range", |target| {
        let both: &[&str] = &["ranges", "ranges-other"];
        let all = [("orders-1", &both[..1]), ("orders-2", both), ("a", both), ("zz", &both[1..])];
        shares(target, "range", &all, &[("ranges", 11), ("ranges-other", 5)])
    });
}
