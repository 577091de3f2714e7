//! Kafka's `kafka-consumer-groups`.

use std::fs;
use std::time::Duration;

use sarameya::admin::GroupState;
use sarameya::{Admin, Client};

use crate::java::{quiet, sorted_tool, start};
use crate::support::wait_until;
use crate::target::{Target, compare};
use crate::transcript::{Said, Transcript};

#[test]
fn groups_without_members_are_listed_described_reset_and_deleted() {
    require_kafka!();
    compare("groups-empty", |target| {
        let mut transcript = Transcript::default();
        read_all(target, "groups-empty", "classic");
        let mut groups = |arguments: &[&str]| drop(sorted_tool(&mut transcript, target, "consumer-groups", arguments));
        for view in [&["--offsets"][..], &["--members"], &["--members", "--verbose"], &["--state"]] {
            groups(&[&["--describe", "--group", "groups-empty"], view].concat());
            groups(&[&["--describe", "--group", "groups-missing"], view].concat());
        }
        for to in [
            &["--to-earliest"][..],
            &["--to-offset", "4"],
            &["--to-offset", "1000"],
            &["--shift-by", "-2"],
            &["--shift-by", "-1000"],
            &["--to-datetime", "2020-09-13T12:26:40.003"],
            &["--to-datetime", "2030-01-01T00:00:00.000"],
            &["--by-duration", "PT1H"],
            &["--to-current"],
            &["--to-latest"],
        ] {
            let reset = ["--reset-offsets", "--group", "groups-empty", "--topic", "groups-empty"];
            groups(&[&reset[..], to, &["--dry-run"]].concat());
            groups(&[&reset[..], to, &["--execute"]].concat());
            groups(&["--describe", "--group", "groups-empty"]);
        }
        let reset = ["--reset-offsets", "--group", "groups-empty", "--to-offset", "1", "--execute"];
        groups(&[&reset[..], &["--topic", "groups-empty:0,2"]].concat());
        groups(&[&reset[..], &["--all-topics", "--export"]].concat());
        groups(&[&reset[..], &["--topic", "groups-missing"]].concat());
        let made = ["--reset-offsets", "--group", "groups-made", "--to-latest", "--topic", "groups-empty"];
        groups(&[&made[..], &["--execute"]].concat());
        groups(&["--describe", "--group", "groups-made"]);
        groups(&["--delete-offsets", "--group", "groups-empty", "--topic", "groups-empty:1"]);
        groups(&["--describe", "--group", "groups-empty"]);
        groups(&["--delete-offsets", "--group", "groups-empty", "--topic", "groups-empty"]);
        groups(&["--delete-offsets", "--group", "groups-missing", "--topic", "groups-empty"]);
        groups(&["--delete", "--group", "groups-made"]);
        groups(&["--delete", "--group", "groups-missing"]);
        groups(&["--describe", "--group", "groups-made"]);
        transcript
    });
}

#[test]
fn offsets_are_reset_from_a_file() {
    require_kafka!();
    compare("groups-file", |target| {
        let mut transcript = Transcript::default();
        read_all(target, "groups-file", "consumer");
        let file = std::env::temp_dir().join(format!("groups-{}-{}.csv", target.name(), std::process::id()));
        fs::write(&file, "groups-file,0,2\ngroups-file,1,0\n").expect("write a plan");
        let path = file.display().to_string();
        let reset = ["--reset-offsets", "--group", "groups-file", "--from-file", &path, "--execute"];
        transcript.sorted("--reset-offsets --from-file", &quiet(target, "consumer-groups", &reset, ""));
        fs::remove_file(&file).expect("remove a plan");
        sorted_tool(&mut transcript, target, "consumer-groups", &["--describe", "--group", "groups-file"]);
        transcript
    });
}

#[test]
fn classic_group_with_a_member_is_described_and_protected() {
    require_kafka!();
    compare("groups-classic", |target| with_member(target, "classic"));
}

#[test]
fn consumer_group_with_a_member_is_described_and_protected() {
    require_kafka!();
    compare("groups-consumer", |target| with_member(target, "consumer"));
}

