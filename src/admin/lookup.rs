//! Who leads, who coordinates, who is there: what a call must know before it can ask.

use super::TopicPartition;
use super::routing::{Asking, Call, Entity, Route, Routed};
use crate::cluster::CoordinatorType;
use crate::net::Deadline;
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::{Error, ErrorCode, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Finds the broker of each entity. The outer error means that nobody could be asked for it.
pub(super) fn route<K: Entity>(
    call: &Call<'_>,
    deadline: Deadline,
    route: &Route<'_, K>,
    entities: &[K],
) -> Result<Routed> {
    let count = entities.len();
    match route {
        Route::Any => Ok(Routed::together(None, count)),
        Route::Controller => {
            let core = call.core();
            let controller =
                core.wait_for(deadline, core.interrupt(), "the controller", |snapshot| Ok(snapshot.controller))?;
            Ok(Routed::together(Some(controller), count))
        }
        Route::Broker(broker) => Ok(Routed::apart(count, &mut |place| Ok(broker(&entities[place])))),
        Route::Leader(partition) => {
            let topics: Vec<&str> = entities.iter().map(|entity| partition(entity).topic.as_str()).collect();
            let leaders = leaders(call, deadline, topics)?;
            Ok(Routed::apart(count, &mut |place| leader(&leaders, partition(&entities[place])).map(Some)))
        }
        Route::GroupCoordinator(group) => {
            let coordinators = coordinators(call, deadline, CoordinatorType::Group, vec![group])?;
            Ok(Routed::together(Some(coordinator(&coordinators, group)?), count))
        }
        Route::Coordinator(coordinator_type, key) => {
            let keys: Vec<&str> = entities.iter().map(key).collect();
            let coordinators = coordinators(call, deadline, *coordinator_type, keys)?;
            Ok(Routed::apart(count, &mut |place| coordinator(&coordinators, key(&entities[place])).map(Some)))
        }
    }
}

impl Routed {
    /// All to one broker.
    fn together(node: Option<i32>, count: usize) -> Self {
        let mut nodes = BTreeMap::new();
        nodes.insert(node, (0..count).collect());
        Self { nodes, failed: Vec::new() }
    }

    /// Each to its own.
    fn apart(count: usize, node: &mut dyn FnMut(usize) -> Result<Option<i32>>) -> Self {
        let mut routed = Self { nodes: BTreeMap::new(), failed: Vec::new() };
        for place in 0..count {
            match node(place) {
                Ok(node) => routed.nodes.entry(node).or_default().push(place),
                Err(error) => routed.failed.push((place, error)),
            }
        }
        routed
    }
}

/// Metadata of these topics, or of all. Creates none.
pub(super) fn metadata(
    asking: &mut Asking<'_>,
    topics: Option<Vec<MetadataRequestTopic>>,
    authorized_operations: bool,
) -> Result<MetadataResponse> {
    let version = asking.version::<MetadataRequest>()?;
    let response = asking.call(&MetadataRequest {
        topics,
        allow_auto_topic_creation: version < 4,
        include_topic_authorized_operations: authorized_operations && version >= 8,
        include_cluster_authorized_operations: authorized_operations && (8..=10).contains(&version),
    })?;
    match ErrorCode(response.error_code) {
        ErrorCode::NONE => Ok(response),
        code => Err(Error::from_code(code, "the broker refused a metadata request")),
    }
}

pub(super) fn named_topic(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() }
}

/// The leaders of a topic's partitions by their numbers, or why none can be named.
type Leaders = Result<BTreeMap<i32, i32>>;

fn leaders(call: &Call<'_>, deadline: Deadline, mut topics: Vec<&str>) -> Result<HashMap<String, Leaders>> {
    topics.sort_unstable();
    topics.dedup();
    let asked: Vec<_> = topics.into_iter().map(named_topic).collect();
    let response = call.ask_node(None, deadline, |asking| metadata(asking, Some(asked.clone()), false))?;
    let answer = |code, partitions: BTreeMap<i32, i32>| match code {
        ErrorCode::NONE => Ok(partitions),
        code => Err(Error::from_code(code, "the leaders of the topic's partitions are not known")),
    };
    let topic = response.topics.into_iter().filter_map(|topic| {
        let partitions = topic.partitions.iter().map(|p| (p.partition_index, p.leader_id)).collect();
        Some((topic.name?, answer(ErrorCode(topic.error_code), partitions)))
    });
    Ok(topic.collect())
}

fn leader(leaders: &HashMap<String, Leaders>, partition: &TopicPartition) -> Result<i32> {
    let unknown = || Error::from_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, "there is no such partition");
    let partitions = leaders.get(&partition.topic).ok_or_else(unknown)?.as_ref().map_err(Error::clone)?;
    match partitions.get(&partition.partition) {
        Some(leader @ 0..) => Ok(*leader),
        Some(_) => Err(Error::from_code(ErrorCode::LEADER_NOT_AVAILABLE, "the partition has no leader")),
        None => Err(unknown()),
    }
}

fn coordinators(
    call: &Call<'_>,
    deadline: Deadline,
    coordinator_type: CoordinatorType,
    mut keys: Vec<&str>,
) -> Result<HashMap<String, Result<i32>>> {
    let core = call.core();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
    Ok(core.find_coordinators(&keys, coordinator_type, core.interrupt(), deadline)?.into_iter().collect())
}

fn coordinator(coordinators: &HashMap<String, Result<i32>>, key: &str) -> Result<i32> {
    let missing = || Err(Error::protocol(format!("no answer names the coordinator of {key:?}")));
    coordinators.get(key).cloned().unwrap_or_else(missing)
}

/// The ids of all brokers that run.
pub(super) fn brokers(call: &Call<'_>) -> Result<Vec<i32>> {
    let response = call.ask(&Route::Any, |asking| metadata(asking, Some(Vec::new()), false))?;
    Ok(response.brokers.iter().map(|broker| broker.node_id).collect::<BTreeSet<_>>().into_iter().collect())
}
