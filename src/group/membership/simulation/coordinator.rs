//! A group coordinator for the simulation: the rules of the classic protocol, without network or storage.

use crate::ErrorCode;
use crate::group::membership::{GroupRequest, GroupResponse};
use crate::group::offsets::Identity;
use crate::protocol::messages::heartbeat::HeartbeatResponse;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::messages::leave_group::LeaveGroupResponse;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Where an answer goes: connection and request.
pub(super) type ReplyTo = (u64, u64);

#[derive(Debug, Clone)]
struct Member {
    metadata: Bytes,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    expires: Instant,
    joining: Option<ReplyTo>,
    syncing: Option<ReplyTo>,
    assignment: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Preparing { by: Instant },
    Completing,
    Stable,
}

/// What survives a move of the coordinator: the group as of its last stable generation.
#[derive(Debug, Clone)]
struct Stored {
    generation: i32,
    leader: String,
    members: BTreeMap<String, Member>,
}

#[derive(Debug)]
pub(super) struct Coordinator {
    state: State,
    generation: i32,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Ids given out but not joined with yet, and when they expire.
    pending: BTreeMap<String, Instant>,
    named: u64,
    stored: Stored,
    /// The broker where the group lives, and since when it can be used.
    pub(super) home: usize,
    loading_until: Option<Instant>,
    pub(super) replies: Vec<(ReplyTo, GroupResponse)>,
}

impl Coordinator {
    pub(super) fn new() -> Self {
        Self {
            state: State::Empty,
            generation: 0,
            leader: String::new(),
            members: BTreeMap::new(),
            pending: BTreeMap::new(),
            named: 0,
            stored: Stored { generation: 0, leader: String::new(), members: BTreeMap::new() },
            home: 0,
            loading_until: None,
            replies: Vec::new(),
        }
    }

    pub(super) fn member_ids(&self) -> BTreeSet<String> {
        self.members.keys().cloned().collect()
    }

    /// Moves to the other broker, which reads for this long. What was not stored is forgotten, and who waits is sent
    /// away.
    pub(super) fn move_away(&mut self, now: Instant, loading: Duration) {
        for member in self.members.values_mut() {
            let code = ErrorCode::NOT_COORDINATOR;
            self.replies.extend(member.joining.take().map(|to| (to, join_error(code, ""))));
            self.replies.extend(member.syncing.take().map(|to| (to, sync_error(code))));
        }
        self.home = 1 - self.home;
        self.loading_until = Some(now + loading);
        self.pending.clear();
        let Stored { generation, leader, members } = self.stored.clone();
        (self.generation, self.leader, self.members) = (generation, leader, members);
        self.state = if self.members.is_empty() { State::Empty } else { State::Stable };
        for member in self.members.values_mut() {
            member.expires = now + loading + member.session_timeout;
        }
    }

    pub(super) fn handle(&mut self, now: Instant, broker: usize, to: ReplyTo, request: GroupRequest) {
        self.tick(now);
        if let Some(code) = self.unavailable(now, broker) {
            return self.replies.push((to, refusal(&request, code)));
        }
        match request {
            GroupRequest::Join(request) => self.join(now, to, request),
            GroupRequest::Sync(request) => self.sync(now, to, request),
            GroupRequest::Heartbeat(request) => {
                let code = self.heartbeat(now, &request.member_id, request.generation_id);
                self.replies.push((to, heartbeat(code)));
            }
            GroupRequest::Leave(leave) => {
                let request = leave.for_version(5);
                let id = &request.members[0].member_id;
                let known = self.members.contains_key(id) || self.pending.contains_key(id);
                self.remove(now, &id.clone());
                let code = if known { ErrorCode::NONE } else { ErrorCode::UNKNOWN_MEMBER_ID };
                self.replies.push((to, leave_answer(code)));
            }
        }
    }

