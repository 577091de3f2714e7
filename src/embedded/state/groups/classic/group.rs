//! A classic group: who is in it, and what follows from that alone.

use super::Member;
use crate::ErrorCode;
use crate::embedded::state::Time;
use crate::protocol::Reader;
use crate::protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The protocol type of consumers, whose metadata the coordinator can read.
pub(in crate::embedded) const CONSUMER: &str = "consumer";

/// Where a group is in its rebalances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) enum ClassicState {
    /// It has no members.
    Empty,
    /// Members are to join; their JoinGroups are parked.
    PreparingRebalance,
    /// The generation's members are known, their assignment is not.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl ClassicState {
    /// Kafka's name.
    pub(in crate::embedded) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// How long the first rebalance of a group goes on waiting for more members.
#[derive(Debug, Clone, Copy)]
pub(super) struct InitialDelay {
    pub(super) delay: Duration,
    pub(super) remaining: Duration,
}

/// What the offsets topic holds of a group, and another coordinator goes on with.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) since: Time,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
}

/// A group of the classic protocol.
#[derive(Debug)]
pub(in crate::embedded) struct ClassicGroup {
    pub(in crate::embedded) id: String,
    pub(in crate::embedded) state: ClassicState,
    /// Since when it is in its state.
    pub(in crate::embedded) since: Time,
    pub(in crate::embedded) generation: i32,
    /// "consumer", or what else the members said; `None` if there never were any.
    pub(in crate::embedded) protocol_type: Option<String>,
    /// The assignor of the present generation.
    pub(in crate::embedded) protocol: Option<String>,
    pub(in crate::embedded) leader: Option<String>,
    pub(in crate::embedded) members: BTreeMap<String, Member>,
    /// The members' ids by their instance ids.
    pub(super) instances: BTreeMap<String, String>,
    /// Member ids that were handed out and have not joined, and when they are forgotten.
    pub(super) pending: BTreeMap<String, Time>,
    /// Members that have not synced in this generation.
    pub(super) unsynced: BTreeSet<String>,
    /// The topics that the members are subscribed to, as far as the coordinator can read what they say.
    pub(in crate::embedded) topics: Option<BTreeSet<String>>,
    /// The first rebalance after a time without members, which goes by the clock.
    pub(super) initial: Option<InitialDelay>,
    /// A member has come since that delay was last looked at.
    pub(super) member_added: bool,
    /// When the rebalance goes on without those who have not joined.
    pub(super) join_ends: Option<Time>,
    /// When those who have not synced are removed.
    pub(super) sync_ends: Option<Time>,
    pub(super) stored: Stored,
}

impl ClassicGroup {
    /// A group without members.
    pub(in crate::embedded) fn new(id: &str, now: Time) -> Self {
        Self {
            id: id.to_owned(),
            state: ClassicState::Empty,
            since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            topics: None,
            initial: None,
            member_added: false,
            join_ends: None,
            sync_ends: None,
            stored: Stored { since: now, ..Stored::default() },
        }
    }

    /// Whether it is in the state Empty.
    pub(in crate::embedded) fn is_empty(&self) -> bool {
        self.state == ClassicState::Empty
    }

    /// Whether the assignment of the present generation is not there yet.
    pub(in crate::embedded) fn is_completing(&self) -> bool {
        self.state == ClassicState::CompletingRebalance
    }

    pub(in crate::embedded) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(in crate::embedded) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether members consume a topic. It counts as consumed if the coordinator can't read what they are subscribed to.
    pub(in crate::embedded) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.topics.as_ref().map_or_else(|| self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// The member that has an instance id.
    pub(in crate::embedded) fn member_of_instance(&self, instance_id: &str) -> Option<&str> {
        self.instances.get(instance_id).map(String::as_str)
    }

    pub(in crate::embedded) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Whether a member is who it says it is.
    ///
    /// # Errors
    /// UNKNOWN_MEMBER_ID; FENCED_INSTANCE_ID if another member has the instance id.
    pub(in crate::embedded) fn check_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let current = self.member_of_instance(instance_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if current != id {
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        self.members.contains_key(id).then_some(()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)
    }

    /// Whether a member of this protocol type, with these assignors, fits in.
    pub(in crate::embedded) fn supports<'a>(
        &self,
        protocol_type: &str,
        mut protocols: impl Iterator<Item = &'a str>,
    ) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        let by_all = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_deref() == Some(protocol_type) && protocols.any(by_all)
    }

    /// The assignor with the most votes among those that every member supports.
    pub(in crate::embedded) fn select_protocol(&self) -> Option<String> {
        let first = self.members.values().next()?;
        let by_all = |name: &&str| self.members.values().all(|member| member.supports(name));
        let candidates: BTreeSet<&str> = first.protocols.iter().map(|(name, _)| name.as_str()).filter(by_all).collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.vote(&candidates)) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.iter().max_by_key(|(name, votes)| (**votes, std::cmp::Reverse(**name)));
        most.map(|(name, _)| (*name).to_owned())
    }

    /// What the members are subscribed to, by the metadata for the chosen assignor; `None` if it can't be known.
    pub(in crate::embedded) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let topics = self.members.values().map(|member| subscription(member.metadata(protocol)));
        topics.collect::<Option<Vec<_>>>().map(|topics| topics.into_iter().flatten().collect())
    }

    /// Whether everyone who is known has a JoinGroup parked.
    pub(super) fn all_have_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// How many members have a JoinGroup parked.
    pub(super) fn joined(&self) -> usize {
        self.members.values().filter(|member| member.joining.is_some()).count()
    }

    /// Takes a member in. The first one decides the protocol type.
    pub(in crate::embedded) fn add(&mut self, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member.id.clone());
        }
        self.leader.get_or_insert_with(|| member.id.clone());
        self.pending.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member, or one that has only got its id. The leader is followed by another member.
    pub(in crate::embedded) fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(instance_id) = removed.as_ref().and_then(|member| member.instance_id.as_ref()) {
            self.instances.remove(instance_id);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(id);
        self.unsynced.remove(id);
        removed
    }

    pub(in crate::embedded) fn enter(&mut self, state: ClassicState, now: Time) {
        log::debug!("embedded group {}: {} after {}", self.id, state.name(), self.state.name());
        self.state = state;
        self.since = now;
    }

    /// Keeps what the offsets topic would hold from now on.
    pub(in crate::embedded) fn store(&mut self) {
        let stored = |member: &Member| (member.id.clone(), member.stored(self.protocol.as_deref()));
        self.stored = Stored {
            since: self.since,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.values().map(stored).collect(),
        };
    }

    /// Becomes what the offsets topic holds of it, as where another broker becomes its coordinator.
    pub(super) fn load(&mut self, now: Time) {
        let stored = self.stored.clone();
        let state = if stored.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        let by_instance = |member: &Member| Some((member.instance_id.clone()?, member.id.clone()));
        let instances = stored.members.values().filter_map(by_instance).collect();
        *self = Self {
            state,
            since: stored.since,
            generation: stored.generation,
            protocol_type: stored.protocol_type.clone(),
            protocol: stored.protocol.clone(),
            leader: stored.leader.clone(),
            members: stored.members.clone(),
            instances,
            stored,
            ..Self::new(&self.id, now)
        };
        self.topics = self.subscribed_topics();
    }
}

/// The topics in a consumer's metadata. All versions begin as version 0 does.
fn subscription(metadata: Bytes) -> Option<Vec<String>> {
    let mut reader = Reader::new(metadata);
    reader.i16().ok()?;
    ConsumerProtocolSubscription::decode(&mut reader, 0).ok().map(|subscription| subscription.topics)
}
