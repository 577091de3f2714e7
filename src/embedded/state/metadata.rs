//! Metadata, versions 0 to 13: brokers, topics by name or id, and the creation of topics on first use.

use super::topics::{Topic, is_valid_name};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use std::collections::BTreeMap;

/// "Not asked for".
const NO_OPERATIONS: i32 = i32::MIN;
/// The operations that a client may do where there are no ACLs, as bits (KIP-430).
const CLUSTER_OPERATIONS: i32 = 0b1_1111_0010_0000;
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

impl State {
    pub(super) fn metadata(&mut self, context: &Context, request: MetadataRequest) -> Reply {
        let topics = match &request.topics {
            // In version 0 an empty list stands for all topics.
            Some(asked) if !(asked.is_empty() && context.version == 0) => {
                asked.iter().map(|topic| self.asked_topic(topic, &request, context)).collect()
            }
            _ => self.topics.iter().map(|topic| self.described(topic, &request)).collect(),
        };
        let brokers = self.brokers.running().map(|broker| MetadataResponseBroker {
            node_id: broker.id,
            host: broker.host.clone(),
            port: broker.port(context.listener).into(),
            rack: broker.rack.clone(),
        });
        let operations = request.include_cluster_authorized_operations;
        Reply::of(MetadataResponse {
            brokers: brokers.collect(),
            cluster_id: Some(self.cluster_id.clone()),
            controller_id: self.brokers.controller().unwrap_or(-1),
            topics,
            cluster_authorized_operations: if operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS },
            ..Default::default()
        })
    }

    fn asked_topic(
        &mut self,
        asked: &MetadataRequestTopic,
        request: &MetadataRequest,
        context: &Context,
    ) -> MetadataResponseTopic {
        let failed = |code: ErrorCode| MetadataResponseTopic {
            error_code: code.0,
            name: asked.name.clone(),
            topic_id: asked.topic_id,
            ..Default::default()
        };
        let Some(name) = &asked.name else {
            let found = self.topics.name_of(&asked.topic_id).and_then(|name| self.topics.get(name));
            return found.map_or_else(|| failed(ErrorCode::UNKNOWN_TOPIC_ID), |topic| self.described(topic, request));
        };
        if let Some(topic) = self.topics.get(name) {
            return self.described(topic, request);
        }
        if !is_valid_name(name) {
            return failed(ErrorCode::INVALID_TOPIC_EXCEPTION);
        }
        // Before version 4 there was no such switch in the request.
        let wanted = request.allow_auto_topic_creation || context.version < 4;
        if wanted && self.settings.flag("auto.create.topics.enable") {
            let partitions = i32::try_from(self.settings.number("num.partitions")).unwrap_or(1);
            let factor = i16::try_from(self.settings.number("default.replication.factor")).unwrap_or(1);
            if let Err(code) = self.create_topic(name, partitions, factor, BTreeMap::new()) {
                return failed(code);
            }
        }
        // As in Kafka, a topic that is made on first use is there for the next request.
        failed(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    fn described(&self, topic: &Topic, request: &MetadataRequest) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
            let code = if partition.leader.is_none() { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
            let stopped = |id: &i32| !self.brokers.is_running(*id);
            MetadataResponsePartition {
                error_code: code.0,
                partition_index: index,
                leader_id: partition.leader.unwrap_or(-1),
                leader_epoch: partition.leader_epoch,
                replica_nodes: partition.replicas.clone(),
                isr_nodes: partition.isr.clone(),
                offline_replicas: partition.replicas.iter().copied().filter(stopped).collect(),
            }
        });
        let operations = request.include_topic_authorized_operations;
        MetadataResponseTopic {
            error_code: ErrorCode::NONE.0,
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions: partitions.collect(),
            topic_authorized_operations: if operations { TOPIC_OPERATIONS } else { NO_OPERATIONS },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;

    fn asking(names: &[&str]) -> MetadataRequest {
        let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
        let topics = Some(names.iter().map(topic).collect());
        MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() }
    }

    #[test]
    fn a_topic_made_on_first_use_is_there_for_the_next_request() {
        let mut harness = Harness::new(3);
        let create = MetadataRequest { allow_auto_topic_creation: true, ..asking(&["made"]) };
        let codes =
            |response: &MetadataResponse| -> Vec<i16> { response.topics.iter().map(|t| t.error_code).collect() };
        assert_eq!(codes(&harness.call(1, 12, asking(&["made"]))), [3]);
        assert_eq!(codes(&harness.call(1, 12, create)), [3]);
        let response: MetadataResponse = harness.call(2, 12, asking(&["made", "absent", "b/d"]));
        assert_eq!(codes(&response), [0, 3, 17]);
        assert_eq!(response.brokers.len(), 3);
        assert_eq!(response.topics[0].partitions.len(), 1);
        let by_id = MetadataRequestTopic { topic_id: response.topics[0].topic_id, name: None };
        let response = harness.call(1, 12, MetadataRequest { topics: Some(vec![by_id]), ..Default::default() });
        assert_eq!(response.topics[0].name.as_deref(), Some("made"));
    }

    #[test]
    fn leaders_move_when_their_broker_stops_and_the_last_replica_stays_in_sync() {
        let mut harness = Harness::new(2);
        harness.state.create_topic_on("t", vec![vec![1, 2], vec![1]], BTreeMap::new()).unwrap();
        harness.state.broker_stopped(1);
        let partitions = harness.call(2, 12, asking(&["t"])).topics.remove(0).partitions;
        assert_eq!((partitions[0].leader_id, partitions[0].leader_epoch, &*partitions[0].isr_nodes), (2, 1, &[2][..]));
        assert_eq!((partitions[1].leader_id, partitions[1].error_code, &*partitions[1].isr_nodes), (-1, 5, &[1][..]));
        assert_eq!(partitions[1].offline_replicas, [1]);
        harness.state.broker_started(1);
        let partitions = harness.call(2, 12, asking(&["t"])).topics.remove(0).partitions;
        assert_eq!((partitions[0].leader_id, &*partitions[0].isr_nodes), (2, &[2, 1][..]));
        assert_eq!((partitions[1].leader_id, partitions[1].leader_epoch), (1, 2));
    }
}
