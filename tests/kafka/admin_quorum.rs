//! A controller that joins the quorum of real Kafka and leaves it again.

use std::time::Duration;

use sarameya::admin::{QuorumReplica, RaftVoterEndpoint};
use sarameya::{Admin, Client, ErrorCode};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::{heavy, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

fn ids(replicas: &[QuorumReplica]) -> Vec<i32> {
    let mut ids: Vec<i32> = replicas.iter().map(|replica| replica.id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn admin_kafka_4_3_0_a_controller_joins_the_quorum_and_leaves_it() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V4_3_0).nodes(2).dynamic_quorum());
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let admin = Admin::new(&client).timeout(LIMIT);
    let quorum = || admin.describe_metadata_quorum().expect("described");
    assert_eq!(ids(&quorum().voters), [1]);
    let mut observer = None;
    wait_until("the second controller reads along", LIMIT, || {
        let quorum = quorum();
        let caught_up = |replica: &&QuorumReplica| replica.id == 2 && replica.last_caught_up_timestamp.is_some();
        observer = quorum.observers.iter().find(caught_up).and_then(|replica| replica.directory);
        observer.is_some()
    });
    let directory = observer.expect("waited for");

    let endpoint = RaftVoterEndpoint::new("CONTROLLER", "127.0.0.1", cluster.controller_port(2));
    admin.add_raft_voter(2, directory, std::slice::from_ref(&endpoint)).expect("added");
    wait_until("it votes", LIMIT, || ids(&quorum().voters) == [1, 2]);
    let described = quorum();
    assert!(!ids(&described.observers).contains(&2), "{described:?}");
    assert!(described.voters.iter().any(|voter| voter.id == 2 && voter.directory == Some(directory)), "{described:?}");
    assert!(described.nodes.contains(&(2, vec![endpoint.clone()])), "{described:?}");
    let again = admin.add_raft_voter(2, directory, &[endpoint]).expect_err("it is one already");
    assert_eq!(again.code(), Some(ErrorCode::DUPLICATE_VOTER), "{again}");

    admin.remove_raft_voter(2, directory).expect("removed");
    wait_until("it reads along again", LIMIT, || {
        let quorum = quorum();
        ids(&quorum.voters) == [1] && ids(&quorum.observers).contains(&2)
    });
    let again = admin.remove_raft_voter(2, directory).expect_err("it is none any more");
    assert_eq!(again.code(), Some(ErrorCode::VOTER_NOT_FOUND), "{again}");
}
