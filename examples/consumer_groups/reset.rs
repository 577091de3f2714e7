//! `--reset-offsets`: plans where groups are to go on, and has them do so with `--execute`.

use crate::csv::{self, Plans};
use crate::support::Outcome;
use crate::support::admin::all;
use crate::support::event::now_ms;
use crate::{Args, partitions};
use sarameya::admin::{Admin, CommittedOffset, GroupState, OffsetSpec};
use sarameya::{ErrorCode, TopicPartition};
use std::collections::BTreeMap;

/// Offsets by partition.
type Plan = BTreeMap<TopicPartition, i64>;

pub(crate) fn reset(admin: &Admin, args: &Args, groups: &[String]) -> Outcome {
    let mut plans = Plans::new();
    for group in groups {
        let state = match admin.describe_groups(&[group])?.pop() {
            Some((_, Ok(description))) => description.state,
            Some((_, Err(error))) if error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND) => GroupState::Dead,
            Some((_, Err(error))) => return Err(error.into()),
            None => return Err("nothing is known of the group".into()),
        };
        if ![GroupState::Empty, GroupState::Dead].contains(&state) {
            println!(
                "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            );
            plans.insert(group.clone(), Plan::new());
            continue;
        }
        let plan = plan(admin, args, group)?;
        if args.execute {
            let offsets: Vec<_> = plan.iter().map(|(p, offset)| (p.clone(), CommittedOffset::new(*offset))).collect();
            all(admin.alter_group_offsets(group, &offsets)?)?;
        }
        plans.insert(group.clone(), plan);
    }
    if args.export {
        println!("{}", csv::write(&plans, groups.len() != 1));
    } else {
        print(&plans);
    }
    Ok(())
}

