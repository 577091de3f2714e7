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
) -> Result<Routed<K>> {
    let mut routed = Routed { nodes: BTreeMap::new(), failed: Vec::new() };
    let everything = |node| Routed { nodes: BTreeMap::from([(node, entities.to_vec())]), failed: Vec::new() };
    match route {
        Route::Any => return Ok(everything(None)),
        Route::Controller => {
            let core = call.core();
            let controller =
                core.wait_for(deadline, core.interrupt(), "the controller", |snapshot| Ok(snapshot.controller))?;
            return Ok(everything(Some(controller)));
        }
        Route::Broker(broker) => {
            for entity in entities {
                routed.add(entity, Ok(broker(entity)));
            }
        }
        Route::Leader(partition) => {
            let topics: BTreeSet<&str> = entities.iter().map(|entity| partition(entity).topic.as_str()).collect();
            let leaders = leaders(call, deadline, &topics)?;
            for entity in entities {
                routed.add(entity, leader(&leaders, partition(entity)).map(Some));
            }
        }
        Route::GroupCoordinator(group) => {
            let coordinators = coordinators(call, deadline, CoordinatorType::Group, BTreeSet::from([*group]))?;
            let missing = || Err(Error::protocol(format!("no answer names the coordinator of {group:?}")));
            let coordinator = coordinators.into_values().next().unwrap_or_else(missing)?;
            return Ok(everything(Some(coordinator)));
        }
        Route::Coordinator(coordinator_type, key) => {
            let keys: BTreeSet<&str> = entities.iter().map(key).collect();
            let coordinators = coordinators(call, deadline, *coordinator_type, keys)?;
            for entity in entities {
                let missing = || Err(Error::protocol(format!("no answer names the coordinator of {:?}", key(entity))));
                let found = coordinators.get(key(entity)).cloned().unwrap_or_else(missing);
                routed.add(entity, found.map(Some));
            }
        }
    }
    Ok(routed)
}

impl<K: Entity> Routed<K> {
    fn add(&mut self, entity: &K, node: Result<Option<i32>>) {
        match node {
            Ok(node) => self.nodes.entry(node).or_default().push(entity.clone()),
            Err(error) => self.failed.push((entity.clone(), error)),
        }
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

fn leaders(call: &Call<'_>, deadline: Deadline, topics: &BTreeSet<&str>) -> Result<HashMap<String, Leaders>> {
    let asked: Vec<_> = topics.iter().map(|topic| named_topic(topic)).collect();
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
    keys: BTreeSet<&str>,
) -> Result<HashMap<String, Result<i32>>> {
    let core = call.core();
    let keys: Vec<String> = keys.into_iter().map(str::to_owned).collect();
    Ok(core.find_coordinators(&keys, coordinator_type, core.interrupt(), deadline)?.into_iter().collect())
}

/// The ids of all brokers that run.
pub(super) fn brokers(call: &Call<'_>) -> Result<Vec<i32>> {
    let response = call.ask(&Route::Any, |asking| metadata(asking, Some(Vec::new()), false))?;
    Ok(response.brokers.iter().map(|broker| broker.node_id).collect::<BTreeSet<_>>().into_iter().collect())
}
