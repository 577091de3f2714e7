//! ListGroups, versions 0 to 5 (KIP-518 for the filter by state, KIP-848 for the one by type): the groups that the broker
//! coordinates.

use super::Group;
use super::classic::CONSUMER;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

impl State {
    pub(in crate::embedded::state) fn list_groups(&mut self, context: &Context, request: ListGroupsRequest) -> Reply {
        let wanted = |id: &str, group: &Group| {
            chosen(&request.states_filter, group.state_name())
                && chosen(&request.types_filter, group.type_name())
                && self.check_coordinator(context, Coordinated::Group, id).is_ok()
        };
        let groups = self.groups.iter().filter(|(id, group)| wanted(id, group)).map(|(id, group)| ListedGroup {
            group_id: id.to_owned(),
            protocol_type: group.protocol_type().to_owned(),
            group_state: group.state_name().to_owned(),
            group_type: group.type_name().to_owned(),
        });
        Reply::of(ListGroupsResponse { groups: groups.collect(), ..Default::default() })
    }
}

/// Whether a filter lets a name through. Without names it lets everything through.
fn chosen(filter: &[String], name: &str) -> bool {
    filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
}

impl Group {
    fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type.as_deref().unwrap_or_default(),
            Self::Consumer(_) => CONSUMER,
        }
    }
}
