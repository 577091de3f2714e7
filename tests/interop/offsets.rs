//! Kafka's `kafka-get-offsets` and `kafka-delete-records`.

use std::fs;

use crate::java::{quiet, sorted_tool, tool};
use crate::target::{Target, compare};
use crate::transcript::Transcript;

#[test]
fn offsets_of_every_time() {
    require_kafka!();
    compare("offsets-times", |target| {
        let mut transcript = Transcript::default();
        write(target, "offsets-times");
        let times =
            ["earliest", "latest", "max-timestamp", "earliest-local", "latest-tiered", "earliest-pending-upload"];
        let numbers = ["-1", "-2", "-3", "-4", "-5", "-6", "0", "1600000000003", "1600000000009", "1700000000000"];
        for time in times.iter().chain(&numbers) {
            let arguments = ["--topic", "offsets-times", "--time", time];
            sorted_tool(&mut transcript, target, "get-offsets", &arguments);
        }
        transcript
    });
}

#[test]
fn offsets_of_chosen_partitions() {
    require_kafka!();
    compare("offsets-chosen", |target| {
        let mut transcript = Transcript::default();
        write(target, "offsets-chosen");
        for arguments in [
            &["--topic", "offsets-chosen"][..],
            &["--topic", "offsets-chosen", "--partitions", "0,2"],
            &["--topic", "offsets-chosen", "--partitions", "7"],
            &["--topic-partitions", "offsets-chosen:1-,offsets-cho.*:0"],
            &["--topic-partitions", "offsets-chosen:0-2"],
            &["--topic", "offsets-missing"],
            &["--topic", "offsets-chosen", "--exclude-internal-topics"],
            &["--topic", "offsets-chosen", "--time", "nonsense"],
        ] {
            sorted_tool(&mut transcript, target, "get-offsets", arguments);
        }
        transcript
    });
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    require_kafka!();
    compare("offsets-deleted", |target| {
        let mut transcript = Transcript::default();
        write(target, "offsets-deleted");
        for plan in [
            r#"{"partitions": [{"topic": "offsets-deleted", "partition": 0, "offset": 4},
                {"topic": "offsets-deleted", "partition": 1, "offset": -1}], "version": 1}"#,
            r#"{"partitions": [{"topic": "offsets-deleted", "partition": 0, "offset": 2}], "version": 1}"#,
            r#"{"partitions": [{"topic": "offsets-deleted", "partition": 2, "offset": 100}], "version": 1}"#,
        ] {
            let file = std::env::temp_dir().join(format!("delete-{}-{}.json", target.name(), std::process::id()));
            fs::write(&file, plan).expect("write a plan");
            let path = file.display().to_string();
            let said = quiet(target, "delete-records", &["--offset-json-file", &path], "");
            fs::remove_file(&file).expect("remove a plan");
            transcript.sorted(plan, &said);
            for time in ["earliest", "latest", "1600000000001"] {
                sorted_tool(&mut transcript, target, "get-offsets", &["--topic", "offsets-deleted", "--time", time]);
            }
        }
        // Deleted offsets are out of range: the reset policy decides.
        let read = ["--topic", "offsets-deleted", "--partition", "0", "--offset", "1", "--max-messages", "6"];
        let policy = ["--command-property", "auto.offset.reset=earliest"];
        tool(&mut transcript, target, "console-consumer", &[&read[..], &policy].concat());
        transcript
    });
}

fn write(target: &Target, topic: &str) {
    quiet(target, "topics", &["--create", "--topic", topic, "--partitions", "3"], "");
    let said = quiet(target, "Writer", &[topic, "0:10", "1:5"], "");
    assert_eq!(said.status, 0, "{said:?}");
}
