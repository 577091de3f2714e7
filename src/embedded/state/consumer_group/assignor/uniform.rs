//! The uniform assignor: as many partitions for each member as for any other, and as few moves as possible.

use super::super::{Partitions, TopicId};
use super::MemberSpec;
use super::balancer::Balancer;
use super::order::{grown, hash_of_id, hash_of_number, hash_of_text, made_for, sort_in_table};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// How often all topics are gone through to even the loads out, at most.
const MAX_ROUNDS: usize = 16;

type Members = BTreeMap<String, MemberSpec>;
type Topics = BTreeMap<TopicId, i32>;

/// All members subscribe to the same. Each keeps what it has up to its quota, and is filled up before the next one is.
pub(super) fn assign_alike(members: &Members, topics: &Topics) -> BTreeMap<String, Partitions> {
    let mut targets: BTreeMap<String, Partitions> =
        members.keys().map(|id| (id.clone(), Partitions::default())).collect();
    let wanted = members.values().next().map(|spec| &spec.topics);
    let mut subscribed: Vec<(TopicId, i32)> = topics
        .iter()
        .filter(|(topic, _)| wanted.is_some_and(|wanted| wanted.contains(*topic)))
        .map(|(topic, count)| (*topic, *count))
        .collect();
    let places = made_for(subscribed.len());
    sort_in_table(&mut subscribed, places, |(topic, _)| hash_of_id(topic));
    let total: usize = subscribed.iter().map(|(_, count)| usize::try_from(*count).unwrap_or(0)).sum();
    let mut quotas = Quotas::new(total, members.len());

    let taken: BTreeSet<(TopicId, i32)> = members.values().flat_map(|spec| pairs(&spec.target)).collect();
    let all = subscribed.iter().flat_map(|(topic, count)| (0..*count).map(|number| (*topic, number)));
    let mut free: Vec<(TopicId, i32)> = all.filter(|partition| !taken.contains(partition)).collect();
    let mut room = Vec::new();
    for (id, spec) in in_order(members) {
        let mut quota = quotas.next();
        let Some(target) = targets.get_mut(id) else { continue };
        for (topic, partitions) in in_order_of_topics(&spec.target) {
            if !topics.contains_key(&topic) || !spec.topics.contains(&topic) {
                continue;
            }
            for number in in_order_of_numbers(partitions) {
                if quota.left > 0 {
                    quota.left -= 1;
                    target.entry(topic).or_default().insert(number);
                } else {
                    free.push((topic, number));
                }
            }
        }
        quotas.settle(&mut quota);
        room.push((id, quota.left));
    }
    let mut free = free.into_iter();
    for (id, room) in room {
        let Some(target) = targets.get_mut(id) else { continue };
        for (topic, number) in free.by_ref().take(room) {
            target.entry(topic).or_default().insert(number);
        }
    }
    targets
}

/// The fair share of each member, and who gets one more.
struct Quotas {
    share: usize,
    /// How many members have yet to get one more.
    extra: usize,
    /// How many members have yet to come, with the one whose quota is out.
    to_come: usize,
}

/// What a member may still get.
struct Quota {
    left: usize,
    /// Whether one more than the share is in it.
    has_extra: bool,
}

impl Quotas {
    fn new(partitions: usize, members: usize) -> Self {
        let share = partitions.checked_div(members).unwrap_or(0);
        Self { share, extra: partitions.checked_rem(members).unwrap_or(0), to_come: members }
    }

    fn next(&self) -> Quota {
        let has_extra = self.extra > 0;
        Quota { left: self.share + usize::from(has_extra), has_extra }
    }

    /// A member has kept what it could. If it is not full it leaves the one more to others, as long as there are enough of
    /// them.
    fn settle(&mut self, quota: &mut Quota) {
        if quota.left > 0 && quota.has_extra && self.to_come > self.extra {
            quota.left -= 1;
            quota.has_extra = false;
        }
        self.extra -= usize::from(quota.has_extra);
        self.to_come -= 1;
    }
}

