//! A consumer group: its members, their target assignment, and the epochs that say how far everybody has come.
//!
//! The group epoch counts the changes of members, subscriptions and topics; the assignment epoch says which of them the target
//! assignment takes into account; a member's epoch which target assignment it has reached.

use super::super::Time;
use super::super::expression::compile;
use super::super::topics::Topics;
use super::assignor::{Assignor, MemberSpec};
use super::limits::Limits;
use super::member::{Member, MemberState};
use super::reconcile::Goal;
use super::subscription::{Expressions, Metadata};
use super::{Asker, Held, LEAVE, LEFT_FOR_NOW, Partitions, Refusal, TopicId};
use crate::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ResponseTopicPartitions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a group is asked in: the topics there are, the settings, and the time.
#[derive(Clone, Copy)]
pub(in crate::embedded::state) struct Surroundings<'a> {
    pub(in crate::embedded::state) topics: &'a Topics,
    pub(in crate::embedded::state) limits: &'a Limits,
    pub(in crate::embedded::state) now: Time,
}

/// A group of the consumer protocol.
#[derive(Debug)]
pub(in crate::embedded) struct ConsumerGroup {
    pub(super) epoch: i32,
    pub(super) assignment_epoch: i32,
    /// When the target assignment was computed; `None` if it never was.
    assigned_at: Option<Time>,
    pub(super) members: BTreeMap<String, Member>,
    /// The target assignment, by member.
    pub(super) target: BTreeMap<String, Partitions>,
    pub(super) metadata: Metadata,
    expressions: Expressions,
}

impl Default for ConsumerGroup {
    /// A new group. As in Kafka it begins in epoch 1, so its first member is in epoch 2.
    fn default() -> Self {
        Self { epoch: 1, ..Self::in_epoch(0) }
    }
}

impl ConsumerGroup {
    /// A group without members that has come so far, and whose target assignment has too.
    pub(super) fn in_epoch(epoch: i32) -> Self {
        Self {
            epoch,
            assignment_epoch: epoch,
            assigned_at: None,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            metadata: Metadata::new(),
            expressions: Expressions::default(),
        }
    }

