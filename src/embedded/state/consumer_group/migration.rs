//! How a group changes its protocol while it has members (KIP-848). Kafka: `group.consumer.migration.policy`.
//!
//! A classic group whose members are consumers becomes a consumer group when a member of that protocol joins; the others go
//! on with what they have, in a group whose epoch is their generation. It becomes a classic group again when only classic
//! members are left; these then rebalance.

use super::super::groups::classic::{CONSUMER, ClassicGroup, ClassicState, Member as ClassicMember};
use super::super::groups::{Group, Turn};
use super::super::topics::Topics;
use super::super::{State, Time};
use super::group::Surroundings;
use super::member::{ClassicPart, Member};
use super::{ConsumerGroup, Partitions, Refusal, TopicId};
use crate::ErrorCode;
use crate::protocol::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition};
use crate::protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use crate::protocol::{Reader, Writer};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a consumer says in the metadata of an assignor; `None` if it is nothing of that kind.
pub(super) fn subscription(metadata: &Bytes) -> Option<ConsumerProtocolSubscription> {
    let mut reader = Reader::new(metadata.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0)?;
    ConsumerProtocolSubscription::decode(&mut reader, version.min(ConsumerProtocolSubscription::MAX_VERSION)).ok()
}

/// An assignment in the form that a consumer reads, in the version of its metadata. Topics that are gone are left out.
pub(super) fn assignment<'a>(
    partitions: impl Iterator<Item = (&'a TopicId, Vec<i32>)>,
    metadata: &Bytes,
    topics: &Topics,
) -> Bytes {
    let version = Reader::new(metadata.clone()).i16().unwrap_or(0);
    let version = version.clamp(0, ConsumerProtocolAssignment::MAX_VERSION);
    let named = |(id, partitions): (&TopicId, Vec<i32>)| {
        Some(TopicPartition { topic: topics.name_of(id)?.to_owned(), partitions })
    };
    let assigned_partitions = partitions.filter_map(named).collect();
    let mut writer = Writer::new();
    writer.i16(version);
    let written = ConsumerProtocolAssignment { assigned_partitions, user_data: None }.encode(&mut writer, version);
    // All versions can carry it.
    debug_assert!(written.is_ok());
    writer.into_bytes().into()
}

/// Partitions by topic id. Topics that are gone are left out.
pub(super) fn with_ids<'a>(named: impl Iterator<Item = (&'a str, &'a [i32])>, topics: &Topics) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, numbers) in named {
        if let Some(topic) = topics.get(name) {
            partitions.entry(topic.id).or_default().extend(numbers);
        }
    }
    partitions
}

/// What a leader gave a member of a classic group.
fn assigned(member: &ClassicMember, topics: &Topics) -> Result<Partitions, &'static str> {
    const MALFORMED: &str = "the embedded consumer protocol is malformed.";
    if member.assignment.is_empty() {
        return Ok(Partitions::new());
    }
    let mut reader = Reader::new(member.assignment.clone());
    let version = reader.i16().ok().filter(|version| *version >= 0).ok_or(MALFORMED)?;
    let version = version.min(ConsumerProtocolAssignment::MAX_VERSION);
    let assignment = ConsumerProtocolAssignment::decode(&mut reader, version).map_err(|_| MALFORMED)?;
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(
            "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor \
             before re-attempting the upgrade.",
        );
    }
    let topics_of = assignment.assigned_partitions.iter();
    Ok(with_ids(topics_of.map(|topic| (topic.topic.as_str(), topic.partitions.as_slice())), topics))
}

