//! JoinGroup: who is let in, with which id, and when the answers come.

use super::support::*;
use std::time::Duration;

#[test]
fn a_member_without_an_id_gets_one_that_looks_like_kafkas_and_joins_with_it() {
    let mut kit = Kit::new();
    let mut joiner = kit.joiner();
    kit.identify(&mut joiner);
    let id = joiner.request.member_id.clone();
    let (client, uuid) = id.split_once('-').unwrap();
    assert_eq!((client, uuid.len()), ("test", 36));
    assert_eq!(uuid.match_indices('-').map(|(at, _)| at).collect::<Vec<_>>(), [8, 13, 18, 23]);
    let response = kit.join(&joiner).unwrap();
    assert_eq!((response.error_code, response.generation_id, &response.leader), (0, 1, &id));
    assert_eq!(
        (response.protocol_type.as_deref(), response.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!((response.members.len(), response.members[0].metadata.as_ref()), (1, &b"m"[..]));
    assert_eq!(kit.state(), "CompletingRebalance");
    // Before version 4 there is no second round.
    let mut old = Kit::new();
    let mut joiner = old.joiner();
    joiner.version = 3;
    let response = old.join(&joiner).unwrap();
    assert_eq!((response.error_code, response.generation_id), (0, 1));
    assert_eq!(response.leader, response.member_id);
}

#[test]
fn what_is_wrong_with_a_join_is_said() {
    let mut kit = Kit::with(&[("group.max.session.timeout.ms", "20000")]);
    let ask = |kit: &mut Kit, change: &dyn Fn(&mut Joiner)| {
        let mut joiner = kit.joiner();
        change(&mut joiner);
        kit.join(&joiner).unwrap().error_code
    };
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.group_id.clear()), 24);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.session_timeout_ms = 5999), 26);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.session_timeout_ms = 20_001), 26);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.member_id = "x".into()), 25, "no group");
    assert!(kit.harness.state.groups.get("g").is_none(), "and none is made");
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.protocols.clear()), 23);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.protocol_type.clear()), 23);
    kit.stable(1);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.member_id = "x".into()), 25, "no such member");
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.protocols = protocols(&[("sticky", b"")])), 23);
    assert_eq!(ask(&mut kit, &|joiner| joiner.request.protocol_type = "connect".into()), 23);
    kit.broker = 3 - kit.broker;
    assert_eq!(ask(&mut kit, &|_| {}), 16);
}

#[test]
fn the_second_member_waits_for_the_first_to_join_again_and_only_the_leader_learns_who_is_there() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(1);
    let (second, response) = kit.joined();
    assert_eq!((response, kit.state()), (None, "PreparingRebalance"));
    assert_eq!(kit.beat(&members[0], generation), 27);
    let leader = kit.join(&members[0]).unwrap();
    assert_eq!((leader.generation_id, leader.members.len()), (generation + 1, 2));
    let follower = kit.join_answer(&second).unwrap();
    assert_eq!((follower.generation_id, follower.members.len()), (generation + 1, 0));
    assert_eq!(follower.leader, members[0].request.member_id);
    assert_eq!(kit.beat(&members[0], generation), 22, "of the generation before");
    assert_eq!(kit.beat(&members[0], generation + 1), 0);
}

#[test]
fn members_that_have_not_joined_by_the_rebalance_timeout_are_left_out_and_another_leads() {
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(2);
    let (third, _) = kit.joined();
    assert_eq!(kit.join(&members[1]), None);
    for _ in 0..7 {
        // The first goes on sending heartbeats, so it is not its session that ends.
        kit.harness.pass(Duration::from_secs(8));
        assert_eq!(kit.beat(&members[0], generation), 27);
    }
    assert_eq!(kit.join_answer(&third), None);
    kit.harness.pass(Duration::from_secs(4));
    let third = kit.join_answer(&third).unwrap();
    assert_eq!((third.error_code, third.generation_id), (0, generation + 1));
    let second = kit.join_answer(&members[1]).unwrap();
    let leader = if third.members.is_empty() { &second } else { &third };
    assert_eq!((leader.members.len(), &leader.leader), (2, &leader.member_id));
    assert_eq!(kit.beat(&members[0], generation), 25);
}

#[test]
fn the_assignor_is_the_one_that_all_support_and_most_prefer() {
    let mut kit = Kit::new();
    let preferences: [&[&str]; 3] = [&["a", "b", "c"], &["b", "a"], &["b", "a", "d"]];
    let mut joiners = Vec::new();
    for names in preferences {
        let mut joiner = kit.joiner();
        let pairs: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, name.as_bytes())).collect();
        joiner.request.protocols = protocols(&pairs);
        kit.identify(&mut joiner);
        kit.join(&joiner);
        joiners.push(joiner);
        for joiner in joiners.clone().iter().rev().skip(1) {
            kit.join(joiner);
        }
        joiners.iter().for_each(|joiner| drop(kit.join_answer(joiner)));
    }
    assert_eq!((kit.group().members.len(), kit.group().protocol.as_deref()), (3, Some("b")));
}

#[test]
fn a_full_group_lets_nobody_in() {
    let mut kit = Kit::with(&[("group.max.size", "2")]);
    let (members, generation) = kit.stable(2);
    let joiner = kit.joiner();
    let refused = kit.join(&joiner).unwrap();
    assert_eq!((refused.error_code, &*refused.member_id), (81, ""));
    assert_eq!(kit.beat(&members[0], generation), 0);
    // A member of it may join again.
    assert_eq!(kit.join(&members[0]), None);
    assert_eq!(kit.join(&members[1]).unwrap().error_code, 0);
}

