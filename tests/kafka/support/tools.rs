//! Kafka's own tools, in the version of the cluster: the oracle for what our client writes and reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fetch;
use super::kafka::Version;
use super::process::{Output, Process, Spec, input_file};

/// A Java tool takes 1 to 3 s to start, and more on a loaded machine.
const TOOL_LIMIT: Duration = Duration::from_secs(300);

/// Runs Kafka's tools against one cluster.
pub(crate) struct Tools {
    version: Version,
    bootstrap: String,
    zookeeper: Option<String>,
    directory: PathBuf,
}

impl Tools {
    pub(crate) fn new(version: Version, bootstrap: String, zookeeper: Option<String>, directory: &Path) -> Self {
        Self { version, bootstrap, zookeeper, directory: directory.to_owned() }
    }

    /// `kafka-topics`, which must succeed.
    #[track_caller]
    pub(crate) fn topics(&self, arguments: &[&str]) -> Output {
        self.run("topics", arguments).success()
    }

    /// `kafka-console-consumer`, which must succeed; give `--max-messages` or `--timeout-ms`, or it goes on.
    #[track_caller]
    pub(crate) fn console_consumer(&self, arguments: &[&str]) -> Output {
        self.run("console-consumer", arguments).success()
    }

    /// `kafka-console-producer` with `input` as its standard input, which must succeed.
    #[track_caller]
    pub(crate) fn console_producer(&self, arguments: &[&str], input: &str) -> Output {
        let input = input_file(&self.directory, input);
        self.spec("console-producer", arguments).stdin(input).spawn().finish(TOOL_LIMIT).success()
    }

    /// `kafka-consumer-groups`, which must succeed.
    #[track_caller]
    pub(crate) fn consumer_groups(&self, arguments: &[&str]) -> Output {
        self.run("consumer-groups", arguments).success()
    }

    /// `kafka-dump-log` of segment files, with keys and values, which must succeed.
    #[track_caller]
    pub(crate) fn dump_log(&self, segments: &[PathBuf]) -> Output {
        let files: Vec<String> = segments.iter().map(|path| path.display().to_string()).collect();
        self.run("dump-log", &["--deep-iteration", "--print-data-log", "--files", &files.join(",")]).success()
    }

    /// `kafka-verifiable-producer`, which must succeed; one JSON object a line.
    #[track_caller]
    pub(crate) fn verifiable_producer(&self, arguments: &[&str]) -> Output {
        self.run("verifiable-producer", arguments).success()
    }

    /// `java/Writer.java` with these steps, which must succeed.
    #[track_caller]
    pub(crate) fn write(&self, topic: &str, steps: &[&str]) -> Output {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/java/Writer.java");
        self.run(source, &[&[self.bootstrap.as_str(), topic], steps].concat()).success()
    }

    /// `kafka-verifiable-consumer` in the background, as it only ends on a signal; one JSON object a line.
    pub(crate) fn verifiable_consumer(&self, arguments: &[&str]) -> Process {
        self.spawn("verifiable-consumer", arguments)
    }

    /// Any tool by the name of its script without `kafka-`, or any class, to its end. The options that tell it the
    /// cluster are added unless they are among the arguments.
    #[track_caller]
    pub(crate) fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        self.spawn(tool, arguments).finish(TOOL_LIMIT)
    }

    /// As [`Tools::run`], in the background.
    pub(crate) fn spawn(&self, tool: &str, arguments: &[&str]) -> Process {
        self.spec(tool, arguments).spawn()
    }

    /// As [`Tools::spawn`], for the caller to add to and start.
    pub(crate) fn spec(&self, tool: &str, arguments: &[&str]) -> Spec {
        java(self.version, "WARN", "512m")
            .args([class(self.version, tool)])
            .args(arguments.iter().copied())
            .args(self.connection(tool, arguments))
    }

    /// How this tool of this version wants to be told the cluster.
    fn connection(&self, tool: &str, arguments: &[&str]) -> Vec<String> {
        const OPTIONS: [&str; 3] = ["--bootstrap-server", "--broker-list", "--zookeeper"];
        let offline = ["dump-log", "storage", "producer-perf-test"].contains(&tool) || tool.contains('.');
        if offline || arguments.iter().any(|argument| OPTIONS.contains(argument)) {
            return Vec::new();
        }
        let (option, value) = match (self.version, tool) {
            (Version::V1_0_2, "topics" | "configs") => {
                ("--zookeeper", self.zookeeper.as_deref().expect("1.0.2 runs with ZooKeeper"))
            }
            (Version::V1_0_2, "console-producer" | "verifiable-producer" | "verifiable-consumer")
            | (Version::V1_0_2 | Version::V2_5_1, "get-offsets" | "consumer-perf-test") => {
                ("--broker-list", self.bootstrap.as_str())
            }
            _ => ("--bootstrap-server", self.bootstrap.as_str()),
        };
        let mut connection = vec![option.to_owned(), value.to_owned()];
        if tool == "consumer-groups" {
            // By itself it gives up after 5 s, which a busy machine may need for a single answer.
            connection.extend(["--timeout".to_owned(), "120000".to_owned()]);
        }
        connection
    }
}

