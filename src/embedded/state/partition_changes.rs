//! ElectLeaders, versions 0 to 2; AlterPartitionReassignments, versions 0 and 1; ListPartitionReassignments, version 0;
//! and leaders and in-sync replicas set by hand.
//!
//! All replicas share one log, so a reassignment is done when it is answered, and none is ever under way.

use super::refusal::{Refusal, code_and_message};
use super::{Context, Reply, State};
use crate::ErrorCode;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopicResponse,
};
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

/// Kinds of election, as on the wire.
const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

impl State {
    pub(super) fn elect_leaders(&mut self, context: &Context, request: ElectLeadersRequest) -> Reply {
        if self.is_refused_by_follower(context) {
            let error_code = ErrorCode::NOT_CONTROLLER.0;
            return Reply::of(ElectLeadersResponse { error_code, ..Default::default() });
        }
        // Version 0 knows only the preferred election.
        let kind = if context.version == 0 { PREFERRED } else { request.election_type };
        if ![PREFERRED, UNCLEAN].contains(&kind) {
            let error_code = ErrorCode::INVALID_REQUEST.0;
            return Reply::of(ElectLeadersResponse { error_code, ..Default::default() });
        }
        let everything = request.topic_partitions.is_none();
        let asked = request.topic_partitions.unwrap_or_else(|| self.every_partition());
        let mut results = Vec::new();
        for TopicPartitions { topic, partitions } in asked {
            let mut partition_result = Vec::new();
            for partition_id in partitions {
                let outcome = self.elect(&topic, partition_id, kind);
                let (error_code, error_message) = code_and_message(&outcome);
                // Who asks for all wants to hear of changes and failures only.
                if !(everything && error_code == ErrorCode::ELECTION_NOT_NEEDED.0) {
                    partition_result.push(PartitionResult { partition_id, error_code, error_message });
                }
            }
            results.push(ReplicaElectionResult { topic, partition_result });
        }
        Reply::of(ElectLeadersResponse { replica_election_results: results, ..Default::default() })
    }

    fn every_partition(&self) -> Vec<TopicPartitions> {
        let all = self.topics.iter().map(|topic| TopicPartitions {
            topic: topic.name.clone(),
            partitions: (0..).take(topic.partitions.len()).collect(),
        });
        all.collect()
    }

