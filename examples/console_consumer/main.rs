//! Kafka's console consumer: prints the records of a topic.
//!
//! The options are those of `kafka-console-consumer`, by their newer and their older names, and the output is the same
//! byte for byte. Records of different partitions may be printed in another order.

mod formatter;
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use formatter::{Fields, Formatter};
use sarameya::{
    Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, FetchedBatch,
    PartitionConsumer, Properties, StartOffset, StopHandle,
};
use std::io::{BufWriter, Stdout, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use support::{Connection, Outcome, StopFlag, name_and_value};

/// Prints the records of a topic
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// The group to be a member of; without one a group of its own, which commits nothing
    #[arg(long)]
    group: Option<String>,

    /// Where nothing is committed, start with the oldest record rather than the next one
    #[arg(long)]
    from_beginning: bool,

    /// The one partition to be read, without a group
    #[arg(long)]
    partition: Option<i32>,

    /// Where to start in the partition: earliest, latest or an offset [default: latest]
    #[arg(long, allow_hyphen_values = true, value_parser = start_offset)]
    offset: Option<StartOffset>,

    /// End after so many records
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_messages: Option<i64>,

    /// End if no record comes for so long
    #[arg(long, value_name = "MS", allow_hyphen_values = true)]
    timeout_ms: Option<i64>,

    /// Leave out a record that can't be printed, rather than end
    #[arg(long)]
    skip_message_on_error: bool,

    /// Print shutdown_complete at the end
    #[arg(long)]
    enable_systest_events: bool,

    /// read_committed or read_uncommitted [default: read_uncommitted]
    #[arg(long, value_name = "LEVEL")]
    isolation_level: Option<String>,

    /// How to print keys: StringDeserializer, ShortDeserializer, IntegerDeserializer or LongDeserializer
    #[arg(long, value_name = "CLASS")]
    key_deserializer: Option<String>,

    /// How to print values; see --key-deserializer
    #[arg(long, value_name = "CLASS")]
    value_deserializer: Option<String>,

    /// What to print: print.timestamp, print.partition, print.offset, print.epoch, print.headers, print.key, print.value,
    /// key.separator, line.separator, headers.separator, null.literal; and key.deserializer and the like
    #[arg(long, value_name = "NAME=VALUE", visible_alias = "property", value_parser = name_and_value)]
    formatter_property: Vec<(String, String)>,

    /// A setting by its Kafka name, over those of the file
    #[arg(long, value_name = "NAME=VALUE", visible_alias = "consumer-property", value_parser = name_and_value)]
    command_property: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| consume(&args))
}

