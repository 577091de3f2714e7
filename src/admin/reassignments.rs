//! Where replicas are and which of them leads: reassignments and elections.

use super::routing::Route;
use super::values::by_topic;
use super::{Admin, Results, TopicPartition, outcome};
use crate::Result;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, ReassignablePartition, ReassignableTopic,
};
use crate::protocol::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsTopics,
};
use std::collections::HashMap;

/// From this version on leaders can be elected that are not in sync.
const UNCLEAN: i16 = 1;

/// A partition whose replicas are moving.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionReassignment {
    /// The brokers that have a replica now, old and new ones.
    pub replicas: Vec<i32>,
    /// Those that are to get one.
    pub adding_replicas: Vec<i32>,
    /// Those that are to lose theirs.
    pub removing_replicas: Vec<i32>,
}

/// Which replica may be elected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElectionType {
    /// The first of the replicas, if it is in sync.
    Preferred,
    /// Any one that runs, if none in sync does: records may be lost.
    Unclean,
}

impl Admin {
    /// Moves replicas of partitions to these brokers, the preferred leader first, or calls a move off with `None`. RPC
    /// AlterPartitionReassignments to the controller, brokers from 2.4 on.
    ///
    /// Returns when it has begun; [`list_partition_reassignments`](Self::list_partition_reassignments) shows what goes
    /// on. NO_REASSIGNMENT_IN_PROGRESS says that there was nothing to call off.
    ///
    /// ```no_run
    /// use sarameya::admin::TopicPartition;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let to = (TopicPartition::new("test3", 0), Some(vec![2, 3]));
    /// for (partition, outcome) in admin.alter_partition_reassignments(&[to])? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn alter_partition_reassignments(
        &self,
        reassignments: &[(TopicPartition, Option<Vec<i32>>)],
    ) -> Result<Results<(), TopicPartition>> {
        let wanted: HashMap<&TopicPartition, &Option<Vec<i32>>> = reassignments.iter().map(|(p, r)| (p, r)).collect();
        let partitions = reassignments.iter().map(|(partition, _)| partition.clone()).collect();
        self.call().run(partitions, &Route::Controller, |asking, partitions| {
            let partition = |topic: &str, partition_index| {
                let replicas = (*wanted.get(&TopicPartition::new(topic, partition_index))?).clone();
                Some(ReassignablePartition { partition_index, replicas })
            };
            let topics = by_topic(partitions).into_iter().map(|(topic, numbers)| ReassignableTopic {
                name: topic.to_owned(),
                partitions: numbers.into_iter().filter_map(|number| partition(topic, number)).collect(),
            });
            let response = asking.call(&AlterPartitionReassignmentsRequest {
                timeout_ms: asking.timeout_ms(),
                topics: topics.collect(),
                ..Default::default()
            })?;
            let doing = "replicas were not reassigned";
            outcome(response.error_code, response.error_message.as_deref(), doing)?;
            let answers = response.responses.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let outcome = outcome(p.error_code, p.error_message.as_deref(), doing);
                    (TopicPartition::new(&topic.name, p.partition_index), outcome)
                })
            });
            Ok(answers.collect())
        })
    }

    /// The partitions whose replicas are moving, of these or of all for `None`. RPC ListPartitionReassignments to the
    /// controller, brokers from 2.4 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, under_way) in admin.list_partition_reassignments(None)? {
    ///     println!("{partition}: to come {:?}", under_way.adding_replicas);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn list_partition_reassignments(
        &self,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Vec<(TopicPartition, PartitionReassignment)>> {
        let topic = |(topic, partition_indexes): (&str, Vec<i32>)| ListPartitionReassignmentsTopics {
            name: topic.to_owned(),
            partition_indexes,
        };
        self.call().ask(&Route::Controller, |asking| {
            let topics = partitions.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
            let response =
                asking.call(&ListPartitionReassignmentsRequest { timeout_ms: asking.timeout_ms(), topics })?;
            outcome(response.error_code, response.error_message.as_deref(), "reassignments were not listed")?;
            let moving = response.topics.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |p| {
                    let reassignment = PartitionReassignment {
                        replicas: p.replicas,
                        adding_replicas: p.adding_replicas,
                        removing_replicas: p.removing_replicas,
                    };
                    (TopicPartition::new(&topic.name, p.partition_index), reassignment)
                })
            });
            let mut moving: Vec<_> = moving.collect();
            moving.sort_by(|(a, _), (b, _)| a.cmp(b));
            Ok(moving)
        })
    }

    /// Has leaders elected, of these partitions or of all for `None`. RPC ElectLeaders to the controller, brokers from
    /// 2.2 on; unclean ones from 2.4 on.
    ///
    /// ELECTION_NOT_NEEDED says that the leader is the wanted one already, maybe by an earlier try of this very call. For
    /// all partitions the broker tells only of those that had something to elect.
    ///
    /// ```no_run
    /// use sarameya::admin::ElectionType;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (partition, outcome) in admin.elect_leaders(ElectionType::Preferred, None)? {
    ///     println!("{partition}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn elect_leaders(
        &self,
        election_type: ElectionType,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<Results<(), TopicPartition>> {
        let elect = |asking: &mut super::routing::Asking<'_>, partitions: Option<&[TopicPartition]>| {
            if election_type == ElectionType::Unclean {
                asking.needs::<ElectLeadersRequest>(UNCLEAN, "elections can't be unclean")?;
            }
            let topic = |(topic, partitions): (&str, Vec<i32>)| TopicPartitions { topic: topic.to_owned(), partitions };
            let response = asking.call(&ElectLeadersRequest {
                election_type: i8::from(election_type == ElectionType::Unclean),
                topic_partitions: partitions.map(|partitions| by_topic(partitions).into_iter().map(topic).collect()),
                timeout_ms: asking.timeout_ms(),
            })?;
            outcome(response.error_code, None, "no leaders were elected")?;
            let answers = response.replica_election_results.into_iter().flat_map(|topic| {
                topic.partition_result.into_iter().map(move |p| {
                    let outcome = outcome(p.error_code, p.error_message.as_deref(), "no leader was elected");
                    (TopicPartition::new(&topic.topic, p.partition_id), outcome)
                })
            });
            Ok(answers.collect::<Vec<_>>())
        };
        match partitions {
            Some(partitions) => {
                self.call().run(partitions.to_vec(), &Route::Controller, |asking, left| elect(asking, Some(left)))
            }
            None => {
                let mut elected = self.call().ask(&Route::Controller, |asking| elect(asking, None))?;
                elected.sort_by(|(a, _), (b, _)| a.cmp(b));
                Ok(elected)
            }
        }
    }
}
