use super::*;
use crate::group::assignor::{Assignor, RangeAssignor};
use crate::group::subscription::encode_subscription;
use crate::protocol::messages::heartbeat::HeartbeatResponse;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::messages::leave_group::LeaveGroupResponse;
use crate::protocol::messages::sync_group::SyncGroupResponse;
use bytes::Bytes;
use std::collections::BTreeMap;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn config() -> MembershipConfig {
    MembershipConfig {
        group_id: "g".into(),
        group_instance_id: None,
        session_timeout: 6 * SECOND,
        rebalance_timeout: 10 * SECOND,
        heartbeat_interval: SECOND,
        request_timeout: 5 * SECOND,
        retry_backoff: (Duration::from_millis(100), SECOND),
    }
}

pub(super) fn protocols() -> Vec<GroupProtocol> {
    let metadata = encode_subscription(&["t".to_owned()], Bytes::new(), &Default::default()).unwrap();
    vec![GroupProtocol { name: "range".into(), metadata }]
}

/// A member with a clock, its driver's part played by the test.
struct Rig {
    membership: Membership,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: MembershipConfig) -> Self {
        let now = Instant::now();
        Self { membership: Membership::new(config, protocols(), now, || 0.5), now }
    }

    fn poll(&mut self) -> Action {
        self.membership.poll(self.now)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Polls over waits and connects until there is something else, for at most this long.
    fn next_within(&mut self, limit: Duration) -> Action {
        let end = self.now + limit;
        loop {
            match self.poll() {
                Action::Connect { deadline } => {
                    assert!(deadline > self.now);
                    self.membership.connected(self.now);
                }
                Action::Disconnect => {}
                Action::Wait { until: Some(until) } if until <= end => {
                    assert!(until > self.now, "waits for the past");
                    self.now = until;
                }
                other => return other,
            }
        }
    }

    fn request(&mut self) -> (u64, GroupRequest) {
        match self.next_within(30 * SECOND) {
            Action::Send { id, request, deadline } => {
                assert!(deadline > self.now);
                (id, request)
            }
            other => panic!("no request but {other:?}"),
        }
    }

    fn join(&mut self) -> (u64, JoinGroupRequest) {
        match self.request() {
            (id, GroupRequest::Join(request)) => (id, request),
            (_, other) => panic!("no join but {other:?}"),
        }
    }

    fn heartbeat(&mut self) -> u64 {
        match self.request() {
            (id, GroupRequest::Heartbeat(_)) => id,
            (_, other) => panic!("no heartbeat but {other:?}"),
        }
    }

    fn leave(&mut self) -> (u64, Leave) {
        match self.request() {
            (id, GroupRequest::Leave(leave)) => (id, leave),
            (_, other) => panic!("no leave but {other:?}"),
        }
    }

    fn answer(&mut self, id: u64, response: GroupResponse) {
        self.membership.handle_response(self.now, id, Ok(response));
    }

    fn join_code(&mut self, id: u64, code: ErrorCode, member_id: &str) {
        let response =
            JoinGroupResponse { error_code: code.0, member_id: member_id.into(), ..JoinGroupResponse::default() };
        self.answer(id, GroupResponse::Join(response));
    }

    fn heartbeat_code(&mut self, id: u64, code: ErrorCode) {
        self.answer(id, GroupResponse::Heartbeat(HeartbeatResponse { error_code: code.0, ..Default::default() }));
    }

    /// Joins as a follower of "leader" in this generation.
    fn joined(&mut self, id: u64, generation_id: i32) {
        let response = JoinGroupResponse {
            generation_id,
            member_id: "m".into(),
            leader: "leader".into(),
            protocol_name: Some("range".into()),
            ..Default::default()
        };
        self.answer(id, GroupResponse::Join(response));
    }

    fn sync_code(&mut self, code: ErrorCode) {
        let (id, GroupRequest::Sync(_)) = self.request() else { panic!("no sync") };
        let assignment =
            encode_assignments(&BTreeMap::from([("m".to_owned(), BTreeMap::from([("t".to_owned(), vec![0, 1])]))]));
        let assignment = assignment.unwrap()[0].assignment.clone();
        let response = SyncGroupResponse { error_code: code.0, assignment, ..Default::default() };
        self.answer(id, GroupResponse::Sync(response));
    }

    fn synced(&mut self) -> SessionStart {
        self.sync_code(ErrorCode::NONE);
        match self.next_within(SECOND / 2) {
            Action::StartSession(start) => start,
            other => panic!("no session but {other:?}"),
        }
    }

    fn stable(&mut self) -> SessionStart {
        let (id, _) = self.join();
        self.joined(id, 1);
        self.synced()
    }

    fn ends(&mut self) -> (EndCause, bool) {
        match self.next_within(30 * SECOND) {
            Action::EndSession { cause, lost } => (cause, lost),
            other => panic!("no end of the session but {other:?}"),
        }
    }

    fn done(&mut self) -> Result<()> {
        match self.next_within(60 * SECOND) {
            Action::Done(result) => result,
            other => panic!("not done but {other:?}"),
        }
    }
}