    fn elect(&mut self, topic: &str, partition: i32, kind: i8) -> Result<(), Refusal> {
        let unknown = |what: String| Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what);
        if self.topics.get(topic).is_none() {
            return Err(unknown(format!("No such topic as {topic}")));
        }
        let Some(found) = self.topics.partition(topic, partition) else {
            return Err(unknown(format!("No such partition as {topic}-{partition}")));
        };
        let preferred = found.replicas.first().copied();
        let needed = if kind == PREFERRED { found.leader != preferred } else { found.leader.is_none() };
        if !needed {
            let message = "Leader election not needed for topic partition.";
            return Err(Refusal::new(ErrorCode::ELECTION_NOT_NEEDED, message));
        }
        let running = |id: &i32| self.brokers.is_running(*id);
        let leader = if kind == PREFERRED {
            let message = "The preferred leader was not available.";
            let refusal = || Refusal::new(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE, message);
            preferred.filter(|id| running(id) && found.isr.contains(id)).ok_or_else(refusal)?
        } else {
            let message = "Eligible topic partition leaders are not available.";
            let refusal = || Refusal::new(ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE, message);
            found.replicas.iter().copied().find(running).ok_or_else(refusal)?
        };
        self.set_leader(topic, partition, leader);
        Ok(())
    }

    /// Makes a replica the leader; it is in sync from then on.
    fn set_leader(&mut self, topic: &str, partition: i32, leader: i32) {
        if let Some(partition) = self.topics.partition_mut(topic, partition) {
            if !partition.isr.contains(&leader) {
                // Whoever takes over without being in sync decides what the log is.
                partition.isr = vec![leader];
            }
            partition.leader = Some(leader);
            partition.leader_epoch += 1;
        }
        self.leaders_changed();
    }

    /// Who leads a partition.
    pub(in crate::embedded) fn leader_of(&self, topic: &str, partition: i32) -> Result<Option<i32>, Refusal> {
        let found = self.topics.partition(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        Ok(found.leader)
    }

    /// Moves a partition's leader to a running broker, which becomes a replica if it is none.
    pub(in crate::embedded) fn move_leader(&mut self, topic: &str, partition: i32, leader: i32) -> Result<(), Refusal> {
        let running = self.brokers.is_running(leader);
        let found = self.topics.partition_mut(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !running {
            return Err(ErrorCode::BROKER_NOT_AVAILABLE.into());
        }
        for replicas in [&mut found.replicas, &mut found.isr] {
            if !replicas.contains(&leader) {
                replicas.push(leader);
            }
        }
        if found.leader != Some(leader) {
            self.set_leader(topic, partition, leader);
        }
        Ok(())
    }

    /// Says which replicas are in sync. A leader that is not among them gives way to the first that runs.
    pub(in crate::embedded) fn set_isr(&mut self, topic: &str, partition: i32, isr: &[i32]) -> Result<(), Refusal> {
        let running: Vec<i32> = isr.iter().copied().filter(|id| self.brokers.is_running(*id)).collect();
        let found = self.topics.partition_mut(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if isr.is_empty() || !isr.iter().all(|id| found.replicas.contains(id)) {
            return Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT.into());
        }
        found.isr = isr.to_vec();
        if found.leader.is_none_or(|leader| !isr.contains(&leader)) {
            found.leader = running.first().copied();
            found.leader_epoch += 1;
        }
        self.leaders_changed();
        Ok(())
    }

    pub(super) fn alter_partition_reassignments(
        &mut self,
        context: &Context,
        request: AlterPartitionReassignmentsRequest,
    ) -> Reply {
        if self.is_refused_by_follower(context) {
            let error_code = ErrorCode::NOT_CONTROLLER.0;
            return Reply::of(AlterPartitionReassignmentsResponse { error_code, ..Default::default() });
        }
        let fixed = context.version >= 1 && !request.allow_replication_factor_change;
        let mut responses = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for asked in topic.partitions {
                let outcome = self.reassign(&topic.name, asked.partition_index, asked.replicas, fixed);
                let (error_code, error_message) = code_and_message(&outcome);
                let partition_index = asked.partition_index;
                partitions.push(ReassignablePartitionResponse { partition_index, error_code, error_message });
            }
            responses.push(ReassignableTopicResponse { name: topic.name, partitions });
        }
        Reply::of(AlterPartitionReassignmentsResponse {
            responses,
            allow_replication_factor_change: request.allow_replication_factor_change,
            ..Default::default()
        })
    }

    /// `None` for the replicas would cancel a reassignment.
    fn reassign(
        &mut self,
        topic: &str,
        partition: i32,
        replicas: Option<Vec<i32>>,
        fixed: bool,
    ) -> Result<(), Refusal> {
        let unknown = |what: String| Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, what);
        if self.topics.get(topic).is_none() {
            return Err(unknown(format!("Unable to find a topic named {topic}.")));
        }
        let Some(found) = self.topics.partition(topic, partition) else {
            return Err(unknown(format!("Unable to find partition {topic}:{partition}.")));
        };
        let Some(replicas) = replicas else { return Err(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS.into()) };
        self.check_assignment(&replicas, None)?;
        if fixed && replicas.len() != found.replicas.len() {
            let message =
                format!("The replication factor is changed from {} to {}", found.replicas.len(), replicas.len());
            return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
        }
        let running: Vec<i32> = replicas.iter().copied().filter(|id| self.brokers.is_running(*id)).collect();
        if let Some(partition) = self.topics.partition_mut(topic, partition) {
            partition.isr = if running.is_empty() { replicas.clone() } else { running.clone() };
            let leaves = partition.leader.is_none_or(|leader| !replicas.contains(&leader));
            if leaves {
                partition.leader = running.first().copied();
            }
            // A replica less makes a new epoch even if the leader stays.
            if leaves || partition.replicas.iter().any(|id| !replicas.contains(id)) {
                partition.leader_epoch += 1;
            }
            partition.replicas = replicas;
        }
        self.leaders_changed();
        Ok(())
    }

    pub(super) fn list_partition_reassignments(
        &mut self,
        _context: &Context,
        _request: ListPartitionReassignmentsRequest,
    ) -> Reply {
        Reply::of(ListPartitionReassignmentsResponse::default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::super::topics::Partition;
    use super::*;
    use crate::protocol::messages::alter_partition_reassignments::{ReassignablePartition, ReassignableTopic};
    use std::collections::BTreeMap;

    /// A topic with one partition.
    fn with_replicas(brokers: i32, replicas: &[i32]) -> Harness {
        let mut harness = Harness::new(brokers);
        harness.state.create_topic_on("t", vec![replicas.to_vec()], BTreeMap::new()).unwrap();
        harness
    }

    fn partition(harness: &Harness) -> &Partition {
        harness.state.topics.partition("t", 0).unwrap()
    }

    fn elect(harness: &mut Harness, election_type: i8, topic: &str, partition: i32) -> (i16, Option<String>) {
        let asked = TopicPartitions { topic: topic.into(), partitions: vec![partition] };
        let request = ElectLeadersRequest { election_type, topic_partitions: Some(vec![asked]), timeout_ms: 1000 };
        let mut response = harness.call(2, 2, request);
        let result = response.replica_election_results.remove(0).partition_result.remove(0);
        (result.error_code, result.error_message)
    }

    #[test]
    fn the_preferred_leader_is_elected_if_it_is_in_sync() {
        let mut harness = with_replicas(2, &[1, 2]);
        assert_eq!(elect(&mut harness, PREFERRED, "t", 0).0, 84);
        harness.state.broker_stopped(1);
        assert_eq!(partition(&harness).leader, Some(2));
        let (code, words) = elect(&mut harness, PREFERRED, "t", 0);
        assert_eq!((code, words.as_deref()), (80, Some("The preferred leader was not available.")));
        harness.state.broker_started(1);
        let epoch = partition(&harness).leader_epoch;
        assert_eq!(elect(&mut harness, PREFERRED, "t", 0).0, 0);
        assert_eq!((partition(&harness).leader, partition(&harness).leader_epoch), (Some(1), epoch + 1));
        assert_eq!(elect(&mut harness, PREFERRED, "t", 7).1.as_deref(), Some("No such partition as t-7"));
        assert_eq!(elect(&mut harness, PREFERRED, "u", 0).1.as_deref(), Some("No such topic as u"));
    }

    #[test]
    fn an_unclean_election_takes_a_replica_that_is_not_in_sync_and_only_then() {
        let mut harness = with_replicas(2, &[1, 2]);
        harness.state.set_isr("t", 0, &[1]).unwrap();
        assert_eq!(elect(&mut harness, UNCLEAN, "t", 0).0, 84);
        harness.state.broker_stopped(1);
        assert_eq!(partition(&harness).leader, None);
        assert_eq!(elect(&mut harness, UNCLEAN, "t", 0).0, 0);
        assert_eq!((partition(&harness).leader, &*partition(&harness).isr), (Some(2), &[2][..]));
        harness.state.broker_stopped(2);
        assert_eq!(elect(&mut harness, UNCLEAN, "t", 0).0, 83);
    }

    #[test]
    fn who_asks_for_all_partitions_hears_of_changes_only() {
        let mut harness = with_replicas(2, &[1, 2]);
        harness.state.create_topic_on("u", vec![vec![2, 1]], BTreeMap::new()).unwrap();
        harness.state.move_leader("u", 0, 1).unwrap();
        let all = ElectLeadersRequest { election_type: PREFERRED, topic_partitions: None, timeout_ms: 1000 };
        let results = harness.call(1, 2, all).replica_election_results;
        let counts: Vec<_> = results.iter().map(|topic| (topic.topic.as_str(), topic.partition_result.len())).collect();
        assert_eq!(counts, [("t", 0), ("u", 1)]);
    }

    #[test]
    fn a_leader_moves_to_any_running_broker_and_the_epoch_rises_once() {
        let mut harness = with_replicas(3, &[1, 2]);
        harness.state.move_leader("t", 0, 3).unwrap();
        let moved = partition(&harness);
        assert_eq!(
            (moved.leader, moved.leader_epoch, &*moved.replicas, &*moved.isr),
            (Some(3), 1, &[1, 2, 3][..], &[1, 2, 3][..])
        );
        harness.state.move_leader("t", 0, 3).unwrap();
        assert_eq!(partition(&harness).leader_epoch, 1);
        harness.state.broker_stopped(2);
        assert_eq!(harness.state.move_leader("t", 0, 2).unwrap_err().code, ErrorCode::BROKER_NOT_AVAILABLE);
        assert_eq!(harness.state.move_leader("t", 1, 1).unwrap_err().code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }

    #[test]
    fn a_leader_that_is_no_longer_in_sync_gives_way() {
        let mut harness = with_replicas(3, &[1, 2, 3]);
        harness.state.set_isr("t", 0, &[1, 3]).unwrap();
        assert_eq!((partition(&harness).leader, partition(&harness).leader_epoch), (Some(1), 0));
        harness.state.set_isr("t", 0, &[3]).unwrap();
        assert_eq!((partition(&harness).leader, partition(&harness).leader_epoch), (Some(3), 1));
        assert!(harness.state.set_isr("t", 0, &[]).is_err() && harness.state.set_isr("t", 0, &[9]).is_err());
    }

    #[test]
    fn a_reassignment_is_done_at_once() {
        let mut harness = with_replicas(3, &[1, 2]);
        let ask = |harness: &mut Harness, replicas: Option<&[i32]>, allow_replication_factor_change| {
            let asked = ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) };
            let topics = vec![ReassignableTopic { name: "t".into(), partitions: vec![asked] }];
            let request =
                AlterPartitionReassignmentsRequest { timeout_ms: 1000, allow_replication_factor_change, topics };
            harness.call(1, 1, request).responses[0].partitions[0].error_code
        };
        assert_eq!(ask(&mut harness, Some(&[3, 2]), true), 0);
        let moved = partition(&harness);
        assert_eq!(
            (moved.leader, moved.leader_epoch, &*moved.replicas, &*moved.isr),
            (Some(3), 1, &[3, 2][..], &[3, 2][..])
        );
        assert_eq!(ask(&mut harness, Some(&[2, 3]), true), 0);
        assert_eq!(
            (partition(&harness).leader, partition(&harness).leader_epoch),
            (Some(3), 1),
            "only the order changed"
        );
        assert_eq!(ask(&mut harness, Some(&[1]), false), 38);
        assert_eq!(ask(&mut harness, Some(&[1, 9]), true), 39);
        assert_eq!(ask(&mut harness, None, true), 85);
        let list = ListPartitionReassignmentsRequest::default();
        assert_eq!(harness.call(1, 0, list).topics.len(), 0);
    }
}
