//! Records what real brokers and clients say to each other, for the corpus in `fuzz/corpus`. It runs only when asked for:
//!
//! ```text
//! cargo test --test kafka -- --ignored records_the_corpus
//! ```
//!
//! Files named `kafka-…` are replaced. What others in the folders are stays.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sarameya::admin::*;
use sarameya::batch::Compression;
use sarameya::protocol::messages::ApiKey;
use sarameya::protocol::messages::fetch::FetchResponse;
use sarameya::protocol::messages::join_group::JoinGroupResponse;
use sarameya::protocol::messages::sync_group::SyncGroupResponse;
use sarameya::protocol::{Api, Writer};
use sarameya::{Client, ProducerRecord, SyncProducer};

use crate::support::kafka::{Cluster, ClusterOptions, Version};
use crate::support::proxy::{Action, Direction, Frame};
use crate::support::{heavy, lock, say, wait_until, wire};

/// Of each API, version and direction, the shortest and the longest one up to this size is kept.
const MOST_BYTES: usize = 3000;
const TOPIC: &str = "captured";
const GROUP: &str = "captured-group";
const LIMIT: Duration = Duration::from_secs(60);

/// Requests and answers without their lengths, by direction, API and version, and the group's blobs and the batches in them.
#[derive(Default)]
struct Captured {
    frames: BTreeMap<(bool, i16, i16), BTreeSet<Vec<u8>>>,
    blobs: BTreeSet<Vec<u8>>,
    batches: BTreeSet<Vec<u8>>,
    /// The answers of one connection, as they came over the wire.
    stream: Vec<u8>,
}