/// Members subscribe to different topics. Each keeps what it has, what nobody has goes to whoever has least, and then
/// partitions move from who has most to who has least.
pub(super) fn assign_different(members: &Members, topics: &Topics) -> BTreeMap<String, Partitions> {
    let mut work = Work::new(members, topics);
    work.keep();
    work.fill();
    work.balance();
    work.into_targets()
}

/// Members are named by their place in the order.
struct Work<'a> {
    members: Vec<(&'a String, &'a MemberSpec)>,
    /// Those that anybody subscribes to: first those with many partitions for each subscriber, since they leave the least
    /// choice.
    topics: Vec<Topic>,
    loads: Vec<usize>,
}

struct Topic {
    id: TopicId,
    subscribers: Vec<usize>,
    /// Who has each partition; `None` while nobody has.
    owners: Vec<Option<usize>>,
}

impl<'a> Work<'a> {
    fn new(members: &'a Members, topics: &Topics) -> Self {
        let members = in_order(members);
        let subscribers = |id: &TopicId| -> Vec<usize> {
            let wants = |(at, (_, spec)): (usize, &(_, &MemberSpec))| spec.topics.contains(id).then_some(at);
            members.iter().enumerate().filter_map(wants).collect()
        };
        let topic = |(id, count): (&TopicId, &i32)| {
            let owners = vec![None; usize::try_from(*count).unwrap_or(0)];
            Topic { id: *id, subscribers: subscribers(id), owners }
        };
        let mut topics: Vec<Topic> = topics.iter().map(topic).filter(|topic| !topic.subscribers.is_empty()).collect();
        topics.sort_by(|one, other| {
            // By partitions for each subscriber: both sides are multiplied by both numbers of subscribers.
            let (one_load, other_load) =
                (one.owners.len() * other.subscribers.len(), other.owners.len() * one.subscribers.len());
            let rest = |topic: &Topic| (topic.subscribers.len(), signed(&topic.id));
            Reverse(one_load).cmp(&Reverse(other_load)).then_with(|| rest(one).cmp(&rest(other)))
        });
        let loads = vec![0; members.len()];
        Self { members, topics, loads }
    }

    /// Everybody keeps what they have and still want.
    fn keep(&mut self) {
        for topic in &mut self.topics {
            for member in &topic.subscribers {
                let Some(((_, spec), load)) = self.members.get(*member).zip(self.loads.get_mut(*member)) else {
                    continue;
                };
                for number in spec.target.get(&topic.id).into_iter().flatten() {
                    let owner = usize::try_from(*number).ok().and_then(|number| topic.owners.get_mut(number));
                    if let Some(owner @ None) = owner {
                        *owner = Some(*member);
                        *load += 1;
                    }
                }
            }
        }
    }

    /// What nobody has goes to whoever has least of those that may have it.
    fn fill(&mut self) {
        for topic in &mut self.topics {
            let Some(mut balancer) = Balancer::new(topic.subscribers.clone(), &self.loads) else { continue };
            for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
                let Some(member) = balancer.next_to_get(&self.loads) else { break };
                *owner = Some(member);
                self.loads[member] += 1;
            }
        }
    }

    /// Topics with one subscriber only have no choice; the others are gone through until none of them changes.
    fn balance(&mut self) {
        let mut topics: Vec<&mut Topic> = self.topics.iter_mut().filter(|topic| topic.subscribers.len() > 1).collect();
        let mut last_changed = None;
        for _ in 0..MAX_ROUNDS {
            for (at, topic) in topics.iter_mut().enumerate() {
                if last_changed == Some(at) {
                    return;
                }
                if topic.balance(&mut self.loads) || last_changed.is_none() {
                    last_changed = Some(at);
                }
            }
        }
    }

    fn into_targets(self) -> BTreeMap<String, Partitions> {
        let mut targets = vec![Partitions::default(); self.members.len()];
        for topic in &self.topics {
            for (owner, number) in topic.owners.iter().zip(0..) {
                if let Some(target) = owner.and_then(|member| targets.get_mut(member)) {
                    target.entry(topic.id).or_default().insert(number);
                }
            }
        }
        self.members.into_iter().map(|(id, _)| id.clone()).zip(targets).collect()
    }
}

