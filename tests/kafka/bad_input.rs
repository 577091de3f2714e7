//! Wrong addresses, broken and silent peers, impossible settings and records: each gives an error that says what is
//! wrong, by the deadline that was set, and nothing that was lost meanwhile is passed over.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sarameya::{
    Acks, Client, ClientBuilder, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupSession, Error, ErrorCode, ErrorKind,
    PartitionConsumer, Producer, ProducerRecord, Properties, SendError, StartOffset, SyncProducer,
};

use crate::support::kafka::{Cluster, Version};
use crate::support::scripted::{Reply, Request, ScriptedBroker};
use crate::support::wire::{Cursor, put_count, put_string};
use crate::support::{lock, ports, unique};

const PRODUCE: i16 = 0;
const FETCH: i16 = 1;
const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;
/// What is offered is as old as is allowed, so that answers written by hand are short.
const OFFERED: [(i16, i16, i16); 5] =
    [(PRODUCE, 3, 3), (FETCH, 4, 4), (METADATA, 4, 4), (FIND_COORDINATOR, 0, 0), (API_VERSIONS, 0, 3)];
/// A code that no Kafka has.
const UNKNOWN: i16 = 9999;
const TOPIC: &str = "scripted";

const SETUP_LIMIT: Duration = Duration::from_millis(600);
const REQUEST_LIMIT: Duration = Duration::from_millis(300);
const DELIVERY_LIMIT: Duration = Duration::from_millis(1200);
/// What a loaded machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(4);

/// A way to answer wrongly, and the kinds of errors a caller may get from it.
type Fault = (&'static str, fn() -> Vec<Reply>, &'static [ErrorKind]);

/// What may sit behind a port, or become of a broker.
const FAULTS: [Fault; 11] = [
    ("http", http, PROTOCOL),
    ("tls", tls_alert, PROTOCOL),
    ("garbage", || vec![Reply::Raw((0..=255).rev().cycle().take(4096).collect())], PROTOCOL),
    ("length -1", || vec![Reply::Raw((-1i32).to_be_bytes().to_vec())], PROTOCOL),
    ("length 0", || vec![Reply::Raw(vec![0; 4])], PROTOCOL),
    ("length of 2 GiB", || vec![Reply::Raw(i32::MAX.to_be_bytes().to_vec())], TOO_LARGE),
    ("correlation id", || vec![Reply::Frame([0x7e; 64].to_vec())], PROTOCOL),
    ("truncated", || vec![Reply::Body(vec![0])], PROTOCOL),
    ("closed", || vec![Reply::Close], &[ErrorKind::Network, ErrorKind::Timeout]),
    ("silent", || vec![Reply::Hang], &[ErrorKind::Timeout]),
    ("dripping", drip, &[ErrorKind::Timeout]),
];
const PROTOCOL: &[ErrorKind] = &[ErrorKind::Protocol];
/// The only one that asking again does not help against: an answer that this client will not take.
const TOO_LARGE: &[ErrorKind] = &[ErrorKind::TooLarge];

fn http() -> Vec<Reply> {
    vec![Reply::Raw(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec()), Reply::Close]
}

/// What a TLS listener says to one who does not speak it: alert, version 1.2, two bytes: fatal, unexpected message.
fn tls_alert() -> Vec<Reply> {
    vec![Reply::Raw(vec![21, 3, 3, 0, 2, 2, 10]), Reply::Close]
}

/// A frame that is well begun and comes so slowly that a limit per read would never end it.
fn drip() -> Vec<Reply> {
    let bytes = [0u8, 0, 1, 0].into_iter().chain([0; 256]);
    bytes.flat_map(|byte| [Reply::Raw(vec![byte]), Reply::Delay(Duration::from_millis(100))]).collect()
}

/// Runs `call`, which must be back by `limit`.
#[track_caller]
fn within<T>(what: &str, limit: Duration, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = call();
    assert!(start.elapsed() < limit + SLACK, "{what}: back after {:?}, not within {limit:?}", start.elapsed());
    outcome
}

