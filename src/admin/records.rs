//! Partitions' logs: their offsets, and records deleted from their start.

use super::routing::{Asking, Call, Entity, Route};
use super::values::by_topic;
use super::{Admin, Results, TopicPartition, outcome};
use crate::protocol::messages::delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use crate::{Error, IsolationLevel, Result};
use std::collections::{BTreeMap, HashMap};

/// What a client that is no replica gives as its id.
const CONSUMER: i32 = -1;

/// Which offset of a partition is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// That of the oldest record that is kept.
    Earliest,
    /// The one that the next record will have; with read committed, the first one of an open transaction.
    Latest,
    /// The first one with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
    /// That of the record with the highest timestamp. Brokers from 3.0 on (KIP-734).
    MaxTimestamp,
    /// The oldest one on the leader's own disk. Brokers from 3.4 on (KIP-405).
    EarliestLocal,
    /// The newest one in tiered storage. Brokers from 3.9 on (KIP-1005).
    LatestTiered,
    /// The oldest one that is to go to tiered storage yet. Brokers from 4.2 on (KIP-1023).
    EarliestPendingUpload,
}

impl OffsetSpec {
    /// The timestamp that stands for it, and the version it came with.
    fn on_the_wire(self) -> (i64, i16) {
        match self {
            Self::Latest => (-1, 1),
            Self::Earliest => (-2, 1),
            Self::MaxTimestamp => (-3, 7),
            Self::EarliestLocal => (-4, 8),
            Self::LatestTiered => (-5, 9),
            Self::EarliestPendingUpload => (-6, 11),
            // Negative ones would ask for something else.
            Self::Timestamp(timestamp) => (timestamp.max(0), 1),
        }
    }
}

/// An offset that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedOffset {
    /// The offset; `None` if there is no such record: none of that time or later, an empty partition.
    pub offset: Option<i64>,
    /// The record's timestamp, where one was sought by its timestamp.
    pub timestamp: Option<i64>,
    /// The leader epoch of the record; `None` if the broker does not tell.
    pub leader_epoch: Option<i32>,
}

/// Where a leader epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EpochEnd {
    /// The largest epoch that is not above the one asked for; `None` if the leader knows none.
    pub leader_epoch: Option<i32>,
    /// The offset after the last record of that epoch; `None` as above.
    pub end_offset: Option<i64>,
}

impl Admin {
    /// Finds offsets of partitions. RPC ListOffsets to the leaders, side by side, brokers from 1.0 on;
    /// [`OffsetSpec`] says what needs newer ones. Reads uncommitted, as Kafka's tool does.
    ///
    /// ```no_run
    /// use sarameya::admin::OffsetSpec;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, offset) in admin.list_offsets(&[(("test3", 0).into(), OffsetSpec::Latest)])? {
    ///     println!("{partition} ends at {:?}", offset?.offset);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_offsets(
        &self,
        partitions: &[(TopicPartition, OffsetSpec)],
    ) -> Result<Results<ListedOffset, TopicPartition>> {
        self.list_offsets_isolated(partitions, IsolationLevel::ReadUncommitted)
    }

    /// Like [`list_offsets`](Self::list_offsets), as a consumer of this isolation level would see it. RPC ListOffsets to
    /// the leaders, brokers from 1.0 on.
    ///
    /// ```no_run
    /// use sarameya::IsolationLevel;
    /// use sarameya::admin::{OffsetSpec, TopicPartition};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let end = [(TopicPartition::new("test3", 0), OffsetSpec::Latest)];
    /// for (partition, found) in admin.list_offsets_isolated(&end, IsolationLevel::ReadCommitted)? {
    ///     println!("{partition}: {:?}", found?.offset);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_offsets_isolated(
        &self,
        partitions: &[(TopicPartition, OffsetSpec)],
        isolation_level: IsolationLevel,
    ) -> Result<Results<ListedOffset, TopicPartition>> {
        list_offsets_in(&self.call(), partitions, isolation_level)
    }

    /// Deletes the records before an offset, -1 being all there are. RPC DeleteRecords to the leaders, side by side,
    /// brokers from 1.0 on. The result is the offset the partition starts with from now on.
    ///
    /// Blocks until all replicas have done it. Refused with POLICY_VIOLATION if the topic is compacted only.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, first) in admin.delete_records(&[(TopicPartition::new("test3", 0), 1000)])? {
    ///     println!("{partition} begins with {}", first?);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn delete_records(&self, before: &[(TopicPartition, i64)]) -> Result<Results<i64, TopicPartition>> {
        let offsets: HashMap<&TopicPartition, i64> = before.iter().map(|(partition, at)| (partition, *at)).collect();
        let partitions = before.iter().map(|(partition, _)| partition.clone()).collect();
        self.call().run(partitions, &Route::Leader(&|partition| partition), |asking, partitions| {
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| DeleteRecordsTopic {
                name: topic.to_owned(),
                partitions: numbers
                    .into_iter()
                    .filter_map(|partition_index| {
                        let offset = *offsets.get(&TopicPartition::new(topic, partition_index))?;
                        Some(DeleteRecordsPartition { partition_index, offset })
                    })
                    .collect(),
            });
            let request = DeleteRecordsRequest { topics: topics.collect(), timeout_ms: asking.timeout_ms() };
            let response = asking.call(&request)?;
            let answers = response.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let deleted = outcome(p.error_code, None, "records were not deleted");
                    (TopicPartition::new(&topic.name, p.partition_index), deleted.map(|()| p.low_watermark))
                })
            });
            Ok(answers.collect())
        })
    }

    /// Where leader epochs end. RPC OffsetForLeaderEpoch to the leaders, side by side, brokers from 2.1 on.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, end) in admin.offsets_for_leader_epochs(&[(TopicPartition::new("test3", 0), 5)])? {
    ///     println!("{partition}: epoch 5 ended at {:?}", end?.end_offset);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn offsets_for_leader_epochs(
        &self,
        epochs: &[(TopicPartition, i32)],
    ) -> Result<Results<EpochEnd, TopicPartition>> {
        let wanted: HashMap<&TopicPartition, i32> = epochs.iter().map(|(partition, e)| (partition, *e)).collect();
        let partitions = epochs.iter().map(|(partition, _)| partition.clone()).collect();
        self.call().run(partitions, &Route::Leader(&|partition| partition), |asking, partitions| {
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| OffsetForLeaderTopic {
                topic: topic.to_owned(),
                partitions: numbers
                    .into_iter()
                    .filter_map(|partition| {
                        let leader_epoch = *wanted.get(&TopicPartition::new(topic, partition))?;
                        Some(OffsetForLeaderPartition { partition, current_leader_epoch: -1, leader_epoch })
                    })
                    .collect(),
            });
            let response =
                asking.call(&OffsetForLeaderEpochRequest { replica_id: CONSUMER, topics: topics.collect() })?;
            let answers = response.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let end = outcome(p.error_code, None, "the end of the epoch is not known").map(|()| EpochEnd {
                        leader_epoch: Some(p.leader_epoch).filter(|epoch| *epoch >= 0),
                        end_offset: Some(p.end_offset).filter(|offset| *offset >= 0),
                    });
                    (TopicPartition::new(&topic.topic, p.partition), end)
                })
            });
            Ok(answers.collect())
        })
    }
}

