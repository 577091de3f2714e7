//! Admin calls while a broker hangs: each returns by its deadline, with what the others say.

use std::time::{Duration, Instant};

use sarameya::admin::{Admin, GroupFilter, OffsetSpec, TopicPartition, TransactionFilter};
use sarameya::{Client, ErrorKind, NewTopic};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::{heavy, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(4);
/// The calls' own deadline, and some more for a machine that is busy.
const BOUND: Duration = Duration::from_secs(20);

#[track_caller]
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let answer = call();
    assert!(start.elapsed() < BOUND, "it took {:?}", start.elapsed());
    answer
}

#[test]
fn admin_kafka_4_3_0_calls_return_in_time_while_a_broker_is_frozen() {
    require_kafka!();
    let _alone = heavy();
    // The frozen node keeps its session, so that nobody takes its partitions over meanwhile.
    let options = ClusterOptions::new(Version::V4_3_0).nodes(3).set("broker.session.timeout.ms", "120000");
    let cluster = Cluster::start(&options);
    let topic = unique("frozen");
    cluster.create_topic_with(&topic, 6, 1, &[]);
    let leaders: Vec<usize> = (0..6).map(|partition| cluster.leader(&topic, partition)).collect();
    let frozen = leaders[0];
    let client = Client::builder().bootstrap_servers(cluster.bootstrap()).request_timeout(TIMEOUT).build();
    let admin = Admin::new(&client.expect("a client")).timeout(TIMEOUT);
    // Connections to all nodes are there and idle.
    admin.describe_all_log_dirs().expect("an answer");
    cluster.pause(frozen);

    let sought: Vec<_> = (0..6).map(|n| (TopicPartition::new(&topic, n), OffsetSpec::Latest)).collect();
    let found = in_time(|| admin.list_offsets(&sought)).expect("some answers");
    for ((partition, offset), leader) in found.iter().zip(&leaders) {
        match offset {
            Ok(offset) => assert!(*leader != frozen && offset.offset == Some(0), "{partition}"),
            Err(error) => {
                assert_eq!(*leader, frozen, "{partition}: {error}");
                assert_eq!(error.partition(), Some(partition.partition));
                assert!([ErrorKind::Timeout, ErrorKind::Network].contains(&error.kind()), "{error}");
            }
        }
    }

    let frozen_id = i32::try_from(frozen).expect("an id");
    let listed = in_time(|| admin.list_groups(&GroupFilter::new())).expect("some answers");
    assert_eq!(listed.errors.iter().map(|(broker, _)| *broker).collect::<Vec<_>>(), [frozen_id]);
    let listed = in_time(|| admin.list_transactions(&TransactionFilter::new())).expect("some answers");
    assert_eq!(listed.errors.len(), 1);
    let dirs = in_time(|| admin.describe_all_log_dirs()).expect("some answers");
    assert_eq!(dirs.iter().filter(|(_, dirs)| dirs.is_ok()).count(), 2);
    assert!(dirs.iter().all(|(broker, dirs)| dirs.is_err() == (*broker == frozen_id)));
    let spoken = in_time(|| admin.describe_api_versions()).expect("some answers");
    assert_eq!(spoken.len(), 3);
    assert!(spoken.iter().all(|(broker, apis)| apis.is_err() == (*broker == frozen_id)));

    // What any broker can answer is answered.
    for _ in 0..3 {
        in_time(|| admin.describe_cluster()).expect("an answer");
        in_time(|| admin.describe_topics(&[&topic])).expect("an answer")[0].1.as_ref().expect("the topic");
        in_time(|| admin.list_topics()).expect("an answer");
    }
    // Groups have coordinators everywhere, the frozen one too.
    let groups: Vec<String> = (0..12).map(|n| format!("g{n}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let described = in_time(|| admin.describe_groups(&groups));
    assert!(described.is_err() || described.is_ok_and(|all| all.iter().all(|(_, one)| one.is_err())), "there are none");
    // This one may be asked of the frozen one: it must end, well or not.
    let _ = in_time(|| admin.create_topics(&[NewTopic::new(unique("meanwhile")).partitions(1)]));

    cluster.resume(frozen);
    wait_until("the broker answers again", Duration::from_secs(60), || {
        admin.list_offsets(&sought).is_ok_and(|found| found.iter().all(|(_, offset)| offset.is_ok()))
    });
}
