//! ConsumerGroupHeartbeat, versions 0 to 1 (KIP-848, KIP-1082): how members join, go on and leave.
//!
//! A classic group becomes a consumer group when a member of this protocol joins, see `migration`.

use super::super::coordinator::Coordinated;
use super::super::groups::Group;
use super::super::timers::Timer;
use super::super::{Context, Reply, State, Time};
use super::assignor::Assignor;
use super::group::{Surroundings, is_leave};
use super::limits::Limits;
use super::{Asker, ConsumerGroup, LEAVE, LEFT_FOR_NOW, Refusal};
use crate::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};

/// The feature by which a cluster has consumer groups (KIP-848).
const GROUP_VERSION: &str = "group.version";

impl State {
    pub(in crate::embedded::state) fn consumer_group_heartbeat(
        &mut self,
        context: &Context,
        request: ConsumerGroupHeartbeatRequest,
    ) -> Reply {
        if !self.has_consumer_groups(context.broker) {
            let error_code = ErrorCode::UNSUPPORTED_VERSION.0;
            return Reply::of(ConsumerGroupHeartbeatResponse { error_code, ..Default::default() });
        }
        let answer = self.heartbeat_answer(context, request);
        Reply::of(answer.unwrap_or_else(|refusal| ConsumerGroupHeartbeatResponse {
            error_code: refusal.code.0,
            error_message: Some(refusal.message),
            ..Default::default()
        }))
    }

    /// Whether a broker has groups of this protocol. From 3.7 to 3.9 it has their APIs, and by default not the groups.
    pub(super) fn has_consumer_groups(&self, broker: i32) -> bool {
        self.feature(broker, GROUP_VERSION) > 0
    }

    fn heartbeat_answer(
        &mut self,
        context: &Context,
        mut request: ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let limits = self.consumer_group_limits(&request.group_id);
        check(&request, context.version, &limits)?;
        let id = request.group_id.clone();
        self.check_coordinator(context, Coordinated::Group, &id)
            .map_err(|code| Refusal::new(code, "This is not the correct coordinator."))?;
        let around = Surroundings { topics: &self.topics, limits: &limits, now: context.now };
        if is_leave(&request) {
            let (answer, gone) = self.groups.consumer_mut(&id)?.leave(&request)?;
            if gone {
                self.fence_members(&id, &[request.member_id].into(), context.now);
            }
            return Ok(answer);
        }
        if request.member_id.is_empty() {
            // Only before version 1; since then members choose their ids themselves.
            request.member_id = super::super::uuid_text(super::super::uuid(&mut self.random));
        }
        let asker = Asker { client_id: &context.client_id, client_host: &context.client_host };
        let joins = request.member_epoch == 0;
        // A group is only made, and a classic one only given up, for a member that is accepted.
        let made = match self.groups.get(&id) {
            None if joins => Some(ConsumerGroup::default()),
            Some(Group::Classic(group)) if joins && group.is_empty() => Some(ConsumerGroup::default()),
            Some(Group::Classic(group)) if joins => Some(ConsumerGroup::of_classic(group, around)?),
            _ => None,
        };
        let Some(mut made) = made else {
            let answer = self.groups.consumer_mut(&id)?.heartbeat(&request, &asker, around)?;
            self.arm_member(&id, &request.member_id);
            return Ok(answer);
        };
        let answer = made.heartbeat(&request, &asker, around)?;
        let members: Vec<String> = made.members.keys().cloned().collect();
        self.upgrade(&id, made, context.now);
        members.iter().for_each(|member| self.arm_member(&id, member));
        Ok(answer)
    }

    /// A member's session or its time to give partitions up may be over.
    pub(in crate::embedded::state) fn consumer_group_member_due(&mut self, group: String, member: String, at: Time) {
        // Where nobody coordinates a group nobody minds its time. All sessions begin anew with the next coordinator.
        if self.coordinator(Coordinated::Group, &group).is_err() {
            return;
        }
        let Ok(consumer) = self.groups.consumer_mut(&group) else { return };
        if consumer.is_overdue(&member, at) {
            self.fence_members(&group, &[member].into(), at);
        } else {
            self.arm_member(&group, &member);
        }
    }
}

