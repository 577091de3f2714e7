//! DeleteGroups, versions 0 to 2: groups without members go, and their offsets with them.

use crate::ErrorCode;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

impl State {
    pub(in crate::embedded::state) fn delete_groups(
        &mut self,
        context: &Context,
        request: DeleteGroupsRequest,
    ) -> Reply {
        let results = request.groups_names.into_iter().map(|group_id| {
            let error_code = self.delete_group(context, &group_id).err().unwrap_or(ErrorCode::NONE).0;
            DeletableGroupResult { group_id, error_code }
        });
        let results = results.collect();
        Reply::of(DeleteGroupsResponse { results, ..Default::default() })
    }

    fn delete_group(&mut self, context: &Context, id: &str) -> Result<(), ErrorCode> {
        self.check_coordinator(context, Coordinated::Group, id)?;
        let group = self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if !group.is_empty() {
            return Err(ErrorCode::NON_EMPTY_GROUP);
        }
        self.offsets.remove_group(id);
        self.groups.remove(id);
        Ok(())
    }
}
