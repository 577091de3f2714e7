//! Heartbeat, versions 0 to 4: a member is there, and learns of a rebalance.

use super::{ClassicGroup, ClassicState};
use crate::ErrorCode;
use crate::embedded::state::groups::Turn;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

impl State {
    pub(in crate::embedded::state) fn heartbeat(&mut self, context: &Context, request: HeartbeatRequest) -> Reply {
        let code = self.heartbeat_code(context, &request).err().unwrap_or(ErrorCode::NONE);
        Reply::of(HeartbeatResponse { error_code: code.0, ..Default::default() })
    }

    fn heartbeat_code(&mut self, context: &Context, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(context, Coordinated::Group, &request.group_id)?;
        if self.has_consumer_members(&request.group_id) {
            return self.heartbeat_to_consumer_group(context, request);
        }
        let beaten = self.with_classic(&request.group_id, context.now, |group, turn| group.heartbeat(turn, request));
        beaten.unwrap_or(Err(ErrorCode::UNKNOWN_MEMBER_ID))
    }
}

impl ClassicGroup {
    fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let id = &*request.member_id;
        self.check_member(id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.touch(turn, id);
        match self.state {
            ClassicState::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            ClassicState::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            ClassicState::CompletingRebalance | ClassicState::Stable => Ok(()),
        }
    }

    /// A member has shown that it is there.
    pub(in crate::embedded) fn touch(&mut self, turn: &mut Turn<'_>, id: &str) {
        if let Some(session) = self.members.get(id).map(|member| member.session_timeout) {
            self.keep_session(turn, id, session);
        }
    }
}
