//! Measures the client against a cluster: one operation, one line of JSON.
//!
//! Every client that is compared gets the same data and the same settings: linger 5 ms (0 for the synchronous ones),
//! batches of up to 1,000,000 bytes, 64 MiB of buffer, no idempotence, for the pipelined ones 5 requests in flight; 50 MiB per
//! fetch and 1 MiB per partition. Clocks start when the topic's metadata is known.

mod data;
mod progress;
mod report;
#[path = "../support/mod.rs"]
mod support;

use clap::{Args, Parser, Subcommand};
use data::Pool;
use progress::Progress;
use report::Report;
use sarameya::batch::Compression;
use sarameya::{
    Acks, Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, Deliveries, Producer,
    ProducerBuilder, ProducerRecord, StartOffset, StopHandle, SyncProducer,
};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};
use support::{Connection, Outcome, StopFlag};

/// The memory for records that are not answered yet, the same for every client that is compared.
const BUFFER_MEMORY: usize = 64 << 20;

/// Measures one operation and prints one line of JSON
#[derive(Debug, Parser)]
struct Command {
    /// File of settings by Kafka's names, such as security.protocol=SSL
    #[arg(long, value_name = "FILE", global = true)]
    command_config: Option<PathBuf>,

    #[command(subcommand)]
    operation: Operation,
}

#[derive(Debug, Subcommand)]
enum Operation {
    /// One thread hands records to the pipelined producer; the clock runs until all are acknowledged
    Produce {
        #[command(flatten)]
        target: Target,
        /// The size of a value in bytes
        size: usize,
        #[arg(value_parser = compression)]
        compression: Compression,
        #[arg(value_parser = acks)]
        acks: Acks,
        /// The memory for records that are not answered yet, in bytes (buffer.memory)
        #[arg(long, default_value_t = BUFFER_MEMORY)]
        buffer_memory: usize,
        /// With sequence numbers (enable.idempotence): then a partition may have several batches on their way
        #[arg(long)]
        idempotent: bool,
    },
    /// A new group reads from the earliest record; the clock runs from before the join until the last record
    Consume {
        #[command(flatten)]
        target: Target,
        /// Take records that own their memory, one by one, rather than batches of borrowed ones
        #[arg(long)]
        owned: bool,
    },
    /// One thread sends records one at a time, each waiting for its acknowledgement
    Sync {
        #[command(flatten)]
        target: Target,
        /// The size of a value in bytes
        size: usize,
        #[arg(value_parser = acks)]
        acks: Acks,
        /// With sequence numbers (enable.idempotence), the library's default
        #[arg(long)]
        idempotent: bool,
    },
    /// Like sync, with threads that share one producer
    Syncmt {
        #[command(flatten)]
        target: Target,
        /// The size of a value in bytes
        size: usize,
        #[arg(value_parser = acks)]
        acks: Acks,
        threads: u64,
        /// With sequence numbers (enable.idempotence), the library's default
        #[arg(long)]
        idempotent: bool,
    },
}

#[derive(Debug, Args)]
struct Target {
    /// host:port, comma separated
    brokers: String,
    /// A topic that exists; to produce, also several, comma separated: they take turns
    topic: String,
    /// How many records
    n: u64,
}

impl Target {
    fn topics(&self) -> impl Iterator<Item = &str> + Clone {
        self.topic.split(',')
    }
}

fn main() -> ExitCode {
    let command = Command::parse();
    let (op, target) = match &command.operation {
        Operation::Produce { target, .. } => ("produce", target),
        Operation::Consume { target, .. } => ("consume", target),
        Operation::Sync { target, .. } => ("sync", target),
        Operation::Syncmt { target, .. } => ("syncmt", target),
    };
    let outcome = connect(target, command.command_config).and_then(|client| match &command.operation {
        Operation::Produce { size, compression, acks, buffer_memory, idempotent, .. } => {
            let builder = Producer::builder(&client).linger(Duration::from_millis(5)).compression(*compression);
            let builder =
                settings(builder, *acks).buffer_memory(*buffer_memory).idempotence(*idempotent).max_in_flight(5);
            produce(builder, target, *size)
                .map(|report| report.text("compression", &compression.to_string()).text("acks", acks_name(*acks)))
        }
        Operation::Consume { owned, .. } => {
            consume(&client, target, *owned || std::env::var_os("PERF_OWNED").is_some())
        }
        Operation::Sync { size, acks, idempotent, .. } => {
            let builder = settings(SyncProducer::builder(&client), *acks).idempotence(*idempotent);
            sync(builder, op, target, *size, 1).map(|report| report.text("acks", acks_name(*acks)))
        }
        Operation::Syncmt { size, acks, threads, idempotent, .. } => {
            let builder = settings(SyncProducer::builder(&client), *acks).idempotence(*idempotent);
            sync(builder, op, target, *size, (*threads).max(1))
                .map(|report| report.text("acks", acks_name(*acks)).number("threads", *threads))
        }
    });
    match outcome {
        Ok(report) => {
            println!("{}", report.line());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", Report::new(op).failed(&error.to_string()).line());
            ExitCode::FAILURE
        }
    }
}

