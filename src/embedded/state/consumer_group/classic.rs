//! Members of the classic protocol in a consumer group, and their JoinGroup, SyncGroup, Heartbeat and LeaveGroup.
//!
//! The coordinator assigns to them as to the others, and nobody waits for anybody: the member epoch is their generation,
//! JoinGroup and SyncGroup are answered at once, and a heartbeat tells them to join again when there is something to give up
//! or to take.

use super::super::groups::classic::{CONSUMER, leave};
use super::super::groups::millis;
use super::super::timers::Timer;
use super::super::{Context, Reply, State, Time, uuid, uuid_text};
use super::group::{Surroundings, pairs};
use super::limits::Limits;
use super::member::{ClassicPart, Member, MemberState};
use super::migration::{assignment, lists, subscription, with_ids};
use super::{Asker, ConsumerGroup};
use crate::ErrorCode;
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, MemberResponse};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use std::collections::BTreeSet;

/// What follows from a JoinGroup.
struct Joined {
    response: JoinGroupResponse,
    /// The group becomes a classic one of this generation, and rebalances or not.
    downgrade: Option<(i32, bool)>,
}

impl State {
    /// Whether a group is one for the requests in this file.
    pub(in crate::embedded::state) fn has_consumer_members(&self, id: &str) -> bool {
        self.groups.get(id).is_some_and(|group| group.type_name() == CONSUMER && !group.is_empty())
    }

    pub(in crate::embedded::state) fn join_consumer_group(
        &mut self,
        context: &Context,
        request: &JoinGroupRequest,
    ) -> Reply {
        let id = &*request.group_id;
        let new_id = uuid_text(uuid(&mut self.random));
        let limits = self.consumer_group_limits(id);
        let around = Surroundings { topics: &self.topics, limits: &limits, now: context.now };
        let asker = Asker { client_id: &context.client_id, client_host: &context.client_host };
        let group = self.groups.consumer_mut(id).map_err(|refusal| refusal.code);
        let joined = group.and_then(|group| group.join_classic(request, context.version, &new_id, &asker, around));
        let Joined { mut response, downgrade } = joined.unwrap_or_else(|code| {
            let response = JoinGroupResponse { error_code: code.0, protocol_name: None, ..Default::default() };
            Joined { response, downgrade: None }
        });
        if context.version < 7 {
            response.protocol_name.get_or_insert_default();
        }
        match downgrade {
            Some((generation, rebalance)) => {
                let reason = rebalance.then_some("the last member of the consumer protocol has changed to the other");
                self.downgrade(id, generation, reason, context.now);
            }
            None => self.arm_member(id, &response.member_id),
        }
        Reply::of(response)
    }

    pub(in crate::embedded::state) fn sync_consumer_group(
        &mut self,
        context: &Context,
        request: &SyncGroupRequest,
    ) -> Reply {
        let id = &*request.group_id;
        let Ok(group) = self.groups.consumer_mut(id) else { return Reply::Close };
        let limits = Limits::new(&self.settings);
        let around = Surroundings { topics: &self.topics, limits: &limits, now: context.now };
        let synced = group.sync_classic(request, around);
        self.arm_member(id, &request.member_id);
        Reply::of(synced.unwrap_or_else(|code| SyncGroupResponse { error_code: code.0, ..Default::default() }))
    }

    pub(in crate::embedded::state) fn heartbeat_to_consumer_group(
        &mut self,
        context: &Context,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let id = &*request.group_id;
        let group = self.groups.consumer_mut(id).map_err(|refusal| refusal.code)?;
        let beaten = group.heartbeat_classic(request, context.now);
        self.arm_member(id, &request.member_id);
        beaten
    }

    /// Members of both protocols may leave so: administrators remove them by this request.
    pub(in crate::embedded::state) fn leave_consumer_group(
        &mut self,
        context: &Context,
        request: &LeaveGroupRequest,
    ) -> Vec<MemberResponse> {
        let id = &*request.group_id;
        let Ok(group) = self.groups.consumer_mut(id) else { return Vec::new() };
        let (mut gone, mut left) = (BTreeSet::new(), Vec::new());
        for member in &request.members {
            let instance_id = member.group_instance_id.as_deref();
            let found = group.find(&member.member_id, instance_id, true).map(|found| found.id.clone());
            left.push(leave::answer(member, found.clone().map(drop)));
            gone.extend(found);
        }
        self.fence_members(id, &gone, context.now);
        left
    }

