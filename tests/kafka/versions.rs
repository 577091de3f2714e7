//! The harness itself: each version of Kafka starts, answers and ends.

use std::time::Duration;

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::{heavy, unique, wait_until};

#[test]
fn kafka_1_0_2_starts_and_keeps_records() {
    require_kafka!();
    keeps_records(Version::V1_0_2);
}

#[test]
fn kafka_2_5_1_starts_and_keeps_records() {
    require_kafka!();
    keeps_records(Version::V2_5_1);
}

#[test]
fn kafka_3_9_1_starts_and_keeps_records() {
    require_kafka!();
    keeps_records(Version::V3_9_1);
}

#[test]
fn kafka_4_3_0_starts_three_nodes_and_keeps_records() {
    require_kafka!();
    keeps_records(Version::V4_3_0);
}

/// Kafka's own tools agree on what is there: the ways in which tests ask them all work with this version.
fn keeps_records(version: Version) {
    let cluster = Cluster::shared(version);
    let tools = cluster.tools();
    let topic = unique("records");
    let replicas = cluster.node_count().min(3).to_string();
    tools.topics(&["--create", "--topic", &topic, "--partitions", "1", "--replication-factor", &replicas]);
    // Whoever is asked next learns of it in its own time.
    cluster.wait_known(&topic, 1);
    assert!(tools.topics(&["--list"]).lines().any(|line| line == topic));

    tools.console_producer(&["--topic", &topic], "one\ntwo\n");
    let read = tools.console_consumer(&["--topic", &topic, "--from-beginning", "--max-messages", "2"]);
    assert_eq!(read.lines().collect::<Vec<_>>(), ["one", "two"]);

    let leader = cluster.leader(&topic, 0);
    let dump = tools.dump_log(&cluster.segments(leader, &topic, 0));
    assert!(dump.stdout.contains("two"), "{}", dump.stdout);

    // A topic that the harness makes itself, for tests that cannot spend seconds on a tool.
    let quick = unique("quick");
    cluster.create_topic_with(&quick, 4, 1, &[("retention.ms", "3600000")]);
    let described = tools.topics(&["--describe", "--topic", &quick]);
    assert_eq!(described.stdout.matches("Leader:").count(), 4, "{}", described.stdout);
    assert!(described.stdout.contains("retention.ms=3600000"), "{}", described.stdout);
    assert!((1..=cluster.node_count()).contains(&cluster.coordinator(&unique("group"))));
}

#[test]
fn kafka_4_3_0_loses_pauses_and_regains_nodes() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(3));
    let topic = unique("leaders");
    cluster.create_topic(&topic, 1);

    let killed = cluster.leader(&topic, 0);
    cluster.kill(killed);
    assert_eq!(cluster.running().len(), 2);
    let next = cluster.leader(&topic, 0);
    assert_ne!(next, killed);
    cluster.wait_ready();
    cluster.restart(killed);
    cluster.wait_in_sync(&topic);

    cluster.pause(next);
    let last = cluster.leader(&topic, 0);
    assert_ne!(last, next);
    cluster.resume(next);
    cluster.wait_ready();
    cluster.wait_in_sync(&topic);

    cluster.terminate(last);
    assert_ne!(cluster.leader(&topic, 0), last);
    assert_eq!(cluster.process_id(last), None);
}

#[test]
fn kafka_1_0_2_comes_back_after_a_kill() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V1_0_2));
    let topic = unique("stays");
    cluster.create_topic(&topic, 2);
    cluster.kill(1);
    assert!(cluster.running().is_empty());
    cluster.restart(1);
    assert_eq!(cluster.leader(&topic, 1), 1);
}

#[test]
fn kafka_3_9_1_is_reached_through_proxies() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1).proxied());
    let topic = unique("proxied");
    cluster.create_topic(&topic, 1);
    assert_eq!(cluster.proxy(1).accepted(), 0, "the harness itself goes past them");
    let through = ["--topic", &topic, "--bootstrap-server", &cluster.bootstrap()];
    cluster.tools().console_producer(&through, "one\n");
    // One connection to the bootstrap address, and one to the broker by the address that it advertises.
    assert!(cluster.proxy(1).accepted() >= 2, "{}", cluster.proxy(1).accepted());
    wait_until("the producer's connections end", Duration::from_secs(60), || cluster.proxy(1).open() == 0);
}

#[test]
fn kafka_3_9_1_ends_with_its_cluster() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1).set("broker.rack", "rack-{node}"));
    let id = cluster.process_id(1).expect("it runs");
    let log = cluster.server_log(1);
    let settings = std::fs::read_to_string(log.with_file_name("server.properties")).expect("its settings");
    assert!(settings.ends_with("broker.rack=rack-1\n"));
    let alive = || std::process::Command::new("sh").args(["-c", "kill -0 \"$0\" 2>&1", &id.to_string()]).output();
    assert!(alive().expect("a shell").status.success());
    drop(cluster);
    assert!(!alive().expect("a shell").status.success());
    assert!(!log.exists());
}

#[test]
fn a_program_dies_with_the_process_that_started_it() {
    use crate::support::process::Spec;
    // What happens when a test process is killed: the pipe to the guard ends without a farewell.
    let mut program = Spec::new("sleep").args(["600"]).spawn();
    program.forget_farewell();
    let status = program.wait(Duration::from_secs(20));
    assert!(!status.success());
}

#[test]
fn a_program_that_ended_by_itself_is_reported() {
    use crate::support::process::{Spec, input_file};
    let folder = tempfile::tempdir().expect("a folder");
    let input = input_file(folder.path(), "first\nsecond\n");
    let mut program = Spec::new("sh").args(["-c", "cat; echo problem >&2; exit 3"]).stdin(input).spawn();
    assert_eq!(program.wait_line(Duration::from_secs(20), |line| line.starts_with('s')), "second");
    assert_eq!(program.next_line(Duration::from_secs(20)), None);
    let output = program.finish(Duration::from_secs(20));
    assert_eq!((output.status.code(), output.stderr.as_str()), (Some(3), "problem\n"));
    assert_eq!(output.stdout, "first\nsecond\n");
}

#[test]
fn a_signal_reaches_a_program() {
    use crate::support::process::Spec;
    let mut program =
        Spec::new("sh").args(["-c", "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]);
    program = program.env("UNUSED", "1");
    let mut program = program.spawn();
    program.wait_line(Duration::from_secs(20), |line| line == "ready");
    assert!(program.terminate(Duration::from_secs(20)).success());
    wait_until("its last word", Duration::from_secs(20), || program.stdout().contains("asked"));
}
