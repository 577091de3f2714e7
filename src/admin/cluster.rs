//! The cluster: its brokers, what they speak, its features and its quorum; and requests this crate has no method for.

use super::acls::{AclOperation, authorized_operations};
use super::lookup::metadata;
use super::routing::{Asking, Route};
use super::{Admin, Results, Uuid, outcome};
use crate::cluster::CoordinatorType;
use crate::protocol::Request;
use crate::protocol::messages::add_raft_voter::{AddRaftVoterRequest, Listener as VoterListener};
use crate::protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::describe_cluster::DescribeClusterRequest;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, ReplicaState, RequestPartitionData, RequestTopicData,
};
use crate::protocol::messages::remove_raft_voter::RemoveRaftVoterRequest;
use crate::protocol::messages::unregister_broker::UnregisterBrokerRequest;
use crate::{Error, Result};

/// The topic whose log is the cluster's metadata.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// From this version on brokers that are registered and do not run can be told of.
const FENCED: i16 = 2;

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterDescription {
    /// Its id; `None` from brokers that do not tell.
    pub cluster_id: Option<String>,
    /// The node id of its controller; in KRaft, of any broker that passes on what the controller is asked.
    pub controller: Option<i32>,
    /// Its brokers by their ids.
    pub brokers: Vec<BrokerDescription>,
    /// What this principal may do with the cluster, if that was [asked for](Admin::include_authorized_operations).
    pub authorized_operations: Option<Vec<AclOperation>>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerDescription {
    /// Its node id.
    pub id: i32,
    /// Its host, for those who came in by the listener of this client.
    pub host: String,
    /// Its port there.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
    /// Whether it is registered and does not run; told only if that was asked for.
    pub fenced: bool,
}

/// The versions of an API that a broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiRange {
    /// The API's number.
    pub key: i16,
    /// Its name, if this crate knows it.
    pub name: Option<&'static str>,
    /// The lowest version.
    pub min_version: i16,
    /// The highest version.
    pub max_version: i16,
}

/// The quorum of controllers that keeps the cluster's metadata (KRaft).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumDescription {
    /// The node id of the leader; `None` while there is none.
    pub leader: Option<i32>,
    /// How often the leader has changed.
    pub leader_epoch: i32,
    /// The offset up to which the metadata is decided.
    pub high_watermark: i64,
    /// Those who vote.
    pub voters: Vec<QuorumReplica>,
    /// Those who only read along.
    pub observers: Vec<QuorumReplica>,
    /// The voters' listeners; empty from brokers before 3.9.
    pub nodes: Vec<(i32, Vec<RaftVoterEndpoint>)>,
}

/// A replica of the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuorumReplica {
    /// Its node id.
    pub id: i32,
    /// The id of its log directory; `None` if it is not told.
    pub directory: Option<Uuid>,
    /// How far it has got.
    pub log_end_offset: i64,
    /// When it last asked the leader, in milliseconds since 1970; `None` if that is not known.
    pub last_fetch_timestamp: Option<i64>,
    /// When it last had everything, in milliseconds since 1970; `None` if that is not known.
    pub last_caught_up_timestamp: Option<i64>,
}

/// Where a voter listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftVoterEndpoint {
    /// The listener's name, such as CONTROLLER.
    pub listener: String,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// To whom a [request](Admin::request) goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestTarget {
    /// Any broker that can be reached.
    Any,
    /// The controller, or the broker that KRaft names for it.
    Controller,
    /// The broker with this node id.
    Broker(i32),
    /// The coordinator of this group.
    GroupCoordinator(String),
    /// The coordinator of this transactional id.
    TransactionCoordinator(String),
}

impl Admin {
    /// Describes the cluster and its brokers. RPC DescribeCluster to any broker, from 2.8 on; Metadata before that.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for broker in admin.describe_cluster()?.brokers {
    ///     println!("{} is at {}:{}", broker.id, broker.host, broker.port);
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_cluster(&self) -> Result<ClusterDescription> {
        self.describe_cluster_as(false)
    }

