//! What other members of a group write: subscriptions with what their assignors put in, which the leader's assignor works on,
//! and assignments.
//!
//! Input: any number of blobs, each behind its length of two bytes.

use crate::group::{
    Assignment, Assignor, GroupMember, RangeAssignor, RoundRobinAssignor, assign, decode_assignment,
    encode_assignments, group_members,
};
use crate::protocol::messages::join_group::JoinGroupResponseMember;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Of each topic that somebody subscribes to; in truth the broker says how many there are.
const PARTITIONS: i32 = 3;

fn blobs(data: &[u8]) -> Vec<Bytes> {
    let mut blobs = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (blob, after) = after.split_at(length);
        blobs.push(Bytes::copy_from_slice(blob));
        rest = after;
    }
    blobs
}

/// One member for each blob; static ones among them.
fn members(blobs: &[Bytes]) -> Vec<GroupMember> {
    let member = |(nth, metadata): (usize, &Bytes)| JoinGroupResponseMember {
        member_id: format!("member-{nth}"),
        group_instance_id: (nth % 3 == 2).then(|| format!("instance-{nth}")),
        metadata: metadata.clone(),
    };
    group_members(&blobs.iter().enumerate().map(member).collect::<Vec<_>>())
}

fn partitions(members: &[GroupMember]) -> BTreeMap<String, i32> {
    members.iter().flat_map(|member| &member.topics).map(|topic| (topic.clone(), PARTITIONS)).collect()
}

pub(super) fn decode(data: &[u8]) {
    let blobs = blobs(data);
    let members = members(&blobs);
    let partitions = partitions(&members);
    let _ = assign(&RangeAssignor, &members, &partitions);
    let _ = assign(&RoundRobinAssignor, &members, &partitions);
    for blob in &blobs {
        let _ = decode_assignment(blob);
    }
}

pub(super) fn check(data: &[u8]) {
    let blobs = blobs(data);
    let members = members(&blobs);
    let partitions = partitions(&members);
    check_assignor(&RangeAssignor, &members, &partitions);
    check_assignor(&RoundRobinAssignor, &members, &partitions);
    for blob in &blobs {
        let Ok(assignment) = decode_assignment(blob) else { continue };
        let indexes = assignment.values().all(|own| !own.is_empty() && own.is_sorted() && own.iter().all(|p| *p >= 0));
        assert!(indexes && !assignment.contains_key(""), "{assignment:?}");
        assert_eq!(written_and_read(&assignment), assignment);
    }
}

/// Each partition of a topic that somebody wants goes to one of those who do.
fn check_assignor(assignor: &dyn Assignor, members: &[GroupMember], partitions: &BTreeMap<String, i32>) {
    let assignment = assign(assignor, members, partitions).expect("whatever they wrote");
    let mut assigned = BTreeSet::new();
    for member in members {
        let wanted: BTreeSet<_> = member.topics.iter().collect();
        for (topic, indexes) in assignment.get(&member.member_id).into_iter().flatten() {
            assert!(wanted.contains(topic), "{topic:?} to a member without");
            assigned.extend(indexes.iter().map(|index| (topic.as_str(), *index)));
        }
    }
    assert_eq!(assigned.len(), partitions.len() * PARTITIONS as usize);
}

fn written_and_read(assignment: &Assignment) -> Assignment {
    let all = BTreeMap::from([("m".to_owned(), assignment.clone())]);
    let written = encode_assignments(&all).expect("it came over the wire");
    decode_assignment(&written[0].assignment).expect("it was just written")
}
