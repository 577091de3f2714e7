//! Brokers on loopback ports that do with produce requests what a test's script says.

use crate::batch::{Decompressor, RecordBatches};
use crate::net::scripted::{Asked, Reply, Scripted};
use crate::protocol::Request;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use crate::protocol::messages::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use crate::{Client, ClientBuilder, ErrorCode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A batch as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// Producer id and epoch.
    pub(super) producer: (i64, i16),
    pub(super) sequence: i32,
    pub(super) values: Vec<String>,
}

/// A produce request as it came.
#[derive(Debug, Clone)]
pub(super) struct Produced {
    /// Counted from 0 over all brokers.
    pub(super) nth: usize,
    /// The broker: 1 and up.
    pub(super) node: i32,

    pub(super) batches: Vec<Got>,
}

/// What a broker does with a produce request.
pub(super) enum Act {
    /// Writes what it does not have yet and says where.
    Write,
    /// Writes, and ends the connection without an answer.
    WriteAndClose,
    Close,
    Silence,
    /// Refuses all batches with this code.
    Refuse(ErrorCode),
    /// Whatever the test makes up, given what `Write` would have answered.
    Answer(Box<dyn Fn(&mut ProduceResponse)>),
}

type Script = dyn Fn(&Produced, &Switch<'_>) -> Act + Send + Sync;

/// What is in a partition's log.
#[derive(Debug, Default)]
struct Log {
    values: Vec<String>,
    /// Base offsets by producer, epoch and sequence.
    known: HashMap<(i64, i16, i32), i64>,
}

struct State {
    ports: OnceLock<Vec<u16>>,
    leader: AtomicI32,
    partitions: i32,
    count: AtomicUsize,
    ids: AtomicI32,
    logs: Mutex<HashMap<(String, i32), Log>>,
    requests: Mutex<Vec<Produced>>,
    script: Box<Script>,
}

/// Moves the leader of all partitions.
pub(super) struct Switch<'a>(&'a AtomicI32);

impl Switch<'_> {
    pub(super) fn leader(&self, node: i32) {
        self.0.store(node, Ordering::SeqCst);
    }
}

pub(super) struct Cluster {
    brokers: Vec<Scripted>,
    state: Arc<State>,
}

impl Cluster {
    /// With this many brokers, of which the first leads all partitions of all topics. Topics whose names begin with
    /// `missing` do not exist, and those with `forbidden` may not be used.
    pub(super) fn new(
        brokers: i32,
        partitions: i32,
        script: impl Fn(&Produced, &Switch<'_>) -> Act + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(State {
            ports: OnceLock::new(),
            leader: AtomicI32::new(1),
            partitions,
            count: AtomicUsize::new(0),
            ids: AtomicI32::new(1000),
            logs: Mutex::default(),
            requests: Mutex::default(),
            script: Box::new(script),
        });
        const APIS: [(i16, i16, i16); 3] = [(0, 3, 13), (3, 0, 13), (22, 0, 5)];
        let start = |node: i32| {
            let state = state.clone();
            Scripted::broker(&APIS, move |asked| state.reply(node, asked))
        };
        let brokers: Vec<Scripted> = (1..=brokers).map(start).collect();
        state.ports.set(brokers.iter().map(|broker| broker.address().port()).collect()).unwrap();
        Self { brokers, state }
    }

    pub(super) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// A client of this cluster that does not wait for long.
    pub(super) fn builder(&self) -> ClientBuilder {
        let ms = Duration::from_millis;
        Client::builder()
            .bootstrap_servers(self.brokers[0].address().to_string())
            .request_timeout(ms(2000))
            .retry_backoff(ms(2), ms(10))
            .reconnect_backoff(ms(2), ms(10))
    }

    pub(super) fn set_leader(&self, node: i32) {
        self.state.leader.store(node, Ordering::SeqCst);
    }

    pub(super) fn log(&self, topic: &str, partition: i32) -> Vec<String> {
        let logs = self.state.logs.lock().unwrap();
        logs.get(&(topic.to_owned(), partition)).map(|log| log.values.clone()).unwrap_or_default()
    }

    pub(super) fn requests(&self) -> Vec<Produced> {
        self.state.requests.lock().unwrap().clone()
    }

    /// All batches that came, in their order.
    pub(super) fn batches(&self) -> Vec<Got> {
        self.requests().into_iter().flat_map(|request| request.batches).collect()
    }

    pub(super) fn wait_for_requests(&self, count: usize) {
        let start = Instant::now();
        while self.state.requests.lock().unwrap().len() < count {
            assert!(start.elapsed() < Duration::from_secs(5), "{count} requests never came");
            std::thread::yield_now();
        }
    }

    pub(super) fn close_connections(&self) {
        self.brokers.iter().for_each(Scripted::close_connections);
    }
}

