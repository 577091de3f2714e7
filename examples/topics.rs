//! Kafka's topics tool: lists, creates, changes, describes and deletes topics.
//!
//! The options and the output are those of `kafka-topics`.

mod support;

use clap::{ArgGroup, Parser};
use sarameya::NewTopic;
use sarameya::admin::{
    Admin, Config, ConfigResource, NewPartitions, PartitionDescription, PartitionReassignment, TopicDescription, Uuid,
};
use sarameya::{ErrorCode, ErrorKind, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use support::admin::{admin, all, joined, topics};
use support::{Connection, Outcome, name_and_value};

/// Lists, creates, changes, describes and deletes topics
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("action").required(true).args(["create", "list", "describe", "alter", "delete"]))]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// Create a topic
    #[arg(long, requires = "topic")]
    create: bool,

    /// List the topics' names
    #[arg(long)]
    list: bool,

    /// Show details of topics
    #[arg(long)]
    describe: bool,

    /// Change the number of a topic's partitions
    #[arg(long, requires = "topic")]
    alter: bool,

    /// Delete topics and their records, at once and for good
    #[arg(long, requires = "topic")]
    delete: bool,

    /// The topic; a regular expression unless one is created
    #[arg(long)]
    topic: Option<String>,

    /// The topic by its id, to be described
    #[arg(long, conflicts_with = "topic")]
    topic_id: Option<Uuid>,

    /// The number of partitions; the cluster's default if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,

    /// The number of replicas of each partition; the cluster's default if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,

    /// The brokers of each partition, such as 1:2,2:3 for two partitions with two replicas each
    #[arg(long, value_name = "ID:ID,...", value_parser = assignment)]
    replica_assignment: Option<Assignment>,

    /// A setting of the topic that is created
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    config: Vec<(String, String)>,

    /// Create the topic only if there is none of that name
    #[arg(long)]
    if_not_exists: bool,

    /// Do nothing if there is no such topic
    #[arg(long)]
    if_exists: bool,

    /// Leave out Kafka's own topics
    #[arg(long)]
    exclude_internal: bool,

    /// Describe only partitions that lack replicas in sync
    #[arg(long)]
    under_replicated_partitions: bool,

    /// Describe only partitions without a leader that runs
    #[arg(long)]
    unavailable_partitions: bool,

    /// Describe only partitions with fewer replicas in sync than the topic asks for
    #[arg(long)]
    under_min_isr_partitions: bool,

    /// Describe only partitions with exactly as many replicas in sync as the topic asks for
    #[arg(long)]
    at_min_isr_partitions: bool,

    /// Describe only topics with settings of their own, without their partitions
    #[arg(long)]
    topics_with_overrides: bool,
}

/// The brokers of each partition.
type Assignment = Vec<Vec<i32>>;

