//! What a broker holds of a partition, and what it says where it is not the leader.

use super::State;
use super::brokers::Broker;
use super::topics::{Partition, Topic};
use crate::ErrorCode;

/// "Not given", of a leader epoch in a request.
const NO_EPOCH: i32 = -1;

/// Who leads a partition, as answers to the wrong broker say (KIP-951).
#[derive(Debug, Clone, Copy)]
pub(super) struct CurrentLeader {
    /// -1 if there is none.
    pub(super) id: i32,
    pub(super) epoch: i32,
}

impl State {
    /// A broker's replica of a partition. A leader epoch that was given must be the current one (KIP-320).
    pub(super) fn replica(
        &mut self,
        broker: i32,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
    ) -> Result<&mut Partition, ErrorCode> {
        let partition = self.topics.partition_mut(topic, partition);
        let partition = partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        if !partition.replicas.contains(&broker) {
            return Err(ErrorCode::NOT_LEADER_OR_FOLLOWER);
        }
        if leader_epoch != NO_EPOCH && leader_epoch < partition.leader_epoch {
            return Err(ErrorCode::FENCED_LEADER_EPOCH);
        }
        if leader_epoch != NO_EPOCH && leader_epoch > partition.leader_epoch {
            return Err(ErrorCode::UNKNOWN_LEADER_EPOCH);
        }
        partition.log.is_led_in(partition.leader_epoch);
        Ok(partition)
    }

    /// The same, where only the leader may answer.
    pub(super) fn leader(
        &mut self,
        broker: i32,
        topic: &str,
        partition: i32,
        leader_epoch: i32,
    ) -> Result<&mut Partition, ErrorCode> {
        let partition = self.replica(broker, topic, partition, leader_epoch)?;
        if partition.leader == Some(broker) { Ok(partition) } else { Err(ErrorCode::NOT_LEADER_OR_FOLLOWER) }
    }

    /// Whom to ask instead, and where that broker is if it runs.
    pub(super) fn current_leader(&self, topic: &str, partition: i32) -> (CurrentLeader, Option<&Broker>) {
        let Some(partition) = self.topics.partition(topic, partition) else {
            return (CurrentLeader { id: -1, epoch: -1 }, None);
        };
        let leader = CurrentLeader { id: partition.leader.unwrap_or(-1), epoch: partition.leader_epoch };
        (leader, self.brokers.get(leader.id).filter(|broker| broker.is_active()))
    }

    /// A topic by the id that a request has instead of its name.
    pub(super) fn topic_of(&self, id: &[u8; 16]) -> Result<&Topic, ErrorCode> {
        let topic = self.topics.name_of(id).and_then(|name| self.topics.get(name));
        topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    }
}
