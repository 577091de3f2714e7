//! What the tests share: clients with short timeouts, waiting for a condition, and members of a group.
#![allow(dead_code, reason = "each file uses its part of it")]

use sarameya::embedded::Cluster;
use sarameya::{
    Client, ClientBuilder, ConsumerGroup, ConsumerGroupBuilder, ConsumerGroupClaim, ConsumerGroupSession, OffsetReset,
    PartitionConsumer, Producer, ProducerBuilder, ProducerRecord, StartOffset, StopHandle, SyncProducer,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing here takes long; the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// The timeouts of a client that is to notice soon.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

/// Where a test runs that needs no faults: a cluster of its own, or the real one that was named.
pub(crate) struct Target {
    cluster: Option<Cluster>,
    bootstrap: String,
}

impl Target {
    pub(crate) fn new(brokers: usize) -> Self {
        match std::env::var("SARAMEYA_BOOTSTRAP") {
            Ok(bootstrap) => Self { cluster: None, bootstrap },
            Err(_) => {
                let cluster = Cluster::start(brokers).unwrap();
                let bootstrap = cluster.bootstrap_servers().to_owned();
                Self { cluster: Some(cluster), bootstrap }
            }
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub(crate) fn client(&self) -> Client {
        settings(&self.bootstrap).build().unwrap()
    }

    /// A topic that no other test uses, in this run or another.
    pub(crate) fn topic(&self, partitions: i32) -> String {
        let topic = unique("scenario");
        let admin = sarameya::Admin::new(&self.client());
        let topics = [sarameya::NewTopic::new(&topic).partitions(partitions)];
        admin.create_topics(&topics).unwrap().into_iter().for_each(|(_, made)| made.map(drop).unwrap());
        topic
    }
}

/// A name that is used once.
pub(crate) fn unique(what: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{what}-{}-{}-{count}", std::process::id(), since.as_micros())
}

/// A client that tries again soon.
pub(crate) fn settings(bootstrap: &str) -> ClientBuilder {
    Client::builder()
        .bootstrap_servers(bootstrap)
        .reconnect_backoff(Duration::from_millis(10), Duration::from_millis(50))
        .retry_backoff(Duration::from_millis(10), Duration::from_millis(50))
}

/// The same for the embedded cluster.
pub(crate) fn client(cluster: &Cluster) -> Client {
    settings(cluster.bootstrap_servers()).build().unwrap()
}

/// A client whose requests time out soon.
pub(crate) fn hasty_client(cluster: &Cluster) -> Client {
    let settings = settings(cluster.bootstrap_servers());
    settings.request_timeout(SHORT).connection_setup_timeout(SHORT).build().unwrap()
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "{what}: not in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn sync_producer(
    client: &Client,
    settings: impl FnOnce(ProducerBuilder) -> ProducerBuilder,
) -> SyncProducer {
    settings(SyncProducer::builder(client)).build_sync().unwrap()
}

pub(crate) fn producer(client: &Client, settings: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Producer {
    settings(Producer::builder(client)).build().unwrap()
}

/// Sends `values` to a partition, one after the other, and returns their offsets.
#[track_caller]
pub(crate) fn send_all(producer: &SyncProducer, topic: &str, partition: i32, values: &[&str]) -> Vec<i64> {
    let send = |value: &&str| {
        let record = ProducerRecord::new(topic).partition(partition).value(*value);
        producer.send(&record).unwrap().offset().unwrap()
    };
    values.iter().map(send).collect()
}

/// A reader of one partition from its start.
pub(crate) fn reader(client: &Client, topic: &str, partition: i32) -> PartitionConsumer {
    let builder = PartitionConsumer::builder(client, topic, partition).start(StartOffset::Earliest);
    builder.fetch_max_wait(Duration::from_millis(100)).offset_reset(OffsetReset::Fail).build().unwrap()
}

/// The next `n` values.
#[track_caller]
pub(crate) fn read(consumer: &mut PartitionConsumer, n: usize) -> Vec<String> {
    let next = |_| {
        let record = consumer.next(LIMIT).unwrap().expect("a record in time");
        String::from_utf8_lossy(record.value().unwrap_or_default()).into_owned()
    };
    (0..n).map(next).collect()
}

/// A member of a group that marks what it reads, on a thread of its own.
pub(crate) struct Member {
    pub(crate) seen: Arc<Seen>,
    stop: StopHandle,
    thread: Option<JoinHandle<sarameya::Result<()>>>,
}

/// What a member has done so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// By partition, the offsets that its handler got, in that order.
    records: Mutex<BTreeMap<(String, i32), Vec<i64>>>,
    claims: Mutex<BTreeSet<(String, i32)>>,
    generations: Mutex<Vec<i32>>,
}

impl Seen {
    pub(crate) fn offsets(&self, topic: &str, partition: i32) -> Vec<i64> {
        lock(&self.records).get(&(topic.to_owned(), partition)).cloned().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.records).values().map(Vec::len).sum()
    }

    /// The partitions that handlers are running for.
    pub(crate) fn claims(&self) -> BTreeSet<(String, i32)> {
        lock(&self.claims).clone()
    }

    /// The generations of its sessions.
    pub(crate) fn generations(&self) -> Vec<i32> {
        lock(&self.generations).clone()
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The usual settings of a member: it starts with the earliest record and is quick about everything.
pub(crate) fn group(client: &Client, group: &str) -> ConsumerGroupBuilder {
    ConsumerGroup::builder(client, group)
        .start(StartOffset::Earliest)
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(50))
        .auto_commit_interval(Duration::from_millis(50))
        .close_timeout(Duration::from_secs(10))
        .fetch_max_wait(Duration::from_millis(100))
}

impl Member {
    pub(crate) fn start(builder: ConsumerGroupBuilder, topics: &[&str]) -> Self {
        Self::with_handler(builder, topics, |session, record| {
            session.mark(record);
        })
    }

    /// With a handler for each record.
    pub(crate) fn with_handler(
        builder: ConsumerGroupBuilder,
        topics: &[&str],
        handle: impl Fn(&ConsumerGroupSession, &sarameya::ConsumerRecord) + Send + Sync + 'static,
    ) -> Self {
        let mut group = builder.build().unwrap();
        let stop = group.stop_handle();
        let seen = Arc::new(Seen::default());
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            group.consume(&topics, &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
                let id = (claim.topic().to_owned(), claim.partition());
                lock(&shared.claims).insert(id.clone());
                lock(&shared.generations).push(session.generation_id());
                for record in claim {
                    let record = record?;
                    lock(&shared.records).entry(id.clone()).or_default().push(record.offset());
                    handle(session, &record);
                }
                lock(&shared.claims).remove(&id);
                Ok(())
            })
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Stops it and returns what `consume` returned.
    pub(crate) fn stop(mut self) -> sarameya::Result<()> {
        self.stop.stop();
        self.join()
    }

    /// Waits for `consume` to return by itself.
    pub(crate) fn join(&mut self) -> sarameya::Result<()> {
        let thread = self.thread.take().expect("joined once");
        wait_until("consume returns", || thread.is_finished());
        thread.join().unwrap()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.stop();
    }
}