#[test]
#[ignore = "writes into fuzz/corpus"]
fn records_the_corpus() {
    require_kafka!();
    let _alone = heavy();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in ["responses", "requests", "groups", "batches", "frames"] {
        let files = fs::read_dir(folder.join(target)).into_iter().flatten().filter_map(Result::ok);
        let recorded = files
            .map(|file| file.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kafka-")));
        recorded.for_each(|path| fs::remove_file(path).expect("an old capture"));
    }
    for version in [Version::V4_3_0, Version::V2_5_1] {
        let cluster = Cluster::start(&ClusterOptions::new(version).proxied());
        let captured = Arc::new(Mutex::new(Captured::default()));
        let recorder = Arc::clone(&captured);
        cluster.proxy(1).on_frame(move |frame| {
            lock(&recorder).add(frame);
            Action::Forward
        });
        our_traffic(&cluster);
        javas_traffic(&cluster);
        let mut captured = std::mem::take(&mut *lock(&captured));
        captured.ask_in_other_versions(cluster.addresses()[0]);
        captured.write(&folder, version);
    }
}

impl Captured {
    fn add(&mut self, frame: &Frame) {
        let bytes = &frame.bytes[4..];
        let key = (frame.api_key, frame.api_version);
        if frame.direction == Direction::Response && frame.connection == 1 && self.stream.len() < MOST_BYTES {
            self.stream.extend(&frame.bytes);
        }
        self.keep(frame.direction, key, bytes);
    }

    fn keep(&mut self, direction: Direction, (key, version): (i16, i16), bytes: &[u8]) {
        let is_response = direction == Direction::Response;
        if is_response {
            self.look_into(key, version, bytes);
        }
        if bytes.len() <= MOST_BYTES {
            self.frames.entry((is_response, key, version)).or_default().insert(bytes.to_vec());
        }
    }

    /// Keeps what is opaque in an answer and has a target of its own.
    fn look_into(&mut self, key: i16, version: i16, frame: &[u8]) {
        let Ok(api) = Api::find(ApiKey(key)) else { return };
        let header = 4 + usize::from(version >= api.flexible_version && api.key != ApiKey::API_VERSIONS);
        let Some(body) = frame.get(header..) else { return };
        let Ok(message) = api.decode_response(version, Bytes::copy_from_slice(body)) else { return };
        let message = match message.into_any().downcast::<FetchResponse>() {
            Ok(fetch) => {
                let partitions = fetch.responses.into_iter().flat_map(|topic| topic.partitions);
                let records = partitions.filter_map(|partition| partition.records).map(Vec::from);
                self.batches.extend(records.filter(|records| !records.is_empty() && records.len() <= MOST_BYTES));
                return;
            }
            Err(message) => message,
        };
        match message.downcast::<JoinGroupResponse>() {
            Ok(join) => {
                let members = join.members.into_iter().map(|member| with_length(&member.metadata));
                self.blobs.insert(members.collect::<Vec<_>>().concat());
            }
            Err(message) => {
                if let Ok(sync) = message.downcast::<SyncGroupResponse>() {
                    self.blobs.insert(with_length(&sync.assignment));
                }
            }
        }
        self.blobs.remove(&Vec::new());
    }

    /// Puts what was asked in all other versions that both sides know.
    fn ask_in_other_versions(&mut self, address: SocketAddr) {
        let asked: Vec<_> = self.frames.iter().filter(|((is_response, ..), _)| !is_response).collect();
        let mut more = Vec::new();
        for (&(_, key, version), requests) in asked {
            let Ok(api) = Api::find(ApiKey(key)) else { continue };
            let Some(request) = requests.iter().max_by_key(|request| request.len()) else { continue };
            for other in (api.min_version..=api.max_version).filter(|other| *other != version) {
                if let Some((request, answer)) = ask(address, api, (version, other), request) {
                    more.push((Direction::Request, (key, other), request));
                    more.push((Direction::Response, (key, other), answer));
                }
            }
        }
        more.iter().for_each(|(direction, key, bytes)| self.keep(*direction, *key, bytes));
    }

    fn write(self, folder: &Path, version: Version) {
        let kafka = format!("kafka-{}", version.as_str());
        let mut files = 0;
        let mut write = |target: &str, name: &str, bytes: Vec<u8>| {
            let path: PathBuf = folder.join(target).join(format!("{kafka}-{name}"));
            fs::create_dir_all(folder.join(target)).expect("a folder");
            fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files += 1;
        };
        for ((is_response, key, version), all) in self.frames {
            let Ok(api) = Api::find(ApiKey(key)) else { continue };
            let shortest = all.iter().min_by_key(|bytes| bytes.len());
            let longest = all.iter().max_by_key(|bytes| bytes.len()).filter(|longest| Some(*longest) != shortest);
            for (nth, bytes) in shortest.into_iter().chain(longest).enumerate() {
                let name = format!("{}-v{version}-{nth}", api.name);
                if is_response {
                    let header = [key.to_be_bytes(), version.to_be_bytes()].concat();
                    write("responses", &name, [&header, &bytes[..]].concat());
                } else {
                    write("requests", &name, bytes.clone());
                }
            }
        }
        for (nth, blobs) in self.blobs.into_iter().take(12).enumerate() {
            write("groups", &nth.to_string(), blobs);
        }
        for (nth, batches) in self.batches.into_iter().take(12).enumerate() {
            write("batches", &nth.to_string(), batches);
        }
        // In reads of 4, 300 and 11 bytes at most.
        write("frames", "connection", [&[3, 3, 255, 10], &self.stream[..]].concat());
        say(&format!("{files} files of {kafka}"));
    }
}

fn with_length(blob: &[u8]) -> Vec<u8> {
    let length = u16::try_from(blob.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &blob[..usize::from(length)]].concat()
}

/// Sends a request that was captured in one version in another one; returns it and its answer without their lengths.
fn ask(address: SocketAddr, api: &Api, (version, other): (i16, i16), captured: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut cursor = wire::Cursor(captured.get(8..)?);
    cursor.string().ok()?;
    // Neither Java's clients nor ours put tags into the header.
    let body = cursor.0.get(usize::from(version >= api.flexible_version)..)?;
    let message = api.decode_request(version, Bytes::copy_from_slice(body)).ok()?;
    let mut writer = Writer::new();
    writer.i16(api.key.0);
    writer.i16(other);
    writer.i32(7);
    writer.nullable_string(Some("captures"), false);
    if other >= api.flexible_version {
        writer.no_tagged_fields();
    }
    message.encode(&mut writer, other).ok()?;
    let request = writer.into_bytes();
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(8))).ok()?;
    std::io::Write::write_all(&mut socket, &wire::framed(&request)).ok()?;
    let answer = wire::read_frame(&mut socket).ok()??;
    Some((request, answer))
}

