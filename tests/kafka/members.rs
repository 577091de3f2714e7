//! Members of consumer groups in this process, for tests of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sarameya::{
    Client, ConsumerGroup, ConsumerGroupBuilder, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, Error,
    HandlerResult, Producer, ProducerRecord, Result, StartOffset, StopHandle,
};

use crate::support::kafka::Cluster;
use crate::support::{lock, wait_until};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// What the members of these tests may take to stop: time enough for a busy coordinator to take the last commit.
pub(crate) const CLOSE: Duration = Duration::from_secs(10);
/// What a loaded machine may add to a deadline.
pub(crate) const SLACK: Duration = Duration::from_secs(5);

/// A member that runs `consume` on a thread of its own and keeps what it saw.
pub(crate) struct Member {
    pub(crate) seen: Arc<Seen>,
    pub(crate) stop: StopHandle,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What a member saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Partition, offset and value in the order of processing.
    pub(crate) records: Mutex<Vec<(i32, i64, String)>>,
    /// The partitions of the running session.
    claims: Mutex<BTreeSet<i32>>,
    pub(crate) sessions: AtomicUsize,
    pub(crate) errors: Mutex<Vec<Error>>,
}

/// Runs before a record counts as processed; the record's partition and value.
pub(crate) type Work = Box<dyn Fn(i32, &str) + Send + Sync>;

struct Handler {
    seen: Arc<Seen>,
    work: Work,
}

impl ConsumerGroupHandler for Handler {
    fn setup(&self, session: &ConsumerGroupSession) -> HandlerResult {
        *lock(&self.seen.claims) = session.claims().values().flatten().copied().collect();
        self.seen.sessions.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult {
        for record in claim {
            let record = record?;
            let value = String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned();
            (self.work)(record.partition(), &value);
            lock(&self.seen.records).push((record.partition(), record.offset(), value));
            session.mark(&record);
        }
        Ok(())
    }

    fn cleanup(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.seen.claims).clear();
        Ok(())
    }

    fn lost(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.seen.claims).clear();
        Ok(())
    }
}

impl Member {
    pub(crate) fn start(client: &Client, group: &str, topic: &str) -> Self {
        Self::start_with(client, group, topic, |builder| builder, Box::new(|_, _| {}))
    }

    pub(crate) fn start_with(
        client: &Client,
        group: &str,
        topic: &str,
        settings: impl FnOnce(ConsumerGroupBuilder) -> ConsumerGroupBuilder,
        work: Work,
    ) -> Self {
        let builder = ConsumerGroup::builder(client, group)
            .start(StartOffset::Earliest)
            .auto_commit_interval(Duration::from_millis(200))
            .session_timeout(Duration::from_secs(6))
            .heartbeat_interval(Duration::from_millis(300))
            .close_timeout(CLOSE);
        let mut group = settings(builder).build().expect("a group");
        let (stop, errors) = (group.stop_handle(), group.errors());
        let seen = Arc::new(Seen::default());
        let handler = Handler { seen: seen.clone(), work };
        let topic = topic.to_owned();
        let thread = std::thread::spawn(move || {
            let outcome = group.consume(&[&topic], &handler);
            lock(&handler.seen.errors).extend(std::iter::from_fn(|| errors.try_next()));
            outcome
        });
        Self { seen, stop, thread: Some(thread) }
    }

    pub(crate) fn claims(&self) -> BTreeSet<i32> {
        lock(&self.seen.claims).clone()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.seen.sessions.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.seen.records).len()
    }

    /// Waits until it has this many partitions.
    #[track_caller]
    pub(crate) fn wait_claims(&self, count: usize) {
        wait_until(&format!("a member with {count} partitions"), LIMIT, || self.claims().len() == count);
    }

    #[track_caller]
    pub(crate) fn wait_count(&self, count: usize) {
        wait_until(&format!("{count} records seen"), LIMIT, || self.count() >= count);
    }

    /// Stops it, which must take no longer than it may, and returns how `consume` ended.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Result<()> {
        let start = Instant::now();
        self.stop.stop();
        let outcome = self.join();
        assert!(start.elapsed() < CLOSE + SLACK, "stopping took {:?}", start.elapsed());
        outcome
    }

    /// Waits for the end of `consume`.
    #[track_caller]
    pub(crate) fn join(&mut self) -> Result<()> {
        let thread = self.thread.take().expect("joined once");
        wait_until("the end of consume", LIMIT, || thread.is_finished());
        thread.join().expect("consume does not panic")
    }
}

impl Drop for Member {
    /// A test that failed must not leave members behind.
    fn drop(&mut self) {
        self.stop.stop();
    }
}

/// Writes records to each of the partitions; their values are `NAME-PARTITION-NUMBER`.
pub(crate) fn produce(client: &Client, topic: &str, partitions: i32, name: &str, each: usize) {
    let producer = Producer::builder(client).build().expect("a producer");
    let mut deliveries = Vec::new();
    for number in 0..each {
        for partition in 0..partitions {
            let value = format!("{name}-{partition}-{number}");
            let record = ProducerRecord::new(topic).partition(partition).value(&value);
            deliveries.push(producer.send(&record).expect("a send"));
        }
    }
    producer.flush(LIMIT).expect("a flush");
    for delivery in deliveries {
        delivery.wait().expect("written");
    }
    producer.close(LIMIT).expect("closed");
}

/// A line of `kafka-consumer-groups --describe`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) committed: String,
    pub(crate) lag: String,
    pub(crate) member: String,
    pub(crate) client: String,
}

/// What `kafka-consumer-groups` says of a group's partitions of a topic.
pub(crate) fn describe(cluster: &Cluster, group: &str, topic: &str) -> BTreeMap<i32, Described> {
    let output = cluster.tools().consumer_groups(&["--describe", "--group", group]);
    let mut described = BTreeMap::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // The group comes first in newer versions only.
        let Some(at) = words.iter().position(|word| *word == topic) else { continue };
        let [partition, committed, _, lag, member, _, client, ..] = words[at + 1..] else { panic!("{line:?}") };
        let own = |word: &str| word.to_owned();
        let line = Described { committed: own(committed), lag: own(lag), member: own(member), client: own(client) };
        described.insert(partition.parse().expect("a partition"), line);
    }
    described
}
