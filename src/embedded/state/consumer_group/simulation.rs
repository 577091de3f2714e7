//! Whole groups with simulated members and simulated time: whatever happens, no partition is with two members, and when
//! nothing happens any more every partition is with one.

use super::super::Time;
use super::super::test_support::Harness;
use super::group::Surroundings;
use super::limits::Limits;
use super::{Asker, ConsumerGroup, LEAVE, LEFT_FOR_NOW, Partitions, Refusal, TopicId};
use crate::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestTopicPartitions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A client that behaves as Java's consumer: it gives up before it takes, and says what it has when that has changed.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) instance_id: Option<String>,
    pub(super) epoch: i32,
    pub(super) topics: Option<Vec<String>>,
    regex: Option<String>,
    pub(super) owned: Partitions,
    /// What it was told to have last.
    pub(super) wanted: Option<Partitions>,
    /// Whether the next request says everything.
    full: bool,
    reported: Option<Partitions>,
    left: bool,
}

impl Client {
    /// One that subscribes to a topic.
    pub(super) fn new(id: &str, topic: &str) -> Self {
        Self { id: id.to_owned(), topics: Some(vec![topic.to_owned()]), ..Self::default() }
    }

    pub(super) fn request(&mut self) -> ConsumerGroupHeartbeatRequest {
        let full = self.full || self.epoch == 0;
        let report = full || self.reported.as_ref() != Some(&self.owned);
        let list = |owned: &Partitions| owned.iter().map(|(id, numbers)| listed(*id, numbers)).collect();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            instance_id: self.instance_id.clone(),
            rebalance_timeout_ms: if full { 60_000 } else { -1 },
            subscribed_topic_names: self.topics.clone().filter(|_| full),
            subscribed_topic_regex: self.regex.clone().filter(|_| full),
            topic_partitions: report.then(|| list(&self.owned)),
            ..Default::default()
        };
        self.full = false;
        self.reported = Some(self.owned.clone());
        request
    }

    pub(super) fn leave(&mut self, epoch: i32) -> ConsumerGroupHeartbeatRequest {
        let request = ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..self.request() };
        *self = Self { id: self.id.clone(), instance_id: self.instance_id.clone(), left: true, ..Self::default() };
        request
    }

    pub(super) fn answer(&mut self, answer: Result<ConsumerGroupHeartbeatResponse, Refusal>) {
        match answer {
            Ok(answer) => {
                self.epoch = answer.member_epoch;
                if let Some(assignment) = answer.assignment {
                    self.wanted = Some(partitions(&assignment));
                }
            }
            // Its answer to joining was lost, so it is still held by what it does not know to be itself: as in Kafka it has
            // to wait for the session timeout.
            Err(refusal) if refusal.code == ErrorCode::UNRELEASED_INSTANCE_ID => self.full = true,
            Err(refusal) => {
                let codes = [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID];
                assert!(codes.contains(&refusal.code), "{refusal:?}");
                (self.epoch, self.wanted, self.owned, self.full) = (0, None, Partitions::default(), true);
            }
        }
    }

    /// One step towards what it was told: first it gives up, later it takes.
    pub(super) fn step(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let kept: Partitions = both(&self.owned, wanted);
        self.owned = if kept == self.owned { wanted.clone() } else { kept };
    }
}

fn listed(topic_id: TopicId, numbers: &BTreeSet<i32>) -> RequestTopicPartitions {
    RequestTopicPartitions { topic_id, partitions: numbers.iter().copied().collect() }
}

fn partitions(assignment: &Assignment) -> Partitions {
    let topics = assignment.topic_partitions.iter();
    topics.map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect())).collect()
}

fn both(left: &Partitions, right: &Partitions) -> Partitions {
    let common = |(topic, numbers): (&TopicId, &BTreeSet<i32>)| {
        let common: BTreeSet<i32> = numbers.intersection(right.get(topic)?).copied().collect();
        (!common.is_empty()).then_some((*topic, common))
    };
    left.iter().filter_map(common).collect()
}

