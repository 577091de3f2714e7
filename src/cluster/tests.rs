//! The client against scripted brokers, by the names of the failure scenarios.

mod recovery;

use super::{Client, ClientBuilder, CoordinatorType, Core};
use crate::net::scripted::{Asked, REFUSING, Reply, Scripted, Session};
use crate::net::{Deadline, Interrupt};
use crate::protocol::Request;
use crate::protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::{ErrorCode, ErrorKind, Result};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const APIS: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 12), (FindCoordinatorRequest::KEY, 0, 4)];
/// Nothing that is expected to end sooner may take this long.
const LONG: Duration = Duration::from_secs(5);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What the brokers of a test say of their cluster.
#[derive(Clone, Default)]
struct World(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    brokers: BTreeMap<i32, SocketAddr>,
    /// A code and the leaders of the partitions.
    topics: BTreeMap<String, (ErrorCode, Vec<i32>)>,
    asked: Vec<MetadataRequest>,
    /// How often the cluster was replaced by another.
    replaced: u32,
}

impl World {
    fn broker(&self) -> Scripted {
        self.broker_speaking(APIS)
    }

    fn broker_speaking(&self, apis: &[(i16, i16, i16)]) -> Scripted {
        let world = self.clone();
        Scripted::broker(apis, move |asked| world.reply(asked))
    }

    /// Starts a broker that is a node of the cluster.
    fn node(&self, id: i32) -> Scripted {
        let broker = self.broker();
        self.advertise(id, broker.address());
        broker
    }

    fn advertise(&self, id: i32, address: SocketAddr) {
        self.0.lock().unwrap().brokers.insert(id, address);
    }

    fn forget(&self, id: i32) {
        self.0.lock().unwrap().brokers.remove(&id);
    }

    fn topic(&self, name: &str, code: ErrorCode, leaders: &[i32]) {
        self.0.lock().unwrap().topics.insert(name.into(), (code, leaders.to_vec()));
    }

    fn asked(&self) -> Vec<MetadataRequest> {
        self.0.lock().unwrap().asked.clone()
    }

    fn reply(&self, asked: &Asked) -> Reply {
        match asked.key {
            MetadataRequest::KEY => {
                let request: MetadataRequest = asked.decode();
                let response = self.metadata(&request);
                self.0.lock().unwrap().asked.push(request);
                asked.reply::<MetadataRequest>(&response)
            }
            FindCoordinatorRequest::KEY => asked.reply::<FindCoordinatorRequest>(&self.coordinator(asked)),
            _ => Reply::Close,
        }
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let facts = self.0.lock().unwrap();
        let broker = |(id, address): (&i32, &SocketAddr)| MetadataResponseBroker {
            node_id: *id,
            host: address.ip().to_string(),
            port: address.port().into(),
            ..Default::default()
        };
        let topic = |name: &str| {
            let unknown = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Vec::new());
            let (code, leaders) = facts.topics.get(name).unwrap_or(&unknown);
            let partition = |(i, leader): (usize, &i32)| MetadataResponsePartition {
                partition_index: i as i32,
                leader_id: *leader,
                ..Default::default()
            };
            MetadataResponseTopic {
                error_code: code.0,
                name: Some(name.to_owned()),
                partitions: leaders.iter().enumerate().map(partition).collect(),
                ..Default::default()
            }
        };
        let names = request.topics.iter().flatten().filter_map(|t| t.name.as_deref());
        MetadataResponse {
            cluster_id: Some(format!("scripted{}", ".".repeat(facts.replaced as usize))),
            controller_id: 1,
            brokers: facts.brokers.iter().map(broker).collect(),
            topics: names.map(topic).collect(),
            ..Default::default()
        }
    }

    /// Node 3 coordinates everything, and is at 127.0.0.9:9 unless the test says otherwise.
    fn coordinator(&self, asked: &Asked) -> FindCoordinatorResponse {
        let request: FindCoordinatorRequest = asked.decode();
        let (node_id, host, port) = (3, "127.0.0.9".to_owned(), 9);
        let code = |key: &str| if key == "none" { ErrorCode::COORDINATOR_NOT_AVAILABLE.0 } else { 0 };
        if asked.version < 4 {
            let error_code = code(&request.key);
            return FindCoordinatorResponse { error_code, node_id, host, port, ..Default::default() };
        }
        let coordinators = request.coordinator_keys.iter().map(|key| Coordinator {
            key: key.clone(),
            error_code: code(key),
            node_id,
            host: host.clone(),
            port,
            ..Default::default()
        });
        FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() }
    }
}

