//! A cluster and a group "g" to be joined.

use crate::embedded::state::ConnectionId;
use crate::embedded::state::groups::ClassicGroup;
use crate::embedded::state::test_support::Harness;
use crate::protocol::messages::*;
use bytes::Bytes;
use std::time::Duration;

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const REBALANCE: Duration = Duration::from_secs(60);

/// Whoever joins: with or without a member id, an instance id, assignors of its own.
#[derive(Debug, Clone)]
pub(super) struct Joiner {
    pub(super) connection: ConnectionId,
    pub(super) request: JoinGroupRequest,
    pub(super) version: i16,
}

pub(super) struct Kit {
    pub(super) harness: Harness,
    /// The coordinator of "g".
    pub(super) broker: i32,
}

impl Kit {
    pub(super) fn new() -> Self {
        Self::with(&[])
    }

    pub(super) fn with(settings: &[(&str, &str)]) -> Self {
        let mut harness = Harness::with(2, settings);
        harness.state.create_topic("t", 4, 1, Default::default()).unwrap();
        let asking = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
        harness.call(1, 4, asking.clone());
        let broker = harness.call(1, 4, asking).coordinators[0].node_id;
        Self { harness, broker }
    }

    pub(super) fn joiner(&mut self) -> Joiner {
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE.as_millis() as i32,
            protocol_type: "consumer".into(),
            protocols: protocols(&[("range", b"m")]),
            ..Default::default()
        };
        Joiner { connection: self.harness.connect(), request, version: 9 }
    }

    pub(super) fn static_joiner(&mut self, instance_id: &str) -> Joiner {
        let mut joiner = self.joiner();
        joiner.request.group_instance_id = Some(instance_id.into());
        joiner
    }

    /// Joins; `None` if the request is parked.
    pub(super) fn join(&mut self, joiner: &Joiner) -> Option<JoinGroupResponse> {
        self.harness.send(joiner.connection, self.broker, joiner.version, joiner.request.clone())
    }

    /// Gets a member id.
    pub(super) fn identify(&mut self, joiner: &mut Joiner) {
        let response = self.join(joiner).unwrap();
        assert_eq!(response.error_code, 79, "MEMBER_ID_REQUIRED");
        joiner.request.member_id = response.member_id;
    }

    /// A new dynamic member that has sent its second JoinGroup.
    pub(super) fn joined(&mut self) -> (Joiner, Option<JoinGroupResponse>) {
        let mut joiner = self.joiner();
        self.identify(&mut joiner);
        let response = self.join(&joiner);
        (joiner, response)
    }

    /// A group of two whose follower waits for the leader's assignment: both, and the generation.
    pub(super) fn syncing(&mut self) -> (Joiner, Joiner, i32) {
        let (mut members, _) = self.stable(1);
        let (leader, (second, _)) = (members.remove(0), self.joined());
        let generation = self.join(&leader).unwrap().generation_id;
        self.join_answer(&second).unwrap();
        assert_eq!(self.sync(&second, generation, &[]), None);
        (leader, second, generation)
    }

    /// The answer to a parked JoinGroup.
    pub(super) fn join_answer(&mut self, joiner: &Joiner) -> Option<JoinGroupResponse> {
        self.harness.answer::<JoinGroupRequest>(joiner.connection, joiner.version)
    }

    pub(super) fn sync_answer(&mut self, joiner: &Joiner) -> Option<SyncGroupResponse> {
        self.harness.answer::<SyncGroupRequest>(joiner.connection, 5)
    }

    pub(super) fn sync(
        &mut self,
        joiner: &Joiner,
        generation: i32,
        assignments: &[(&str, &[u8])],
    ) -> Option<SyncGroupResponse> {
        let pair = |(id, assignment): &(&str, &[u8])| sync_group::SyncGroupRequestAssignment {
            member_id: (*id).to_owned(),
            assignment: Bytes::copy_from_slice(assignment),
        };
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: joiner.request.member_id.clone(),
            group_instance_id: joiner.request.group_instance_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments.iter().map(pair).collect(),
        };
        self.harness.send(joiner.connection, self.broker, 5, request)
    }

    pub(super) fn beat(&mut self, joiner: &Joiner, generation: i32) -> i16 {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: joiner.request.member_id.clone(),
            group_instance_id: joiner.request.group_instance_id.clone(),
        };
        self.harness.call(self.broker, 4, request).error_code
    }

    /// Leaves, each by member id and instance id.
    pub(super) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<i16> {
        let identity = |(id, instance_id): &(&str, Option<&str>)| leave_group::MemberIdentity {
            member_id: (*id).to_owned(),
            group_instance_id: instance_id.map(str::to_owned),
            ..Default::default()
        };
        let members = members.iter().map(identity).collect();
        let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
        let response = self.harness.call(self.broker, 5, request);
        assert_eq!(response.error_code, 0);
        response.members.iter().map(|member| member.error_code).collect()
    }

    /// A stable group of this many dynamic members, the leader first, and its generation.
    pub(super) fn stable(&mut self, members: usize) -> (Vec<Joiner>, i32) {
        let mut joiners = Vec::new();
        for _ in 0..members {
            let (joiner, response) = self.joined();
            joiners.push(joiner);
            if response.is_none() {
                // The others learn of the rebalance and join again.
                for other in joiners.iter().rev().skip(1) {
                    if let Some(response) = self.join(other) {
                        assert_eq!(response.error_code, 0);
                    }
                }
            }
            self.sync_all(&joiners);
        }
        let generation = self.group().generation;
        (joiners, generation)
    }

    /// Takes the answers to all JoinGroups and syncs everyone, the leader last.
    pub(super) fn sync_all(&mut self, joiners: &[Joiner]) {
        joiners.iter().for_each(|joiner| drop(self.join_answer(joiner)));
        let (generation, leader) = (self.group().generation, self.group().leader.clone().unwrap());
        let (leaders, followers): (Vec<_>, Vec<_>) =
            joiners.iter().partition(|joiner| joiner.request.member_id == leader);
        for joiner in followers.iter().chain(&leaders) {
            let ids: Vec<String> = joiners.iter().map(|joiner| joiner.request.member_id.clone()).collect();
            let assignments: Vec<(&str, &[u8])> = ids.iter().map(|id| (&**id, id.as_bytes())).collect();
            let synced = self.sync(joiner, generation, &assignments);
            assert_eq!(synced.is_some(), joiner.request.member_id == leader);
        }
        for joiner in followers {
            let synced = self.sync_answer(joiner).unwrap();
            assert_eq!((synced.error_code, &*synced.assignment), (0, joiner.request.member_id.as_bytes()));
        }
    }

    #[track_caller]
    pub(super) fn group(&self) -> &ClassicGroup {
        self.harness.state.groups.classic("g").unwrap()
    }

    #[track_caller]
    pub(super) fn state(&self) -> &'static str {
        self.group().state.name()
    }
}

/// Assignors with their metadata, as JoinGroup carries them.
pub(super) fn protocols(all: &[(&str, &[u8])]) -> Vec<join_group::JoinGroupRequestProtocol> {
    let protocol = |(name, metadata): &(&str, &[u8])| join_group::JoinGroupRequestProtocol {
        name: (*name).to_owned(),
        metadata: Bytes::copy_from_slice(metadata),
    };
    all.iter().map(protocol).collect()
}
