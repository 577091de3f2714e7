//! kcat, which is librdkafka on the command line.

use crate::java::quiet;
use crate::native::{installed, run, run_sorted};
use crate::support::process::{Spec, input_file};
use crate::target::{Target, compare};
use crate::transcript::Transcript;

/// Partition, offset, key, headers and value.
const FORMAT: &str = "%p@%o %k [%h] %s\\n";

macro_rules! require_kcat {
    () => {
        require_kafka!();
        if !installed(&["kcat"], false) {
            return;
        }
    };
}

#[test]
fn kcat_lists_topics_and_offsets() {
    require_kcat!();
    compare("kcat-list", |target| {
        let mut transcript = Transcript::default();
        create(target, "kcat-list", 3);
        let said = quiet(target, "Writer", &["kcat-list", "0:10", "1:5"], "");
        assert_eq!(said.status, 0, "{said:?}");
        run_sorted(&mut transcript, "-L", kcat(target, &["-L", "-t", "kcat-list"]));
        for time in ["-1", "-2", "1600000000003", "1700000000000"] {
            let partitions: Vec<String> = (0..3).map(|index| format!("kcat-list:{index}:{time}")).collect();
            let asked = partitions.iter().flat_map(|partition| ["-t", partition.as_str()]);
            let query: Vec<&str> = ["-Q"].into_iter().chain(asked).collect();
            run_sorted(&mut transcript, &format!("-Q at {time}"), kcat(target, &query));
        }
        for offset in ["beginning", "3", "-2", "s@1600000000004"] {
            let consume = ["-C", "-t", "kcat-list", "-p", "0", "-o", offset, "-e", "-f", "%o %T %s\\n"];
            run(&mut transcript, &format!("-C from {offset}"), kcat(target, &consume));
        }
        transcript
    });
}

#[test]
fn kcat_produces_and_consumes_with_every_codec() {
    require_kcat!();
    compare("kcat-codecs", |target| {
        let mut transcript = Transcript::default();
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = format!("kcat-{codec}");
            create(target, &topic, 1);
            let lines: String = (0..100).map(|i| format!("key{}:value {i}\n", i % 5)).collect();
            let produce = ["-P", "-t", &topic, "-z", codec, "-K:", "-H", "from=kcat", "-X", "enable.idempotence=true"];
            run(&mut transcript, &format!("-P -z {codec}"), kcat(target, &produce).stdin(input(&lines)));
            let consume = ["-C", "-t", &topic, "-o", "beginning", "-e", "-f", FORMAT];
            run(&mut transcript, &format!("-C {codec}"), kcat(target, &consume));
        }
        transcript
    });
}

#[test]
fn kcat_groups_go_on_where_they_ended() {
    require_kcat!();
    compare("kcat-group", |target| {
        let mut transcript = Transcript::default();
        create(target, "kcat-group", 1);
        let lines: String = (0..20).map(|i| format!("{i}\n")).collect();
        run(&mut transcript, "-P", kcat(target, &["-P", "-t", "kcat-group"]).stdin(input(&lines)));
        for count in ["8", "12"] {
            let options = ["-X", "auto.offset.reset=earliest", "-c", count, "-f", FORMAT];
            let consume = [&options[..], &["-G", "kcat-group", "kcat-group"]].concat();
            run(&mut transcript, &format!("-G -c {count}"), kcat(target, &consume));
        }
        transcript
    });
}

#[test]
fn kcat_commits_a_transaction() {
    require_kcat!();
    compare("kcat-transaction", |target| {
        let mut transcript = Transcript::default();
        create(target, "kcat-transaction", 1);
        for turn in ["first", "second"] {
            let lines: String = (0..5).map(|i| format!("{turn} {i}\n")).collect();
            let produce = ["-P", "-t", "kcat-transaction", "-X", "transactional.id=kcat-transaction"];
            run(&mut transcript, &format!("-P {turn}"), kcat(target, &produce).stdin(input(&lines)));
        }
        for isolation in ["read_uncommitted", "read_committed"] {
            let level = format!("isolation.level={isolation}");
            let options = ["-X", &level, "-o", "beginning", "-c", "10", "-f", FORMAT];
            let consume = [&["-C", "-t", "kcat-transaction"], &options[..]].concat();
            run(&mut transcript, &format!("-C {isolation}"), kcat(target, &consume));
        }
        transcript
    });
}

fn kcat(target: &Target, arguments: &[&str]) -> Spec {
    Spec::new("kcat").args(["-q", "-b", target.bootstrap()]).args(arguments.iter().copied())
}

fn create(target: &Target, topic: &str, partitions: u32) {
    let said = quiet(target, "topics", &["--create", "--topic", topic, "--partitions", &partitions.to_string()], "");
    assert_eq!(said.status, 0, "{said:?}");
}

fn input(text: &str) -> std::path::PathBuf {
    input_file(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")), text)
}