fn static_config() -> MembershipConfig {
    MembershipConfig { group_instance_id: Some("i".into()), ..config() }
}

#[test]
fn a_member_joins_syncs_beats_and_leaves() {
    let mut rig = Rig::new();
    let (id, join) = rig.join();
    assert_eq!((join.session_timeout_ms, join.rebalance_timeout_ms), (6000, 10_000));
    assert_eq!((join.protocol_type.as_str(), join.protocols[0].name.as_str()), ("consumer", "range"));
    rig.joined(id, 7);
    let start = rig.synced();
    assert_eq!((start.identity.generation_id, start.identity.member_id.as_str()), (7, "m"));
    assert_eq!((start.assignor.as_str(), &start.assignment["t"]), ("range", &vec![0, 1]));

    let synced = rig.now;
    for beat in 1..4 {
        let id = rig.heartbeat();
        assert_eq!(rig.now, synced + beat * SECOND);
        rig.heartbeat_code(id, ErrorCode::NONE);
    }
    rig.membership.stop(rig.now, rig.now + 5 * SECOND);
    assert_eq!(rig.ends(), (EndCause::Stopped, false));
    rig.membership.session_ended(rig.now);
    let (id, leave) = rig.leave();
    let modern = leave.clone().for_version(5);
    assert_eq!((modern.members[0].member_id.as_str(), modern.member_id.as_str()), ("m", ""));
    assert_eq!(modern.members[0].reason.as_deref(), Some("the consumer is being stopped"));
    let old = leave.for_version(2);
    assert_eq!((old.member_id.as_str(), old.members.len()), ("m", 0));
    rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
    rig.done().unwrap();
}

#[test]
fn the_leader_assigns_and_beats_while_it_does() {
    let mut rig = Rig::new();
    let (id, join) = rig.join();
    let metadata = join.protocols[0].metadata.clone();
    let member =
        |id: &str| JoinGroupResponseMember { member_id: id.into(), metadata: metadata.clone(), ..Default::default() };
    let response = JoinGroupResponse {
        generation_id: 3,
        member_id: "m".into(),
        leader: "m".into(),
        protocol_name: Some("range".into()),
        members: vec![member("m"), member("n")],
        ..Default::default()
    };
    rig.answer(id, GroupResponse::Join(response));
    let Action::Assign { generation_id: 3, assignor, members } = rig.poll() else { panic!() };
    assert_eq!((assignor.as_str(), members.len()), ("range", 2));
    let id = rig.heartbeat();
    // What brokers before 2.7 answer here must not end the generation.
    rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);

    let assignment = RangeAssignor.assign(&members, &BTreeMap::from([("t".to_owned(), 3)]));
    rig.membership.assigned(rig.now, 2, Ok(Default::default()));
    rig.membership.assigned(rig.now, 3, assignment);
    let (_, GroupRequest::Sync(sync)) = rig.request() else { panic!() };
    assert_eq!((sync.generation_id, sync.protocol_name.as_deref(), sync.assignments.len()), (3, Some("range"), 2));
}

#[test]
fn an_assignor_that_fails_ends_the_membership_with_its_error() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    let response = JoinGroupResponse {
        generation_id: 3,
        member_id: "m".into(),
        leader: "m".into(),
        protocol_name: Some("range".into()),
        ..Default::default()
    };
    rig.answer(id, GroupResponse::Join(response));
    assert!(matches!(rig.poll(), Action::Assign { .. }));
    rig.membership.assigned(rig.now, 3, Err(Error::new(ErrorKind::InvalidArgument, "no idea")));
    // The others must not wait for its assignment.
    let (id, _) = rig.leave();
    rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
    assert!(rig.done().unwrap_err().to_string().contains("no idea"));
}