/// A client that knows the topic.
fn connect(target: &Target, command_config: Option<PathBuf>) -> Outcome<Client> {
    let connection = Connection { bootstrap_server: target.brokers.clone(), command_config };
    let client = connection.client(&connection.properties()?)?;
    for topic in target.topics() {
        client.partition_count(topic)?;
    }
    Ok(client)
}

/// The settings that all clients are measured with.
fn settings(builder: ProducerBuilder, acks: Acks) -> ProducerBuilder {
    builder.acks(acks).idempotence(false).batch_size(1_000_000).buffer_memory(BUFFER_MEMORY)
}

fn produce(builder: ProducerBuilder, target: &Target, size: usize) -> Outcome<Report> {
    let pool = Pool::from_env(size);
    let producer = builder.build()?;
    let progress = Progress::start(target.n);
    let topics: Vec<_> = target.topics().collect();
    let mut deliveries = Deliveries::new();
    let mut acknowledged = 0;
    let start = Instant::now();
    for (i, topic) in (0..target.n).zip(topics.iter().cycle()) {
        producer.send_to(&ProducerRecord::new(topic).value(pool.value(i)), &mut deliveries)?;
        if i % 1024 == 0 {
            let before = acknowledged;
            while let Some(sent) = deliveries.poll() {
                sent?;
                acknowledged += 1;
            }
            progress.add(acknowledged - before);
        }
    }
    producer.flush(Duration::from_secs(120))?;
    while let Some(sent) = deliveries.wait() {
        sent?;
        acknowledged += 1;
    }
    let wall = start.elapsed();
    drop(progress);
    producer.close(Duration::from_secs(5))?;
    Ok(Report::new("produce")
        .done(acknowledged, size as u64, acknowledged * size as u64, wall)
        .number("pool_fnv", pool.fnv())
        .text(
            "note",
            "pipelined producer, the delivery of each record looked at and counted; metadata fetched before the clock",
        ))
}

fn sync(builder: ProducerBuilder, op: &str, target: &Target, size: usize, threads: u64) -> Outcome<Report> {
    let pool = Pool::from_env(size);
    let producer = builder.linger(Duration::ZERO).build_sync()?;
    let progress = Progress::start(target.n);
    let barrier = Barrier::new(usize::try_from(threads)? + 1);
    let send_some = |thread: u64| -> Outcome<Vec<u64>> {
        let count = target.n / threads + u64::from(thread < target.n % threads);
        let mut latencies = Vec::with_capacity(usize::try_from(count)?);
        barrier.wait();
        for i in 0..count {
            let record = ProducerRecord::new(&target.topic).value(pool.value(i * threads + thread));
            let start = Instant::now();
            producer.send(&record)?;
            latencies.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
            progress.add(1);
        }
        Ok(latencies)
    };
    let (latencies, wall) = std::thread::scope(|scope| -> Outcome<_> {
        let senders: Vec<_> = (0..threads).map(|thread| scope.spawn(move || send_some(thread))).collect();
        barrier.wait();
        let start = Instant::now();
        let mut latencies = Vec::new();
        for sender in senders {
            latencies.extend(sender.join().map_err(|_| "a sending thread panicked")??);
        }
        Ok((latencies, start.elapsed()))
    })?;
    drop(progress);
    producer.close(Duration::from_secs(5))?;
    let records = latencies.len() as u64;
    Ok(Report::new(op)
        .done(records, size as u64, records * size as u64, wall)
        .latencies(latencies)
        .number("pool_fnv", pool.fnv())
        .text("compression", "none")
        .text("note", "SyncProducer, linger 0; metadata fetched before the clock"))
}

