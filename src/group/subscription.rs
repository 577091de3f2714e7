//! What consumers put into the opaque fields of the group protocol: subscriptions and assignments.
//!
//! Other members write these bytes, with other libraries and of other ages. A version prefix newer than ours means that
//! more fields follow, so what we know is read and the rest ignored.

use super::assignor::{Assignment, GroupAssignment, GroupMember};
use crate::protocol::messages::consumer_protocol_assignment::{self as assignment, ConsumerProtocolAssignment};
use crate::protocol::messages::consumer_protocol_subscription::{self as subscription, ConsumerProtocolSubscription};
use crate::protocol::messages::join_group::JoinGroupResponseMember;
use crate::protocol::messages::sync_group::SyncGroupRequestAssignment;
use crate::protocol::{Reader, Writer};
use crate::{Error, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The version we write: it has the owned partitions, and clients since Kafka 2.4 read it. Later fields serve assignors
/// that we do not have.
const SUBSCRIPTION_VERSION: i16 = 1;

/// All versions have the same fields.
const ASSIGNMENT_VERSION: i16 = 1;

/// This member's subscription as it stands in JoinGroup.
pub(crate) fn encode_subscription(topics: &[String], user_data: Bytes, owned: &Assignment) -> Result<Bytes> {
    let partitions = |(topic, partitions): (&String, &Vec<i32>)| subscription::TopicPartition {
        topic: topic.clone(),
        partitions: partitions.clone(),
    };
    let message = ConsumerProtocolSubscription {
        topics: topics.to_vec(),
        user_data: Some(user_data),
        owned_partitions: owned.iter().map(partitions).collect(),
        ..Default::default()
    };
    let mut writer = Writer::new();
    writer.i16(SUBSCRIPTION_VERSION);
    message.encode(&mut writer, SUBSCRIPTION_VERSION)?;
    Ok(writer.into_bytes().into())
}

/// The members as the assignor sees them. A member whose subscription can't be read is left out, and so gets nothing:
/// its fault must not stop the others.
pub(crate) fn group_members(members: &[JoinGroupResponseMember]) -> Vec<GroupMember> {
    let mut seen = BTreeSet::new();
    let mut readable = Vec::new();
    for member in members {
        if !seen.insert(&member.member_id) {
            log::warn!("member {:?} stands twice in the answer to JoinGroup: the second is ignored", member.member_id);
            continue;
        }
        match decode_subscription(&member.metadata) {
            Ok(subscription) => readable.push(group_member(member, subscription)),
            Err(error) => log::warn!("member {:?} gets nothing, since {error}", member.member_id),
        }
    }
    readable
}

fn group_member(member: &JoinGroupResponseMember, subscription: ConsumerProtocolSubscription) -> GroupMember {
    let mut owned = Assignment::new();
    for claimed in subscription.owned_partitions {
        owned.entry(claimed.topic).or_default().extend(claimed.partitions.into_iter().filter(|index| *index >= 0));
    }
    for partitions in owned.values_mut() {
        tidy(partitions);
    }
    GroupMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        topics: subscription.topics,
        user_data: subscription.user_data,
        owned_partitions: owned,
        generation_id: subscription.generation_id,
        rack_id: subscription.rack_id,
    }
}

pub(crate) fn decode_subscription(bytes: &Bytes) -> Result<ConsumerProtocolSubscription> {
    let (mut reader, version) = versioned(bytes, "subscription")?;
    let fields = reader.clone();
    let known = version.min(ConsumerProtocolSubscription::MAX_VERSION);
    ConsumerProtocolSubscription::decode(&mut reader, known).or_else(|error| {
        // Some clients write version 1 and leave out the owned partitions: then nothing follows the fields of version
        // 0.
        let mut reader = fields;
        let oldest = ConsumerProtocolSubscription::decode(&mut reader, 0)?;
        if reader.remaining() == 0 { Ok(oldest) } else { Err(error) }
    })
}

