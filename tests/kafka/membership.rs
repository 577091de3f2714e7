//! Members of consumer groups in this process: sharing, taking over, committing, stopping.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sarameya::{Client, ErrorKind, RangeAssignor, RoundRobinAssignor};

use crate::members::{LIMIT, Member, SLACK, describe, produce};
use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::process::Process;
use crate::support::proxy::{Action, Direction};
use crate::support::{examples, heavy, lock, unique, wait_until};

const OFFSET_COMMIT: i16 = 8;

fn client(cluster: &Cluster, id: &str) -> Client {
    let builder = Client::builder().bootstrap_servers(cluster.bootstrap()).client_id(id);
    builder.connection_setup_timeout(Duration::from_secs(2)).build().expect("a client")
}

#[test]
fn g_walk_kafka_1_0_2_two_members_share_and_take_over() {
    require_kafka!();
    two_members_share_and_take_over(Version::V1_0_2);
}

#[test]
fn g_walk_kafka_4_3_0_two_members_share_and_take_over() {
    require_kafka!();
    two_members_share_and_take_over(Version::V4_3_0);
}

fn two_members_share_and_take_over(version: Version) {
    const EACH: usize = 10;
    let cluster = Cluster::shared(version);
    let (topic, group) = (unique("test3"), unique("walk"));
    cluster.create_topic(&topic, 3);
    let (first_client, second_client) = (client(cluster, "first"), client(cluster, "second"));
    produce(&first_client, &topic, 3, "alone", EACH);

    let first = Member::start(&first_client, &group, &topic);
    first.wait_count(3 * EACH);
    assert_eq!(first.claims(), BTreeSet::from([0, 1, 2]));
    let second = Member::start(&second_client, &group, &topic);
    wait_until("the two share", LIMIT, || {
        first.claims().len() + second.claims().len() == 3 && !second.claims().is_empty()
    });
    assert!(first.claims().is_disjoint(&second.claims()));
    let shared_by_second = second.claims().len() * EACH;
    produce(&first_client, &topic, 3, "shared", EACH);
    second.wait_count(shared_by_second);
    first.wait_count(6 * EACH - shared_by_second);
    // Commits come every 200 ms; asking takes longer than that.
    wait_until("all is committed", LIMIT, || {
        let described = describe(cluster, &group, &topic);
        let done = |partition: &i32| described.get(partition).is_some_and(|line| line.lag == "0");
        (0..3).all(|partition| done(&partition))
    });
    for (partition, line) in describe(cluster, &group, &topic) {
        assert_eq!((line.committed.as_str(), line.lag.as_str()), ("20", "0"), "partition {partition}");
        let owner = if first.claims().contains(&partition) { "first" } else { "second" };
        assert_eq!(line.client, owner);
        assert!(line.member.starts_with(owner), "{line:?}");
    }

    let seen_by_second = Arc::clone(&second.seen);
    second.stop().expect("a clean end");
    first.wait_claims(3);
    produce(&first_client, &topic, 3, "left", EACH);
    first.wait_count(9 * EACH - shared_by_second);

    // Each record once, in the order of its partition.
    let mut all = lock(&first.seen.records).clone();
    all.extend(lock(&seen_by_second.records).iter().cloned());
    for partition in 0..3 {
        let offsets: Vec<i64> = all.iter().filter(|record| record.0 == partition).map(|record| record.1).collect();
        let mut sorted = offsets.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..30).collect::<Vec<_>>(), "partition {partition}");
    }
    let seen_by_first = Arc::clone(&first.seen);
    first.stop().expect("a clean end");
    for seen in [&seen_by_first, &seen_by_second] {
        assert!(lock(&seen.errors).is_empty(), "{:?}", lock(&seen.errors));
    }

    // Who comes next goes on from there.
    let third = Member::start(&second_client, &group, &topic);
    third.wait_claims(3);
    produce(&first_client, &topic, 3, "next", 1);
    third.wait_count(3);
    assert!(lock(&third.seen.records).iter().all(|record| record.2.starts_with("next")));
    third.stop().expect("a clean end");
    assert!(describe(cluster, &group, &topic).values().all(|line| line.committed == "31" && line.lag == "0"));
}