    /// Like [`describe_cluster`](Self::describe_cluster), with brokers that are registered and do not run. RPC
    /// DescribeCluster 2 to any broker, brokers from 4.0 on (KIP-1073).
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let cluster = admin.describe_cluster_with_fenced_brokers()?;
    /// let stopped = cluster.brokers.iter().filter(|broker| broker.fenced).map(|broker| broker.id);
    /// println!("do not run: {:?}", stopped.collect::<Vec<_>>());
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_cluster_with_fenced_brokers(&self) -> Result<ClusterDescription> {
        self.describe_cluster_as(true)
    }

    fn describe_cluster_as(&self, include_fenced_brokers: bool) -> Result<ClusterDescription> {
        let authorized = self.include_authorized_operations;
        self.call().ask(&Route::Any, |asking| {
            if include_fenced_brokers {
                asking.needs::<DescribeClusterRequest>(FENCED, "fenced brokers are not told of")?;
            } else if asking.version::<DescribeClusterRequest>().is_err() {
                return described_by_metadata(asking, authorized);
            }
            let response = asking.call(&DescribeClusterRequest {
                include_cluster_authorized_operations: authorized,
                include_fenced_brokers,
                ..Default::default()
            })?;
            outcome(response.error_code, response.error_message.as_deref(), "the cluster was not described")?;
            let brokers = response.brokers.into_iter().map(|broker| BrokerDescription {
                id: broker.broker_id,
                host: broker.host,
                port: broker.port,
                rack: broker.rack,
                fenced: broker.is_fenced,
            });
            Ok(ClusterDescription {
                cluster_id: Some(response.cluster_id),
                controller: Some(response.controller_id).filter(|id| *id >= 0),
                brokers: by_id(brokers),
                authorized_operations: authorized_operations(response.cluster_authorized_operations),
            })
        })
    }

    /// The versions of all APIs that each broker speaks, by the brokers' node ids. RPC ApiVersions to all brokers, side
    /// by side, brokers from 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (broker, apis) in admin.describe_api_versions()? {
    ///     println!("broker {broker} knows {} APIs", apis?.len());
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_api_versions(&self) -> Result<Results<Vec<ApiRange>, i32>> {
        let call = self.call();
        let brokers = super::lookup::brokers(&call)?;
        call.run(brokers, &Route::Broker(&|broker| Some(*broker)), |asking, brokers| {
            let apis = api_versions(asking)?.api_keys.into_iter().map(|api| ApiRange {
                key: api.api_key,
                name: crate::protocol::messages::ApiKey(api.api_key).name(),
                min_version: api.min_version,
                max_version: api.max_version,
            });
            Ok(brokers.iter().take(1).copied().zip([Ok(apis.collect())]).collect())
        })
    }

    /// Describes the quorum of controllers. RPC DescribeQuorum to any broker, KRaft from 3.3 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let quorum = admin.describe_metadata_quorum()?;
    /// println!("{:?} leads {} voters", quorum.leader, quorum.voters.len());
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn describe_metadata_quorum(&self) -> Result<QuorumDescription> {
        self.call().ask(&Route::Any, |asking| {
            let partitions = vec![RequestPartitionData { partition_index: 0 }];
            let topics = vec![RequestTopicData { topic_name: METADATA_TOPIC.to_owned(), partitions }];
            let response = asking.call(&DescribeQuorumRequest { topics })?;
            outcome(response.error_code, response.error_message.as_deref(), "the quorum was not described")?;
            let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next();
            let quorum = partition.ok_or_else(|| Error::protocol("the answer does not describe the quorum"))?;
            outcome(quorum.error_code, quorum.error_message.as_deref(), "the quorum was not described")?;
            let nodes = response.nodes.into_iter().map(|node| {
                let endpoints = node.listeners.into_iter().map(|listener| RaftVoterEndpoint {
                    listener: listener.name,
                    host: listener.host,
                    port: listener.port,
                });
                (node.node_id, endpoints.collect())
            });
            Ok(QuorumDescription {
                leader: Some(quorum.leader_id).filter(|id| *id >= 0),
                leader_epoch: quorum.leader_epoch,
                high_watermark: quorum.high_watermark,
                voters: quorum.current_voters.into_iter().map(QuorumReplica::new).collect(),
                observers: quorum.observers.into_iter().map(QuorumReplica::new).collect(),
                nodes: nodes.collect(),
            })
        })
    }

