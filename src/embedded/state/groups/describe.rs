//! DescribeGroups, versions 0 to 6 (KIP-430 for the operations, KIP-1043 for groups that are not there): classic groups and
//! their members.

use super::Group;
use super::classic::{ClassicGroup, ClassicState, Member};
use crate::ErrorCode;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use bytes::Bytes;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;
/// Read, delete, describe, and describe and alter configs, as bits.
const OPERATIONS: i32 = 0b1101_0100_1000;

impl State {
    pub(in crate::embedded::state) fn describe_groups(
        &mut self,
        context: &Context,
        request: DescribeGroupsRequest,
    ) -> Reply {
        let described = |id: &String| self.described_group(context, id, request.include_authorized_operations);
        let groups = request.groups.iter().map(described).collect();
        Reply::of(DescribeGroupsResponse { groups, ..Default::default() })
    }

    fn described_group(&self, context: &Context, id: &str, operations: bool) -> DescribedGroup {
        let failed = |code: ErrorCode| DescribedGroup {
            error_code: code.0,
            group_id: id.to_owned(),
            authorized_operations: NO_OPERATIONS,
            ..Default::default()
        };
        if let Err(code) = self.check_coordinator(context, Coordinated::Group, id) {
            return failed(code);
        }
        let reason = match self.groups.get(id) {
            Some(Group::Classic(group)) => {
                let authorized_operations = if operations { OPERATIONS } else { NO_OPERATIONS };
                return DescribedGroup { authorized_operations, ..group.described() };
            }
            Some(Group::Consumer(_)) => format!("Group {id} is not a classic group."),
            None => format!("Group {id} not found."),
        };
        // Before version 6 such a group was merely dead.
        let told = context.version >= 6;
        DescribedGroup {
            error_message: Some(reason).filter(|_| told),
            group_state: "Dead".to_owned(),
            ..failed(if told { ErrorCode::GROUP_ID_NOT_FOUND } else { ErrorCode::NONE })
        }
    }
}

impl ClassicGroup {
    fn described(&self) -> DescribedGroup {
        // What the members say depends on the assignor, which is certain in a stable group only.
        let protocol = self.protocol.as_deref().filter(|_| self.state == ClassicState::Stable);
        let described = |member: &Member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: protocol.map_or_else(Bytes::new, |protocol| member.metadata(protocol)),
            member_assignment: member.assignment.clone(),
        };
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state.name().to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: self.members.values().map(described).collect(),
            ..Default::default()
        }
    }
}