fn builder(addresses: &[&dyn Display]) -> ClientBuilder {
    let list: Vec<String> = addresses.iter().map(|address| address.to_string()).collect();
    Client::builder()
        .bootstrap_servers(list.join(","))
        .connection_setup_timeout(LONG)
        .request_timeout(LONG)
        .reconnect_backoff(ms(20), ms(100))
        .retry_backoff(ms(20), ms(100))
}

fn connect(addresses: &[&dyn Display]) -> Client {
    builder(addresses).build().unwrap()
}

/// Waits until the client's view of the cluster is as wanted, without asking for it.
fn until(core: &Core, wanted: impl Fn(&super::Snapshot) -> bool) {
    let deadline = Deadline::after(LONG);
    while !wanted(&core.snapshot()) {
        assert!(!deadline.has_passed(), "{:?}", core.snapshot());
        std::thread::sleep(ms(5));
    }
}

/// Refreshes the metadata and waits for it.
fn refresh(core: &Core) {
    let generation = core.snapshot().generation;
    core.refresh_since(generation);
    until(core, |snapshot| snapshot.generation > generation);
}

/// One call to one node over a pooled connection.
fn call<R: Request>(core: &Core, node: i32, request: &R) -> Result<R::Response> {
    let deadline = Deadline::after(LONG);
    core.with_node(node, core.interrupt(), deadline, |connection| connection.call(request, deadline))
}

#[test]
fn c1_refused_bootstrap_addresses_do_no_harm() {
    let world = World::default();
    let broker = world.node(1);
    let start = Instant::now();
    let client = connect(&[&REFUSING, &"127.0.0.8:9", &broker.address()]);
    assert!(start.elapsed() < ms(1500), "{:?}", start.elapsed());
    assert_eq!(client.cluster_id().as_deref(), Some("scripted"));
}

