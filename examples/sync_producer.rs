//! Sends one record and waits until the brokers have it.

mod support;

use clap::Parser;
use sarameya::{ProducerRecord, SyncProducer};
use std::process::ExitCode;
use std::time::Duration;
use support::{Connection, Outcome};

/// Sends one record, waits for the answer, and prints where the record is: produce PARTITION/OFFSET
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// The key; records with the same key go to the same partition [default: null]
    #[arg(long)]
    key: Option<String>,

    /// The value
    #[arg(long)]
    value: String,

    /// Who must have the record: 0 nobody, 1 the partition's leader, all its in-sync replicas [default: all]
    #[arg(long, value_parser = ["0", "1", "all"])]
    acks: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| send(&args))
}

fn send(args: &Args) -> Outcome<ExitCode> {
    let mut properties = args.connection.properties()?;
    if let Some(acks) = &args.acks {
        properties.set("acks", acks)?;
    }
    let client = args.connection.client(&properties)?;
    let producer = SyncProducer::builder(&client).properties(&properties)?.build_sync()?;

    let mut record = ProducerRecord::new(&args.topic).value(&args.value);
    if let Some(key) = &args.key {
        record = record.key(key);
    }
    let sent = producer.send(&record)?;
    // Without acks nobody tells the offset; Kafka's own clients call it -1 then.
    support::print_line(format!("produce {}/{}", sent.partition(), sent.offset().unwrap_or(-1)))?;

    producer.close(Duration::from_secs(10))?;
    Ok(ExitCode::SUCCESS)
}
