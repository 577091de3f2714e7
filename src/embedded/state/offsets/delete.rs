//! OffsetDelete, version 0 (KIP-496): offsets of topics that no member consumes.

use crate::ErrorCode;
use crate::embedded::state::groups::Group;
use crate::embedded::state::{Context, Coordinated, Reply, State};
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};

impl State {
    pub(in crate::embedded::state) fn offset_delete(
        &mut self,
        context: &Context,
        request: OffsetDeleteRequest,
    ) -> Reply {
        let id = &*request.group_id;
        if let Err(code) = self.check_offset_delete(context, id) {
            return Reply::of(OffsetDeleteResponse { error_code: code.0, ..Default::default() });
        }
        let topics = request.topics.iter().map(|topic| self.delete_offsets_of(id, topic)).collect();
        Reply::of(OffsetDeleteResponse { topics, ..Default::default() })
    }

    fn check_offset_delete(&self, context: &Context, id: &str) -> Result<(), ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        self.check_coordinator(context, Coordinated::Group, id)?;
        match self.groups.get(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)? {
            // What other members than consumers use a group's offsets for can't be known.
            Group::Classic(group) if !group.is_empty() && !group.uses_consumer_protocol() => {
                Err(ErrorCode::NON_EMPTY_GROUP)
            }
            Group::Classic(_) | Group::Consumer(_) => Ok(()),
        }
    }

    fn delete_offsets_of(&mut self, id: &str, topic: &OffsetDeleteRequestTopic) -> OffsetDeleteResponseTopic {
        let subscribed = self.groups.get(id).is_some_and(|group| group.is_subscribed_to(&topic.name));
        let partitions = topic.partitions.iter().map(|partition| {
            let partition_index = partition.partition_index;
            let code = if self.topics.partition(&topic.name, partition_index).is_none() {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else if subscribed {
                ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                self.offsets.remove(id, &topic.name, partition_index);
                ErrorCode::NONE
            };
            OffsetDeleteResponsePartition { partition_index, error_code: code.0 }
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions }
    }
}
