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