impl Topic {
    /// Moves partitions from who has most to who has least, until the loads of the subscribers differ by no more than one or
    /// no one of those that have more has any of them. Answers whether it moved any.
    fn balance(&mut self, loads: &mut [usize]) -> bool {
        let Some(mut balancer) = Balancer::new(self.subscribers.clone(), loads) else { return false };
        let most = self.subscribers.iter().filter_map(|member| loads.get(*member)).max();
        let least = self.subscribers.iter().filter_map(|member| loads.get(*member)).min();
        if most.zip(least).is_none_or(|(most, least)| most - least <= 1) {
            return false;
        }
        // What each has at first; what it gets now it does not give away again.
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in self.owners.iter().enumerate() {
            if let Some(owner) = owner {
                owned.entry(*owner).or_default().push(partition);
            }
        }
        let mut moved = false;
        while let Some(from) =
            balancer.next_to_give(loads, |member| owned.get(&member).is_some_and(|owned| !owned.is_empty()))
            && let Some(partition) = owned.get_mut(&from).and_then(Vec::pop)
            && let Some(to) = balancer.next_to_get(loads)
            && !balancer.is_balanced()
        {
            self.owners[partition] = Some(to);
            loads[from] -= 1;
            loads[to] += 1;
            moved = true;
        }
        moved
    }
}

fn in_order(members: &Members) -> Vec<(&String, &MemberSpec)> {
    let mut order: Vec<(&String, &MemberSpec)> = members.iter().collect();
    let places = grown(order.len());
    sort_in_table(&mut order, places, |(id, _)| hash_of_text(id));
    order
}

fn in_order_of_topics(target: &Partitions) -> Vec<(TopicId, &BTreeSet<i32>)> {
    let mut order: Vec<(TopicId, &BTreeSet<i32>)> = target.iter().map(|(topic, numbers)| (*topic, numbers)).collect();
    let places = grown(order.len());
    sort_in_table(&mut order, places, |(topic, _)| hash_of_id(topic));
    order
}

fn in_order_of_numbers(numbers: &BTreeSet<i32>) -> Vec<i32> {
    let mut order: Vec<i32> = numbers.iter().copied().collect();
    let places = made_for(order.len());
    sort_in_table(&mut order, places, |number| hash_of_number(*number));
    order
}

/// A topic id as Kafka compares it.
fn signed(id: &TopicId) -> (i64, i64) {
    let half = |bytes: &[u8]| bytes.iter().fold(0, |half: i64, byte| half << 8 | i64::from(*byte));
    let (high, low) = id.split_at(8);
    (half(high), half(low))
}