impl State {
    /// Another broker coordinates the group now: it gives every member its time anew.
    pub(in crate::embedded::state) fn consumer_group_moved(&mut self, id: &str) {
        let limits = self.consumer_group_limits(id);
        let around = Surroundings { topics: &self.topics, limits: &limits, now: self.now };
        let Ok(group) = self.groups.consumer_mut(id) else { return };
        for (member, at) in group.moved(around) {
            self.timers.set(at, Timer::ConsumerGroupMember { group: id.to_owned(), member });
        }
    }
}

/// What can be said of a request without knowing the group.
fn check(request: &ConsumerGroupHeartbeatRequest, version: i16, limits: &Limits) -> Result<(), Refusal> {
    let invalid = |text: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, text));
    let epoch = request.member_epoch;
    let is_blank = |text: &str| text.trim().is_empty();
    if (version >= 1 || epoch > 0 || epoch == LEAVE) && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(is_blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(is_blank) {
        return invalid("RackId can't be empty.");
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.");
        }
    }
    if epoch == LEFT_FOR_NOW && request.instance_id.is_none() {
        return invalid("InstanceId can't be null.");
    }
    if epoch < LEFT_FOR_NOW {
        return invalid("MemberEpoch is invalid.");
    }
    let offered = |name: &str| limits.assignors.iter().any(|assignor| assignor.name() == name);
    match request.server_assignor.as_deref() {
        Some(name) if !offered(name) => {
            let names: Vec<&str> = limits.assignors.iter().copied().map(Assignor::name).collect();
            let names = names.join(", ");
            let text = format!("ServerAssignor {name} is not supported. Supported assignors: {names}.");
            Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, text))
        }
        _ => Ok(()),
    }
}

