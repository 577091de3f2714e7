//! Our console and verifiable programs beside Kafka's own: the same options give the same output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sarameya::batch::{Compression, RecordBatches};
use serde_json::Value;

use crate::support::kafka::{Cluster, Version};
use crate::support::process::{Output, Process, input_file};
use crate::support::{examples, unique, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
/// After what consumers give up, in milliseconds: longer than a JVM on a busy machine takes to get its first record.
const IDLE: &str = "15000";

/// One of our programs on this cluster, to its end.
fn ours(cluster: &Cluster, program: &str, arguments: &[&str]) -> Output {
    spawn_ours(cluster, program, arguments).finish(LIMIT)
}

fn spawn_ours(cluster: &Cluster, program: &str, arguments: &[&str]) -> Process {
    let bootstrap = cluster.bootstrap();
    examples::spawn(program, &[&["--bootstrap-server", &bootstrap], arguments].concat())
}

/// Our console producer with this input, which must succeed.
fn produce(cluster: &Cluster, arguments: &[&str], input: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = examples::spec("console_producer").args(["--bootstrap-server", &cluster.bootstrap()]);
    let spec = spec.args(arguments.iter().copied()).stdin(input_file(folder.path(), input));
    spec.spawn().finish(LIMIT).success();
}

/// The console consumers' outputs for the same options, which must be the same; returns it.
#[track_caller]
fn consume_with_both(cluster: &Cluster, arguments: &[&str]) -> String {
    // Side by side, since some only end when they were idle for long.
    let theirs = cluster.tools().spawn("console-consumer", arguments);
    let ours = ours(cluster, "console_consumer", arguments).success();
    let theirs = theirs.finish(LIMIT).success();
    assert_eq!(ours.stdout, theirs.stdout, "{arguments:?}\nours: {}\ntheirs: {}", ours.stderr, theirs.stderr);
    let total =
        |output: &Output| output.stderr.lines().find(|line| line.starts_with("Processed a total")).map(str::to_owned);
    assert_eq!(total(&ours), total(&theirs), "{arguments:?}");
    assert!(total(&ours).is_some(), "{}", ours.stderr);
    ours.stdout
}

/// `name=value` pairs, each behind this option.
fn each<'a>(option: &'a str, pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| [option, pair]).collect()
}

#[test]
fn kafka_4_3_0_console_producers_and_consumers_are_interchangeable() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("console");
    cluster.create_topic(&topic, 1);
    let input = "h1:v1,h2:v2\tk1|value | one\nh:NULL\tk2|NULL\na:1,a:2\tNULL|ключ 鍵\nNULL\tk3|\nh:\t|v\n".to_owned();
    // Batches that compression does not make smaller are sent as they are.
    let input = &format!("{input}NULL\tk4|{}\n", "compressible ".repeat(50));
    let mut reader =
        each("--reader-property", &["parse.key=true", "parse.headers=true", "key.separator=|", "null.marker=NULL"]);
    reader.extend(["--topic", &topic]);
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        produce(cluster, &[reader.as_slice(), &["--compression-codec", codec]].concat(), input);
    }
    produce(cluster, &[reader.as_slice(), &["--sync"]].concat(), input);
    cluster.tools().console_producer(&reader, input);

    let mut written = BTreeSet::new();
    for segment in cluster.segments(cluster.leader(&topic, 0), &topic, 0) {
        let batches = RecordBatches::new(std::fs::read(segment).expect("a segment"));
        written.extend(batches.map_while(Result::ok).map(|batch| batch.compression().expect("a codec").to_string()));
    }
    let all: BTreeSet<String> = codecs.map(|name| name.parse::<Compression>().expect("a codec").to_string()).into();
    assert_eq!(written, all, "the codecs that were asked for");

    let mut arguments = vec!["--topic", &topic, "--from-beginning", "--max-messages", "42"];
    let columns = ["print.key=true", "print.headers=true", "key.separator=|", "null.literal=NIX"];
    arguments.extend(each("--formatter-property", &columns));
    let output = consume_with_both(cluster, &arguments);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 42, "{output}");
    assert_eq!(lines[..2], ["h1:v1,h2:v2|k1|value | one", "h:NIX|k2|NIX"]);
    for (round, records) in lines.chunks(6).enumerate() {
        assert_eq!(records, &lines[36..], "what producer {round} made of the lines that Kafka's made this of");
    }
}

