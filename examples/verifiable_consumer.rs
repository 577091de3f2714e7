//! Kafka's VerifiableConsumer: a member of a group that tells in lines of JSON what it gets, reads and commits.
//!
//! Options and events are those of `kafka-verifiable-consumer`, so that Apache Kafka's own system tests can judge this
//! client. Each claimed partition has a thread here, so `records_consumed` and `offsets_committed` speak of one
//! partition each. Options of our own make the handler slow, panic or hang.

mod support;

use clap::{CommandFactory, Parser};
use sarameya::{
    ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, FetchedBatch, Properties, StopHandle,
};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::event::Event;
use support::{Connection, Outcome, StopFlag};

/// How long after a signal the process ends at the latest: time for the handlers, the last commit and leaving
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Reads a topic as a member of a group and prints events, such as rebalances, records and commits, as JSON
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// The group
    #[arg(long)]
    group_id: String,

    /// The group protocol; the classic one is the only one here
    #[arg(long, default_value = "classic", ignore_case = true, value_parser = ["classic"])]
    group_protocol: String,

    /// The assignor on the broker, which the classic protocol does not have: accepted and ignored
    #[arg(long, value_name = "NAME")]
    group_remote_assignor: Option<String>,

    /// The name of this static member
    #[arg(long, value_name = "ID")]
    group_instance_id: Option<String>,

    /// Read so many messages; -1: until the process is ended
    #[arg(long, value_name = "N", default_value_t = -1, allow_hyphen_values = true)]
    max_messages: i64,

    /// Without a heartbeat for so long the group takes the member for dead
    #[arg(long, value_name = "MS")]
    session_timeout: Option<u64>,

    /// Print each record
    #[arg(long)]
    verbose: bool,

    /// Commit in the background rather than after each batch
    #[arg(long)]
    enable_autocommit: bool,

    /// Where to start without a committed offset: earliest, latest, or none to fail
    #[arg(long, default_value = "earliest", value_parser = ["earliest", "latest", "none"])]
    reset_policy: String,

    /// The assignors, by the names of Kafka's classes or their own
    #[arg(long, value_name = "NAMES", default_value = "org.apache.kafka.clients.consumer.RangeAssignor")]
    assignment_strategy: String,

    /// Work so long on each record
    #[arg(long, value_name = "MS", default_value_t = 0)]
    handler_delay_ms: u64,

    /// Panic in the handler at this record, counted from 1
    #[arg(long, value_name = "N")]
    panic_at: Option<u64>,

    /// Hang in the handler for good at this record, counted from 1
    #[arg(long, value_name = "N")]
    stuck_at: Option<u64>,
}

fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        let _ = Args::command().print_help();
        return ExitCode::SUCCESS;
    }
    let args = Args::parse();
    support::run(|| consume(&args))
}

fn consume(args: &Args) -> Outcome<ExitCode> {
    let properties = settings(args)?;
    let client = args.connection.client(&properties)?;
    let mut group = ConsumerGroup::builder(&client, &args.group_id).properties(&properties)?.build()?;
    let requested = StopFlag::default();
    support::on_signal({
        let (requested, stop) = (requested.clone(), group.stop_handle());
        move || {
            if !requested.is_set() {
                requested.set();
                print(Event::new("shutdown_requested"));
                // A handler that hangs can't be ended, and `consume` waits for it.
                if let Err(error) = stop.stop_and_wait(STOP_TIMEOUT) {
                    eprintln!("error: {error}");
                    std::process::exit(1);
                }
            }
        }
    })?;
    let left = u64::try_from(args.max_messages).unwrap_or(u64::MAX);
    let handler = Handler { args, seen: AtomicU64::new(0), left: AtomicU64::new(left), stop: group.stop_handle() };
    print(Event::new("startup_complete"));
    let outcome = if left > 0 { group.consume(&[&args.topic], &handler) } else { Ok(()) };
    print(Event::new("shutdown_complete"));
    if !requested.is_set() {
        // Kafka's tool prints it on its way out, after any end.
        print(Event::new("shutdown_requested"));
    }
    outcome?;
    Ok(ExitCode::SUCCESS)
}

/// The options go over the settings in the file.
fn settings(args: &Args) -> Outcome<Properties> {
    let mut properties = args.connection.properties()?;
    properties.set("enable.auto.commit", args.enable_autocommit.to_string())?;
    properties.set("auto.offset.reset", &args.reset_policy)?;
    properties.set("partition.assignment.strategy", &args.assignment_strategy)?;
    if let Some(id) = &args.group_instance_id {
        properties.set("group.instance.id", id)?;
    }
    if let Some(timeout) = args.session_timeout {
        properties.set("session.timeout.ms", timeout.to_string())?;
        // Three heartbeats have to fit, also if the timeout is made shorter than the default allows.
        if properties.get("heartbeat.interval.ms").is_none() {
            properties.set("heartbeat.interval.ms", (timeout / 3).clamp(1, 3000).to_string())?;
        }
    }
    Ok(properties)
}

