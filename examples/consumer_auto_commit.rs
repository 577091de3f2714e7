//! A member of a consumer group whose offsets are committed in the background.
//!
//! A record is marked when it is done, and what is marked is committed every few seconds and when partitions move to
//! another member. Nothing is lost; after a crash the last seconds are read again.

mod support;

use clap::Parser;
use sarameya::{
    ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, StartOffset, StopHandle,
};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{Connection, Outcome, print_line};

/// Reads a topic as a member of a group and prints its records, until ctrl-c
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
    let mut builder = ConsumerGroup::builder(&client, &args.group).properties(&properties)?.auto_commit(true);
    if args.from_beginning {
        builder = builder.start(StartOffset::Earliest);
    }
    let mut group = builder.build()?;

    let stop = group.stop_handle();
    support::on_signal(move || stop.stop())?;

    let max = args.max_messages.unwrap_or(u64::MAX);
    let handler = Printer { max, seen: AtomicU64::new(0), stop: group.stop_handle() };
    // Goes through all rebalances by itself and returns when it is stopped.
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

    /// Runs once for each partition, each on its own thread.
    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> Outcome {
        for record in claim {
            let record = record?;
            let nth = self.seen.fetch_add(1, Ordering::SeqCst).saturating_add(1);
            if nth > self.max {
                break;
            }
            print_line(format!(
                "Message topic:{:?} partition:{} offset:{} ts:{} val:{}",
                record.topic(),
                record.partition(),
                record.offset(),
                record.timestamp(),
                String::from_utf8_lossy(record.value().unwrap_or_default())
            ))?;
            session.mark(&record);
            if nth == self.max {
                self.stop.stop();
            }
        }
        Ok(())
    }
}
