//! JoinGroup, versions 0 to 9: who may join, and what a group makes of it (KIP-394 for member ids, KIP-345 and KIP-814 for
//! static members).

use super::{ClassicGroup, ClassicState, Member, Parked};
use crate::ErrorCode;
use crate::embedded::state::groups::moves::GroupTimer;
use crate::embedded::state::groups::{Group, Turn, millis};
use crate::embedded::state::{Context, Coordinated, Reply, State, Time, uuid_hex};
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use bytes::Bytes;
use std::time::Duration;

/// How long a new member may wait for its first generation: until then it has no heartbeats to send.
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(5 * 60);

impl State {
    pub(in crate::embedded::state) fn join_group(&mut self, context: &Context, mut request: JoinGroupRequest) -> Reply {
        if context.version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let parked = Parked { connection: context.connection, version: context.version };
        if let Err(code) = self.check_join(context, &request) {
            return Reply::of(refused(&request.member_id, code));
        }
        let group_id = request.group_id.clone();
        if self.has_consumer_members(&group_id) {
            return self.join_consumer_group(context, &request);
        }
        if let Some(Group::Consumer(_)) = self.groups.get(&group_id) {
            self.groups.remove(&group_id);
        }
        if self.groups.get(&group_id).is_none() {
            if !request.member_id.is_empty() {
                return Reply::of(refused(&request.member_id, ErrorCode::UNKNOWN_MEMBER_ID));
            }
            self.groups.insert(&group_id, Group::Classic(ClassicGroup::new(&group_id, context.now)));
            self.watch_offsets(context.now);
        }
        let prefix = request.group_instance_id.as_ref().unwrap_or(&context.client_id);
        let new_id = format!("{prefix}-{}", uuid_hex(&mut self.random));
        let joined = self.with_classic(&group_id, context.now, |group, turn| {
            group.join(turn, &Joining { context, request, parked, new_id });
        });
        if joined.is_none() {
            return Reply::Close;
        }
        self.answered_or_parked(context.connection)
    }

    fn check_join(&self, context: &Context, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        let session = i64::from(request.session_timeout_ms);
        let limit = |name: &str| self.settings.number(name);
        if session < limit("group.min.session.timeout.ms") || session > limit("group.max.session.timeout.ms") {
            return Err(ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        self.check_coordinator(context, Coordinated::Group, &request.group_id)
    }
}

fn refused(member_id: &str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: code.0, member_id: member_id.to_owned(), ..Default::default() }
}

/// A JoinGroup, and the member id for whoever has none.
struct Joining<'a> {
    context: &'a Context,
    request: JoinGroupRequest,
    parked: Parked,
    new_id: String,
}

impl Joining<'_> {
    fn protocols(&self) -> Vec<(String, Bytes)> {
        let pair = |protocol: &JoinGroupRequestProtocol| (protocol.name.clone(), protocol.metadata.clone());
        self.request.protocols.iter().map(pair).collect()
    }

    fn member(&self, id: &str, now: Time) -> Member {
        Member {
            id: id.to_owned(),
            instance_id: self.request.group_instance_id.clone(),
            client_id: self.context.client_id.clone(),
            client_host: format!("/{}", self.context.client_host),
            rebalance_timeout: millis(self.request.rebalance_timeout_ms),
            session_timeout: millis(self.request.session_timeout_ms),
            protocols: self.protocols(),
            assignment: Bytes::new(),
            joining: Some(self.parked),
            syncing: None,
            is_new: true,
            session_ends: now,
            timer_at: None,
        }
    }
}