/// What our client asks: every operation, whatever the answer is.
fn our_traffic(cluster: &Cluster) {
    let client = Client::connect(&cluster.bootstrap()).expect("a client");
    let admin = Admin::new(&client).include_authorized_operations(true).timeout(Duration::from_secs(10));
    let topic = NewTopic::new(TOPIC).partitions(2).replication_factor(1);
    let other = NewTopic::new("other").partitions(1).replication_factor(1).config("retention.ms", "60000");
    let _ = admin.validate_create_topics(std::slice::from_ref(&topic));
    admin.create_topics(&[topic, other]).expect("an answer");
    wait_until("the topic is there", LIMIT, || admin.describe_topics(&[TOPIC]).is_ok_and(|all| all[0].1.is_ok()));
    for codec in Compression::ALL {
        let producer = SyncProducer::builder(&client).compression(codec).build_sync().expect("a producer");
        for number in 0..3 {
            let value = format!("{codec} {number} ").repeat(4);
            let record = ProducerRecord::new(TOPIC).partition(0).key("key").value(&value).header("h", "v");
            let _ = producer.send(&record);
        }
    }
    topics_and_configs(&admin);
    groups_and_offsets(&admin);
    cluster_and_users(&admin);
}

fn topics_and_configs(admin: &Admin) {
    let partition = || TopicPartition::new(TOPIC, 0);
    let _ = admin.list_topics();
    let _ = admin.describe_all_topics();
    let _ = admin.describe_topics(&["absent"]);
    let _ = admin.describe_topics_by_id(&[Uuid([1; 16])]);
    let _ = admin.create_partitions(&[NewPartitions::new("other", 3)]);
    let _ = admin.list_offsets(&[(partition(), OffsetSpec::Latest), (partition(), OffsetSpec::Earliest)]);
    let _ = admin.offsets_for_leader_epochs(&[(partition(), 0)]);
    let _ = admin.delete_records(&[(partition(), 1)]);
    let _ = admin.describe_configs(&[ConfigResource::topic("other"), ConfigResource::topic("absent")]);
    let set = AlterConfig::Set("retention.ms".to_owned(), "70000".to_owned());
    let _ = admin.incremental_alter_configs(&[(ConfigResource::topic("other"), vec![set])]);
    let _ = admin.list_config_resources(&[]);
    let _ = admin.describe_log_dirs(&[1]);
    let _ = admin.list_partition_reassignments(None);
    let _ = admin.elect_leaders(ElectionType::Preferred, Some(&[partition()]));
    let _ = admin.describe_producers(&[partition()]);
    let _ = admin.delete_topics(&["absent"]);
}