fn consume(client: &Client, target: &Target, owned: bool) -> Outcome<Report> {
    let name = format!("perf-{}-{}", std::process::id(), support::event::now_ms());
    let mut group = ConsumerGroup::builder(client, &name)
        .start(StartOffset::Earliest)
        .auto_commit(true)
        .fetch_max_bytes(50 << 20)
        .max_partition_fetch_bytes(1 << 20)
        .build()?;
    let progress = Progress::start(target.n);
    let sums = Mutex::new(Sums::default());
    let counter = Counter { target: target.n, owned, sums, progress, stop: group.stop_handle() };
    let ended = StopFlag::default();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A topic with too few records ends in an error, not in a wait for good.
            if !ended.wait(Duration::from_secs(600)) {
                counter.stop.stop();
            }
        });
        let outcome = group.consume(&[&target.topic], &counter);
        ended.set();
        outcome
    })?;
    let Counter { sums, progress, .. } = counter;
    drop(progress);
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (Some(first), Some(end)) = (sums.first, sums.end) else {
        return Err(format!("ended after {} of {} records", sums.records, target.n).into());
    };
    let (wall, first) = (end - start, first - start);
    let rate_after_first = sums.records as f64 / (wall - first).as_secs_f64().max(1e-9);
    let how = if owned { "owned records one by one" } else { "batches of borrowed records" };
    Ok(Report::new("consume")
        .done(sums.records, sums.bytes / sums.records.max(1), sums.bytes, wall)
        .number("first_record_s", format!("{:.6}", first.as_secs_f64()))
        .number("rate_after_first", format!("{rate_after_first:.1}"))
        .number("bytes", sums.bytes)
        .number("first_sum", sums.first_sum)
        .text("note", &format!("group with auto-commit, one thread per partition, {how}, CRC checked")))
}

/// Counts what all claims read.
struct Counter {
    target: u64,
    owned: bool,
    sums: Mutex<Sums>,
    progress: Progress,
    stop: StopHandle,
}

/// What was read: of one batch, or of all.
#[derive(Debug, Default)]
struct Sums {
    records: u64,
    bytes: u64,
    /// The first bytes of all values.
    first_sum: u64,
    /// When the first record was there.
    first: Option<Instant>,
    /// When the last one had been read.
    end: Option<Instant>,
}

impl Sums {
    #[inline]
    fn add(&mut self, value: Option<&[u8]>) {
        let value = value.unwrap_or_default();
        self.records += 1;
        self.bytes += value.len() as u64;
        self.first_sum += value.first().map_or(0, |byte| u64::from(*byte));
    }
}

impl Counter {
    /// Adds what a claim has read.
    fn count(&self, read: &Sums) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.first = [sums.first, read.first].into_iter().flatten().min();
        sums.records += read.records;
        sums.bytes += read.bytes;
        sums.first_sum += read.first_sum;
        if sums.records >= self.target && sums.end.is_none() {
            sums.end = Some(Instant::now());
            self.stop.stop();
        }
        drop(sums);
        self.progress.add(read.records);
    }
}

impl ConsumerGroupHandler for Counter {
    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> Outcome {
        if self.owned {
            let mut first = None;
            for record in claim {
                let record = record?;
                let mut read = Sums { first: Some(*first.get_or_insert_with(Instant::now)), ..Sums::default() };
                read.add(record.value());
                session.mark(&record);
                self.count(&read);
            }
            return Ok(());
        }
        while let Some(batch) = claim.next_batch() {
            let batch = batch?;
            let mut read = Sums { first: Some(Instant::now()), ..Sums::default() };
            for record in &batch {
                read.add(record?.value());
            }
            session.mark_offset(batch.topic(), batch.partition(), batch.next_offset(), "");
            self.count(&read);
        }
        Ok(())
    }
}

fn compression(name: &str) -> Result<Compression, String> {
    name.parse().map_err(|error: sarameya::Error| error.to_string())
}

fn acks(name: &str) -> Result<Acks, String> {
    match name {
        "0" => Ok(Acks::None),
        "1" => Ok(Acks::Leader),
        "all" => Ok(Acks::All),
        _ => Err("0, 1 or all".into()),
    }
}

fn acks_name(acks: Acks) -> &'static str {
    match acks {
        Acks::None => "0",
        Acks::Leader => "1",
        Acks::All => "all",
    }
}
