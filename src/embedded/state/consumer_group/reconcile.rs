//! How a member gets from what it has to what it is to have: give up first, take when others have given up. No partition is
//! ever with two members.

use super::member::{Member, MemberState};
use super::{Held, Partitions, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// What a member is reconciled with.
pub(super) struct Goal<'a> {
    /// The epoch of the target assignment.
    pub(super) epoch: i32,
    /// The member's part of the target assignment.
    pub(super) target: &'a Partitions,
    /// The topics that it subscribes to: nothing else is assigned, even if the target assignment is older than its
    /// subscription.
    pub(super) subscribed: &'a BTreeSet<TopicId>,
    pub(super) subscription_changed: bool,
    /// What the member says it has; `None` if it said nothing.
    pub(super) owned: Option<&'a Partitions>,
    /// What other members have or have yet to give up.
    pub(super) taken: &'a BTreeSet<(TopicId, i32)>,
}

impl Goal<'_> {
    /// Whether the member may still be using any of these.
    fn still_owns(&self, partitions: &Held) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|(topic, numbers)| {
            partitions.get(topic).is_some_and(|held| numbers.iter().any(|number| held.contains_key(number)))
        })
    }
}

impl Member {
    /// Takes the next step. Whether anything changed is in the member; the caller arms the rebalance timeout by its state.
    pub(super) fn reconcile(&mut self, goal: &Goal<'_>) {
        match self.state {
            MemberState::Stable if self.epoch == goal.epoch => {
                if goal.subscription_changed {
                    self.drop_unsubscribed(goal);
                }
            }
            MemberState::UnrevokedPartitions if goal.still_owns(&self.pending_revocation) => {
                if goal.subscription_changed {
                    self.drop_unsubscribed(goal);
                }
            }
            MemberState::Stable | MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                self.step(goal);
            }
        }
    }

    /// The subscription is newer than the target assignment: what is not wanted any more is given up at once.
    fn drop_unsubscribed(&mut self, goal: &Goal<'_>) {
        let (assigned, dropped): (Held, Held) =
            std::mem::take(&mut self.assigned).into_iter().partition(|(topic, _)| goal.subscribed.contains(topic));
        self.assigned = assigned;
        if dropped.is_empty() {
            return;
        }
        let mut pending = self.pending_revocation.clone();
        dropped.into_iter().for_each(|(topic, held)| pending.entry(topic).or_default().extend(held));
        self.move_to_epoch(self.epoch);
        if goal.still_owns(&pending) {
            self.state = MemberState::UnrevokedPartitions;
            self.pending_revocation = pending;
        }
    }

    fn step(&mut self, goal: &Goal<'_>) {
        let wanted = |topic: &TopicId, number: i32| {
            goal.subscribed.contains(topic) && goal.target.get(topic).is_some_and(|target| target.contains(&number))
        };
        let (mut kept, mut revoked) = (Held::default(), Held::default());
        for (topic, held) in std::mem::take(&mut self.assigned) {
            let (keep, revoke): (BTreeMap<i32, i32>, _) =
                held.into_iter().partition(|(number, _)| wanted(&topic, *number));
            [(keep, &mut kept), (revoke, &mut revoked)]
                .into_iter()
                .filter(|(held, _)| !held.is_empty())
                .for_each(|(held, all)| drop(all.insert(topic, held)));
        }
        if goal.still_owns(&revoked) && !revoked.is_empty() {
            self.assigned = kept;
            self.pending_revocation = revoked;
            self.state = MemberState::UnrevokedPartitions;
            self.move_to_epoch(self.epoch);
            return;
        }
        let mut unreleased = false;
        for (topic, numbers) in goal.target.iter().filter(|(topic, _)| goal.subscribed.contains(*topic)) {
            for number in numbers {
                if goal.taken.contains(&(*topic, *number)) {
                    unreleased = true;
                } else {
                    kept.entry(*topic).or_default().entry(*number).or_insert(goal.epoch);
                }
            }
        }
        self.assigned = kept;
        self.pending_revocation.clear();
        self.state = if unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        self.move_to_epoch(goal.epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: TopicId = [1; 16];
    const U: TopicId = [2; 16];

    fn partitions(topic: TopicId, numbers: &[i32]) -> Partitions {
        if numbers.is_empty() {
            Partitions::default()
        } else {
            BTreeMap::from([(topic, numbers.iter().copied().collect())])
        }
    }

    fn held(topic: TopicId, numbers: &[i32], epoch: i32) -> Held {
        if numbers.is_empty() {
            return Held::default();
        }
        BTreeMap::from([(topic, numbers.iter().map(|number| (*number, epoch)).collect())])
    }

    struct Case {
        epoch: i32,
        target: Partitions,
        owned: Option<Partitions>,
        taken: BTreeSet<(TopicId, i32)>,
        subscribed: BTreeSet<TopicId>,
        changed: bool,
    }

    fn case(epoch: i32, target: &[i32]) -> Case {
        let (taken, subscribed) = (BTreeSet::new(), BTreeSet::from([T, U]));
        Case { epoch, target: partitions(T, target), owned: None, taken, subscribed, changed: false }
    }

    impl Case {
        fn owned(mut self, owned: &[i32]) -> Self {
            self.owned = Some(partitions(T, owned));
            self
        }

        fn taken(mut self, taken: &[i32]) -> Self {
            self.taken = taken.iter().map(|number| (T, *number)).collect();
            self
        }

        fn apply(self, member: &mut Member) {
            member.reconcile(&Goal {
                epoch: self.epoch,
                target: &self.target,
                subscribed: &self.subscribed,
                subscription_changed: self.changed,
                owned: self.owned.as_ref(),
                taken: &self.taken,
            });
        }
    }

    #[test]
    fn a_member_gives_up_before_it_takes_and_stays_in_its_epoch_until_it_has() {
        let mut member = Member { epoch: 1, assigned: held(T, &[0, 1], 1), ..Default::default() };
        case(2, &[1, 2]).apply(&mut member);
        assert_eq!((member.state, member.epoch), (MemberState::UnrevokedPartitions, 1));
        assert_eq!((&member.assigned, &member.pending_revocation), (&held(T, &[1], 1), &held(T, &[0], 1)));
        case(2, &[1, 2]).owned(&[0, 1]).apply(&mut member);
        assert_eq!(member.state, MemberState::UnrevokedPartitions, "it still has it");
        case(2, &[1, 2]).owned(&[1]).apply(&mut member);
        assert_eq!((member.state, member.epoch, member.previous_epoch), (MemberState::Stable, 2, 1));
        assert_eq!(member.assigned, BTreeMap::from([(T, BTreeMap::from([(1, 1), (2, 2)]))]));
        assert!(member.pending_revocation.is_empty());
    }

    #[test]
    fn what_another_member_has_is_waited_for() {
        let mut member = Member::default();
        case(3, &[0, 1]).owned(&[]).taken(&[1]).apply(&mut member);
        assert_eq!((member.state, member.epoch), (MemberState::UnreleasedPartitions, 3));
        assert_eq!(member.assigned, held(T, &[0], 3));
        case(3, &[0, 1]).taken(&[]).apply(&mut member);
        assert_eq!((member.state, &member.assigned), (MemberState::Stable, &held(T, &[0, 1], 3)));
    }

    #[test]
    fn a_member_that_says_it_has_nothing_need_not_be_asked() {
        let mut member = Member { epoch: 1, assigned: held(T, &[0], 1), ..Default::default() };
        case(2, &[]).owned(&[]).apply(&mut member);
        assert_eq!((member.state, member.epoch, member.assigned.len()), (MemberState::Stable, 2, 0));
    }

    #[test]
    fn topics_that_are_not_wanted_any_more_go_before_there_is_a_new_target() {
        let mut member = Member { epoch: 2, assigned: held(T, &[0], 2), ..Default::default() };
        let unsubscribed = || Case { subscribed: BTreeSet::from([U]), changed: true, ..case(2, &[0]) };
        unsubscribed().owned(&[0]).apply(&mut member);
        assert_eq!((member.state, member.epoch), (MemberState::UnrevokedPartitions, 2));
        assert_eq!((member.assigned.len(), &member.pending_revocation), (0, &held(T, &[0], 2)));
        // The target still has it, but the subscription is what counts.
        unsubscribed().owned(&[]).apply(&mut member);
        assert_eq!((member.state, member.assigned.len()), (MemberState::Stable, 0));
    }
}
