//! Groups of Kafka Streams (KIP-1071). Their offsets are those of any group.

use super::acls::{AclOperation, authorized_operations};
use super::groups::{GroupState, coordinator};
use super::{Admin, Results, outcome};
use crate::Result;
use crate::protocol::messages::streams_group_describe::{
    Assignment, DescribedGroup, Member, StreamsGroupDescribeRequest, Subtopology, TaskIds, TaskOffset, TopicInfo,
};
use std::collections::BTreeMap;

/// A streams group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsGroupDescription {
    /// Its id.
    pub group_id: String,
    /// Its state.
    pub state: GroupState,
    /// The node id of its coordinator.
    pub coordinator: i32,
    /// How often its metadata has changed.
    pub epoch: i32,
    /// The epoch its target assignment was computed for.
    pub assignment_epoch: i32,
    /// The epoch of the topology; `None` if there is no topology yet.
    pub topology_epoch: Option<i32>,
    /// The parts of the topology.
    pub subtopologies: Vec<StreamsSubtopology>,
    /// Its members.
    pub members: Vec<StreamsMemberDescription>,
    /// What this principal may do with it, if that was [asked for](Admin::include_authorized_operations).
    pub authorized_operations: Option<Vec<AclOperation>>,
}

/// A part of a topology, whose tasks are one for each partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsSubtopology {
    /// Its id.
    pub id: String,
    /// The topics it reads.
    pub source_topics: Vec<String>,
    /// The repartition topics it writes.
    pub repartition_sink_topics: Vec<String>,
    /// The changelog topics of its state.
    pub state_changelog_topics: Vec<StreamsTopic>,
    /// The repartition topics it reads.
    pub repartition_source_topics: Vec<StreamsTopic>,
}

/// A topic that a streams group makes for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsTopic {
    /// Its name.
    pub name: String,
    /// The number of its partitions; `None` if that follows from other topics.
    pub partitions: Option<i32>,
    /// The number of replicas; `None` for the broker's default.
    pub replication_factor: Option<i16>,
    /// Its settings.
    pub configs: BTreeMap<String, String>,
}

/// A member of a streams group.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsMemberDescription {
    /// Its id.
    pub member_id: String,
    /// The epoch it has reached.
    pub epoch: i32,
    /// Its group instance id, if it is a static member.
    pub group_instance_id: Option<String>,
    /// Its rack, if it told one.
    pub rack: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Where it runs, as the broker has it: `/127.0.0.1`.
    pub host: String,
    /// The epoch of the topology it runs.
    pub topology_epoch: i32,
    /// Its process, which may have several members.
    pub process_id: String,
    /// Where it answers interactive queries, if it does: host and port.
    pub user_endpoint: Option<(String, u16)>,
    /// Its tags.
    pub client_tags: BTreeMap<String, String>,
    /// How far its tasks have got.
    pub task_offsets: Vec<StreamsTaskOffset>,
    /// Where the changelogs of its tasks end.
    pub task_end_offsets: Vec<StreamsTaskOffset>,
    /// The tasks it has.
    pub assignment: StreamsTasks,
    /// The tasks it is to have.
    pub target_assignment: StreamsTasks,
    /// Whether it speaks the classic protocol.
    pub is_classic: bool,
}

/// Partitions by subtopologies, each a task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StreamsTasks {
    /// Those that are worked on.
    pub active: BTreeMap<String, Vec<i32>>,
    /// Those whose state is kept ready.
    pub standby: BTreeMap<String, Vec<i32>>,
    /// Those whose state is being restored.
    pub warmup: BTreeMap<String, Vec<i32>>,
}

/// An offset of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamsTaskOffset {
    /// The subtopology.
    pub subtopology_id: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Admin {
    /// Describes groups of Kafka Streams. RPC StreamsGroupDescribe to the coordinators, side by side, brokers from 4.1 on.
    /// A group that is not there or of another type is an error, GROUP_ID_NOT_FOUND.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, described) in admin.describe_streams_groups(&["word-count"])? {
    ///     println!("{group}: {} members", described?.members.len());
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_streams_groups(&self, groups: &[&str]) -> Result<Results<StreamsGroupDescription>> {
        let include_authorized_operations = self.include_authorized_operations;
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        self.call().run(groups, &coordinator(), |asking, groups| {
            let request = StreamsGroupDescribeRequest { group_ids: groups.to_vec(), include_authorized_operations };
            let response = asking.call(&request)?;
            let coordinator = asking.node_id();
            let answers = response.groups.into_iter().map(|group| {
                let doing = format!("group {:?} was not described", group.group_id);
                let described = outcome(group.error_code, group.error_message.as_deref(), &doing);
                (group.group_id.clone(), described.map(|()| description(group, coordinator)))
            });
            Ok(answers.collect())
        })
    }
}

fn description(group: DescribedGroup, coordinator: i32) -> StreamsGroupDescription {
    let topology_epoch = group.topology.as_ref().map(|topology| topology.epoch);
    let subtopologies = group.topology.and_then(|topology| topology.subtopologies).unwrap_or_default();
    StreamsGroupDescription {
        group_id: group.group_id,
        state: GroupState::from_wire(&group.group_state),
        coordinator,
        epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        topology_epoch,
        subtopologies: subtopologies.into_iter().map(subtopology).collect(),
        members: group.members.into_iter().map(member).collect(),
        authorized_operations: authorized_operations(group.authorized_operations),
    }
}

fn subtopology(part: Subtopology) -> StreamsSubtopology {
    StreamsSubtopology {
        id: part.subtopology_id,
        source_topics: part.source_topics,
        repartition_sink_topics: part.repartition_sink_topics,
        state_changelog_topics: part.state_changelog_topics.into_iter().map(topic).collect(),
        repartition_source_topics: part.repartition_source_topics.into_iter().map(topic).collect(),
    }
}

fn topic(topic: TopicInfo) -> StreamsTopic {
    StreamsTopic {
        name: topic.name,
        partitions: Some(topic.partitions).filter(|n| *n > 0),
        replication_factor: Some(topic.replication_factor).filter(|n| *n > 0),
        configs: topic.topic_configs.into_iter().map(|config| (config.key, config.value)).collect(),
    }
}

fn member(member: Member) -> StreamsMemberDescription {
    StreamsMemberDescription {
        member_id: member.member_id,
        epoch: member.member_epoch,
        group_instance_id: member.instance_id,
        rack: member.rack_id,
        client_id: member.client_id,
        host: member.client_host,
        topology_epoch: member.topology_epoch,
        process_id: member.process_id,
        user_endpoint: member.user_endpoint.map(|endpoint| (endpoint.host, endpoint.port)),
        client_tags: member.client_tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
        task_offsets: member.task_offsets.into_iter().map(task_offset).collect(),
        task_end_offsets: member.task_end_offsets.into_iter().map(task_offset).collect(),
        assignment: tasks(member.assignment),
        target_assignment: tasks(member.target_assignment),
        is_classic: member.is_classic,
    }
}

fn task_offset(task: TaskOffset) -> StreamsTaskOffset {
    StreamsTaskOffset { subtopology_id: task.subtopology_id, partition: task.partition, offset: task.offset }
}

fn tasks(assignment: Assignment) -> StreamsTasks {
    let by_subtopology = |tasks: Vec<TaskIds>| tasks.into_iter().map(|t| (t.subtopology_id, t.partitions)).collect();
    StreamsTasks {
        active: by_subtopology(assignment.active_tasks),
        standby: by_subtopology(assignment.standby_tasks),
        warmup: by_subtopology(assignment.warmup_tasks),
    }
}