    pub(in crate::embedded::state) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the group's state.
    pub(in crate::embedded::state) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.assignment_epoch {
            "Assigning"
        } else if self.members.values().all(|member| member.is_reconciled_to(self.assignment_epoch)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    #[cfg(test)]
    pub(in crate::embedded::state) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub(super) fn static_member(&self, instance_id: &str) -> Option<&Member> {
        self.members.values().find(|member| member.instance_id.as_deref() == Some(instance_id))
    }

    /// A member joins, rejoins or goes on: its subscription is updated, then the group's target assignment, then its own
    /// assignment. A request that is refused changes nothing.
    pub(in crate::embedded::state) fn heartbeat(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
        asker: &Asker<'_>,
        around: Surroundings<'_>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let owned = request.topic_partitions.as_ref().map(|all| {
            let partitions = |topic: &_| partitions_of(topic);
            all.iter().map(partitions).collect::<Partitions>()
        });
        let (mut member, replaced) = self.find_or_make(request, owned.as_ref(), around.limits)?;
        let before = member.assigned.clone();
        let changed = update(&mut member, request, asker)?;
        let id = member.id.clone();
        self.take(member, replaced);
        self.update_epoch(changed, around);
        self.update_target(around);
        self.reconcile(&id, changed, owned.as_ref(), around);
        let Some(member) = self.members.get_mut(&id) else { return Err(Refusal::unknown_member(&id)) };
        member.session_deadline = around.now.saturating_add(around.limits.session_timeout);
        let full = request.member_epoch == 0
            || request.rebalance_timeout_ms != -1
                && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
                && request.topic_partitions.is_some();
        let moved = !same_partitions(&before, &member.assigned);
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(id),
            member_epoch: member.epoch,
            heartbeat_interval_ms: millis(around.limits.heartbeat_interval),
            assignment: (full || moved).then(|| assignment(&member.assigned)),
            ..Default::default()
        })
    }

    /// Keeps a member as it is now, in place of the one that it replaces.
    pub(super) fn take(&mut self, member: Member, replaced: Option<String>) {
        if let Some(old) = replaced {
            self.members.remove(&old);
            if let Some(target) = self.target.remove(&old) {
                self.target.insert(member.id.clone(), target);
            }
        }
        self.members.insert(member.id.clone(), member);
    }

    /// The member that asks, and the id of the static member that it replaces.
    fn find_or_make(
        &self,
        request: &ConsumerGroupHeartbeatRequest,
        owned: Option<&Partitions>,
        limits: &Limits,
    ) -> Result<(Member, Option<String>), Refusal> {
        let id = &request.member_id;
        if self.members.len() >= limits.max_size && !self.members.contains_key(id) {
            let most = limits.max_size;
            let text = format!("The consumer group has reached its maximum capacity of {most} members.");
            return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, text));
        }
        let joins = request.member_epoch == 0;
        let made = || Member { id: id.clone(), ..Default::default() };
        let Some(instance_id) = &request.instance_id else {
            let known = self.members.get(id);
            return match known {
                None if !joins => Err(Refusal::unknown_member(id)),
                None => Ok((made(), None)),
                Some(member) => check_epoch(member, request.member_epoch, owned).map(|()| (member.clone(), None)),
            };
        };
        match self.static_member(instance_id) {
            None if joins => Ok((made(), None)),
            None => Err(Refusal::unknown_instance(instance_id)),
            // A member that changes from the classic protocol has not left for now: it can't.
            Some(held) if joins && !held.has_left_for_now() && held.classic.is_none() => {
                let (owner, code) = (&held.id, ErrorCode::UNRELEASED_INSTANCE_ID);
                Err(Refusal::new(code, format!("Instance id {instance_id} is owned by member {owner}.")))
            }
            Some(held) if joins => {
                let mut member = Member { id: id.clone(), epoch: 0, previous_epoch: 0, ..held.clone() };
                member.armed = None;
                Ok((member, Some(held.id.clone())))
            }
            Some(held) if held.id != *id => Err(Refusal::fenced_instance(instance_id, &held.id)),
            Some(held) => check_epoch(held, request.member_epoch, owned).map(|()| (held.clone(), None)),
        }
    }

    /// A member leaves, for good or, if it is static, until it comes back. Answers whether it is to be removed.
    pub(in crate::embedded::state) fn leave(
        &mut self,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroupHeartbeatResponse, bool), Refusal> {
        let id = &request.member_id;
        if let Some(instance_id) = &request.instance_id {
            let held = self.static_member(instance_id).ok_or_else(|| Refusal::unknown_instance(instance_id))?;
            if held.id != *id {
                return Err(Refusal::fenced_instance(instance_id, &held.id));
            }
        }
        let member = self.members.get_mut(id).ok_or_else(|| Refusal::unknown_member(id))?;
        let for_now = request.instance_id.is_some() && request.member_epoch == LEFT_FOR_NOW;
        if for_now {
            member.epoch = LEFT_FOR_NOW;
            member.pending_revocation.clear();
            member.revocation_deadline = None;
        }
        let (member_id, member_epoch) = (Some(id.clone()), request.member_epoch);
        Ok((ConsumerGroupHeartbeatResponse { member_id, member_epoch, ..Default::default() }, !for_now))
    }

    /// Removes members, all in one new epoch.
    pub(super) fn remove(&mut self, ids: &BTreeSet<String>, around: Surroundings<'_>) {
        self.members.retain(|id, _| !ids.contains(id));
        self.target.retain(|id, _| !ids.contains(id));
        self.expressions.update(self.members.values());
        self.expressions.resolve(around.topics);
        self.metadata = self.subscribed_topics(around.topics);
        self.epoch += 1;
    }

    /// Whether a member's time is up. If not, [`arm`](Self::arm) says when to look at it again.
    pub(in crate::embedded::state) fn is_overdue(&mut self, id: &str, now: Time) -> bool {
        let Some(member) = self.members.get_mut(id) else { return false };
        member.armed = None;
        member.deadline() <= now
    }

    /// All deadlines begin anew. Answers when to look at whom.
    pub(super) fn moved(&mut self, around: Surroundings<'_>) -> Vec<(String, Time)> {
        let anew = |member: &mut Member| {
            member.session_deadline = around.now.saturating_add(member.session_timeout(around.limits));
            if let Some(classic) = &mut member.classic {
                (classic.joins_by, classic.syncs_by) = (None, None);
            }
            let revocation = member.revocation_deadline.is_some();
            member.revocation_deadline = revocation.then(|| around.now.saturating_add(member.rebalance_timeout));
            member.armed = Some(member.deadline());
            (member.id.clone(), member.deadline())
        };
        self.members.values_mut().map(anew).collect()
    }

    /// When to look at a member; `None` if a reminder for it is set already.
    pub(in crate::embedded::state) fn arm(&mut self, id: &str) -> Option<Time> {
        let member = self.members.get_mut(id)?;
        let at = member.deadline();
        if member.armed.is_some_and(|armed| armed <= at) {
            return None;
        }
        member.armed = Some(at);
        Some(at)
    }

    pub(super) fn subscribes(&self, member: &Member, topic: &str) -> bool {
        member.topics.contains(topic) || self.expressions.matches(member, topic)
    }

    pub(super) fn subscribed_topics(&self, topics: &Topics) -> Metadata {
        self.members.values().flat_map(|member| self.expressions.topics_of(member, topics)).collect()
    }

    pub(super) fn update_epoch(&mut self, changed: bool, around: Surroundings<'_>) {
        if changed {
            self.expressions.update(self.members.values());
        }
        self.expressions.resolve(around.topics);
        let metadata = self.subscribed_topics(around.topics);
        if changed || metadata != self.metadata {
            self.epoch += 1;
        }
        self.metadata = metadata;
    }

    pub(super) fn update_target(&mut self, around: Surroundings<'_>) {
        let too_early = self.assigned_at.is_some_and(|at| around.now < at + around.limits.assignment_interval);
        if self.epoch <= self.assignment_epoch || too_early {
            return;
        }
        let spec = |(id, member): (&String, &Member)| {
            let topics = self.expressions.topics_of(member, around.topics);
            let target = self.target.get(id).cloned().unwrap_or_default();
            let topics = topics.into_values().map(|(topic, _)| topic).collect();
            (id.clone(), MemberSpec { instance_id: member.instance_id.clone(), topics, target })
        };
        let members = self.members.iter().map(spec).collect();
        let topics = self.metadata.values().copied().collect();
        self.target = self.assignor(around.limits).assign(&members, &topics, self.are_alike());
        self.assignment_epoch = self.epoch;
        self.assigned_at = Some(around.now);
    }

    /// Whether all members subscribe to the same, either by name or by one expression.
    fn are_alike(&self) -> bool {
        let mut members = self.members.values();
        let Some(first) = members.next() else { return true };
        (first.topics.is_empty() || first.regex.is_none())
            && members.all(|member| member.topics == first.topics && member.regex == first.regex)
    }

    /// What most of the members ask for; the broker's first if none asks.
    pub(super) fn assignor(&self, limits: &Limits) -> Assignor {
        let votes = |assignor: &Assignor| {
            self.members.values().filter(|member| member.assignor.as_deref() == Some(assignor.name())).count()
        };
        let rank = |(place, assignor): &(usize, Assignor)| (votes(assignor), std::cmp::Reverse(*place));
        let most = limits.assignors.iter().copied().enumerate().max_by_key(rank);
        most.map_or(Assignor::Uniform, |(_, assignor)| assignor)
    }

    pub(super) fn reconcile(&mut self, id: &str, changed: bool, owned: Option<&Partitions>, around: Surroundings<'_>) {
        let Some(member) = self.members.get(id) else { return };
        if member.is_reconciled_to(self.assignment_epoch) && !changed {
            return;
        }
        let others = self.members.values().filter(|other| other.id != id);
        let taken = others.flat_map(|other| [&other.assigned, &other.pending_revocation]).flat_map(pairs).collect();
        let topics = self.expressions.topics_of(member, around.topics);
        let none = Partitions::default();
        let goal = Goal {
            epoch: self.assignment_epoch,
            target: self.target.get(id).unwrap_or(&none),
            subscribed: &topics.into_values().map(|(topic, _)| topic).collect(),
            subscription_changed: changed,
            owned,
            taken: &taken,
        };
        let Some(member) = self.members.get_mut(id) else { return };
        let (state, pending) = (member.state, member.pending_revocation.clone());
        member.reconcile(&goal);
        // Members of the classic protocol are told to join again, and have a time for that.
        if member.state != MemberState::UnrevokedPartitions || member.classic.is_some() {
            member.revocation_deadline = None;
        } else if state != member.state || pending != member.pending_revocation {
            member.revocation_deadline = Some(around.now.saturating_add(member.rebalance_timeout));
        }
    }
}

