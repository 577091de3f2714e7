//! Metadata, versions 0 to 13: brokers, topics by name or id, and the creation of topics on first use.

use super::coordinator::Coordinated;
use super::topics::{Partition, Topic, is_internal, is_valid_name};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::ApiKey;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use std::collections::BTreeMap;

/// "Not asked for".
pub(super) const NO_OPERATIONS: i32 = i32::MIN;
/// The operations that a client may do where there are no ACLs, as bits (KIP-430).
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_0010_0000;
pub(super) const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;

impl State {
    pub(super) fn metadata(&mut self, context: &Context, request: MetadataRequest) -> Reply {
        let topics = match &request.topics {
            // In version 0 an empty list stands for all topics.
            Some(asked) if !(asked.is_empty() && context.version == 0) => self.asked_topics(asked, &request, context),
            _ => self.topics.iter().map(|topic| self.described(topic, &request, context.version)).collect(),
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

    /// If one topic is asked for by its id, those asked for by name are left out, as Kafka does.
    fn asked_topics(
        &mut self,
        asked: &[MetadataRequestTopic],
        request: &MetadataRequest,
        context: &Context,
    ) -> Vec<MetadataResponseTopic> {
        let failed = |topic: &MetadataRequestTopic, code: ErrorCode| MetadataResponseTopic {
            error_code: code.0,
            // Only version 12 can tell a topic without a name.
            name: if context.version < 12 { topic.name.clone().or(Some(String::new())) } else { topic.name.clone() },
            topic_id: topic.topic_id,
            ..Default::default()
        };
        let has_id = |topic: &MetadataRequestTopic| topic.topic_id != [0; 16];
        let named = asked.iter().all(|topic| topic.name.is_some());
        if context.version < 12 && (!named || asked.iter().any(has_id)) {
            return asked.iter().map(|topic| failed(topic, ErrorCode::INVALID_REQUEST)).collect();
        }
        let by_id = asked.iter().any(has_id);
        let mut answers = Vec::new();
        for topic in asked.iter().filter(|topic| has_id(topic) == by_id) {
            let known = if by_id { self.topics.name_of(&topic.topic_id) } else { topic.name.as_deref() };
            if let Some(topic) = known.and_then(|name| self.topics.get(name)) {
                answers.push(self.described(topic, request, context.version));
            } else if by_id {
                let nameless = MetadataRequestTopic { name: None, ..topic.clone() };
                answers.push(failed(&nameless, ErrorCode::UNKNOWN_TOPIC_ID));
            } else {
                let name = topic.name.as_deref().unwrap_or_default();
                let code = self.absent_topic(name, request, context);
                answers.push(MetadataResponseTopic { is_internal: is_internal(name), ..failed(topic, code) });
            }
        }
        answers
    }

    /// What is said of a topic that is not there. It may be made, but as in Kafka it is there only for the next request.
    fn absent_topic(&mut self, name: &str, request: &MetadataRequest, context: &Context) -> ErrorCode {
        if !is_valid_name(name) {
            return ErrorCode::INVALID_TOPIC_EXCEPTION;
        }
        // Before version 4 there was no such switch in the request.
        let wanted = request.allow_auto_topic_creation || context.version < 4;
        if wanted && self.settings.flag("auto.create.topics.enable") {
            if let Some(kind) = Coordinated::of_topic(name) {
                // Made with settings of its own. Whether it could be is seen the next time.
                let _ = self.make_coordinators_topic(kind);
                return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            }
            let (partitions, factor) = self.topic_defaults();
            if let Err(code) = self.create_topic(name, partitions, factor, BTreeMap::new()) {
                log::warn!("embedded broker {} can't make topic {name}: {code}", context.broker);
            }
        }
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
    }

    fn described(&self, topic: &Topic, request: &MetadataRequest, version: i16) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().zip(0..);
        let operations = request.include_topic_authorized_operations;
        MetadataResponseTopic {
            error_code: ErrorCode::NONE.0,
            name: Some(topic.name.clone()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions: partitions
                .map(|(partition, index)| {
                    let described = self.described_partition(partition, index, version);
                    let fault = self.fault_at(ApiKey::METADATA, &topic.name, index).err();
                    let error_code = fault.map_or(described.error_code, |code| code.0);
                    MetadataResponsePartition { error_code, ..described }
                })
                .collect(),
            topic_authorized_operations: if operations { TOPIC_OPERATIONS } else { NO_OPERATIONS },
        }
    }

    fn described_partition(&self, partition: &Partition, index: i32, version: i16) -> MetadataResponsePartition {
        let stopped = |id: &i32| !self.brokers.is_running(*id);
        // Version 0 leaves out the replicas that are not there, and says so.
        let shown = |ids: &[i32]| ids.iter().copied().filter(|id| version > 0 || !stopped(id)).collect::<Vec<i32>>();
        let (replica_nodes, isr_nodes) = (shown(&partition.replicas), shown(&partition.isr));
        let hidden = replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < partition.isr.len();
        let code = match partition.leader {
            None => ErrorCode::LEADER_NOT_AVAILABLE,
            Some(_) if hidden => ErrorCode::REPLICA_NOT_AVAILABLE,
            Some(_) => ErrorCode::NONE,
        };
        MetadataResponsePartition {
            error_code: code.0,
            partition_index: index,
            leader_id: partition.leader.unwrap_or(-1),
            leader_epoch: partition.leader_epoch,
            replica_nodes,
            isr_nodes,
            offline_replicas: partition.replicas.iter().copied().filter(stopped).collect(),
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

    #[test]
    fn version_0_leaves_out_replicas_that_are_not_there_and_says_so() {
        let mut harness = Harness::new(2);
        harness.state.create_topic_on("t", vec![vec![1, 2]], BTreeMap::new()).unwrap();
        harness.state.broker_stopped(2);
        let old = MetadataRequest { allow_auto_topic_creation: true, ..asking(&["t"]) };
        let partition = harness.call(1, 0, old.clone()).topics.remove(0).partitions.remove(0);
        assert_eq!((partition.error_code, &*partition.replica_nodes), (9, &[1][..]));
        let partition = harness.call(1, 1, old).topics.remove(0).partitions.remove(0);
        assert_eq!((partition.error_code, &*partition.replica_nodes), (0, &[1, 2][..]));
        let all = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        assert_eq!(harness.call(1, 0, all.clone()).topics.len(), 1);
        assert_eq!(harness.call(1, 1, all).topics.len(), 0);
    }

    #[test]
    fn an_internal_topic_is_made_with_its_own_settings_and_marked() {
        let mut harness = Harness::new(1);
        let create = MetadataRequest { allow_auto_topic_creation: true, ..asking(&["__consumer_offsets"]) };
        harness.call(1, 12, create.clone());
        let topic = harness.call(1, 12, create).topics.remove(0);
        assert_eq!((topic.error_code, topic.is_internal, topic.partitions.len()), (0, true, 50));
    }
}