    /// Sees to it that a member's deadlines are looked at.
    pub(super) fn arm_member(&mut self, group: &str, member: &str) {
        let at = self.groups.consumer_mut(group).ok().and_then(|group| group.arm(member));
        if let Some(at) = at {
            let (group, member) = (group.to_owned(), member.to_owned());
            self.timers.set(at, Timer::ConsumerGroupMember { group, member });
        }
    }
}

impl ConsumerGroup {
    fn join_classic(
        &mut self,
        request: &JoinGroupRequest,
        version: i16,
        new_id: &str,
        asker: &Asker<'_>,
        around: Surroundings<'_>,
    ) -> Result<Joined, ErrorCode> {
        let is_new = request.member_id.is_empty();
        let id = if is_new { new_id } else { &*request.member_id };
        if self.members.len() >= around.limits.max_size && !self.members.contains_key(id) {
            return Err(ErrorCode::GROUP_MAX_SIZE_REACHED);
        }
        if !self.supports_classic(request) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if is_new && request.group_instance_id.is_none() && version >= 4 {
            let (error_code, member_id) = (ErrorCode::MEMBER_ID_REQUIRED.0, id.to_owned());
            let response = JoinGroupResponse { error_code, member_id, protocol_name: None, ..Default::default() };
            return Ok(Joined { response, downgrade: None });
        }
        let said = request.protocols.first().and_then(|protocol| subscription(&protocol.metadata));
        let said = said.ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let (mut member, replaced) = self.find_or_make_classic(id, is_new, request.group_instance_id.as_deref())?;
        let generation = self.epoch;
        let downgrades = self.downgrades_with(&member, replaced.as_deref(), around);
        let before = (member.topics.clone(), member.regex.take());
        let owned = said.owned_partitions.iter().map(|topic| (topic.topic.as_str(), topic.partitions.as_slice()));
        let owned = with_ids(owned, around.topics);
        member.topics = said.topics.into_iter().collect();
        member.instance_id = request.group_instance_id.clone().or(member.instance_id);
        member.rack_id = said.rack_id.or(member.rack_id);
        member.rebalance_timeout = millis(request.rebalance_timeout_ms);
        (member.client_id, member.client_host) = (asker.client_id.to_owned(), asker.client_host.to_owned());
        (member.revocation_deadline, member.session_deadline) =
            (None, around.now.saturating_add(millis(request.session_timeout_ms)));
        let protocols = request.protocols.iter().map(|protocol| (protocol.name.clone(), protocol.metadata.clone()));
        member.classic = Some(ClassicPart {
            session_timeout: millis(request.session_timeout_ms),
            protocols: protocols.collect(),
            joins_by: None,
            syncs_by: Some(around.now.saturating_add(member.rebalance_timeout)),
        });
        let changed = before != (member.topics.clone(), None);
        self.take(member, replaced);
        self.update_epoch(changed, around);
        let mut rebalances = false;
        if downgrades {
            rebalances = self.assignment_epoch < self.epoch;
        } else {
            self.update_target(around);
        }
        if !rebalances {
            self.reconcile(id, changed, Some(&owned), around);
        }
        let response = JoinGroupResponse {
            generation_id: self.members.get(id).map_or(0, |member| member.epoch),
            protocol_type: Some(CONSUMER.to_owned()),
            protocol_name: request.protocols.first().map(|protocol| protocol.name.clone()),
            member_id: id.to_owned(),
            ..Default::default()
        };
        Ok(Joined { response, downgrade: downgrades.then_some((generation, rebalances)) })
    }

    /// Whether the group becomes a classic one as a static member comes back with that protocol: when it was the last of
    /// the other.
    fn downgrades_with(&self, joining: &Member, replaced: Option<&str>, around: Surroundings<'_>) -> bool {
        let before = self.members.get(replaced.unwrap_or(&joining.id));
        let was_consumer = before.is_some_and(|member| member.instance_id.is_some() && member.classic.is_none());
        let consumers = self.members.values().filter(|member| member.classic.is_none()).count();
        let fits = self.members.len() <= around.limits.classic_max_size;
        around.limits.downgrades && was_consumer && consumers == 1 && fits
    }

    /// Whether it has an assignor that all classic members have.
    fn supports_classic(&self, request: &JoinGroupRequest) -> bool {
        let parts = || self.members.values().filter_map(|member| member.classic.as_ref());
        let by_all = |name: &str| parts().all(|part| part.protocols.iter().any(|(known, _)| known == name));
        request.protocol_type == CONSUMER && request.protocols.iter().any(|protocol| by_all(&protocol.name))
    }