fn quick() -> ClientBuilder {
    let (pause, longest) = (Duration::from_millis(10), Duration::from_millis(50));
    Client::builder()
        .connection_setup_timeout(SETUP_LIMIT)
        .request_timeout(REQUEST_LIMIT)
        .reconnect_backoff(pause, longest)
        .retry_backoff(pause, longest)
}

/// For each fault on a thread of its own, since most of them last until a deadline.
fn for_each_fault(check: impl Fn(Fault) + Sync) {
    std::thread::scope(|scope| {
        for fault in FAULTS {
            let check = &check;
            std::thread::Builder::new()
                .name(fault.0.to_owned())
                .spawn_scoped(scope, move || check(fault))
                .expect("a thread");
        }
    });
}

#[test]
fn a_refused_connection_names_all_addresses() {
    let addresses: Vec<String> = ports::free(2).iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let error = within("connect", SETUP_LIMIT, || quick().bootstrap_servers(addresses.join(",")).build());
    let error = error.expect_err("nobody listens");
    assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::Timeout), "{error:?}");
    for address in &addresses {
        assert!(error.to_string().contains(address), "{address} in {error}");
    }
}

#[test]
fn what_is_no_kafka_broker_is_refused_by_address() {
    for_each_fault(|(name, replies, kinds)| {
        let peer = ScriptedBroker::start(move |_| replies());
        let error = within(name, SETUP_LIMIT, || quick().bootstrap_servers(peer.bootstrap()).build());
        let error = error.expect_err("no broker");
        assert!(kinds.contains(&error.kind()), "{name}: {error:?}");
        assert!(error.to_string().contains(&peer.bootstrap()), "{name}: {error}");
        if ["http", "tls"].contains(&name) {
            assert!(error.to_string().contains(&name.to_uppercase()), "not said what it looks like: {error}");
        }
    });
}

/// A broker that keeps the batches it is sent for the one partition of [`TOPIC`] and hands them out again, and answers
/// one API wrongly for as long as a test wants.
struct Broker {
    scripted: ScriptedBroker,
    state: Arc<Mutex<State>>,
}

type Script = Arc<dyn Fn(&Request) -> Vec<Reply> + Send + Sync>;

#[derive(Default)]
struct State {
    /// Each of one record.
    batches: Vec<Vec<u8>>,
    wrong: Option<(i16, Script)>,
    topic_error: i16,
}

impl Broker {
    fn start() -> Self {
        let scripted = ScriptedBroker::start(|_| vec![Reply::Close]);
        let state = Arc::<Mutex<State>>::default();
        let (address, shared) = (scripted.address(), Arc::clone(&state));
        scripted.set_script(move |request| {
            let wrong = lock(&shared).wrong.clone();
            match wrong {
                Some((api, answer)) if api == request.api_key => answer(request),
                _ => answer(request, address, &mut lock(&shared)),
            }
        });
        Self { scripted, state }
    }

    fn client(&self) -> Client {
        quick().bootstrap_servers(self.scripted.bootstrap()).build().expect("a client")
    }

    fn break_api(&self, api: i16, answer: impl Fn(&Request) -> Vec<Reply> + Send + Sync + 'static) {
        lock(&self.state).wrong = Some((api, Arc::new(answer)));
    }

    /// Answers well from now on. Connections that are at a fault's replies end.
    fn heal(&self) {
        lock(&self.state).wrong = None;
        self.scripted.reset_all();
    }

    /// How many batches hold this value.
    fn holding(&self, value: &[u8]) -> usize {
        let holds = |batch: &&Vec<u8>| batch.windows(value.len()).any(|bytes| bytes == value);
        lock(&self.state).batches.iter().filter(holds).count()
    }

    fn write(&self, values: std::ops::Range<usize>) {
        let client = self.client();
        let producer = unrepeated(&client).build_sync().expect("a producer");
        for value in values {
            producer.send(&ProducerRecord::new(TOPIC).value(&value.to_string())).expect("a send");
        }
    }
}