#[test]
fn groups_are_listed_by_state_and_type() {
    require_kafka!();
    compare("groups-listed", |target| {
        let mut transcript = Transcript::default();
        read_all(target, "listed-empty", "classic");
        let member = ["--topic", "listed-empty", "--group-id", "listed-live", "--group-protocol", "consumer"];
        let mut member = start(target, "verifiable-consumer", &member);
        member.wait_line(|line| line.contains("partitions_assigned"));
        wait_stable(target, "listed-live");
        for filter in [
            &[][..],
            &["--state"],
            &["--state", "Empty"],
            &["--state", "Stable,PreparingRebalance"],
            &["--type"],
            &["--type", "classic"],
            &["--type", "consumer"],
            &["--type", "consumer", "--state"],
        ] {
            let mut said = quiet(target, "consumer-groups", &[&["--list"], filter].concat(), "");
            // Other cases have groups too.
            said.output.retain(|line| line.starts_with("listed-") || line.starts_with("GROUP"));
            transcript.sorted(&format!("--list {}", filter.join(" ")), &said);
        }
        member.terminate();
        transcript
    });
}

/// What the tool says of a group with one member, and that it leaves such a group alone.
fn with_member(target: &Target, protocol: &str) -> Transcript {
    let mut transcript = Transcript::default();
    let name = format!("groups-live-{protocol}");
    read_all(target, &name, protocol);
    let member = ["--topic", &name, "--group-id", &name, "--group-protocol", protocol];
    let mut member = start(target, "verifiable-consumer", &member);
    member.wait_line(|line| line.contains("partitions_assigned"));
    wait_stable(target, &name);
    let mut groups = |arguments: &[&str]| {
        let mut said = quiet(target, "consumer-groups", arguments, "");
        hide_epochs(&mut said);
        transcript.sorted(&format!("consumer-groups {}", arguments.join(" ")), &said);
    };
    for view in
        [&["--offsets"][..], &["--members"], &["--members", "--verbose"], &["--state"], &["--state", "--verbose"]]
    {
        groups(&[&["--describe", "--group", &name], view].concat());
    }
    groups(&["--describe", "--group", &name, "--offsets", "--verbose"]);
    groups(&["--reset-offsets", "--group", &name, "--topic", &name, "--to-earliest", "--execute"]);
    groups(&["--delete-offsets", "--group", &name, "--topic", &name]);
    groups(&["--delete", "--group", &name]);
    member.terminate();
    groups(&["--describe", "--group", &name, "--state"]);
    groups(&["--reset-offsets", "--group", &name, "--topic", &name, "--to-earliest", "--execute"]);
    groups(&["--delete", "--group", &name]);
    groups(&["--describe", "--group", &name, "--state"]);
    transcript
}

/// Waits until the coordinator has heard that the only member has what it was assigned.
fn wait_stable(target: &Target, group: &str) {
    let admin = Admin::new(&Client::connect(target.bootstrap()).expect("a client"));
    wait_until("the group is stable", Duration::from_secs(60), || {
        let described = admin.describe_groups(&[group]).expect("an answer").pop().and_then(|(_, group)| group.ok());
        described.is_some_and(|group| group.state == GroupState::Stable && group.members.len() == 1)
    });
}

/// How often a group has changed depends on when its members beat; whether all are in one epoch does not.
fn hide_epochs(said: &mut Said) {
    let Some(header) = said.output.iter().find(|line| line.starts_with("GROUP")).cloned() else { return };
    let columns: Vec<usize> = header
        .split_whitespace()
        .enumerate()
        .filter(|(_, name)| name.ends_with("-EPOCH") && *name != "LEADER-EPOCH")
        .map(|(at, _)| at)
        .collect();
    for line in &mut said.output {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let epochs: Vec<&String> = columns.iter().filter_map(|at| words.get(*at)).collect();
        let (Some(first), true) = (epochs.first(), *line != header) else { continue };
        let word = if epochs.iter().all(|epoch| epoch == first) { "EPOCH" } else { "OTHER-EPOCH" };
        let hidden = words.iter().enumerate().map(|(at, is)| if columns.contains(&at) { word } else { is });
        *line = hidden.collect::<Vec<&str>>().join(" ");
    }
}

/// A topic of three partitions with ten records each, of known times, which a group of the same name has read.
pub(crate) fn read_all(target: &Target, name: &str, protocol: &str) {
    quiet(target, "topics", &["--create", "--topic", name, "--partitions", "3"], "");
    let said = quiet(target, "Writer", &[name, "0:10", "1:10", "2:10"], "");
    assert_eq!(said.status, 0, "{said:?}");
    let protocol = format!("group.protocol={protocol}");
    let start = ["--topic", name, "--group", name, "--from-beginning", "--max-messages", "30"];
    let said = quiet(target, "console-consumer", &[&start[..], &["--command-property", &protocol]].concat(), "");
    assert_eq!(said.output.len(), 30, "{said:?}");
}