/// What the leader sends for all members in SyncGroup.
pub(crate) fn encode_assignments(all: &GroupAssignment) -> Result<Vec<SyncGroupRequestAssignment>> {
    let encode = |(member_id, own): (&String, &Assignment)| {
        Ok(SyncGroupRequestAssignment { member_id: member_id.clone(), assignment: encode_assignment(own)? })
    };
    all.iter().map(encode).collect()
}

fn encode_assignment(own: &Assignment) -> Result<Bytes> {
    let partitions = |(topic, partitions): (&String, &Vec<i32>)| assignment::TopicPartition {
        topic: topic.clone(),
        partitions: partitions.clone(),
    };
    let message = ConsumerProtocolAssignment {
        assigned_partitions: own.iter().map(partitions).collect(),
        user_data: Some(Bytes::new()),
    };
    let mut writer = Writer::new();
    writer.i16(ASSIGNMENT_VERSION);
    message.encode(&mut writer, ASSIGNMENT_VERSION)?;
    Ok(writer.into_bytes().into())
}

/// This member's partitions, from SyncGroup's answer. No bytes at all mean no partitions: the broker answers so for
/// members whom the leader left out.
pub(crate) fn decode_assignment(bytes: &Bytes) -> Result<Assignment> {
    let mut own: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    if bytes.is_empty() {
        return Ok(own);
    }
    let (mut reader, version) = versioned(bytes, "assignment")?;
    let message =
        ConsumerProtocolAssignment::decode(&mut reader, version.min(ConsumerProtocolAssignment::MAX_VERSION))?;
    for topic in message.assigned_partitions {
        if topic.topic.is_empty() || topic.partitions.iter().any(|index| *index < 0) {
            return Err(
                Error::protocol("the group's leader assigned a partition that can't exist").with_topic(topic.topic)
            );
        }
        if !topic.partitions.is_empty() {
            own.entry(topic.topic).or_default().extend(topic.partitions);
        }
    }
    own.values_mut().for_each(tidy);
    Ok(own)
}

fn tidy(partitions: &mut Vec<i32>) {
    partitions.sort_unstable();
    partitions.dedup();
}