/// A JVM with the jars and the logging of `version`, to which the class and its arguments are still to be added. All
/// our JVMs live for seconds or minutes on a machine with few cores: the quick compiler and the serial collector.
pub(crate) fn java(version: Version, log_level: &str, heap: &str) -> Spec {
    let home = fetch::home(version);
    let home = home.display();
    Spec::new(java_program()).args([
        format!("-Xmx{heap}"),
        "-Xms64m".to_owned(),
        "-XX:+UseSerialGC".to_owned(),
        "-XX:TieredStopAtLevel=1".to_owned(),
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        "-Djava.awt.headless=true".to_owned(),
        format!("-Dkafka.log.level={log_level}"),
        format!("-Dlog4j.configuration=file:{home}/log4j.properties"),
        format!("-Dlog4j2.configurationFile={home}/log4j2.properties"),
        "-cp".to_owned(),
        format!("{home}/libs/*"),
    ])
}

/// `java`, of `JAVA_HOME` if that is set.
pub(crate) fn java_program() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) if !home.is_empty() => PathBuf::from(home).join("bin/java"),
        _ => PathBuf::from("java"),
    }
}

/// The class of a tool, which moved over the versions; a name with a dot is a class already.
pub(crate) fn class(version: Version, tool: &str) -> String {
    use Version::{V3_9_1, V4_3_0};
    let moved_by_3_9 = matches!(version, V3_9_1 | V4_3_0);
    let moved_by_4 = version == V4_3_0;
    let (moved, old, new) = match tool {
        "topics" => (moved_by_3_9, "kafka.admin.TopicCommand", "TopicCommand"),
        "configs" => (false, "kafka.admin.ConfigCommand", ""),
        "console-producer" => (moved_by_4, "kafka.tools.ConsoleProducer", "ConsoleProducer"),
        "console-consumer" => (moved_by_3_9, "kafka.tools.ConsoleConsumer", "consumer.ConsoleConsumer"),
        "consumer-groups" => (moved_by_3_9, "kafka.admin.ConsumerGroupCommand", "consumer.group.ConsumerGroupCommand"),
        "get-offsets" => (moved_by_3_9, "kafka.tools.GetOffsetShell", "GetOffsetShell"),
        "dump-log" => (moved_by_4, "kafka.tools.DumpLogSegments", "DumpLogSegments"),
        "delete-records" => (moved_by_3_9, "kafka.admin.DeleteRecordsCommand", "DeleteRecordsCommand"),
        "leader-election" => (moved_by_3_9, "kafka.admin.LeaderElectionCommand", "LeaderElectionCommand"),
        "reassign-partitions" => {
            (moved_by_3_9, "kafka.admin.ReassignPartitionsCommand", "reassign.ReassignPartitionsCommand")
        }
        "acls" => (moved_by_4, "kafka.admin.AclCommand", "AclCommand"),
        "storage" => (false, "kafka.tools.StorageTool", ""),
        "transactions" => (true, "", "TransactionsCommand"),
        "producer-perf-test" => (true, "", "ProducerPerformance"),
        "consumer-perf-test" => (moved_by_3_9, "kafka.tools.ConsumerPerformance", "ConsumerPerformance"),
        "verifiable-producer" => (true, "", "VerifiableProducer"),
        "verifiable-consumer" => (true, "", "VerifiableConsumer"),
        class if class.contains('.') => (false, class, ""),
        other => panic!("the harness knows no tool {other}: name its class"),
    };
    if moved { format!("org.apache.kafka.tools.{new}") } else { old.to_owned() }
}
