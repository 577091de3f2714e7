//! Kafka's consumer-groups tool: lists and describes groups, resets and deletes their offsets, deletes them.
//!
//! The options and the output are those of `kafka-consumer-groups`; `--watch` is an addition. Offsets are reset only with
//! `--execute`.

mod csv;
mod describe;
mod reset;
#[path = "../support/mod.rs"]
mod support;
mod watch;

use clap::{ArgGroup, Parser};
use sarameya::admin::{Admin, GroupFilter, GroupListing, GroupState, GroupType, TopicPartition};
use sarameya::{Error, ErrorCode};
use std::path::PathBuf;
use std::process::ExitCode;
use support::admin::{admin_within, all};
use support::{Connection, Outcome};

/// Lists and describes groups, resets and deletes their offsets, deletes them
#[derive(Debug, Parser)]
#[command(group = ArgGroup::new("action").required(true)
    .args(["list", "describe", "delete", "reset_offsets", "delete_offsets"]))]
#[command(group = ArgGroup::new("to").requires("reset_offsets").args(["to_offset", "from_file", "to_datetime",
    "by_duration", "to_earliest", "to_latest", "to_current", "shift_by"]))]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// List the groups
    #[arg(long)]
    list: bool,

    /// Show how far groups are behind, or their members or states
    #[arg(long, requires = "which")]
    describe: bool,

    /// Delete groups and their offsets, at once and for good
    #[arg(long, requires = "which")]
    delete: bool,

    /// Plan where groups without members are to go on, and with --execute have them do so
    #[arg(long, requires = "which", requires = "to")]
    reset_offsets: bool,

    /// Delete offsets of a group, at once and for good
    #[arg(long, requires = "group", requires = "topic")]
    delete_offsets: bool,

    /// The group; may be given several times
    #[arg(long, group = "which")]
    group: Vec<String>,

    /// All groups
    #[arg(long, group = "which", conflicts_with = "group")]
    all_groups: bool,

    /// The topic, or some of its partitions as in topic:0,1,2; may be given several times
    #[arg(long)]
    topic: Vec<String>,

    /// All partitions that the group has committed offsets of
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,

    /// Describe the offsets, which is the default
    #[arg(long, conflicts_with_all = ["members", "state"])]
    offsets: bool,

    /// Describe the members
    #[arg(long, conflicts_with = "state")]
    members: bool,

    /// Describe the state; with --list, show the states and list only groups in these
    #[arg(long, value_name = "STATE,...", num_args = 0..=1, default_missing_value = "")]
    state: Option<String>,

    /// With --list, show the types and list only groups of these
    #[arg(long = "type", value_name = "TYPE,...", num_args = 0..=1, default_missing_value = "", requires = "list")]
    group_type: Option<String>,

    /// Describe more
    #[arg(long)]
    verbose: bool,

    /// Describe again every so many seconds, with bars for the lag, until ctrl-c
    #[arg(long, value_name = "SECONDS", requires = "describe", conflicts_with_all = ["members", "state"])]
    watch: Option<u64>,

    /// To this offset
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    to_offset: Option<i64>,

    /// To the offsets in this file, as --export prints them
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// To the first records since this time, as in 2026-01-31T12:00:00.000
    #[arg(long, value_name = "TIME")]
    to_datetime: Option<String>,

    /// To the first records since this long ago, as in P1DT2H30M
    #[arg(long, value_name = "DURATION")]
    by_duration: Option<String>,

    /// To the oldest records
    #[arg(long)]
    to_earliest: bool,

    /// To the end
    #[arg(long)]
    to_latest: bool,

    /// To where it is
    #[arg(long)]
    to_current: bool,

    /// So many records on, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,

    /// Reset the offsets, rather than show the plan
    #[arg(long, conflicts_with = "dry_run")]
    execute: bool,

    /// Show the plan only, which is the default
    #[arg(long)]
    dry_run: bool,

    /// Print the plan as CSV
    #[arg(long, requires = "reset_offsets")]
    export: bool,

    /// How long each question may take
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    timeout: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| {
        let admin = admin_within(&args.connection, args.timeout)?;
        if args.list {
            list(&admin, &args)?;
        } else if args.describe {
            match args.watch {
                Some(seconds) => watch::watch(&admin, &groups(&admin, &args)?, seconds)?,
                None => describe::describe(&admin, &args, &groups(&admin, &args)?)?,
            }
        } else if args.delete {
            delete(&admin, &groups(&admin, &args)?)?;
        } else if args.reset_offsets {
            reset::reset(&admin, &args, &groups(&admin, &args)?)?;
        } else {
            delete_offsets(&admin, &args)?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The groups that are meant.
fn groups(admin: &Admin, args: &Args) -> Outcome<Vec<String>> {
    if !args.all_groups {
        return Ok(args.group.clone());
    }
    Ok(listed(admin, &GroupFilter::new())?.into_iter().map(|group| group.group_id).collect())
}

/// Groups of consumers, with the new protocol or the old one, or with offsets only.
fn listed(admin: &Admin, filter: &GroupFilter) -> Outcome<Vec<GroupListing>> {
    let mut groups = admin.list_groups(filter)?.all()?;
    groups.retain(|group| group.protocol_type == "consumer" || group.protocol_type.is_empty());
    Ok(groups)
}

fn list(admin: &Admin, args: &Args) -> Outcome {
    let mut filter = GroupFilter::new();
    if let Some(states) = args.state.as_deref().filter(|states| !states.is_empty()) {
        let states: Result<Vec<GroupState>, Error> = states.split(',').map(|state| state.trim().parse()).collect();
        filter = filter.states(states?);
    }
    if let Some(types) = args.group_type.as_deref().filter(|types| !types.is_empty()) {
        let types: Result<Vec<GroupType>, Error> = types.split(',').map(|name| name.trim().parse()).collect();
        filter = filter.types(types?);
    }
    let groups = listed(admin, &filter)?;
    if args.state.is_none() && args.group_type.is_none() {
        groups.iter().for_each(|group| println!("{}", group.group_id));
        return Ok(());
    }
    let width = groups.iter().map(|group| group.group_id.len()).max().unwrap_or(0).max(15) + 10;
    let print = |group: &str, group_type: &str, state: &str| {
        let group_type = args.group_type.as_ref().map(|_| format!(" {group_type:<20}")).unwrap_or_default();
        let state = args.state.as_ref().map(|_| format!(" {state:<20}")).unwrap_or_default();
        println!("{group:<width$}{group_type}{state}");
    };
    print("GROUP", "TYPE", "STATE");
    for group in &groups {
        let group_type = group.group_type.unwrap_or(GroupType::Unknown);
        print(&group.group_id, group_type.as_str(), group.state.unwrap_or(GroupState::Unknown).as_str());
    }
    Ok(())
}

fn delete(admin: &Admin, groups: &[String]) -> Outcome {
    let deleted = admin.delete_groups(&groups.iter().map(String::as_str).collect::<Vec<_>>())?;
    let quoted = |groups: Vec<&str>| groups.iter().map(|group| format!("'{group}'")).collect::<Vec<_>>().join(", ");
    let done: Vec<&str> = deleted.iter().filter(|(_, d)| d.is_ok()).map(|(group, _)| group.as_str()).collect();
    if done.len() == deleted.len() {
        println!("Deletion of requested consumer groups ({}) was successful.", quoted(done));
        return Ok(());
    }
    println!("\nError: Deletion of some consumer groups failed:");
    for (group, outcome) in &deleted {
        if let Err(error) = outcome {
            println!("* Group '{group}' could not be deleted due to: {error}");
        }
    }
    if !done.is_empty() {
        println!("\nThese consumer groups were deleted successfully: {}", quoted(done));
    }
    Ok(())
}

/// The partitions that `--topic` names: `topic:0,1` or all of a topic.
fn partitions(admin: &Admin, topics: &[String]) -> Outcome<Vec<TopicPartition>> {
    let (some, whole): (Vec<&String>, Vec<&String>) = topics.iter().partition(|topic| topic.contains(':'));
    let mut partitions = Vec::new();
    for (topic, numbers) in some.iter().filter_map(|topic| topic.split_once(':')) {
        for number in numbers.split(',') {
            let number = number.parse().map_err(|_| format!("Invalid partition '{number}' of topic '{topic}'"))?;
            partitions.push(TopicPartition::new(topic, number));
        }
    }
    let whole: Vec<&str> = whole.iter().map(|topic| topic.as_str()).collect();
    for (topic, description) in all(admin.describe_topics(&whole)?)? {
        partitions.extend(description.partitions.iter().map(|p| TopicPartition::new(&topic, p.partition)));
    }
    Ok(partitions)
}

fn delete_offsets(admin: &Admin, args: &Args) -> Outcome {
    let [group] = &args.group[..] else { return Err("--delete-offsets takes one group".into()) };
    let partitions = partitions(admin, &args.topic)?;
    let (whole, rows) = match admin.delete_group_offsets(group, &partitions) {
        Ok(rows) => (None, rows),
        Err(error) if error.code().is_some() => {
            let rows = partitions.iter().map(|partition| (partition.clone(), Err(error.clone()))).collect();
            (Some(error), rows)
        }
        Err(error) => return Err(error.into()),
    };
    match whole.as_ref().and_then(Error::code) {
        None if rows.iter().all(|(_, outcome)| outcome.is_ok()) => {
            println!("Request succeeded for deleting offsets from group {group}.");
        }
        None => println!("\nError: Encountered some partition-level error, see the follow-up details."),
        Some(ErrorCode::GROUP_ID_NOT_FOUND) => println!("\nError: '{group}' does not exist."),
        Some(ErrorCode::NON_EMPTY_GROUP) => {
            println!("\nError: Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty.");
        }
        Some(ErrorCode::GROUP_AUTHORIZATION_FAILED) => println!("\nError: Access to '{group}' is not authorized."),
        Some(code) => println!("\nError: Encountered some unknown error: {code}"),
    }
    print!("\n{:<30} {:<15} {:<15}", "TOPIC", "PARTITION", "STATUS");
    for (TopicPartition { topic, partition }, outcome) in rows {
        let status = outcome.map_or_else(|error| format!("Error: :{error}"), |()| "Successful".to_owned());
        print!("\n{topic:<30} {partition:<15} {status:<15}");
    }
    println!();
    Ok(())
}