/// Whether a member may come with this epoch.
fn check_epoch(member: &Member, epoch: i32, owned: Option<&Partitions>) -> Result<(), Refusal> {
    let known = member.epoch;
    // With the epoch before, if it has nothing that it should not have: the answer with the new one may have been lost.
    let lost_answer = epoch == member.previous_epoch && owned.is_some_and(|owned| has_all(&member.assigned, owned));
    if epoch == 0 || epoch == known || epoch < known && lost_answer {
        return Ok(());
    }
    let than = if epoch > known { "greater" } else { "smaller" };
    Err(Refusal::new(
        ErrorCode::FENCED_MEMBER_EPOCH,
        format!(
            "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        ),
    ))
}

/// Takes over what the request says. Answers whether the subscription has changed.
fn update(member: &mut Member, request: &ConsumerGroupHeartbeatRequest, asker: &Asker<'_>) -> Result<bool, Refusal> {
    let before = (member.topics.clone(), member.regex.clone());
    if let Some(expression) = &request.subscribed_topic_regex {
        if member.regex.as_ref() != Some(expression)
            && let Err(reason) = compile(expression)
        {
            let text = format!("SubscribedTopicRegex `{expression}` is not a valid regular expression: {reason}.");
            return Err(Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, text));
        }
        // The empty one takes the subscription by expression back.
        member.regex = Some(expression.clone()).filter(|expression| !expression.is_empty());
    }
    if let Some(names) = &request.subscribed_topic_names {
        member.topics = names.iter().cloned().collect();
    }
    if let Ok(timeout) = u64::try_from(request.rebalance_timeout_ms) {
        member.rebalance_timeout = Duration::from_millis(timeout);
    }
    let updates = [
        (&request.instance_id, &mut member.instance_id),
        (&request.rack_id, &mut member.rack_id),
        (&request.server_assignor, &mut member.assignor),
    ];
    updates.into_iter().filter(|(new, _)| new.is_some()).for_each(|(new, field)| field.clone_from(new));
    member.classic = None;
    member.client_id = asker.client_id.to_owned();
    member.client_host = asker.client_host.to_owned();
    Ok(before != (member.topics.clone(), member.regex.clone()))
}

