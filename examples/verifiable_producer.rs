//! Kafka's VerifiableProducer: sends increasing numbers and tells in lines of JSON what became of each.
//!
//! Options and events are those of `kafka-verifiable-producer`, so that Apache Kafka's own system tests can judge this
//! client. One field is more: `unknown` in `producer_send_error` is true if the record may be in the log all the same.

mod support;

use clap::{CommandFactory, Parser};
use sarameya::{Producer, ProducerRecord, SendError};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::deliveries::{Deliveries, Sent};
use support::event::{Event, now_ms};
use support::{Connection, Outcome, StopFlag};

/// How long the end waits for what was sent: longer than the delivery timeout's default, so that every record is heard of
const CLOSE_TIMEOUT: Duration = Duration::from_secs(150);

/// Sends increasing integers to a topic and prints on standard output, as JSON, which were acknowledged and which not
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// Send so many messages; -1: until the process is ended
    #[arg(long, value_name = "N", default_value_t = -1, allow_hyphen_values = true)]
    max_messages: i64,

    /// Send at most about so many messages a second; -1: as fast as possible
    #[arg(long, value_name = "N", default_value_t = -1, allow_hyphen_values = true)]
    throughput: i64,

    /// Whose answer counts: 0, 1, or -1 for all in-sync replicas; a setting in the file goes over it
    #[arg(long, default_value = "-1", allow_hyphen_values = true, value_parser = ["0", "1", "-1"])]
    acks: String,

    /// The first message's create time in milliseconds since 1970; -1: now
    #[arg(long, value_name = "MS", default_value_t = -1, allow_hyphen_values = true)]
    message_create_time: i64,

    /// Put this and a dot before every value
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    value_prefix: Option<i32>,

    /// Give the messages the keys 0, 1, ... below this, again and again
    #[arg(long, value_name = "N")]
    repeating_keys: Option<u32>,
}

fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        let _ = Args::command().print_help();
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    support::run(|| produce(&args))
}

fn produce(args: &Args) -> Outcome<ExitCode> {
    let mut properties = args.connection.properties()?;
    if properties.get("acks").is_none() {
        properties.set("acks", &args.acks)?;
    }
    let client = args.connection.client(&properties)?;
    let producer = Producer::builder(&client).properties(&properties)?.build()?;
    let stop = StopFlag::default();
    support::on_signal({
        let stop = stop.clone();
        move || stop.set()
    })?;
    let acked = Arc::new(AtomicU64::new(0));
    let deliveries = {
        let (acked, topic) = (acked.clone(), args.topic.clone());
        Deliveries::start(move |message, sent| report(&topic, &message, sent, &acked))?
    };

    let start = Instant::now();
    Event::new("startup_complete").print()?;
    let sent = send_all(args, &producer, &deliveries, &stop)?;
    let closed = producer.close(CLOSE_TIMEOUT);
    deliveries.finish();
    Event::new("shutdown_complete").print()?;
    let acked = acked.load(Ordering::SeqCst);
    let elapsed_ms = start.elapsed().as_millis().max(1);
    Event::new("tool_data")
        .json("sent", sent)
        .json("acked", acked)
        .json("target_throughput", args.throughput)
        .json("avg_throughput", format!("{:?}", 1000.0 * acked as f64 / elapsed_ms as f64))
        .print()?;
    closed?;
    Ok(ExitCode::SUCCESS)
}

/// What is told of a message.
#[derive(Debug)]
struct Message {
    key: Option<String>,
    value: String,
}

/// Sends until the limit or the signal; returns how many.
fn send_all(args: &Args, producer: &Producer, deliveries: &Deliveries<Message>, stop: &StopFlag) -> Outcome<u64> {
    let start = Instant::now();
    let start_ms = now_ms();
    let limit = u64::try_from(args.max_messages).unwrap_or(u64::MAX);
    let mut create_time = args.message_create_time;
    let mut sent = 0;
    while sent < limit && !stop.is_set() {
        let value = match args.value_prefix {
            Some(prefix) => format!("{prefix}.{sent}"),
            None => sent.to_string(),
        };
        let key = args.repeating_keys.map(|keys| (sent % u64::from(keys.max(1))).to_string());
        let message = Message { key, value };
        let mut record = ProducerRecord::new(&args.topic).value(&message.value);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if args.message_create_time != -1 {
            record = record.timestamp(create_time);
            create_time += now_ms() - start_ms;
        }
        sent += 1;
        match producer.send(&record) {
            Ok(delivery) => deliveries.push(delivery, message),
            Err(error) => failed(&args.topic, &message, &error).print()?,
        }
        throttle(args.throughput, start, sent, stop);
    }
    Ok(sent)
}

/// Waits until so many messages may have been sent.
fn throttle(throughput: i64, start: Instant, sent: u64, stop: &StopFlag) {
    match throughput {
        ..0 => {}
        // None in any time.
        0 => while !stop.wait(Duration::from_secs(3600)) {},
        _ => {
            let due = Duration::from_secs_f64(sent as f64 / throughput as f64);
            let early = due.saturating_sub(start.elapsed());
            if !early.is_zero() {
                stop.wait(early);
            }
        }
    }
}

/// Runs on the thread of the deliveries.
fn report(topic: &str, message: &Message, sent: Sent, acked: &AtomicU64) {
    let event = match sent {
        Ok(metadata) => {
            acked.fetch_add(1, Ordering::SeqCst);
            Event::new("producer_send_success")
                .text("key", message.key.as_deref())
                .text("value", Some(&message.value))
                .json("offset", metadata.offset().unwrap_or(-1))
                .text("topic", Some(topic))
                .json("partition", metadata.partition())
        }
        Err(error) => failed(topic, message, &error),
    };
    if let Err(error) = event.print() {
        eprintln!("error: writing to standard output: {error}");
    }
}

fn failed(topic: &str, message: &Message, error: &SendError) -> Event {
    let cause = error.error();
    let name = cause.code().and_then(|code| code.name()).map_or_else(|| format!("{:?}", cause.kind()), str::to_owned);
    Event::new("producer_send_error")
        .text("topic", Some(topic))
        .text("key", message.key.as_deref())
        .text("value", Some(&message.value))
        .text("exception", Some(&name))
        .text("message", Some(&cause.to_string()))
        .json("unknown", error.is_possibly_persisted())
}
