//! DescribeAcls, CreateAcls and DeleteAcls, versions 1 to 3, as a broker without an authorizer answers them.

use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::create_acls::{AclCreationResult, CreateAclsRequest, CreateAclsResponse};
use crate::protocol::messages::delete_acls::{DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse};
use crate::protocol::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};

/// Kafka's words for who wants to change something.
fn no_authorizer() -> (i16, Option<String>) {
    (ErrorCode::SECURITY_DISABLED.0, Some("No Authorizer is configured.".into()))
}

impl State {
    pub(super) fn describe_acls(&mut self, _context: &Context, _request: DescribeAclsRequest) -> Reply {
        let error_code = ErrorCode::SECURITY_DISABLED.0;
        let error_message = Some("No Authorizer is configured on the broker".into());
        Reply::of(DescribeAclsResponse { error_code, error_message, ..Default::default() })
    }

    pub(super) fn create_acls(&mut self, _context: &Context, request: CreateAclsRequest) -> Reply {
        let (error_code, error_message) = no_authorizer();
        let results = vec![AclCreationResult { error_code, error_message }; request.creations.len()];
        Reply::of(CreateAclsResponse { results, ..Default::default() })
    }

    pub(super) fn delete_acls(&mut self, _context: &Context, request: DeleteAclsRequest) -> Reply {
        let (error_code, error_message) = no_authorizer();
        let result = DeleteAclsFilterResult { error_code, error_message, matching_acls: Vec::new() };
        let filter_results = vec![result; request.filters.len()];
        Reply::of(DeleteAclsResponse { filter_results, ..Default::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    #[test]
    fn without_an_authorizer_there_are_no_acls() {
        let mut harness = Harness::new(1);
        let any = DescribeAclsRequest {
            resource_type_filter: 1,
            pattern_type_filter: 1,
            operation: 1,
            permission_type: 1,
            ..Default::default()
        };
        assert_eq!(harness.call(1, 3, any).error_code, 54);
        let create = CreateAclsRequest { creations: vec![Default::default(); 2] };
        let codes: Vec<i16> = harness.call(1, 3, create).results.iter().map(|result| result.error_code).collect();
        assert_eq!(codes, [54, 54]);
        let delete = DeleteAclsRequest { filters: vec![Default::default()] };
        assert_eq!(harness.call(1, 3, delete).filter_results[0].error_code, 54);
    }
}
