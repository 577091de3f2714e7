//! Groups with simulated members of both protocols, which become groups of the other kind on the way.

mod members;

use super::super::test_support::Harness;
use super::simulation::Client;
use super::{LEAVE, Refusal};
use crate::ErrorCode;
use crate::embedded::state::ConnectionId;
use crate::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
use crate::protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use crate::protocol::messages::consumer_protocol_subscription::{ConsumerProtocolSubscription, TopicPartition};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use crate::protocol::messages::leave_group::MemberIdentity;
use crate::protocol::messages::sync_group::{SyncGroupRequestAssignment, SyncGroupResponse};
use crate::protocol::messages::*;
use crate::protocol::{Reader, Writer};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

const PARTITIONS: i32 = 6;

/// Where a classic client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    ToJoin,
    Joining(ConnectionId),
    Syncing(ConnectionId),
    Member,
}

/// A client of the classic protocol that consumes topic "t". An eager one gives everything up before it joins; a cooperative
/// one goes on with what it has, gives up what it is not assigned any more, and then joins again.
#[derive(Debug, Clone)]
struct Classic {
    id: String,
    instance_id: Option<String>,
    cooperative: bool,
    generation: i32,
    protocol: String,
    step: Step,
    owned: Vec<i32>,
}

impl Classic {
    fn new(cooperative: bool, instance_id: Option<&str>) -> Self {
        let instance_id = instance_id.map(str::to_owned);
        let (id, protocol, owned) = (String::new(), String::new(), Vec::new());
        Self { id, instance_id, cooperative, generation: -1, protocol, step: Step::ToJoin, owned }
    }

    fn join_request(&self) -> JoinGroupRequest {
        let topic = TopicPartition { topic: "t".into(), partitions: self.owned.clone() };
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            owned_partitions: if self.owned.is_empty() { Vec::new() } else { vec![topic] },
            generation_id: self.generation,
            ..Default::default()
        };
        let mut writer = Writer::new();
        writer.i16(3);
        subscription.encode(&mut writer, 3).unwrap();
        let metadata: Bytes = writer.into_bytes().into();
        JoinGroupRequest {
            group_id: "g".into(),
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 30_000,
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol { name: "both".into(), metadata }],
            ..Default::default()
        }
    }

    /// It is out of the group: it has nothing any more.
    fn lose(&mut self) {
        (self.owned, self.generation, self.step) = (Vec::new(), -1, Step::ToJoin);
    }

    fn rejoin(&mut self) {
        if !self.cooperative {
            self.owned.clear();
        }
        self.step = Step::ToJoin;
    }
}

