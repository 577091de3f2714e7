//! What the cluster's handle sees and does of a partition, past the protocol.

use super::log::{Log, Marker};
use super::topics::Partition;
use super::{State, Time};
use crate::ErrorCode;
use crate::batch::RecordBatch;

impl State {
    /// The batches of a partition that can still be read; the first of them may begin before the log's start.
    pub(in crate::embedded) fn batches(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(i64, Vec<RecordBatch>), ErrorCode> {
        let log = self.log(topic, partition)?;
        Ok((log.start_offset(), log.batches().cloned().collect()))
    }

    pub(in crate::embedded) fn log(&self, topic: &str, partition: i32) -> Result<&Log, ErrorCode> {
        let partition = self.topics.partition(topic, partition);
        partition.map(|partition| &partition.log).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Cuts a log as a change of leaders does in which records are lost: the leader is another one, or the same in a
    /// new epoch where there is no other.
    pub(in crate::embedded) fn truncate(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), ErrorCode> {
        let found = self.changed_log(topic, partition)?;
        let other = found.isr.iter().copied().find(|id| Some(*id) != found.leader);
        found.leader = found.leader.map(|leader| other.unwrap_or(leader));
        found.leader_epoch += 1;
        found.log.truncate(offset);
        found.log.is_led_in(found.leader_epoch);
        self.wake_fetches(topic, partition);
        Ok(())
    }

    /// Lets a log start at an offset: what is before it is deleted. Beyond the end everything is, and the next record
    /// gets that offset.
    pub(in crate::embedded) fn reset_log_start(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), ErrorCode> {
        let found = self.changed_log(topic, partition)?;
        if (found.log.start_offset()..=found.log.end_offset()).contains(&offset) {
            found.log.advance_start(offset);
        } else {
            found.log.restart(offset.max(0));
            found.log.is_led_in(found.leader_epoch);
        }
        self.wake_fetches(topic, partition);
        Ok(())
    }

    /// Ends a producer's transaction in a partition with a marker, and says at which offset that is. Whoever waits for
    /// committed records is told.
    pub(in crate::embedded) fn end_transaction(
        &mut self,
        topic: &str,
        partition: i32,
        marker: &Marker,
        now: Time,
    ) -> Result<i64, ErrorCode> {
        let now_ms = self.wall_ms(now);
        let found = self.changed_log(topic, partition)?;
        let before = found.log.size();
        let offset = found.log.end_transaction(marker, found.leader_epoch, now_ms)?;
        let grown = found.log.size() - before;
        self.log_grew(topic, partition, usize::try_from(grown).unwrap_or(0), now);
        Ok(offset)
    }

    /// A partition whose log is about to be changed: what its leader began is noted first.
    fn changed_log(&mut self, topic: &str, partition: i32) -> Result<&mut Partition, ErrorCode> {
        let found = self.topics.partition_mut(topic, partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        found.log.is_led_in(found.leader_epoch);
        Ok(found)
    }
}