#[test]
fn i11_kafka_3_9_1_killed_before_the_commit_gets_exactly_the_rest_again() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1).proxied());
    let (topic, group) = (unique("killed"), unique("killed"));
    cluster.create_topic(&topic, 1);
    let client = client(&cluster, "writer");
    produce(&client, &topic, 1, "committed", 10);

    let mut killed = verifiable_consumer(&cluster, &group, &topic);
    assert_eq!(take_records(&mut killed, 10), (0..10).collect::<Vec<_>>());
    killed.wait_line(LIMIT, |line| line.contains("offsets_committed") && line.contains("10"));
    // From now on it processes, but its commits do not get through.
    cluster.proxy(1).on_frame(|frame| match (frame.direction, frame.api_key) {
        (Direction::Request, OFFSET_COMMIT) => Action::Swallow,
        _ => Action::Forward,
    });
    produce(&client, &topic, 1, "uncommitted", 10);
    assert_eq!(take_records(&mut killed, 10), (10..20).collect::<Vec<_>>());
    killed.kill();
    cluster.proxy(1).heal();

    let mut next = verifiable_consumer(&cluster, &group, &topic);
    assert_eq!(take_records(&mut next, 10), (10..20).collect::<Vec<_>>());
    next.wait_line(LIMIT, |line| line.contains("offsets_committed") && line.contains("20"));
    assert!(next.terminate(LIMIT).success());
    assert_eq!(describe(&cluster, &group, &topic)[&0].committed, "20");
}

fn verifiable_consumer(cluster: &Cluster, group: &str, topic: &str) -> Process {
    let bootstrap = cluster.bootstrap();
    let arguments = ["--bootstrap-server", &bootstrap, "--group-id", group, "--topic", topic];
    let more = ["--session-timeout", "3000", "--reset-policy", "earliest", "--verbose"];
    examples::spawn("verifiable_consumer", &[&arguments[..], &more[..]].concat())
}

/// The offsets of the next records it tells of.
fn take_records(consumer: &mut Process, count: usize) -> Vec<i64> {
    let offset = |line: String| {
        let (_, rest) = line.split_once("\"offset\":").expect("an offset");
        let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
        digits.parse().expect("a number")
    };
    (0..count).map(|_| offset(consumer.wait_line(LIMIT, |line| line.contains("record_data")))).collect()
}

#[test]
fn g22_kafka_4_3_0_shares_by_range_with_java() {
    require_kafka!();
    shares_with_java("RangeAssignor");
}

#[test]
fn g22_kafka_4_3_0_shares_by_round_robin_with_java() {
    require_kafka!();
    shares_with_java("RoundRobinAssignor");
}

/// Two of ours and one of Java's: each partition has one owner, and each record is read once.
fn shares_with_java(assignor: &str) {
    const PARTITIONS: i32 = 6;
    const EACH: usize = 5;
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, group) = (unique("mixed"), unique("mixed"));
    cluster.create_topic(&topic, PARTITIONS);
    let client = client(cluster, "ours");
    let member = || {
        let chosen: Arc<dyn sarameya::Assignor> =
            if assignor == "RangeAssignor" { Arc::new(RangeAssignor) } else { Arc::new(RoundRobinAssignor) };
        Member::start_with(&client, &group, &topic, |builder| builder.assignors(vec![chosen]), Box::new(|_, _| {}))
    };
    // Ours leads the group first, then Java's joins, then another of ours.
    let first = member();
    first.wait_claims(6);
    let strategy = format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}");
    let arguments = ["--topic", &topic, "--group", &group, "--consumer-property", &strategy];
    let more = ["--consumer-property", "auto.commit.interval.ms=200", "--from-beginning"];
    let mut java = cluster.tools().spawn("console-consumer", &[&arguments[..], &more[..]].concat());
    first.wait_claims(3);
    let second = member();
    second.wait_claims(2);
    first.wait_claims(2);

    let described = describe(cluster, &group, &topic);
    let owners: BTreeSet<_> = described.values().map(|line| line.member.as_str()).collect();
    assert_eq!((described.len(), owners.len()), (6, 3), "{described:?}");
    assert!(first.claims().is_disjoint(&second.claims()));
    produce(&client, &topic, PARTITIONS, "mixed", EACH);
    let total = usize::try_from(PARTITIONS).expect("few") * EACH;
    let by_java = || java.stdout().lines().filter(|line| line.starts_with("mixed-")).count();
    wait_until("all is read", LIMIT, || first.count() + second.count() + by_java() >= total);
    assert_eq!((first.count(), second.count(), by_java()), (total / 3, total / 3, total / 3));

    // Java's member leaves, and ours take its partitions over from where it was.
    java.terminate(LIMIT);
    first.wait_claims(3);
    second.wait_claims(3);
    produce(&client, &topic, PARTITIONS, "later", EACH);
    wait_until("all is read", LIMIT, || first.count() + second.count() >= 2 * total - total / 3);
    assert_eq!(first.count() + second.count(), 2 * total - total / 3);
    first.stop().expect("a clean end");
    second.stop().expect("a clean end");
}