/// A producer that needs no id from the broker.
fn unrepeated(client: &Client) -> sarameya::ProducerBuilder {
    SyncProducer::builder(client).idempotence(false).delivery_timeout(DELIVERY_LIMIT).max_block(DELIVERY_LIMIT)
}

fn answer(request: &Request, address: SocketAddr, state: &mut State) -> Vec<Reply> {
    let body = match request.api_key {
        API_VERSIONS => return vec![request.api_versions(&OFFERED)],
        METADATA => metadata(address, state.topic_error),
        PRODUCE => {
            let base = state.batches.len();
            state.batches.push(batch_of(request));
            produced(0, i64::try_from(base).expect("few"))
        }
        FETCH => fetched(0, offset_of(request), &state.batches),
        // No coordinator yet.
        FIND_COORDINATOR => coordinator(15),
        _ => return vec![Reply::Close],
    };
    // A fetch that finds nothing would otherwise come again at once.
    vec![Reply::Delay(Duration::from_millis(10)), Reply::Body(body)]
}

/// Metadata version 4, with one topic.
fn metadata(address: SocketAddr, topic_error: i16) -> Vec<u8> {
    let mut body = 0i32.to_be_bytes().to_vec();
    put_count(&mut body, 1);
    body.extend(1i32.to_be_bytes());
    put_string(&mut body, &address.ip().to_string());
    body.extend(i32::from(address.port()).to_be_bytes());
    body.extend((-1i16).to_be_bytes()); // rack
    put_string(&mut body, "scripted-cluster");
    body.extend(1i32.to_be_bytes()); // controller
    put_count(&mut body, 1);
    body.extend(topic_error.to_be_bytes());
    put_string(&mut body, TOPIC);
    body.push(0);
    put_count(&mut body, usize::from(topic_error == 0));
    if topic_error == 0 {
        body.extend([0; 2]); // error
        body.extend(0i32.to_be_bytes());
        body.extend(1i32.to_be_bytes()); // leader
        for _ in ["replicas", "in sync"] {
            put_count(&mut body, 1);
            body.extend(1i32.to_be_bytes());
        }
    }
    body
}

/// The bytes of the batch in a Produce request of version 3.
fn batch_of(request: &Request) -> Vec<u8> {
    let mut rest = Cursor(&request.body);
    rest.string().expect("a transactional id");
    rest.bytes(2 + 4 + 4).expect("acks, timeout, topics");
    rest.string().expect("a topic");
    rest.bytes(4 + 4).expect("partitions, index");
    let length = rest.i32().expect("a length");
    rest.bytes(usize::try_from(length).expect("a length")).expect("records").to_vec()
}

/// The offset in a Fetch request of version 4 for one partition.
fn offset_of(request: &Request) -> usize {
    let mut rest = Cursor(&request.body);
    rest.bytes(4 + 4 + 4 + 4 + 1 + 4).expect("replica, wait, bytes, isolation, topics");
    rest.string().expect("a topic");
    rest.bytes(4 + 4).expect("partitions, index");
    let offset = i64::from_be_bytes(rest.bytes(8).expect("an offset").try_into().expect("eight bytes"));
    usize::try_from(offset).expect("an offset")
}

/// An answer to Produce version 3.
fn produced(error: i16, offset: i64) -> Vec<u8> {
    let mut body = one_partition();
    body.extend(error.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend((-1i64).to_be_bytes()); // append time
    body.extend(0i32.to_be_bytes()); // throttle time
    body
}

/// An answer to Fetch version 4 with all batches from an offset on.
fn fetched(error: i16, from: usize, batches: &[Vec<u8>]) -> Vec<u8> {
    let mut records = Vec::new();
    for (offset, batch) in batches.iter().enumerate().skip(from) {
        // As a broker does: it gives the batch its offset, which the checksum does not cover.
        records.extend(i64::try_from(offset).expect("few").to_be_bytes());
        records.extend(&batch[8..]);
    }
    let mut body = 0i32.to_be_bytes().to_vec(); // throttle time
    body.extend(one_partition());
    body.extend(error.to_be_bytes());
    for _ in ["high watermark", "last stable offset"] {
        body.extend(i64::try_from(batches.len()).expect("few").to_be_bytes());
    }
    body.extend((-1i32).to_be_bytes()); // no aborted transactions
    body.extend(i32::try_from(records.len()).expect("few").to_be_bytes());
    body.extend(records);
    body
}

/// One topic, one partition, its index.
fn one_partition() -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_string(&mut body, TOPIC);
    put_count(&mut body, 1);
    body.extend(0i32.to_be_bytes());
    body
}