#[test]
fn kafka_4_3_0_console_consumers_print_the_same() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("flags");
    cluster.create_topic(&topic, 2);
    let lines = |range: std::ops::Range<usize>| range.map(|n| format!("k\tvalue {n}\n")).collect::<String>();
    let keyed = ["--topic", &topic, "--reader-property", "parse.key=true"];
    // Two batches, all of one key and so in one partition.
    produce(cluster, &keyed, &lines(0..8));
    produce(cluster, &keyed, &lines(8..12));
    let partition = if cluster_has_records(cluster, &topic, 0) { "0" } else { "1" };

    let columns = ["timestamp", "partition", "offset", "epoch", "delivery", "headers", "key"];
    let columns = columns.map(|column| format!("print.{column}=true"));
    let columns = each("--formatter-property", &columns.each_ref().map(String::as_str));
    let all = ["--topic", &topic, "--from-beginning", "--max-messages", "10"];
    let output = consume_with_both(cluster, &[all.as_slice(), &columns].concat());
    assert_eq!(output.lines().count(), 10);

    let one = ["--topic", &topic, "--partition", partition];
    let from_the_middle = ["--offset", "7", "--max-messages", "3", "--formatter-property", "print.offset=true"];
    let output = consume_with_both(cluster, &[one.as_slice(), &from_the_middle].concat());
    assert_eq!(output, "Offset:7\tvalue 7\nOffset:8\tvalue 8\nOffset:9\tvalue 9\n");

    let until_idle = ["--offset", "earliest", "--timeout-ms", IDLE];
    let only_keys = ["print.key=true", "print.value=false", "line.separator=;"];
    let only_keys = each("--formatter-property", &only_keys);
    let output = consume_with_both(cluster, &[one.as_slice(), &until_idle, &only_keys].concat());
    assert_eq!(output.trim_end(), "k;".repeat(12));
}

fn cluster_has_records(cluster: &Cluster, topic: &str, partition: i32) -> bool {
    log_bytes(cluster, topic, partition) > 0
}

fn log_bytes(cluster: &Cluster, topic: &str, partition: i32) -> u64 {
    let segments = cluster.segments(cluster.leader(topic, partition), topic, partition);
    segments.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

#[test]
fn kafka_4_3_0_console_consumers_see_the_same_of_an_open_transaction() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("open");
    cluster.create_topic(&topic, 1);
    produce(cluster, &["--topic", &topic], "before\n");
    let before = log_bytes(cluster, &topic, 0);
    let settings = format!("bootstrap.servers={}", cluster.direct_bootstrap());
    let id = unique("transaction");
    // It would commit after ten minutes, but does not live so long.
    let arguments = [
        ["--topic", &topic, "--num-records", "1000000", "--throughput", "50", "--record-size", "10"].as_slice(),
        &["--transactional-id", &id, "--transaction-duration-ms", "600000"],
        // Or the coordinator aborts it while both still read.
        &["--producer-props", &settings, "transaction.timeout.ms=600000"],
    ]
    .concat();
    let mut writer = cluster.tools().spawn("producer-perf-test", &arguments);
    wait_until("records of the transaction", LIMIT, || log_bytes(cluster, &topic, 0) > before + 500);
    writer.kill();
    produce(cluster, &["--topic", &topic], "after\n");

    let read = |level: &str| {
        let all = ["--topic", &topic, "--partition", "0", "--offset", "earliest", "--timeout-ms", IDLE];
        consume_with_both(cluster, &[all.as_slice(), &["--isolation-level", level]].concat())
    };
    assert_eq!(read("read_committed"), "before\n");
    let everything = read("read_uncommitted");
    assert!(everything.starts_with("before\n") && everything.lines().any(|line| line == "after"), "{everything}");
    assert!(everything.lines().count() > 4, "{everything}");
}

/// What kinds of values an event has under which names, and its arrays' elements.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().map(|(name, value)| (name, shape(value))).collect();
            format!("{fields:?}")
        }
        Value::Array(elements) => format!("{:?}", elements.iter().map(shape).collect::<BTreeSet<_>>()),
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) => if number.is_f64() { "float" } else { "integer" }.to_owned(),
        Value::String(_) => "text".to_owned(),
    }
}

fn events(stdout: &str) -> Vec<Value> {
    let event = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    stdout.lines().filter(|line| line.starts_with('{')).map(event).collect()
}

fn name(event: &Value) -> &str {
    event["name"].as_str().expect("an event has a name")
}

/// The shapes of the events by their names.
fn shapes(stdout: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut shapes = BTreeMap::<_, BTreeSet<_>>::new();
    for event in events(stdout) {
        shapes.entry(name(&event).to_owned()).or_default().insert(shape(&event));
    }
    shapes
}