#[test]
fn whoever_joins_a_group_again_that_has_filled_up_meanwhile_is_let_go() {
    let mut kit = Kit::with(&[("group.max.size", "2")]);
    let (members, generation) = kit.stable(2);
    assert_eq!(
        (kit.join(&members[0]), kit.state()),
        (None, "PreparingRebalance"),
        "a leader may want another assignment"
    );
    let (third, response) = kit.joined();
    assert_eq!(response, None, "one has joined so far, so there is room");
    let refused = kit.join(&members[1]).unwrap();
    assert_eq!((refused.error_code, &*refused.member_id), (81, ""));
    let ids = [&members[0], &third].map(|joiner| joiner.request.member_id.as_str());
    assert!(kit.group().members.keys().all(|id| ids.contains(&id.as_str())), "nobody waits for it");
    kit.harness.pass(REBALANCE);
    let answers = [&members[0], &third].map(|joiner| kit.join_answer(joiner).unwrap());
    assert_eq!(answers.map(|answer| (answer.error_code, answer.generation_id)), [(0, generation + 1); 2]);
}

#[test]
fn timeouts_are_those_of_the_last_join_and_before_version_1_a_rebalance_takes_a_session() {
    let mut kit = Kit::new();
    let mut old = kit.joiner();
    old.version = 0;
    let joined = kit.join(&old).unwrap();
    let timeouts = |kit: &Kit| {
        let member = &kit.group().members[&joined.member_id];
        (member.session_timeout, member.rebalance_timeout)
    };
    assert_eq!(timeouts(&kit), (SESSION, SESSION));
    old.request.member_id = joined.member_id.clone();
    old.request.session_timeout_ms = 20_000;
    old.request.protocols = protocols(&[("range", b"news")]);
    kit.join(&old).unwrap();
    assert_eq!(timeouts(&kit), (SESSION * 2, SESSION * 2));
}

#[test]
fn the_first_rebalance_waits_for_more_members_while_they_come() {
    let mut kit = Kit::with(&[("group.initial.rebalance.delay.ms", "3000")]);
    let (first, response) = kit.joined();
    assert_eq!(response, None);
    kit.harness.pass(Duration::from_millis(2900));
    let (second, response) = kit.joined();
    assert_eq!(response, None);
    kit.harness.pass(Duration::from_millis(3000));
    assert_eq!(kit.join_answer(&first), None, "someone came, so the wait goes on");
    kit.harness.pass(Duration::from_millis(100));
    let answers = [kit.join_answer(&first).unwrap(), kit.join_answer(&second).unwrap()];
    assert_eq!(answers.map(|answer| (answer.error_code, answer.generation_id)), [(0, 1), (0, 1)]);
}

#[test]
fn an_id_that_is_not_used_is_forgotten_and_no_rebalance_waits_for_it_any_longer() {
    let mut kit = Kit::new();
    let (members, _) = kit.stable(1);
    let mut undecided = kit.joiner();
    kit.identify(&mut undecided);
    assert_eq!(kit.state(), "Stable", "nothing has happened yet");
    assert_eq!(kit.join(&members[0]), None, "the rebalance waits for the one that may come");
    kit.harness.pass(SESSION);
    assert_eq!(kit.join_answer(&members[0]).unwrap().error_code, 0);
    assert_eq!(kit.join(&undecided).unwrap().error_code, 25);
}

#[test]
fn a_join_that_is_sent_again_over_another_connection_takes_the_place_of_the_first() {
    let mut kit = Kit::new();
    let (members, _) = kit.stable(1);
    let (second, response) = kit.joined();
    assert_eq!(response, None);
    let mut again = second.clone();
    again.connection = kit.harness.connect();
    assert_eq!(kit.join(&again), None);
    let closed: Vec<_> = kit.harness.state.take_answers();
    assert!(matches!(&closed[..], [(id, crate::embedded::state::Reply::Close)] if *id == second.connection));
    kit.join(&members[0]);
    assert_eq!(kit.join_answer(&again).unwrap().error_code, 0);
}

#[test]
fn a_member_that_missed_its_answer_gets_it_again_and_one_with_news_causes_a_rebalance() {
    let mut kit = Kit::new();
    let (first, response) = kit.joined();
    let response = response.unwrap();
    assert_eq!(kit.join(&first).unwrap(), response, "the generation has not ended");
    let mut changed = first.clone();
    changed.request.protocols = protocols(&[("range", b"other")]);
    assert_eq!(kit.join(&changed).unwrap().generation_id, response.generation_id + 1);
    // A follower that joins a stable group again gets what there is, the leader a new generation.
    let mut kit = Kit::new();
    let (members, generation) = kit.stable(2);
    let leads = |kit: &Kit, member: &Joiner| kit.group().is_leader(&member.request.member_id);
    let (leader, follower) = if leads(&kit, &members[0]) { (0, 1) } else { (1, 0) };
    let again = kit.join(&members[follower]).unwrap();
    assert_eq!((again.error_code, again.generation_id, again.members.len()), (0, generation, 0));
    assert_eq!(kit.state(), "Stable");
    assert_eq!((kit.join(&members[leader]), kit.state()), (None, "PreparingRebalance"));
    let mut kit = Kit::new();
    let (members, _) = kit.stable(2);
    let mut follower = members[usize::from(leads(&kit, &members[0]))].clone();
    follower.request.protocols = protocols(&[("range", b"news")]);
    assert_eq!((kit.join(&follower), kit.state()), (None, "PreparingRebalance"));
}
