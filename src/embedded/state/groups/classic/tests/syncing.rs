//! SyncGroup: the assignment, and members that never ask for theirs.

use super::support::*;
use crate::protocol::messages::SyncGroupRequest;
use std::time::Duration;

#[test]
fn a_follower_waits_for_the_leaders_assignment_and_a_late_one_gets_it_at_once() {
    let mut kit = Kit::new();
    let (leader, second, generation) = kit.syncing();
    let (first_id, second_id) = (leader.request.member_id.clone(), second.request.member_id.clone());
    let answer = kit.sync(&leader, generation, &[(&first_id, b"1"), (&second_id, b"2")]).unwrap();
    assert_eq!((answer.error_code, answer.assignment.as_ref()), (0, &b"1"[..]));
    assert_eq!((answer.protocol_type.as_deref(), answer.protocol_name.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(kit.sync_answer(&second).unwrap().assignment.as_ref(), b"2");
    assert_eq!(kit.state(), "Stable");
    assert_eq!(kit.sync(&second, generation, &[]).unwrap().assignment.as_ref(), b"2");
}

#[test]
fn what_is_wrong_with_a_sync_is_said() {
    let mut kit = Kit::new();
    let mut stranger = kit.joiner();
    stranger.request.member_id = "x".into();
    assert_eq!(kit.sync(&stranger, 1, &[]).unwrap().error_code, 25, "no group");
    let (members, generation) = kit.stable(1);
    assert_eq!(kit.sync(&stranger, generation, &[]).unwrap().error_code, 25);
    assert_eq!(kit.sync(&members[0], generation + 1, &[]).unwrap().error_code, 22);
    let request = SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: members[0].request.member_id.clone(),
        protocol_type: Some("consumer".into()),
        protocol_name: Some("sticky".into()),
        ..Default::default()
    };
    assert_eq!(kit.harness.call(kit.broker, 5, request.clone()).error_code, 23);
    let of_another_type = SyncGroupRequest {
        protocol_type: Some("connect".into()),
        protocol_name: Some("range".into()),
        ..request.clone()
    };
    assert_eq!(kit.harness.call(kit.broker, 5, of_another_type).error_code, 23);
    assert_eq!(kit.harness.call(3 - kit.broker, 5, request).error_code, 16);
    let (_, response) = kit.joined();
    assert_eq!(response, None);
    assert_eq!(kit.sync(&members[0], generation, &[]).unwrap().error_code, 27);
}

#[test]
fn a_leader_that_never_syncs_is_removed_and_the_others_join_again() {
    let mut kit = Kit::new();
    let (leader, second, generation) = kit.syncing();
    for _ in 0..6 {
        kit.harness.pass(SESSION - Duration::from_secs(1));
        assert_eq!(kit.beat(&leader, generation), 0, "it is alive, it only does not sync");
    }
    kit.harness.pass(REBALANCE - (SESSION - Duration::from_secs(1)) * 6 - Duration::from_millis(1));
    assert_eq!(kit.sync_answer(&second), None);
    kit.harness.pass(Duration::from_millis(1));
    assert_eq!(kit.sync_answer(&second).unwrap().error_code, 27);
    assert_eq!(kit.beat(&leader, generation), 25, "within its session");
    let alone = kit.join(&second).unwrap();
    assert_eq!((alone.generation_id, alone.leader == alone.member_id), (generation + 1, true));
}

#[test]
fn a_join_during_the_sync_sends_everyone_back_to_join() {
    let mut kit = Kit::new();
    let (members, _) = kit.stable(2);
    kit.join(&members[0]);
    kit.join(&members[1]);
    members.iter().for_each(|member| drop(kit.join_answer(member)));
    let generation = kit.group().generation;
    let follower = members.iter().find(|member| !kit.group().is_leader(&member.request.member_id)).unwrap().clone();
    assert_eq!(kit.sync(&follower, generation, &[]), None);
    let (_, response) = kit.joined();
    assert_eq!(response, None);
    let answer = kit.sync_answer(&follower).unwrap();
    assert_eq!((answer.error_code, answer.protocol_name), (27, None));
}