/// One offset that is sought: the nth of this partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sought {
    partition: TopicPartition,
    spec: OffsetSpec,
    nth: usize,
}

impl Entity for Sought {
    fn named(&self, error: Error) -> Error {
        self.partition.named(error)
    }
}

/// Finds offsets within a call that does more.
pub(super) fn list_offsets_in(
    call: &Call<'_>,
    partitions: &[(TopicPartition, OffsetSpec)],
    isolation_level: IsolationLevel,
) -> Result<Results<ListedOffset, TopicPartition>> {
    // The same partition may be asked for twice, but not in one request.
    let mut times: HashMap<&TopicPartition, usize> = HashMap::new();
    let mut asked: Vec<Sought> = Vec::new();
    for (partition, spec) in partitions {
        let times = times.entry(partition).or_default();
        asked.push(Sought { partition: partition.clone(), spec: *spec, nth: *times });
        *times += 1;
    }
    let rounds = asked.iter().map(|sought| sought.nth).max().map_or(0, |nth| nth + 1);
    let mut found = Vec::new();
    for round in 0..rounds {
        let asked = asked.iter().filter(|sought| sought.nth == round).cloned().collect();
        let route = Route::Leader(&|sought: &Sought| &sought.partition);
        found.extend(call.run(asked, &route, |asking, sought| list_offsets(asking, sought, isolation_level))?);
    }
    let mut found: HashMap<Sought, Result<ListedOffset>> = found.into_iter().collect();
    let missing = || Err(Error::protocol("nothing is known of this partition"));
    let outcome = |sought: Sought| {
        let outcome = found.remove(&sought).unwrap_or_else(missing);
        (sought.partition, outcome)
    };
    Ok(asked.into_iter().map(outcome).collect())
}

fn list_offsets(
    asking: &mut Asking<'_>,
    sought: &[Sought],
    isolation_level: IsolationLevel,
) -> Result<Results<ListedOffset, Sought>> {
    let version = asking.version::<ListOffsetsRequest>()?;
    let mut answers: Results<ListedOffset, Sought> = Vec::new();
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for one in sought {
        let (timestamp, lowest) = one.spec.on_the_wire();
        if version < lowest {
            let too_old = asking.too_old::<ListOffsetsRequest>(lowest, &format!("{:?} can't be found", one.spec))?;
            answers.push((one.clone(), Err(too_old)));
            continue;
        }
        let TopicPartition { topic, partition: partition_index } = &one.partition;
        let partition = ListOffsetsPartition { partition_index: *partition_index, current_leader_epoch: -1, timestamp };
        topics.entry(topic).or_default().push(partition);
    }
    if topics.is_empty() {
        return Ok(answers);
    }
    let isolation_level = if version >= 2 { isolation_level.code() } else { 0 };
    let topic = |(name, partitions): (&str, _)| ListOffsetsTopic { name: name.to_owned(), partitions };
    let response = asking.call(&ListOffsetsRequest {
        replica_id: CONSUMER,
        isolation_level,
        topics: topics.into_iter().map(topic).collect(),
        timeout_ms: asking.timeout_ms(),
    })?;
    let by_partition: HashMap<&TopicPartition, &Sought> = sought.iter().map(|one| (&one.partition, one)).collect();
    for topic in response.topics {
        for partition in topic.partitions {
            let key = TopicPartition::new(&topic.name, partition.partition_index);
            if let Some(one) = by_partition.get(&key) {
                answers.push(((*one).clone(), listed(&partition)));
            }
        }
    }
    Ok(answers)
}

fn listed(answer: &ListOffsetsPartitionResponse) -> Result<ListedOffset> {
    outcome(answer.error_code, None, "the offset was not found")?;
    Ok(ListedOffset {
        offset: Some(answer.offset).filter(|offset| *offset >= 0),
        timestamp: Some(answer.timestamp).filter(|timestamp| *timestamp >= 0),
        leader_epoch: Some(answer.leader_epoch).filter(|epoch| *epoch >= 0),
    })
}