/// An answer to FindCoordinator version 0.
fn coordinator(error: i16) -> Vec<u8> {
    let mut body = error.to_be_bytes().to_vec();
    body.extend((-1i32).to_be_bytes());
    put_string(&mut body, "");
    body.extend((-1i32).to_be_bytes());
    body
}

#[test]
fn a_send_that_is_answered_wrongly_fails_by_its_deadline() {
    for_each_fault(|(name, replies, _)| {
        let broker = Broker::start();
        let client = broker.client();
        let producer = unrepeated(&client).build_sync().expect("a producer");
        broker.break_api(PRODUCE, move |_| replies());
        let record = ProducerRecord::new(TOPIC).value("lost?");
        let error = within(name, DELIVERY_LIMIT, || producer.send(&record)).expect_err("no answer");
        // The request went out, and who knows what became of it.
        assert!(matches!(error, SendError::PossiblyPersisted(_)), "{name}: {error:?}");
        names_the_partition(name, error.error());

        broker.heal();
        let healthy = ProducerRecord::new(TOPIC).value("healthy");
        within(name, DELIVERY_LIMIT, || producer.send(&healthy)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(broker.holding(b"healthy"), 1, "{name}");
        // An attempt that was on its way at the record's deadline may have met the healed broker: that is what "possibly"
        // says.
        assert!(broker.holding(b"lost?") <= 1, "{name}");
        within(name, SLACK, || producer.close(SLACK)).expect("closed");
    });
}

#[track_caller]
fn names_the_partition(what: &str, error: &Error) {
    assert_eq!((error.topic(), error.partition()), (Some(TOPIC), Some(0)), "{what}: {error:?}");
}

#[test]
fn a_fetch_that_is_answered_wrongly_skips_nothing() {
    for_each_fault(|(name, replies, kinds)| {
        let broker = Broker::start();
        broker.write(0..3);
        let client = broker.client();
        broker.break_api(FETCH, move |_| replies());
        let builder = PartitionConsumer::builder(&client, TOPIC, 0).start(StartOffset::Offset(1));
        let mut consumer = builder.build().expect("a consumer");
        if kinds == TOO_LARGE {
            let error = within(name, SLACK, || consumer.next(SLACK)).expect_err("no records");
            assert_eq!((error.kind(), error.setting()), (ErrorKind::TooLarge, Some("receive.message.max.bytes")));
            names_the_partition(name, &error);
            assert!(consumer.is_stopped(), "{name}");
            assert_eq!(consumer.position(), Some(1), "{name}");
            return;
        }
        let patience = Duration::from_millis(800);
        match within(name, patience, || consumer.next(patience)) {
            Ok(None) => {}
            Ok(Some(record)) => panic!("{name}: {record:?}"),
            Err(error) => names_the_partition(name, &error),
        }
        assert!(!consumer.is_stopped(), "{name}");

        broker.heal();
        let mut offsets = Vec::new();
        let deadline = Instant::now() + SLACK;
        while offsets.len() < 2 && Instant::now() < deadline {
            // What was met before the broker was well may still be told.
            if let Ok(Some(record)) = consumer.next(SLACK) {
                offsets.push((record.offset(), record.value().map(<[u8]>::to_vec)));
            }
        }
        assert_eq!(offsets, [(1, Some(b"1".to_vec())), (2, Some(b"2".to_vec()))], "{name}");
        within(name, SLACK, || consumer.close(SLACK)).expect("closed");
    });
}

#[test]
fn an_error_code_that_nobody_knows_keeps_its_number() {
    let broker = Broker::start();
    let client = broker.client();
    let producer = unrepeated(&client).build_sync().expect("a producer");

    broker.break_api(PRODUCE, |_| vec![Reply::Body(produced(UNKNOWN, -1))]);
    let record = ProducerRecord::new(TOPIC).value("refused");
    let error = within("produce", DELIVERY_LIMIT, || producer.send(&record)).expect_err("refused");
    assert_eq!(
        (error.error().kind(), error.error().code()),
        (ErrorKind::Broker, Some(ErrorCode(UNKNOWN))),
        "{error:?}"
    );
    names_the_partition("produce", error.error());

    broker.heal();
    broker.write(0..1);
    broker.break_api(FETCH, |_| vec![Reply::Body(fetched(UNKNOWN, 0, &[]))]);
    let builder = PartitionConsumer::builder(&client, TOPIC, 0).start(StartOffset::Offset(0));
    let mut consumer = builder.build().expect("a consumer");
    let error = within("fetch", SLACK, || consumer.next(SLACK)).expect_err("refused");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Broker, Some(ErrorCode(UNKNOWN))), "{error:?}");
    names_the_partition("fetch", &error);
    assert!(error.to_string().contains("9999"), "{error}");
    // It may pass, and then nothing has been skipped.
    broker.heal();
    let record = std::iter::from_fn(|| Some(consumer.next(SLACK))).take(20).find_map(|next| next.ok().flatten());
    assert_eq!(record.expect("the record").offset(), 0);

    lock(&broker.state).topic_error = UNKNOWN;
    let client = broker.client();
    let error = within("metadata", REQUEST_LIMIT, || client.partition_count(TOPIC)).expect_err("refused");
    assert_eq!((error.code(), error.topic()), (Some(ErrorCode(UNKNOWN)), Some(TOPIC)), "{error:?}");
    let producer = unrepeated(&client).build_sync().expect("a producer");
    let error = within("send", DELIVERY_LIMIT, || producer.send(&ProducerRecord::new(TOPIC))).expect_err("refused");
    assert!(matches!(error, SendError::NotPersisted(_)), "{error:?}");
    assert_eq!((error.error().code(), error.error().topic()), (Some(ErrorCode(UNKNOWN)), Some(TOPIC)), "{error:?}");
    let error = PartitionConsumer::builder(&client, TOPIC, 0).build().expect_err("refused");
    assert_eq!((error.code(), error.topic()), (Some(ErrorCode(UNKNOWN)), Some(TOPIC)), "{error:?}");
}