struct World {
    harness: Harness,
    classic: Vec<Classic>,
    consumers: Vec<Client>,
    made: usize,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut harness = Harness::with(1, settings);
        harness.state.create_topic("t", PARTITIONS, 1, BTreeMap::new()).unwrap();
        let coordinator_keys = vec!["g".into()];
        harness.call(1, 4, FindCoordinatorRequest { coordinator_keys, ..Default::default() });
        Self { harness, classic: Vec::new(), consumers: Vec::new(), made: 0 }
    }

    fn consumer(&mut self) {
        self.made += 1;
        self.consumers.push(Client::new(&format!("m{}", self.made), "t"));
    }

    fn kind(&self) -> &'static str {
        self.harness.state.groups.get("g").map_or("none", |group| group.type_name())
    }

    fn group_state(&self) -> &'static str {
        self.harness.state.groups.get("g").map_or("none", |group| group.state_name())
    }

    /// A classic client goes on by one step.
    fn drive(&mut self, at: usize) {
        let client = self.classic[at].clone();
        match client.step {
            Step::ToJoin => {
                let connection = self.harness.connect();
                self.classic[at].step = Step::Joining(connection);
                if let Some(answer) = self.harness.send(connection, 1, 9, client.join_request()) {
                    self.joined(at, answer);
                }
            }
            Step::Joining(connection) => {
                if let Some(answer) = self.harness.answer::<JoinGroupRequest>(connection, 9) {
                    self.joined(at, answer);
                }
            }
            Step::Syncing(connection) => {
                if let Some(answer) = self.harness.answer::<SyncGroupRequest>(connection, 5) {
                    self.synced(at, answer);
                }
            }
            Step::Member => self.beat(at),
        }
        self.check();
    }

    fn joined(&mut self, at: usize, answer: JoinGroupResponse) {
        let client = &mut self.classic[at];
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::MEMBER_ID_REQUIRED => {
                (client.id, client.step) = (answer.member_id, Step::ToJoin);
                return;
            }
            ErrorCode::REBALANCE_IN_PROGRESS => return client.rejoin(),
            ErrorCode::UNKNOWN_MEMBER_ID => {
                client.id.clear();
                return client.lose();
            }
            code => panic!("{code:?} to {client:?}"),
        }
        (client.id, client.generation) = (answer.member_id, answer.generation_id);
        client.protocol = answer.protocol_name.unwrap_or_default();
        let leads = answer.leader == client.id && !answer.members.is_empty();
        let assignments = if leads { assigned(&answer.members) } else { Vec::new() };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            group_instance_id: client.instance_id.clone(),
            generation_id: client.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(client.protocol.clone()),
            assignments,
        };
        let connection = self.harness.connect();
        self.classic[at].step = Step::Syncing(connection);
        if let Some(answer) = self.harness.send(connection, 1, 5, request) {
            self.synced(at, answer);
        }
    }

    fn synced(&mut self, at: usize, answer: SyncGroupResponse) {
        let client = &mut self.classic[at];
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::REBALANCE_IN_PROGRESS => return client.rejoin(),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => return self.failed(at, answer.error_code),
            code => panic!("{code:?} to {client:?}"),
        }
        client.step = Step::Member;
        let new = numbers(answer.assignment);
        if client.owned.iter().all(|number| new.contains(number)) {
            client.owned = new;
        } else {
            // It gives up first, and joins again.
            client.owned.retain(|number| new.contains(number));
            client.step = Step::ToJoin;
        }
    }

    fn failed(&mut self, at: usize, code: i16) {
        if ErrorCode(code) == ErrorCode::UNKNOWN_MEMBER_ID {
            self.classic[at].id.clear();
        }
        self.classic[at].lose();
    }

    fn beat(&mut self, at: usize) {
        let client = &mut self.classic[at];
        let request = HeartbeatRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            group_instance_id: client.instance_id.clone(),
            generation_id: client.generation,
        };
        match ErrorCode(self.harness.call(1, 4, request).error_code) {
            ErrorCode::NONE => {}
            ErrorCode::REBALANCE_IN_PROGRESS => client.rejoin(),
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::ILLEGAL_GENERATION => {
                let code = ErrorCode::UNKNOWN_MEMBER_ID.0;
                self.failed(at, code);
            }
            code => panic!("{code:?} to {client:?}"),
        }
    }

    fn beat_consumer(&mut self, at: usize) {
        let request = self.consumers[at].request();
        let answer = self.harness.call(1, 1, request);
        let code = ErrorCode(answer.error_code);
        let message = answer.error_message.clone().unwrap_or_default();
        let answer = if code == ErrorCode::NONE { Ok(answer) } else { Err(Refusal::new(code, message)) };
        self.consumers[at].answer(answer);
        self.check();
        self.consumers[at].step();
        self.check();
    }

    fn leave(&mut self, client: &Classic) -> i16 {
        let (member_id, group_instance_id) = (client.id.clone(), client.instance_id.clone());
        let members = vec![MemberIdentity { member_id, group_instance_id, ..Default::default() }];
        let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
        self.harness.call(1, 5, request).members[0].error_code
    }

    fn consumer_leaves(&mut self, at: usize) {
        let request = self.consumers.remove(at).leave(LEAVE);
        self.harness.call(1, 1, request);
    }

    fn held(&self) -> Vec<i32> {
        let of_consumers = self.consumers.iter().flat_map(|client| client.owned.values().flatten());
        let mut held: Vec<i32> =
            self.classic.iter().flat_map(|client| &client.owned).chain(of_consumers).copied().collect();
        held.sort_unstable();
        held
    }

    /// No partition is with two members.
    fn check(&self) {
        let held = self.held();
        let twice = held.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!twice, "{held:?}\n{:#?}\n{:#?}", self.classic, self.consumers);
    }

    fn round(&mut self) {
        (0..self.classic.len()).for_each(|at| self.drive(at));
        (0..self.consumers.len()).for_each(|at| self.beat_consumer(at));
        self.harness.pass(Duration::from_millis(500));
    }

    /// Everybody goes on until every partition is with somebody, and nobody wants anything.
    fn settle(&mut self) {
        for round in 0.. {
            self.round();
            let at_rest = self.classic.iter().all(|client| client.step == Step::Member)
                && self.consumers.iter().all(|client| client.wanted.as_ref() == Some(&client.owned));
            if at_rest && self.group_state() == "Stable" && self.held().len() == PARTITIONS as usize {
                return;
            }
            assert!(round < 300, "no end: {}\n{:#?}\n{:#?}", self.group_state(), self.classic, self.consumers);
        }
    }
}