#[test]
fn g2_coordinator_errors_are_waited_out_with_the_member_id_kept() {
    for code in
        [ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE]
    {
        let mut rig = Rig::new();
        let (id, _) = rig.join();
        rig.join_code(id, ErrorCode::MEMBER_ID_REQUIRED, "m");
        let began = rig.now;
        for _ in 0..6 {
            let (id, join) = rig.join();
            assert_eq!(join.member_id, "m", "{code}");
            rig.join_code(id, code, "");
        }
        // 0.1, 0.2, 0.4, 0.8, 1 s between six tries.
        assert_eq!(rig.now - began, Duration::from_millis(2500), "{code}");
        let (id, _) = rig.join();
        rig.joined(id, 1);
        rig.sync_code(code);
        let (id, join) = rig.join();
        assert_eq!(join.member_id, "m", "{code}");
        rig.joined(id, 2);
        rig.synced();
        let id = rig.heartbeat();
        rig.heartbeat_code(id, code);
        let elsewhere = code != ErrorCode::COORDINATOR_LOAD_IN_PROGRESS;
        assert_eq!(matches!(rig.poll(), Action::Disconnect), elsewhere, "{code}");
        // No end of the session: the next thing is the next heartbeat, after a short wait.
        let id = rig.heartbeat();
        rig.heartbeat_code(id, ErrorCode::NONE);
        rig.membership.stop(rig.now, rig.now + 5 * SECOND);
        assert_eq!(rig.ends(), (EndCause::Stopped, false), "{code}");
        rig.membership.session_ended(rig.now);
        for _ in 0..3 {
            let (id, leave) = rig.leave();
            assert_eq!(leave.member_id, "m", "{code}");
            let answer = LeaveGroupResponse { error_code: code.0, ..Default::default() };
            rig.answer(id, GroupResponse::Leave(answer));
        }
    }
}

#[test]
fn g5_the_fenced_static_member_stops_for_good_without_leaving() {
    let mut rig = Rig::with(static_config());
    rig.stable();
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(rig.ends(), (EndCause::Fenced, true));
    rig.membership.session_ended(rig.now);
    let error = rig.done().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Fenced, Some(ErrorCode::FENCED_INSTANCE_ID)));
    assert!(error.to_string().contains("\"i\""), "{error}");
}

#[test]
fn a_static_member_stops_without_leaving() {
    let mut rig = Rig::with(static_config());
    rig.stable();
    rig.membership.stop(rig.now, rig.now + 5 * SECOND);
    rig.ends();
    rig.membership.session_ended(rig.now);
    rig.done().unwrap();
}

#[test]
fn g6_the_member_id_survives_a_lost_answer_to_join() {
    let mut rig = Rig::new();
    let (id, join) = rig.join();
    assert_eq!(join.member_id, "");
    rig.join_code(id, ErrorCode::MEMBER_ID_REQUIRED, "m");
    let (id, join) = rig.join();
    assert_eq!(join.member_id, "m");
    rig.membership.handle_response(rig.now, id, Err(Error::new(ErrorKind::Network, "cut")));
    assert!(matches!(rig.poll(), Action::Disconnect));
    let (_, join) = rig.join();
    assert_eq!(join.member_id, "m");
    // Neither does silence make it a second member.
    rig.pass(16 * SECOND);
    let (_, join) = rig.join();
    assert_eq!(join.member_id, "m");
}

#[test]
fn a_coordinator_that_always_asks_for_a_member_id_is_not_asked_in_a_spin() {
    let mut rig = Rig::new();
    let began = rig.now;
    for round in 0..40 {
        let (id, _) = rig.join();
        rig.join_code(id, ErrorCode::MEMBER_ID_REQUIRED, &format!("m{round}"));
    }
    assert!(rig.now - began > 20 * SECOND);
    let mut rig = Rig::new();
    let began = rig.now;
    for round in 0..40 {
        let (id, _) = rig.join();
        rig.join_code(id, [ErrorCode::MEMBER_ID_REQUIRED, ErrorCode::UNKNOWN_MEMBER_ID][round % 2], "m");
    }
    assert!(rig.now - began > 20 * SECOND);
}