#[test]
fn g5_kafka_2_5_1_static_members_come_back_without_a_rebalance() {
    require_kafka!();
    static_members_come_back(Version::V2_5_1);
}

#[test]
fn g5_kafka_4_3_0_static_members_come_back_without_a_rebalance() {
    require_kafka!();
    static_members_come_back(Version::V4_3_0);
}

fn static_members_come_back(version: Version) {
    let cluster = Cluster::shared(version);
    let (topic, group) = (unique("static"), unique("static"));
    cluster.create_topic(&topic, 4);
    let client = client(cluster, "static");
    let member = |instance: &str| {
        let settings = |builder: sarameya::ConsumerGroupBuilder| {
            builder.group_instance_id(instance).session_timeout(Duration::from_secs(20))
        };
        Member::start_with(&client, &group, &topic, settings, Box::new(|_, _| {}))
    };
    let (stays, goes) = (member("stays"), member("goes"));
    stays.wait_claims(2);
    goes.wait_claims(2);
    let (sessions, claims) = (stays.sessions(), goes.claims());

    goes.stop().expect("a clean end");
    let mut back = member("goes");
    back.wait_claims(2);
    assert_eq!(back.claims(), claims);
    assert_eq!(stays.sessions(), sessions, "nobody else noticed");

    // Two with one name: the older ends for good.
    let newer = member("goes");
    let error = back.join().expect_err("another took its name");
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    newer.wait_claims(2);
    assert_eq!((newer.claims(), stays.sessions()), (claims, sessions));
    newer.stop().expect("a clean end");
    stays.stop().expect("a clean end");
}

#[test]
fn i15_kafka_4_3_0_a_slow_claim_delays_no_other() {
    require_kafka!();
    const PARTITIONS: i32 = 12;
    const EACH: usize = 500;
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, group) = (unique("slow"), unique("slow"));
    cluster.create_topic(&topic, PARTITIONS);
    let client = client(cluster, "slow");
    produce(&client, &topic, PARTITIONS, "load", EACH);
    let released = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&released);
    let work = move |partition: i32, _: &str| {
        while partition == 0 && !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let member = Member::start_with(&client, &group, &topic, |builder| builder, Box::new(work));
    member.wait_claims(12);
    member.wait_count(11 * EACH);
    // Twice, so that the second half is fetched while the first partition's queue is full.
    produce(&client, &topic, PARTITIONS, "more", EACH);
    member.wait_count(22 * EACH);
    assert!(lock(&member.seen.records).iter().all(|record| record.0 != 0));
    // The slow one holds up the session's end neither: it goes on where it was.
    released.store(true, Ordering::SeqCst);
    member.wait_count(24 * EACH);
    member.stop().expect("a clean end");
}