impl State {
    fn reply(&self, node: i32, asked: &Asked) -> Reply {
        match asked.key {
            ProduceRequest::KEY => self.produce(node, asked),
            MetadataRequest::KEY => asked.reply::<MetadataRequest>(&self.metadata(&asked.decode())),
            InitProducerIdRequest::KEY => asked.reply::<InitProducerIdRequest>(&InitProducerIdResponse {
                producer_id: i64::from(self.ids.fetch_add(1, Ordering::SeqCst)),
                ..Default::default()
            }),
            _ => Reply::Close,
        }
    }

    fn metadata(&self, request: &MetadataRequest) -> MetadataResponse {
        let ports = self.ports.wait();
        let leader_id = self.leader.load(Ordering::SeqCst);
        let no_leader = if leader_id < 0 { ErrorCode::LEADER_NOT_AVAILABLE.0 } else { 0 };
        let partition = |partition_index| MetadataResponsePartition {
            error_code: no_leader,
            partition_index,
            leader_id,
            ..Default::default()
        };
        let topic = |name: &str| {
            let error_code = match name {
                _ if name.starts_with("missing") => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0,
                _ if name.starts_with("forbidden") => ErrorCode::TOPIC_AUTHORIZATION_FAILED.0,
                _ => 0,
            };
            let partitions = if error_code == 0 { (0..self.partitions).map(partition).collect() } else { Vec::new() };
            let (name, topic_id) = (Some(name.to_owned()), id_of(name));
            MetadataResponseTopic { error_code, name, topic_id, partitions, ..Default::default() }
        };
        MetadataResponse {
            brokers: (1..)
                .zip(ports)
                .map(|(node_id, port)| MetadataResponseBroker {
                    node_id,
                    host: "127.0.0.1".into(),
                    port: i32::from(*port),
                    ..Default::default()
                })
                .collect(),
            topics: request.topics.iter().flatten().filter_map(|t| t.name.as_deref()).map(topic).collect(),
            ..Default::default()
        }
    }

    fn produce(&self, node: i32, asked: &Asked) -> Reply {
        let request: ProduceRequest = asked.decode();
        let mut batches = Vec::new();
        for topic in &request.topic_data {
            let name = if topic.name.is_empty() { name_of(&topic.topic_id) } else { topic.name.clone() };
            for partition in &topic.partition_data {
                batches.push(got(&name, partition.index, partition.records.clone().unwrap()));
            }
        }
        let nth = self.count.fetch_add(1, Ordering::SeqCst);
        let produced = Produced { nth, node, batches };
        self.requests.lock().unwrap().push(produced.clone());
        let act = (self.script)(&produced, &Switch(&self.leader));
        let answer = |write: bool, code: ErrorCode| {
            let mut response = ProduceResponse::default();
            let mut batches = produced.batches.iter();
            for topic in &request.topic_data {
                let answer = |batch: &Got| PartitionProduceResponse {
                    index: batch.partition,
                    error_code: code.0,
                    base_offset: if write { self.write(batch) } else { -1 },
                    log_append_time_ms: -1,
                    ..Default::default()
                };
                response.responses.push(TopicProduceResponse {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partition_responses: batches.by_ref().take(topic.partition_data.len()).map(answer).collect(),
                });
            }
            response
        };
        let response = match act {
            Act::Close => return Reply::Close,
            Act::Silence => return Reply::Silence,
            Act::WriteAndClose => {
                answer(true, ErrorCode::NONE);
                return Reply::Close;
            }
            Act::Write => answer(true, ErrorCode::NONE),
            Act::Refuse(code) => answer(false, code),
            Act::Answer(change) => {
                let mut response = answer(true, ErrorCode::NONE);
                change(&mut response);
                response
            }
        };
        if request.acks == 0 { Reply::Silence } else { asked.reply::<ProduceRequest>(&response) }
    }

    fn write(&self, batch: &Got) -> i64 {
        let mut logs = self.logs.lock().unwrap();
        let log = logs.entry((batch.topic.clone(), batch.partition)).or_default();
        let base = log.values.len() as i64;
        let place = (batch.producer.0, batch.producer.1, batch.sequence);
        if batch.sequence >= 0
            && let Some(known) = log.known.get(&place)
        {
            return *known;
        }
        log.known.insert(place, base);
        log.values.extend(batch.values.iter().cloned());
        base
    }
}

fn got(topic: &str, partition: i32, bytes: bytes::Bytes) -> Got {
    let batch = RecordBatches::new(bytes).next().unwrap().unwrap();
    batch.verify_crc().unwrap();
    let decoded = batch.decode(&mut Decompressor::new(), 1 << 24).unwrap();
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    Got {
        topic: topic.to_owned(),
        partition,
        producer: (batch.producer_id(), batch.producer_epoch()),
        sequence: batch.base_sequence(),
        values: decoded.records().map(|record| text(record.unwrap().value())).collect(),
    }
}

/// The name itself, so that a request by id can be told apart.
fn id_of(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    let bytes = name.as_bytes();
    id[..bytes.len().min(16)].copy_from_slice(&bytes[..bytes.len().min(16)]);
    id
}

fn name_of(id: &[u8; 16]) -> String {
    String::from_utf8_lossy(id).trim_end_matches('\0').to_owned()
}
