//! A Kafka cluster in memory that stays up for other programs: for a first try, and for tests in other languages.

mod support;

use clap::Parser;
use sarameya::embedded::{Cluster, Listener};
use std::process::ExitCode;
use std::time::Duration;
use support::{Outcome, StopFlag};

/// How often it looks up by itself while it waits for its end
const LOOK_UP: Duration = Duration::from_secs(3600);

/// Starts a Kafka cluster in memory, prints its bootstrap.servers, and stays up until ctrl-c; nothing is kept on disk
#[derive(Debug, Parser)]
struct Args {
    /// How many brokers
    #[arg(long, value_name = "N", default_value_t = 1)]
    brokers: usize,

    /// The first broker's port; the next brokers have the next ports; 0: any free ports
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    port: u16,

    /// Play this release of Kafka, such as 2.5 [default: 4.3]
    #[arg(long, value_name = "VERSION")]
    release: Option<String>,

    /// A broker setting by Kafka's name, such as num.partitions=3; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = support::name_and_value)]
    set: Vec<(String, String)>,

    /// A topic to make at the start, such as test3:3; may be given more than once
    #[arg(long, value_name = "NAME:PARTITIONS", value_parser = name_and_partitions)]
    topic: Vec<(String, i32)>,

    /// A second listener for clients that authenticate by one of these: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; it has the
    /// ports after those of the first
    #[arg(long, value_name = "MECHANISM,...", value_delimiter = ',')]
    sasl: Vec<String>,

    /// Who may come in there; may be given more than once
    #[arg(long, value_name = "NAME=PASSWORD", value_parser = support::name_and_value, requires = "sasl")]
    user: Vec<(String, String)>,
}

/// The name of the listener for those who authenticate
const SASL: &str = "SASL_PLAINTEXT";

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| serve(&args))
}

fn serve(args: &Args) -> Outcome<ExitCode> {
    let stop = StopFlag::default();
    support::on_signal({
        let stop = stop.clone();
        move || stop.set()
    })?;
    let mut builder = Cluster::builder(args.brokers).port(args.port);
    if let Some(release) = &args.release {
        builder = builder.as_version(release);
    }
    for (name, value) in &args.set {
        builder = builder.set(name, value);
    }
    if !args.sasl.is_empty() {
        let mechanisms: Vec<&str> = args.sasl.iter().map(String::as_str).collect();
        builder = builder.listener(Listener::new("PLAINTEXT")).listener(Listener::new(SASL).sasl(&mechanisms));
    }
    for (name, password) in &args.user {
        builder = builder.user(name, password);
    }
    let cluster = builder.start()?;
    for (name, partitions) in &args.topic {
        cluster.create_topic(name, *partitions)?;
    }
    support::print_line(format!("bootstrap.servers={}", cluster.bootstrap_servers()))?;
    if !args.sasl.is_empty() {
        support::print_line(format!("{SASL}: bootstrap.servers={}", cluster.bootstrap_servers_of(SASL)?))?;
    }
    while !stop.wait(LOOK_UP) {}
    Ok(ExitCode::SUCCESS)
}

/// Splits `name:partitions`.
fn name_and_partitions(option: &str) -> Result<(String, i32), String> {
    let (name, partitions) = option.rsplit_once(':').ok_or_else(|| format!("{option:?} is not name:partitions"))?;
    let partitions = partitions.parse().map_err(|error| format!("{partitions:?} partitions: {error}"))?;
    Ok((name.to_owned(), partitions))
}
