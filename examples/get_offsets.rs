//! Kafka's get-offsets tool: prints offsets of partitions.
//!
//! The options and the output are those of `kafka-get-offsets`.

mod support;

use clap::Parser;
use sarameya::TopicPartition;
use sarameya::admin::{Admin, OffsetSpec};
use std::process::ExitCode;
use support::admin::{IncludeList, admin};
use support::{Connection, Outcome};

/// Prints offsets of partitions as TOPIC:PARTITION:OFFSET
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The topics, as a regular expression [default: all]
    #[arg(long)]
    topic: Option<String>,

    /// The partitions [default: all]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    partitions: Vec<i32>,

    /// Partitions by patterns, TOPIC:PARTITION with commas between: the topic is a regular expression, the partition a
    /// number, a range FROM-TO without its end, FROM-, -TO, or left out
    #[arg(long, value_name = "PATTERN,...", conflicts_with_all = ["topic", "partitions"])]
    topic_partitions: Option<String>,

    /// Which offset: latest or -1, earliest or -2, max-timestamp or -3, earliest-local or -4, latest-tiered or -5,
    /// earliest-pending-upload or -6, or the first one since a time in milliseconds since 1970
    #[arg(long, default_value = "latest", allow_hyphen_values = true, value_parser = offset_spec)]
    time: OffsetSpec,

    /// Leave out Kafka's own topics
    #[arg(long)]
    exclude_internal_topics: bool,
}

fn offset_spec(text: &str) -> Result<OffsetSpec, String> {
    Ok(match text {
        "latest" | "-1" => OffsetSpec::Latest,
        "earliest" | "-2" => OffsetSpec::Earliest,
        "max-timestamp" | "-3" => OffsetSpec::MaxTimestamp,
        "earliest-local" | "-4" => OffsetSpec::EarliestLocal,
        "latest-tiered" | "-5" => OffsetSpec::LatestTiered,
        "earliest-pending-upload" | "-6" => OffsetSpec::EarliestPendingUpload,
        time => OffsetSpec::Timestamp(time.parse().map_err(|_| format!("{time:?} is no time"))?),
    })
}

/// Partitions of topics of some names.
struct Rule {
    topics: IncludeList,
    numbers: Box<dyn Fn(i32) -> bool>,
}

impl Rule {
    fn parse(pattern: &str) -> Outcome<Self> {
        let (topic, numbers) = pattern.split_once(':').unwrap_or((pattern, ""));
        let number = |text: &str| text.parse::<i32>().map_err(|_| format!("Invalid rule specification: {pattern}"));
        let bound = |text: &str, open: i32| if text.is_empty() { Ok(open) } else { number(text) };
        let numbers: Box<dyn Fn(i32) -> bool> = match numbers.split_once('-') {
            None if numbers.is_empty() => Box::new(|_| true),
            None => {
                let only = number(numbers)?;
                Box::new(move |partition| partition == only)
            }
            Some((from, to)) => {
                let range = bound(from, 0)?..bound(to, i32::MAX)?;
                Box::new(move |partition| range.contains(&partition))
            }
        };
        Ok(Self { topics: IncludeList::new(if topic.is_empty() { ".*" } else { topic })?, numbers })
    }
}

fn rules(args: &Args) -> Outcome<Vec<Rule>> {
    if let Some(patterns) = &args.topic_partitions {
        return patterns.split(',').map(Rule::parse).collect();
    }
    let wanted = args.partitions.clone();
    let numbers = Box::new(move |partition| wanted.is_empty() || wanted.contains(&partition));
    Ok(vec![Rule { topics: IncludeList::new(args.topic.as_deref().unwrap_or(".*"))?, numbers }])
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| get_offsets(&admin(&args.connection)?, &args))
}

fn get_offsets(admin: &Admin, args: &Args) -> Outcome<ExitCode> {
    let rules = rules(args)?;
    let mut partitions = Vec::new();
    for topic in admin.list_topics()?.iter().filter(|topic| !(topic.internal && args.exclude_internal_topics)) {
        let meant = |partition: &i32| rules.iter().any(|r| r.topics.has(&topic.name) && (r.numbers)(*partition));
        let count = i32::try_from(topic.partitions)?;
        partitions.extend((0..count).filter(meant).map(|partition| TopicPartition::new(&topic.name, partition)));
    }
    if partitions.is_empty() {
        return Err("Could not match any topic-partitions with the specified filters".into());
    }
    partitions.sort_by_key(ToString::to_string);
    let sought: Vec<_> = partitions.into_iter().map(|partition| (partition, args.time)).collect();
    for (partition, offset) in admin.list_offsets(&sought)? {
        match offset.map(|found| found.offset) {
            Ok(Some(offset)) => println!("{}:{}:{offset}", partition.topic, partition.partition),
            Ok(None) => {}
            Err(error) => {
                eprintln!("Skip getting offsets for topic-partition {partition} due to error: {error}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