fn groups_and_offsets(admin: &Admin) {
    let _ = admin.alter_group_offsets("offsets", &[((TOPIC, 0).into(), CommittedOffset::new(1))]);
    let _ = admin.list_group_offsets(&["offsets", "absent"]);
    let _ = admin.group_lag(&["offsets"]);
    let _ = admin.delete_group_offsets("offsets", &[(TOPIC, 0).into()]);
    let _ = admin.describe_groups(&["offsets", "absent"]);
    let _ = admin.list_groups(&GroupFilter::new());
    let _ = admin.remove_members("absent", &[MemberToRemove::MemberId("m".to_owned())], "a capture");
    let _ = admin.delete_groups(&["offsets", "absent"]);
    let _ = admin.alter_share_group_offsets("share", &[((TOPIC, 0).into(), 0)]);
    let _ = admin.list_share_group_offsets(&["share"]);
    let _ = admin.describe_share_groups(&["share"]);
    let _ = admin.delete_share_group_offsets("share", &[TOPIC]);
    let _ = admin.describe_streams_groups(&["absent"]);
    let _ = admin.find_transaction_coordinators(&["transaction"]);
    let _ = admin.describe_transactions(&["absent"]);
    let _ = admin.list_transactions(&TransactionFilter::new());
    let _ = admin.fence_producers(&["transaction"]);
}

fn cluster_and_users(admin: &Admin) {
    let _ = admin.describe_cluster();
    let _ = admin.describe_api_versions();
    let _ = admin.describe_metadata_quorum();
    let _ = admin.describe_features();
    let _ = admin.update_features(&[FeatureUpdate::upgrade("absent", 1)]);
    let _ = admin.unregister_broker(77);
    let user = ScramAlteration::upsert("alice", ScramMechanism::Sha256, "captured-secret");
    let _ = admin.alter_user_scram_credentials(&[user]);
    let _ = admin.describe_all_user_scram_credentials();
    let quota = ClientQuotaChanges::from([("producer_byte_rate".to_owned(), Some(1e9))]);
    let _ = admin.alter_client_quotas(&[(ClientQuotaEntity::user("alice"), quota)]);
    let _ = admin.describe_client_quotas(&ClientQuotaFilter::all());
    let _ = admin.describe_acls(&AclFilter::any());
    let _ = admin.create_delegation_token(&NewDelegationToken::new());
    let _ = admin.describe_delegation_tokens(None);
    let _ = admin.renew_delegation_token(b"hmac", None);
    let _ = admin.expire_delegation_token(b"hmac", None);
}

/// What Java's clients ask: all codecs and a transaction, and a group with each assignor.
fn javas_traffic(cluster: &Cluster) {
    let (tools, bootstrap) = (cluster.tools(), cluster.bootstrap());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/java/Writer.java");
    let codecs = ["plain:1:none:2", "plain:1:gzip:3", "plain:1:snappy:3", "plain:1:lz4:3", "plain:1:zstd:3"];
    let steps = [&codecs[..], &["commit:1:c:2", "abort:1:a:2"]].concat();
    tools.run(source, &[&[bootstrap.as_str(), TOPIC], &steps[..]].concat()).success();
    for assignor in ["RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor"] {
        let group = format!("{GROUP}-{assignor}");
        let strategy = format!("partition.assignment.strategy=org.apache.kafka.clients.consumer.{assignor}");
        let arguments = ["--topic", TOPIC, "--group", &group, "--consumer-property", &strategy, "--from-beginning"];
        let server = ["--bootstrap-server", &bootstrap, "--consumer-property", "auto.commit.interval.ms=200"];
        let consumer = || tools.spawn("console-consumer", &[&arguments[..], &server[..]].concat());
        let mut first = consumer();
        wait_until("the first has read all", LIMIT, || first.stdout().contains("lz4-2"));
        let mut second = consumer();
        // A second member makes the first tell what it had.
        wait_until("both are members", LIMIT, || {
            let described = tools.consumer_groups(&["--describe", "--group", &group, "--members"]);
            described.stdout.matches("/127.0.0.1").count() >= 2
        });
        second.terminate(LIMIT);
        first.terminate(LIMIT);
    }
    if cluster.version() == Version::V4_3_0 {
        let next = ["--consumer-property", "group.protocol=consumer", "--max-messages", "3", "--from-beginning"];
        let arguments = ["--topic", TOPIC, "--group", "next-generation", "--bootstrap-server", &bootstrap];
        tools.run("console-consumer", &[&arguments[..], &next[..]].concat());
    }
}