#[test]
fn c2_if_all_refuse_the_error_names_all_of_them_at_the_limit() {
    let start = Instant::now();
    let error = builder(&[&REFUSING, &"127.0.0.8:9"]).connection_setup_timeout(ms(200)).build().unwrap_err();
    assert!((ms(200)..ms(1500)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains(REFUSING) && text.contains("127.0.0.8:9"), "{text}");
}

#[test]
fn c4_a_bootstrap_address_that_never_answers_leaves_time_for_the_next() {
    let world = World::default();
    let broker = world.node(1);
    let mute: Vec<Scripted> = (0..2).map(|_| Scripted::new(Session::fall_silent)).collect();
    let addresses: [&dyn Display; 3] = [&mute[0].address(), &mute[1].address(), &broker.address()];
    // In whatever order they are tried.
    for _ in 0..3 {
        builder(&addresses).connection_setup_timeout(ms(900)).build().unwrap();
    }
}

#[test]
fn c4_a_broker_that_falls_silent_does_not_stop_refreshes() {
    let world = World::default();
    let silent = Arc::new(Mutex::new(false));
    let (talking, falls_silent) = (world.clone(), silent.clone());
    let first =
        Scripted::broker(
            APIS,
            move |asked| {
                if *falls_silent.lock().unwrap() { Reply::Silence } else { talking.reply(asked) }
            },
        );
    world.advertise(1, first.address());
    let client = builder(&[&first.address()]).request_timeout(ms(1200)).build().unwrap();
    let second = world.node(2);
    refresh(client.core());
    *silent.lock().unwrap() = true;
    let start = Instant::now();
    refresh(client.core());
    assert!(start.elapsed() < ms(1100), "{:?}", start.elapsed());
    assert!(second.count(MetadataRequest::KEY) > 0);
}

#[test]
fn w3_no_kafka_broker_at_all_is_told_at_once() {
    let peer = Scripted::new(|session| {
        session.request();
        session.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let start = Instant::now();
    let error = builder(&[&peer.address()]).build().unwrap_err();
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("HTTP"), "{error}");
}

#[test]
fn only_topics_in_use_are_asked_for_and_only_producing_creates() {
    let world = World::default();
    let broker = world.node(1);
    world.topic("a", ErrorCode::NONE, &[1, 1]);
    world.topic("b", ErrorCode::NONE, &[1]);
    let client = connect(&[&broker.address()]);
    assert_eq!(client.partition_count("a").unwrap(), 2);
    let in_use = client.core().use_topic("b", true);
    until(client.core(), |snapshot| snapshot.topic("b").is_some());
    drop(in_use);
    refresh(client.core());
    assert!(client.core().snapshot().topic("b").is_none(), "forgotten with its last user");

    let asked = world.asked();
    let topics = |r: &MetadataRequest| -> Vec<String> {
        r.topics.as_ref().expect("never all").iter().map(|t| t.name.clone().unwrap()).collect()
    };
    assert_eq!(topics(&asked[0]), [""; 0], "the brokers, when connecting");
    assert_eq!(topics(asked.last().unwrap()), [""; 0]);
    for request in &asked {
        assert_eq!(request.allow_auto_topic_creation, topics(request) == ["b"], "{request:?}");
    }
}

#[test]
fn t1_an_unknown_topic_is_the_brokers_word_at_the_deadline() {
    let world = World::default();
    let broker = world.node(1);
    let client = builder(&[&broker.address()]).request_timeout(ms(400)).build().unwrap();
    let start = Instant::now();
    let error = client.partition_count("nowhere").unwrap_err();
    assert!((ms(400)..ms(1500)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(error.code(), Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
    assert_eq!(error.topic(), Some("nowhere"));
    let count = broker.count(MetadataRequest::KEY);
    assert!((2..=7).contains(&count), "{count} requests");
}

#[test]
fn t1_a_topic_that_appears_is_found_before_the_deadline() {
    let world = World::default();
    let broker = world.node(1);
    let client = connect(&[&broker.address()]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(ms(100));
            world.topic("late", ErrorCode::NONE, &[1, 1, 1]);
        });
        assert_eq!(client.partition_count("late").unwrap(), 3);
    });
}

#[test]
fn a_refused_topic_is_told_at_once_and_found_once_it_is_allowed() {
    let world = World::default();
    let broker = world.node(1);
    world.topic("secret", ErrorCode::TOPIC_AUTHORIZATION_FAILED, &[]);
    let client = connect(&[&broker.address()]);
    let start = Instant::now();
    let error = client.partition_count("secret").unwrap_err();
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
    assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some("secret")));
    world.topic("secret", ErrorCode::NONE, &[1]);
    assert_eq!(client.partition_count("secret").unwrap(), 1);
}

#[test]
fn b3_a_partition_without_leader_is_looked_at_again_unasked() {
    let world = World::default();
    let broker = world.node(1);
    world.topic("t", ErrorCode::NONE, &[-1]);
    let client = connect(&[&broker.address()]);
    let _in_use = client.core().use_topic("t", false);
    until(client.core(), |snapshot| snapshot.partition_count("t").is_some());
    assert_eq!(client.core().snapshot().leader("t", 0), None);
    world.topic("t", ErrorCode::NONE, &[1]);
    until(client.core(), |snapshot| snapshot.leader("t", 0).is_some());
    // Then there is no reason to ask any more.
    std::thread::sleep(ms(50));
    let settled = broker.count(MetadataRequest::KEY);
    std::thread::sleep(ms(250));
    assert_eq!(broker.count(MetadataRequest::KEY), settled);
}