#[test]
fn kafka_4_3_0_verifiable_producers_tell_the_same() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("verified");
    cluster.create_topic(&topic, 1);
    let arguments = ["--topic", &topic, "--max-messages", "20", "--repeating-keys", "3", "--value-prefix", "7"];
    let theirs = cluster.tools().verifiable_producer(&arguments).stdout;
    let own = ours(cluster, "verifiable_producer", &arguments).success().stdout;
    assert_eq!(shapes(&own), shapes(&theirs));
    let fields = |stdout: &str, field: &str| -> Vec<Value> {
        let sent = events(stdout).into_iter().filter(|event| name(event) == "producer_send_success");
        sent.map(|event| event[field].clone()).collect()
    };
    for field in ["key", "value", "topic", "partition"] {
        assert_eq!(fields(&own, field), fields(&theirs, field), "{field}");
    }
    assert_eq!(fields(&own, "offset"), (20..40).map(Value::from).collect::<Vec<_>>());

    // Refused before anything is sent.
    let folder = tempfile::tempdir().expect("a folder");
    let settings = input_file(folder.path(), "max.request.size=1\n").display().to_string();
    let arguments = ["--topic", &topic, "--max-messages", "2", "--command-config", &settings];
    let theirs = cluster.tools().run("verifiable-producer", &arguments).stdout;
    let own = ours(cluster, "verifiable_producer", &arguments).stdout;
    let (theirs, mut own) = (events(&theirs), events(&own));
    for event in &mut own {
        if name(event) == "producer_send_error" {
            let unknown = event.as_object_mut().expect("an object").remove("unknown");
            assert_eq!(unknown, Some(Value::Bool(false)), "it was not sent: {event}");
        }
    }
    let told = |events: &[Value]| events.iter().map(|event| (name(event).to_owned(), shape(event))).collect::<Vec<_>>();
    assert_eq!(told(&own), told(&theirs));
    assert_eq!(own.iter().filter(|event| name(event) == "producer_send_error").count(), 2);

    let mut running = spawn_ours(cluster, "verifiable_producer", &["--topic", &topic, "--throughput", "100"]);
    running.wait_line(LIMIT, |line| line.contains("producer_send_success"));
    assert!(running.terminate(LIMIT).success());
    let stdout = running.finish(LIMIT).stdout;
    let names: Vec<String> = events(&stdout).iter().map(|event| name(event).to_owned()).collect();
    assert_eq!(names[names.len() - 2..], ["shutdown_complete", "tool_data"], "{stdout}");
    let tool_data = events(&stdout).pop().expect("the last event");
    assert_eq!(tool_data["sent"], tool_data["acked"], "a signal loses nothing: {tool_data}");
}

#[test]
fn kafka_4_3_0_verifiable_consumers_tell_the_same() {
    require_kafka!();
    let cluster = Cluster::shared(Version::V4_3_0);
    let topic = unique("verified");
    cluster.create_topic(&topic, 2);
    produce(cluster, &["--topic", &topic, "--reader-property", "parse.key=true"], "a\t1\nb\t2\nc\t3\nd\t4\n");
    let told = |mut consumer: Process| {
        consumer.wait_line(LIMIT, |line| line.contains("offsets_committed"));
        let status = consumer.terminate(LIMIT);
        (status, consumer.finish(LIMIT).stdout)
    };
    let (groups, options) = ([unique("theirs"), unique("ours")], ["--topic", &topic, "--verbose"]);
    let arguments = groups.each_ref().map(|group| [options.as_slice(), &["--group-id", group]].concat());
    let (_, theirs) = told(cluster.tools().verifiable_consumer(&arguments[0]));
    let (status, own) = told(spawn_ours(cluster, "verifiable_consumer", &arguments[1]));
    assert!(status.success(), "{status}");
    assert_eq!(shapes(&own), shapes(&theirs), "ours:\n{own}\ntheirs:\n{theirs}");
    let last = events(&own).pop().expect("an event");
    assert_eq!(name(&last), "shutdown_complete", "{own}");
    let names = |stdout: &str| events(stdout).iter().map(|event| name(event).to_owned()).collect::<Vec<_>>();
    let ends = |stdout: &str| {
        let names = names(stdout);
        let first = names.iter().position(|name| name == "shutdown_requested").expect("a signal");
        names[first..].iter().filter(|name| name.starts_with("shutdown")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(ends(&own), ends(&theirs));
}