#[test]
fn g9_kafka_4_3_0_a_handler_that_panics_commits_what_came_before() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, group) = (unique("panics"), unique("panics"));
    cluster.create_topic(&topic, 2);
    let client = client(cluster, "panics");
    produce(&client, &topic, 2, "load", 10);
    let work = |partition: i32, value: &str| {
        // The other partition must not end first: its end would hide whether it was ended.
        std::thread::sleep(Duration::from_millis(if partition == 0 { 200 } else { 0 }));
        assert_ne!(value, "load-1-7", "as this test wants it");
    };
    let mut member = Member::start_with(&client, &group, &topic, |builder| builder, Box::new(work));
    let error = member.join().expect_err("the handler panicked");
    assert_eq!(error.kind(), ErrorKind::HandlerPanic, "{error:?}");
    assert!(error.to_string().contains("as this test wants it"), "{error}");

    let described = describe(cluster, &group, &topic);
    let processed = lock(&member.seen.records).iter().filter(|record| record.0 == 0).count();
    assert!(processed < 10, "the other claim was not ended");
    let committed = |partition| described.get(&partition).map_or("-", |line| line.committed.as_str());
    assert_eq!(committed(1), "7", "{described:?}");
    assert_eq!(committed(0), if processed == 0 { "-".to_owned() } else { processed.to_string() }, "{described:?}");
    // The client is as good as before.
    let next = Member::start(&client, &group, &topic);
    next.wait_count(3 + 10 - processed);
    assert!(lock(&next.seen.records).contains(&(1, 7, "load-1-7".to_owned())));
    next.stop().expect("a clean end");
}

#[test]
fn g4_kafka_4_3_0_a_member_that_was_frozen_stores_no_late_commit() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let (topic, group) = (unique("frozen"), unique("frozen"));
    cluster.create_topic(&topic, 2);
    let client = client(cluster, "frozen");
    produce(&client, &topic, 2, "first", 10);
    let committed = |offset: &str| {
        let described = describe(cluster, &group, &topic);
        described.len() == 2 && described.values().all(|line| line.committed == offset)
    };
    let mut frozen = verifiable_consumer(cluster, &group, &topic);
    wait_until("the first records are committed", LIMIT, || committed("10"));
    frozen.signal("STOP");
    let member = Member::start(&client, &group, &topic);
    member.wait_claims(2);
    produce(&client, &topic, 2, "second", 10);
    member.wait_count(20);
    wait_until("the second records are committed", LIMIT, || committed("20"));

    frozen.signal("CONT");
    // It learns that it was taken for dead, and joins anew.
    member.wait_claims(1);
    assert!(committed("20"), "{:?}", describe(cluster, &group, &topic));
    produce(&client, &topic, 2, "third", 10);
    member.wait_count(30);
    wait_until("the third records are committed", LIMIT, || committed("30"));
    let seen: BTreeSet<_> = lock(&member.seen.records).iter().map(|record| (record.0, record.1)).collect();
    assert_eq!(seen.len(), 30, "each once");
    assert!(frozen.terminate(LIMIT).success());
    member.stop().expect("a clean end");
}

#[test]
fn g15_kafka_4_3_0_stops_in_time_whatever_it_does() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let client = client(cluster, "stops");
    let topic = unique("stops");
    cluster.create_topic(&topic, 3);

    // Before it has joined.
    Member::start(&client, &unique("stops"), &topic).stop().expect("a clean end");
    // Idle.
    let idle = Member::start(&client, &unique("stops"), &topic);
    idle.wait_claims(3);
    idle.stop().expect("a clean end");
    // At full speed.
    produce(&client, &topic, 3, "load", 5000);
    let group = unique("stops");
    let busy = Member::start(&client, &group, &topic);
    busy.wait_count(100);
    let seen = Arc::clone(&busy.seen);
    busy.stop().expect("a clean end");
    // What was processed, and no more, is committed.
    for (partition, line) in describe(cluster, &group, &topic) {
        let processed = lock(&seen.records).iter().filter(|record| record.0 == partition).count();
        let committed = if line.committed == "-" { 0 } else { line.committed.parse().expect("an offset") };
        assert_eq!(committed, processed, "partition {partition}");
    }
    // While the group waits for a member that does not join again: the handler holds its session open.
    let group = unique("stops");
    let released = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&released);
    let hold = move |_: i32, _: &str| {
        while !gate.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let holds = Member::start_with(&client, &group, &topic, |builder| builder, Box::new(hold));
    holds.wait_claims(3);
    let waits = Member::start(&client, &group, &topic);
    std::thread::sleep(Duration::from_secs(1));
    assert!(waits.claims().is_empty());
    waits.stop().expect("a clean end");

    // A handler that is stuck is reported, not waited for.
    let start = Instant::now();
    let error = holds.stop.stop_and_wait(Duration::from_secs(1)).expect_err("the handler is stuck");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", start.elapsed());
    released.store(true, Ordering::SeqCst);
    drop({
        let mut holds = holds;
        holds.join()
    });
}