    /// The member that joins, and the id of the static member that it replaces.
    fn find_or_make_classic(
        &self,
        id: &str,
        is_new: bool,
        instance_id: Option<&str>,
    ) -> Result<(Member, Option<String>), ErrorCode> {
        let made = || Member { id: id.to_owned(), ..Default::default() };
        let Some(instance_id) = instance_id else {
            return Ok((self.members.get(id).cloned().unwrap_or_else(made), None));
        };
        match self.static_member(instance_id) {
            None if is_new => Ok((made(), None)),
            Some(held) if is_new => {
                let armed = None;
                let member = Member { id: id.to_owned(), epoch: 0, previous_epoch: 0, armed, ..held.clone() };
                Ok((member, Some(held.id.clone())))
            }
            _ => self.find(id, Some(instance_id), false).map(|member| (member.clone(), None)),
        }
    }

    /// A member by what it says of itself. An administrator need not know its id if it has an instance id.
    fn find(&self, id: &str, instance_id: Option<&str>, by_instance: bool) -> Result<&Member, ErrorCode> {
        let Some(instance_id) = instance_id else {
            return self.members.get(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        let held = self.static_member(instance_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let is_it = held.id == id || by_instance && id.is_empty();
        is_it.then_some(held).ok_or(ErrorCode::FENCED_INSTANCE_ID)
    }

    /// A member of the classic protocol, in its generation.
    fn find_classic(&self, id: &str, instance_id: Option<&str>, generation: i32) -> Result<&Member, ErrorCode> {
        let member = self.find(id, instance_id, false)?;
        if member.classic.is_none() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if member.epoch == generation { Ok(member) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    fn sync_classic(
        &mut self,
        request: &SyncGroupRequest,
        around: Surroundings<'_>,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let member =
            self.find_classic(&request.member_id, request.group_instance_id.as_deref(), request.generation_id)?;
        let (name, metadata) = member
            .classic
            .as_ref()
            .and_then(|classic| classic.protocols.first())
            .ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let differs = |said: &Option<String>, is: &str| said.as_deref().is_some_and(|said| said != is);
        if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, name) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        // Who has partitions to give up has joined, and is told to join again by a heartbeat.
        if self.assignment_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.join_again(&request.member_id, around.now);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        let assignment = assignment(lists(&member.assigned), metadata, around.topics);
        if let Some(member) = self.members.get_mut(&request.member_id)
            && let Some(classic) = &mut member.classic
        {
            classic.syncs_by = None;
            member.session_deadline = around.now.saturating_add(classic.session_timeout);
        }
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment,
            ..Default::default()
        })
    }

    fn heartbeat_classic(&mut self, request: &HeartbeatRequest, now: Time) -> Result<(), ErrorCode> {
        let id = &*request.member_id;
        let member = self.find_classic(id, request.group_instance_id.as_deref(), request.generation_id)?;
        let joins = member.epoch < self.assignment_epoch
            || match member.state {
                MemberState::Stable => false,
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member),
            };
        if let Some(member) = self.members.get_mut(id)
            && let Some(classic) = &member.classic
        {
            member.session_deadline = now.saturating_add(classic.session_timeout);
        }
        if !joins {
            return Ok(());
        }
        self.join_again(id, now);
        Err(ErrorCode::REBALANCE_IN_PROGRESS)
    }

    /// A member has been told to join again, and has its rebalance timeout for that.
    fn join_again(&mut self, id: &str, now: Time) {
        let Some(member) = self.members.get_mut(id) else { return };
        let ends = now.saturating_add(member.rebalance_timeout);
        if let Some(classic) = &mut member.classic {
            classic.joins_by.get_or_insert(ends);
        }
    }

    /// Whether somebody still has partitions that a member is to have.
    fn waits_for_others(&self, member: &Member) -> bool {
        let held = self.members.values().flat_map(|other| [&other.assigned, &other.pending_revocation]).flat_map(pairs);
        let taken: BTreeSet<_> = held.collect();
        let has: BTreeSet<_> = pairs(&member.assigned).collect();
        let target = self.target.get(&member.id).into_iter().flatten();
        let mut target = target.flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)));
        target.any(|one| !has.contains(&one) && taken.contains(&one))
    }
}
