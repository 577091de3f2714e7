//! Brokers die, freeze and restart, and answers get lost, under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sarameya::{Client, Delivery, Producer, ProducerRecord, SyncProducer};

use crate::history::{self, Sent};
use crate::members::{LIMIT, Member};
use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::proxy::{Action, Direction};
use crate::support::{heavy, lock, say, unique, wait_until};

const PRODUCE: i16 = 0;

const PARTITIONS: i32 = 3;
const KEYS: [&str; 5] = ["k0", "k1", "k2", "k3", "k4"];
/// What a load waits between two records: some hundred records a second are enough to be in flight at each fault, and
/// few enough to leave the brokers the processor to come up with.
const PACE: Duration = Duration::from_millis(4);
/// Far above what an election takes, so that every fault is survived by retries.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

#[test]
fn b1_kafka_4_3_0_leaders_killed_lose_and_duplicate_nothing() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("b1");
    cluster.create_topic(&topic, PARTITIONS);
    under_load(&cluster, &topic, || {
        for _ in 0..5 {
            let leader = cluster.leader(&topic, 0);
            cluster.kill(leader);
            assert_ne!(cluster.leader(&topic, 0), leader);
            std::thread::sleep(Duration::from_millis(500));
            cluster.restart(leader);
            cluster.wait_in_sync(&topic);
        }
    });
}

#[test]
fn b2_kafka_4_3_0_rolling_restart_is_not_noticed() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("b2");
    cluster.create_topic(&topic, PARTITIONS);
    under_load(&cluster, &topic, || {
        for node in 1..=3 {
            cluster.restart(node);
            cluster.wait_ready();
            cluster.wait_in_sync(&topic);
        }
    });
}

#[test]
fn b3_b7_kafka_4_3_0_frozen_and_moved_leaders_lose_and_duplicate_nothing() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("b7");
    cluster.create_topic(&topic, PARTITIONS);
    under_load(&cluster, &topic, || {
        let frozen = cluster.leader(&topic, 0);
        cluster.pause(frozen);
        assert_ne!(cluster.leader(&topic, 0), frozen);
        // Longer than a request may take, so that what was on its way is sent to the new leader, too.
        std::thread::sleep(Duration::from_secs(6));
        // What it still answers comes too late.
        cluster.resume(frozen);
        cluster.wait_in_sync(&topic);
        // Back to it, while the leader of now lives and serves.
        cluster.tools().run("leader-election", &["--election-type", "preferred", "--all-topic-partitions"]).success();
    });
}

#[test]
fn p2_kafka_3_9_1_lost_answers_duplicate_nothing() {
    require_kafka!();
    const LOST: usize = 50;
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1).proxied());
    let topic = unique("p2");
    cluster.create_topic(&topic, PARTITIONS);
    under_load(&cluster, &topic, || {
        let lost = Arc::new(AtomicUsize::new(0));
        let (count, seen) = (Arc::clone(&lost), AtomicUsize::new(0));
        cluster.proxy(1).on_frame(move |frame| {
            let answer = frame.direction == Direction::Response && frame.api_key == PRODUCE;
            // Some get through, or two in a row would be the rule and the load come to a stop.
            if answer && seen.fetch_add(1, Ordering::SeqCst) % 4 == 3 {
                count.fetch_add(1, Ordering::SeqCst);
                return Action::Reset;
            }
            Action::Forward
        });
        wait_until("answers lost", LIMIT, || lost.load(Ordering::SeqCst) >= LOST);
        cluster.proxy(1).heal();
    });
}

/// G1 and the group's side of B1 and B2.
#[test]
fn g1_kafka_4_3_0_groups_outlive_their_brokers_without_a_rebalance() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let (topic, group) = (unique("g1"), unique("g1"));
    cluster.create_topic(&topic, PARTITIONS);
    let client = client(&cluster);
    let member = || {
        let settings = |builder: sarameya::ConsumerGroupBuilder| builder.session_timeout(Duration::from_secs(30));
        Member::start_with(&client, &group, &topic, settings, Box::new(|_, _| {}))
    };
    let first = member();
    first.wait_claims(3);
    let second = member();
    wait_until("both share", LIMIT, || {
        first.claims().len() + second.claims().len() == 3 && !second.claims().is_empty()
    });
    let sessions = (first.sessions(), second.sessions());

    let producer = Producer::builder(&client).delivery_timeout(DELIVERY_TIMEOUT).build().expect("a producer");
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let ended = Ending(&stop);
        let load = scope.spawn(|| load_pipelined(&producer, &topic, 0, &stop));
        for node in 1..=3 {
            cluster.restart(node);
            cluster.wait_ready();
            cluster.wait_in_sync(&topic);
        }
        assert_eq!((first.sessions(), second.sessions()), sessions, "a rolling restart is no reason to rebalance");
        let coordinator = cluster.coordinator(&group);
        cluster.kill(coordinator);
        assert_ne!(cluster.coordinator(&group), coordinator);
        cluster.restart(coordinator);
        cluster.wait_in_sync(&topic);
        std::thread::sleep(Duration::from_secs(1));
        drop(ended);
        load.join().expect("a load")
    });
    assert!(sent.iter().all(Sent::is_written), "{:?}", sent.iter().find(|each| !each.is_written()));
    wait_until("all is read", LIMIT, || first.count() + second.count() >= sent.len());
    assert_eq!((first.sessions(), second.sessions()), sessions, "the session timeout is longer than an election");

    let log = history::log(&cluster, &topic, PARTITIONS);
    let seen = [Arc::clone(&first.seen), Arc::clone(&second.seen)];
    first.stop().expect("a clean end");
    second.stop().expect("a clean end");
    let mut read: BTreeMap<i32, Vec<(i64, String)>> = BTreeMap::new();
    for seen in seen {
        for (partition, offset, value) in lock(&seen.records).iter().cloned() {
            read.entry(partition).or_default().push((offset, value));
        }
    }
    // Everything in the log, in its order, once.
    for (partition, entries) in log {
        let expected: Vec<_> = entries.into_iter().map(|entry| (entry.offset, entry.value)).collect();
        assert!(
            read[&partition] == expected,
            "partition {partition}: {} of {}",
            read[&partition].len(),
            expected.len()
        );
    }
}

