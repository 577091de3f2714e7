//! Kafka's console producer: each line of standard input becomes a record.
//!
//! The options are those of `kafka-console-producer`, by their newer and their older names. Unlike there, the exit status
//! is 1 if a record was not written, also without `--sync`.

mod line_reader;
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use line_reader::{Line, LineReader, Lines};
use sarameya::{Producer, ProducerRecord, Properties, SendError, SyncProducer};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use support::deliveries::Deliveries;
use support::{Connection, Outcome, name_and_value};

/// How long the end waits for what was sent: longer than the delivery timeout's default, so that every record is heard of
const CLOSE_TIMEOUT: Duration = Duration::from_secs(150);

/// Reads lines from standard input and sends each as a record
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topic
    #[arg(long)]
    topic: String,

    /// Wait for the answer to each record before the next one is sent
    #[arg(long)]
    sync: bool,

    /// none, gzip, snappy, lz4 or zstd; gzip if no codec is named [default: none]
    #[arg(long, value_name = "CODEC", num_args = 0..=1, default_missing_value = "gzip")]
    compression_codec: Option<String>,

    /// Whose answer counts: 0, 1, or -1 or all for all in-sync replicas [default: -1]
    #[arg(long, value_name = "ACKS", allow_hyphen_values = true)]
    request_required_acks: Option<String>,

    /// How long a record waits for others to form a batch (linger.ms); not with --sync [default: 1000]
    #[arg(long, value_name = "MS")]
    timeout: Option<u64>,

    /// The size of a batch in bytes (batch.size) [default: 16384]
    #[arg(long, value_name = "BYTES", alias = "max-partition-memory-bytes")]
    batch_size: Option<u64>,

    /// The memory for records that are not answered yet (buffer.memory) [default: 33554432]
    #[arg(long, value_name = "BYTES")]
    max_memory_bytes: Option<u64>,

    /// How long a send may block (max.block.ms) [default: 60000]
    #[arg(long, value_name = "MS")]
    max_block_ms: Option<u64>,

    /// How long to wait for the answer to a request (request.timeout.ms) [default: 1500]
    #[arg(long, value_name = "MS")]
    request_timeout_ms: Option<u64>,

    /// How often a request is repeated (retries); here the delivery timeout limits that
    #[arg(long, value_name = "N")]
    message_send_max_retries: Option<u64>,

    /// The pause before a request is repeated (retry.backoff.ms) [default: 100]
    #[arg(long, value_name = "MS")]
    retry_backoff_ms: Option<u64>,

    /// The age at which metadata is fetched again (metadata.max.age.ms) [default: 300000]
    #[arg(long, value_name = "MS")]
    metadata_expiry_ms: Option<u64>,

    /// The size of the socket's send buffer (send.buffer.bytes); the system's default is kept here
    #[arg(long, value_name = "BYTES")]
    socket_buffer_size: Option<u64>,

    /// How lines are read: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator,
    /// headers.key.separator, ignore.error, null.marker
    #[arg(long, value_name = "NAME=VALUE", visible_alias = "property", value_parser = name_and_value)]
    reader_property: Vec<(String, String)>,

    /// A setting by its Kafka name, over those of the file
    #[arg(long, value_name = "NAME=VALUE", visible_alias = "producer-property", value_parser = name_and_value)]
    command_property: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| produce(&args))
}

