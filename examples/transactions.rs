//! Kafka's transactions tool: shows transactions and the producers that write them, and aborts those that hang.
//!
//! The options and the output are those of `kafka-transactions`.

mod support;

use clap::{Parser, Subcommand};
use sarameya::ErrorCode;
use sarameya::TopicPartition;
use sarameya::admin::{AbortTransaction, Admin, ProducerDescription, TransactionDescription, TransactionFilter};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;
use support::admin::{admin, all, print_table};
use support::event::now_ms;
use support::{Connection, Outcome};

/// Shows transactions and their producers, and aborts those that hang
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List transactions
    List {
        /// Only those that have been open for longer than this, in milliseconds; all if it is negative
        #[arg(long, value_name = "MS", allow_hyphen_values = true)]
        duration_filter: Option<i64>,

        /// Only those whose ids match a regular expression of the broker's
        #[arg(long, value_name = "REGEX")]
        transactional_id_pattern: Option<String>,
    },
    /// Describe the transaction of a transactional id
    Describe {
        #[arg(long)]
        transactional_id: String,
    },
    /// Describe the producers that write to a partition
    DescribeProducers {
        /// As this broker knows them, rather than the leader
        #[arg(long)]
        broker_id: Option<i32>,
        #[arg(long)]
        topic: String,
        #[arg(long)]
        partition: i32,
    },
    /// Abort a transaction that hangs, at once and for good
    Abort {
        #[arg(long)]
        topic: String,
        #[arg(long)]
        partition: i32,
        /// The first offset of the transaction
        #[arg(long, required_unless_present = "producer_id")]
        start_offset: Option<i64>,
        /// The producer, for brokers before 3.0
        #[arg(long, requires = "producer_epoch", requires = "coordinator_epoch")]
        producer_id: Option<i64>,
        #[arg(long)]
        producer_epoch: Option<i16>,
        #[arg(long, allow_hyphen_values = true)]
        coordinator_epoch: Option<i32>,
    },
    /// Find transactions that hang
    FindHanging {
        /// In partitions of this broker
        #[arg(long, required_unless_present = "topic")]
        broker_id: Option<i32>,
        /// Only those without a record for so many minutes
        #[arg(long, value_name = "MINUTES", default_value_t = 15)]
        max_transaction_timeout: u32,
        /// In this topic
        #[arg(long)]
        topic: Option<String>,
        /// In this partition
        #[arg(long, requires = "topic")]
        partition: Option<i32>,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| {
        let admin = admin(&args.connection)?;
        match &args.command {
            Command::List { duration_filter, transactional_id_pattern } => {
                list(&admin, *duration_filter, transactional_id_pattern.as_deref())?;
            }
            Command::Describe { transactional_id } => describe(&admin, transactional_id)?,
            Command::DescribeProducers { broker_id, topic, partition } => {
                describe_producers(&admin, *broker_id, TopicPartition::new(topic, *partition))?;
            }
            Command::Abort { topic, partition, start_offset, producer_id, producer_epoch, coordinator_epoch } => {
                let partition = TopicPartition::new(topic, *partition);
                let known = producer_id.zip(*producer_epoch).zip(*coordinator_epoch);
                let abort = match (start_offset, known) {
                    (Some(offset), _) => starting_at(&admin, partition, *offset)?,
                    // What the leader has not heard of a coordinator yet is older than any epoch.
                    (None, Some(((producer_id, producer_epoch), epoch))) => {
                        AbortTransaction { partition, producer_id, producer_epoch, coordinator_epoch: epoch.max(0) }
                    }
                    (None, None) => return Err("the transaction to abort is not named".into()),
                };
                all(admin.abort_transactions(&[abort])?)?;
            }
            Command::FindHanging { broker_id, max_transaction_timeout, topic, partition } => {
                let timeout = Duration::from_secs(60 * u64::from(*max_transaction_timeout));
                let partitions = partitions(&admin, *broker_id, topic.as_deref(), *partition)?;
                find_hanging(&admin, *broker_id, timeout, &partitions)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn list(admin: &Admin, duration_ms: Option<i64>, pattern: Option<&str>) -> Outcome {
    let mut filter = TransactionFilter::new();
    if let Some(duration_ms) = duration_ms.and_then(|ms| u64::try_from(ms).ok()) {
        filter = filter.open_longer_than(Duration::from_millis(duration_ms));
    }
    if let Some(pattern) = pattern {
        filter = filter.transactional_id_pattern(pattern);
    }
    let row = |transaction: &sarameya::admin::TransactionListing| {
        vec![
            transaction.transactional_id.clone(),
            transaction.coordinator.to_string(),
            transaction.producer_id.to_string(),
            transaction.state.to_string(),
        ]
    };
    let rows: Vec<_> = admin.list_transactions(&filter)?.all()?.iter().map(row).collect();
    print_table(&["TransactionalId", "Coordinator", "ProducerId", "TransactionState"], &rows);
    Ok(())
}

fn describe(admin: &Admin, id: &str) -> Outcome {
    const HEADERS: [&str; 9] = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    let row = |transaction: &TransactionDescription| {
        let partitions: Vec<String> = transaction.partitions.iter().map(ToString::to_string).collect();
        vec![
            transaction.coordinator.to_string(),
            transaction.transactional_id.clone(),
            transaction.producer_id.to_string(),
            transaction.producer_epoch.to_string(),
            transaction.state.to_string(),
            transaction.timeout.as_millis().to_string(),
            or_none(transaction.start_timestamp),
            or_none(transaction.start_timestamp.map(|start| now_ms() - start)),
            partitions.join(","),
        ]
    };
    let rows: Vec<_> = all(admin.describe_transactions(&[id])?)?.iter().map(|(_, found)| row(found)).collect();
    print_table(&HEADERS, &rows);
    Ok(())
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "None".to_owned(), |value| value.to_string())
}

fn producers(
    admin: &Admin,
    broker: Option<i32>,
    partitions: &[TopicPartition],
) -> Outcome<Vec<(TopicPartition, Vec<ProducerDescription>)>> {
    all(match broker {
        Some(broker) => admin.describe_producers_on(broker, partitions)?,
        None => admin.describe_producers(partitions)?,
    })
}

fn describe_producers(admin: &Admin, broker: Option<i32>, partition: TopicPartition) -> Outcome {
    const HEADERS: [&str; 6] = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    let row = |producer: &ProducerDescription| {
        vec![
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.unwrap_or(-1).to_string(),
            producer.last_sequence.unwrap_or(-1).to_string(),
            producer.last_timestamp.unwrap_or(-1).to_string(),
            or_none(producer.current_transaction_start_offset),
        ]
    };
    let found = producers(admin, broker, &[partition])?;
    let rows: Vec<_> = found.iter().flat_map(|(_, producers)| producers).map(row).collect();
    print_table(&HEADERS, &rows);
    Ok(())
}

fn starting_at(admin: &Admin, partition: TopicPartition, offset: i64) -> Outcome<AbortTransaction> {
    let found = producers(admin, None, std::slice::from_ref(&partition))?;
    let open = |producer: &&ProducerDescription| producer.current_transaction_start_offset == Some(offset);
    let missing =
        || format!("Could not find any open transactions starting at offset {offset} on partition {partition}");
    let producer = found.iter().flat_map(|(_, producers)| producers).find(open).ok_or_else(missing)?;
    Ok(AbortTransaction {
        producer_id: producer.producer_id,
        producer_epoch: i16::try_from(producer.producer_epoch)?,
        coordinator_epoch: producer.coordinator_epoch.unwrap_or(0),
        partition,
    })
}

fn partitions(
    admin: &Admin,
    broker: Option<i32>,
    topic: Option<&str>,
    partition: Option<i32>,
) -> Outcome<Vec<TopicPartition>> {
    if let Some((topic, partition)) = topic.zip(partition) {
        return Ok(vec![TopicPartition::new(topic, partition)]);
    }
    let topics = match topic {
        Some(topic) => all(admin.describe_topics(&[topic])?)?.into_iter().map(|(_, topic)| topic).collect(),
        None => admin.describe_all_topics()?,
    };
    let mut partitions = Vec::new();
    for topic in topics {
        let there = topic.partitions.iter().filter(|p| broker.is_none_or(|broker| p.replicas.contains(&broker)));
        partitions.extend(there.map(|p| TopicPartition::new(&topic.name, p.partition)));
    }
    Ok(partitions)
}

/// A transaction hangs if it has been open for longer than any may be, and its coordinator does not know of it.
fn find_hanging(admin: &Admin, broker: Option<i32>, timeout: Duration, partitions: &[TopicPartition]) -> Outcome {
    const HEADERS: [&str; 8] = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    let (now, timeout_ms) = (now_ms(), i64::try_from(timeout.as_millis())?);
    let age_ms = |producer: &ProducerDescription| now - producer.last_timestamp.unwrap_or(-1);
    let mut open = Vec::new();
    for (partition, producers) in producers(admin, broker, partitions)? {
        let old = |p: &ProducerDescription| p.current_transaction_start_offset.is_some() && age_ms(p) > timeout_ms;
        open.extend(producers.into_iter().filter(old).map(|producer| (partition.clone(), producer)));
    }
    let known = transactions(admin, &open)?;
    let hangs = |(partition, producer): &&(TopicPartition, ProducerDescription)| {
        let transaction = known.get(&producer.producer_id);
        transaction.is_none_or(|transaction| !transaction.partitions.contains(partition))
    };
    let row = |(partition, producer): &(TopicPartition, ProducerDescription)| {
        vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            producer.producer_id.to_string(),
            producer.producer_epoch.to_string(),
            producer.coordinator_epoch.unwrap_or(-1).to_string(),
            producer.current_transaction_start_offset.unwrap_or(-1).to_string(),
            producer.last_timestamp.unwrap_or(-1).to_string(),
            (age_ms(producer) / 60_000).to_string(),
        ]
    };
    let rows: Vec<_> = open.iter().filter(hangs).map(row).collect();
    print_table(&HEADERS, &rows);
    Ok(())
}

/// What the coordinators know of these producers' transactions.
fn transactions(
    admin: &Admin,
    open: &[(TopicPartition, ProducerDescription)],
) -> Outcome<BTreeMap<i64, TransactionDescription>> {
    if open.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filter = TransactionFilter::new().producer_ids(open.iter().map(|(_, producer)| producer.producer_id));
    let listed = admin.list_transactions(&filter)?.all()?;
    let ids: Vec<&str> = listed.iter().map(|transaction| transaction.transactional_id.as_str()).collect();
    let mut known = BTreeMap::new();
    for (_, description) in admin.describe_transactions(&ids)? {
        match description {
            Ok(description) => {
                known.insert(description.producer_id, description);
            }
            // Gone since it was listed.
            Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(known)
}
