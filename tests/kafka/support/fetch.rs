//! Kafka's jars: fetched through Maven once per version, kept under `target/kafka/VERSION`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::kafka::Version;
use super::process::Spec;
use super::{say, target_kafka};

/// A slow mirror may take minutes; a hanging one must not take the run with it.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// The folder with `libs/` and the logging configuration of `version`. Fetches it first if it is not there; processes
/// that need it at the same time wait for the one that fetches. Panics with Maven's output if that fails.
pub(crate) fn home(version: Version) -> PathBuf {
    static HOMES: [OnceLock<PathBuf>; Version::ALL.len()] = [const { OnceLock::new() }; Version::ALL.len()];
    HOMES[version as usize].get_or_init(|| fetched(version)).clone()
}

fn fetched(version: Version) -> PathBuf {
    let root = target_kafka();
    let home = root.join(version.as_str());
    // The folder appears by one rename, when it is whole.
    if home.is_dir() {
        return home;
    }
    fs::create_dir_all(&root).expect("create target/kafka");
    let guard = File::create(root.join(format!("{version}.lock"))).expect("create the lock file of a fetch");
    guard.lock().expect("lock the fetch of a version");
    if home.is_dir() {
        return home;
    }
    say(&format!("fetching Kafka {version} through Maven ..."));
    let start = Instant::now();
    let new = tempfile::Builder::new().prefix("fetch-").tempdir_in(&root).expect("create a folder in target/kafka");
    fetch_into(version, new.path());
    fs::rename(new.keep(), &home).expect("move the fetched Kafka to its place");
    say(&format!("fetched Kafka {version} in {:.1} s", start.elapsed().as_secs_f32()));
    home
}

fn fetch_into(version: Version, directory: &Path) {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).expect("write into target/kafka");
    write("pom.xml", &pom(version));
    write("log4j.properties", LOG4J_1);
    write("log4j2.properties", LOG4J_2);
    let output = Spec::new("mvn")
        .args(["-q", "-B", "-f", "pom.xml", "dependency:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=libs"])
        .directory(directory)
        .spawn()
        .finish(FETCH_LIMIT);
    assert!(output.status.success(), "Maven could not fetch Kafka {version}:\n{}{}", output.stdout, output.stderr);
}

fn pom(version: Version) -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    let mut dependencies = dependency("org.apache.kafka", version.core_artifact(), version.as_str());
    dependencies += &dependency("org.apache.kafka", "kafka-tools", version.as_str());
    if version == Version::V4_3_0 {
        // Kafka 4 leaves the binding between slf4j and log4j 2 to its start scripts; older versions bring one.
        dependencies += &dependency("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4");
    }
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>sarameya.tests</groupId><artifactId>kafka</artifactId>\
         <version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>\n"
    )
}

/// Brokers and tools log to standard error at the level of `-Dkafka.log.level`: log4j 1 until Kafka 3, log4j 2 after.
const LOG4J_1: &str = "\
log4j.rootLogger=${kafka.log.level}, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=%d %p %m (%c)%n
";
const LOG4J_2: &str = "\
status=error
appender.stderr.type=Console
appender.stderr.name=STDERR
appender.stderr.target=SYSTEM_ERR
appender.stderr.layout.type=PatternLayout
appender.stderr.layout.pattern=%d %p %m (%c)%n
rootLogger.level=${sys:kafka.log.level}
rootLogger.appenderRef.stderr.ref=STDERR
";