/// The leader's assignment. What a member still has is given to nobody else in this generation.
fn assigned(members: &[join_group::JoinGroupResponseMember]) -> Vec<SyncGroupRequestAssignment> {
    let owned = |member: &join_group::JoinGroupResponseMember| {
        let mut reader = Reader::new(member.metadata.clone());
        let version = reader.i16().unwrap();
        let said = ConsumerProtocolSubscription::decode(&mut reader, version).unwrap();
        said.owned_partitions.into_iter().flat_map(|topic| topic.partitions).collect::<Vec<i32>>()
    };
    let owners: BTreeMap<i32, usize> = members
        .iter()
        .enumerate()
        .flat_map(|(at, member)| owned(member).into_iter().map(move |number| (number, at)))
        .collect();
    let given = |at: usize| {
        let mine = |number: &i32| *number as usize % members.len() == at;
        (0..PARTITIONS).filter(mine).filter(|number| owners.get(number).is_none_or(|owner| *owner == at)).collect()
    };
    let assignment = |at: usize| {
        let topic = consumer_protocol_assignment::TopicPartition { topic: "t".into(), partitions: given(at) };
        let mut writer = Writer::new();
        writer.i16(3);
        ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None }
            .encode(&mut writer, 3)
            .unwrap();
        writer.into_bytes().into()
    };
    let one = |(at, member): (usize, &join_group::JoinGroupResponseMember)| SyncGroupRequestAssignment {
        member_id: member.member_id.clone(),
        assignment: assignment(at),
    };
    members.iter().enumerate().map(one).collect()
}

fn numbers(assignment: Bytes) -> Vec<i32> {
    let mut reader = Reader::new(assignment);
    let version = reader.i16().unwrap();
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).unwrap();
    assignment.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

#[test]
fn a_classic_group_is_upgraded_when_a_consumer_member_joins_and_downgraded_when_it_leaves() {
    for cooperative in [false, true] {
        let mut world = World::new(&[]);
        world.classic = vec![Classic::new(cooperative, None), Classic::new(cooperative, Some("i"))];
        world.settle();
        assert_eq!(world.kind(), "classic");
        let generation = world.classic[0].generation;
        world.consumer();
        world.beat_consumer(0);
        assert_eq!((world.kind(), world.consumers[0].epoch), ("consumer", generation + 1));
        assert!(world.consumers[0].owned.is_empty(), "the others have it all");
        world.settle();
        assert_eq!(world.consumers[0].owned.values().flatten().count(), 2);
        assert!(world.classic.iter().all(|client| client.generation == generation + 1));
        let describe = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
        let described = world.harness.call(1, 1, describe).groups.remove(0);
        let mut kinds: Vec<i8> = described.members.iter().map(|member| member.member_type).collect();
        kinds.sort_unstable();
        assert_eq!((described.error_code, kinds), (0, vec![0, 0, 1]));
        world.consumer_leaves(0);
        assert_eq!((world.kind(), world.group_state()), ("classic", "PreparingRebalance"));
        assert_eq!(world.harness.state.groups.classic("g").unwrap().generation, generation + 1, "it goes on counting");
        world.settle();
        assert_eq!(world.kind(), "classic");
        assert!(world.classic.iter().all(|client| client.generation >= generation + 2));
    }
}

