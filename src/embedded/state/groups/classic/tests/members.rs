//! Members that leave, die, or are started again.

use super::support::*;
use crate::protocol::messages::LeaveGroupRequest;
use std::time::Duration;

#[test]
fn a_member_that_is_silent_for_its_session_is_removed_and_the_others_rebalance() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(2);
    kit.harness.pass(SESSION / 2);
    assert_eq!(kit.beat(&members[0], generation), 0);
    kit.harness.pass(SESSION / 2 - Duration::from_millis(1));
    assert_eq!((kit.state(), kit.beat(&members[0], generation)), ("Stable", 0));
    kit.harness.pass(Duration::from_millis(1));
    assert_eq!(kit.state(), "PreparingRebalance");
    assert_eq!(kit.beat(&members[1], generation), 25);
    assert_eq!(kit.beat(&members[0], generation), 27);
    let alone = kit.join(&members[0]).unwrap();
    assert_eq!((alone.generation_id, alone.members.len()), (generation + 1, 1));
}

#[test]
fn the_last_member_leaves_an_empty_group_of_the_next_generation() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(1);
    assert_eq!(kit.leave(&[(&members[0].request.member_id, None)]), [0]);
    assert_eq!((kit.state(), kit.group().generation), ("Empty", generation + 1));
    assert_eq!(kit.beat(&members[0], generation), 25);
    let (_, response) = kit.joined();
    assert_eq!(response.unwrap().generation_id, generation + 2);
    kit.harness.pass(SESSION);
    assert_eq!(kit.state(), "Empty", "and by the clock as well");
}

#[test]
fn several_leave_in_one_rebalance_and_each_is_answered() {
    let mut kit = Kit::new();
    assert_eq!(kit.leave(&[("x", None)]), [25], "there is no group");
    let (members, generation) = kit.stable(3);
    let id = |at: usize| members[at].request.member_id.clone();
    let mut pending = kit.joiner();
    kit.identify(&mut pending);
    let left =
        kit.leave(&[(&id(1), None), ("x", None), (&id(2), None), (&pending.request.member_id, None), ("", Some("i"))]);
    assert_eq!(left, [0, 25, 0, 0, 25]);
    assert_eq!(kit.beat(&members[0], generation), 27);
    assert_eq!(kit.join(&members[0]).unwrap().members.len(), 1, "nobody else is waited for");
    // Before version 3 there is one member and one code.
    let mut single = |member_id: &str| {
        let request = LeaveGroupRequest { group_id: "g".into(), member_id: member_id.into(), ..Default::default() };
        kit.harness.call(kit.broker, 2, request).error_code
    };
    assert_eq!((single("x"), single(&id(0)), single(&id(0))), (25, 0, 25));
}

#[test]
fn a_member_that_leaves_while_it_waits_is_told_to_begin_anew() {
    let mut kit = Kit::new();
    kit.stable(1);
    let (second, response) = kit.joined();
    assert_eq!(response, None);
    assert_eq!(kit.leave(&[(&second.request.member_id, None)]), [0]);
    let answer = kit.join_answer(&second).unwrap();
    assert_eq!((answer.error_code, &*answer.member_id), (25, ""));
}

#[test]
fn a_member_that_leaves_while_it_waits_for_its_assignment_is_told_to_begin_anew() {
    let mut kit = Kit::new();
    let (_, second, _) = kit.syncing();
    assert_eq!(kit.leave(&[(&second.request.member_id, None)]), [0]);
    assert_eq!(kit.sync_answer(&second).unwrap().error_code, 25);
}

#[test]
fn a_new_member_waits_five_minutes_for_its_first_generation_and_begins_anew() {
    let mut kit = Kit::new();
    let mut first = kit.joiner();
    first.request.rebalance_timeout_ms = 600_000;
    kit.identify(&mut first);
    let generation = kit.join(&first).unwrap().generation_id;
    kit.sync_all(&[first.clone()]);
    let (second, response) = kit.joined();
    assert_eq!(response, None);
    for _ in 0..60 {
        assert_eq!(kit.join_answer(&second), None);
        assert_eq!(kit.beat(&first, generation), 27, "it is alive, it only does not join");
        kit.harness.pass(Duration::from_secs(5));
    }
    assert_eq!(kit.join_answer(&second).unwrap().error_code, 25);
    assert_eq!(kit.group().members.len(), 1);
}

#[test]
fn whoever_comes_first_to_a_group_that_others_have_left_leads_it() {
    let mut kit = Kit::with(&[("group.initial.rebalance.delay.ms", "3000")]);
    let (former, _) = kit.joined();
    kit.harness.pass(Duration::from_secs(3));
    kit.sync_all(std::slice::from_ref(&former));
    assert_eq!(kit.leave(&[(&former.request.member_id, None)]), [0]);
    let (first, second) = (kit.static_joiner("z"), kit.static_joiner("a"));
    assert_eq!((kit.join(&first), kit.join(&second)), (None, None));
    kit.harness.pass(Duration::from_secs(3));
    kit.harness.pass(Duration::from_secs(3));
    let answer = kit.join_answer(&first).unwrap();
    assert_eq!((answer.members.len(), &answer.leader), (2, &answer.member_id));
}