fn assignment(text: &str) -> Result<Assignment, String> {
    let broker = |id: &str| id.trim().parse().map_err(|_| format!("{id:?} is no broker's id"));
    text.split(',').map(|partition| partition.split(':').map(broker).collect()).collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| {
        let admin = admin(&args.connection)?;
        if args.create {
            create(&admin, &args)?;
        } else if args.list {
            println!("{}", topics(&admin, args.topic.as_deref(), args.exclude_internal)?.join("\n"));
        } else if args.describe {
            describe(&admin, &args)?;
        } else if args.alter {
            alter(&admin, &args)?;
        } else {
            let topics = existing(&admin, &args)?;
            all(admin.delete_topics(&topics.iter().map(String::as_str).collect::<Vec<_>>())?)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn create(admin: &Admin, args: &Args) -> Outcome {
    let Some(name) = &args.topic else { return Ok(()) };
    if name.contains(['.', '_']) {
        println!(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. \
             To avoid issues it is best to use either, but not both."
        );
    }
    let mut topic = NewTopic::new(name);
    if let Some(partitions) = args.partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(replicas) = args.replication_factor {
        topic = topic.replication_factor(replicas);
    }
    for (partition, brokers) in (0..).zip(args.replica_assignment.iter().flatten()) {
        topic = topic.assignment(partition, brokers.clone());
    }
    for (setting, value) in &args.config {
        topic = topic.config(setting, value);
    }
    match all(admin.create_topics(&[topic])?) {
        Ok(_) => println!("Created topic {name}."),
        Err(error) => {
            let code = error.downcast_ref::<sarameya::Error>().and_then(sarameya::Error::code);
            if !(args.if_not_exists && code == Some(ErrorCode::TOPIC_ALREADY_EXISTS)) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// The topics that are meant, of which there must be one unless that was said not to matter.
fn existing(admin: &Admin, args: &Args) -> Outcome<Vec<String>> {
    let topics = topics(admin, args.topic.as_deref(), args.exclude_internal)?;
    match &args.topic {
        Some(topic) if topics.is_empty() && !args.if_exists => {
            Err(format!("Topic '{topic}' does not exist as expected").into())
        }
        _ => Ok(topics),
    }
}

fn alter(admin: &Admin, args: &Args) -> Outcome {
    let topics = existing(admin, args)?;
    let total = args.partitions.ok_or("--alter needs --partitions")?;
    let mut changes = Vec::new();
    for (name, description) in all(admin.describe_topics(&topics.iter().map(String::as_str).collect::<Vec<_>>())?)? {
        let mut partitions = NewPartitions::new(name, total);
        for brokers in args.replica_assignment.iter().flatten().skip(description.partitions.len()) {
            partitions = partitions.assignment(brokers.clone());
        }
        changes.push(partitions);
    }
    all(admin.create_partitions(&changes)?)?;
    Ok(())
}

fn describe(admin: &Admin, args: &Args) -> Outcome {
    let topics: Vec<TopicDescription> = match args.topic_id {
        Some(id) => all(admin.describe_topics_by_id(&[id])?)?.into_iter().map(|(_, topic)| topic).collect(),
        None => {
            let names = existing(admin, args)?;
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            all(admin.describe_topics(&names)?)?.into_iter().map(|(_, topic)| topic).collect()
        }
    };
    let resources: Vec<_> = topics.iter().map(|topic| ConfigResource::topic(&topic.name)).collect();
    let configs: BTreeMap<ConfigResource, Vec<Config>> =
        all(admin.describe_configs(&resources)?)?.into_iter().collect();
    let report = Report {
        args,
        live: admin.describe_cluster()?.brokers.iter().map(|broker| broker.id).collect(),
        moving: reassignments(admin)?,
    };
    for topic in &topics {
        report.print(topic, configs.get(&ConfigResource::topic(&topic.name)).map_or(&[], Vec::as_slice));
    }
    Ok(())
}

/// What is moving, as far as the broker tells and this principal may know.
fn reassignments(admin: &Admin) -> Outcome<BTreeMap<TopicPartition, PartitionReassignment>> {
    match admin.list_partition_reassignments(None) {
        Ok(moving) => Ok(moving.into_iter().collect()),
        Err(error) if [ErrorKind::Unsupported, ErrorKind::Authorization].contains(&error.kind()) => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

struct Report<'a> {
    args: &'a Args,
    live: BTreeSet<i32>,
    moving: BTreeMap<TopicPartition, PartitionReassignment>,
}

impl Report<'_> {
    fn print(&self, topic: &TopicDescription, configs: &[Config]) {
        let args = self.args;
        let own: Vec<String> = configs
            .iter()
            .filter(|config| !config.is_default())
            .map(|config| format!("{}={}", config.name, config.value.as_deref().unwrap_or("null")))
            .collect();
        let only_some = args.under_replicated_partitions
            || args.unavailable_partitions
            || args.under_min_isr_partitions
            || args.at_min_isr_partitions;
        if !only_some && (!args.topics_with_overrides || !own.is_empty()) {
            print!("Topic: {}", topic.name);
            if let Some(id) = topic.id {
                print!("\tTopicId: {id}");
            }
            let replicas = topic.partitions.first().map_or(0, |first| self.replication_factor(&topic.name, first));
            println!(
                "\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
                topic.partitions.len(),
                own.join(",")
            );
        }
        if args.topics_with_overrides {
            return;
        }
        let min_isr = configs.iter().find(|config| config.name == "min.insync.replicas");
        let min_isr = min_isr.and_then(|config| config.value.as_deref()?.parse().ok()).unwrap_or(1);
        for partition in topic.partitions.iter().filter(|p| !only_some || self.is_meant(&topic.name, p, min_isr)) {
            self.print_partition(&topic.name, partition);
        }
    }

    fn is_meant(&self, topic: &str, partition: &PartitionDescription, min_isr: usize) -> bool {
        let in_sync = partition.isr.len();
        (self.args.under_replicated_partitions && self.replication_factor(topic, partition) > in_sync)
            || (self.args.unavailable_partitions && partition.leader.is_none_or(|leader| !self.live.contains(&leader)))
            || (self.args.under_min_isr_partitions && (partition.leader.is_none() || in_sync < min_isr))
            || (self.args.at_min_isr_partitions && in_sync == min_isr)
    }

    fn reassignment(&self, topic: &str, partition: &PartitionDescription) -> Option<&PartitionReassignment> {
        self.moving.get(&TopicPartition::new(topic, partition.partition))
    }

    /// The replicas there will be once nothing moves any more.
    fn replication_factor(&self, topic: &str, partition: &PartitionDescription) -> usize {
        let moving = |r: &&PartitionReassignment| {
            let mut changing = r.removing_replicas.iter().chain(&r.adding_replicas);
            changing.any(|broker| partition.replicas.contains(broker))
        };
        match self.reassignment(topic, partition).filter(moving) {
            Some(moving) => moving.replicas.len() - moving.adding_replicas.len(),
            None => partition.replicas.len(),
        }
    }

    fn print_partition(&self, topic: &str, partition: &PartitionDescription) {
        let leader = partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        print!("\tTopic: {topic}\tPartition: {}\tLeader: {leader}", partition.partition);
        print!("\tReplicas: {}\tIsr: {}", joined(&partition.replicas), joined(&partition.isr));
        if let Some(moving) = self.reassignment(topic, partition) {
            print!("\tAdding Replicas: {}", joined(&moving.adding_replicas));
            print!("\tRemoving Replicas: {}", joined(&moving.removing_replicas));
        }
        let or_absent = |replicas: &Option<Vec<i32>>| replicas.as_deref().map_or_else(|| "N/A".to_owned(), joined);
        println!(
            "\tElr: {}\tLastKnownElr: {}",
            or_absent(&partition.eligible_leader_replicas),
            or_absent(&partition.last_known_elr)
        );
    }
}