    /// Adds a voter to the quorum of controllers (KIP-853). RPC AddRaftVoter to any broker, KRaft from 3.9 on; with the id
    /// of the cluster this client is connected to, so that no other one is changed.
    /// DUPLICATE_VOTER may mean that an earlier try of this very call did it.
    ///
    /// ```no_run
    /// use sarameya::admin::{RaftVoterEndpoint, Uuid};
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let directory: Uuid = "bvEe8qERSRiB6c9Wx0H5yQ".parse()?;
    /// admin.add_raft_voter(4, directory, &[RaftVoterEndpoint::new("CONTROLLER", "kafka4", 9093)])?;
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn add_raft_voter(&self, id: i32, directory: Uuid, endpoints: &[RaftVoterEndpoint]) -> Result<()> {
        let listener = |endpoint: &RaftVoterEndpoint| VoterListener {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
        };
        let cluster_id = self.core().snapshot().cluster_id.clone();
        self.call().ask(&Route::Any, |asking| {
            let response = asking.call(&AddRaftVoterRequest {
                cluster_id: cluster_id.clone(),
                timeout_ms: asking.timeout_ms(),
                voter_id: id,
                voter_directory_id: directory.0,
                listeners: endpoints.iter().map(listener).collect(),
                ..Default::default()
            })?;
            outcome(response.error_code, response.error_message.as_deref(), &format!("voter {id} was not added"))
        })
    }

    /// Removes a voter from the quorum of controllers (KIP-853). RPC RemoveRaftVoter to any broker, KRaft from 3.9 on; with
    /// the id of the cluster this client is connected to.
    /// VOTER_NOT_FOUND may mean that an earlier try of this very call did it.
    ///
    /// ```no_run
    /// use sarameya::admin::Uuid;
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// let directory: Uuid = "bvEe8qERSRiB6c9Wx0H5yQ".parse()?;
    /// admin.remove_raft_voter(4, directory)?;
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn remove_raft_voter(&self, id: i32, directory: Uuid) -> Result<()> {
        let cluster_id = self.core().snapshot().cluster_id.clone();
        self.call().ask(&Route::Any, |asking| {
            let response = asking.call(&RemoveRaftVoterRequest {
                cluster_id: cluster_id.clone(),
                voter_id: id,
                voter_directory_id: directory.0,
            })?;
            outcome(response.error_code, response.error_message.as_deref(), &format!("voter {id} was not removed"))
        })
    }

    /// Strikes a broker that does not run off the cluster's list. RPC UnregisterBroker to any broker, KRaft from 2.8 on.
    /// BROKER_ID_NOT_REGISTERED may mean that an earlier try of this very call did it.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// admin.unregister_broker(7)?;
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn unregister_broker(&self, id: i32) -> Result<()> {
        self.call().ask(&Route::Any, |asking| {
            let response = asking.call(&UnregisterBrokerRequest { broker_id: id })?;
            let doing = format!("broker {id} was not unregistered");
            outcome(response.error_code, response.error_message.as_deref(), &doing)
        })
    }

