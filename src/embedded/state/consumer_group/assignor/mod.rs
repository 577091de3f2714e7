//! The assignors of the broker: uniform and range (KIP-848). Pure: who gets what, from what everybody has.
//!
//! Both give the same partitions as Kafka's, also where several ways of giving them out would be as good. `uniform` is the
//! first, with `balancer` for members that want different topics; `order` is the order in which Kafka goes through members
//! and topics.

mod balancer;
mod order;
mod uniform;

use super::{Partitions, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// What an assignor knows of a member.
#[derive(Debug, Clone, Default)]
pub(super) struct MemberSpec {
    pub(super) instance_id: Option<String>,
    pub(super) topics: BTreeSet<TopicId>,
    /// Its part of the target assignment so far.
    pub(super) target: Partitions,
}

/// By what rule partitions are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Assignor {
    /// As many partitions for each member as for any other, and as few moves as possible.
    Uniform,
    /// A range of each topic's partitions for each member; members that subscribe to the same topics get the same numbers.
    Range,
}

impl Assignor {
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The new target of every member. `topics` says how many partitions there are; a topic that is not in it does not
    /// exist. `alike` is whether all members have the same subscription.
    pub(super) fn assign(
        self,
        members: &BTreeMap<String, MemberSpec>,
        topics: &BTreeMap<TopicId, i32>,
        alike: bool,
    ) -> BTreeMap<String, Partitions> {
        match self {
            Self::Uniform if alike => uniform::assign_alike(members, topics),
            Self::Uniform => uniform::assign_different(members, topics),
            Self::Range => range(members, topics),
        }
    }
}

