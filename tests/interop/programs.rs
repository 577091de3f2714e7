//! Programs of ours on Kafka's Java client, for what its tools do not do.

use crate::java::tool;
use crate::target::compare;
use crate::transcript::Transcript;

/// Runs a Java program with these arguments on both clusters.
fn program(case: &str, class: &str, arguments: &[&str]) {
    compare(case, |target| {
        let mut transcript = Transcript::default();
        let said = tool(&mut transcript, target, class, arguments);
        assert_eq!(said.status, 0, "{class} on the {} cluster: {said:?}", target.name());
        transcript
    });
}

#[test]
fn java_admin_gets_the_same_answers() {
    require_kafka!();
    program("java-admin", "Administration", &["java-admin"]);
}

#[test]
fn java_transactions_are_isolated() {
    require_kafka!();
    program("java-isolation", "Transactions", &["isolation", "java-isolation"]);
}

#[test]
fn java_transactional_producers_fence_each_other() {
    require_kafka!();
    program("java-fencing", "Transactions", &["fencing", "java-fencing"]);
}

#[test]
fn java_transactions_commit_offsets() {
    require_kafka!();
    program("java-offsets", "Transactions", &["offsets", "java-offsets"]);
}

#[test]
fn java_transactions_are_described_and_aborted_by_an_administrator() {
    require_kafka!();
    program("java-transactions", "Transactions", &["administration", "java-transactions"]);
}

#[test]
fn java_transactions_time_out() {
    require_kafka!();
    program("java-timeout", "Transactions", &["timeout", "java-timeout"]);
}
