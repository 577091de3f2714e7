//! What administrators ask: descriptions, lists, and the removal of groups and offsets.

use super::support::*;
use crate::protocol::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::protocol::messages::offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use crate::protocol::messages::*;

/// A subscription of version 3 to "t", of which the coordinator reads what version 0 has.
const SUBSCRIPTION: &[u8] =
    &[0, 3, 0, 0, 0, 1, 0, 1, b't', 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255];

fn describe(kit: &mut Kit, version: i16, group: &str) -> describe_groups::DescribedGroup {
    let asking = DescribeGroupsRequest { groups: vec![group.into()], ..Default::default() };
    kit.harness.call(kit.broker, version, asking).groups.remove(0)
}

fn list(kit: &mut Kit, states: &[&str], types: &[&str]) -> Vec<list_groups::ListedGroup> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let asking = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
    kit.harness.call(kit.broker, 5, asking).groups
}

fn delete(kit: &mut Kit, group: &str) -> i16 {
    let asking = DeleteGroupsRequest { groups_names: vec![group.into()] };
    kit.harness.call(kit.broker, 2, asking).results[0].error_code
}

/// Commits offset 5 of partition 0 of some topics as no member.
fn commit(kit: &mut Kit, topics: &[&str]) {
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..Default::default() };
    let topics = topics.iter().map(|name| OffsetCommitRequestTopic {
        name: (*name).to_owned(),
        partitions: vec![partition.clone()],
        ..Default::default()
    });
    let (group_id, generation_id_or_member_epoch) = ("g".to_owned(), -1);
    let request =
        OffsetCommitRequest { group_id, generation_id_or_member_epoch, topics: topics.collect(), ..Default::default() };
    let response = kit.harness.call(kit.broker, 9, request);
    assert!(response.topics.iter().all(|topic| topic.partitions[0].error_code == 0));
}

fn delete_offsets(kit: &mut Kit, group: &str, topics: &[&str]) -> (i16, Vec<i16>) {
    let topics = topics.iter().map(|name| OffsetDeleteRequestTopic {
        name: (*name).to_owned(),
        partitions: vec![OffsetDeleteRequestPartition::default()],
    });
    let request = OffsetDeleteRequest { group_id: group.into(), topics: topics.collect() };
    let response = kit.harness.call(kit.broker, 0, request);
    (response.error_code, response.topics.iter().map(|topic| topic.partitions[0].error_code).collect())
}

#[test]
fn a_stable_group_is_described_with_its_members_and_one_that_rebalances_without_what_they_say() {
    let mut kit = Kit::new();
    let (members, _) = kit.stable(1);
    let group = describe(&mut kit, 6, "g");
    assert_eq!((group.error_code, &*group.group_state, &*group.protocol_type), (0, "Stable", "consumer"));
    assert_eq!((&*group.protocol_data, group.authorized_operations), ("range", i32::MIN));
    let member = &group.members[0];
    assert_eq!((&*member.client_id, &*member.client_host), ("test", "/127.0.0.1"));
    assert_eq!(member.member_metadata.as_ref(), b"m");
    assert_eq!(member.member_assignment.as_ref(), members[0].request.member_id.as_bytes());
    kit.joined();
    let group = describe(&mut kit, 6, "g");
    assert_eq!((&*group.group_state, &*group.protocol_data, group.members.len()), ("PreparingRebalance", "", 2));
    assert!(group.members.iter().all(|member| member.member_metadata.is_empty()));
    let operations = DescribeGroupsRequest { groups: vec!["g".into()], include_authorized_operations: true };
    assert_eq!(kit.harness.call(kit.broker, 3, operations).groups[0].authorized_operations, 0b1101_0100_1000);
    kit.broker = 3 - kit.broker;
    assert_eq!(describe(&mut kit, 6, "g").error_code, 16);
}

#[test]
fn a_group_that_is_not_there_is_dead_and_from_version_6_not_found() {
    let mut kit = Kit::with(&[("offsets.topic.num.partitions", "1")]);
    let group = describe(&mut kit, 5, "absent");
    assert_eq!((group.error_code, &*group.group_state, group.error_message), (0, "Dead", None));
    let group = describe(&mut kit, 6, "absent");
    assert_eq!((group.error_code, &*group.group_state), (69, "Dead"));
    assert_eq!(group.error_message.as_deref(), Some("Group absent not found."));
}

#[test]
fn a_coordinator_lists_its_groups_by_state_and_type() {
    let mut kit = Kit::new();
    kit.stable(1);
    let all = list(&mut kit, &[], &[]);
    let listed = |group: &list_groups::ListedGroup| {
        [&group.group_id, &group.protocol_type, &group.group_state, &group.group_type].map(String::clone)
    };
    assert_eq!(all.iter().map(listed).collect::<Vec<_>>(), [["g", "consumer", "Stable", "classic"]]);
    let counts = [
        list(&mut kit, &["stable", "Empty"], &["Classic"]).len(),
        list(&mut kit, &["Empty"], &[]).len(),
        list(&mut kit, &[], &["consumer"]).len(),
    ];
    assert_eq!(counts, [1, 0, 0]);
    kit.broker = 3 - kit.broker;
    assert_eq!(list(&mut kit, &[], &[]), []);
}

#[test]
fn a_group_is_deleted_with_its_offsets_once_it_has_no_members() {
    let mut kit = Kit::with(&[("offsets.topic.num.partitions", "1")]);
    commit(&mut kit, &["t"]);
    let (members, _) = kit.stable(1);
    assert_eq!([delete(&mut kit, "g"), delete(&mut kit, "absent")], [68, 69]);
    kit.leave(&[(&members[0].request.member_id, None)]);
    assert_eq!(delete(&mut kit, "g"), 0);
    assert_eq!(delete(&mut kit, "g"), 69);
    assert!(kit.harness.state.offsets.of_group("g").is_none());
    kit.broker = 3 - kit.broker;
    assert_eq!(delete(&mut kit, "g"), 16);
}

#[test]
fn offsets_of_topics_that_no_member_consumes_are_deleted() {
    let mut kit = Kit::with(&[("offsets.topic.num.partitions", "1")]);
    kit.harness.state.create_topic("u", 1, 1, Default::default()).unwrap();
    assert_eq!(delete_offsets(&mut kit, "g", &["t"]), (69, vec![]));
    assert_eq!(delete_offsets(&mut kit, "", &["t"]), (24, vec![]));
    commit(&mut kit, &["t", "u"]);
    let mut joiner = kit.joiner();
    joiner.request.protocols = protocols(&[("range", SUBSCRIPTION)]);
    kit.identify(&mut joiner);
    kit.join(&joiner).unwrap();
    kit.sync_all(&[joiner.clone()]);
    assert_eq!(delete_offsets(&mut kit, "g", &["t", "u", "absent"]), (0, vec![86, 0, 3]));
    let left: Vec<_> = kit.harness.state.offsets.of_group("g").unwrap().keys().cloned().collect();
    assert_eq!(left, [("t".to_owned(), 0)]);
    kit.leave(&[(&joiner.request.member_id, None)]);
    assert_eq!(delete_offsets(&mut kit, "g", &["t"]), (0, vec![0]));
    assert!(kit.harness.state.offsets.of_group("g").is_none());
    // What members of another kind use the offsets for can't be known.
    let mut joiner = kit.joiner();
    joiner.request.protocol_type = "connect".into();
    kit.identify(&mut joiner);
    kit.join(&joiner).unwrap();
    assert_eq!(delete_offsets(&mut kit, "g", &["t"]), (68, vec![]));
}