fn consume(args: &Args) -> Outcome<ExitCode> {
    let mut formatter_properties = Vec::new();
    for (name, class) in
        [("key.deserializer", &args.key_deserializer), ("value.deserializer", &args.value_deserializer)]
    {
        formatter_properties.extend(class.iter().map(|class| (name.to_owned(), class.clone())));
    }
    formatter_properties.extend(args.formatter_property.iter().cloned());
    let formatter = Formatter::new(&formatter_properties)?;
    let (properties, group) = settings(args)?;
    let client = args.connection.client(&properties)?;
    let printer = Printer {
        formatter,
        skip_errors: args.skip_message_on_error,
        max: args.max_messages.and_then(|max| u64::try_from(max).ok()).unwrap_or(u64::MAX),
        timeout: args.timeout_ms.and_then(|timeout| u64::try_from(timeout).ok()).map(Duration::from_millis),
        output: Mutex::new(Output {
            out: BufWriter::new(std::io::stdout()),
            count: 0,
            last: Instant::now(),
            closed: false,
        }),
    };
    let outcome = match args.partition {
        Some(partition) => consume_partition(args, partition, &client, &properties, &printer),
        None => consume_group(args, &group, &client, &properties, &printer),
    };
    eprintln!("Processed a total of {} messages", printer.output().count);
    if args.enable_systest_events {
        support::print_line("shutdown_complete")?;
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// As a member of a group.
fn consume_group(args: &Args, group: &str, client: &Client, properties: &Properties, printer: &Printer) -> Outcome {
    if printer.max == 0 {
        return Ok(());
    }
    let mut group = ConsumerGroup::builder(client, group).properties(properties)?.build()?;
    let stop = group.stop_handle();
    support::on_signal({
        let stop = stop.clone();
        move || stop.stop()
    })?;
    let ended = StopFlag::default();
    std::thread::scope(|scope| {
        if let Some(timeout) = printer.timeout {
            let (ended, stop) = (&ended, &stop);
            scope.spawn(move || watch(timeout, printer, ended, stop));
        }
        let outcome = group.consume(&[&args.topic], &GroupPrinter { printer, stop: stop.clone() });
        ended.set();
        Ok(outcome?)
    })
}

/// Stops the group when no record has come for the timeout. Ends with it.
fn watch(timeout: Duration, printer: &Printer, ended: &StopFlag, stop: &StopHandle) {
    loop {
        let idle = printer.output().last.elapsed();
        if idle >= timeout {
            eprintln!("No message within {} ms, terminating", timeout.as_millis());
            return stop.stop();
        }
        if ended.wait(timeout - idle) {
            return;
        }
    }
}

struct GroupPrinter<'a> {
    printer: &'a Printer,
    stop: StopHandle,
}

impl ConsumerGroupHandler for GroupPrinter<'_> {
    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> Outcome {
        while let Some(batch) = claim.next_batch() {
            let batch = batch?;
            let printed = self.printer.print(&batch)?;
            if let Some(next) = printed.next_offset {
                session.mark_offset(batch.topic(), batch.partition(), next, "");
            }
            if printed.is_end {
                self.stop.stop();
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One partition, without a group.
fn consume_partition(
    args: &Args,
    partition: i32,
    client: &Client,
    properties: &Properties,
    printer: &Printer,
) -> Outcome {
    let start = match args.offset {
        Some(offset) => offset,
        None if args.from_beginning => StartOffset::Earliest,
        None => StartOffset::Latest,
    };
    let builder = PartitionConsumer::builder(client, &args.topic, partition).properties(properties)?;
    let mut consumer = builder.start(start).build()?;
    let stop = StopFlag::default();
    support::on_signal({
        let stop = stop.clone();
        move || stop.set()
    })?;
    while !stop.is_set() && printer.max > 0 {
        // A tenth of a second is how long ctrl-c may take.
        let left =
            printer.timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(printer.output().last.elapsed()));
        if left.is_zero() {
            eprintln!("No message within {} ms, terminating", printer.timeout.unwrap_or_default().as_millis());
            break;
        }
        let batch = consumer.next_batch(left.min(Duration::from_millis(100)))?;
        if let Some(batch) = batch
            && printer.print(&batch)?.is_end
        {
            break;
        }
    }
    Ok(consumer.close(Duration::from_secs(5))?)
}

/// Prints batches, from one thread at a time.
struct Printer {
    formatter: Formatter,
    skip_errors: bool,
    max: u64,
    timeout: Option<Duration>,
    output: Mutex<Output>,
}

struct Output {
    out: BufWriter<Stdout>,
    count: u64,
    /// When the last record was printed.
    last: Instant,
    /// Nobody reads the output any more.
    closed: bool,
}

/// What became of a batch.
struct Printed {
    /// The offset after the last record that was printed.
    next_offset: Option<i64>,
    /// There is no more to print.
    is_end: bool,
}

impl Printer {
    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn print(&self, batch: &FetchedBatch) -> Outcome<Printed> {
        let mut output = self.output();
        if output.closed {
            return Ok(Printed { next_offset: None, is_end: true });
        }
        let mut printed = Printed { next_offset: None, is_end: output.count >= self.max };
        for record in batch {
            if output.count >= self.max {
                printed.is_end = true;
                break;
            }
            let record = record?;
            let fields = Fields {
                partition: batch.partition(),
                offset: record.offset(),
                timestamp: record.timestamp(),
                timestamp_type: record.timestamp_type(),
                key: record.key(),
                value: record.value(),
            };
            output.count += 1;
            let headers = record.headers().raw().map(|header| (header.key, header.value));
            match self.formatter.write(&mut output.out, &fields, headers) {
                Err(error) if error.kind() != std::io::ErrorKind::InvalidData => return Ok(output.close()),
                Err(error) if self.skip_errors => eprintln!("error: skipping a message: {error}"),
                done => done?,
            }
            printed.next_offset = record.offset().checked_add(1);
        }
        output.last = Instant::now();
        printed.is_end |= output.count >= self.max;
        match output.out.flush() {
            Ok(()) => Ok(printed),
            Err(_) => Ok(output.close()),
        }
    }
}

impl Output {
    /// Nothing of the batch counts as printed.
    fn close(&mut self) -> Printed {
        eprintln!("Unable to write to standard out, closing consumer.");
        self.closed = true;
        Printed { next_offset: None, is_end: true }
    }
}

/// Checks the options as Kafka's tool does; returns all settings and the group.
fn settings(args: &Args) -> Outcome<(Properties, String)> {
    let mut properties = args.connection.properties()?;
    let in_file = properties.get("group.id").map(str::to_owned);
    for (name, value) in &args.command_property {
        properties.set(name, value)?;
    }
    if args.partition.is_none() && args.offset.is_some() {
        return Err("The partition is required when offset is specified.".into());
    }
    if args.from_beginning && args.offset.is_some() {
        return Err("Options from-beginning and offset cannot be specified together.".into());
    }
    let mut groups: Vec<String> = args.group.iter().cloned().chain(in_file).collect();
    groups.extend(properties.get("group.id").map(str::to_owned));
    groups.dedup();
    if groups.len() > 1 {
        return Err(format!("The group ids provided in different places do not match: {}", groups.join(", ")).into());
    }
    if args.partition.is_some() && !groups.is_empty() {
        return Err("Options group and partition cannot be specified together.".into());
    }
    match properties.get("auto.offset.reset") {
        Some(reset) if args.from_beginning && reset != "earliest" => {
            return Err(format!("--from-beginning contradicts auto.offset.reset={reset}").into());
        }
        Some(_) => {}
        None => properties.set("auto.offset.reset", if args.from_beginning { "earliest" } else { "latest" })?,
    }
    if properties.get("client.id").is_none() {
        properties.set("client.id", "console-consumer")?;
    }
    if let Some(level) = &args.isolation_level {
        properties.set("isolation.level", level)?;
    }
    let group = match groups.pop() {
        Some(group) => group,
        None => {
            // The group is never used again, so there is nothing to commit for.
            if properties.get("enable.auto.commit").is_none() {
                properties.set("enable.auto.commit", "false")?;
            }
            format!("console-consumer-{}", fastrand::u32(..100_000))
        }
    };
    Ok((properties, group))
}

fn start_offset(text: &str) -> Result<StartOffset, String> {
    match text.to_ascii_lowercase().as_str() {
        "earliest" => Ok(StartOffset::Earliest),
        "latest" => Ok(StartOffset::Latest),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(StartOffset::Offset(offset)),
            _ => Err("valid are earliest, latest, or an offset of at least 0".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(options: &[&str]) -> Outcome<(Properties, String)> {
        let always = ["console_consumer", "--bootstrap-server", "a:1", "--topic", "t"];
        settings(&Args::try_parse_from(always.iter().chain(options))?)
    }

    #[test]
    fn a_group_of_its_own_commits_nothing() {
        let (properties, group) = settings_of(&["--from-beginning"]).unwrap();
        assert!(group.starts_with("console-consumer-"));
        assert_eq!(properties.get("enable.auto.commit"), Some("false"));
        assert_eq!(properties.get("auto.offset.reset"), Some("earliest"));
        let (properties, group) = settings_of(&["--consumer-property", "group.id=g"]).unwrap();
        assert_eq!((group.as_str(), properties.get("enable.auto.commit")), ("g", None));
        assert_eq!(properties.get("auto.offset.reset"), Some("latest"));
    }

    #[test]
    fn options_that_contradict_each_other() {
        for options in [
            &["--offset", "3"][..],
            &["--partition", "0", "--offset", "-1"],
            &["--partition", "0", "--offset", "3", "--from-beginning"],
            &["--partition", "0", "--group", "g"],
            &["--group", "g", "--command-property", "group.id=h"],
            &["--from-beginning", "--command-property", "auto.offset.reset=latest"],
        ] {
            assert!(settings_of(options).is_err(), "{options:?}");
        }
        assert!(settings_of(&["--partition", "0", "--offset", "Earliest"]).is_ok());
    }
}
