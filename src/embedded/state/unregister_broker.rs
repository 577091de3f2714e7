//! UnregisterBroker, version 0 (KIP-500): the cluster does not count with a broker any more, until that is started again.

use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

impl State {
    pub(super) fn unregister_broker(&mut self, _: &Context, request: UnregisterBrokerRequest) -> Reply {
        let id = request.broker_id;
        if self.brokers.registered().all(|broker| broker.id != id) {
            let error_message = Some(format!("Broker ID {id} is not currently registered"));
            let error_code = ErrorCode::BROKER_ID_NOT_REGISTERED.0;
            return Reply::of(UnregisterBrokerResponse { error_code, error_message, ..Default::default() });
        }
        // As in Kafka it need not have stopped.
        self.broker_unregistered(id);
        Reply::of(UnregisterBrokerResponse::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::super::topics::Partition;
    use super::*;
    use crate::protocol::messages::describe_cluster::DescribeClusterRequest;
    use crate::protocol::messages::metadata::MetadataRequest;
    use std::collections::BTreeMap;

    fn unregister(harness: &mut Harness, broker_id: i32) -> (i16, Option<String>) {
        let answer = harness.call(2, 0, UnregisterBrokerRequest { broker_id });
        (answer.error_code, answer.error_message)
    }

    /// All that are registered, also those that do not run.
    fn described(harness: &mut Harness) -> Vec<i32> {
        let asking = DescribeClusterRequest { endpoint_type: 1, include_fenced_brokers: true, ..Default::default() };
        harness.call(2, 2, asking).brokers.iter().map(|broker| broker.broker_id).collect()
    }

    fn partition(harness: &Harness) -> &Partition {
        harness.state.topics.partition("t", 0).unwrap()
    }

    #[test]
    fn a_stopped_broker_is_struck_off_until_it_is_started_again() {
        let mut harness = Harness::new(3);
        harness.state.broker_stopped(3);
        assert_eq!(described(&mut harness), [1, 2, 3]);
        assert_eq!(unregister(&mut harness, 3).0, 0);
        assert_eq!(described(&mut harness), [1, 2]);
        let refused = (102, Some("Broker ID 3 is not currently registered".to_owned()));
        assert_eq!(unregister(&mut harness, 3), refused);
        let place = |harness: &mut Harness| harness.state.place(1, 3).map(|all| all[0].len());
        assert!(place(&mut harness).is_err(), "it is no place for a replica");
        assert!(harness.state.check_assignment(&[3], None).is_err());
        harness.state.broker_started(3);
        assert_eq!((described(&mut harness), place(&mut harness)), (vec![1, 2, 3], Ok(3)));
    }

    #[test]
    fn ids_of_nobody_are_not_registered() {
        let mut harness = Harness::new(2);
        for id in [0, 3, -1] {
            assert_eq!(unregister(&mut harness, id).0, 102);
        }
    }

    #[test]
    fn a_broker_that_runs_leads_nothing_any_more_and_is_in_sync_nowhere() {
        let mut harness = Harness::new(3);
        harness.state.create_topic_on("t", vec![vec![1, 2, 3]], BTreeMap::new()).unwrap();
        let leader = partition(&harness).leader.unwrap();
        let epoch = partition(&harness).leader_epoch;
        assert_eq!(unregister(&mut harness, leader).0, 0);
        let after = partition(&harness);
        assert!(after.leader.is_some_and(|now| now != leader));
        assert_eq!((after.leader_epoch, after.replicas.len()), (epoch + 1, 3), "it stays one of the replicas");
        assert!(!after.isr.contains(&leader));
        let other = if leader == 1 { 2 } else { 1 };
        let answer = harness.call(other, 12, MetadataRequest::default());
        assert!(answer.brokers.iter().all(|broker| broker.node_id != leader));
        harness.state.broker_started(leader);
        assert!(partition(&harness).isr.contains(&leader));
    }
}
