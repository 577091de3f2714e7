//! Consumer groups of the classic protocol, and what the cluster knows of them.

use crate::support::{LIMIT, Member, client, group, send_all, sync_producer, unique, wait_until};
use sarameya::embedded::Cluster;
use std::collections::BTreeSet;
use std::time::Duration;

fn partitions(topic: &str, partitions: impl IntoIterator<Item = i32>) -> BTreeSet<(String, i32)> {
    partitions.into_iter().map(|partition| (topic.to_owned(), partition)).collect()
}

/// How many partitions each member has by what the coordinator knows, in a stable group.
fn shares(cluster: &Cluster, group: &str) -> Vec<usize> {
    if cluster.group_state(group).as_deref() != Some("Stable") {
        return Vec::new();
    }
    cluster.group_members(group).iter().map(|member| member.partitions.len()).collect()
}

/// The committed offsets of partitions `0..n`.
fn committed(cluster: &Cluster, group: &str, topic: &str, n: i32) -> Vec<i64> {
    let committed = cluster.committed(group);
    let offset = |partition| committed.get(&(topic.to_owned(), partition)).map_or(-1, |committed| committed.offset);
    (0..n).map(offset).collect()
}

#[test]
fn g20_two_members_share_the_partitions_and_one_that_leaves_hands_over() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 4).unwrap();
    let (client, id) = (client(&cluster), unique("shared"));
    let producer = sync_producer(&client, |builder| builder);
    let first = Member::start(group(&client, &id), &["t"]);
    let second = Member::start(group(&client, &id), &["t"]);
    wait_until("two members of two partitions each", || {
        shares(&cluster, &id) == [2, 2] && first.seen.claims().len() == 2 && second.seen.claims().len() == 2
    });
    assert!(first.seen.claims().is_disjoint(&second.seen.claims()));
    (0..4).for_each(|partition| drop(send_all(&producer, "t", partition, &["a", "b"])));
    wait_until("everything is committed", || committed(&cluster, &id, "t", 4) == [2; 4]);
    first.stop().unwrap();
    wait_until("the other has everything", || second.seen.claims() == partitions("t", 0..4));
    assert_eq!(shares(&cluster, &id), [4]);
    (0..4).for_each(|partition| drop(send_all(&producer, "t", partition, &["c"])));
    wait_until("and commits it", || committed(&cluster, &id, "t", 4) == [3; 4]);
    second.stop().unwrap();
    assert_eq!(cluster.group_state(&id).as_deref(), Some("Empty"));
}

#[test]
fn g5_a_static_member_that_is_started_again_causes_no_rebalance() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let (client, id) = (client(&cluster), unique("static"));
    let producer = sync_producer(&client, |builder| builder);
    let other = Member::start(group(&client, &id), &["t"]);
    let fixed = Member::start(group(&client, &id).group_instance_id("one"), &["t"]);
    wait_until("one partition each", || {
        shares(&cluster, &id) == [1, 1] && other.seen.claims().len() == 1 && fixed.seen.claims().len() == 1
    });
    let (claims, generations) = (fixed.seen.claims(), other.seen.generations());
    let member_id = || cluster.group_members(&id).into_iter().find(|member| member.instance_id.is_some());
    let before = member_id().unwrap();
    fixed.stop().unwrap();
    assert_eq!(shares(&cluster, &id), [1, 1], "it has not left");
    let again = Member::start(group(&client, &id).group_instance_id("one"), &["t"]);
    wait_until("it is there again", || again.seen.claims() == claims);
    let after = member_id().unwrap();
    assert_eq!((&after.instance_id, &after.partitions), (&before.instance_id, &before.partitions));
    assert_ne!(after.member_id, before.member_id);
    (0..2).for_each(|partition| drop(send_all(&producer, "t", partition, &["a"])));
    wait_until("both consume", || committed(&cluster, &id, "t", 2) == [1, 1]);
    assert_eq!(other.seen.generations(), generations);
    again.stop().unwrap();
    other.stop().unwrap();
}

#[test]
fn g7_a_member_whose_session_has_ended_joins_again_and_goes_on() {
    let cluster = Cluster::builder(1).manual_clock().start().unwrap();
    cluster.create_topic("t", 1).unwrap();
    let (client, id) = (client(&cluster), unique("expired"));
    let producer = sync_producer(&client, |builder| builder);
    let member = Member::start(group(&client, &id), &["t"]);
    wait_until("it has the partition", || member.seen.claims() == partitions("t", [0]));
    send_all(&producer, "t", 0, &["a"]);
    wait_until("it commits", || committed(&cluster, &id, "t", 1) == [1]);
    let first = cluster.group_members(&id).remove(0);
    // The session is of 6 seconds.
    cluster.advance_clock(Duration::from_secs(7));
    let is_new = |new: &sarameya::embedded::GroupMember| new.member_id != first.member_id;
    wait_until("there is a new member", || {
        shares(&cluster, &id) == [1] && cluster.group_members(&id).iter().all(is_new)
    });
    send_all(&producer, "t", 0, &["b"]);
    wait_until("it goes on", || committed(&cluster, &id, "t", 1) == [2]);
    assert_eq!(member.seen.offsets("t", 0), [0, 1], "it had committed before");
    member.stop().unwrap();
}

#[test]
fn g1_a_stopped_coordinator_is_followed_by_another_without_a_rebalance() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let (client, id) = (client(&cluster), unique("moved"));
    let producer = sync_producer(&client, |builder| builder);
    let member = Member::start(group(&client, &id), &["t"]);
    wait_until("it has both partitions", || member.seen.claims() == partitions("t", 0..2));
    let generations = member.seen.generations();
    let coordinator = cluster.coordinator(&id).unwrap();
    cluster.stop_broker(coordinator);
    assert_ne!(cluster.coordinator(&id), Some(coordinator));
    (0..2).for_each(|partition| drop(send_all(&producer, "t", partition, &["a", "b"])));
    wait_until("the next coordinator has the commits", || committed(&cluster, &id, "t", 2) == [2, 2]);
    assert_eq!(member.seen.generations(), generations);
    cluster.start_broker(coordinator).unwrap();
    member.stop().unwrap();
    producer.close(LIMIT).unwrap();
}

#[test]
fn g2_a_coordinator_that_moves_is_followed_without_a_rebalance() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let (client, id) = (client(&cluster), unique("followed"));
    cluster.move_coordinator(&id, 2).unwrap();
    assert!(cluster.move_coordinator(&id, 3).is_err());
    let producer = sync_producer(&client, |builder| builder);
    let member = Member::start(group(&client, &id), &["t"]);
    wait_until("it has the partition", || member.seen.claims() == partitions("t", [0]));
    let generations = member.seen.generations();
    for (broker, sent) in [(1, 1), (2, 2), (1, 3)] {
        cluster.move_coordinator(&id, broker).unwrap();
        assert_eq!(cluster.coordinator(&id), Some(broker));
        send_all(&producer, "t", 0, &["a"]);
        wait_until("it commits there", || committed(&cluster, &id, "t", 1) == [sent]);
    }
    assert_eq!(member.seen.generations(), generations);
    member.stop().unwrap();
}