/// The group of a heartbeat that does not make one.
impl super::super::groups::Groups {
    pub(super) fn consumer_mut(&mut self, id: &str) -> Result<&mut ConsumerGroup, Refusal> {
        let missing = |text: String| Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, text));
        match self.get_mut(id) {
            Some(Group::Consumer(group)) => Ok(group),
            Some(_) => missing(format!("Group {id} is not a consumer group.")),
            None => missing(format!("Group {id} not found.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::groups::classic::ClassicGroup;
    use super::super::super::release;
    use super::super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::consumer_group_describe::ConsumerGroupDescribeRequest;
    use crate::protocol::messages::consumer_group_heartbeat::RequestTopicPartitions;
    use crate::protocol::messages::describe_groups::DescribeGroupsRequest;
    use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
    use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
    use crate::protocol::messages::list_groups::ListGroupsRequest;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// The epoch of the first member of a group.
    const FIRST: i32 = 2;

    fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        }
    }

    fn going_on(member: &str, member_epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let (group_id, member_id) = ("g".into(), member.into());
        ConsumerGroupHeartbeatRequest { group_id, member_id, member_epoch, ..Default::default() }
    }

    fn harness(settings: &[(&str, &str)]) -> Harness {
        let mut harness = Harness::with(1, settings);
        harness.state.create_topic("t", 2, 1, BTreeMap::new()).unwrap();
        let coordinator_keys = vec!["g".into()];
        harness.call(1, 4, FindCoordinatorRequest { coordinator_keys, ..Default::default() });
        harness
    }

    /// The code, and whether a text says more.
    fn refused(harness: &mut Harness, version: i16, request: ConsumerGroupHeartbeatRequest) -> ErrorCode {
        let answer = harness.call(1, version, request);
        assert_eq!(answer.error_message.is_some(), answer.error_code != 0);
        ErrorCode(answer.error_code)
    }

    #[test]
    fn a_member_joins_is_assigned_and_leaves() {
        let mut harness = harness(&[("group.consumer.heartbeat.interval.ms", "700")]);
        let answer = harness.call(1, 1, joining("m"));
        assert_eq!((answer.error_code, answer.member_epoch, answer.heartbeat_interval_ms), (0, FIRST, 700));
        assert_eq!(answer.member_id.as_deref(), Some("m"));
        assert_eq!(answer.assignment.unwrap().topic_partitions[0].partitions, [0, 1]);
        let answer = harness.call(1, 1, going_on("m", FIRST));
        assert_eq!((answer.member_epoch, answer.assignment), (FIRST, None), "only what has changed is told");
        let answer = harness.call(1, 1, going_on("m", LEAVE));
        assert_eq!((answer.error_code, answer.member_epoch), (0, LEAVE));
        assert_eq!(harness.state.groups.get("g").unwrap().state_name(), "Empty");
        assert_eq!(refused(&mut harness, 1, going_on("m", FIRST)), ErrorCode::UNKNOWN_MEMBER_ID);
    }

    #[test]
    fn before_version_1_the_broker_gives_member_ids() {
        let mut harness = harness(&[]);
        let answer = harness.call(1, 0, joining(""));
        assert_eq!(answer.member_id.map(|id| id.len()), Some(22));
        assert_eq!(refused(&mut harness, 1, joining("")), ErrorCode::INVALID_REQUEST);
    }

    #[test]
    fn a_first_request_that_is_not_whole_is_refused_and_makes_no_group() {
        let mut harness = harness(&[("group.consumer.max.size", "1")]);
        let cases = [
            (ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..joining("m") }, ErrorCode::INVALID_REQUEST),
            (ConsumerGroupHeartbeatRequest { topic_partitions: None, ..joining("m") }, ErrorCode::INVALID_REQUEST),
            (
                ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..joining("m") },
                ErrorCode::INVALID_REQUEST,
            ),
            (ConsumerGroupHeartbeatRequest { rack_id: Some(" ".into()), ..joining("m") }, ErrorCode::INVALID_REQUEST),
            (
                ConsumerGroupHeartbeatRequest { instance_id: Some(String::new()), ..joining("m") },
                ErrorCode::INVALID_REQUEST,
            ),
            (going_on("m", LEFT_FOR_NOW), ErrorCode::INVALID_REQUEST),
            (going_on("m", -3), ErrorCode::INVALID_REQUEST),
            (
                ConsumerGroupHeartbeatRequest { server_assignor: Some("sticky".into()), ..joining("m") },
                ErrorCode::UNSUPPORTED_ASSIGNOR,
            ),
            (
                ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..joining("m") },
                ErrorCode::INVALID_REGULAR_EXPRESSION,
            ),
            (going_on("m", 1), ErrorCode::GROUP_ID_NOT_FOUND),
            (going_on("m", LEAVE), ErrorCode::GROUP_ID_NOT_FOUND),
        ];
        for (request, code) in cases {
            assert_eq!(refused(&mut harness, 1, request.clone()), code, "{request:?}");
            assert!(harness.state.groups.get("g").is_none(), "{request:?}");
        }
        assert_eq!(refused(&mut harness, 1, joining("m")), ErrorCode::NONE);
        assert_eq!(refused(&mut harness, 1, joining("n")), ErrorCode::GROUP_MAX_SIZE_REACHED);
        assert_eq!(refused(&mut harness, 1, joining("m")), ErrorCode::NONE, "it is in the group");
    }

    #[test]
    fn a_wrong_epoch_is_fenced_but_for_the_one_before_whose_answer_may_be_lost() {
        let mut harness = harness(&[]);
        harness.call(1, 1, joining("m"));
        assert_eq!(refused(&mut harness, 1, going_on("m", FIRST + 1)), ErrorCode::FENCED_MEMBER_EPOCH);
        let more = ConsumerGroupHeartbeatRequest {
            member_epoch: FIRST,
            subscribed_topic_names: Some(vec!["t".into(), "u".into()]),
            topic_partitions: Some(Vec::new()),
            ..joining("m")
        };
        assert_eq!(harness.call(1, 1, more.clone()).member_epoch, FIRST + 1);
        assert_eq!(harness.call(1, 1, more.clone()).member_epoch, FIRST + 1, "the answer was lost");
        let foreign = RequestTopicPartitions { topic_id: [9; 16], partitions: vec![0] };
        let has_more = ConsumerGroupHeartbeatRequest { topic_partitions: Some(vec![foreign]), ..more };
        assert_eq!(refused(&mut harness, 1, has_more), ErrorCode::FENCED_MEMBER_EPOCH);
        assert_eq!(refused(&mut harness, 1, going_on("m", FIRST)), ErrorCode::FENCED_MEMBER_EPOCH);
        assert_eq!(refused(&mut harness, 1, joining("m")), ErrorCode::NONE, "it starts again");
    }

    #[test]
    fn an_instance_id_has_one_member() {
        let mut harness = harness(&[]);
        let named = |id: &str, member_epoch| ConsumerGroupHeartbeatRequest {
            instance_id: Some("i".into()),
            member_epoch,
            ..joining(id)
        };
        assert_eq!(refused(&mut harness, 1, named("m", 0)), ErrorCode::NONE);
        assert_eq!(refused(&mut harness, 1, named("n", 0)), ErrorCode::UNRELEASED_INSTANCE_ID);
        assert_eq!(refused(&mut harness, 1, named("n", 1)), ErrorCode::FENCED_INSTANCE_ID);
        assert_eq!(refused(&mut harness, 1, named("m", LEFT_FOR_NOW)), ErrorCode::NONE);
        assert_eq!(refused(&mut harness, 1, named("n", 0)), ErrorCode::NONE);
        assert_eq!(refused(&mut harness, 1, named("m", 1)), ErrorCode::FENCED_INSTANCE_ID);
        let other = ConsumerGroupHeartbeatRequest { instance_id: Some("j".into()), ..going_on("n", 1) };
        assert_eq!(refused(&mut harness, 1, other), ErrorCode::UNKNOWN_MEMBER_ID);
    }

    #[test]
    fn sessions_end_by_the_clock_of_the_cluster() {
        let mut harness = harness(&[("group.consumer.session.timeout.ms", "10000")]);
        harness.call(1, 1, joining("m"));
        harness.pass(Duration::from_secs(6));
        harness.call(1, 1, going_on("m", FIRST));
        harness.pass(Duration::from_secs(9));
        assert_eq!(harness.state.groups.get("g").unwrap().state_name(), "Stable");
        harness.pass(Duration::from_secs(1));
        assert_eq!(harness.state.groups.get("g").unwrap().state_name(), "Empty");
    }

    #[test]
    fn a_classic_group_is_taken_over_when_it_is_empty() {
        let mut harness = harness(&[]);
        harness.state.groups.insert("g", Group::Classic(ClassicGroup::new("g", Duration::ZERO)));
        assert_eq!(refused(&mut harness, 1, going_on("m", 1)), ErrorCode::GROUP_ID_NOT_FOUND);
        assert_eq!(refused(&mut harness, 1, joining("m")), ErrorCode::NONE);
        assert_eq!(harness.state.groups.get("g").unwrap().type_name(), "consumer");
    }

    #[test]
    fn a_consumer_group_takes_no_other_kind_of_members_and_is_a_classic_one_once_it_is_empty() {
        let mut harness = harness(&[]);
        harness.call(1, 1, joining("m"));
        let join = || JoinGroupRequest {
            group_id: "g".into(),
            protocol_type: "connect".into(),
            session_timeout_ms: 10_000,
            protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
            ..Default::default()
        };
        assert_eq!(ErrorCode(harness.call(1, 5, join()).error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        harness.call(1, 1, going_on("m", LEAVE));
        assert_eq!(ErrorCode(harness.call(1, 5, join()).error_code), ErrorCode::MEMBER_ID_REQUIRED);
        assert_eq!(harness.state.groups.get("g").unwrap().type_name(), "classic");
    }

    #[test]
    fn members_have_their_time_anew_when_another_broker_coordinates() {
        let mut harness = Harness::with(2, &[("group.consumer.session.timeout.ms", "10000")]);
        harness.state.create_topic("t", 2, 1, BTreeMap::new()).unwrap();
        let find = || FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
        harness.call(1, 4, find());
        let first = harness.call(1, 4, find()).coordinators[0].node_id;
        harness.state.take_answers();
        harness.call(first, 1, joining("m"));
        harness.pass(Duration::from_secs(9));
        harness.state.broker_stopped(first);
        harness.state.take_answers();
        harness.pass(Duration::from_secs(9));
        assert!(!harness.state.groups.get("g").unwrap().is_empty());
        harness.pass(Duration::from_secs(1));
        assert!(harness.state.groups.get("g").unwrap().is_empty());
    }

    #[test]
    fn a_broker_that_is_too_old_for_these_groups_offers_the_api_and_says_that_it_is() {
        let mut harness = harness(&[]);
        for (version, code) in [("3.7", 35), ("3.9", 35), ("4.0", 0)] {
            harness.state.set_release(1, release(version).unwrap());
            assert_eq!(harness.call(1, 0, joining("")).error_code, code, "{version}");
            if version != "3.7" {
                let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
                assert_eq!(harness.call(1, 0, request).groups[0].error_code, code, "{version}");
            }
        }
    }

    #[test]
    fn a_group_is_listed_with_its_type_and_is_no_classic_one() {
        let mut harness = harness(&[]);
        harness.call(1, 1, joining("m"));
        let listed = harness.call(1, 5, ListGroupsRequest::default()).groups.remove(0);
        assert_eq!(
            (&*listed.group_type, &*listed.group_state, &*listed.protocol_type),
            ("consumer", "Stable", "consumer")
        );
        let describe = || DescribeGroupsRequest { groups: vec!["g".into()], ..Default::default() };
        let described = harness.call(1, 6, describe()).groups.remove(0);
        assert_eq!((described.error_code, &*described.group_state), (69, "Dead"));
        assert_eq!(described.error_message.as_deref(), Some("Group g is not a classic group."));
        assert_eq!(harness.call(1, 5, describe()).groups[0].error_code, 0);
    }

    #[test]
    fn only_the_coordinator_answers() {
        let mut harness = Harness::new(1);
        assert_eq!(refused(&mut harness, 1, joining("m")), ErrorCode::NOT_COORDINATOR);
        let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
        assert_eq!(harness.call(1, 1, request).groups[0].error_code, ErrorCode::NOT_COORDINATOR.0);
    }

    #[test]
    fn a_group_is_described_with_what_its_members_have_and_are_to_have() {
        let mut harness = harness(&[]);
        harness.call(1, 1, joining("m"));
        harness.call(
            1,
            1,
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("t.*".into()), ..joining("n") },
        );
        let group_ids = vec!["g".into(), "absent".into(), String::new()];
        let groups =
            harness.call(1, 1, ConsumerGroupDescribeRequest { group_ids, include_authorized_operations: true });
        let [group, absent, unnamed] = &groups.groups[..] else { panic!("{groups:?}") };
        assert_eq!((absent.error_code, unnamed.error_code), (69, 24));
        assert_eq!(
            (&*group.group_state, group.group_epoch, group.assignment_epoch),
            ("Reconciling", FIRST + 1, FIRST + 1)
        );
        assert_eq!((&*group.assignor_name, group.authorized_operations), ("uniform", 3400));
        let [m, n] = &group.members[..] else { panic!("{group:?}") };
        assert_eq!((m.member_epoch, n.member_epoch, &*m.client_id), (FIRST, FIRST + 1, "test"));
        assert_eq!((n.subscribed_topic_regex.as_deref(), n.member_type), (Some("t.*"), 1));
        assert_eq!(m.assignment.topic_partitions[0].partitions, [0, 1], "it has not given up yet");
        assert_eq!(
            (m.target_assignment.topic_partitions[0].partitions.len(), n.assignment.topic_partitions.len()),
            (1, 0)
        );
        assert_eq!((&*n.target_assignment.topic_partitions[0].topic_name, &*m.client_host), ("t", "/127.0.0.1"));
    }
}
