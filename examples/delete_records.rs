//! Kafka's delete-records tool: deletes the records of partitions before an offset.
//!
//! The options and the output are those of `kafka-delete-records`.

mod support;

use clap::Parser;
use sarameya::TopicPartition;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use support::admin::admin;
use support::{Connection, Outcome};

/// Deletes the records of partitions before an offset, at once and for good
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    connection: Connection,

    /// The offsets as JSON: {"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version": 1}
    #[arg(long, value_name = "FILE")]
    offset_json_file: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    support::run(|| {
        let offsets = parse(&std::fs::read_to_string(&args.offset_json_file)?)?;
        let admin = admin(&args.connection)?;
        println!("Executing records delete operation");
        let deleted = admin.delete_records(&offsets)?;
        println!("Records delete operation completed:");
        for (partition, outcome) in deleted {
            match outcome {
                Ok(low_watermark) => println!("partition: {partition}\tlow_watermark: {low_watermark}"),
                Err(error) => println!("partition: {partition}\terror: {error}"),
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn parse(json: &str) -> Outcome<Vec<(TopicPartition, i64)>> {
    let json: Value = serde_json::from_str(json)?;
    match json.get("version").map(Value::as_i64) {
        None | Some(Some(1)) => {}
        Some(_) => return Err("Not supported version field value".into()),
    }
    let mut offsets = BTreeMap::new();
    for entry in json["partitions"].as_array().ok_or("Missing partitions field")? {
        let field = |name: &str| entry[name].as_i64().ok_or(format!("no number in field {name} of {entry}"));
        let topic = entry["topic"].as_str().ok_or(format!("no text in field topic of {entry}"))?;
        let partition = TopicPartition::new(topic, i32::try_from(field("partition")?)?);
        if offsets.insert(partition.clone(), field("offset")?).is_some() {
            return Err(format!("Offset json file contains duplicate topic partitions: {partition}").into());
        }
    }
    Ok(offsets.into_iter().collect())
}