fn produce(args: &Args) -> Outcome<ExitCode> {
    let reader = LineReader::new(&args.reader_property)?;
    let properties = settings(args)?;
    let client = args.connection.client(&properties)?;
    // Bound 100: the reader of standard input may run ahead a little; when sends block, so does it.
    let (sender, input) = sync_channel(100);
    let stop = sender.clone();
    // What was read before the signal stands before it in the channel and is still sent.
    support::on_signal(move || drop(stop.send(Input::End)))?;
    std::thread::Builder::new().name("stdin".into()).spawn(move || read_input(reader, &sender))?;
    if args.sync {
        let producer = SyncProducer::builder(&client).properties(&properties)?.build_sync()?;
        let outcome = each_line(&input, |line| {
            line_record(&args.topic, line, |record| producer.send(record))?;
            Ok(())
        });
        producer.close(CLOSE_TIMEOUT)?;
        outcome?;
        return Ok(ExitCode::SUCCESS);
    }
    let producer = Producer::builder(&client).properties(&properties)?.build()?;
    let failed = Arc::new(AtomicBool::new(false));
    let deliveries = {
        let (failed, topic) = (failed.clone(), args.topic.clone());
        Deliveries::start(move |(), sent| {
            if let Err(error) = sent {
                failed.store(true, Ordering::SeqCst);
                eprintln!("error: sending to topic {topic}: {error}");
            }
        })?
    };
    let outcome = each_line(&input, |line| {
        match line_record(&args.topic, line, |record| producer.send(record)) {
            Ok(delivery) => deliveries.push(delivery, ()),
            Err(error) => {
                failed.store(true, Ordering::SeqCst);
                eprintln!("error: sending to topic {}: {error}", args.topic);
            }
        }
        Ok(())
    });
    let closed = producer.close(CLOSE_TIMEOUT);
    deliveries.finish();
    outcome?;
    closed?;
    Ok(if failed.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What comes from standard input.
enum Input {
    Line(Line),
    /// The end of it, or a signal.
    End,
    Failed(String),
}

/// Runs on `stdin`, one; owns standard input and tells the main thread. Blocked in a read it ends with the process.
fn read_input(mut reader: LineReader, sender: &SyncSender<Input>) {
    let prompt = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut lines = Lines::new(std::io::stdin().lock());
    loop {
        if prompt {
            print!(">");
            let _ = std::io::stdout().flush();
        }
        let input = match lines.next() {
            Ok(Some(line)) => reader.read(&line).map_or_else(Input::Failed, Input::Line),
            Ok(None) => Input::End,
            Err(error) => Input::Failed(format!("reading standard input: {error}")),
        };
        let goes_on = matches!(input, Input::Line(_));
        if sender.send(input).is_err() || !goes_on {
            return;
        }
    }
}

fn each_line(input: &Receiver<Input>, mut send: impl FnMut(&Line) -> Outcome) -> Outcome {
    loop {
        match input.recv()? {
            Input::Line(line) => send(&line)?,
            Input::End => return Ok(()),
            Input::Failed(error) => return Err(error.into()),
        }
    }
}

/// Lends the record that a line stands for.
fn line_record<T>(
    topic: &str,
    line: &Line,
    send: impl FnOnce(&ProducerRecord<'_>) -> Result<T, SendError>,
) -> Result<T, SendError> {
    let mut record = ProducerRecord::new(topic);
    if let Some(key) = &line.key {
        record = record.key(key);
    }
    if let Some(value) = &line.value {
        record = record.value(value);
    }
    for (name, value) in &line.headers {
        record = match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        };
    }
    send(&record)
}

/// The file's settings, over them those given by name, over them the options; for what nobody set, the defaults of
/// Kafka's console producer, which differ from those of its producer.
fn settings(args: &Args) -> Outcome<Properties> {
    let mut properties = args.connection.properties()?;
    for (name, value) in &args.command_property {
        properties.set(name, value)?;
    }
    if properties.get("client.id").is_none() {
        properties.set("client.id", "console-producer")?;
    }
    if let Some(codec) = &args.compression_codec {
        properties.set("compression.type", codec)?;
    }
    if let Some(acks) = &args.request_required_acks {
        properties.set("acks", acks)?;
    }
    // A record that is waited for has nothing to wait for.
    let (linger, linger_default) = if args.sync { (None, "0") } else { (args.timeout, "1000") };
    for (name, option, default) in [
        ("linger.ms", linger, Some(linger_default)),
        ("batch.size", args.batch_size, Some("16384")),
        ("buffer.memory", args.max_memory_bytes, Some("33554432")),
        ("max.block.ms", args.max_block_ms, Some("60000")),
        ("request.timeout.ms", args.request_timeout_ms, Some("1500")),
        ("retries", args.message_send_max_retries, None),
        ("retry.backoff.ms", args.retry_backoff_ms, Some("100")),
        ("metadata.max.age.ms", args.metadata_expiry_ms, Some("300000")),
        ("send.buffer.bytes", args.socket_buffer_size, None),
    ] {
        match (option, default) {
            (Some(value), _) => properties.set(name, value.to_string())?,
            (None, Some(default)) if properties.get(name).is_none() => properties.set(name, default)?,
            _ => {}
        }
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings_of(options: &[&str]) -> Properties {
        let always = ["console_producer", "--bootstrap-server", "a:1", "--topic", "t"];
        settings(&Args::parse_from(always.iter().chain(options))).unwrap()
    }

    #[test]
    fn options_go_over_settings_and_settings_over_defaults() {
        let properties = settings_of(&[]);
        assert_eq!((properties.get("linger.ms"), properties.get("compression.type")), (Some("1000"), None));
        let properties = settings_of(&["--producer-property", "linger.ms=7", "--command-property", "acks=1"]);
        assert_eq!((properties.get("linger.ms"), properties.get("acks")), (Some("7"), Some("1")));
        let properties = settings_of(&["--command-property", "linger.ms=7", "--timeout", "8", "--compression-codec"]);
        assert_eq!((properties.get("linger.ms"), properties.get("compression.type")), (Some("8"), Some("gzip")));
        let properties = settings_of(&["--request-required-acks", "-1", "--sync", "--timeout", "9"]);
        assert_eq!((properties.get("acks"), properties.get("linger.ms")), (Some("-1"), Some("0")));
        let properties = settings_of(&["--compression-codec", "lz4"]);
        assert_eq!(properties.get("compression.type"), Some("lz4"));
    }

    #[test]
    fn reader_properties_by_both_names() {
        let args = Args::parse_from([
            "console_producer",
            "--bootstrap-server",
            "a:1",
            "--topic",
            "t",
            "--property",
            "key.separator==",
            "--reader-property",
            "parse.key=true",
        ]);
        let expected = [("key.separator".into(), "=".into()), ("parse.key".into(), "true".into())];
        assert_eq!(args.reader_property, expected);
    }
}