/// Takes no records.
fn ignore(_: &ConsumerGroupSession, _: &mut ConsumerGroupClaim) -> sarameya::HandlerResult {
    Ok(())
}

#[test]
fn a_group_whose_coordinator_is_answered_wrongly_goes_on_until_it_is_stopped() {
    for_each_fault(|(name, replies, kinds)| {
        let broker = Broker::start();
        let client = broker.client();
        broker.break_api(FIND_COORDINATOR, move |_| replies());
        let builder = ConsumerGroup::builder(&client, "scripted-group").close_timeout(Duration::from_secs(1));
        let mut group = builder.build().expect("a group");
        if kinds == TOO_LARGE {
            let error = within(name, SLACK, || group.consume(&[TOPIC], &ignore)).expect_err("no coordinator");
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{error:?}");
            assert_eq!(error.address(), Some(broker.scripted.bootstrap().as_str()), "{error:?}");
            return;
        }
        let stop = group.stop_handle();
        std::thread::scope(|scope| {
            let consuming = scope.spawn(|| group.consume(&[TOPIC], &ignore));
            broker.scripted.wait_requests(FIND_COORDINATOR, 2, SLACK);
            assert!(!consuming.is_finished(), "{name}");
            within(name, Duration::from_secs(1), || stop.stop_and_wait(SLACK))
                .unwrap_or_else(|e| panic!("{name}: {e}"));
            consuming.join().expect("no panic").unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    });
}

#[test]
fn a_refused_setting_is_named() {
    let broker = Broker::start();
    let client = broker.client();
    let named = |setting: &str, error: Error| {
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)), "{error:?}");
        assert!(error.to_string().contains(setting), "{error}");
    };
    let producer = || Producer::builder(&client);
    for (setting, builder) in [
        ("enable.idempotence", producer().idempotence(true).acks(Acks::Leader)),
        ("enable.idempotence", producer().idempotence(true).max_in_flight(6)),
        ("enable.idempotence", producer().idempotence(true).retries(0)),
        ("delivery.timeout.ms", producer().linger(DELIVERY_LIMIT).delivery_timeout(DELIVERY_LIMIT)),
        ("buffer.memory", producer().batch_size(2 << 20).buffer_memory(2 << 19)),
        ("batch.size", producer().batch_size(0)),
        ("max.request.size", producer().max_request_size((1 << 30) + 1)),
        ("max.in.flight.requests.per.connection", producer().max_in_flight(0)),
    ] {
        named(setting, builder.build().expect_err(setting));
    }
    let group = || ConsumerGroup::builder(&client, "settings");
    let second = Duration::from_secs(1);
    for (setting, builder) in [
        ("heartbeat.interval.ms", group().session_timeout(second).heartbeat_interval(second)),
        ("heartbeat.interval.ms", group().heartbeat_interval(Duration::ZERO)),
        ("max.poll.interval.ms", group().rebalance_timeout(Duration::ZERO)),
        ("auto.commit.interval.ms", group().auto_commit_interval(Duration::ZERO)),
        ("partition.assignment.strategy", group().assignors(Vec::new())),
        ("group.instance.id", group().group_instance_id("no spaces")),
        ("group.id", ConsumerGroup::builder(&client, "")),
    ] {
        named(setting, builder.build().expect_err(setting));
    }
    for (setting, builder) in [
        ("bootstrap.servers", Client::builder()),
        ("bootstrap.servers", quick().bootstrap_servers("no-port")),
        ("bootstrap.servers", quick().bootstrap_servers("host:70000")),
        ("request.timeout.ms", quick().bootstrap_servers("localhost:1").request_timeout(Duration::ZERO)),
        ("retry.backoff.max.ms", quick().bootstrap_servers("localhost:1").retry_backoff(second, second / 2)),
    ] {
        named(setting, builder.build().expect_err(setting));
    }
}

