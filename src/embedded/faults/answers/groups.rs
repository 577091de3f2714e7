//! Groups and their offsets.

use super::{Fail, each};
use crate::protocol::messages::consumer_group_describe::{
    self, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use crate::protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};
use crate::protocol::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup};
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::messages::join_group::{JoinGroupRequest, JoinGroupResponse};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse};
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse};
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponseTopic,
};
use crate::protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitResponse, TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};

impl Fail for FindCoordinatorRequest {
    fn fail(self, version: i16, error_code: i16) -> FindCoordinatorResponse {
        if version < 4 {
            return FindCoordinatorResponse { error_code, node_id: -1, port: -1, ..Default::default() };
        }
        let failed = |key| Coordinator { key, node_id: -1, port: -1, error_code, ..Default::default() };
        FindCoordinatorResponse { coordinators: each(self.coordinator_keys, failed), ..Default::default() }
    }
}

impl Fail for JoinGroupRequest {
    fn fail(self, version: i16, error_code: i16) -> JoinGroupResponse {
        // Null came with version 7.
        let protocol_name = (version < 7).then(String::new);
        JoinGroupResponse { error_code, protocol_name, member_id: self.member_id, ..Default::default() }
    }
}

impl Fail for LeaveGroupRequest {
    fn fail(self, _version: i16, error_code: i16) -> LeaveGroupResponse {
        LeaveGroupResponse { error_code, ..Default::default() }
    }
}

impl Fail for OffsetCommitRequest {
    fn fail(self, _version: i16, error_code: i16) -> OffsetCommitResponse {
        let topics = each(self.topics, |topic| OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.topic_id,
            partitions: each(topic.partitions, |partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            }),
        });
        OffsetCommitResponse { topics, ..Default::default() }
    }
}

impl Fail for TxnOffsetCommitRequest {
    fn fail(self, _version: i16, error_code: i16) -> TxnOffsetCommitResponse {
        let topics = each(self.topics, |topic| TxnOffsetCommitResponseTopic {
            name: topic.name,
            partitions: each(topic.partitions, |partition| TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code,
            }),
        });
        TxnOffsetCommitResponse { topics, ..Default::default() }
    }
}

impl Fail for OffsetFetchRequest {
    /// For each group from version 8 on, for the whole request from version 2 on, for each partition before.
    fn fail(self, version: i16, error_code: i16) -> OffsetFetchResponse {
        if version >= 8 {
            let failed = |group_id| OffsetFetchResponseGroup { group_id, error_code, ..Default::default() };
            let groups = each(self.groups, |group| failed(group.group_id));
            return OffsetFetchResponse { groups, ..Default::default() };
        }
        if version >= 2 {
            return OffsetFetchResponse { error_code, ..Default::default() };
        }
        let topics = each(self.topics.unwrap_or_default(), |topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: each(topic.partition_indexes, |partition_index| OffsetFetchResponsePartition {
                partition_index,
                committed_offset: -1,
                metadata: Some(String::new()),
                error_code,
                ..Default::default()
            }),
        });
        OffsetFetchResponse { topics, ..Default::default() }
    }
}

impl Fail for OffsetDeleteRequest {
    fn fail(self, _version: i16, error_code: i16) -> OffsetDeleteResponse {
        OffsetDeleteResponse { error_code, ..Default::default() }
    }
}

impl Fail for DescribeGroupsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DescribeGroupsResponse {
        let failed = |group_id| DescribedGroup { error_code, group_id, ..Default::default() };
        DescribeGroupsResponse { groups: each(self.groups, failed), ..Default::default() }
    }
}

impl Fail for ConsumerGroupDescribeRequest {
    fn fail(self, _version: i16, error_code: i16) -> ConsumerGroupDescribeResponse {
        let failed = |group_id| consumer_group_describe::DescribedGroup { error_code, group_id, ..Default::default() };
        ConsumerGroupDescribeResponse { groups: each(self.group_ids, failed), ..Default::default() }
    }
}

impl Fail for DeleteGroupsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DeleteGroupsResponse {
        let results = each(self.groups_names, |group_id| DeletableGroupResult { group_id, error_code });
        DeleteGroupsResponse { results, ..Default::default() }
    }
}