struct Handler<'a> {
    args: &'a Args,
    /// Records of all partitions that the handler has begun.
    seen: AtomicU64,
    /// How many messages may still be read.
    left: AtomicU64,
    stop: StopHandle,
}

impl ConsumerGroupHandler for Handler<'_> {
    fn setup(&self, session: &ConsumerGroupSession) -> Outcome {
        print(partitions_event("partitions_assigned", session));
        Ok(())
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> Outcome {
        while let Some(batch) = claim.next_batch() {
            self.handle(session, &batch?)?;
        }
        Ok(())
    }

    fn cleanup(&self, session: &ConsumerGroupSession) -> Outcome {
        revoked(session);
        Ok(())
    }

    fn lost(&self, session: &ConsumerGroupSession) -> Outcome {
        revoked(session);
        Ok(())
    }
}

/// What was read of a batch.
#[derive(Debug, Clone, Copy)]
struct Summary {
    count: u64,
    min_offset: i64,
    max_offset: i64,
}

impl Handler<'_> {
    fn handle(&self, session: &ConsumerGroupSession, batch: &FetchedBatch) -> Outcome {
        let (summary, outcome) = self.read(session, batch);
        if let Some(summary) = summary {
            self.finish(session, batch, summary);
        }
        outcome
    }

    /// Works on the records until their end, the limit's, or the session's.
    fn read(&self, session: &ConsumerGroupSession, batch: &FetchedBatch) -> (Option<Summary>, Outcome) {
        let mut summary: Option<Summary> = None;
        for record in batch {
            let record = match record {
                Ok(record) => record,
                Err(error) => return (summary, Err(error.into())),
            };
            if session.is_ending() {
                break;
            }
            let took_one = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                u64::MAX => Some(left),
                _ => left.checked_sub(1),
            });
            let Ok(left_before) = took_one else { break };
            self.misbehave();
            let offset = record.offset();
            if self.args.verbose {
                let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
                print(
                    Event::new("record_data")
                        .text("key", text(record.key()).as_deref())
                        .text("value", text(record.value()).as_deref())
                        .text("topic", Some(batch.topic()))
                        .json("partition", batch.partition())
                        .json("offset", offset),
                );
            }
            let so_far = summary.get_or_insert(Summary { count: 0, min_offset: offset, max_offset: offset });
            so_far.count += 1;
            so_far.max_offset = offset;
            if left_before == 1 {
                self.stop.stop();
                break;
            }
        }
        (summary, Ok(()))
    }

    /// Tells of the records first and commits then, so that no offset is committed that was not heard of.
    fn finish(&self, session: &ConsumerGroupSession, batch: &FetchedBatch, summary: Summary) {
        let Summary { count, min_offset, max_offset } = summary;
        let place = format!("\"topic\":{},\"partition\":{}", serde_json::Value::from(batch.topic()), batch.partition());
        let partition =
            format!("[{{{place},\"count\":{count},\"minOffset\":{min_offset},\"maxOffset\":{max_offset}}}]");
        print(Event::new("records_consumed").json("count", count).json("partitions", partition));
        let next_offset = max_offset.saturating_add(1);
        session.mark_offset(batch.topic(), batch.partition(), next_offset, "");
        if self.args.enable_autocommit {
            return;
        }
        let committed = session.commit();
        let mut event =
            Event::new("offsets_committed").json("offsets", format!("[{{{place},\"offset\":{next_offset}}}]"));
        if let Err(error) = &committed {
            event = event.text("error", Some(&error.to_string()));
        }
        print(event.json("success", committed.is_ok()));
    }

    fn misbehave(&self) {
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if self.args.panic_at == Some(nth) {
            panic!("--panic-at {nth}");
        }
        while self.args.stuck_at == Some(nth) {
            std::thread::park();
        }
        if self.args.handler_delay_ms > 0 {
            std::thread::sleep(Duration::from_millis(self.args.handler_delay_ms));
        }
    }
}

fn revoked(session: &ConsumerGroupSession) {
    if session.claims().values().any(|partitions| !partitions.is_empty()) {
        print(partitions_event("partitions_revoked", session));
    }
}

fn partitions_event(name: &str, session: &ConsumerGroupSession) -> Event {
    let partitions: Vec<String> = session
        .claims()
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, partition)))
        .map(|(topic, partition)| {
            format!("{{\"topic\":{},\"partition\":{partition}}}", serde_json::Value::from(topic.as_str()))
        })
        .collect();
    Event::new(name).json("partitions", format!("[{}]", partitions.join(",")))
}

/// Nobody may be listening any more; the end must still be an orderly one.
fn print(event: Event) {
    if let Err(error) = event.print() {
        eprintln!("error: writing to standard output: {error}");
    }
}