#[test]
fn a_property_that_nobody_knows_is_an_error_and_one_without_effect_is_listed() {
    let error = "client.id=x\nlinger.msec=5\n".parse::<Properties>().expect_err("a wrong name");
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some("linger.msec")), "{error:?}");
    let error = Properties::new().set("Linger.ms", "5").expect_err("a wrong name");
    assert_eq!(error.setting(), Some("Linger.ms"));

    let text = "linger.ms=5\nkey.serializer=X\nclient.dns.lookup=x\nacks=all\nmetric.reporters=x\n";
    let properties: Properties = text.parse().expect("Kafka's names");
    assert_eq!(properties.unused().collect::<Vec<_>>(), ["client.dns.lookup", "key.serializer", "metric.reporters"]);

    let broker = Broker::start();
    let client = broker.client();
    for (name, value) in [
        ("linger.ms", "soon"),
        ("linger.ms", "-1"),
        ("acks", "2"),
        ("enable.idempotence", "maybe"),
        ("compression.type", "brotli"),
        ("batch.size", "99999999999999999999"),
        ("partitioner.class", "com.example.Partitioner"),
    ] {
        let mut properties = Properties::new();
        properties.set(name, value).expect("a name");
        let error = Producer::builder(&client).properties(&properties).expect_err(name);
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(name)), "{error:?}");
    }
    // A protocol that there is not, and two that need more than their name.
    for (protocol, setting) in
        [("anything", "security.protocol"), ("SASL_PLAINTEXT", "sasl.mechanism"), ("sasl_ssl", "sasl.mechanism")]
    {
        let mut properties = Properties::new();
        properties.set("security.protocol", protocol).expect("a name");
        let error = Client::builder().properties(&properties).expect_err(protocol);
        assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some(setting)), "{error:?}");
    }
    let mut properties = Properties::new();
    properties.set("security.protocol", "plaintext").expect("a name");
    drop(Client::builder().properties(&properties).expect("what it does have"));
}