fn client(cluster: &Cluster) -> Client {
    Client::builder()
        .bootstrap_servers(cluster.bootstrap())
        .connection_setup_timeout(Duration::from_secs(2))
        .request_timeout(Duration::from_secs(5))
        .build()
        .expect("a client")
}

/// Two threads send pipelined and two synchronously, all idempotent with acks all, while `faults` runs. No send may
/// fail, and the log must hold exactly what was sent.
fn under_load(cluster: &Cluster, topic: &str, faults: impl FnOnce()) {
    let client = client(cluster);
    let builder = || Producer::builder(&client).delivery_timeout(DELIVERY_TIMEOUT);
    let pipelined = builder().build().expect("a producer");
    let synchronous = builder().build_sync().expect("a producer");
    let stop = AtomicBool::new(false);
    let sent: Vec<Sent> = std::thread::scope(|scope| {
        // Ends the loads also if a fault panics, or the scope would wait for them for ever.
        let ended = Ending(&stop);
        let loads: Vec<_> = (0..2)
            .flat_map(|number| {
                let (stop, pipelined, synchronous) = (&stop, &pipelined, &synchronous);
                [
                    scope.spawn(move || load_pipelined(pipelined, topic, number, stop)),
                    scope.spawn(move || load_synchronous(synchronous, topic, number, stop)),
                ]
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        faults();
        std::thread::sleep(Duration::from_secs(1));
        drop(ended);
        loads.into_iter().flat_map(|load| load.join().expect("a load")).collect()
    });
    pipelined.close(Duration::from_secs(5)).expect("closed");
    synchronous.close(Duration::from_secs(5)).expect("closed");

    let failed: Vec<_> = sent.iter().filter(|each| !each.is_written()).collect();
    assert!(failed.is_empty(), "{} of {} failed, first {:?}", failed.len(), sent.len(), failed.first());
    cluster.wait_in_sync(topic);
    let log = history::log(cluster, topic, PARTITIONS);
    let found = history::violations(&log, &sent);
    assert!(found.is_empty(), "{} violations, first {:?}", found.len(), &found[..found.len().min(20)]);
    // The clauses above hold for a load of nothing, too.
    assert!(sent.len() > 1000, "{} records sent", sent.len());
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Keys and sequences as [`history::value`] wants them, until the end.
fn records(load: &str, stop: &AtomicBool) -> impl Iterator<Item = (&'static str, String)> {
    (0..).take_while(|_| !stop.load(Ordering::Relaxed)).map(move |count| {
        std::thread::sleep(PACE);
        let key = KEYS[count % KEYS.len()];
        (key, history::value(load, key, count / KEYS.len()))
    })
}

fn load_pipelined(producer: &Producer, topic: &str, number: usize, stop: &AtomicBool) -> Vec<Sent> {
    let mut pending: Vec<(String, Delivery)> = Vec::new();
    let mut sent = Vec::new();
    for (key, value) in records(&format!("pipelined{number}"), stop) {
        match producer.send(&ProducerRecord::new(topic).key(key).value(&value)) {
            Ok(delivery) => pending.push((value, delivery)),
            Err(error) => sent.push(Sent::new(value, Err(error))),
        }
    }
    sent.extend(pending.into_iter().map(|(value, delivery)| {
        let outcome = delivery.wait();
        Sent::new(value, outcome)
    }));
    sent
}

fn load_synchronous(producer: &SyncProducer, topic: &str, number: usize, stop: &AtomicBool) -> Vec<Sent> {
    let mut stall = Duration::ZERO;
    let sent = records(&format!("synchronous{number}"), stop)
        .map(|(key, value)| {
            let start = Instant::now();
            let outcome = producer.send(&ProducerRecord::new(topic).key(key).value(&value));
            stall = stall.max(start.elapsed());
            Sent::new(value, outcome)
        })
        .collect();
    say(&format!("the longest synchronous send took {stall:?}"));
    sent
}
