//! Several members and a coordinator in one thread, with simulated time: connections break, the coordinator moves,
//! processes stop for longer than a session, handlers are slow, consumers are stopped and started. Whatever the order:
//! no partition has two owners, no lost session commits, stops are over in time, and once the faults end the group
//! settles.

mod coordinator;

use super::tests::{config, protocols};
use super::*;
use crate::group::assignor::{Assignor, RangeAssignor};
use coordinator::{Coordinator, ReplyTo};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const PARTITIONS: i32 = 5;
const FAULTS: Duration = Duration::from_secs(60);
/// For expiry of ghosts, a rebalance with slow handlers, and another for what came in between.
const SETTLING: Duration = Duration::from_secs(60);
/// More find more; these few take about two seconds.
const SEEDS: u64 = 400;
const STOP: Duration = Duration::from_secs(4);

#[derive(Debug)]
enum Event {
    /// A member's process looks at its state machine.
    Wake(usize),
    Connected {
        member: usize,
        connection: u64,
        broker: usize,
    },
    Request {
        to: ReplyTo,
        broker: usize,
        request: GroupRequest,
    },
    Answer {
        to: ReplyTo,
        response: Box<GroupResponse>,
    },
    Commit {
        member: usize,
        broker: usize,
        from: Identity,
    },
    CommitAnswer {
        member: usize,
        from: Identity,
        code: ErrorCode,
    },
    /// The handlers of the member's n-th session have returned.
    Drained {
        member: usize,
        session: u64,
    },
    Coordinator,
    Fault,
}

struct Owned {
    number: u64,
    start: SessionStart,
    partitions: BTreeSet<i32>,
    ending: bool,
    lost: bool,
}

struct Process {
    membership: Membership,
    connection: Option<u64>,
    session: Option<Owned>,
    sessions: u64,
    /// The process does nothing until then.
    stopped_until: Option<Instant>,
    /// It was stopped and has not asked the coordinator since: it can't know what it has missed.
    unaware: bool,
    /// Nothing it sends arrives until then.
    mute_until: Instant,
    /// No answer reaches it until then.
    deaf_until: Instant,
    /// The consumer is to be closed until then.
    close_by: Option<Instant>,
    done: bool,
    /// When it is to be woken next.
    wake: Option<Instant>,
    /// When it last had something to do, and how often at that moment.
    busy: (Instant, u32),
}

