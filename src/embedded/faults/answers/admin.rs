//! Topics, configurations, quotas, users, replicas.

use super::{Fail, each};
use crate::protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, ResponseEntityData, ResponseEntryData,
};
use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use crate::protocol::messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use crate::protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse};
use crate::protocol::messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};
use crate::protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResponse, DescribeConfigsResult,
};
use crate::protocol::messages::describe_log_dirs::{
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
};
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::protocol::messages::incremental_alter_configs::{
    self, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use std::collections::BTreeSet;

impl Fail for CreateTopicsRequest {
    fn fail(self, _version: i16, error_code: i16) -> CreateTopicsResponse {
        let topics = each(self.topics, |topic| CreatableTopicResult {
            name: topic.name,
            error_code,
            configs: None,
            ..Default::default()
        });
        CreateTopicsResponse { topics, ..Default::default() }
    }
}

impl Fail for DeleteTopicsRequest {
    /// Names stand in the one list up to version 5, in the other from then on.
    fn fail(self, _version: i16, error_code: i16) -> DeleteTopicsResponse {
        let named = self.topic_names.into_iter().map(|name| (Some(name), [0; 16]));
        let topics = named.chain(self.topics.into_iter().map(|topic| (topic.name, topic.topic_id)));
        let failed = |(name, topic_id)| DeletableTopicResult { name, topic_id, error_code, ..Default::default() };
        DeleteTopicsResponse { responses: topics.map(failed).collect(), ..Default::default() }
    }
}

impl Fail for CreatePartitionsRequest {
    fn fail(self, _version: i16, error_code: i16) -> CreatePartitionsResponse {
        let failed = |name| CreatePartitionsTopicResult { name, error_code, ..Default::default() };
        let results = each(self.topics, |topic| failed(topic.name));
        CreatePartitionsResponse { results, ..Default::default() }
    }
}

impl Fail for DescribeConfigsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DescribeConfigsResponse {
        let results = each(self.resources, |resource| DescribeConfigsResult {
            error_code,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        });
        DescribeConfigsResponse { results, ..Default::default() }
    }
}

impl Fail for AlterConfigsRequest {
    fn fail(self, _version: i16, error_code: i16) -> AlterConfigsResponse {
        let responses = each(self.resources, |resource| AlterConfigsResourceResponse {
            error_code,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..Default::default()
        });
        AlterConfigsResponse { responses, ..Default::default() }
    }
}

impl Fail for IncrementalAlterConfigsRequest {
    fn fail(self, _version: i16, error_code: i16) -> IncrementalAlterConfigsResponse {
        let failed = |resource: incremental_alter_configs::AlterConfigsResource| {
            incremental_alter_configs::AlterConfigsResourceResponse {
                error_code,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
                ..Default::default()
            }
        };
        IncrementalAlterConfigsResponse { responses: each(self.resources, failed), ..Default::default() }
    }
}

impl Fail for AlterClientQuotasRequest {
    fn fail(self, _version: i16, error_code: i16) -> AlterClientQuotasResponse {
        let entries = each(self.entries, |entry| ResponseEntryData {
            error_code,
            entity: each(entry.entity, |entity| ResponseEntityData {
                entity_type: entity.entity_type,
                entity_name: entity.entity_name,
            }),
            ..Default::default()
        });
        AlterClientQuotasResponse { entries, ..Default::default() }
    }
}

impl Fail for AlterUserScramCredentialsRequest {
    /// One result for each user, however often it is named.
    fn fail(self, _version: i16, error_code: i16) -> AlterUserScramCredentialsResponse {
        let deleted = self.deletions.into_iter().map(|deletion| deletion.name);
        let users: BTreeSet<String> = deleted.chain(self.upsertions.into_iter().map(|user| user.name)).collect();
        let failed = |user| AlterUserScramCredentialsResult { user, error_code, ..Default::default() };
        AlterUserScramCredentialsResponse { results: users.into_iter().map(failed).collect(), ..Default::default() }
    }
}

impl Fail for ElectLeadersRequest {
    fn fail(self, version: i16, error_code: i16) -> ElectLeadersResponse {
        let replica_election_results = each(self.topic_partitions.unwrap_or_default(), |topic| ReplicaElectionResult {
            topic: topic.topic,
            partition_result: each(topic.partitions, |partition_id| PartitionResult {
                partition_id,
                error_code,
                ..Default::default()
            }),
        });
        // Version 0 has no place for it at the top.
        let error_code = if version == 0 { 0 } else { error_code };
        ElectLeadersResponse { error_code, replica_election_results, ..Default::default() }
    }
}

impl Fail for AlterPartitionReassignmentsRequest {
    fn fail(self, _version: i16, error_code: i16) -> AlterPartitionReassignmentsResponse {
        let responses = each(self.topics, |topic| ReassignableTopicResponse {
            name: topic.name,
            partitions: each(topic.partitions, |partition| ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                ..Default::default()
            }),
        });
        AlterPartitionReassignmentsResponse { error_code, responses, ..Default::default() }
    }
}

impl Fail for AlterReplicaLogDirsRequest {
    fn fail(self, _version: i16, error_code: i16) -> AlterReplicaLogDirsResponse {
        let topics = self.dirs.into_iter().flat_map(|dir| dir.topics);
        let results = topics.map(|topic| AlterReplicaLogDirTopicResult {
            topic_name: topic.name,
            partitions: each(topic.partitions, |partition_index| AlterReplicaLogDirPartitionResult {
                partition_index,
                error_code,
            }),
        });
        AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
    }
}

impl Fail for DescribeLogDirsRequest {
    /// At the log directory, where every version has it; at the top from version 3 on.
    fn fail(self, version: i16, error_code: i16) -> DescribeLogDirsResponse {
        let results = vec![DescribeLogDirsResult { error_code, ..Default::default() }];
        let error_code = if version >= 3 { error_code } else { 0 };
        DescribeLogDirsResponse { error_code, results, ..Default::default() }
    }
}

impl Fail for CreateAclsRequest {
    fn fail(self, _version: i16, error_code: i16) -> CreateAclsResponse {
        let failed = |_| AclCreationResult { error_code, ..Default::default() };
        CreateAclsResponse { results: each(self.creations, failed), ..Default::default() }
    }
}

impl Fail for DeleteAclsRequest {
    fn fail(self, _version: i16, error_code: i16) -> DeleteAclsResponse {
        let failed = |_| DeleteAclsFilterResult { error_code, ..Default::default() };
        DeleteAclsResponse { filter_results: each(self.filters, failed), ..Default::default() }
    }
}
