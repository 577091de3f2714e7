//! A member of a consumer group that commits by itself: when a batch is done, and before it takes the next one.
//!
//! At most one batch per partition is read again after a crash, and an error says when a commit failed.

mod support;

use clap::Parser;
use sarameya::{
    ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, StartOffset, StopHandle,
};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Connection, Outcome, print_line};

/// Reads a topic as a member of a group, prints its records, and commits after each batch, until ctrl-c
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// The group; its members share the topic's partitions
    #[arg(long)]
    group: String,

    /// Where the group has committed nothing yet, start with the oldest record rather than the next one
    #[arg(long)]
    from_beginning: bool,

    /// End after so many records
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| consume(&args))
}

fn consume(args: &Args) -> Outcome<ExitCode> {
    let properties = args.connection.properties()?;
    let client = args.connection.client(&properties)?;
    let mut builder = ConsumerGroup::builder(&client, &args.group).properties(&properties)?.auto_commit(false);
    if args.from_beginning {
        builder = builder.start(StartOffset::Earliest);
    }
    let mut group = builder.build()?;

    let stop = group.stop_handle();
    support::on_signal(move || stop.stop())?;

    let max = args.max_messages.unwrap_or(u64::MAX);
    let handler = Printer { max, seen: AtomicU64::new(0), stop: group.stop_handle() };
    group.consume(&[&args.topic], &handler)?;
    Ok(ExitCode::SUCCESS)
}

struct Printer {
    max: u64,
    seen: AtomicU64,
    stop: StopHandle,
}

impl ConsumerGroupHandler for Printer {
    fn setup(&self, session: &ConsumerGroupSession) -> Outcome {
        Ok(print_line(format!("Setup {:?} {:?}", session.member_id(), session.claims()))?)
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> Outcome {
        // Records of a batch are read where they lie, without a copy.
        while let Some(batch) = claim.next_batch() {
            let batch = batch?;
            for record in &batch {
                let record = record?;
                let nth = self.seen.fetch_add(1, Ordering::SeqCst).saturating_add(1);
                if nth > self.max {
                    break;
                }
                print_line(format!(
                    "Message topic:{:?} partition:{} offset:{} ts:{} val:{}",
                    batch.topic(),
                    batch.partition(),
                    record.offset(),
                    record.timestamp(),
                    String::from_utf8_lossy(record.value().unwrap_or_default())
                ))?;
                // The offset to go on with, and a text to be stored beside it.
                session.mark_offset(batch.topic(), batch.partition(), record.offset() + 1, "");
                if nth == self.max {
                    self.stop.stop();
                }
            }
            // What is marked stays marked if this fails, and is in the next commit; another member reads it again if the
            // partition is no longer ours.
            if let Err(error) = session.commit() {
                eprintln!("warning: commit: {error}");
            }
        }
        Ok(())
    }
}