#[test]
fn kafka_4_3_0_a_topic_that_is_not_there_is_named() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("absent");
    // Time enough for brokers that are busy to say once that there is no such topic.
    let limit = Duration::from_secs(10);
    let builder = Client::builder().bootstrap_servers(cluster.bootstrap()).allow_auto_create_topics(false);
    let client = builder.request_timeout(limit).build().expect("a client");
    let unknown = |error: &Error| {
        let (code, named) = (Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Some(topic.as_str()));
        assert_eq!((error.code(), error.topic()), (code, named), "{error:?}");
    };
    let producer = SyncProducer::builder(&client).max_block(limit).build_sync().expect("a producer");
    let error = within("send", limit, || producer.send(&ProducerRecord::new(&topic).value("x"))).expect_err("no topic");
    assert!(matches!(error, SendError::NotPersisted(_)), "{error:?}");
    unknown(error.error());
    unknown(&within("count", limit, || client.partition_count(&topic)).expect_err("no topic"));
    unknown(
        &within("consume", limit, || PartitionConsumer::builder(&client, &topic, 0).build()).expect_err("no topic"),
    );
    assert!(!cluster.tools().topics(&["--list"]).lines().any(|line| line == topic), "asking has created it");
}

#[test]
fn kafka_4_3_0_a_record_or_partition_that_does_not_fit_is_refused() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("small");
    cluster.create_topic_with(&topic, 2, 1, &[("max.message.bytes", "1000")]);
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let producer = SyncProducer::builder(&client).max_request_size(5000).build_sync().expect("a producer");
    // Far less than a delivery may take.
    let soon = Duration::from_secs(40);
    let refused = |what: &str, record: &ProducerRecord<'_>, kind: ErrorKind| {
        let error = within(what, soon, || producer.send(record)).expect_err(what);
        assert!(matches!(error, SendError::NotPersisted(_)), "{what}: {error:?}");
        assert_eq!((error.error().kind(), error.error().topic()), (kind, Some(topic.as_str())), "{what}: {error:?}");
        error.error().clone()
    };
    let large = vec![b'x'; 6000];
    let ours = refused("our limit", &ProducerRecord::new(&topic).value(&large), ErrorKind::TooLarge);
    assert_eq!((ours.code(), ours.setting()), (None, Some("max.request.size")), "{ours:?}");
    let record = ProducerRecord::new(&topic).partition(1).value(&large[..2000]);
    let theirs = refused("the topic's limit", &record, ErrorKind::TooLarge);
    assert_eq!((theirs.code(), theirs.partition()), (Some(ErrorCode::MESSAGE_TOO_LARGE), Some(1)), "{theirs:?}");

    for partition in [2, -1, i32::MAX] {
        refused(
            "a partition",
            &ProducerRecord::new(&topic).partition(partition).value("x"),
            ErrorKind::InvalidArgument,
        );
        let error = PartitionConsumer::builder(&client, &topic, partition).build().expect_err("no such partition");
        assert_eq!((error.kind(), error.topic()), (ErrorKind::InvalidArgument, Some(topic.as_str())), "{error:?}");
    }
    // None of it stands in the way of what fits.
    for partition in [0, 1] {
        let record = ProducerRecord::new(&topic).partition(partition).value("fits");
        assert_eq!(producer.send(&record).expect("a send").offset(), Some(0));
    }
}