#[test]
fn b13_a_cluster_whose_brokers_were_all_replaced_is_found_again() {
    let world = World::default();
    let seed = world.broker();
    let old = world.node(1);
    let client = connect(&[&seed.address()]);
    assert_eq!(client.core().snapshot().brokers.len(), 1);
    drop(old);
    seed.close_connections();
    world.forget(1);
    let _new = world.node(2);
    let start = Instant::now();
    refresh(client.core());
    assert!(start.elapsed() < ms(2000), "{:?}", start.elapsed());
    let nodes: Vec<i32> = client.core().snapshot().brokers.keys().copied().collect();
    assert_eq!(nodes, [2]);
}

#[test]
fn c16_an_unreachable_advertised_address_is_named_with_its_node() {
    let world = World::default();
    let seed = world.broker();
    world.advertise(5, REFUSING.parse().unwrap());
    let client = connect(&[&seed.address()]);
    let dialled = client.core().dial(5, client.core().interrupt(), Deadline::after(ms(100)));
    let error = dialled.unwrap_err();
    assert_eq!((error.broker(), error.address()), (Some(5), Some(REFUSING)));
    let error = client.core().dial(6, client.core().interrupt(), Deadline::after(ms(100))).unwrap_err();
    assert!(error.to_string().contains("broker 6 is not in the cluster's metadata"), "{error}");
}

#[test]
fn i22_a_loop_of_wishes_is_held_back_and_another_broker_is_asked_now_and_then() {
    let world = World::default();
    let broker = world.node(1);
    let client = connect(&[&broker.address()]);
    let end = Deadline::after(ms(1200));
    while !end.has_passed() {
        client.core().refresh_since(client.core().snapshot().generation);
        std::thread::sleep(ms(1));
    }
    let count = broker.count(MetadataRequest::KEY);
    assert!((6..=10).contains(&count), "{count} requests in 1.2 s");
    assert_eq!(broker.connections(), 2);
}

#[test]
fn a_topic_that_comes_into_use_does_not_wait_because_others_have_just_done_so() {
    const TOPICS: usize = 40;
    let world = World::default();
    let broker = world.node(1);
    let names: Vec<String> = (0..TOPICS).map(|i| format!("t{i}")).collect();
    names.iter().for_each(|name| world.topic(name, ErrorCode::NONE, &[1]));
    let client = connect(&[&broker.address()]);
    let start = Instant::now();
    for name in &names {
        assert_eq!(client.partition_count(name).unwrap(), 1);
    }
    // At five requests a second it would be eight.
    assert!(start.elapsed() < ms(4000), "{:?}", start.elapsed());
    assert!(broker.count(MetadataRequest::KEY) >= TOPICS);
    // What is no newcomer is held back as ever.
    let before = broker.count(MetadataRequest::KEY);
    let _in_use = client.core().use_topic("t0", false);
    let end = Deadline::after(ms(600));
    while !end.has_passed() {
        client.core().refresh_since(client.core().snapshot().generation);
        std::thread::sleep(ms(1));
    }
    let count = broker.count(MetadataRequest::KEY) - before;
    assert!((3..=8).contains(&count), "{count} requests in 0.6 s");
}

#[test]
fn the_interrupt_of_the_waiting_thread_ends_its_wait() {
    let world = World::default();
    let broker = world.node(1);
    let client = connect(&[&broker.address()]);
    let interrupt = Interrupt::new().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(ms(50));
            interrupt.trigger();
        });
        let start = Instant::now();
        let waited: Result<()> = client.core().wait_for(Deadline::after(LONG), &interrupt, "nothing", |_| Ok(None));
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Closed);
        assert!(start.elapsed() < ms(1500), "{:?}", start.elapsed());
    });
}