    /// The code for a commit.
    pub(super) fn commit(&mut self, now: Instant, broker: usize, from: &Identity) -> ErrorCode {
        self.tick(now);
        if let Some(code) = self.unavailable(now, broker) {
            return code;
        }
        let completing = self.state == State::Completing;
        match self.members.get_mut(&from.member_id) {
            None => ErrorCode::UNKNOWN_MEMBER_ID,
            Some(_) if from.generation_id != self.generation => ErrorCode::ILLEGAL_GENERATION,
            Some(_) if completing => ErrorCode::REBALANCE_IN_PROGRESS,
            Some(member) => {
                member.expires = now + member.session_timeout;
                ErrorCode::NONE
            }
        }
    }

    fn unavailable(&self, now: Instant, broker: usize) -> Option<ErrorCode> {
        if broker != self.home {
            return Some(ErrorCode::NOT_COORDINATOR);
        }
        self.loading_until.filter(|until| now < *until).map(|_| ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)
    }

    /// Expires members and ends a rebalance whose time is up.
    pub(super) fn tick(&mut self, now: Instant) {
        self.pending.retain(|_, expires| now < *expires);
        let silent = |member: &Member| member.joining.is_none() && member.syncing.is_none() && member.expires <= now;
        let expired: Vec<_> = self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for id in expired {
            self.remove(now, &id);
        }
        if let State::Preparing { by } = self.state {
            if by <= now {
                self.members.retain(|_, member| member.joining.is_some());
                self.pending.clear();
            }
            self.complete_join(now);
        }
    }

    fn join(&mut self, now: Instant, to: ReplyTo, request: JoinGroupRequest) {
        let session_timeout = Duration::from_millis(request.session_timeout_ms as u64);
        let mut id = request.member_id.clone();
        if id.is_empty() {
            self.named += 1;
            id = format!("member-{}", self.named);
            self.pending.insert(id.clone(), now + session_timeout);
            return self.replies.push((to, join_error(ErrorCode::MEMBER_ID_REQUIRED, &id)));
        }
        let metadata = request.protocols[0].metadata.clone();
        let known = self.members.contains_key(&id);
        if !known && self.pending.remove(&id).is_none() {
            return self.replies.push((to, join_error(ErrorCode::UNKNOWN_MEMBER_ID, "")));
        }
        let in_generation = matches!(self.state, State::Completing | State::Stable);
        if known && in_generation && id != self.leader && self.members[&id].metadata == metadata {
            // A follower that has nothing new to say gets the generation that there is.
            return self.replies.push((to, self.join_answer(&id)));
        }
        let rebalance_timeout = Duration::from_millis(request.rebalance_timeout_ms as u64);
        let member = self.members.entry(id).or_insert_with(|| Member {
            metadata: Bytes::new(),
            session_timeout,
            rebalance_timeout,
            expires: now,
            joining: None,
            syncing: None,
            assignment: Bytes::new(),
        });
        member.metadata = metadata;
        member.joining = Some(to);
        self.prepare(now);
        self.complete_join(now);
    }

    fn prepare(&mut self, now: Instant) {
        if let State::Preparing { .. } = self.state {
            return;
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.state = State::Preparing { by: now + longest };
        for member in self.members.values_mut() {
            if let Some(to) = member.syncing.take() {
                member.expires = now + member.session_timeout;
                self.replies.push((to, sync_error(ErrorCode::REBALANCE_IN_PROGRESS)));
            }
        }
    }

    fn complete_join(&mut self, now: Instant) {
        let State::Preparing { .. } = self.state else { return };
        if !self.pending.is_empty() || self.members.values().any(|member| member.joining.is_none()) {
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.state = State::Empty;
            return self.store();
        }
        self.state = State::Completing;
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.join_answer(&id);
            let member = self.members.get_mut(&id).unwrap();
            member.expires = now + member.session_timeout;
            self.replies.extend(member.joining.take().map(|to| (to, answer)));
        }
    }

    fn join_answer(&self, id: &str) -> GroupResponse {
        let member = |(id, member): (&String, &Member)| JoinGroupResponseMember {
            member_id: id.clone(),
            metadata: member.metadata.clone(),
            ..Default::default()
        };
        let leads = self.leader == id;
        GroupResponse::Join(JoinGroupResponse {
            generation_id: self.generation,
            protocol_name: Some("range".into()),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members: if leads { self.members.iter().map(member).collect() } else { Vec::new() },
            ..Default::default()
        })
    }