fn range(members: &BTreeMap<String, MemberSpec>, topics: &BTreeMap<TopicId, i32>) -> BTreeMap<String, Partitions> {
    // Static members first: they keep their ranges when members without an instance id come and go.
    let mut order: Vec<(&String, &MemberSpec)> = members.iter().collect();
    order.sort_by_key(|(id, spec)| (spec.instance_id.is_none(), spec.instance_id.as_ref(), *id));
    let mut targets: BTreeMap<String, Partitions> =
        members.keys().map(|id| (id.clone(), Partitions::default())).collect();
    for (topic, count) in topics {
        let subscribers: Vec<&String> =
            order.iter().filter(|(_, spec)| spec.topics.contains(topic)).map(|(id, _)| *id).collect();
        let Ok(total) = i32::try_from(subscribers.len()) else { continue };
        let mut next = 0;
        for (id, place) in subscribers.into_iter().zip(0..) {
            let share = count / total + i32::from(place < count % total);
            if share > 0 {
                targets.entry(id.clone()).or_default().insert(*topic, (next..next + share).collect());
            }
            next += share;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Group = (BTreeMap<String, MemberSpec>, BTreeMap<TopicId, i32>);

    fn topic(number: u8) -> TopicId {
        [number; 16]
    }

    /// Who gets what, of members that are alike if they subscribe to the same topics.
    fn assign(
        assignor: Assignor,
        members: &BTreeMap<String, MemberSpec>,
        topics: &BTreeMap<TopicId, i32>,
    ) -> BTreeMap<String, Partitions> {
        let mut subscriptions = members.values().map(|spec| &spec.topics);
        let first = subscriptions.next();
        assignor.assign(members, topics, subscriptions.all(|other| first == Some(other)))
    }

    fn count(partitions: &Partitions) -> usize {
        partitions.values().map(BTreeSet::len).sum()
    }

    fn member(topics: impl IntoIterator<Item = u8>) -> MemberSpec {
        MemberSpec { topics: topics.into_iter().map(topic).collect(), ..Default::default() }
    }

    fn topics() -> impl Strategy<Value = BTreeMap<TopicId, i32>> {
        prop::collection::vec(1..9i32, 1..5)
            .prop_map(|counts| counts.into_iter().zip(1..).map(|(count, number)| (topic(number), count)).collect())
    }

    fn homogeneous() -> impl Strategy<Value = Group> {
        (1..8usize, topics()).prop_map(|(members, topics)| {
            let spec = MemberSpec { topics: topics.keys().copied().collect(), ..Default::default() };
            ((0..members).map(|at| (format!("m{at}"), spec.clone())).collect(), topics)
        })
    }

    fn heterogeneous() -> impl Strategy<Value = Group> {
        (prop::collection::vec(prop::collection::btree_set(1..6u8, 0..5), 1..8), topics()).prop_map(
            |(subscriptions, topics)| {
                let members = subscriptions.into_iter().enumerate();
                (members.map(|(at, numbers)| (format!("m{at}"), member(numbers))).collect(), topics)
            },
        )
    }

    /// Each partition that anybody wants is with exactly one member, which wants it.
    fn check_complete((members, topics): &Group, targets: &BTreeMap<String, Partitions>) {
        let mut given = BTreeSet::new();
        for (id, target) in targets {
            for (topic, partitions) in target {
                assert!(members[id].topics.contains(topic));
                for partition in partitions {
                    assert!((0..topics[topic]).contains(partition));
                    assert!(given.insert((*topic, *partition)), "{partition} is given out twice");
                }
            }
        }
        let wanted = topics.iter().filter(|(topic, _)| members.values().any(|spec| spec.topics.contains(*topic)));
        assert_eq!(given.len(), wanted.map(|(_, count)| *count as usize).sum::<usize>());
        assert!(targets.keys().eq(members.keys()));
    }

    fn apply(members: &mut BTreeMap<String, MemberSpec>, targets: BTreeMap<String, Partitions>) {
        targets.into_iter().for_each(|(id, target)| members.get_mut(&id).unwrap().target = target);
    }

    /// How many partitions have another owner than before.
    fn moved(before: &BTreeMap<String, MemberSpec>, after: &BTreeMap<String, Partitions>) -> usize {
        let kept = |(id, spec): (&String, &MemberSpec)| {
            let still = |(topic, partitions): (&TopicId, &BTreeSet<i32>)| {
                after.get(id).and_then(|target| target.get(topic)).map_or(0, |now| now.intersection(partitions).count())
            };
            count(&spec.target) - spec.target.iter().map(still).sum::<usize>()
        };
        before.iter().map(kept).sum()
    }

    proptest! {
        #[test]
        fn uniform_gives_equal_subscribers_as_much_as_each_other(group in homogeneous()) {
            let targets = assign(Assignor::Uniform, &group.0, &group.1);
            check_complete(&group, &targets);
            let sizes: Vec<usize> = targets.values().map(count).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }

        #[test]
        fn uniform_gives_unequal_subscribers_what_no_single_move_makes_more_even(group in heterogeneous()) {
            let targets = assign(Assignor::Uniform, &group.0, &group.1);
            check_complete(&group, &targets);
            for (from, target) in &targets {
                for topic in target.keys() {
                    for (to, _) in group.0.iter().filter(|(_, spec)| spec.topics.contains(topic)) {
                        prop_assert!(count(target) <= count(&targets[to]) + 1, "{from} could give to {to}");
                    }
                }
            }
        }

        #[test]
        fn uniform_moves_nothing_without_need(group in heterogeneous()) {
            let (mut members, topics) = group;
            let targets = assign(Assignor::Uniform, &members, &topics);
            apply(&mut members, targets.clone());
            prop_assert_eq!(assign(Assignor::Uniform, &members, &topics), targets);
        }

        #[test]
        fn uniform_moves_no_more_than_the_newcomer_gets(group in homogeneous()) {
            let (mut members, topics) = group;
            let targets = assign(Assignor::Uniform, &members, &topics);
            apply(&mut members, targets);
            members.insert("new".into(), member(topics.keys().map(|id| id[0])));
            let after = assign(Assignor::Uniform, &members, &topics);
            let group = (members, topics);
            check_complete(&group, &after);
            prop_assert_eq!(moved(&group.0, &after), count(&after["new"]));
        }

        #[test]
        fn uniform_moves_only_what_the_one_that_left_had(group in homogeneous()) {
            let (mut members, topics) = group;
            let targets = assign(Assignor::Uniform, &members, &topics);
            apply(&mut members, targets);
            let (_, left) = members.pop_last().unwrap();
            prop_assume!(!members.is_empty());
            let after = assign(Assignor::Uniform, &members, &topics);
            let group = (members, topics);
            check_complete(&group, &after);
            prop_assert_eq!(moved(&group.0, &after), 0, "{:?}", left.target);
        }

        #[test]
        fn range_is_complete_and_gives_the_same_numbers_of_topics_of_one_size(group in heterogeneous()) {
            let targets = assign(Assignor::Range, &group.0, &group.1);
            check_complete(&group, &targets);
            for partitions in targets.values().flat_map(Partitions::values) {
                let (first, last) = (partitions.first().unwrap(), partitions.last().unwrap());
                prop_assert_eq!(usize::try_from(last - first + 1).unwrap(), partitions.len(), "no range");
            }
        }
    }

    #[test]
    fn range_is_co_partitioned_and_follows_the_order_of_instance_ids() {
        let topics = BTreeMap::from([(topic(1), 3), (topic(2), 3)]);
        let named = |instance: &str| MemberSpec { instance_id: Some(instance.into()), ..member([1, 2]) };
        let members = BTreeMap::from([
            ("a".to_owned(), member([1, 2])),
            ("b".to_owned(), named("2")),
            ("c".to_owned(), named("1")),
        ]);
        let targets = assign(Assignor::Range, &members, &topics);
        for (id, partition) in [("c", 0), ("b", 1), ("a", 2)] {
            let numbers = BTreeSet::from([partition]);
            assert_eq!(targets[id], Partitions::from([(topic(1), numbers.clone()), (topic(2), numbers)]), "{id}");
        }
    }
}
