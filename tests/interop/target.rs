//! The two clusters, and the comparison of what happened on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use sarameya::embedded;
use similar::TextDiff;

use crate::support::kafka::{Cluster, Version};
use crate::support::properties::{self, Ports};
use crate::transcript::Transcript;

/// Three, like the shared cluster of the tests against real Kafka.
const BROKERS: usize = 3;

/// A cluster of three brokers that a case runs against.
#[derive(Debug)]
pub(crate) struct Target {
    side: Side,
    bootstrap: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Real,
    Embedded,
}

impl Target {
    /// `HOST:PORT` of all brokers with commas between.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A name for what this side must not share with the other: files, and clients in one process.
    pub(crate) fn name(&self) -> &'static str {
        match self.side {
            Side::Real => "real",
            Side::Embedded => "embedded",
        }
    }

    /// Waits until all brokers know what has been changed so far: real ones learn of it later.
    pub(crate) fn settle(&self) {
        if self.side == Side::Real {
            Cluster::shared(Version::V4_3_0).settle();
        }
    }

    fn of(side: Side) -> &'static Self {
        static REAL: OnceLock<Target> = OnceLock::new();
        static EMBEDDED: OnceLock<Target> = OnceLock::new();
        match side {
            Side::Real => REAL.get_or_init(|| {
                let bootstrap = Cluster::shared(Version::V4_3_0).bootstrap();
                Self { side, bootstrap }
            }),
            Side::Embedded => EMBEDDED.get_or_init(|| Self { side, bootstrap: start_embedded() }),
        }
    }
}

/// Runs a case on both clusters at the same time and compares what it saw. Panics with the difference.
///
/// A topic, group or id of the case needs a name that no other case uses, but no random one: the clusters are new.
pub(crate) fn compare(case: &str, run: impl Fn(&Target) -> Transcript + Sync) {
    let on = |side| {
        let target = Target::of(side);
        let text = run(target).into_text();
        fs::write(kept(case, target), &text).expect("keep a transcript");
        text
    };
    match std::env::var("SARAMEYA_INTEROP").as_deref() {
        Ok("embedded") => {
            let embedded = on(Side::Embedded);
            // Nothing to compare with before the first full run.
            if let Ok(real) = fs::read_to_string(kept(case, Target::of(Side::Embedded)).with_extension("real")) {
                assert_same(case, &real, &embedded);
            }
        }
        Ok("real") => drop(on(Side::Real)),
        _ => {
            let (real, embedded) = thread::scope(|scope| {
                let embedded = thread::Builder::new()
                    .name(format!("{case} embedded"))
                    .spawn_scoped(scope, || on(Side::Embedded))
                    .expect("start a thread");
                (on(Side::Real), embedded.join())
            });
            let embedded = embedded.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            assert_same(case, &real, &embedded);
        }
    }
}

fn assert_same(case: &str, real: &str, embedded: &str) {
    if real != embedded {
        let diff = TextDiff::from_lines(real, embedded);
        let diff = diff.unified_diff().context_radius(4).header("real Kafka 4.3.0", "embedded cluster").to_string();
        panic!("{case}: the embedded cluster does not do what real Kafka does\n{diff}");
    }
}

/// The file with a side's last transcript of a case.
fn kept(case: &str, target: &Target) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop");
    fs::create_dir_all(&directory).expect("create a folder for transcripts");
    directory.join(format!("{case}.{}", target.name()))
}

/// A cluster with the settings that the harness gives to real brokers. It lives as long as the test process.
fn start_embedded() -> String {
    let ports = [Ports { direct: 0, controller: 0, behind_proxy: None }; BROKERS];
    let all = properties::server(Version::V4_3_0, 0, &ports, None, Path::new("/nowhere"), &[], &[]);
    // Who a broker is and where it keeps its log is the embedded cluster's own affair.
    let own = ["process.roles", "node.id", "controller.", "listener", "advertised.", "inter.broker.", "log.dirs"];
    let settings = all.lines().filter(|line| !own.iter().any(|prefix| line.starts_with(prefix)));
    let builder = settings.fold(embedded::Cluster::builder(BROKERS), |builder, line| {
        let (name, value) = line.split_once('=').expect("a setting");
        builder.set(name, value)
    });
    let cluster = builder.start().expect("start the embedded cluster");
    static CLUSTER: OnceLock<embedded::Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| cluster).bootstrap_servers().to_owned()
}
