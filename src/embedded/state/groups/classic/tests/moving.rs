//! The coordinator moves to another broker.

use super::support::*;
use crate::embedded::state::Coordinated;
use std::time::Duration;

/// Lets the other broker lead the group's partition.
fn move_coordinator(kit: &mut Kit) {
    kit.harness.state.broker_stopped(kit.broker);
    kit.harness.state.groups_follow_coordinators();
    kit.broker = 3 - kit.broker;
    assert_eq!(kit.harness.state.coordinator(Coordinated::Group, "g"), Ok(kit.broker));
}

#[test]
fn a_stable_group_goes_on_at_the_next_coordinator_and_its_sessions_begin_anew() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(2);
    kit.harness.pass(SESSION - Duration::from_millis(1));
    let old = kit.broker;
    move_coordinator(&mut kit);
    kit.harness.pass(SESSION - Duration::from_millis(1));
    assert_eq!(members.iter().map(|member| kit.beat(member, generation)).collect::<Vec<_>>(), [0, 0]);
    kit.broker = old;
    assert_eq!(kit.beat(&members[0], generation), 16);
}

#[test]
fn parked_joins_and_syncs_are_told_and_the_last_stable_generation_counts() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(2);
    let (third, response) = kit.joined();
    assert_eq!(response, None);
    assert_eq!(kit.join(&members[0]), None);
    move_coordinator(&mut kit);
    assert_eq!(kit.join_answer(&third).unwrap().error_code, 16);
    assert_eq!(kit.join_answer(&members[0]).unwrap().error_code, 16);
    assert_eq!((kit.state(), kit.group().generation, kit.group().members.len()), ("Stable", generation, 2));
    assert_eq!(kit.join(&third).unwrap().error_code, 25, "the new coordinator has never heard of it");
    // A sync that waits for the leader.
    kit.join(&members[0]);
    kit.join(&members[1]);
    members.iter().for_each(|member| drop(kit.join_answer(member)));
    let generation = kit.group().generation;
    let follower = members.iter().find(|member| !kit.group().is_leader(&member.request.member_id)).unwrap().clone();
    assert_eq!(kit.sync(&follower, generation, &[]), None);
    let stopped = 3 - kit.broker;
    kit.harness.state.broker_started(stopped);
    move_coordinator(&mut kit);
    assert_eq!(kit.sync_answer(&follower).unwrap().error_code, 16);
}

#[test]
fn an_empty_group_stays_empty_and_goes_on_counting() {
    let mut kit = Kit::new();
    let (_, generation) = kit.stable(1);
    kit.harness.pass(SESSION * 2);
    assert_eq!((kit.state(), kit.group().generation), ("Empty", generation + 1));
    move_coordinator(&mut kit);
    assert_eq!((kit.state(), kit.group().generation, kit.group().members.len()), ("Empty", generation + 1, 0));
}

#[test]
fn a_static_member_that_was_started_again_is_known_at_the_next_coordinator() {
    let mut kit = Kit::new();
    let mut first = kit.static_joiner("one");
    first.request.member_id = kit.join(&first).unwrap().member_id;
    kit.sync_all(&[first.clone()]);
    let mut again = kit.static_joiner("one");
    let joined = kit.join(&again).unwrap();
    again.request.member_id = joined.member_id;
    move_coordinator(&mut kit);
    assert_eq!([&again, &first].map(|member| kit.beat(member, joined.generation_id)), [0, 82]);
}

#[test]
fn a_group_without_a_coordinator_does_not_age() {
    let mut kit = Kit::with(&[("offsets.topic.replication.factor", "1")]);
    let (members, generation) = kit.stable(1);
    kit.harness.state.broker_stopped(kit.broker);
    kit.harness.state.groups_follow_coordinators();
    kit.harness.pass(SESSION * 3);
    kit.harness.state.broker_started(kit.broker);
    kit.harness.state.groups_follow_coordinators();
    kit.harness.pass(SESSION / 2);
    assert_eq!(kit.beat(&members[0], generation), 0);
    kit.harness.pass(SESSION);
    assert_eq!(kit.state(), "Empty");
}
