//! One call on many entities: to whom each goes, one request per broker, again what may pass, until the deadline.

use super::{Admin, Results, TopicPartition, lookup};
use crate::cluster::{CoordinatorType, Core, Snapshot};
use crate::net::{Connection, Deadline};
use crate::protocol::Request;
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait for metadata that may name another controller.
const NEWER_METADATA: Duration = Duration::from_secs(1);
/// A topic that was just created is not known everywhere at once: so long is "unknown" not believed.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// So many brokers are asked at the same time by one call.
const BROKERS_AT_ONCE: usize = 16;

/// What a call is about: a topic, a partition, a group.
pub(super) trait Entity: Clone + Eq + Hash + Debug + Send + Sync {
    /// The error with this entity named.
    fn named(&self, error: Error) -> Error {
        error
    }
}

impl Entity for String {}
impl Entity for i32 {}
impl Entity for () {}

/// A topic by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Topic(pub(super) String);

impl Entity for Topic {
    fn named(&self, error: Error) -> Error {
        error.with_topic(self.0.as_str())
    }
}

impl Entity for TopicPartition {
    fn named(&self, error: Error) -> Error {
        error.with_topic(self.topic.as_str()).with_partition(self.partition)
    }
}

/// Who is asked about an entity.
pub(super) enum Route<'a, K> {
    /// Any broker; the next one if one can't be reached.
    Any,
    /// The controller, or the broker that KRaft names for it.
    Controller,
    /// A broker by its id, or any for `None`.
    Broker(&'a (dyn Fn(&K) -> Option<i32> + Sync)),
    /// The leader of a partition.
    Leader(&'a (dyn Fn(&K) -> &TopicPartition + Sync)),
    /// The coordinator of one group, whatever of it is asked about.
    GroupCoordinator(&'a str),
    /// The coordinator of a group or transactional id.
    Coordinator(CoordinatorType, &'a (dyn Fn(&K) -> &str + Sync)),
}

/// To which brokers the entities go, by their places, `None` being any broker; and for which there is none.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) nodes: BTreeMap<Option<i32>, Vec<usize>>,
    pub(super) failed: Vec<(usize, Error)>,
}

/// What one broker says of the entities it was asked for.
pub(super) type Answers<V, K> = Results<V, K>;

/// One exchange with one broker.
pub(super) struct Asking<'a> {
    connection: &'a mut Connection,
    deadline: Deadline,
}

impl Asking<'_> {
    /// The version of an API that is spoken with this broker; an error that names the API if it knows none.
    pub(super) fn version<R: Request>(&self) -> Result<i16> {
        self.connection.version::<R>()
    }

    pub(super) fn call<R: Request>(&mut self, request: &R) -> Result<R::Response> {
        self.connection.call(request, self.deadline)
    }

    /// Like [`call`](Self::call) in a version not above what [`version`](Self::version) says.
    pub(super) fn call_version<R: Request>(&mut self, request: &R, version: i16) -> Result<R::Response> {
        self.connection.call_version(request, version, self.deadline)
    }

    /// Refuses what the broker's version of an API has no field for.
    pub(super) fn needs<R: Request>(&self, lowest: i16, without: &str) -> Result<i16> {
        let version = self.version::<R>()?;
        if version < lowest { Err(self.too_old::<R>(lowest, without)?) } else { Ok(version) }
    }

    /// The error for what takes a higher version of an API than the broker has; it says what can't be done.
    pub(super) fn too_old<R: Request>(&self, lowest: i16, without: &str) -> Result<Error> {
        let (name, version, release) = (R::NAME, self.version::<R>()?, self.connection.release());
        let message =
            format!("{without}: {name} {lowest} is needed, and the broker has it up to version {version}: {release}");
        Ok(Error::new(ErrorKind::Unsupported, message))
    }

    /// How long the broker may work on a request that has a timeout of its own.
    pub(super) fn timeout_ms(&self) -> i32 {
        milliseconds(self.deadline.remaining())
    }

    pub(super) fn node_id(&self) -> i32 {
        self.connection.peer().node_id
    }
}

pub(super) fn milliseconds(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// One call of the admin API.
pub(super) struct Call<'a> {
    admin: &'a Admin,
    pub(super) deadline: Deadline,
    start: Instant,
}

impl Admin {
    pub(super) fn call(&self) -> Call<'_> {
        Call { admin: self, deadline: Deadline::after(self.timeout), start: Instant::now() }
    }
}