/// A group, its clients, and the time.
struct World {
    /// For its topics.
    harness: Harness,
    limits: Limits,
    group: ConsumerGroup,
    clients: Vec<Client>,
    reminders: BTreeSet<(Time, String)>,
    now: Time,
    made: usize,
}

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let harness = Harness::with(1, settings);
        let limits = Limits::new(&harness.state.settings);
        let (group, clients, reminders) = (ConsumerGroup::default(), Vec::new(), BTreeSet::new());
        Self { harness, limits, group, clients, reminders, now: Time::ZERO, made: 0 }
    }

    fn topic(&mut self, name: &str, partitions: i32) {
        self.harness.state.create_topic(name, partitions, 1, BTreeMap::new()).unwrap();
    }

    fn join(&mut self, topics: &[&str]) -> usize {
        self.made += 1;
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.clients.push(Client { id: format!("m{}", self.made), topics: Some(topics), ..Default::default() });
        self.clients.len() - 1
    }

    fn ask(&mut self, request: &ConsumerGroupHeartbeatRequest) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let around = Surroundings { topics: &self.harness.state.topics, limits: &self.limits, now: self.now };
        if super::group::is_leave(request) {
            let (answer, gone) = self.group.leave(request)?;
            if gone {
                self.group.remove(&[request.member_id.clone()].into(), around);
            }
            return Ok(answer);
        }
        let asker = Asker { client_id: "c", client_host: "127.0.0.1" };
        let answer = self.group.heartbeat(request, &asker, around);
        let at = self.group.arm(&request.member_id);
        self.reminders.extend(at.map(|at| (at, request.member_id.clone())));
        answer
    }

    fn beat(&mut self, at: usize) {
        let request = self.clients[at].request();
        let answer = self.ask(&request);
        self.clients[at].answer(answer);
        self.check();
    }

    fn step(&mut self, at: usize) {
        self.clients[at].step();
        self.check();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some((at, id)) = self.reminders.first().cloned().filter(|(at, _)| *at <= self.now) {
            self.reminders.pop_first();
            let around = Surroundings { topics: &self.harness.state.topics, limits: &self.limits, now: at };
            if self.group.is_overdue(&id, at) {
                self.group.remove(&[id.clone()].into(), around);
            }
            let again = self.group.arm(&id);
            self.reminders.extend(again.map(|at| (at, id)));
        }
    }

    /// No partition is with two clients.
    fn check(&self) {
        let mut owned = BTreeSet::new();
        for client in &self.clients {
            for (topic, numbers) in &client.owned {
                numbers.iter().for_each(|number| {
                    assert!(owned.insert((*topic, *number)), "{number} is with two members:\n{:#?}", self.clients);
                });
            }
        }
    }

    fn owned(&self) -> usize {
        self.clients.iter().flat_map(|client| client.owned.values()).map(BTreeSet::len).sum()
    }

    /// Everybody beats and steps until nothing changes any more.
    fn settle(&mut self) {
        for round in 0.. {
            for at in 0..self.clients.len() {
                if !self.clients[at].left {
                    self.beat(at);
                    self.step(at);
                }
            }
            self.pass(Duration::from_secs(1));
            let settled = |client: &Client| client.left || client.wanted.as_ref() == Some(&client.owned);
            if self.group.state_name() == "Stable" && self.clients.iter().all(settled) {
                return;
            }
            assert!(round < 150, "no end: {:#?}", self.group);
        }
    }

    /// Something happens.
    fn happen(&mut self, random: &mut fastrand::Rng) {
        let at = random.usize(..self.clients.len().max(1));
        let live = self.clients.get(at).is_some_and(|client| !client.left);
        match random.u8(..20) {
            0 if self.clients.len() < 8 => self.come(random),
            1 if live => {
                let request = self.clients[at].leave(LEAVE);
                let _ = self.ask(&request);
                self.clients.remove(at);
            }
            2 if live && self.clients[at].instance_id.is_some() && self.clients[at].epoch > 0 => {
                let request = self.clients[at].leave(LEFT_FOR_NOW);
                let _ = self.ask(&request);
            }
            3 if live => drop(self.clients.remove(at)),
            4 if !live && at < self.clients.len() => {
                // A static member comes back with another member id.
                self.made += 1;
                let (id, topics) = (format!("m{}", self.made), Some(vec!["a".to_owned()]));
                self.clients[at] =
                    Client { id, topics, instance_id: self.clients[at].instance_id.clone(), ..Default::default() };
            }
            5 if live && self.clients[at].topics.is_some() => {
                let topics = ["a", "b", "c"].into_iter().filter(|_| random.bool()).map(str::to_owned).collect();
                self.clients[at].topics = Some(topics);
                self.clients[at].full = true;
            }
            6 if live => {
                // The answer is lost: the client says everything again.
                let request = self.clients[at].request();
                let _ = self.ask(&request);
                self.clients[at].full = true;
            }
            7 => self.pass(Duration::from_millis(random.u64(..20_000))),
            8 if random.u8(..10) == 0 => {
                let topics = &mut self.harness.state.topics;
                let new = topics.get("b").map(|topic| topic.partitions.len()).unwrap_or(0);
                if new < 12 {
                    let partition = super::super::topics::Partition {
                        leader: Some(1),
                        leader_epoch: 0,
                        replicas: vec![1],
                        isr: vec![1],
                        log: Default::default(),
                    };
                    topics.get_mut("b").unwrap().partitions.push(partition);
                }
            }
            9..=14 if live => self.beat(at),
            _ if live => self.step(at),
            _ => {}
        }
        self.check();
    }

    fn come(&mut self, random: &mut fastrand::Rng) {
        let at = self.join(&["a", "b"]);
        match random.u8(..4) {
            0 => (self.clients[at].topics, self.clients[at].regex) = (None, Some("[ab]".into())),
            1 => self.clients[at].instance_id = Some(format!("i{}", self.made)),
            _ => {}
        }
    }
}

