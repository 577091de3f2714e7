//! SyncGroup, versions 0 to 5: the leader hands in the assignment, the others wait for it.

use super::{ClassicGroup, ClassicState, Parked};
use crate::ErrorCode;
use crate::embedded::state::groups::Turn;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use std::collections::BTreeMap;

impl State {
    pub(in crate::embedded::state) fn sync_group(&mut self, context: &Context, request: SyncGroupRequest) -> Reply {
        if request.group_id.is_empty() {
            return Reply::of(failed(ErrorCode::INVALID_GROUP_ID));
        }
        if let Err(code) = self.check_coordinator(context, Coordinated::Group, &request.group_id) {
            return Reply::of(failed(code));
        }
        if self.has_consumer_members(&request.group_id) {
            return self.sync_consumer_group(context, &request);
        }
        let parked = Parked { connection: context.connection, version: context.version };
        let group_id = request.group_id.clone();
        let synced = self.with_classic(&group_id, context.now, |group, turn| group.sync(turn, request, parked));
        match synced {
            Some(()) => self.answered_or_parked(context.connection),
            None => Reply::of(failed(ErrorCode::UNKNOWN_MEMBER_ID)),
        }
    }
}

pub(super) fn failed(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error_code: code.0, ..Default::default() }
}

impl ClassicGroup {
    fn sync(&mut self, turn: &mut Turn<'_>, request: SyncGroupRequest, parked: Parked) {
        if let Err(code) = self.check_sync(&request) {
            return turn.answer_sync(parked, failed(code));
        }
        let id = &*request.member_id;
        self.unsynced.remove(id);
        if self.unsynced.is_empty() {
            self.sync_ends = None;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if self.state == ClassicState::Stable {
            let assignment = member.assignment.clone();
            let (protocol_type, protocol_name) = (self.protocol_type.clone(), self.protocol.clone());
            let response = SyncGroupResponse { protocol_type, protocol_name, assignment, ..Default::default() };
            return turn.answer_sync(parked, response);
        }
        turn.give_up(member.syncing.replace(parked));
        if self.is_leader(id) {
            let pairs = request.assignments.into_iter().map(|one| (one.member_id, one.assignment));
            let assignments: BTreeMap<_, _> = pairs.collect();
            self.assign(turn, &assignments, ErrorCode::NONE);
            self.enter(ClassicState::Stable, turn.now);
            self.store();
        }
    }

    fn check_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.is_empty() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && is.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol_name, &self.protocol) {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if self.state == ClassicState::PreparingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }
}
