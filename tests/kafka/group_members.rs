//! What a member of a group promises its handler, on real Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sarameya::{
    Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, ConsumerRecord, ErrorKind,
    HandlerResult, Producer, ProducerRecord, Properties, StartOffset, StopHandle,
};

use crate::groups::describe;
use crate::support::kafka::{Cluster, Version};
use crate::support::process::{Process, Spec};
use crate::support::{lock, unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
const VERSION: Version = Version::V3_9_1;

#[test]
fn group_kafka_3_9_1_a_member_killed_before_its_commit_leaves_exactly_the_rest() {
    require_kafka!();
    let scene = Scene::new(1);
    scene.produce(0, 0..40);
    let mut child = scene.child("commits_every_ten");
    child.wait_line(LIMIT, |line| line == "took 24");
    child.kill();
    let next = scene.member(scene.group().auto_commit(false), |_, _| Ok(ControlFlow::Continue(())));
    next.wait_records(20);
    assert_eq!(next.offsets(0), (20..40).collect::<Vec<_>>(), "all that was not committed, and nothing else");
    next.stop();
}

#[test]
fn group_kafka_3_9_1_a_blocked_claim_does_not_hold_up_eleven_others() {
    require_kafka!();
    const EACH: i64 = 1500;
    let scene = Scene::new(12);
    for partition in 0..12 {
        scene.produce(partition, 0..EACH);
    }
    let released = Arc::new(AtomicBool::new(false));
    let (blocked, until) = (Arc::new(AtomicBool::new(false)), released.clone());
    let entered = blocked.clone();
    // Far more waits in each partition than is fetched ahead for one.
    let mut properties = Properties::new();
    properties.set("max.partition.fetch.bytes", "65536").expect("a number");
    let group = scene.group().properties(&properties).expect("settings");
    let member = scene.member(group, move |_, record| {
        if record.partition() == 0 {
            entered.store(true, Ordering::SeqCst);
            while !until.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(ControlFlow::Continue(()))
    });
    let _release = OnDrop(|| released.store(true, Ordering::SeqCst));
    wait_until("the claim is blocked", LIMIT, || blocked.load(Ordering::SeqCst));
    wait_until("the others have all", LIMIT, || member.records().len() > 11 * 1500);
    for partition in 1..12 {
        assert_eq!(member.offsets(partition), (0..EACH).collect::<Vec<_>>());
    }
    assert_eq!(member.offsets(0), [0]);
    // What comes later is not held up either, nor is what was held up lost.
    scene.produce(7, EACH..EACH + 10);
    wait_until("new records", LIMIT, || member.offsets(7).len() == 1510);
    released.store(true, Ordering::SeqCst);
    wait_until("the rest of the blocked one", LIMIT, || member.offsets(0).len() == 1500);
    assert_eq!(member.sessions().len(), 1);
    member.stop();
}

#[test]
fn group_kafka_3_9_1_a_static_member_comes_back_without_a_rebalance() {
    require_kafka!();
    let scene = Scene::new(4);
    let start = |id: &str| {
        let group = scene.group().group_instance_id(id).session_timeout(Duration::from_secs(30));
        scene.member(group, |_, _| Ok(ControlFlow::Continue(())))
    };
    let (first, second) = (start("first"), start("second"));
    wait_until("both have their share", LIMIT, || first.claims().len() == 2 && second.claims().len() == 2);
    let (share, sessions) = (first.claims(), second.sessions().len());
    first.stop();
    let first = start("first");
    wait_until("it is back", LIMIT, || !first.claims().is_empty());
    assert_eq!(first.claims(), share);
    for partition in 0..4 {
        scene.produce(partition, 0..5);
    }
    wait_until("all is read", LIMIT, || first.records().len() + second.records().len() == 20);
    assert_eq!(second.sessions().len(), sessions, "the other member has noticed nothing");
    assert_eq!(first.sessions().len(), 1);
    first.stop();
    second.stop();
}

#[test]
fn group_kafka_3_9_1_a_panic_of_the_handler_is_an_error_and_commits_nothing_of_its_record() {
    require_kafka!();
    let scene = Scene::new(2);
    scene.produce(0, 0..10);
    scene.produce(1, 0..10);
    let member = scene.member(scene.group(), |_, record| {
        assert!((record.partition(), record.offset()) != (0, 5), "a panic that the test wants");
        Ok(ControlFlow::Continue(()))
    });
    let error = member.thread.join().expect("consume does not panic").expect_err("it ends with an error");
    assert_eq!(error.kind(), ErrorKind::HandlerPanic, "{error}");
    assert!(error.to_string().contains("a panic that the test wants"), "{error}");
    assert_eq!(scene.committed()[&0], "5");
    let next = scene.member(scene.group(), |_, _| Ok(ControlFlow::Continue(())));
    wait_until("another member goes on", LIMIT, || next.offsets(0) == [5, 6, 7, 8, 9]);
    next.stop();
}

#[test]
fn group_kafka_3_9_1_a_handler_that_returns_early_joins_again_and_reads_nothing_twice() {
    require_kafka!();
    let scene = Scene::new(2);
    scene.produce(0, 0..10);
    scene.produce(1, 0..10);
    let member = scene.member(scene.group(), |_, record| {
        let leaves = (record.partition(), record.offset()) == (0, 3);
        Ok(if leaves { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    member.wait_records(20);
    for partition in 0..2 {
        assert_eq!(member.offsets(partition), (0..10).collect::<Vec<_>>());
    }
    assert_eq!(member.sessions(), [BTreeSet::from([0, 1]), BTreeSet::from([0, 1])]);
    member.stop();
    assert_eq!(scene.committed(), BTreeMap::from([(0, "10".to_owned()), (1, "10".to_owned())]));
}

#[test]
fn group_kafka_3_9_1_without_auto_commit_marks_are_not_committed() {
    require_kafka!();
    let scene = Scene::new(1);
    scene.produce(0, 0..10);
    for _ in 0..2 {
        let member = scene.member(scene.group().auto_commit(false), |session, record| {
            assert_eq!(session.committed(record.topic(), 0), None);
            Ok(ControlFlow::Continue(()))
        });
        member.wait_records(10);
        assert_eq!(member.offsets(0), (0..10).collect::<Vec<_>>());
        member.stop();
    }
}

#[test]
fn group_kafka_3_9_1_new_partitions_are_claimed_from_their_first_record() {
    require_kafka!();
    let scene = Scene::new(3);
    let members = [(); 2].map(|()| scene.member(scene.group(), |_, _| Ok(ControlFlow::Continue(()))));
    let claimed = |count: usize| {
        let [first, second] = members.each_ref().map(|each| each.claims());
        first.is_disjoint(&second) && first.len() + second.len() == count && !first.is_empty() && !second.is_empty()
    };
    wait_until("three partitions are claimed", LIMIT, || claimed(3));
    for partition in 0..3 {
        scene.produce(partition, 0..20);
    }
    scene.cluster.tools().topics(&["--alter", "--topic", &scene.topic, "--partitions", "6"]);
    let grown = scene.client();
    wait_until("producers know six", LIMIT, || grown.partition_count(&scene.topic).is_ok_and(|count| count == 6));
    for partition in 0..6 {
        scene.produce(partition, if partition < 3 { 20..40 } else { 0..40 });
    }
    wait_until("six partitions are claimed", LIMIT, || claimed(6));
    wait_until("all is read", LIMIT, || members.iter().map(|each| each.records().len()).sum::<usize>() >= 240);
    for partition in 0..6 {
        let mut offsets: Vec<i64> = members.iter().flat_map(|each| each.offsets(partition)).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, (0..40).collect::<Vec<_>>(), "partition {partition}");
    }
    members.into_iter().for_each(Member::stop);
}

#[test]
fn group_kafka_3_9_1_a_topic_that_comes_later_is_consumed() {
    require_kafka!();
    let scene = Scene::absent();
    let member = scene.member(scene.group(), |_, _| Ok(ControlFlow::Continue(())));
    wait_until("a session without claims", LIMIT, || member.sessions() == [BTreeSet::new()]);
    // Metadata is asked for several times meanwhile.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(member.sessions().len(), 1, "nothing to rebalance for");
    scene.cluster.create_topic(&scene.topic, 2);
    scene.produce(0, 0..5);
    scene.produce(1, 0..5);
    member.wait_records(10);
    let errors = member.errors.clone();
    member.stop();
    assert_eq!(std::iter::from_fn(|| errors.try_next()).map(|error| error.to_string()).collect::<Vec<_>>(), [""; 0]);
}

/// Not a test: what another test runs in a process of its own, to kill it.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child() {
    let Ok(scenario) = std::env::var("SARAMEYA_CHILD") else { return };
    let variable = |name: &str| std::env::var(name).expect("set by the parent");
    let client = client(&variable("SARAMEYA_BOOTSTRAP"));
    let group = ConsumerGroup::builder(&client, &variable("SARAMEYA_GROUP")).start(StartOffset::Earliest);
    assert_eq!(scenario, "commits_every_ten");
    // The least that brokers allow: the parent waits for it.
    let group = group.session_timeout(Duration::from_secs(6)).heartbeat_interval(Duration::from_secs(1));
    let mut group = group.auto_commit(false).build().expect("a group");
    let handler = |session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| -> HandlerResult {
        for record in claim {
            let record = record?;
            session.mark(&record);
            if record.offset() % 10 == 9 {
                session.commit()?;
            }
            println!("\ntook {}", record.offset());
            while record.offset() == 24 {
                std::thread::park();
            }
        }
        Ok(())
    };
    group.consume(&[&variable("SARAMEYA_TOPIC")], &handler).expect("it is killed");
}

fn client(bootstrap: &str) -> Client {
    let builder = Client::builder().bootstrap_servers(bootstrap).allow_auto_create_topics(false);
    builder.metadata_max_age(Duration::from_millis(500)).build().expect("a client")
}

/// A topic and a group of a test's own.
struct Scene {
    cluster: &'static Cluster,
    topic: String,
    group: String,
    client: Client,
}

impl Scene {
    fn new(partitions: i32) -> Self {
        let scene = Self::absent();
        scene.cluster.create_topic(&scene.topic, partitions);
        scene
    }

    fn absent() -> Self {
        let cluster = Cluster::shared(VERSION);
        Self { cluster, topic: unique("members"), group: unique("group"), client: client(&cluster.bootstrap()) }
    }

    fn client(&self) -> Client {
        client(&self.cluster.bootstrap())
    }

    fn group(&self) -> sarameya::ConsumerGroupBuilder {
        let group = ConsumerGroup::builder(&self.client, &self.group).start(StartOffset::Earliest);
        group.heartbeat_interval(Duration::from_millis(200)).auto_commit_interval(Duration::from_millis(200))
    }

    fn member<F>(&self, group: sarameya::ConsumerGroupBuilder, on_record: F) -> Member
    where
        F: Fn(&ConsumerGroupSession, &ConsumerRecord) -> Flow + Send + Sync + 'static,
    {
        let mut group = group.build().expect("a group");
        let (stop, errors, seen) = (group.stop_handle(), group.errors(), Arc::new(Seen::default()));
        let recorder = Recorder { seen: seen.clone(), on_record };
        let topic = self.topic.clone();
        let thread = std::thread::spawn(move || group.consume(&[&topic], &recorder));
        Member { stop, errors, seen, thread }
    }

    /// Writes records that must get these offsets.
    fn produce(&self, partition: i32, offsets: std::ops::Range<i64>) {
        let producer = Producer::builder(&self.client).build().expect("a producer");
        let send = |_| {
            let record = ProducerRecord::new(&self.topic).partition(partition).value(&[7; 512]);
            producer.send(&record).expect("a send")
        };
        let deliveries: Vec<_> = offsets.clone().map(send).collect();
        producer.close(LIMIT).expect("closed");
        let written = deliveries.iter().map(|each| each.wait().expect("written").offset());
        assert!(written.eq(offsets.map(Some)));
    }

    /// By partition what Kafka's tool says of the committed offsets.
    fn committed(&self) -> BTreeMap<i32, String> {
        let rows = describe(self.cluster, &self.group).into_iter();
        rows.map(|row| (row["PARTITION"].parse().expect("a partition"), row["CURRENT-OFFSET"].clone())).collect()
    }

    fn child(&self, scenario: &str) -> Process {
        let own = std::env::current_exe().expect("the path of this test");
        let child = Spec::new(own).args(["--exact", "group_members::child", "--ignored", "--nocapture"]);
        let child = child.env("SARAMEYA_CHILD", scenario).env("SARAMEYA_BOOTSTRAP", &self.cluster.bootstrap());
        child.env("SARAMEYA_GROUP", &self.group).env("SARAMEYA_TOPIC", &self.topic).spawn()
    }
}

type Flow = Result<ControlFlow<()>, Box<dyn Error + Send + Sync>>;

/// A member in this process, on a thread of its own that ends with `consume`.
struct Member {
    stop: StopHandle,
    errors: sarameya::Errors,
    seen: Arc<Seen>,
    thread: JoinHandle<sarameya::Result<()>>,
}

impl Member {
    fn records(&self) -> Vec<(i32, i64)> {
        lock(&self.seen.records).clone()
    }

    /// The offsets of a partition's records, in the order in which they came.
    fn offsets(&self, partition: i32) -> Vec<i64> {
        lock(&self.seen.records).iter().filter(|each| each.0 == partition).map(|each| each.1).collect()
    }

    #[track_caller]
    fn wait_records(&self, count: usize) {
        wait_until("the records", LIMIT, || lock(&self.seen.records).len() >= count);
    }

    /// The claims of each session so far.
    fn sessions(&self) -> Vec<BTreeSet<i32>> {
        lock(&self.seen.sessions).clone()
    }

    /// The claims of the session that goes on; empty between sessions.
    fn claims(&self) -> BTreeSet<i32> {
        lock(&self.seen.current).clone()
    }

    #[track_caller]
    fn stop(self) {
        self.stop.stop_and_wait(Duration::from_secs(20)).expect("it ends");
        self.thread.join().expect("no panic").expect("no error");
    }
}

#[derive(Default)]
struct Seen {
    sessions: Mutex<Vec<BTreeSet<i32>>>,
    current: Mutex<BTreeSet<i32>>,
    records: Mutex<Vec<(i32, i64)>>,
}

/// Notes every record, lets the test's closure look at it, and marks it.
struct Recorder<F> {
    seen: Arc<Seen>,
    on_record: F,
}

impl<F> ConsumerGroupHandler for Recorder<F>
where
    F: Fn(&ConsumerGroupSession, &ConsumerRecord) -> Flow + Sync,
{
    fn setup(&self, session: &ConsumerGroupSession) -> HandlerResult {
        let claims: BTreeSet<i32> = session.claims().values().flatten().copied().collect();
        lock(&self.seen.sessions).push(claims.clone());
        *lock(&self.seen.current) = claims;
        Ok(())
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult {
        for record in claim {
            let record = record?;
            lock(&self.seen.records).push((record.partition(), record.offset()));
            let flow = (self.on_record)(session, &record)?;
            session.mark(&record);
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn cleanup(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.seen.current).clear();
        Ok(())
    }
}

/// Also when the test fails: a blocked handler would keep its thread.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