#[test]
fn a_static_member_that_is_started_again_has_its_assignment_without_a_rebalance() {
    let mut kit = Kit::new();
    let (mut first, mut second) = (kit.static_joiner("one"), kit.static_joiner("two"));
    let joined = kit.join(&first).unwrap();
    first.request.member_id = joined.member_id;
    assert!(first.request.member_id.starts_with("one-"));
    assert_eq!(kit.join(&second), None);
    kit.join(&first).unwrap();
    second.request.member_id = kit.join_answer(&second).unwrap().member_id;
    kit.sync_all(&[first.clone(), second.clone()]);
    let generation = kit.group().generation;
    // The follower comes back.
    let mut again = kit.static_joiner("two");
    let joined = kit.join(&again).unwrap();
    again.request.member_id = joined.member_id;
    assert_eq!((joined.error_code, joined.generation_id, joined.skip_assignment), (0, generation, false));
    assert_eq!((kit.state(), joined.members.len()), ("Stable", 0));
    assert_eq!(kit.sync(&again, generation, &[]).unwrap().assignment, second.request.member_id.as_bytes());
    assert_eq!(kit.beat(&second, generation), 82, "its former self is fenced");
    assert_eq!(kit.sync(&second, generation, &[]).unwrap().error_code, 82);
    assert_eq!(kit.leave(&[(&second.request.member_id, Some("two"))]), [82]);
    assert_eq!((kit.beat(&first, generation), kit.beat(&again, generation)), (0, 0));
    // The leader comes back: it is still the leader and is told to leave the assignment alone.
    let joined = {
        let leader = kit.static_joiner("one");
        kit.join(&leader).unwrap()
    };
    assert_eq!((joined.skip_assignment, joined.members.len()), (true, 2));
    assert_eq!(joined.leader, joined.member_id);
    // Before version 9 it can't be told so, and is told of a leader that is gone.
    let mut old = kit.static_joiner("one");
    old.version = 8;
    let joined_again = kit.join(&old).unwrap();
    assert_eq!((joined_again.leader, joined_again.members.len()), (joined.member_id, 0));
    assert_eq!(kit.group().generation, generation);
}

#[test]
fn a_static_member_that_comes_back_in_the_middle_of_a_rebalance_fences_whoever_waits() {
    let mut kit = Kit::new();
    let (members, _) = kit.stable(1);
    let waiting = kit.static_joiner("one");
    assert_eq!(kit.join(&waiting), None);
    let again = kit.static_joiner("one");
    assert_eq!(kit.join(&again), None);
    assert_eq!(kit.join_answer(&waiting).unwrap().error_code, 82);
    assert_eq!(kit.join(&members[0]).unwrap().members.len(), 2);
    assert_eq!(kit.join_answer(&again).unwrap().error_code, 0);
    // Now the assignment is being made: the old id must not get it.
    let third = kit.static_joiner("one");
    assert_eq!((kit.join(&third), kit.state()), (None, "PreparingRebalance"));
}

#[test]
fn a_static_member_with_other_assignors_does_cause_a_rebalance_if_the_choice_changes() {
    let mut kit = Kit::new();
    let mut first = kit.static_joiner("one");
    first.request.member_id = kit.join(&first).unwrap().member_id;
    kit.sync_all(&[first]);
    let generation = kit.group().generation;
    let mut again = kit.static_joiner("one");
    again.request.protocols = protocols(&[("sticky", b""), ("range", b"m")]);
    let joined = kit.join(&again).unwrap();
    assert_eq!((joined.generation_id, joined.protocol_name.as_deref()), (generation + 1, Some("sticky")));
}

#[test]
fn a_static_member_stays_when_it_misses_a_rebalance_until_its_session_ends() {
    let mut kit = Kit::new();
    let mut first = kit.static_joiner("one");
    first.request.rebalance_timeout_ms = 5000;
    first.request.member_id = kit.join(&first).unwrap().member_id;
    kit.sync_all(&[first.clone()]);
    let mut second = kit.joiner();
    second.request.rebalance_timeout_ms = 5000;
    kit.identify(&mut second);
    assert_eq!(kit.join(&second), None);
    kit.harness.pass(Duration::from_secs(5));
    let joined = kit.join_answer(&second).unwrap();
    assert_eq!((joined.members.len(), &joined.leader), (2, &second.request.member_id));
    // By instance id, as an administrator removes it.
    assert_eq!(kit.leave(&[("", Some("one"))]), [0]);
    assert_eq!(kit.group().members.len(), 1);
    // Whoever has the instance id next is a new member.
    let again = kit.static_joiner("one");
    assert_eq!(kit.join(&again), None);
    assert_eq!(kit.join(&second).unwrap().members.len(), 2);
    assert_eq!(kit.join_answer(&again).unwrap().error_code, 0);
}