impl ClassicGroup {
    fn join(&mut self, turn: &mut Turn<'_>, joining: &Joining<'_>) {
        let Joining { request, parked, new_id, .. } = joining;
        let id = &*request.member_id;
        let names = request.protocols.iter().map(|protocol| &*protocol.name);
        if !self.accepts(id, turn.max_size) {
            self.remove(id);
            turn.answer_join(*parked, refused("", ErrorCode::GROUP_MAX_SIZE_REACHED));
        } else if !self.supports(&request.protocol_type, names) {
            turn.answer_join(*parked, refused(id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        } else if !id.is_empty() {
            self.join_known(turn, joining);
        } else if let Some(instance_id) = &request.group_instance_id {
            match self.member_of_instance(instance_id).map(str::to_owned) {
                Some(old) => self.replace_static_member(turn, joining, &old),
                None => self.add_joining(turn, joining, new_id),
            }
        } else if joining.context.version >= 4 {
            let ends = turn.now.saturating_add(millis(request.session_timeout_ms));
            self.pending.insert(new_id.clone(), ends);
            turn.remind(ends, GroupTimer::Session { group: self.id.clone(), member: new_id.clone() });
            turn.answer_join(*parked, refused(new_id, ErrorCode::MEMBER_ID_REQUIRED));
        } else {
            self.add_joining(turn, joining, new_id);
        }
    }

    /// Whether there is room. While members are joining, those who have joined count.
    fn accepts(&self, id: &str, max_size: usize) -> bool {
        match self.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance => {
                self.members.get(id).is_some_and(|member| member.joining.is_some()) || self.joined() < max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(id) || self.members.len() < max_size
            }
        }
    }

    fn add_joining(&mut self, turn: &mut Turn<'_>, joining: &Joining<'_>, id: &str) {
        self.member_added = true;
        self.add(joining.member(id, turn.now), &joining.request.protocol_type);
        self.keep_session(turn, id, NEW_MEMBER_TIMEOUT);
        self.rebalance(turn, "a new member");
    }

    /// Someone with a member id joins.
    fn join_known(&mut self, turn: &mut Turn<'_>, joining: &Joining<'_>) {
        let (id, instance_id) = (&*joining.request.member_id, joining.request.group_instance_id.as_deref());
        if self.pending.contains_key(id) {
            return self.add_joining(turn, joining, id);
        }
        if let Err(code) = self.check_member(id, instance_id) {
            return turn.answer_join(joining.parked, refused(id, code));
        }
        let same = self.members.get(id).is_some_and(|member| member.protocols == joining.protocols());
        let rebalances = match self.state {
            ClassicState::PreparingRebalance => true,
            // It may have missed the answer to its JoinGroup.
            ClassicState::CompletingRebalance => !same,
            // The leader joins again when it wants another assignment.
            ClassicState::Stable => !same || self.is_leader(id),
            ClassicState::Empty => return turn.answer_join(joining.parked, refused(id, ErrorCode::UNKNOWN_MEMBER_ID)),
        };
        if rebalances {
            self.update(turn, joining, id);
            self.rebalance(turn, "a member joins again");
        } else {
            turn.answer_join(joining.parked, self.joined_response(id));
        }
    }

    /// Takes over what a member says in its new JoinGroup, which is parked.
    fn update(&mut self, turn: &mut Turn<'_>, joining: &Joining<'_>, id: &str) {
        let Some(member) = self.members.get_mut(id) else { return };
        member.protocols = joining.protocols();
        member.rebalance_timeout = millis(joining.request.rebalance_timeout_ms);
        member.session_timeout = millis(joining.request.session_timeout_ms);
        turn.give_up(member.joining.replace(joining.parked));
    }

    /// A static member has been started again: it follows itself under another member id, and if nothing else has changed
    /// in a stable group there is no rebalance.
    fn replace_static_member(&mut self, turn: &mut Turn<'_>, joining: &Joining<'_>, old: &str) {
        let (new, was_leader) = (&*joining.new_id, self.is_leader(old));
        let Some(replaced) = self.members.remove(old) else { return };
        turn.fence(&replaced);
        let session = replaced.session_timeout;
        let member =
            Member { id: new.to_owned(), joining: None, syncing: None, is_new: false, timer_at: None, ..replaced };
        self.instances.extend(member.instance_id.clone().map(|instance_id| (instance_id, new.to_owned())));
        self.members.insert(new.to_owned(), member);
        if was_leader {
            self.leader = Some(new.to_owned());
        }
        self.keep_session(turn, new, session);
        self.update(turn, joining, new);
        match self.state {
            ClassicState::Stable if self.select_protocol() == self.protocol => {
                self.store();
                let old_leader = if was_leader { old } else { self.leader.as_deref().unwrap_or_default() };
                let response = self.replaced_response(joining, old_leader);
                if let Some(member) = self.members.get_mut(new) {
                    member.joining = None;
                }
                turn.answer_join(joining.parked, response);
            }
            ClassicState::Stable => self.rebalance(turn, "a static member has other assignors"),
            // The leader may have assigned to the old id already.
            ClassicState::CompletingRebalance => self.prepare_rebalance(turn, "a static member has been replaced"),
            ClassicState::PreparingRebalance | ClassicState::Empty => self.maybe_complete_join(turn),
        }
    }

    /// Before version 9 a leader can't be told to keep the assignment. It is told of its former self as the leader, so that
    /// it takes itself for a follower.
    fn replaced_response(&self, joining: &Joining<'_>, old_leader: &str) -> JoinGroupResponse {
        let response = self.joined_response(&joining.new_id);
        if joining.context.version >= 9 {
            let skip_assignment = self.is_leader(&joining.new_id);
            JoinGroupResponse { skip_assignment, ..response }
        } else {
            JoinGroupResponse { leader: old_leader.to_owned(), members: Vec::new(), ..response }
        }
    }
}

impl Turn<'_> {
    /// Whoever waits as a member that has been replaced learns so.
    fn fence(&mut self, replaced: &Member) {
        let code = ErrorCode::FENCED_INSTANCE_ID;
        if let Some(parked) = replaced.joining {
            let (error_code, member_id) = (code.0, replaced.id.clone());
            let response = JoinGroupResponse { error_code, member_id, protocol_name: None, ..Default::default() };
            self.answer_join(parked, response);
        }
        if let Some(parked) = replaced.syncing {
            self.answer_sync(parked, super::sync::failed(code));
        }
    }
}
