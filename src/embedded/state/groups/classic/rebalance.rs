//! The rebalance of a classic group: from the first reason for it to the assignment, and who is removed on the way.

use super::group::InitialDelay;
use super::{ClassicGroup, ClassicState, Member};
use crate::ErrorCode;
use crate::embedded::state::Time;
use crate::embedded::state::groups::Turn;
use crate::embedded::state::groups::moves::GroupTimer;
use crate::protocol::messages::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use crate::protocol::messages::sync_group::SyncGroupResponse;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

impl ClassicGroup {
    /// Starts a rebalance, or goes on with one.
    pub(super) fn rebalance(&mut self, turn: &mut Turn<'_>, reason: &str) {
        match self.state {
            ClassicState::PreparingRebalance => self.maybe_complete_join(turn),
            _ => self.prepare_rebalance(turn, reason),
        }
    }

    pub(in crate::embedded) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>, reason: &str) {
        log::debug!("embedded group {}: rebalance after generation {}: {reason}", self.id, self.generation);
        if self.state == ClassicState::CompletingRebalance {
            self.assign(turn, &BTreeMap::new(), ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.unsynced.clear();
        self.sync_ends = None;
        let initial = self.is_empty();
        self.enter(ClassicState::PreparingRebalance, turn.now);
        if initial {
            let remaining = self.rebalance_timeout().saturating_sub(turn.initial_delay);
            self.delay_initial_rebalance(turn, turn.initial_delay, remaining);
        } else {
            self.complete_join_or_wait(turn);
        }
    }

    /// The first rebalance waits a while, so that members that start together are in one generation.
    fn delay_initial_rebalance(&mut self, turn: &mut Turn<'_>, delay: Duration, remaining: Duration) {
        self.member_added = false;
        if delay.is_zero() {
            self.complete_join(turn);
        } else {
            self.initial = Some(InitialDelay { delay, remaining });
            self.wait_for_joins(turn, delay);
        }
    }

    fn wait_for_joins(&mut self, turn: &mut Turn<'_>, time: Duration) {
        let ends = turn.now.saturating_add(time);
        self.join_ends = Some(ends);
        turn.remind(ends, GroupTimer::Join { group: self.id.clone() });
    }

    pub(super) fn complete_join_or_wait(&mut self, turn: &mut Turn<'_>) {
        if self.all_have_joined() {
            self.complete_join(turn);
        } else {
            self.wait_for_joins(turn, self.rebalance_timeout());
        }
    }

    /// Ends the wait for members if all have come, except the initial one, which goes by the clock.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        let preparing = self.state == ClassicState::PreparingRebalance;
        if preparing && self.initial.is_none() && self.all_have_joined() {
            self.complete_join(turn);
        }
    }

    /// The time for joining is over.
    pub(in crate::embedded) fn join_timer(&mut self, turn: &mut Turn<'_>) {
        if self.join_ends.is_none_or(|ends| ends > turn.now) {
            return;
        }
        match self.initial {
            Some(InitialDelay { delay, remaining }) if self.member_added && !remaining.is_zero() => {
                let next = turn.initial_delay.min(remaining);
                self.delay_initial_rebalance(turn, next, remaining.saturating_sub(delay));
            }
            _ => self.complete_join(turn),
        }
    }

    /// Begins the next generation with those who have joined. Static members stay even if they have not.
    pub(super) fn complete_join(&mut self, turn: &mut Turn<'_>) {
        (self.join_ends, self.initial) = (None, None);
        let absent = |member: &&Member| member.joining.is_none() && member.instance_id.is_none();
        let absent: Vec<String> = self.members.values().filter(absent).map(|member| member.id.clone()).collect();
        for id in absent {
            log::debug!("embedded group {}: {id} has not joined in time", self.id);
            self.remove(&id);
        }
        if !self.elect_joined_leader() && !self.members.is_empty() {
            // Static members alone, and none is there: their sessions will end.
            self.wait_for_joins(turn, self.rebalance_timeout());
            return;
        }
        self.generation = self.generation.saturating_add(1);
        self.unsynced.clear();
        self.protocol = self.select_protocol();
        self.topics = self.subscribed_topics();
        if self.members.is_empty() {
            self.enter(ClassicState::Empty, turn.now);
            self.store();
            return;
        }
        self.enter(ClassicState::CompletingRebalance, turn.now);
        self.answer_joins(turn);
        let ends = turn.now.saturating_add(self.rebalance_timeout());
        self.sync_ends = Some(ends);
        turn.remind(ends, GroupTimer::Sync { group: self.id.clone() });
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        self.unsynced = self.members.keys().cloned().collect();
        for id in self.unsynced.clone() {
            let response = self.joined_response(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            let session = member.session_timeout;
            if let Some(parked) = member.joining.take() {
                turn.answer_join(parked, response);
            }
            self.keep_session(turn, &id, session);
        }
    }

    /// What a member of the present generation is told when it has joined.
    pub(super) fn joined_response(&self, id: &str) -> JoinGroupResponse {
        let members = if self.is_leader(id) { self.described_members() } else { Vec::new() };
        JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.to_owned(),
            members,
            ..Default::default()
        }
    }

    fn described_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let described = |member: &Member| JoinGroupResponseMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(described).collect()
    }

    /// Makes a member that has joined the leader; false if nobody has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let next = self.members.values().find(|member| member.joining.is_some());
        let Some(next) = next.map(|member| member.id.clone()).filter(|_| self.leader.is_some()) else { return false };
        self.leader = Some(next);
        true
    }

    /// Gives the members their assignments, or an error, and answers those who wait for them.
    pub(super) fn assign(&mut self, turn: &mut Turn<'_>, assignments: &BTreeMap<String, Bytes>, code: ErrorCode) {
        let failed = code != ErrorCode::NONE;
        let mut waited = Vec::new();
        for member in self.members.values_mut() {
            member.assignment = assignments.get(&member.id).cloned().unwrap_or_default();
            let Some(parked) = member.syncing.take() else { continue };
            let response = SyncGroupResponse {
                error_code: code.0,
                protocol_type: self.protocol_type.clone().filter(|_| !failed),
                protocol_name: self.protocol.clone().filter(|_| !failed),
                assignment: member.assignment.clone(),
                ..Default::default()
            };
            turn.answer_sync(parked, response);
            waited.push((member.id.clone(), member.session_timeout));
        }
        for (id, session) in waited {
            self.keep_session(turn, &id, session);
        }
    }

    /// The time for syncing is over: those who have not are removed.
    pub(in crate::embedded) fn sync_timer(&mut self, turn: &mut Turn<'_>) {
        if self.sync_ends.is_none_or(|ends| ends > turn.now) {
            return;
        }
        self.sync_ends = None;
        let syncing = matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if !syncing || self.unsynced.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.unsynced) {
            self.remove(&id);
        }
        self.prepare_rebalance(turn, "members have not synced in time");
    }

    /// A member has been heard from: it has all its time again.
    pub(in crate::embedded) fn keep_session(&mut self, turn: &mut Turn<'_>, id: &str, timeout: Duration) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.session_ends = turn.now.saturating_add(timeout);
        Self::arm_session(turn, &self.id, member);
    }

    fn arm_session(turn: &mut Turn<'_>, group: &str, member: &mut Member) {
        if member.timer_at.is_none_or(|at| at > member.session_ends) {
            member.timer_at = Some(member.session_ends);
            let timer = GroupTimer::Session { group: group.to_owned(), member: member.id.clone() };
            turn.remind(member.session_ends, timer);
        }
    }

    /// A session may have ended.
    pub(in crate::embedded) fn session_timer(&mut self, turn: &mut Turn<'_>, id: &str, at: Time) {
        if self.pending.get(id).is_some_and(|ends| *ends <= turn.now) {
            self.remove(id);
            self.maybe_complete_join_without(turn);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if member.timer_at == Some(at) {
            member.timer_at = None;
        }
        if member.session_ends > turn.now {
            Self::arm_session(turn, &self.id, member);
        } else if member.is_new || (member.joining.is_none() && member.syncing.is_none()) {
            self.remove_member(turn, id);
            match self.state {
                ClassicState::PreparingRebalance => self.maybe_complete_join_without(turn),
                _ => self.rebalance(turn, "a member's session has ended"),
            }
        }
    }

    /// Goes on without someone who was waited for, in the initial rebalance as well.
    fn maybe_complete_join_without(&mut self, turn: &mut Turn<'_>) {
        if self.state == ClassicState::PreparingRebalance && self.all_have_joined() {
            self.complete_join(turn);
        }
    }

    /// Removes a member. If it waits to join it is told to begin anew.
    pub(super) fn remove_member(&mut self, turn: &mut Turn<'_>, id: &str) {
        log::debug!("embedded group {}: {id} is removed", self.id);
        let Some(removed) = self.remove(id) else { return };
        if let Some(parked) = removed.joining {
            let error_code = ErrorCode::UNKNOWN_MEMBER_ID.0;
            turn.answer_join(parked, JoinGroupResponse { error_code, ..Default::default() });
        }
        if let Some(parked) = removed.syncing {
            turn.answer_sync(parked, super::sync::failed(ErrorCode::UNKNOWN_MEMBER_ID));
        }
    }

    /// Another broker coordinates the group: what was parked is answered, and the group is what the offsets topic holds.
    pub(in crate::embedded) fn moved(&mut self, turn: &mut Turn<'_>) {
        self.turn_away(turn, ErrorCode::NOT_COORDINATOR);
        self.load(turn.now);
        self.keep_all_sessions(turn);
    }

    /// Answers whatever is parked with an error.
    pub(in crate::embedded) fn turn_away(&mut self, turn: &mut Turn<'_>, code: ErrorCode) {
        for member in self.members.values_mut() {
            if let Some(parked) = member.joining.take() {
                let (error_code, member_id) = (code.0, member.id.clone());
                turn.answer_join(parked, JoinGroupResponse { error_code, member_id, ..Default::default() });
            }
            if let Some(parked) = member.syncing.take() {
                turn.answer_sync(parked, super::sync::failed(code));
            }
        }
    }

    /// All members have their time anew.
    pub(in crate::embedded) fn keep_all_sessions(&mut self, turn: &mut Turn<'_>) {
        let sessions: Vec<_> =
            self.members.values().map(|member| (member.id.clone(), member.session_timeout)).collect();
        for (id, session) in sessions {
            self.keep_session(turn, &id, session);
        }
    }
}
