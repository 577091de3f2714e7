//! DescribeCluster, versions 0 to 2 (KIP-700, KIP-919, KIP-1073).

use super::metadata::{CLUSTER_OPERATIONS, NO_OPERATIONS};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

/// Kinds of endpoint, as on the wire. All of ours are brokers'.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

impl State {
    pub(super) fn describe_cluster(&mut self, context: &Context, request: DescribeClusterRequest) -> Reply {
        let asked = if context.version == 0 { BROKERS } else { request.endpoint_type };
        if asked != BROKERS {
            let (code, message) = if asked == CONTROLLERS {
                let message = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type \
                               CONTROLLER";
                (ErrorCode::MISMATCHED_ENDPOINT_TYPE, message.to_owned())
            } else {
                (ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {asked}"))
            };
            let (error_code, error_message) = (code.0, Some(message));
            return Reply::of(DescribeClusterResponse { error_code, error_message, ..Default::default() });
        }
        let brokers = self.brokers.registered().filter(|broker| broker.running || request.include_fenced_brokers);
        let brokers = brokers.map(|broker| DescribeClusterBroker {
            broker_id: broker.id,
            host: broker.host.clone(),
            port: broker.port(context.listener).into(),
            rack: broker.rack.clone(),
            is_fenced: !broker.running,
        });
        let operations = request.include_cluster_authorized_operations;
        Reply::of(DescribeClusterResponse {
            endpoint_type: BROKERS,
            cluster_id: self.cluster_id.clone(),
            controller_id: self.brokers.controller().unwrap_or(-1),
            brokers: brokers.collect(),
            cluster_authorized_operations: if operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS },
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    #[test]
    fn stopped_brokers_are_shown_to_who_asks_for_them() {
        let mut harness = Harness::new(3);
        harness.state.broker_stopped(1);
        let asking = DescribeClusterRequest { endpoint_type: BROKERS, ..Default::default() };
        let response = harness.call(2, 2, asking.clone());
        let brokers = |response: &DescribeClusterResponse| -> Vec<(i32, bool)> {
            response.brokers.iter().map(|broker| (broker.broker_id, broker.is_fenced)).collect()
        };
        assert_eq!(brokers(&response), [(2, false), (3, false)]);
        assert_eq!((response.controller_id, response.cluster_authorized_operations), (2, NO_OPERATIONS));
        let asking = DescribeClusterRequest { include_fenced_brokers: true, ..asking };
        assert_eq!(brokers(&harness.call(2, 2, asking)), [(1, true), (2, false), (3, false)]);
    }

    #[test]
    fn controllers_are_not_to_be_had_from_a_broker() {
        let mut harness = Harness::new(1);
        for (endpoint_type, code) in [(CONTROLLERS, 114), (7, 115)] {
            let asking = DescribeClusterRequest { endpoint_type, ..Default::default() };
            assert_eq!(harness.call(1, 1, asking).error_code, code);
        }
        let operations = DescribeClusterRequest { include_cluster_authorized_operations: true, ..Default::default() };
        assert_eq!(harness.call(1, 0, operations).cluster_authorized_operations, CLUSTER_OPERATIONS);
    }
}
