//! Programs of ours on Sarama, franz-go and rdkafka: see their sources for what each case does.

use crate::native;
use crate::support::process::Spec;
use crate::target::compare;
use crate::transcript::Transcript;

/// Skips the test where Go is not installed.
macro_rules! require_go {
    () => {
        require_kafka!();
        if !native::installed(&["go"], false) {
            return;
        }
    };
}

/// Skips the test where librdkafka can't be built.
macro_rules! require_c {
    () => {
        require_kafka!();
        if !native::installed(&["cc", "c++", "make"], true) {
            return;
        }
    };
}

/// Runs one case of a program on both clusters, under a name of its own.
fn program(client: &str, case: &str, program: impl Fn() -> Spec + Sync) {
    let name = format!("{client}-{case}");
    compare(&name, |target| {
        let mut transcript = Transcript::default();
        let said = native::run(&mut transcript, case, program().args([target.bootstrap(), case, &name]));
        assert_eq!(said.status, 0, "{name} on the {} cluster: {said:?}", target.name());
        transcript
    });
}

#[test]
fn sarama_produces_and_consumes() {
    require_go!();
    program("sarama", "produce", || native::go("sarama"));
}

#[test]
fn sarama_groups_share_and_go_on() {
    require_go!();
    program("sarama", "group", || native::go("sarama"));
}

#[test]
fn sarama_administers() {
    require_go!();
    program("sarama", "admin", || native::go("sarama"));
}

#[test]
fn sarama_commits_and_aborts_transactions() {
    require_go!();
    program("sarama", "transaction", || native::go("sarama"));
}

#[test]
fn franz_go_produces_and_consumes() {
    require_go!();
    program("franz", "produce", || native::go("franz"));
}

#[test]
fn franz_go_groups_share_and_go_on() {
    require_go!();
    program("franz", "group-classic", || native::go("franz"));
}

#[test]
fn franz_go_groups_of_the_new_protocol_share_and_go_on() {
    require_go!();
    program("franz", "group-848", || native::go("franz"));
}

#[test]
fn franz_go_commits_and_aborts_transactions_and_moves_records_exactly_once() {
    require_go!();
    program("franz", "transaction", || native::go("franz"));
}

#[test]
fn franz_go_administers() {
    require_go!();
    program("franz", "admin", || native::go("franz"));
}

#[test]
fn rdkafka_produces_and_consumes() {
    require_c!();
    program("rdkafka", "produce", native::rdkafka);
}

#[test]
fn rdkafka_groups_share_and_go_on() {
    require_c!();
    program("rdkafka", "group-classic", native::rdkafka);
}

#[test]
fn rdkafka_groups_of_the_new_protocol_share_and_go_on() {
    require_c!();
    program("rdkafka", "group-consumer", native::rdkafka);
}

#[test]
fn rdkafka_commits_aborts_and_fences_transactions() {
    require_c!();
    program("rdkafka", "transaction", native::rdkafka);
}

#[test]
fn rdkafka_administers() {
    require_c!();
    program("rdkafka", "admin", native::rdkafka);
}
