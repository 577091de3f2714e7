//! Does with rdkafka, and so with librdkafka, what its users do, and prints what happened: records and offsets, never
//! addresses, generated ids or times. Arguments: bootstrap servers, the case, the prefix of all names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, message::OwnedMessage};

use deliveries::Deliveries;

mod deliveries;

/// How long a busy machine may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

type Outcome = Result<(), KafkaError>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, servers, case, name] = arguments.as_slice() else { panic!("servers, case and name") };
    let run = Run { servers, name };
    let outcome = match case.as_str() {
        "produce" => run.produce(),
        "group-classic" => run.group("classic"),
        "group-consumer" => run.group("consumer"),
        "transaction" => run.transaction(),
        "admin" => run.admin(),
        other => panic!("no case {other}"),
    };
    if let Err(error) = outcome {
        println!("failed: {error}");
        std::process::exit(1);
    }
}

struct Run<'a> {
    servers: &'a str,
    name: &'a str,
}

impl Run<'_> {
    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers);
        config
    }

    fn create(&self, topic: &str, partitions: i32) -> Outcome {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(3));
        for result in wait(admin.create_topics(&[topic], &AdminOptions::new()))? {
            if let Err((name, code)) = result {
                println!("{name} was not made: {code:?}");
            }
        }
        Ok(())
    }

    /// Writes idempotently and not, with every codec and every acks, and reads it back.
    fn produce(&self) -> Outcome {
        self.create(self.name, 1)?;
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let mut config = self.config();
            config.set("compression.type", codec).set("enable.idempotence", "true").set("linger.ms", "50");
            self.write(&config, codec, 20)?;
        }
        // The last without acks: nobody knows when the broker has it, and the next would be another connection.
        for acks in ["1", "all", "0"] {
            let mut config = self.config();
            config.set("acks", acks);
            self.write(&config, &format!("acks {acks}"), 1)?;
        }
        self.read("read_uncommitted", 103, 103)
    }

    fn write(&self, config: &ClientConfig, what: &str, count: usize) -> Outcome {
        let (deliveries, delivered) = Deliveries::new();
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(deliveries)?;
        for i in 0..count {
            send(&producer, self.name, &format!("{what} {i}"))?;
        }
        producer.flush(LIMIT)?;
        for (value, outcome) in delivered.take() {
            println!("delivered {value} {outcome}");
        }
        Ok(())
    }

    /// Prints the records before `end`, once all up to `high` is written: the mark of a transaction's end comes later.
    fn read(&self, isolation: &str, end: i64, high: i64) -> Outcome {
        let mut config = self.config();
        config.set("group.id", format!("{}-reader", self.name)).set("isolation.level", isolation);
        config.set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create()?;
        let mut partitions = TopicPartitionList::new();
        partitions.add_partition_offset(self.name, 0, Offset::Beginning)?;
        consumer.assign(&partitions)?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = consumer.fetch_watermarks(self.name, 0, LIMIT)?;
            if found.1 >= high || Instant::now() >= deadline {
                println!("{isolation}: from {} to {}", found.0, found.1);
                break;
            }
        }
        let mut next = 0;
        while next < end {
            assert!(Instant::now() < deadline, "only up to {next}");
            let Some(record) = consumer.poll(Duration::from_millis(200)).transpose()? else { continue };
            next = record.offset() + 1;
            println!("read {}", describe(&record.detach()));
        }
        Ok(())
    }

    /// Two members share four partitions with each strategy, and one goes on alone.
    fn group(&self, protocol: &str) -> Outcome {
        self.create(self.name, 4)?;
        let producer: ThreadedProducer<Deliveries> = self.config().create_with_context(Deliveries::new().0)?;
        for i in 0..40 {
            let (value, partition) = (i.to_string(), i % 4);
            let record = BaseRecord::<str, str>::to(self.name).payload(&value).partition(partition);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(LIMIT)?;
        let strategies = match protocol {
            "classic" => ["range", "roundrobin", "cooperative-sticky"].as_slice(),
            _ => &["uniform", "range"],
        };
        for strategy in strategies {
            let group = format!("{}-{strategy}", self.name);
            let mut config = self.config();
            config.set("group.id", &group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
            match protocol {
                "classic" => config.set("partition.assignment.strategy", *strategy).set("session.timeout.ms", "10000"),
                _ => config.set("group.protocol", "consumer").set("group.remote.assignor", *strategy),
            };
            self.share(&config, &group)?;
        }
        Ok(())
    }

    fn share(&self, config: &ClientConfig, group: &str) -> Outcome {
        let mut members = vec![Member::new(config, self.name)?, Member::new(config, self.name)?];
        settle(&mut members, &[2, 2])?;
        println!("{group}: two members with two partitions each");
        let all = |members: &[Member]| members.iter().flat_map(|member| member.seen.clone()).collect::<BTreeSet<_>>();
        let deadline = Instant::now() + LIMIT;
        while all(&members).len() < 40 {
            assert!(Instant::now() < deadline, "only {:?}", all(&members));
            members.iter_mut().try_for_each(Member::poll)?;
        }
        println!("{group}: all records read");
        members.iter_mut().try_for_each(Member::commit)?;
        drop(members.pop());
        settle(&mut members, &[4])?;
        let committed = members[0].consumer.committed(LIMIT)?;
        let committed: BTreeMap<_, _> =
            committed.elements().iter().map(|each| (each.partition(), each.offset())).collect();
        println!("{group}: one member with all partitions, committed {committed:?}");
        Ok(())
    }

    /// Commits, aborts, fences, and carries offsets.
    fn transaction(&self) -> Outcome {
        self.create(self.name, 1)?;
        let mut config = self.config();
        config.set("transactional.id", self.name).set("linger.ms", "0");
        let (deliveries, delivered) = Deliveries::new();
        let producer: ThreadedProducer<Deliveries> = config.create_with_context(deliveries)?;
        producer.init_transactions(LIMIT)?;
        let mut config_of_group = self.config();
        config_of_group.set("group.id", format!("{}-group", self.name));
        let consumer: BaseConsumer = config_of_group.create()?;
        for (number, commits) in [true, false, true].into_iter().enumerate() {
            producer.begin_transaction()?;
            for i in 0..3 {
                send(&producer, self.name, &format!("{i} of a transaction that commits {commits}"))?;
            }
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(self.name, 0, Offset::Offset(number as i64 + 1))?;
            let metadata = consumer.group_metadata().expect("a group");
            producer.send_offsets_to_transaction(&offsets, &metadata, LIMIT)?;
            producer.flush(LIMIT)?;
            if commits {
                producer.commit_transaction(LIMIT)?;
            } else {
                producer.abort_transaction(LIMIT)?;
            }
            for (value, outcome) in delivered.take() {
                println!("delivered {value} {outcome}");
            }
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition(self.name, 0);
            let committed = consumer.committed_offsets(partitions, LIMIT)?;
            println!("committed {:?}", committed.elements()[0].offset());
        }
        let rival: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries::new().0)?;
        rival.init_transactions(LIMIT)?;
        producer.begin_transaction()?;
        send(&producer, self.name, "too late")?;
        let fenced = producer.commit_transaction(LIMIT).map_err(|error| error.rdkafka_error_code());
        println!("a fenced producer: {fenced:?}");
        rival.begin_transaction()?;
        send(&rival, self.name, "of a rival")?;
        rival.commit_transaction(LIMIT)?;
        self.read("read_uncommitted", 13, 14)?;
        self.read("read_committed", 13, 14)
    }

    /// Asks for what an administrator does.
    fn admin(&self) -> Outcome {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let topic = || NewTopic::new(self.name, 2, TopicReplication::Fixed(2)).set("retention.ms", "5000");
        let bad = NewTopic::new("bad name", 1, TopicReplication::Fixed(1));
        for result in wait(admin.create_topics(&[topic(), bad], &options))? {
            println!("created: {result:?}");
        }
        println!("created again: {:?}", wait(admin.create_topics(&[topic()], &options))?);
        let grow = |count| wait(admin.create_partitions(&[NewPartitions::new(self.name, count)], &options));
        println!("three partitions: {:?}", grow(3)?);
        println!("one partition: {:?}", grow(1)?);
        let alter = AlterConfig::new(ResourceSpecifier::Topic(self.name)).set("cleanup.policy", "compact");
        println!("altered: {:?}", wait(admin.alter_configs(&[alter], &options))?);
        let deadline = Instant::now() + LIMIT;
        let described = || wait(admin.describe_configs(&[ResourceSpecifier::Topic(self.name)], &options));
        // A broker learns of it a moment after the controller has answered.
        let mut entries = loop {
            assert!(Instant::now() < deadline, "the new setting is not there");
            let entries = described()?.remove(0).map(|resource| resource.entries).unwrap_or_default();
            if entries.iter().any(|entry| entry.value.as_deref() == Some("compact")) {
                break entries;
            }
        };
        entries.sort_by(|one, two| one.name.cmp(&two.name));
        for entry in entries.iter().filter(|entry| !entry.is_default) {
            println!("config {}={:?} {:?}", entry.name, entry.value, entry.source);
        }
        self.write(&self.config(), "record", 1)?;
        let consumer: BaseConsumer = self.config().set("group.id", format!("{}-group", self.name)).create()?;
        loop {
            assert!(Instant::now() < deadline, "the new partition is not there");
            let metadata = consumer.fetch_metadata(None, LIMIT)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == self.name);
            let partitions = found.map_or(0, |topic| topic.partitions().len());
            if partitions == 3 {
                println!("{} brokers, {partitions} partitions", metadata.brokers().len());
                break;
            }
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(self.name, 0, Offset::Offset(1))?;
        consumer.commit(&offsets, CommitMode::Sync)?;
        let groups = consumer.fetch_group_list(Some(&format!("{}-group", self.name)), LIMIT)?;
        for group in groups.groups() {
            println!("group {} {} {}", group.state(), group.protocol_type(), group.members().len());
        }
        let group = format!("{}-group", self.name);
        println!("group deleted: {:?}", wait(admin.delete_groups(&[&group, "rdkafka-missing"], &options))?);
        println!("deleted: {:?}", wait(admin.delete_topics(&[self.name, "rdkafka-missing"], &options))?);
        Ok(())
    }
}