fn print(plans: &Plans) {
    let row = |group: &str, topic: &str, partition: &str, offset: &str| {
        print!("\n{group:<30} {topic:<30} {partition:<10} {offset:<15}");
    };
    if !plans.is_empty() {
        row("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    }
    for (group, plan) in plans {
        for (partition, offset) in plan {
            row(group, &partition.topic, &partition.partition.to_string(), &offset.to_string());
        }
    }
    println!();
}

fn committed(admin: &Admin, group: &str) -> Outcome<Plan> {
    let offsets = all(admin.list_group_offsets(&[group])?)?.into_iter().flat_map(|(_, offsets)| offsets);
    offsets.map(|(partition, committed)| Ok((partition, committed?.offset))).collect()
}

fn plan(admin: &Admin, args: &Args, group: &str) -> Outcome<Plan> {
    if let Some(path) = &args.from_file {
        let plans = csv::read(&std::fs::read_to_string(path)?, (args.group.len() == 1).then_some(group))?;
        let Some(plan) = plans.get(group) else {
            println!("\nError: No reset plan for group {group} found");
            return Ok(Plan::new());
        };
        return within_log(admin, plan.clone());
    }
    let partitions = if args.all_topics {
        committed(admin, group)?.into_keys().collect()
    } else if args.topic.is_empty() {
        return Err("One of the reset scopes should be defined: --all-topics, --topic.".into());
    } else {
        partitions(admin, &args.topic)?
    };
    if args.to_earliest {
        return listed(admin, &partitions, OffsetSpec::Earliest);
    }
    if args.to_latest {
        return listed(admin, &partitions, OffsetSpec::Latest);
    }
    if let Some(offset) = args.to_offset {
        return within_log(admin, partitions.into_iter().map(|partition| (partition, offset)).collect());
    }
    if let Some(time) = &args.to_datetime {
        return since(admin, &partitions, milliseconds(time)?);
    }
    if let Some(duration) = &args.by_duration {
        let ago: jiff::Span = duration.parse()?;
        let ago = ago.to_duration(jiff::SpanRelativeTo::days_are_24_hours())?;
        return since(admin, &partitions, now_ms() - i64::try_from(ago.as_millis())?);
    }
    let committed = committed(admin, group)?;
    if let Some(shift) = args.shift_by {
        let shifted = |partition: TopicPartition| {
            let missing =
                || format!("Cannot shift offset for partition {partition} since there is no current committed offset");
            let offset = committed.get(&partition).ok_or_else(missing)?.saturating_add(shift);
            Ok((partition, offset))
        };
        return within_log(admin, partitions.into_iter().map(shifted).collect::<Outcome<Plan>>()?);
    }
    // To where it is, or to the end where it is nowhere.
    let (there, nowhere): (Vec<_>, Vec<_>) = partitions.into_iter().partition(|p| committed.contains_key(p));
    let mut plan = listed(admin, &nowhere, OffsetSpec::Latest)?;
    plan.extend(there.into_iter().filter_map(|partition| Some((partition.clone(), *committed.get(&partition)?))));
    Ok(plan)
}

/// Milliseconds since 1970; without a zone it is UTC.
fn milliseconds(time: &str) -> Outcome<i64> {
    if let Ok(timestamp) = time.parse::<jiff::Timestamp>() {
        return Ok(timestamp.as_millisecond());
    }
    let civil: jiff::civil::DateTime = time.parse()?;
    Ok(civil.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_millisecond())
}

fn found(
    admin: &Admin,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
) -> Outcome<BTreeMap<TopicPartition, Option<i64>>> {
    let sought: Vec<_> = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
    Ok(all(admin.list_offsets(&sought)?)?.into_iter().map(|(partition, found)| (partition, found.offset)).collect())
}

fn listed(admin: &Admin, partitions: &[TopicPartition], spec: OffsetSpec) -> Outcome<Plan> {
    let known = |(partition, offset): (TopicPartition, Option<i64>)| {
        let missing = || format!("Error getting the offset of topic partition: {partition}");
        let offset = offset.ok_or_else(missing)?;
        Ok((partition, offset))
    };
    found(admin, partitions, spec)?.into_iter().map(known).collect()
}

/// The first records since a time, or the ends where there are none.
fn since(admin: &Admin, partitions: &[TopicPartition], timestamp: i64) -> Outcome<Plan> {
    let mut plan = Plan::new();
    let mut none_since = Vec::new();
    for (partition, offset) in found(admin, partitions, OffsetSpec::Timestamp(timestamp))? {
        match offset {
            Some(offset) => {
                plan.insert(partition, offset);
            }
            None => {
                println!(
                    "\nWarn: Partition {} from topic {} is empty. Falling back to latest known offset.",
                    partition.partition, partition.topic
                );
                none_since.push(partition);
            }
        }
    }
    plan.extend(listed(admin, &none_since, OffsetSpec::Latest)?);
    Ok(plan)
}

/// Offsets beyond an end of a log become that end.
fn within_log(admin: &Admin, mut plan: Plan) -> Outcome<Plan> {
    let partitions: Vec<TopicPartition> = plan.keys().cloned().collect();
    let (starts, ends) =
        (listed(admin, &partitions, OffsetSpec::Earliest)?, listed(admin, &partitions, OffsetSpec::Latest)?);
    for (partition, offset) in &mut plan {
        let (Some(&start), Some(&end)) = (starts.get(partition), ends.get(partition)) else { continue };
        let (bound, which) = if *offset > end { (end, "higher than latest") } else { (start, "lower than earliest") };
        if *offset > end || *offset < start {
            eprintln!(
                "New offset ({offset}) is {which} offset for topic partition {partition}. Value will be set to {bound}"
            );
            *offset = bound;
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        assert_eq!(milliseconds("1970-01-02T00:00:00.500").unwrap(), 86_400_500);
        assert_eq!(milliseconds("1970-01-02T00:00:00.000Z").unwrap(), 86_400_000);
        assert_eq!(milliseconds("1970-01-02T01:00:00.000+01:00").unwrap(), 86_400_000);
        assert!(milliseconds("yesterday").is_err());
    }
}