struct World {
    rng: Rng,
    now: Instant,
    end_of_faults: Instant,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    connections: u64,
    coordinator: Coordinator,
    processes: Vec<Process>,
    /// Who got a partition in a generation.
    owners: BTreeMap<(i32, i32), String>,
    started: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut world = Self {
            rng: Rng::with_seed(seed),
            now,
            end_of_faults: now + FAULTS,
            events: BTreeMap::new(),
            scheduled: 0,
            connections: 0,
            coordinator: Coordinator::new(),
            processes: Vec::new(),
            owners: BTreeMap::new(),
            started: 0,
        };
        for _ in 0..world.rng.usize(1..=3) {
            world.start_process();
        }
        world.after(MILLISECOND, Event::Fault);
        world.after(MILLISECOND, Event::Coordinator);
        world
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + wait, self.scheduled), event);
    }

    fn latency(&mut self) -> Duration {
        self.rng.u32(1..400) * MILLISECOND
    }

    fn start_process(&mut self) {
        let mut rng = Rng::with_seed(self.rng.u64(..));
        // The session timeout may be shorter or longer than the rebalance timeout.
        let session_timeout = [6, 15][self.rng.usize(..2)] * SECOND;
        let config = MembershipConfig { session_timeout, ..config() };
        self.processes.push(Process {
            membership: Membership::new(config, protocols(), self.now, move || rng.f64()),
            connection: None,
            session: None,
            sessions: 0,
            stopped_until: None,
            unaware: false,
            mute_until: self.now,
            deaf_until: self.now,
            close_by: None,
            done: false,
            wake: None,
            busy: (self.now, 0),
        });
        let member = self.processes.len() - 1;
        self.after(Duration::ZERO, Event::Wake(member));
    }

    fn run(&mut self) {
        let end = self.end_of_faults + SETTLING;
        let mut steps = 0;
        while let Some(((at, _), event)) = self.events.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.handle(event);
            self.check_owners();
            steps += 1;
            assert!(steps < 40_000, "a storm");
        }
        self.check_settled();
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Wake(member) => self.drive(member),
            Event::Connected { member, connection, broker } => self.connected(member, connection, broker),
            Event::Request { to, broker, request } => {
                self.coordinator.handle(self.now, broker, to, request);
                self.send_replies();
            }
            Event::Answer { to, response } => self.answer(to, *response),
            Event::Commit { member, broker, from } => {
                let code = self.coordinator.commit(self.now, broker, &from);
                self.send_replies();
                let wait = self.latency();
                self.after(wait, Event::CommitAnswer { member, from, code });
            }
            Event::CommitAnswer { member, from, code } => {
                if !self.postpone(member, || Event::CommitAnswer { member, from: from.clone(), code }) {
                    self.processes[member].membership.commit_refused(self.now, &from, code);
                    self.drive(member);
                }
            }
            Event::Drained { member, session } => self.drained(member, session),
            Event::Coordinator => {
                self.coordinator.tick(self.now);
                self.send_replies();
                self.after(50 * MILLISECOND, Event::Coordinator);
            }
            Event::Fault => self.fault(),
        }
    }

    /// A stopped process sees nothing before it goes on.
    fn postpone(&mut self, member: usize, event: impl FnOnce() -> Event) -> bool {
        match self.processes[member].stopped_until {
            Some(until) if self.now < until => {
                self.after(until - self.now, event());
                true
            }
            _ => false,
        }
    }

    fn drive(&mut self, member: usize) {
        if self.postpone(member, || Event::Wake(member)) {
            return;
        }
        loop {
            let now = self.now;
            let process = &mut self.processes[member];
            if process.done {
                return;
            }
            process.busy = if process.busy.0 == now { (now, process.busy.1 + 1) } else { (now, 1) };
            assert!(process.busy.1 < 50, "spins: {:?}", process.membership);
            match process.membership.poll(now) {
                Action::Wait { until } => {
                    if let Some(until) = until {
                        assert!(until > now, "waits for the past: {:?}", process.membership);
                        if process.wake.is_some_and(|wake| now < wake && wake <= until) {
                            return;
                        }
                        process.wake = Some(until);
                        self.after(until - now, Event::Wake(member));
                    }
                    return;
                }
                Action::Done(_) => {
                    process.done = true;
                    process.connection = None;
                    if let Some(by) = process.close_by {
                        assert!(now <= by || process.stopped_until.is_some(), "closed {:?} late", now - by);
                    }
                    return;
                }
                Action::Disconnect => process.connection = None,
                Action::Connect { deadline } => {
                    assert!(deadline > now);
                    return self.connect(member, deadline);
                }
                Action::Send { id, request, .. } => self.send(member, id, request),
                Action::Assign { generation_id, members, .. } => {
                    let counts = BTreeMap::from([("t".to_owned(), PARTITIONS)]);
                    let assignment = RangeAssignor.assign(&members, &counts);
                    process.membership.assigned(now, generation_id, assignment);
                }
                Action::StartSession(start) => self.start_session(member, start),
                Action::EndSession { lost, .. } => self.end_session(member, lost),
            }
        }
    }

    fn connect(&mut self, member: usize, deadline: Instant) {
        self.connections += 1;
        let connection = self.connections;
        // What was looked up may be out of date when it is used.
        let stale = self.now < self.end_of_faults && self.rng.u8(..10) == 0;
        let broker = if stale { 1 - self.coordinator.home } else { self.coordinator.home };
        let wait = self.latency().min(deadline - self.now);
        self.after(wait, Event::Connected { member, connection, broker });
    }

    fn connected(&mut self, member: usize, connection: u64, broker: usize) {
        if self.postpone(member, || Event::Connected { member, connection, broker }) || self.processes[member].done {
            return;
        }
        let process = &mut self.processes[member];
        let unlucky = self.now < self.end_of_faults && self.rng.u8(..6) == 0;
        if unlucky || self.now < process.mute_until {
            process.membership.connect_failed(self.now, Error::new(ErrorKind::Network, "refused"));
        } else {
            process.connection = Some(connection * 2 + broker as u64);
            process.membership.connected(self.now);
        }
        self.drive(member);
    }

    fn send(&mut self, member: usize, id: u64, request: GroupRequest) {
        let connection = self.processes[member].connection.expect("sends without a connection");
        if let Some(Owned { lost: false, .. }) = self.processes[member].session {
            assert!(matches!(request, GroupRequest::Heartbeat(_)), "{request:?} while a session runs");
        }
        if self.now < self.processes[member].mute_until {
            return;
        }
        let wait = self.latency();
        self.after(wait, Event::Request { to: (connection, id), broker: (connection % 2) as usize, request });
    }

    fn send_replies(&mut self) {
        for (to, response) in std::mem::take(&mut self.coordinator.replies) {
            let wait = self.latency();
            self.after(wait, Event::Answer { to, response: Box::new(response) });
        }
    }

    fn answer(&mut self, (connection, id): ReplyTo, response: GroupResponse) {
        let now = self.now;
        let Some(member) = self.processes.iter().position(|process| process.connection == Some(connection)) else {
            return;
        };
        if let Some(until) = self.processes[member].stopped_until.filter(|until| now < *until) {
            return self.after(until - now, Event::Answer { to: (connection, id), response: Box::new(response) });
        }
        if now < self.processes[member].deaf_until {
            return;
        }
        let process = &mut self.processes[member];
        let beat = matches!(&response, GroupResponse::Heartbeat(answer) if answer.error_code == 0);
        process.membership.handle_response(now, id, Ok(response));
        if beat && process.stopped_until.is_none_or(|until| until + 2 * SECOND < now) {
            process.unaware = false;
        }
        self.drive(member);
    }

    fn start_session(&mut self, member: usize, start: SessionStart) {
        let process = &mut self.processes[member];
        assert!(process.session.is_none(), "two sessions in one process");
        assert_eq!(process.membership.generation_id(), start.identity.generation_id);
        let partitions: BTreeSet<i32> = start.assignment.values().flatten().copied().collect();
        for partition in &partitions {
            let key = (start.identity.generation_id, *partition);
            let owner = self.owners.entry(key).or_insert_with(|| start.identity.member_id.clone());
            assert_eq!(*owner, start.identity.member_id, "two owners of {key:?}");
        }
        process.sessions += 1;
        self.started += 1;
        let number = process.sessions;
        process.session = Some(Owned { number, start, partitions, ending: false, lost: false });
        self.commit(member);
    }

    fn end_session(&mut self, member: usize, lost: bool) {
        let session = self.processes[member].session.as_mut().expect("ends a session that never began");
        assert!(!session.lost, "lost twice");
        assert!(lost || !session.ending, "ended twice");
        let (first, number) = (!session.ending, session.number);
        session.ending = true;
        session.lost = lost;
        if first {
            // Some handlers take longer than the rebalance timeout.
            let faults = self.now < self.end_of_faults;
            let most = if faults && self.rng.u8(..8) == 0 { 20_000 } else { 3000 };
            let wait = self.rng.u32(0..most) * MILLISECOND;
            self.after(wait, Event::Drained { member, session: number });
        }
    }

    fn drained(&mut self, member: usize, session: u64) {
        if self.postpone(member, || Event::Drained { member, session }) {
            return;
        }
        // What the clock brings comes before what the handlers bring.
        self.drive(member);
        if self.processes[member].session.as_ref().is_some_and(|own| own.number == session) {
            self.commit(member);
            self.processes[member].session = None;
            self.processes[member].membership.session_ended(self.now);
            self.drive(member);
        }
    }

    /// The commit thread: commits as the session that runs, never as a lost one.
    fn commit(&mut self, member: usize) {
        let Some(session) = self.processes[member].session.as_ref().filter(|session| !session.lost) else { return };
        let from = session.start.identity.clone();
        let wait = self.latency();
        let broker = self.coordinator.home;
        self.after(wait, Event::Commit { member, broker, from });
    }

    fn fault(&mut self) {
        if self.now >= self.end_of_faults {
            return;
        }
        let count = self.processes.len();
        let member = self.rng.usize(0..count);
        let process = &mut self.processes[member];
        match self.rng.u8(..16) {
            0..5 => {
                // The connection breaks; what was under way arrives or not.
                if let (Some(_), Some(request)) = (process.connection, process.membership.in_flight.as_ref()) {
                    let id = request.id;
                    process.connection = None;
                    process.membership.handle_response(self.now, id, Err(Error::new(ErrorKind::Network, "cut")));
                    self.drive(member);
                }
            }
            5..7 => {
                let loading = self.rng.u32(0..3000) * MILLISECOND;
                self.coordinator.move_away(self.now, loading);
                self.send_replies();
            }
            7..9 => {
                let until = self.now + self.rng.u32(100..12_000) * MILLISECOND;
                process.stopped_until = Some(until);
                process.unaware = true;
            }
            9 if process.close_by.is_none() && process.stopped_until.is_none_or(|until| until <= self.now) => {
                let by = self.now + STOP;
                process.close_by = Some(by);
                process.stopped_until = None;
                process.membership.stop(self.now, by);
                self.drive(member);
            }
            10 if count < 6 => self.start_process(),
            11 => {
                // A handler returns by itself.
                process.membership.end_session(self.now, EndCause::HandlerReturned);
                self.drive(member);
            }
            12 => self.commit(member),
            13 => process.mute_until = self.now + self.rng.u32(100..20_000) * MILLISECOND,
            14 => process.deaf_until = self.now + self.rng.u32(100..20_000) * MILLISECOND,
            _ => {}
        }
        let wait = self.rng.u32(1..4000) * MILLISECOND;
        self.after(wait, Event::Fault);
    }

    /// No two processes work on one partition, unless one of them was stopped and has not heard of anything since.
    fn check_owners(&mut self) {
        let mut owned = BTreeMap::new();
        for (at, process) in self.processes.iter().enumerate() {
            let Some(session) = process.session.as_ref().filter(|session| !session.lost && !process.unaware) else {
                continue;
            };
            for partition in &session.partitions {
                let before = owned.insert(*partition, at);
                assert!(before.is_none(), "{before:?} and {at} own partition {partition}");
            }
        }
    }

    fn check_settled(&self) {
        let mut generations = BTreeSet::new();
        let mut owned = BTreeSet::<i32>::new();
        let mut members = BTreeSet::new();
        for process in &self.processes {
            if process.close_by.is_some() {
                assert!(process.done, "not closed: {:?}", process.membership);
                continue;
            }
            assert!(!process.done, "ended by itself");
            let session = process.session.as_ref().filter(|session| !session.ending);
            let session = session.unwrap_or_else(|| panic!("no session: {:?}", process.membership));
            generations.insert(session.start.identity.generation_id);
            members.insert(process.membership.member_id().to_owned());
            owned.extend(&session.partitions);
        }
        assert_eq!(self.coordinator.member_ids(), members, "a ghost in the group");
        if !members.is_empty() {
            assert_eq!((generations.len(), owned.len()), (1, PARTITIONS as usize));
        }
    }
}

#[test]
fn members_agree_whatever_the_order_of_events() {
    let mut sessions = 0;
    for seed in 0..SEEDS {
        let world = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            world.run();
            world.started
        });
        sessions += world.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(sessions > 5 * SEEDS, "only {sessions} sessions: the simulation does not get anywhere");
}