fn partitions_of(
    topic: &crate::protocol::messages::consumer_group_heartbeat::RequestTopicPartitions,
) -> (TopicId, BTreeSet<i32>) {
    (topic.topic_id, topic.partitions.iter().copied().collect())
}

pub(super) fn pairs(held: &Held) -> impl Iterator<Item = (TopicId, i32)> {
    held.iter().flat_map(|(topic, numbers)| numbers.keys().map(|number| (*topic, *number)))
}

fn has_all(held: &Held, owned: &Partitions) -> bool {
    let has = |topic: &TopicId, number: &i32| held.get(topic).is_some_and(|held| held.contains_key(number));
    owned.iter().all(|(topic, numbers)| numbers.iter().all(|number| has(topic, number)))
}

fn same_partitions(left: &Held, right: &Held) -> bool {
    pairs(left).eq(pairs(right))
}

fn assignment(held: &Held) -> Assignment {
    let topic = |(topic_id, numbers): (&TopicId, &BTreeMap<i32, i32>)| ResponseTopicPartitions {
        topic_id: *topic_id,
        partitions: numbers.keys().copied().collect(),
    };
    Assignment { topic_partitions: held.iter().map(topic).collect() }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Whether a request says that its member goes.
pub(super) fn is_leave(request: &ConsumerGroupHeartbeatRequest) -> bool {
    [LEAVE, LEFT_FOR_NOW].contains(&request.member_epoch)
}
