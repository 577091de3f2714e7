//! Stopping a group in every state: in time, and with no thread or socket left.
//!
//! Threads and sockets are those of a process, so that each state is a process of its own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sarameya::{
    Client, ConsumerGroup, ConsumerGroupBuilder, ConsumerGroupClaim, ConsumerGroupSession, ErrorKind, HandlerResult,
    Producer, ProducerRecord, StartOffset, StopHandle,
};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::process::{Process, Spec};
use crate::support::{heavy, unique, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Time enough for a busy coordinator to take the last commit.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the threads of a loaded machine to run at all.
const SLACK: Duration = Duration::from_secs(10);

#[test]
fn group_stop_kafka_3_9_1_idle() {
    require_kafka!();
    stops(Cluster::shared(Version::V3_9_1), "idle");
}

#[test]
fn group_stop_kafka_3_9_1_at_full_speed() {
    require_kafka!();
    stops(Cluster::shared(Version::V3_9_1), "full_speed");
}

#[test]
fn group_stop_kafka_3_9_1_in_a_rebalance() {
    require_kafka!();
    stops(Cluster::shared(Version::V3_9_1), "rebalance");
}

#[test]
fn group_stop_kafka_3_9_1_with_a_stuck_handler() {
    require_kafka!();
    stops(Cluster::shared(Version::V3_9_1), "stuck");
}

#[test]
fn group_stop_kafka_3_9_1_without_brokers() {
    require_kafka!();
    let _alone = heavy();
    let cluster = Cluster::start(&ClusterOptions::new(Version::V3_9_1));
    let (mut child, folder) = start(&cluster, "idle");
    child.wait_line(LIMIT, |line| line == "ready");
    cluster.kill(1);
    go(child, &folder);
}

fn stops(cluster: &Cluster, state: &str) {
    let (mut child, folder) = start(cluster, state);
    child.wait_line(LIMIT, |line| line == "ready");
    go(child, &folder);
}

fn start(cluster: &Cluster, state: &str) -> (Process, tempfile::TempDir) {
    let topic = unique("stop");
    cluster.create_topic(&topic, 4);
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("the path of this test");
    let child =
        Spec::new(own).args(["--exact", "group_stop::child", "--ignored", "--nocapture", "--test-threads", "1"]);
    let child = child.env("SARAMEYA_CHILD", state).env("SARAMEYA_BOOTSTRAP", &cluster.bootstrap());
    let child = child.env("SARAMEYA_TOPIC", &topic).env("SARAMEYA_GO", &folder.path().join("go").to_string_lossy());
    (child.spawn(), folder)
}

fn go(child: Process, folder: &tempfile::TempDir) {
    std::fs::write(folder.path().join("go"), "").expect("a file");
    let output = child.finish(LIMIT).success();
    assert!(output.lines().any(|line| line == "clean"), "{}", output.stdout);
}

/// Not a test: what the tests above run in processes of their own.
#[test]
#[ignore = "run by other tests in a process of its own"]
fn child() {
    let Ok(state) = std::env::var("SARAMEYA_CHILD") else { return };
    let variable = |name: &str| std::env::var(name).expect("set by the parent");
    let (topic, before) = (variable("SARAMEYA_TOPIC"), sockets());
    let client = Client::connect(&variable("SARAMEYA_BOOTSTRAP")).expect("a client");
    assert!(sockets() > before, "sockets are seen");
    let scene = Scene { client, topic, group: unique("stop") };
    let ready = || {
        println!("\nready");
        wait_until("the parent says go", LIMIT, || Path::new(&variable("SARAMEYA_GO")).exists());
    };
    match state.as_str() {
        "idle" => scene.idle(ready),
        "full_speed" => scene.full_speed(ready),
        "rebalance" => scene.rebalance(ready),
        "stuck" => scene.stuck(ready),
        other => panic!("no state {other}"),
    }
    drop(scene);
    // A client's own threads may end a moment after it was dropped.
    wait_until("the library's threads end", SLACK, || threads().is_empty());
    wait_until("sockets are closed", SLACK, || sockets() <= before);
    println!("\nclean");
}

struct Scene {
    client: Client,
    topic: String,
    group: String,
}

impl Scene {
    fn builder(&self) -> ConsumerGroupBuilder {
        let group = ConsumerGroup::builder(&self.client, &self.group).start(StartOffset::Earliest);
        group.heartbeat_interval(Duration::from_millis(200)).close_timeout(CLOSE_TIMEOUT)
    }

    fn idle(&self, ready: impl Fn()) {
        let claims = AtomicU64::new(0);
        let handler = |_: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            claims.fetch_add(1, Ordering::SeqCst);
            assert!(claim.next_record().is_none());
            Ok(())
        };
        self.run(&handler, |stop| {
            wait_until("the claims run", LIMIT, || claims.load(Ordering::SeqCst) == 4);
            assert!(threads().len() > 4, "threads are seen: {:?}", threads());
            ready();
            stops_within(stop);
        });
    }

    fn full_speed(&self, ready: impl Fn()) {
        let producer = Producer::builder(&self.client).build().expect("a producer");
        let producing = AtomicBool::new(true);
        let seen = AtomicU64::new(0);
        let handler = |session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| -> HandlerResult {
            for record in claim {
                session.mark(&record?);
                seen.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while producing.load(Ordering::SeqCst) {
                    drop(producer.send(&ProducerRecord::new(&self.topic).value(&[7; 100])).expect("a send"));
                }
            });
            self.run(&handler, |stop| {
                wait_until("records flow", LIMIT, || seen.load(Ordering::SeqCst) > 10_000);
                ready();
                stops_within(stop);
            });
            producing.store(false, Ordering::SeqCst);
        });
        producer.close(LIMIT).expect("closed");
    }

    /// One member keeps its claims although the session ends; the other waits for it to join when it is stopped.
    fn rebalance(&self, ready: impl Fn()) {
        let (started, ending, released) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
        let keeper = |session: &ConsumerGroupSession, _: &mut ConsumerGroupClaim| {
            started.fetch_add(1, Ordering::SeqCst);
            while !released.load(Ordering::SeqCst) {
                ending.fetch_or(session.is_ending(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        };
        let joiner = |_: &ConsumerGroupSession, _: &mut ConsumerGroupClaim| panic!("the rebalance must not end");
        self.run(&keeper, |keeper_stop| {
            wait_until("the claims run", LIMIT, || started.load(Ordering::SeqCst) >= 4);
            self.run(&joiner, |stop| {
                wait_until("the rebalance begins", LIMIT, || ending.load(Ordering::SeqCst));
                ready();
                stops_within(stop);
            });
            released.store(true, Ordering::SeqCst);
            stops_within(keeper_stop);
        });
    }

    fn stuck(&self, ready: impl Fn()) {
        let (started, released) = (AtomicU64::new(0), AtomicBool::new(false));
        let handler = |_: &ConsumerGroupSession, _: &mut ConsumerGroupClaim| {
            started.fetch_add(1, Ordering::SeqCst);
            while !released.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        };
        let outcome = self.outcome(&handler, |stop| {
            wait_until("the claims run", LIMIT, || started.load(Ordering::SeqCst) == 4);
            ready();
            let began = Instant::now();
            let error = stop.stop_and_wait(CLOSE_TIMEOUT).expect_err("the handler is stuck");
            assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
            assert!((CLOSE_TIMEOUT..CLOSE_TIMEOUT + SLACK).contains(&began.elapsed()), "{:?}", began.elapsed());
            released.store(true, Ordering::SeqCst);
            stops_within(stop);
        });
        // What the handlers did after that time could not be committed, which is not for nobody to know.
        assert_eq!(outcome.expect_err("the handlers overran").kind(), ErrorKind::Timeout);
    }

    /// Runs `test` beside a member, which must end without an error.
    fn run<F>(&self, handler: &F, test: impl FnOnce(&StopHandle))
    where
        F: Fn(&ConsumerGroupSession, &mut ConsumerGroupClaim) -> HandlerResult + Sync,
    {
        self.outcome(handler, test).expect("no error");
    }

    /// Runs `test` beside a member; what its `consume` returned.
    fn outcome<F>(&self, handler: &F, test: impl FnOnce(&StopHandle)) -> sarameya::Result<()>
    where
        F: Fn(&ConsumerGroupSession, &mut ConsumerGroupClaim) -> HandlerResult + Sync,
    {
        let mut group = self.builder().build().expect("a group");
        let stop = group.stop_handle();
        std::thread::scope(|scope| {
            let consuming = scope.spawn(move || group.consume(&[&self.topic], handler));
            test(&stop);
            consuming.join().expect("no panic")
        })
    }
}

fn stops_within(stop: &StopHandle) {
    let began = Instant::now();
    stop.stop_and_wait(LIMIT).expect("it ends");
    assert!(began.elapsed() < CLOSE_TIMEOUT + SLACK, "{:?}", began.elapsed());
}

/// The library's threads in this process; its main thread has the name of the test binary, which begins as theirs do.
fn threads() -> Vec<String> {
    let main = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
    let others = tasks.filter(|task| task.file_name().to_string_lossy() != main);
    let names = others.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).filter(|name| name.starts_with("kafka-")).collect()
}

fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").expect("Linux");
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