#[test]
fn g7_the_session_is_lost_once_and_the_member_joins_again() {
    for (code, cause, next_id) in [
        (ErrorCode::UNKNOWN_MEMBER_ID, EndCause::UnknownMember, ""),
        (ErrorCode::ILLEGAL_GENERATION, EndCause::IllegalGeneration, "m"),
    ] {
        for by_commit in [false, true] {
            let mut rig = Rig::new();
            let start = rig.stable();
            let id = rig.heartbeat();
            if by_commit {
                rig.membership.commit_refused(rig.now, &start.identity, code);
            } else {
                rig.heartbeat_code(id, code);
            }
            assert_eq!(rig.ends(), (cause, true));
            // The commit hears it too: nothing new.
            rig.membership.commit_refused(rig.now, &start.identity, code);
            rig.heartbeat_code(id, code);
            // Until the handlers are back there is neither a heartbeat nor a join.
            let next = rig.next_within(20 * SECOND);
            assert!(matches!(next, Action::Wait { .. }), "{next:?}");
            rig.membership.session_ended(rig.now);
            let (_, join) = rig.join();
            assert_eq!((join.member_id.as_str(), join.reason.as_deref()), (next_id, Some(cause.reason())));
        }
    }
}

#[test]
fn a_draining_session_can_still_be_lost() {
    let mut rig = Rig::new();
    rig.stable();
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(rig.ends(), (EndCause::Rebalance, false));
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(rig.ends(), (EndCause::UnknownMember, true));
}

#[test]
fn g8_answers_about_an_old_generation_say_nothing_about_the_new_one() {
    let mut rig = Rig::new();
    let old = rig.stable();
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);
    rig.ends();
    rig.membership.session_ended(rig.now);
    let (id_of_join, join) = rig.join();
    assert_eq!(join.reason.as_deref(), Some("the group is rebalancing"));
    rig.joined(id_of_join, 2);
    rig.synced();
    for code in [ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID] {
        rig.membership.commit_refused(rig.now, &old.identity, code);
        rig.heartbeat_code(id, code);
        rig.join_code(id_of_join, code, "");
    }
    rig.heartbeat();
    assert_eq!((rig.membership.generation_id(), rig.membership.member_id()), (2, "m"));
}

#[test]
fn g11_heartbeats_go_on_while_handlers_drain() {
    let mut rig = Rig::new();
    rig.stable();
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(rig.ends(), (EndCause::Rebalance, false));
    // The handlers take longer than the session timeout, and less than the rebalance timeout.
    for _ in 0..8 {
        let id = rig.heartbeat();
        rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);
    }
    rig.membership.session_ended(rig.now);
    let (_, join) = rig.join();
    assert_eq!(join.member_id, "m");
}