/// A reader behind the version that both structures begin with.
fn versioned(bytes: &Bytes, what: &str) -> Result<(Reader, i16)> {
    let mut reader = Reader::new(bytes.clone());
    match reader.i16() {
        Ok(version @ 0..) => Ok((reader, version)),
        Ok(version) => Err(Error::protocol(format!("its {what} has version {version}"))),
        Err(_) => Err(Error::protocol(format!("its {what} has no version"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(id: &str, metadata: impl Into<Bytes>) -> JoinGroupResponseMember {
        JoinGroupResponseMember { member_id: id.into(), metadata: metadata.into(), ..Default::default() }
    }

    fn topics(members: &[JoinGroupResponseMember]) -> Vec<(String, Vec<String>)> {
        group_members(members).into_iter().map(|member| (member.member_id, member.topics)).collect()
    }

    /// The fields of version 0 for the topic "a", behind this version.
    fn version_0_fields(version: i16) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 1, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff]);
        bytes
    }

    /// An assignment of partition `index` of a topic, in this version, with what a later one may add.
    fn assignment(version: i16, topic: &str, index: i32, added: &[u8]) -> Bytes {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend([0, 0, 0, 1, 0, topic.len() as u8]);
        bytes.extend(topic.as_bytes());
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(index.to_be_bytes());
        bytes.extend([0xff; 4]);
        bytes.extend(added);
        bytes.into()
    }

    #[test]
    fn g18_an_assignment_of_a_later_version_is_read_and_one_of_nothing_refused() {
        let own = Assignment::from([("a".to_owned(), vec![2])]);
        for (version, added) in [(0, &b""[..]), (3, b""), (4, b"more"), (i16::MAX, b"more")] {
            assert_eq!(decode_assignment(&assignment(version, "a", 2, added)).unwrap(), own, "version {version}");
        }
        for refused in [assignment(-1, "a", 2, b""), assignment(3, "", 2, b""), assignment(3, "a", -1, b"")] {
            assert_eq!(decode_assignment(&refused).unwrap_err().kind(), crate::ErrorKind::Protocol, "{refused:?}");
        }
    }

    #[test]
    fn a_subscription_is_written_as_the_java_client_writes_version_1() {
        let owned = Assignment::from([("a".to_owned(), vec![2])]);
        let bytes = encode_subscription(&["a".to_owned()], Bytes::new(), &owned).unwrap();
        let fields =
            [&[0, 1][..], &[0, 0, 0, 1, 0, 1, b'a'], &[0, 0, 0, 0], &[0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 2]];
        assert_eq!(bytes, fields.concat());
        let read = group_members(&[member("m", bytes)]);
        assert_eq!((&read[0].topics, &read[0].owned_partitions), (&vec!["a".to_owned()], &owned));
    }

    #[test]
    fn subscriptions_of_other_ages_are_read() {
        let mut newer = version_0_fields(9);
        newer.extend([0, 0, 0, 0]); // no owned partitions
        newer.extend([0, 0, 0, 5]); // generation
        newer.extend([0, 1, b'r']); // rack
        newer.extend(*b"what version 9 added");
        let read = group_members(&[
            member("old", version_0_fields(0)),
            member("no-owned-partitions", version_0_fields(1)),
            member("newer", newer),
        ]);
        assert!(read.iter().all(|member| member.topics == ["a"]), "{read:?}");
        assert_eq!(read.len(), 3);
        assert_eq!((read[2].generation_id, read[2].rack_id.as_deref()), (5, Some("r")));
    }

    #[test]
    fn g18_a_member_with_a_malformed_subscription_gets_nothing_and_the_others_go_on() {
        let good = version_0_fields(0);
        let half = Bytes::copy_from_slice(&good[..5]);
        let mut huge = vec![0, 0];
        huge.extend([0x7f, 0xff, 0xff, 0xff]);
        let mut trailing = version_0_fields(1);
        trailing.push(7);
        let broken = [
            member("empty", ""),
            member("half", half),
            member("negative", version_0_fields(-1)),
            member("huge", huge),
            member("neither-0-nor-1", trailing),
        ];
        let all: Vec<_> = broken.into_iter().chain([member("good", good)]).collect();
        assert_eq!(topics(&all), [("good".to_owned(), vec!["a".to_owned()])]);
    }

    #[test]
    fn g18_of_two_members_with_one_id_the_first_counts_and_negative_claims_are_dropped() {
        let owned = Assignment::from([("a".to_owned(), vec![-5, 3, 3, 1])]);
        let first = encode_subscription(&["a".to_owned()], Bytes::new(), &owned).unwrap();
        let read = group_members(&[member("m", first), member("m", version_0_fields(0))]);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].owned_partitions["a"], [1, 3]);
    }

    #[test]
    fn an_assignment_without_bytes_has_no_partitions_and_a_malformed_one_is_an_error() {
        assert_eq!(decode_assignment(&Bytes::new()).unwrap(), Assignment::new());
        for bytes in [&[0][..], &[0, 0], &[0xff, 0xff, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 9]] {
            assert!(decode_assignment(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
        let negative = encode_assignment(&Assignment::from([("a".to_owned(), vec![-1])])).unwrap();
        assert_eq!(decode_assignment(&negative).unwrap_err().topic(), Some("a"));
    }

    proptest! {
        #[test]
        fn assignments_come_back(
            own in prop::collection::btree_map("[a-z]{1,9}", prop::collection::btree_set(0..99i32, 1..9), 0..5),
        ) {
            let own: Assignment = own.into_iter().map(|(topic, ps)| (topic, ps.into_iter().collect())).collect();
            prop_assert_eq!(decode_assignment(&encode_assignment(&own).unwrap()).unwrap(), own);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            group_members(&[member("m", bytes.clone())]);
            let _ = decode_assignment(&bytes.into());
        }
    }
}