    fn sync(&mut self, now: Instant, to: ReplyTo, request: SyncGroupRequest) {
        let (state, generation) = (self.state, self.generation);
        let Some(member) = self.members.get_mut(&request.member_id) else {
            return self.replies.push((to, sync_error(ErrorCode::UNKNOWN_MEMBER_ID)));
        };
        if request.generation_id != generation {
            return self.replies.push((to, sync_error(ErrorCode::ILLEGAL_GENERATION)));
        }
        match state {
            State::Empty => self.replies.push((to, sync_error(ErrorCode::UNKNOWN_MEMBER_ID))),
            State::Preparing { .. } => self.replies.push((to, sync_error(ErrorCode::REBALANCE_IN_PROGRESS))),
            State::Stable => {
                member.expires = now + member.session_timeout;
                let assignment = member.assignment.clone();
                let answer = SyncGroupResponse { assignment, ..Default::default() };
                self.replies.push((to, GroupResponse::Sync(answer)));
            }
            State::Completing => {
                member.syncing = Some(to);
                if request.member_id == self.leader {
                    self.assign(now, request);
                }
            }
        }
    }

    fn assign(&mut self, now: Instant, request: SyncGroupRequest) {
        let mut assignments: BTreeMap<_, _> =
            request.assignments.into_iter().map(|entry| (entry.member_id, entry.assignment)).collect();
        self.state = State::Stable;
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
            if let Some(to) = member.syncing.take() {
                let answer = SyncGroupResponse { assignment: member.assignment.clone(), ..Default::default() };
                self.replies.push((to, GroupResponse::Sync(answer)));
            }
            member.expires = now + member.session_timeout;
        }
        self.store();
    }

    fn store(&mut self) {
        self.stored =
            Stored { generation: self.generation, leader: self.leader.clone(), members: self.members.clone() };
    }

    fn heartbeat(&mut self, now: Instant, id: &str, generation: i32) -> ErrorCode {
        let preparing = matches!(self.state, State::Preparing { .. });
        match self.members.get_mut(id) {
            None => ErrorCode::UNKNOWN_MEMBER_ID,
            Some(_) if generation != self.generation => ErrorCode::ILLEGAL_GENERATION,
            Some(member) => {
                member.expires = now + member.session_timeout;
                if preparing { ErrorCode::REBALANCE_IN_PROGRESS } else { ErrorCode::NONE }
            }
        }
    }

    fn remove(&mut self, now: Instant, id: &str) {
        self.pending.remove(id);
        if let Some(member) = self.members.remove(id) {
            self.replies.extend(member.joining.map(|to| (to, join_error(ErrorCode::UNKNOWN_MEMBER_ID, ""))));
            self.replies.extend(member.syncing.map(|to| (to, sync_error(ErrorCode::UNKNOWN_MEMBER_ID))));
            self.prepare(now);
        }
        self.complete_join(now);
    }
}

fn refusal(request: &GroupRequest, code: ErrorCode) -> GroupResponse {
    match request {
        GroupRequest::Join(_) => join_error(code, ""),
        GroupRequest::Sync(_) => sync_error(code),
        GroupRequest::Heartbeat(_) => heartbeat(code),
        GroupRequest::Leave(_) => leave_answer(code),
    }
}

fn join_error(code: ErrorCode, member_id: &str) -> GroupResponse {
    let member_id = member_id.to_owned();
    GroupResponse::Join(JoinGroupResponse { error_code: code.0, member_id, ..Default::default() })
}

fn sync_error(code: ErrorCode) -> GroupResponse {
    GroupResponse::Sync(SyncGroupResponse { error_code: code.0, ..Default::default() })
}

fn heartbeat(code: ErrorCode) -> GroupResponse {
    GroupResponse::Heartbeat(HeartbeatResponse { error_code: code.0, ..Default::default() })
}

fn leave_answer(code: ErrorCode) -> GroupResponse {
    GroupResponse::Leave(LeaveGroupResponse { error_code: code.0, ..Default::default() })
}