struct Member {
    consumer: BaseConsumer,
    held: BTreeSet<i32>,
    seen: BTreeSet<(i32, i64)>,
}

impl Member {
    fn new(config: &ClientConfig, topic: &str) -> KafkaResult<Self> {
        let consumer: BaseConsumer = config.create()?;
        consumer.subscribe(&[topic])?;
        Ok(Self { consumer, held: BTreeSet::new(), seen: BTreeSet::new() })
    }

    fn poll(&mut self) -> Outcome {
        if let Some(record) = self.consumer.poll(Duration::from_millis(50)).transpose()? {
            self.seen.insert((record.partition(), record.offset()));
        }
        self.held = self.consumer.assignment()?.elements().iter().map(|each| each.partition()).collect();
        Ok(())
    }

    /// Commits the end of all it holds.
    fn commit(&mut self) -> Outcome {
        let mut offsets = self.consumer.assignment()?;
        offsets.set_all_offsets(Offset::Offset(10))?;
        self.consumer.commit(&offsets, CommitMode::Sync)
    }
}

/// Waits until the members hold so many partitions each, and all four together.
fn settle(members: &mut [Member], sizes: &[usize]) -> Outcome {
    let deadline = Instant::now() + LIMIT;
    loop {
        members.iter_mut().try_for_each(Member::poll)?;
        let held: Vec<usize> = members.iter().map(|member| member.held.len()).collect();
        let union: BTreeSet<_> = members.iter().flat_map(|member| &member.held).collect();
        if held == sizes && union.len() == 4 {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{held:?} instead of {sizes:?}");
    }
}

fn send(producer: &ThreadedProducer<Deliveries>, topic: &str, value: &str) -> Outcome {
    let headers = OwnedHeaders::new().insert(Header { key: "from", value: Some("rdkafka") });
    let record = BaseRecord::to(topic).key("key").payload(value).partition(0).headers(headers);
    producer.send(record).map_err(|(error, _)| error)
}

fn describe(record: &OwnedMessage) -> String {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let headers = record.headers().map_or(0, Headers::count);
    format!("{} {}={} with {headers} headers", record.offset(), text(record.key()), text(record.payload()))
}

/// rdkafka's admin answers in futures that its own thread completes.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