fn pairs(partitions: &Partitions) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    partitions.iter().flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the uniform assignor of Kafka 4.3.0 itself said. A case is a line with the topics and their partitions, then one for
    /// each member: its id, what it subscribes to, what it had, and what it got. A topic's id is its byte repeated.
    const KAFKA_SAYS: &str = "
        topics 01:5 f1:6
        m39534 | 01 f1 |  | 01:4 f1:0
        m66254 | 01 f1 |  | 01:2,3
        m87968 | 01 f1 |  | 01:0,1
        m96649 | 01 f1 |  | f1:3,4,5
        m98850 | 01 f1 |  | f1:1,2
        topics 01:5 f1:6
        m39534 | 01 f1 | 01:4 f1:0 | 01:4 f1:0,2
        m66254 | 01 f1 | 01:2,3 | 01:2,3 f1:1
        m87968 | 01 f1 | 01:0,1 | 01:0,1
        m96649 | 01 f1 | f1:3,4,5 | f1:3,4,5
        topics 01:5 f1:6
        m39534 | 01 f1 | 01:4 f1:0,2 | 01:3,4 f1:0,2
        m87968 | 01 f1 | 01:0,1 | 01:0,1,2
        m96649 | 01 f1 | f1:3,4,5 | f1:1,3,4,5
        topics 01:5 f1:6
        m39534 | 01 f1 | 01:3,4 f1:0,2 | 01:3,4 f1:0
        m87968 | 01 f1 | 01:0,1,2 | 01:0,1,2
        m96649 | 01 f1 | f1:1,3,4,5 | f1:1,3,4
        n662 | 01 f1 |  | f1:2,5
        topics 01:5 f1:6
        m87968 | 01 f1 | 01:0,1,2 | 01:0,1,2
        m96649 | 01 f1 | f1:1,3,4 | f1:0,1,3,4
        n662 | 01 f1 | f1:2,5 | 01:3,4 f1:2,5
        topics 01:1 f1:8 20:3
        m66576 | 01 |  | 01:0
        m98718 | 01 f1 |  | f1:0,1,2,3,4,5,6,7
        topics 01:1 f1:8 20:3
        m66576 | 01 | 01:0 | 01:0
        m98718 | 01 f1 | f1:0,1,2,3,4,5,6,7 | f1:0,1,2,3,4,5
        n891 | 20 f1 |  | 20:0,1,2 f1:6,7
        topics 01:1 f1:8 20:3
        m66576 | 01 | 01:0 | 01:0
        m98718 | 01 f1 | f1:0,1,2,3,4,5 | f1:0,1,2,3,4,5,6,7
        topics 01:15 f1:13 20:38
        m12598 | 01 |  | 01:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14
        m50786 | 01 20 f1 |  | 20:1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31,33,35,37 f1:1,3,5,7,9,11
        m64396 | 20 f1 |  | 20:0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30,32,34,36 f1:0,2,4,6,8,10,12
    ";

    fn id(text: &str) -> TopicId {
        [u8::from_str_radix(text, 16).unwrap(); 16]
    }

    /// `01:0,1 f1:2`.
    fn partitions(text: &str) -> Partitions {
        let topic = |topic: &str| {
            let (topic, numbers) = topic.split_once(':').unwrap();
            (id(topic), numbers.split(',').map(|number| number.parse().unwrap()).collect())
        };
        text.split_whitespace().map(topic).collect()
    }

    #[test]
    fn everybody_gets_the_partitions_that_kafka_gives_them() {
        let mut cases = 0;
        for case in KAFKA_SAYS.split("topics ").skip(1) {
            let mut lines = case.lines().map(str::trim).filter(|line| !line.is_empty());
            let count = |(topic, numbers): (TopicId, BTreeSet<i32>)| (topic, numbers.into_iter().next().unwrap());
            let topics = partitions(lines.next().unwrap()).into_iter().map(count).collect();
            let (mut members, mut expected) = (Members::new(), BTreeMap::new());
            for line in lines {
                let mut parts = line.split('|').map(str::trim);
                let mut part = || parts.next().unwrap_or_default();
                let (name, topics) = (part().to_owned(), part().split_whitespace().map(id).collect());
                members.insert(name.clone(), MemberSpec { topics, target: partitions(part()), instance_id: None });
                expected.insert(name, partitions(part()));
            }
            let first = members.values().next().map(|spec| spec.topics.clone());
            let alike = members.values().all(|spec| Some(&spec.topics) == first.as_ref());
            let assign = if alike { assign_alike } else { assign_different };
            assert_eq!(assign(&members, &topics), expected, "topics {case}");
            cases += 1;
        }
        assert_eq!(cases, 9);
    }
}