#[test]
fn whatever_happens_no_partition_is_with_two_members_and_the_group_settles() {
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let interval = if seed % 4 == 0 { "1000" } else { "0" };
        let mut world = World::new(&[("group.consumer.assignment.interval.ms", interval)]);
        world.topic("a", 5);
        world.topic("b", 3);
        world.join(&["a"]);
        for _ in 0..300 {
            world.happen(&mut random);
        }
        // One is always there, and wants everything.
        world.join(&["a", "b", "c"]);
        world.topic("c", 2);
        world.settle();
        world.clients.retain(|client| !client.left);
        world.pass(Duration::from_secs(60));
        world.settle();
        let partitions: usize = world.harness.state.topics.iter().map(|topic| topic.partitions.len()).sum();
        assert_eq!(world.owned(), partitions, "seed {seed}");
    }
}

#[test]
fn a_member_that_comes_waits_until_the_others_have_given_up() {
    let mut world = World::new(&[]);
    world.topic("a", 4);
    let first = world.join(&["a"]);
    world.settle();
    assert_eq!(world.owned(), 4);
    let second = world.join(&["a"]);
    world.beat(second);
    world.step(second);
    assert_eq!((world.clients[second].owned.len(), world.group.state_name()), (0, "Reconciling"));
    assert_eq!(world.clients[second].epoch, 3);
    world.beat(first);
    assert_eq!(world.clients[first].epoch, 2, "it has not given up yet");
    world.beat(second);
    assert_eq!(world.clients[second].wanted, Some(Partitions::default()));
    world.step(first);
    world.beat(first);
    assert_eq!(world.clients[first].epoch, 3);
    world.beat(second);
    world.step(second);
    assert_eq!((world.owned(), world.group.state_name()), (4, "Stable"));
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_removed() {
    let mut world = World::new(&[("group.consumer.session.timeout.ms", "45000")]);
    world.topic("a", 2);
    let first = world.join(&["a"]);
    world.settle();
    let second = world.join(&["a"]);
    world.beat(second);
    world.beat(first);
    // It goes on with its heartbeats, but never says that it has given up.
    for _ in 0..59 {
        world.pass(Duration::from_secs(1));
        world.beat(first);
        world.beat(second);
    }
    assert!(world.group.member("m1").is_some());
    world.pass(Duration::from_secs(2));
    assert!(world.group.member("m1").is_none(), "rebalance timeout");
    world.beat(first);
    assert_eq!(world.clients[first].epoch, 0, "it has to join again");
}

#[test]
fn a_member_that_is_silent_is_removed_and_the_others_get_what_it_had() {
    let mut world = World::new(&[("group.consumer.session.timeout.ms", "10000")]);
    world.topic("a", 4);
    world.join(&["a"]);
    world.join(&["a"]);
    world.settle();
    world.clients.remove(0);
    // One second has passed since the last heartbeats.
    world.pass(Duration::from_millis(8_999));
    world.beat(0);
    assert_eq!(world.group.members.len(), 2);
    world.pass(Duration::from_millis(1));
    assert_eq!((world.group.members.len(), world.group.state_name()), (1, "Assigning"));
    world.settle();
    assert_eq!(world.owned(), 4);
}

#[test]
fn topics_and_partitions_that_come_later_are_assigned() {
    let mut world = World::new(&[]);
    let member = world.join(&[]);
    (world.clients[member].topics, world.clients[member].regex) = (None, Some("a.*".into()));
    world.settle();
    let epoch = world.group.epoch;
    world.topic("a1", 2);
    world.topic("b1", 2);
    world.settle();
    assert_eq!((world.owned(), world.group.epoch), (2, epoch + 1));
    world.settle();
    assert_eq!(world.group.epoch, epoch + 1, "nothing has changed");
}

#[test]
fn a_static_member_that_comes_back_has_what_it_had_and_nothing_is_moved() {
    let mut world = World::new(&[]);
    world.topic("a", 4);
    world.join(&["a"]);
    let member = world.join(&["a"]);
    world.clients[member].instance_id = Some("i".into());
    world.settle();
    let (had, epoch) = (world.clients[member].owned.clone(), world.group.epoch);
    let request = world.clients[member].leave(LEFT_FOR_NOW);
    assert_eq!(world.ask(&request).unwrap().member_epoch, LEFT_FOR_NOW);
    world.beat(0);
    let (id, topics) = ("back".to_owned(), Some(vec!["a".to_owned()]));
    world.clients[member] = Client { id, topics, instance_id: Some("i".into()), ..Default::default() };
    world.settle();
    assert_eq!((&world.clients[member].owned, world.group.epoch), (&had, epoch));
    assert_eq!(world.group.members.len(), 2);
}