impl ConsumerGroup {
    /// What a classic group with members becomes when a member of the consumer protocol joins.
    pub(super) fn of_classic(group: &ClassicGroup, around: Surroundings<'_>) -> Result<Self, Refusal> {
        let upgraded = match () {
            () if !around.limits.upgrades => Err("online upgrade is disabled."),
            () if !group.uses_consumer_protocol() => Err("the group does not use the consumer embedded protocol."),
            () if group.members.len() > around.limits.max_size => {
                Err("the group size exceeds the consumer group maximum size.")
            }
            () => Self::upgraded(group, around),
        };
        upgraded.map_err(|why| {
            let text = format!("Cannot upgrade classic group {} to consumer group because {why}", group.id);
            Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, text)
        })
    }

    fn upgraded(group: &ClassicGroup, around: Surroundings<'_>) -> Result<Self, &'static str> {
        let (epoch, now) = (group.generation, around.now);
        let mut new = Self::in_epoch(epoch);
        for member in group.members.values() {
            let assigned = assigned(member, around.topics)?;
            // Before the first generation no assignor has been chosen; they all say the same.
            let first = || member.protocols.first().map(|(_, metadata)| metadata.clone());
            let chosen = group.protocol.as_deref().map(|protocol| member.metadata(protocol));
            let said = chosen.filter(|metadata| !metadata.is_empty()).or_else(first).unwrap_or_default();
            let said = subscription(&said).ok_or("the embedded consumer protocol is malformed.")?;
            let held = assigned.iter().map(|(topic, numbers)| (*topic, numbers.iter().map(|n| (*n, epoch)).collect()));
            let classic = ClassicPart {
                session_timeout: member.session_timeout,
                protocols: member.protocols.clone(),
                joins_by: None,
                syncs_by: None,
            };
            let member = Member {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                rack_id: said.rack_id,
                client_id: member.client_id.clone(),
                client_host: member.client_host.trim_start_matches('/').to_owned(),
                rebalance_timeout: member.rebalance_timeout,
                topics: said.topics.into_iter().collect(),
                epoch,
                previous_epoch: epoch,
                assigned: held.collect(),
                session_deadline: now.saturating_add(member.session_timeout),
                classic: Some(classic),
                ..Default::default()
            };
            new.target.insert(member.id.clone(), assigned);
            new.members.insert(member.id.clone(), member);
        }
        new.metadata = new.subscribed_topics(around.topics);
        Ok(new)
    }

    /// Whether the group becomes a classic one when these members go.
    fn downgrades_without(&self, gone: &BTreeSet<String>, around: Surroundings<'_>) -> bool {
        let mut left = self.members.values().filter(|member| !gone.contains(&member.id));
        let count = left.clone().count();
        around.limits.downgrades
            && (1..=around.limits.classic_max_size).contains(&count)
            && left.all(|member| member.classic.is_some())
    }

    /// The classic group that the members make which have their part of that protocol, in this generation.
    fn downgraded(&self, id: &str, generation: i32, topics: &Topics, now: Time) -> ClassicGroup {
        let mut group = ClassicGroup::new(id, now);
        group.state = ClassicState::Stable;
        group.generation = generation;
        for member in self.members.values() {
            let Some(classic) = &member.classic else { continue };
            let member = ClassicMember {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                client_host: format!("/{}", member.client_host),
                rebalance_timeout: member.rebalance_timeout,
                session_timeout: classic.session_timeout,
                protocols: classic.protocols.clone(),
                assignment: Bytes::new(),
                joining: None,
                syncing: None,
                is_new: false,
                session_ends: now,
                timer_at: None,
            };
            group.add(member, CONSUMER);
        }
        group.protocol = group.select_protocol();
        group.topics = group.subscribed_topics();
        let protocol = group.protocol.clone().unwrap_or_default();
        let none = Partitions::new();
        for member in group.members.values_mut() {
            let target = self.target.get(&member.id).unwrap_or(&none);
            let target = target.iter().map(|(topic, numbers)| (topic, numbers.iter().copied().collect()));
            member.assignment = assignment(target, &member.metadata(&protocol), topics);
        }
        group
    }
}

impl State {
    /// Removes members of a consumer group, which may make it a classic one.
    pub(super) fn fence_members(&mut self, id: &str, gone: &BTreeSet<String>, now: Time) {
        let limits = self.consumer_group_limits(id);
        let around = Surroundings { topics: &self.topics, limits: &limits, now };
        let Ok(group) = self.groups.consumer_mut(id) else { return };
        if gone.is_empty() {
            return;
        }
        if !group.downgrades_without(gone, around) {
            return group.remove(gone, around);
        }
        let generation = group.epoch;
        group.members.retain(|id, _| !gone.contains(id));
        self.downgrade(id, generation, Some("the last member of the consumer protocol has gone"), now);
    }

    /// Makes a consumer group of classic members a classic group, which rebalances if there is a reason.
    pub(super) fn downgrade(&mut self, id: &str, generation: i32, rebalance: Option<&str>, now: Time) {
        let Ok(group) = self.groups.consumer_mut(id) else { return };
        let classic = group.downgraded(id, generation, &self.topics, now);
        log::debug!("embedded group {id}: from the consumer to the classic protocol in generation {generation}");
        self.groups.insert(id, Group::Classic(classic));
        self.watch_offsets(now);
        self.with_classic(id, now, |group, turn: &mut Turn<'_>| {
            group.store();
            group.keep_all_sessions(turn);
            if let Some(reason) = rebalance {
                group.prepare_rebalance(turn, reason);
            }
        });
    }

    /// Puts a consumer group in the place of the classic one that it was; whoever waits there is to join anew.
    pub(super) fn upgrade(&mut self, id: &str, group: ConsumerGroup, now: Time) {
        log::debug!("embedded group {id}: from the classic to the consumer protocol in epoch {}", group.epoch);
        self.with_classic(id, now, |group, turn| group.turn_away(turn, ErrorCode::REBALANCE_IN_PROGRESS));
        self.groups.insert(id, Group::Consumer(group));
    }
}

/// Partitions by topic, each list in order.
pub(super) fn lists(held: &super::Held) -> impl Iterator<Item = (&TopicId, Vec<i32>)> {
    held.iter().map(|(topic, numbers): (_, &BTreeMap<i32, i32>)| (topic, numbers.keys().copied().collect()))
}
