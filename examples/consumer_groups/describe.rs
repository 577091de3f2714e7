//! `--describe`: how far groups are behind, who their members are, which state they are in.

use crate::Args;
use crate::support::Outcome;
use sarameya::admin::{
    Admin, BrokerDescription, GroupDescription, GroupLag, GroupState, MemberDescription, PartitionLag,
};
use sarameya::{Error, ErrorCode, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

const MISSING: &str = "-";

pub(crate) fn describe(admin: &Admin, args: &Args, groups: &[String]) -> Outcome {
    let groups: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
    let names: Vec<&str> = groups.into_iter().collect();
    if !args.members && args.state.is_none() {
        for (group, lag) in admin.group_lag(&names)? {
            if let Some(lag) = existing(&group, lag)?
                && announce(&lag.group)
                && !lag.partitions.is_empty()
            {
                print_offsets(&lag, args.verbose);
            }
        }
        return Ok(());
    }
    let brokers = admin.describe_cluster()?.brokers;
    for (group, description) in admin.describe_groups(&names)? {
        let Some(group) = existing(&group, description)? else { continue };
        if announce(&group) {
            if args.members {
                print_members(&group, args.verbose);
            } else {
                print_state(&group, &brokers, args.verbose);
            }
        }
    }
    Ok(())
}

/// The description, unless there is no such group, which is said.
fn existing<T>(group: &str, described: Result<T, Error>) -> Outcome<Option<T>> {
    match described {
        Ok(description) => Ok(Some(description)),
        Err(error) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => {
            println!("\nError: Consumer group '{group}' does not exist.");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Says what a reader must know of the group's state; whether there is anything to show.
fn announce(group: &GroupDescription) -> bool {
    let id = &group.group_id;
    match group.state {
        GroupState::Dead => println!("\nError: Consumer group '{id}' does not exist."),
        GroupState::Empty => eprintln!("\nConsumer group '{id}' has no active members."),
        GroupState::Stable => {}
        _ => eprintln!("\nWarning: Consumer group '{id}' is rebalancing."),
    }
    group.state != GroupState::Dead
}

/// Columns with headers and least widths; the last one is as wide as it is.
fn print_columns(columns: &[(&str, usize)], rows: &[Vec<String>]) {
    let width =
        |at: usize, least: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).fold(least, usize::max);
    let widths: Vec<usize> = columns.iter().enumerate().map(|(at, (_, least))| width(at, *least)).collect();
    let line = |cells: Vec<&str>| {
        let last = cells.len().saturating_sub(1);
        let cell = |(at, cell): (usize, &&str)| {
            if at == last { (*cell).to_owned() } else { format!("{cell:<width$} ", width = widths[at]) }
        };
        cells.iter().enumerate().map(cell).collect::<String>()
    };
    println!("\n{}", line(columns.iter().map(|(header, _)| *header).collect()));
    for row in rows {
        println!("{}", line(row.iter().map(String::as_str).collect()));
    }
}

fn or_missing(value: Option<impl Display>) -> String {
    value.map_or_else(|| MISSING.to_owned(), |value| value.to_string())
}

/// The partitions that members have, those of members with many first, and then the others.
pub(crate) fn ordered(lag: &GroupLag) -> Vec<(&PartitionLag, Option<&MemberDescription>)> {
    let mut members: Vec<&MemberDescription> = lag.group.members.iter().collect();
    members.sort_by_key(|member| std::cmp::Reverse(member.assignment.len()));
    let by_id: BTreeMap<&str, (usize, &MemberDescription)> =
        members.iter().enumerate().map(|(at, member)| (member.member_id.as_str(), (at, *member))).collect();
    let member = |partition: &PartitionLag| partition.member_id.as_deref().and_then(|id| by_id.get(id)).copied();
    let mut rows: Vec<_> = lag.partitions.iter().map(|partition| (partition, member(partition))).collect();
    rows.sort_by_key(|(_, member)| member.map_or(usize::MAX, |(at, _)| at));
    rows.into_iter().map(|(partition, member)| (partition, member.map(|(_, member)| member))).collect()
}

fn print_offsets(lag: &GroupLag, verbose: bool) {
    let mut columns = vec![("GROUP", 15), ("TOPIC", 15), ("PARTITION", 10)];
    if verbose {
        columns.push(("LEADER-EPOCH", 15));
    }
    columns.extend([("CURRENT-OFFSET", 15), ("LOG-END-OFFSET", 15), ("LAG", 15)]);
    columns.extend([("CONSUMER-ID", 15), ("HOST", 15), ("CLIENT-ID", 0)]);
    let row = |(partition, member): &(&PartitionLag, Option<&MemberDescription>)| {
        let TopicPartition { topic, partition: number } = &partition.partition;
        let mut row = vec![lag.group.group_id.clone(), topic.clone(), number.to_string()];
        let committed = partition.committed.as_ref();
        if verbose {
            row.push(or_missing(committed.and_then(|committed| committed.leader_epoch)));
        }
        row.push(or_missing(committed.map(|committed| committed.offset)));
        row.extend([or_missing(partition.end_offset), or_missing(partition.lag())]);
        row.extend([
            or_missing(member.map(|member| &member.member_id)),
            or_missing(member.map(|member| &member.host)),
            or_missing(member.map(|member| &member.client_id)),
        ]);
        row
    };
    let ordered = ordered(lag);
    print_columns(&columns, &ordered.iter().map(row).collect::<Vec<_>>());
    for (partition, _) in ordered {
        if let Some(error) = &partition.error {
            eprintln!("{}: {error}", partition.partition);
        }
    }
}

/// `topic:0,1;other:2`
fn assignment(partitions: &[TopicPartition]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topic = |(topic, mut numbers): (&str, Vec<i32>)| {
        numbers.sort_unstable();
        format!("{topic}:{}", crate::support::admin::joined(&numbers))
    };
    let text = topics.into_iter().map(topic).collect::<Vec<_>>().join(";");
    if text.is_empty() { MISSING.to_owned() } else { text }
}

fn print_members(group: &GroupDescription, verbose: bool) {
    let instances = group.members.iter().any(|member| member.group_instance_id.is_some());
    let upgraded = verbose && group.members.iter().any(|member| member.upgraded == Some(false));
    let mut columns = vec![("GROUP", 15), ("CONSUMER-ID", 15)];
    if instances {
        columns.push(("GROUP-INSTANCE-ID", 17));
    }
    columns.extend([("HOST", 15), ("CLIENT-ID", 15), ("#PARTITIONS", 15)]);
    if verbose {
        columns.extend([("CURRENT-EPOCH", 15), ("CURRENT-ASSIGNMENT", 20)]);
        columns.extend([("TARGET-EPOCH", 15), ("TARGET-ASSIGNMENT", 20)]);
    }
    if upgraded {
        columns.push(("UPGRADED", 15));
    }
    let row = |member: &MemberDescription| {
        let mut row = vec![group.group_id.clone(), member.member_id.clone()];
        if instances {
            row.push(member.group_instance_id.clone().unwrap_or_default());
        }
        row.extend([member.host.clone(), member.client_id.clone(), member.assignment.len().to_string()]);
        if verbose {
            row.extend([or_missing(member.epoch), assignment(&member.assignment)]);
            let target = member.target_assignment.as_deref();
            row.extend([or_missing(target.and(group.assignment_epoch)), assignment(target.unwrap_or_default())]);
        }
        if upgraded {
            row.push(or_missing(member.upgraded));
        }
        row
    };
    print_columns(&columns, &group.members.iter().map(row).collect::<Vec<_>>());
}

fn print_state(group: &GroupDescription, brokers: &[BrokerDescription], verbose: bool) {
    let broker = brokers.iter().find(|broker| broker.id == group.coordinator);
    let address = broker.map(|broker| format!("{}:{}", broker.host, broker.port)).unwrap_or_default();
    let assignor = Some(&group.assignor).filter(|assignor| !assignor.is_empty());
    let mut columns = vec![("GROUP", 15), ("COORDINATOR (ID)", 25), ("ASSIGNMENT-STRATEGY", 20), ("STATE", 20)];
    let mut row = vec![group.group_id.clone(), format!("{address}  ({})", group.coordinator)];
    row.extend([or_missing(assignor), group.state.to_string()]);
    if verbose {
        columns.extend([("GROUP-EPOCH", 15), ("TARGET-ASSIGNMENT-EPOCH", 25)]);
        row.extend([or_missing(group.epoch), or_missing(group.assignment_epoch)]);
    }
    columns.push(("#MEMBERS", 0));
    row.push(group.members.len().to_string());
    print_columns(&columns, &[row]);
}