#[test]
fn g12_a_handler_that_overruns_the_rebalance_timeout_loses_the_session_and_the_member_leaves() {
    let mut rig = Rig::new();
    rig.stable();
    let stable = rig.now;
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS);
    rig.ends();
    loop {
        match rig.next_within(30 * SECOND) {
            Action::Send { id, .. } => rig.heartbeat_code(id, ErrorCode::REBALANCE_IN_PROGRESS),
            Action::EndSession { cause, lost } => {
                assert_eq!((cause, lost), (EndCause::HandlerOverran, true));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    // The rebalance may be as old as the last sign of none.
    assert_eq!(rig.now, stable + 10 * SECOND);
    let (id, leave) = rig.leave();
    assert!(leave.reason.contains("did not return"));
    rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
    assert!(matches!(rig.next_within(60 * SECOND), Action::Wait { until: None }));
    rig.membership.session_ended(rig.now);
    let (_, join) = rig.join();
    assert_eq!(join.member_id, "", "it left");
}

#[test]
fn g13_a_stop_is_over_by_its_deadline_though_a_handler_is_stuck() {
    let mut rig = Rig::new();
    rig.stable();
    let by = rig.now + 4 * SECOND;
    rig.membership.stop(rig.now, by);
    assert_eq!(rig.ends(), (EndCause::Stopped, false));
    let mut left = false;
    let result = loop {
        match rig.next_within(60 * SECOND) {
            Action::Send { id, request: GroupRequest::Heartbeat(_), .. } => rig.heartbeat_code(id, ErrorCode::NONE),
            Action::Send { id, request: GroupRequest::Leave(_), .. } => {
                left = true;
                rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
            }
            Action::EndSession { lost: true, .. } => {}
            Action::Done(result) => break result,
            other => panic!("{other:?}"),
        }
    };
    assert!(left && rig.now <= by);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn g15_a_stop_during_join_or_sync_leaves_over_a_new_connection() {
    for during_sync in [false, true] {
        let mut rig = Rig::new();
        let (id, _) = rig.join();
        rig.join_code(id, ErrorCode::MEMBER_ID_REQUIRED, "m");
        let (id, _) = rig.join();
        if during_sync {
            rig.joined(id, 1);
            let (_, GroupRequest::Sync(_)) = rig.request() else { panic!() };
        }
        let stopped = rig.now;
        rig.membership.stop(rig.now, rig.now + 5 * SECOND);
        assert!(matches!(rig.poll(), Action::Disconnect), "the coordinator holds back the answer");
        let (id, leave) = rig.leave();
        assert_eq!((rig.now, leave.member_id.as_str()), (stopped, "m"));
        rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
        rig.done().unwrap();
    }
}

#[test]
fn g15_a_stop_during_the_first_join_waits_for_the_member_that_it_may_make() {
    for answer in [true, false] {
        let mut rig = Rig::new();
        let (id, _) = rig.join();
        let by = rig.now + 5 * SECOND;
        rig.membership.stop(rig.now, by);
        assert!(matches!(rig.poll(), Action::Wait { until: Some(until) } if until <= by));
        if answer {
            rig.joined(id, 1);
            let (id, leave) = rig.leave();
            assert_eq!(leave.member_id, "m");
            rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
        }
        rig.done().unwrap();
        assert!(rig.now <= by);
    }
}

#[test]
fn g15_a_stop_before_anything_was_sent_is_done_at_once() {
    let mut rig = Rig::new();
    rig.membership.stop(rig.now, rig.now + 5 * SECOND);
    assert!(matches!(rig.poll(), Action::Done(Ok(()))));
}

#[test]
fn g16_a_stop_with_the_coordinator_gone_is_over_by_its_deadline() {
    let mut rig = Rig::new();
    rig.stable();
    let by = rig.now + 3 * SECOND;
    rig.membership.stop(rig.now, by);
    rig.ends();
    rig.membership.session_ended(rig.now);
    let (id, _) = rig.leave();
    rig.membership.handle_response(rig.now, id, Err(Error::new(ErrorKind::Network, "cut")));
    loop {
        match rig.poll() {
            Action::Connect { .. } => {
                rig.membership.connect_failed(rig.now, Error::new(ErrorKind::Network, "refused"));
            }
            Action::Disconnect => {}
            Action::Wait { until } => rig.now = until.unwrap(),
            Action::Done(result) => break result.unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert!(rig.now <= by);
}

#[test]
fn g19_refusals_are_final_and_name_the_limit() {
    for (code, words) in [
        (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "range"),
        (ErrorCode::GROUP_MAX_SIZE_REACHED, "group.max.size"),
        (ErrorCode::INVALID_SESSION_TIMEOUT, "6000 ms"),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, "READ"),
        (ErrorCode::INVALID_GROUP_ID, "\"g\""),
        (ErrorCode::FENCED_INSTANCE_ID, "took over"),
        (ErrorCode(9999), "refuses"),
    ] {
        let mut rig = Rig::new();
        let (id, _) = rig.join();
        rig.join_code(id, code, "");
        let error = rig.done().unwrap_err();
        assert_eq!(error.code(), Some(code));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_protocol_that_was_not_offered_is_refused_and_the_member_leaves() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    let response = JoinGroupResponse {
        generation_id: 1,
        member_id: "m".into(),
        protocol_name: Some("sticky".into()),
        ..Default::default()
    };
    rig.answer(id, GroupResponse::Join(response));
    let (id, _) = rig.leave();
    rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
    assert_eq!(rig.done().unwrap_err().code(), Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
}

#[test]
fn a_lost_permission_ends_the_session_in_order() {
    let mut rig = Rig::new();
    rig.stable();
    let id = rig.heartbeat();
    rig.heartbeat_code(id, ErrorCode::GROUP_AUTHORIZATION_FAILED);
    assert_eq!(rig.ends(), (EndCause::Failed, false));
    rig.membership.session_ended(rig.now);
    assert_eq!(rig.done().unwrap_err().kind(), ErrorKind::Authorization);
}

#[test]
fn an_error_of_the_connection_that_can_not_pass_is_final() {
    let mut rig = Rig::new();
    assert!(matches!(rig.poll(), Action::Connect { .. }));
    rig.membership.connect_failed(rig.now, Error::new(ErrorKind::Authentication, "wrong password"));
    assert_eq!(rig.done().unwrap_err().kind(), ErrorKind::Authentication);
}

#[test]
fn g1_the_session_outlives_a_move_of_the_coordinator_but_not_the_session_timeout() {
    let mut rig = Rig::new();
    rig.stable();
    let id = rig.heartbeat();
    let sent = rig.now;
    rig.heartbeat_code(id, ErrorCode::NONE);
    let id = rig.heartbeat();
    rig.membership.handle_response(rig.now, id, Err(Error::new(ErrorKind::Network, "cut")));
    let end = loop {
        match rig.poll() {
            Action::Connect { .. } => {
                rig.membership.connect_failed(rig.now, Error::new(ErrorKind::Network, "refused"));
            }
            Action::Disconnect => {}
            Action::Wait { until } => rig.now = until.unwrap(),
            other => break other,
        }
    };
    assert!(matches!(end, Action::EndSession { cause: EndCause::SessionTimeout, lost: true }), "{end:?}");
    assert_eq!(rig.now, sent + 6 * SECOND, "counted from the last heartbeat that was answered");
}

#[test]
fn the_session_is_counted_from_when_sync_was_sent() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    rig.joined(id, 1);
    let (id, GroupRequest::Sync(_)) = rig.request() else { panic!() };
    let sent = rig.now;
    rig.pass(SECOND / 2);
    rig.answer(id, GroupResponse::Sync(SyncGroupResponse::default()));
    rig.poll();
    rig.heartbeat();
    // No answer, and no connection after that.
    let end = loop {
        match rig.poll() {
            Action::Connect { .. } => {
                rig.membership.connect_failed(rig.now, Error::new(ErrorKind::Network, "refused"));
            }
            Action::Disconnect => {}
            Action::Wait { until } => rig.now = until.unwrap(),
            other => break other,
        }
    };
    assert!(matches!(end, Action::EndSession { cause: EndCause::SessionTimeout, lost: true }), "{end:?}");
    assert_eq!(rig.now, sent + 6 * SECOND);
}

#[test]
fn g4_after_a_long_stop_of_the_process_the_session_is_lost_before_anything_else() {
    let mut rig = Rig::new();
    rig.stable();
    rig.pass(7 * SECOND);
    assert!(matches!(rig.poll(), Action::EndSession { cause: EndCause::SessionTimeout, lost: true }));
}

#[test]
fn an_answer_to_sync_that_lay_here_for_long_is_checked_by_a_heartbeat_at_once() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    rig.joined(id, 1);
    let (id, GroupRequest::Sync(_)) = rig.request() else { panic!() };
    rig.pass(9 * SECOND);
    let now = rig.now;
    rig.answer(id, GroupResponse::Sync(SyncGroupResponse::default()));
    assert!(matches!(rig.poll(), Action::StartSession(start) if start.assignment.is_empty()));
    rig.heartbeat();
    assert_eq!(rig.now, now);
}

#[test]
fn a_changed_subscription_makes_the_member_join_again_with_it() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    // It changes while the old one is under way: the generation is not worth a session.
    rig.membership.set_protocols(vec![
        GroupProtocol { name: "roundrobin".into(), ..protocols().remove(0) },
        protocols().remove(0),
    ]);
    rig.membership.end_session(rig.now, EndCause::SubscriptionChanged);
    rig.joined(id, 1);
    rig.sync_code(ErrorCode::NONE);
    let (id, join) = rig.join();
    assert_eq!(join.protocols.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["roundrobin", "range"]);
    assert_eq!((join.member_id.as_str(), join.reason.as_deref()), ("m", Some("the subscription changed")));
    rig.joined(id, 2);
    rig.synced();
    // In a session it drains first.
    rig.membership.end_session(rig.now, EndCause::MetadataChanged);
    assert_eq!(rig.ends(), (EndCause::MetadataChanged, false));
    rig.heartbeat();
}

#[test]
fn a_session_that_ends_before_the_driver_heard_of_it_needs_no_end() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    rig.joined(id, 1);
    rig.sync_code(ErrorCode::NONE);
    rig.membership.stop(rig.now, rig.now + 5 * SECOND);
    let (id, _) = rig.leave();
    rig.answer(id, GroupResponse::Leave(LeaveGroupResponse::default()));
    rig.done().unwrap();
}

#[test]
fn an_answer_to_another_request_costs_the_connection() {
    let mut rig = Rig::new();
    let (id, _) = rig.join();
    rig.heartbeat_code(id, ErrorCode::NONE);
    assert!(matches!(rig.poll(), Action::Disconnect));
    rig.join();
}
