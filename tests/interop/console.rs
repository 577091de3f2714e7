//! Kafka's console producer and consumer.

use crate::java::{quiet, sorted_tool, tool, tool_with_input};
use crate::target::compare;
use crate::transcript::Transcript;

const PRINT_ALL: [&str; 14] = [
    "--formatter-property",
    "print.key=true",
    "--formatter-property",
    "print.headers=true",
    "--formatter-property",
    "print.partition=true",
    "--formatter-property",
    "print.offset=true",
    "--formatter-property",
    "print.timestamp=true",
    "--formatter-property",
    "key.separator=|",
    "--formatter-property",
    "null.literal=NULL",
];

#[test]
fn console_tools_write_and_read_every_codec_with_keys_and_headers() {
    require_kafka!();
    compare("console-codecs", |target| {
        let mut transcript = Transcript::default();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = format!("console-{codec}");
            tool(&mut transcript, target, "topics", &["--create", "--topic", &topic, "--partitions", "1"]);
            let many: String = (0..300).map(|i| format!("number:{i}\tkey-{}\tvalue {i}\n", i % 7)).collect();
            let parse = ["--reader-property", "parse.key=true", "--reader-property", "parse.headers=true"];
            let start = ["--topic", &topic, "--compression-codec", codec];
            tool_with_input(&mut transcript, target, "console-producer", &[&start[..], &parse].concat(), &many);
            let start = ["--topic", &topic, "--from-beginning", "--max-messages", "300"];
            tool(&mut transcript, target, "console-consumer", &[&start[..], &PRINT_ALL].concat());
        }
        transcript
    });
}

#[test]
fn console_producer_with_each_acks_and_without_idempotence() {
    require_kafka!();
    compare("console-acks", |target| {
        let mut transcript = Transcript::default();
        tool(&mut transcript, target, "topics", &["--create", "--topic", "console-acks", "--partitions", "1"]);
        // The last without acks: nobody knows when the broker has it, and the next would be another connection.
        for acks in ["1", "-1", "0"] {
            let plain = ["--command-property", "enable.idempotence=false", "--sync"];
            let start = ["--topic", "console-acks", "--request-required-acks", acks];
            let input = format!("one with acks {acks}\ntwo with acks {acks}\n");
            tool_with_input(&mut transcript, target, "console-producer", &[&start[..], &plain].concat(), &input);
        }
        let start = ["--topic", "console-acks", "--from-beginning", "--max-messages", "6"];
        tool(&mut transcript, target, "console-consumer", &[&start[..], &PRINT_ALL].concat());
        transcript
    });
}

#[test]
fn console_tools_make_topics_place_keys_and_read_from_offsets() {
    require_kafka!();
    compare("console-offsets", |target| {
        let mut transcript = Transcript::default();
        // Made by its first record.
        let keyed: String = (0..40).map(|i| format!("k{i}:v{i}\n")).collect();
        let parse = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=:", "--sync"];
        let start = ["--topic", "console-made"];
        tool_with_input(&mut transcript, target, "console-producer", &[&start[..], &parse].concat(), &keyed);
        tool(&mut transcript, target, "topics", &["--describe", "--topic", "console-made"]);
        let from = ["--topic", "console-made", "--partition", "2", "--offset", "3", "--timeout-ms", "4000"];
        tool(&mut transcript, target, "console-consumer", &[&from[..], &PRINT_ALL].concat());
        let start = ["--topic", "console-made", "--partition", "1", "--offset", "earliest", "--max-messages", "2"];
        tool(&mut transcript, target, "console-consumer", &start);
        let start = ["--include", "console-ma.*", "--from-beginning", "--max-messages", "40"];
        sorted_tool(&mut transcript, target, "console-consumer", &start);
        let start = ["--topic", "console-made", "--from-beginning", "--max-messages", "40"];
        let isolated = ["--isolation-level", "read_committed"];
        sorted_tool(&mut transcript, target, "console-consumer", &[&start[..], &isolated].concat());
        transcript
    });
}

#[test]
fn console_consumer_of_a_group_goes_on_where_it_ended() {
    require_kafka!();
    compare("console-group", |target| {
        let mut transcript = Transcript::default();
        tool(&mut transcript, target, "topics", &["--create", "--topic", "console-group", "--partitions", "1"]);
        let numbers = |range: std::ops::Range<u32>| range.map(|i| format!("{i}\n")).collect::<String>();
        for protocol in ["classic", "consumer"] {
            quiet(target, "console-producer", &["--topic", "console-group", "--sync"], &numbers(0..10));
            for count in ["4", "6"] {
                let group = format!("console-group-{protocol}");
                let property = format!("group.protocol={protocol}");
                let start = ["--topic", "console-group", "--from-beginning", "--max-messages", count];
                let group = ["--group", &group, "--command-property", &property];
                tool(&mut transcript, target, "console-consumer", &[&start[..], &group].concat());
            }
        }
        transcript
    });
}
