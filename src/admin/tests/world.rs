//! A cluster of scripted brokers that agree on who leads and who coordinates; the rest is up to each test.

use crate::admin::Admin;
use crate::net::scripted::{Asked, Reply, Scripted};
use crate::protocol::Request;
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::{Client, ErrorCode};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Nothing that is expected to end sooner may take this long.
pub(super) const LONG: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Facts {
    pub(super) addresses: Vec<SocketAddr>,
    /// The leaders of topics' partitions; -1 for none.
    pub(super) topics: BTreeMap<String, Vec<i32>>,
    /// The coordinators of groups and transactional ids; node 0 for others.
    pub(super) coordinators: BTreeMap<String, i32>,
}

pub(super) type Shared = Arc<Mutex<Facts>>;

pub(super) struct World {
    pub(super) brokers: Vec<Scripted>,
    pub(super) facts: Shared,
    pub(super) admin: Admin,
}

/// The id of every world's cluster.
pub(super) const CLUSTER_ID: &str = "the cluster's id";

/// Brokers with ids from 0 on that know these APIs beside Metadata and FindCoordinator, and answer to them with `reply`.
pub(super) fn world(
    brokers: i32,
    apis: &[(i16, i16, i16)],
    reply: impl Fn(i32, &Asked) -> Reply + Send + Sync + Clone + 'static,
) -> World {
    let facts: Shared = Arc::default();
    // What a test says about these two goes first.
    let mut all = apis.to_vec();
    for (key, lowest, highest) in [(MetadataRequest::KEY, 0, 12), (FindCoordinatorRequest::KEY, 0, 4)] {
        if !apis.iter().any(|api| api.0 == key) {
            all.push((key, lowest, highest));
        }
    }
    let broker = |node| {
        let (facts, reply) = (facts.clone(), reply.clone());
        Scripted::broker(&all, move |asked| match asked.key {
            MetadataRequest::KEY => metadata(&facts, asked),
            FindCoordinatorRequest::KEY => coordinators(&facts, asked),
            _ => reply(node, asked),
        })
    };
    let brokers: Vec<Scripted> = (0..brokers).map(broker).collect();
    facts.lock().unwrap().addresses = brokers.iter().map(Scripted::address).collect();
    let ms = Duration::from_millis;
    let client = Client::builder()
        .bootstrap_servers(brokers[0].address().to_string())
        .request_timeout(LONG)
        .retry_backoff(ms(10), ms(50))
        .build();
    World { brokers, facts, admin: Admin::new(&client.unwrap()) }
}

fn metadata(facts: &Shared, asked: &Asked) -> Reply {
    let request: MetadataRequest = asked.decode();
    let facts = facts.lock().unwrap();
    let broker = |(node, address): (usize, &SocketAddr)| MetadataResponseBroker {
        node_id: node as i32,
        host: address.ip().to_string(),
        port: address.port().into(),
        ..Default::default()
    };
    let partition = |(index, leader): (usize, &i32)| MetadataResponsePartition {
        partition_index: index as i32,
        leader_id: *leader,
        replica_nodes: vec![*leader],
        isr_nodes: vec![*leader],
        ..Default::default()
    };
    let topic = |name: &String| {
        let partitions = facts.topics.get(name).map(|leaders| leaders.iter().enumerate().map(partition).collect());
        let absent = partitions.is_none().then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        MetadataResponseTopic {
            name: Some(name.clone()),
            error_code: absent.unwrap_or(ErrorCode::NONE).0,
            partitions: partitions.unwrap_or_default(),
            ..Default::default()
        }
    };
    let names = match request.topics {
        Some(topics) => topics.into_iter().filter_map(|topic| topic.name).collect(),
        None => facts.topics.keys().cloned().collect::<Vec<_>>(),
    };
    asked.reply::<MetadataRequest>(&MetadataResponse {
        brokers: facts.addresses.iter().enumerate().map(broker).collect(),
        controller_id: 0,
        topics: names.iter().map(topic).collect(),
        cluster_id: Some(CLUSTER_ID.to_owned()),
        ..Default::default()
    })
}

fn coordinators(facts: &Shared, asked: &Asked) -> Reply {
    let request: FindCoordinatorRequest = asked.decode();
    let facts = facts.lock().unwrap();
    let coordinator = |key: &String| {
        let node_id = facts.coordinators.get(key).copied().unwrap_or_default();
        let address = facts.addresses[node_id as usize];
        let (host, port) = (address.ip().to_string(), address.port().into());
        Coordinator { key: key.clone(), node_id, host, port, error_code: 0, error_message: None }
    };
    let mut response = FindCoordinatorResponse::default();
    if asked.version >= 4 {
        response.coordinators = request.coordinator_keys.iter().map(coordinator).collect();
    } else {
        let found = coordinator(&request.key);
        (response.node_id, response.host, response.port) = (found.node_id, found.host, found.port);
    }
    asked.reply::<FindCoordinatorRequest>(&response)
}