#[test]
fn coordinators_are_found_in_old_and_new_versions() {
    for highest in [0, 3, 4] {
        let world = World::default();
        let apis = [(MetadataRequest::KEY, 0, 12), (FindCoordinatorRequest::KEY, 0, highest)];
        let broker = world.broker_speaking(&apis);
        world.advertise(1, broker.address());
        let client = connect(&[&broker.address()]);
        let core = client.core();
        let find = |key| core.find_coordinator(key, CoordinatorType::Group, core.interrupt(), Deadline::after(LONG));
        assert_eq!(find("group").unwrap(), 3, "version {highest}");
        assert_eq!(core.peer(3).unwrap().address(), REFUSING, "not in the metadata yet, but known");
        let error = find("none").unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::COORDINATOR_NOT_AVAILABLE));
        assert!(error.is_retriable());
    }
}

#[test]
fn a_pooled_connection_is_used_again_and_replaced_once_it_is_dead() {
    let world = World::default();
    let seed = world.broker();
    let node = world.node(1);
    let client = connect(&[&seed.address()]);
    let core = client.core();
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    let call = || call(core, 1, &request).unwrap();
    call();
    call();
    assert_eq!(node.connections(), 1);
    node.close_connections();
    call();
    assert_eq!(node.connections(), 2);
}

#[test]
fn a_pooled_connection_that_dies_in_use_is_replaced() {
    let world = World::default();
    let seed = world.broker();
    let served = world.clone();
    // Each connection serves one request and ends at the second.
    let node = Scripted::new(move |session| {
        session.handshake(APIS);
        if let Some(asked) = session.request()
            && let Reply::Bytes(bytes) = served.reply(&asked)
        {
            session.write(&bytes);
        }
        session.request();
    });
    world.advertise(1, node.address());
    let client = connect(&[&seed.address()]);
    let core = client.core();
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    for _ in 0..3 {
        call(core, 1, &request).unwrap();
    }
    assert_eq!(node.connections(), 3);
}

#[test]
fn asking_any_broker_survives_one_that_hangs() {
    let world = World::default();
    let good = world.node(1);
    let mute = Scripted::broker(APIS, |_| Reply::Silence);
    world.advertise(2, mute.address());
    let client = connect(&[&good.address()]);
    let core = client.core();
    let request = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    // In whatever order they are tried.
    for _ in 0..4 {
        let asked = core.with_any(core.interrupt(), Deadline::after(ms(800)), |connection, deadline| {
            connection.call(&request, deadline)
        });
        assert_eq!(asked.unwrap().coordinators[0].node_id, 3);
    }
}

#[test]
fn dropping_the_last_clone_ends_the_thread_whatever_it_waits_for() {
    let world = World::default();
    let silent = Arc::new(Mutex::new(false));
    let (talking, falls_silent) = (world.clone(), silent.clone());
    let broker =
        Scripted::broker(
            APIS,
            move |asked| {
                if *falls_silent.lock().unwrap() { Reply::Silence } else { talking.reply(asked) }
            },
        );
    world.advertise(1, broker.address());
    let client = connect(&[&broker.address()]);
    let core = client.core().clone();
    let ended = core.listen();
    *silent.lock().unwrap() = true;
    core.refresh_since(core.snapshot().generation);
    while broker.count(MetadataRequest::KEY) < 2 {
        std::thread::sleep(ms(5));
    }
    drop(client.clone());
    assert!(!core.interrupt().is_triggered());
    let start = Instant::now();
    drop(client);
    assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
    // The token of the last refresh may be there; then nothing comes any more.
    let last = std::iter::from_fn(|| ended.recv_timeout(LONG).ok()).count();
    assert!(last <= 1);
    assert_eq!(ended.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected));
    let waited: Result<()> = core.wait_for(Deadline::after(LONG), core.interrupt(), "nothing", |_| Ok(None));
    assert_eq!(waited.unwrap_err().kind(), ErrorKind::Closed);
}