#[test]
fn a_classic_member_joins_a_consumer_group_and_stays_in_it_when_the_others_have_time() {
    let mut world = World::new(&[]);
    world.consumer();
    world.consumer();
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.settle();
    assert_eq!((world.kind(), world.classic[0].owned.len()), ("consumer", 2));
    let client = world.classic.remove(0);
    assert_eq!(world.leave(&client), 0);
    assert_eq!(world.leave(&client), ErrorCode::UNKNOWN_MEMBER_ID.0);
    world.settle();
    assert_eq!(world.kind(), "consumer");
}

#[test]
fn what_is_parked_in_a_classic_group_is_answered_when_it_is_upgraded() {
    let mut world = World::new(&[]);
    world.classic.push(Classic::new(false, None));
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.drive(1);
    world.drive(1);
    assert!(matches!(world.classic[1].step, Step::Joining(_)), "it waits for the first");
    world.consumer();
    world.beat_consumer(0);
    world.drive(1);
    assert_eq!(world.classic[1].step, Step::ToJoin, "REBALANCE_IN_PROGRESS");
    world.settle();
    assert_eq!(world.kind(), "consumer");
}

#[test]
fn a_static_member_changes_its_protocol_both_ways_and_keeps_what_it_has() {
    let mut world = World::new(&[]);
    world.classic = vec![Classic::new(false, Some("i")), Classic::new(false, None)];
    world.settle();
    let generation = world.classic.remove(0).generation;
    world.consumer();
    world.consumers[0].instance_id = Some("i".into());
    world.beat_consumer(0);
    assert_eq!((world.kind(), world.consumers[0].epoch), ("consumer", generation), "nothing else has changed");
    world.settle();
    assert_eq!((world.kind(), world.consumers[0].owned.values().flatten().count()), ("consumer", 3));
    let generation = world.classic[0].generation;
    world.consumers.clear();
    world.classic.push(Classic::new(false, Some("i")));
    world.drive(1);
    assert_eq!((world.kind(), world.classic[1].owned.len()), ("classic", 3));
    world.settle();
    assert_eq!(world.classic[0].generation, generation, "nobody had to rebalance");
}

#[test]
fn classic_members_in_a_consumer_group_have_to_come_in_time() {
    let mut world = World::new(&[]);
    world.consumer();
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.settle();
    let member = |world: &World| {
        world.harness.state.groups.get("g").is_some_and(|group| match group {
            super::super::groups::Group::Consumer(group) => group.members.len() == 2,
            super::super::groups::Group::Classic(_) => false,
        })
    };
    for _ in 0..5 {
        world.harness.pass(Duration::from_millis(9_000));
        world.beat_consumer(0);
        world.drive(0);
    }
    assert!(member(&world), "heartbeats keep it");
    world.harness.pass(Duration::from_millis(9_999));
    assert!(member(&world));
    world.harness.pass(Duration::from_millis(1));
    assert!(!member(&world), "its own session timeout, not the group's");
}

#[test]
fn a_classic_member_that_is_told_to_join_and_only_sends_heartbeats_is_removed() {
    let mut world = World::new(&[]);
    world.consumer();
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.settle();
    world.consumer();
    world.beat_consumer(1);
    let client = world.classic.remove(0);
    let beat = |world: &mut World| {
        let (group_id, member_id, generation_id) = ("g".into(), client.id.clone(), client.generation);
        let request = HeartbeatRequest { group_id, member_id, generation_id, ..Default::default() };
        (0..world.consumers.len()).for_each(|at| world.beat_consumer(at));
        world.harness.call(1, 4, request).error_code
    };
    assert_eq!(beat(&mut world), ErrorCode::REBALANCE_IN_PROGRESS.0);
    for _ in 0..29 {
        world.harness.pass(Duration::from_secs(1));
        assert_eq!(beat(&mut world), ErrorCode::REBALANCE_IN_PROGRESS.0);
    }
    world.harness.pass(Duration::from_secs(1));
    assert_eq!(beat(&mut world), ErrorCode::UNKNOWN_MEMBER_ID.0, "the rebalance timeout");
    world.settle();
}