    /// The node ids of the brokers that coordinate groups. RPC FindCoordinator to any broker, brokers from 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (group, outcome) in admin.find_group_coordinators(&["g1", "g2"])? {
    ///     println!("{group}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn find_group_coordinators(&self, groups: &[&str]) -> Result<Results<i32>> {
        self.find_coordinators(groups, CoordinatorType::Group)
    }

    /// The node ids of the brokers that coordinate transactional ids. RPC FindCoordinator to any broker, brokers from
    /// 1.0 on.
    ///
    /// ```no_run
    /// # let admin = sarameya::Admin::new(&sarameya::Client::connect("localhost:9092")?);
    /// for (id, outcome) in admin.find_transaction_coordinators(&["payments"])? {
    ///     println!("{id}: {outcome:?}");
    /// }
    /// # Ok::<(), sarameya::Error>(())
    /// ```
    pub fn find_transaction_coordinators(&self, transactional_ids: &[&str]) -> Result<Results<i32>> {
        self.find_coordinators(transactional_ids, CoordinatorType::Transaction)
    }

    fn find_coordinators(&self, keys: &[&str], coordinator_type: CoordinatorType) -> Result<Results<i32>> {
        let call = self.call();
        let core = call.core();
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        // The look-up chooses brokers itself, so there is no exchange to borrow a connection for.
        call.run_where(keys, |deadline, keys| {
            core.find_coordinators(keys, coordinator_type, core.interrupt(), deadline)
        })
    }

    /// Sends any request of the [protocol](crate::protocol::messages) and returns the answer as it is, its error codes
    /// unread. In the highest version that the broker and this crate know; fields that the version does not have must
    /// have their defaults. A connection that breaks is a reason to send it again, until the deadline.
    pub fn request<R>(&self, target: &RequestTarget, request: &R) -> Result<R::Response>
    where
        R: Request + Sync,
        R::Response: Send,
    {
        let call = self.call();
        let ask = |asking: &mut Asking<'_>| asking.call(request);
        match target {
            RequestTarget::Any => call.ask(&Route::Any, ask),
            RequestTarget::Controller => call.ask(&Route::Controller, ask),
            RequestTarget::Broker(id) => call.ask(&Route::Broker(&|()| Some(*id)), ask),
            RequestTarget::GroupCoordinator(group) => call.ask(&Route::GroupCoordinator(group), ask),
            RequestTarget::TransactionCoordinator(id) => {
                let answers = call.run(vec![id.clone()], &super::transactions::coordinator(), |asking, ids| {
                    Ok(ids.iter().take(1).cloned().zip([Ok(ask(asking)?)]).collect())
                })?;
                let unanswered = || Err(Error::protocol("nothing was asked"));
                answers.into_iter().next().map_or_else(unanswered, |(_, answer)| answer)
            }
        }
    }
}

impl QuorumReplica {
    fn new(replica: ReplicaState) -> Self {
        Self {
            id: replica.replica_id,
            directory: Uuid::some(replica.replica_directory_id),
            log_end_offset: replica.log_end_offset,
            last_fetch_timestamp: Some(replica.last_fetch_timestamp).filter(|timestamp| *timestamp >= 0),
            last_caught_up_timestamp: Some(replica.last_caught_up_timestamp).filter(|timestamp| *timestamp >= 0),
        }
    }
}

impl RaftVoterEndpoint {
    /// A listener by its name and address.
    pub fn new(listener: impl Into<String>, host: impl Into<String>, port: u16) -> Self {
        Self { listener: listener.into(), host: host.into(), port }
    }
}

pub(super) fn api_versions(asking: &mut Asking<'_>) -> Result<ApiVersionsResponse> {
    let response = asking.call(&ApiVersionsRequest {
        client_software_name: env!("CARGO_PKG_NAME").into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
    })?;
    outcome(response.error_code, None, "the broker does not say what it speaks")?;
    Ok(response)
}

fn described_by_metadata(asking: &mut Asking<'_>, authorized: bool) -> Result<ClusterDescription> {
    let response = metadata(asking, Some(Vec::new()), authorized)?;
    let brokers = response.brokers.into_iter().map(|broker| BrokerDescription {
        id: broker.node_id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        fenced: false,
    });
    Ok(ClusterDescription {
        cluster_id: response.cluster_id,
        controller: Some(response.controller_id).filter(|id| *id >= 0),
        brokers: by_id(brokers),
        authorized_operations: authorized_operations(response.cluster_authorized_operations),
    })
}

fn by_id(brokers: impl Iterator<Item = BrokerDescription>) -> Vec<BrokerDescription> {
    let mut brokers: Vec<_> = brokers.collect();
    brokers.sort_by_key(|broker| broker.id);
    brokers
}