impl<'a> Call<'a> {
    pub(super) fn core(&self) -> &'a Core {
        self.admin.core()
    }

    /// Asks about each entity once, and again what failed with something that may pass. The results are in the order of
    /// the entities; the outer error means that nothing was learned of any of them.
    pub(super) fn run<K: Entity, V: Send>(
        &self,
        entities: Vec<K>,
        route: &Route<'_, K>,
        ask: impl Fn(&mut Asking<'_>, &[K]) -> Result<Answers<V, K>> + Sync,
    ) -> Result<Results<V, K>> {
        let controller = matches!(route, Route::Controller);
        let leader = matches!(route, Route::Leader(_));
        let (mut outcomes, mut values) = Outcomes::new(entities)?;
        self.repeat(&mut outcomes, controller, &mut |deadline, outcomes| {
            let unknown_passes = leader && self.start.elapsed() < UNKNOWN_FOR;
            let believe = |error: &Error| !passes(error, unknown_passes);
            let pending = outcomes.pending();
            match lookup::route(self, deadline, route, &pending) {
                Ok(Routed { nodes, failed }) => {
                    outcomes.take_failed(&pending, failed, &believe);
                    for (asked, answer) in self.ask_all(deadline, &pending, nodes, &ask) {
                        outcomes.take(&mut values, &asked, answer, &believe);
                    }
                }
                Err(error) => outcomes.fail_all(&error, &believe),
            }
        });
        outcomes.finish(values)
    }

    /// The same where the answers come from elsewhere than one exchange with one broker.
    pub(super) fn run_where<K: Entity, V>(
        &self,
        entities: Vec<K>,
        ask: impl Fn(Deadline, &[K]) -> Result<Answers<V, K>>,
    ) -> Result<Results<V, K>> {
        let (mut outcomes, mut values) = Outcomes::new(entities)?;
        self.repeat(&mut outcomes, false, &mut |deadline, outcomes| {
            let asked = outcomes.pending();
            outcomes.take(&mut values, &asked, ask(deadline, &asked), &|error| !passes(error, false));
        });
        outcomes.finish(values)
    }

    fn repeat<K: Entity>(
        &self,
        outcomes: &mut Outcomes<K>,
        of_controller: bool,
        round: &mut dyn FnMut(Deadline, &mut Outcomes<K>),
    ) {
        let core = self.core();
        let mut backoff = core.config().retry_backoff.clone();
        while !outcomes.is_settled() {
            let generation = core.snapshot().generation;
            round(self.deadline.within(core.config().request_timeout), outcomes);
            if outcomes.is_settled() {
                break;
            }
            log::debug!("admin call: {} of {} to be asked again", outcomes.pending.len(), outcomes.entities.len());
            let pause = backoff.next(fastrand::f64);
            if self.deadline.remaining() <= pause || core.interrupt().wait(pause) {
                break;
            }
            if of_controller {
                self.newer_metadata(generation);
            } else {
                core.refresh_since(generation);
            }
        }
    }

    /// The same for a question that is about nothing in particular.
    pub(super) fn ask<V: Send>(
        &self,
        route: &Route<'_, ()>,
        ask: impl Fn(&mut Asking<'_>) -> Result<V> + Sync,
    ) -> Result<V> {
        let answers = self.run(vec![()], route, |asking, _| Ok(vec![((), Ok(ask(asking)?))]))?;
        answers.into_iter().next().map_or_else(|| Err(Error::protocol("nothing was asked")), |(_, answer)| answer)
    }

    /// The metadata at hand would lead to the same place. If there is no newer one soon, it is tried even so.
    fn newer_metadata(&self, generation: u64) {
        let core = self.core();
        let newer = |snapshot: &Snapshot| Ok((snapshot.generation > generation).then_some(()));
        let _ = core.wait_for(self.deadline.within(NEWER_METADATA), core.interrupt(), "newer metadata", newer);
    }

    /// One request per broker, side by side.
    fn ask_all<K: Entity, V: Send>(
        &self,
        deadline: Deadline,
        entities: &[K],
        nodes: BTreeMap<Option<i32>, Vec<usize>>,
        ask: &(impl Fn(&mut Asking<'_>, &[K]) -> Result<Answers<V, K>> + Sync),
    ) -> Vec<(Vec<K>, Result<Answers<V, K>>)> {
        let nodes: Vec<_> = nodes.into_iter().collect();
        let answers = Mutex::new(Vec::new());
        side_by_side(nodes.len(), &|place| {
            let Some((node, places)) = nodes.get(place) else { return };
            let asked: Vec<K> = places.iter().map(|place| entities[*place].clone()).collect();
            let answer = self.ask_node(*node, deadline, |asking| ask(asking, &asked));
            answers.lock().unwrap_or_else(PoisonError::into_inner).push((asked, answer));
        });
        answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// One exchange with a broker, or with any.
    pub(super) fn ask_node<T>(
        &self,
        node: Option<i32>,
        deadline: Deadline,
        mut ask: impl FnMut(&mut Asking<'_>) -> Result<T>,
    ) -> Result<T> {
        let core = self.core();
        match node {
            Some(node) => {
                core.with_node(node, core.interrupt(), deadline, |connection| ask(&mut Asking { connection, deadline }))
            }
            None => core
                .with_any(core.interrupt(), deadline, |connection, deadline| ask(&mut Asking { connection, deadline })),
        }
    }
}

/// Does a number of things on threads of their own, at most [`BROKERS_AT_ONCE`] with the caller's. The threads,
/// `kafka-admin`, end with the last thing.
fn side_by_side(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let work_on = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                place if place < count => work(place),
                _ => break,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count.min(BROKERS_AT_ONCE) {
            let spawned = std::thread::Builder::new().name("kafka-admin".into()).spawn_scoped(scope, work_on);
            if let Err(error) = spawned {
                log::debug!("kafka-admin not started, brokers are asked one after another: {error}");
                break;
            }
        }
        work_on();
    });
}

/// Whether the same request may succeed for an entity a moment later, maybe at another broker. Most codes that Kafka
/// calls retriable are an answer here: a topic to be deleted that is unknown is not waited for. After REQUEST_TIMED_OUT
/// the controller goes on by itself, and a second try would find its work in the way.
pub(super) fn passes(error: &Error, unknown_passes: bool) -> bool {
    let Some(code) = error.code() else {
        return matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout);
    };
    match code {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => unknown_passes,
        // Another broker has the office now, or will have it soon.
        ErrorCode::NOT_CONTROLLER
        | ErrorCode::NOT_COORDINATOR
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_LEADER_OR_FOLLOWER
        | ErrorCode::LEADER_NOT_AVAILABLE
        | ErrorCode::FENCED_LEADER_EPOCH
        | ErrorCode::KAFKA_STORAGE_ERROR
        | ErrorCode::LISTENER_NOT_FOUND
        // The right broker is not ready yet.
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::UNKNOWN_LEADER_EPOCH
        | ErrorCode::OFFSET_NOT_AVAILABLE
        | ErrorCode::CONCURRENT_TRANSACTIONS
        | ErrorCode::UNSTABLE_OFFSET_COMMIT
        | ErrorCode::THROTTLING_QUOTA_EXCEEDED => true,
        _ => false,
    }
}

/// What is known of each entity of a call, but for the values that were learned: those are in a list beside it, so that
/// all this is compiled once for each kind of entity, and not for each kind of call.
struct Outcomes<K> {
    entities: Vec<K>,
    places: HashMap<K, usize>,
    /// The places in `entities` of those to be asked about, in order.
    pending: Vec<usize>,
    /// Why there is no value, by place.
    errors: Vec<Option<Error>>,
    /// Those that are not to be asked about again, by place.
    settled: Vec<bool>,
    /// The last error that was not about one entity, as long as nothing has been learned of any.
    nothing_but: Option<Error>,
    learned: bool,
}

type Believe<'a> = &'a dyn Fn(&Error) -> bool;

impl<K: Entity> Outcomes<K> {
    /// With room for the values, one for each entity.
    fn new<V>(entities: Vec<K>) -> Result<(Self, Vec<Option<V>>)> {
        let outcomes = Self::of(entities)?;
        let values = outcomes.entities.iter().map(|_| None).collect();
        Ok((outcomes, values))
    }

    fn of(entities: Vec<K>) -> Result<Self> {
        let mut places = HashMap::new();
        for (place, entity) in entities.iter().enumerate() {
            if places.insert(entity.clone(), place).is_some() {
                let error = Error::new(ErrorKind::InvalidArgument, format!("{entity:?} is given twice"));
                return Err(entity.named(error));
            }
        }
        let count = entities.len();
        Ok(Self {
            entities,
            places,
            pending: (0..count).collect(),
            errors: vec![None; count],
            settled: vec![false; count],
            nothing_but: None,
            learned: false,
        })
    }

    fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Those to be asked about, in the order of the call.
    fn pending(&self) -> Vec<K> {
        self.pending.iter().map(|place| self.entities[*place].clone()).collect()
    }

    /// Takes what one broker says of those it was asked for. What fails with an error that is not believed stays pending.
    fn take<V>(&mut self, values: &mut [Option<V>], asked: &[K], answer: Result<Answers<V, K>>, believe: Believe<'_>) {
        let answers = match answer {
            Ok(answers) => answers,
            Err(error) => return self.take_failure(asked, &error, believe),
        };
        let mut left = self.places_of(asked);
        for (entity, outcome) in answers {
            let Some(place) = self.take_place(&entity, &mut left) else { continue };
            match outcome {
                Ok(value) => {
                    values[place] = Some(value);
                    self.settle(place, None);
                }
                Err(error) => self.take_error(place, error, believe),
            }
        }
        self.take_left_out(left);
    }

    fn places_of(&self, entities: &[K]) -> HashSet<usize> {
        entities.iter().filter_map(|entity| self.places.get(entity).copied()).collect()
    }

    /// The place of an entity, if it is one of those that are left. One that was not asked for, or twice, has none.
    fn take_place(&self, entity: &K, left: &mut HashSet<usize>) -> Option<usize> {
        self.places.get(entity).copied().filter(|place| left.remove(place))
    }

    /// A broker that was asked has said nothing about single entities.
    fn take_failure(&mut self, asked: &[K], error: &Error, believe: Believe<'_>) {
        self.nothing_learned(error, believe);
        for place in self.places_of(asked) {
            self.take_error(place, error.clone(), believe);
        }
        self.leave_pending();
    }

    /// A broker's answer leaves these out.
    fn take_left_out(&mut self, left: HashSet<usize>) {
        self.learned = true;
        for place in left {
            let entity = &self.entities[place];
            let missing = Error::protocol(format!("the broker's answer leaves out {entity:?}"));
            self.settle(place, Some(entity.named(missing)));
        }
        self.leave_pending();
    }

    /// Takes errors about single entities that were found before a broker was asked.
    fn take_failed(&mut self, asked: &[K], failed: Vec<(usize, Error)>, believe: Believe<'_>) {
        self.learned |= failed.iter().any(|(_, error)| believe(error));
        for (at, error) in failed {
            if let Some(place) = self.places.get(&asked[at]).copied() {
                self.take_error(place, error, believe);
            }
        }
        self.leave_pending();
    }

    /// Nobody could be asked.
    fn fail_all(&mut self, error: &Error, believe: Believe<'_>) {
        self.nothing_learned(error, believe);
        for place in self.pending.clone() {
            self.take_error(place, error.clone(), believe);
        }
        self.leave_pending();
    }

    /// A broker's word says more than a connection that broke afterwards, and what is final more than what might have passed.
    fn nothing_learned(&mut self, error: &Error, believe: Believe<'_>) {
        let told = self.nothing_but.as_ref().is_some_and(|known| known.code().is_some());
        if !told || error.code().is_some() || believe(error) {
            self.nothing_but = Some(error.clone());
        }
    }

    fn take_error(&mut self, place: usize, error: Error, believe: Believe<'_>) {
        let believed = believe(&error);
        let error = self.entities[place].named(error);
        if believed {
            return self.settle(place, Some(error));
        }
        let told = self.errors[place].as_ref().is_some_and(|known| known.code().is_some());
        if !told || error.code().is_some() {
            self.errors[place] = Some(error);
        }
    }

    fn settle(&mut self, place: usize, error: Option<Error>) {
        self.settled[place] = true;
        self.errors[place] = error;
    }

    fn leave_pending(&mut self) {
        self.pending.retain(|place| !self.settled[*place]);
    }

    fn finish<V>(mut self, values: Vec<Option<V>>) -> Result<Results<V, K>> {
        self.check_learned()?;
        let mut results = Vec::with_capacity(values.len());
        for (place, value) in values.into_iter().enumerate() {
            let outcome = value.ok_or_else(|| self.error_of(place));
            results.push((self.entities[place].clone(), outcome));
        }
        Ok(results)
    }

    fn check_learned(&mut self) -> Result<()> {
        match self.nothing_but.take() {
            Some(error) if !self.learned => Err(error),
            _ => Ok(()),
        }
    }

    /// Why there is no value.
    fn error_of(&mut self, place: usize) -> Error {
        let unknown = || self.entities[place].named(Error::protocol("nothing is known of it"));
        self.errors[place].take().unwrap_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(code: ErrorCode) -> Error {
        Error::from_code(code, "no")
    }

    fn topics(names: &[&str]) -> Vec<Topic> {
        names.iter().map(|name| Topic((*name).to_owned())).collect()
    }

    #[test]
    fn each_entity_has_its_own_result_in_the_order_of_the_call() {
        let asked = topics(&["a", "b", "c"]);
        let (mut outcomes, mut values) = Outcomes::new::<i32>(asked.clone()).unwrap();
        let believe = |error: &Error| !passes(error, false);
        let first = vec![
            (Topic("c".into()), Err(code(ErrorCode::NOT_CONTROLLER))),
            (Topic("b".into()), Err(code(ErrorCode::TOPIC_ALREADY_EXISTS))),
            (Topic("x".into()), Ok(1)),
        ];
        outcomes.take(&mut values, &asked, Ok(first), &believe);
        assert_eq!(outcomes.pending(), topics(&["c"]), "what failed for good is not tried again");
        outcomes.take(&mut values, &topics(&["c"]), Ok(vec![(Topic("c".into()), Ok(3))]), &believe);
        let results = outcomes.finish(values).unwrap();
        assert_eq!(results.iter().map(|(topic, _)| topic.0.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(results[0].1.as_ref().unwrap_err().kind(), ErrorKind::Protocol, "left out of the answer");
        assert_eq!(results[1].1.as_ref().unwrap_err().topic(), Some("b"));
        assert_eq!(*results[2].1.as_ref().unwrap(), 3);
    }

    #[test]
    fn the_outer_error_means_that_nothing_was_learned() {
        let asked = topics(&["a", "b"]);
        let believe = |error: &Error| !passes(error, false);
        let broken = Error::new(ErrorKind::Network, "broken");
        let (mut outcomes, mut values) = Outcomes::new::<()>(asked.clone()).unwrap();
        outcomes.take(&mut values, &asked, Err(broken.clone()), &believe);
        assert_eq!(outcomes.pending(), asked, "a connection may be made again");
        assert_eq!(outcomes.finish(values).unwrap_err().kind(), ErrorKind::Network);

        let (mut outcomes, mut values) = Outcomes::new::<()>(asked.clone()).unwrap();
        outcomes.take(&mut values, &asked[..1], Ok(vec![(asked[0].clone(), Ok(()))]), &believe);
        outcomes.take(&mut values, &asked[1..], Err(broken), &believe);
        let results = outcomes.finish(values).unwrap();
        assert!(results[0].1.is_ok());
        assert_eq!(results[1].1.as_ref().unwrap_err().topic(), Some("b"));
    }

    #[test]
    fn a_brokers_word_is_not_forgotten_over_a_broken_connection() {
        let asked = topics(&["a"]);
        let believe = |error: &Error| !passes(error, false);
        let (mut outcomes, mut values) = Outcomes::new::<()>(asked.clone()).unwrap();
        outcomes.take(
            &mut values,
            &asked,
            Ok(vec![(asked[0].clone(), Err(code(ErrorCode::NOT_CONTROLLER)))]),
            &believe,
        );
        outcomes.take(&mut values, &asked, Err(Error::new(ErrorKind::Network, "broken")), &believe);
        let results = outcomes.finish(values).unwrap();
        assert_eq!(results[0].1.as_ref().unwrap_err().code(), Some(ErrorCode::NOT_CONTROLLER));
    }

    #[test]
    fn what_is_final_is_not_hidden_by_what_passed() {
        let asked = topics(&["a"]);
        let believe = |error: &Error| !passes(error, false);
        let (mut outcomes, mut values) = Outcomes::new::<()>(asked.clone()).unwrap();
        outcomes.fail_all(&code(ErrorCode::COORDINATOR_NOT_AVAILABLE), &believe);
        assert_eq!(outcomes.pending(), asked);
        outcomes.take(&mut values, &asked, Err(Error::new(ErrorKind::Unsupported, "too old")), &believe);
        assert!(outcomes.is_settled());
        assert_eq!(outcomes.finish(values).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn an_entity_given_twice_is_refused_by_name() {
        let error = Outcomes::new::<()>(topics(&["t", "u", "t"])).err().unwrap();
        assert_eq!((error.kind(), error.topic()), (ErrorKind::InvalidArgument, Some("t")));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for retried in [ErrorCode::NOT_CONTROLLER, ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS]
        {
            assert!(passes(&code(retried), false), "{retried}");
        }
        for final_word in [ErrorCode::REQUEST_TIMED_OUT, ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::INVALID_CONFIG] {
            assert!(!passes(&code(final_word), true), "{final_word}");
        }
        assert!(passes(&code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), true));
        assert!(!passes(&code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), false));
        assert!(!passes(&Error::new(ErrorKind::Unsupported, "no"), true));
    }
}