#[test]
fn groups_keep_to_their_kind_where_the_policy_says_so() {
    let refused = |world: &mut World| {
        let mut joining = Client::new("m", "t");
        let answer = world.harness.call(1, 1, joining.request());
        (ErrorCode(answer.error_code), answer.error_message.unwrap_or_default())
    };
    let mut world = World::new(&[("group.consumer.migration.policy", "downgrade")]);
    world.classic.push(Classic::new(false, None));
    world.settle();
    let disabled = "Cannot upgrade classic group g to consumer group because online upgrade is disabled.";
    assert_eq!(refused(&mut world), (ErrorCode::GROUP_ID_NOT_FOUND, disabled.to_owned()));
    world.settle();
    assert_eq!(world.kind(), "classic", "nothing has changed");

    let mut world = World::new(&[("group.consumer.migration.policy", "upgrade")]);
    world.classic.push(Classic::new(true, None));
    world.settle();
    world.consumer();
    world.settle();
    world.consumer_leaves(0);
    assert_eq!(world.kind(), "consumer", "it stays one, with classic members alone");
    // As in Kafka only one that joins gets them a new assignment.
    world.classic.push(Classic::new(true, None));
    world.settle();
    assert_eq!(world.kind(), "consumer");

    let mut world = World::new(&[("group.consumer.max.size", "1")]);
    world.classic = vec![Classic::new(false, None), Classic::new(false, None)];
    world.settle();
    assert!(refused(&mut world).1.ends_with("the group size exceeds the consumer group maximum size."));
}

#[test]
fn a_classic_member_of_a_consumer_group_is_asked_for_its_generation_and_its_protocol() {
    let mut world = World::new(&[]);
    world.consumer();
    world.settle();
    world.classic.push(Classic::new(false, None));
    world.settle();
    let client = world.classic[0].clone();
    let beat = |world: &mut World, member_id: &str, generation_id| {
        let (group_id, member_id) = ("g".into(), member_id.to_owned());
        world
            .harness
            .call(1, 4, HeartbeatRequest { group_id, member_id, generation_id, ..Default::default() })
            .error_code
    };
    assert_eq!(beat(&mut world, &client.id, client.generation), 0);
    assert_eq!(beat(&mut world, &client.id, client.generation + 1), ErrorCode::ILLEGAL_GENERATION.0);
    let epoch = world.consumers[0].epoch;
    assert_eq!(beat(&mut world, "m1", epoch), ErrorCode::UNKNOWN_MEMBER_ID.0, "not a classic member");
    let sync = |world: &mut World, name: &str| {
        let request = SyncGroupRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            generation_id: client.generation,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(name.into()),
            ..Default::default()
        };
        world.harness.call(1, 5, request).error_code
    };
    assert_eq!([sync(&mut world, "both"), sync(&mut world, "range")], [0, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0]);
    let mut join = Classic::new(false, None).join_request();
    join.protocols[0].name = "range".into();
    assert_eq!(world.harness.call(1, 9, join).error_code, ErrorCode::INCONSISTENT_GROUP_PROTOCOL.0);
    let mut join = Classic::new(false, None).join_request();
    (join.member_id, join.protocols[0].metadata) = ("x".into(), Bytes::from_static(b"?"));
    assert_eq!(world.harness.call(1, 9, join).error_code, -1, "what it says can't be read");
}

#[test]
fn whatever_members_of_both_protocols_do_no_partition_is_with_two_of_them_and_the_group_settles() {
    for seed in 0..120 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(&[("group.consumer.session.timeout.ms", "20000")]);
        for _ in 0..150 {
            let (classics, consumers) = (world.classic.len(), world.consumers.len());
            match random.u8(..16) {
                0 if classics < 4 => world.classic.push(Classic::new(random.bool(), None)),
                1 if consumers < 4 => world.consumer(),
                2 if classics > 0 => {
                    let client = world.classic.remove(random.usize(..classics));
                    world.leave(&client);
                }
                3 if consumers > 0 => world.consumer_leaves(random.usize(..consumers)),
                4 if classics > 0 => drop(world.classic.remove(random.usize(..classics))),
                5 if consumers > 0 => drop(world.consumers.remove(random.usize(..consumers))),
                6 => world.harness.pass(Duration::from_millis(random.u64(..2_000))),
                7..=11 if classics > 0 => world.drive(random.usize(..classics)),
                _ if consumers > 0 => world.beat_consumer(random.usize(..consumers)),
                _ => {}
            }
        }
        world.classic.push(Classic::new(seed % 2 == 0, None));
        world.settle();
        world.consumer();
        world.settle();
        assert_eq!(world.kind(), "consumer", "seed {seed}");
    }
}
