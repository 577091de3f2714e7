//! Administration by the ids of topics.

use crate::support::*;
use sarameya::admin::{CommittedOffset, TopicIdPartition, Uuid};
use sarameya::embedded::Cluster;
use sarameya::{Admin, ErrorCode, ErrorKind};

fn id_of(admin: &Admin, topic: &str) -> Uuid {
    let described = admin.describe_topics(&[topic]).unwrap().pop().unwrap().1.unwrap();
    described.id.expect("the cluster has topic ids")
}

#[test]
fn t3_offsets_by_topic_id_are_not_those_of_a_topic_that_is_made_again() {
    let cluster = Cluster::start(3).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let admin = Admin::new(&client(&cluster));
    let old = TopicIdPartition::new(id_of(&admin, "t"), 1);
    let stranger = TopicIdPartition::new(Uuid([7; 16]), 0);
    let both = [(stranger, CommittedOffset::new(1)), (old, CommittedOffset::new(5))];
    let altered = admin.alter_group_offsets_by_id("g1", &both).unwrap();
    let error = altered[0].1.as_ref().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_ID));
    assert!(error.to_string().contains(&stranger.topic_id.to_string()), "{error}");
    assert!(altered[1].1.is_ok(), "{altered:?}");
    assert_eq!(cluster.committed("g1")[&("t".to_owned(), 1)].offset, 5);
    let all = || admin.list_group_offsets_by_id(&[("g1", None)], false).unwrap().pop().unwrap().1.unwrap();
    let [(partition, Ok(offset))] = &all()[..] else { panic!("{:?}", all()) };
    assert_eq!((*partition, offset.offset), (old, 5));

    admin.delete_topics(&["t"]).unwrap().into_iter().for_each(|(_, gone)| gone.unwrap());
    cluster.create_topic("t", 2).unwrap();
    let refused = admin.alter_group_offsets_by_id("g1", &[(old, CommittedOffset::new(6))]).unwrap().pop().unwrap().1;
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::UNKNOWN_TOPIC_ID));
    let asked = [old];
    let found = admin.list_group_offsets_by_id(&[("g1", Some(&asked))], false).unwrap().pop().unwrap().1.unwrap();
    let error = found[0].1.as_ref().unwrap_err();
    assert_eq!((error.code(), error.partition()), (Some(ErrorCode::UNKNOWN_TOPIC_ID), Some(1)));
    assert!(error.to_string().contains(&old.topic_id.to_string()), "{error}");
}

#[test]
fn brokers_without_topic_ids_in_commits_are_named_with_their_version() {
    let cluster = Cluster::builder(1).as_version("3.9").start().unwrap();
    cluster.create_topic("t", 1).unwrap();
    let admin = Admin::new(&client(&cluster));
    let partition = TopicIdPartition::new(id_of(&admin, "t"), 0);
    let altered = admin.alter_group_offsets_by_id("g1", &[(partition, CommittedOffset::new(1))]).unwrap_err();
    let listed = admin.list_group_offsets_by_id(&[("g1", None)], false).unwrap_err();
    for (error, api) in [(altered, "OffsetCommit"), (listed, "OffsetFetch")] {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let words = format!("{api} 10 is needed, and the broker has it up to version 9: it is Kafka 3.0 or newer");
        assert!(error.to_string().contains(&words), "{error}");
    }
}
