//! Answers that carry an error: each stands where Kafka puts it, at every partition, topic or group of the request if
//! the API has it there.

mod admin;
mod groups;
mod records;
#[cfg(test)]
mod tests;
mod transactions;

use crate::ErrorCode;
use crate::embedded::state::Reply;
use crate::protocol::messages::*;
use crate::protocol::{Message, Request};

/// A request that can be answered with an error.
trait Fail: Request {
    fn fail(self, version: i16, code: i16) -> Self::Response;
}

/// The one list of what can be answered with an error.
macro_rules! failing {
    ($($request:ident,)*) => {
        /// What answers a request with an error. Closes the connection where there is no answer to carry it.
        pub(in crate::embedded) fn error_answer(
            api: ApiKey,
            version: i16,
            body: Box<dyn Message>,
            code: ErrorCode,
        ) -> Reply {
            let body = body.into_any();
            match api.0 {
                $($request::KEY => match body.downcast::<$request>() {
                    // Without acks nobody reads an answer; Kafka closes the connection as a sign.
                    Ok(request) if is_unanswered(&*request) => Reply::Close,
                    Ok(request) => Reply::of(request.fail(version, code.0)),
                    Err(_) => Reply::Close,
                },)*
                _ => Reply::Close,
            }
        }
    };
}

failing! {
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    AlterClientQuotasRequest,
    AlterConfigsRequest,
    AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest,
    AlterUserScramCredentialsRequest,
    ApiVersionsRequest,
    ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest,
    CreateAclsRequest,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteAclsRequest,
    DeleteGroupsRequest,
    DeleteRecordsRequest,
    DeleteTopicsRequest,
    DescribeAclsRequest,
    DescribeClientQuotasRequest,
    DescribeClusterRequest,
    DescribeConfigsRequest,
    DescribeGroupsRequest,
    DescribeLogDirsRequest,
    DescribeProducersRequest,
    DescribeQuorumRequest,
    DescribeTopicPartitionsRequest,
    DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest,
    ElectLeadersRequest,
    EndTxnRequest,
    FetchRequest,
    FindCoordinatorRequest,
    HeartbeatRequest,
    IncrementalAlterConfigsRequest,
    InitProducerIdRequest,
    JoinGroupRequest,
    LeaveGroupRequest,
    ListConfigResourcesRequest,
    ListGroupsRequest,
    ListOffsetsRequest,
    ListPartitionReassignmentsRequest,
    ListTransactionsRequest,
    MetadataRequest,
    OffsetCommitRequest,
    OffsetDeleteRequest,
    OffsetFetchRequest,
    OffsetForLeaderEpochRequest,
    ProduceRequest,
    SaslAuthenticateRequest,
    SaslHandshakeRequest,
    SyncGroupRequest,
    TxnOffsetCommitRequest,
    UnregisterBrokerRequest,
    UpdateFeaturesRequest,
    WriteTxnMarkersRequest,
}

fn is_unanswered(request: &dyn std::any::Any) -> bool {
    request.downcast_ref::<ProduceRequest>().is_some_and(|produce| produce.acks == 0)
}

/// Each element of a request's list becomes one of the answer's.
fn each<T, U>(elements: Vec<T>, answer: impl FnMut(T) -> U) -> Vec<U> {
    elements.into_iter().map(answer).collect()
}

/// Requests whose answer has the error at its top and nothing else to say.
macro_rules! fail_at_the_top {
    ($($request:ident $response:ident,)*) => {
        $(impl Fail for $request {
            fn fail(self, _version: i16, error_code: i16) -> Self::Response {
                $response { error_code, ..Default::default() }
            }
        })*
    };
}

fail_at_the_top! {
    AddOffsetsToTxnRequest AddOffsetsToTxnResponse,
    ApiVersionsRequest ApiVersionsResponse,
    ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse,
    DescribeAclsRequest DescribeAclsResponse,
    DescribeClientQuotasRequest DescribeClientQuotasResponse,
    DescribeClusterRequest DescribeClusterResponse,
    DescribeQuorumRequest DescribeQuorumResponse,
    DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse,
    EndTxnRequest EndTxnResponse,
    HeartbeatRequest HeartbeatResponse,
    ListConfigResourcesRequest ListConfigResourcesResponse,
    ListGroupsRequest ListGroupsResponse,
    ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse,
    ListTransactionsRequest ListTransactionsResponse,
    SaslAuthenticateRequest SaslAuthenticateResponse,
    SaslHandshakeRequest SaslHandshakeResponse,
    SyncGroupRequest SyncGroupResponse,
    UnregisterBrokerRequest UnregisterBrokerResponse,
    UpdateFeaturesRequest UpdateFeaturesResponse,
}
