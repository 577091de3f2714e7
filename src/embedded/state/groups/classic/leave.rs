//! LeaveGroup, versions 0 to 5 (KIP-345 for several members and instance ids, KIP-800 for reasons).

use super::{ClassicGroup, ClassicState};
use crate::ErrorCode;
use crate::embedded::state::groups::Turn;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse};

impl State {
    pub(in crate::embedded::state) fn leave_group(
        &mut self,
        context: &Context,
        mut request: LeaveGroupRequest,
    ) -> Reply {
        let single = context.version < 3;
        if single {
            let member_id = std::mem::take(&mut request.member_id);
            request.members = vec![MemberIdentity { member_id, ..Default::default() }];
        }
        let mut response = self.left(context, &request);
        if single {
            // There is one code for everything.
            let of_member = response.members.drain(..).map(|member| member.error_code).find(|code| *code != 0);
            if response.error_code == 0 {
                response.error_code = of_member.unwrap_or_default();
            }
        }
        Reply::of(response)
    }

    fn left(&mut self, context: &Context, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let group_id = &*request.group_id;
        let checked = match group_id {
            "" => Err(ErrorCode::INVALID_GROUP_ID),
            _ => self.check_coordinator(context, Coordinated::Group, group_id),
        };
        if let Err(code) = checked {
            return LeaveGroupResponse { error_code: code.0, ..Default::default() };
        }
        if self.has_consumer_members(group_id) {
            let members = self.leave_consumer_group(context, request);
            return LeaveGroupResponse { members, ..Default::default() };
        }
        let members = self.with_classic(group_id, context.now, |group, turn| group.leave(turn, &request.members));
        let unknown =
            || request.members.iter().map(|member| answer(member, Err(ErrorCode::UNKNOWN_MEMBER_ID))).collect();
        LeaveGroupResponse { members: members.unwrap_or_else(unknown), ..Default::default() }
    }
}

pub(in crate::embedded) fn answer(member: &MemberIdentity, left: Result<(), ErrorCode>) -> MemberResponse {
    MemberResponse {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        error_code: left.err().unwrap_or(ErrorCode::NONE).0,
    }
}

impl ClassicGroup {
    /// Members leave together, so there is one rebalance for all of them.
    fn leave(&mut self, turn: &mut Turn<'_>, members: &[MemberIdentity]) -> Vec<MemberResponse> {
        let left: Vec<_> = members.iter().map(|member| answer(member, self.leave_one(turn, member))).collect();
        if left.iter().any(|member| member.error_code == 0) {
            match self.state {
                ClassicState::Empty => {}
                ClassicState::PreparingRebalance => self.maybe_complete_join(turn),
                ClassicState::CompletingRebalance | ClassicState::Stable => self.rebalance(turn, "members have left"),
            }
        }
        left
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, member: &MemberIdentity) -> Result<(), ErrorCode> {
        let (id, instance_id) = (&*member.member_id, member.group_instance_id.as_deref());
        if id.is_empty() {
            // An administrator removes whoever has the instance id.
            let current = instance_id.and_then(|instance_id| self.member_of_instance(instance_id));
            let current = current.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?.to_owned();
            self.remove_member(turn, &current);
        } else if self.pending.contains_key(id) {
            self.remove(id);
        } else {
            self.check_member(id, instance_id)?;
            self.remove_member(turn, id);
        }
        Ok(())
    }
}