#[test]
fn g16_kafka_3_9_1_stops_in_time_when_all_brokers_are_dead() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1));
    let topic = unique("dead");
    cluster.create_topic(&topic, 3);
    let client = client(&cluster, "dead");
    let producer = sarameya::Producer::builder(&client).build().expect("a producer");
    let member = Member::start(&client, &unique("dead"), &topic);
    member.wait_claims(3);
    cluster.kill(1);
    let delivery = producer.send(&sarameya::ProducerRecord::new(&topic).partition(0).value("x"));
    member.stop().ok();
    let start = Instant::now();
    assert!(producer.close(Duration::from_secs(1)).is_err(), "a record is unresolved");
    assert!(start.elapsed() < Duration::from_secs(1) + SLACK, "{:?}", start.elapsed());
    let outcome = delivery.map_or_else(Err, |delivery| delivery.wait());
    assert_eq!(outcome.expect_err("no broker").error().kind(), ErrorKind::Closed);
    // Frozen rather than dead: nothing is refused, nothing answered.
    cluster.restart(1);
    let member = Member::start(&client, &unique("dead"), &topic);
    member.wait_claims(3);
    cluster.pause(1);
    member.stop().ok();
    cluster.resume(1);
}

/// Counts in a process of its own, as other tests run in this one.
#[test]
fn i18_kafka_4_3_0_threads_and_sockets_go_with_their_owners() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("baseline");
    cluster.create_topic(&topic, 3);
    let own = std::env::current_exe().expect("this program");
    let arguments = ["--exact", "membership::i18_child_counts", "--ignored", "--nocapture"];
    let spec = crate::support::process::Spec::new(own).args(arguments);
    let output = spec.env("CHILD_BOOTSTRAP", &cluster.bootstrap()).env("CHILD_TOPIC", &topic).spawn().finish(LIMIT);
    assert!(output.status.success(), "{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("1 passed"), "{}", output.stdout);
}

#[test]
#[ignore = "part of i18_kafka_4_3_0_threads_and_sockets_go_with_their_owners"]
fn i18_child_counts() {
    let bootstrap = std::env::var("CHILD_BOOTSTRAP").expect("run by its parent");
    let topic = std::env::var("CHILD_TOPIC").expect("run by its parent");
    let before = (threads(), sockets());
    assert_eq!(before.0, Vec::<String>::new());
    let client = Client::connect(&bootstrap).expect("a client");
    for _ in 0..3 {
        produce(&client, &topic, 3, "load", 10);
        let group = unique("baseline");
        let (one, two) = (Member::start(&client, &group, &topic), Member::start(&client, &group, &topic));
        wait_until("both share", LIMIT, || one.claims().len() + two.claims().len() == 3 && !two.claims().is_empty());
        assert!(threads().iter().any(|name| name.starts_with("kafka-claim")), "{:?}", threads());
        one.stop().expect("a clean end");
        two.stop().expect("a clean end");
        let builder = sarameya::PartitionConsumer::builder(&client, &*topic, 0);
        let mut consumer = builder.start(sarameya::StartOffset::Earliest).build().expect("a consumer");
        assert!(consumer.next(LIMIT).expect("a record").is_some());
    }
    // Only the client itself is left, and nothing of it after its end.
    wait_until("the threads of what was used are gone", LIMIT, || {
        threads().iter().all(|name| name == "kafka-metadata")
    });
    drop(client);
    let gone = || (threads(), sockets()) == before;
    let deadline = Instant::now() + LIMIT;
    while !gone() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((threads(), sockets()), before);
}

/// The names of this process's threads that are the library's.
fn threads() -> Vec<String> {
    let main = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process").flatten();
    // The first thread has the program's name, which begins like ours.
    let names = tasks
        .filter(|task| task.file_name() != *main)
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("kafka-")).collect()
}

fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").expect("the files of this process").flatten();
    let targets = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
