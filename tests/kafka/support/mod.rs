//! What the tests share: real Kafka clusters, Kafka's own tools, our examples, a fault proxy and a scripted broker.
//!
//! Everything started here ends with the test process, however that ends (see [`process`]).
#![allow(dead_code, reason = "a toolbox: a verb stays although the last test that used it went")]

pub(crate) mod admin_methods;
pub(crate) mod examples;
pub(crate) mod fetch;
pub(crate) mod kafka;
pub(crate) mod pki;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod properties;
pub(crate) mod proxy;
pub(crate) mod scripted;
pub(crate) mod secured;
pub(crate) mod tools;
pub(crate) mod wire;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Returns from the test, saying so, where Java or Maven is missing; panics instead if `SARAMEYA_REQUIRE_KAFKA` is 1.
macro_rules! require_kafka {
    () => {
        if let Err(missing) = $crate::support::kafka_can_run() {
            assert!(
                std::env::var("SARAMEYA_REQUIRE_KAFKA").as_deref() != Ok("1"),
                "{missing}, and SARAMEYA_REQUIRE_KAFKA=1 forbids to skip this test"
            );
            $crate::support::say(&format!(
                "SKIPPED {}: {missing}; tests against real Kafka need Java and Maven",
                std::thread::current().name().unwrap_or("a test")
            ));
            return;
        }
    };
}

/// Whether Java and Maven are installed; the error names what is missing.
pub(crate) fn kafka_can_run() -> Result<(), String> {
    static MISSING: std::sync::OnceLock<Vec<&str>> = std::sync::OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let runs = |program: &std::path::Path, argument: &str| {
            std::process::Command::new(program)
                .arg(argument)
                .stdin(std::process::Stdio::null())
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let java = tools::java_program();
        [("java", java.as_path(), "-version"), ("mvn", std::path::Path::new("mvn"), "--version")]
            .into_iter()
            .filter(|(_, program, argument)| !runs(program, argument))
            .map(|(name, ..)| name)
            .collect()
    });
    match missing.as_slice() {
        [] => Ok(()),
        names => Err(format!("not installed: {}", names.join(", "))),
    }
}

/// Holds off every other test that calls it, for tests that start clusters of their own or load the whole machine.
///
/// Take it before starting the cluster, so that at most one such cluster runs beside the shared ones.
pub(crate) fn heavy() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    lock(&HEAVY)
}

/// Polls `condition` until it holds; panics with `what` when `limit` is over.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A name that no other test, run or process uses, for topics, groups and transactional ids.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}", fastrand::u32(..))
}

/// Writes a line about the harness itself past the capture of the test runner: a first fetch takes a minute, and a skip
/// must be seen although the test passes.
pub(crate) fn say(message: &str) {
    use std::io::Write;
    // The runner captures only what goes through print macros. A closed standard error is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "[kafka tests] {message}");
}

/// The folder under `target/` that keeps Kafka's jars between runs and the files of running clusters.
pub(crate) fn target_kafka() -> PathBuf {
    let tmp = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("Cargo's temporary folder lies in target").join("kafka")
}

/// A test that panicked with a lock held has failed already and must not fail the others.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
