use super::*;
use crate::protocol::messages::offset_commit::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::protocol::{Reader, Request, Writer};
use proptest::prelude::*;

/// A tracker with the claims a-0 from 10 (nothing committed), a-1 from 20 and b-0 from 30 (both committed there).
fn tracker() -> OffsetTracker {
    let identity =
        Identity { group_id: "g".into(), generation_id: 5, member_id: "m".into(), group_instance_id: Some("i".into()) };
    let mut tracker = OffsetTracker::new(identity, None);
    tracker.start_claim("a", 0, 10, None);
    tracker.start_claim("a", 1, 20, Some(position(20)));
    tracker.start_claim("b", 0, 30, Some(position(30)));
    tracker
}

fn position(offset: i64) -> Position {
    Position { offset, leader_epoch: -1, metadata: String::new() }
}

fn mark(tracker: &mut OffsetTracker, topic: &str, partition: i32, next: i64) -> bool {
    tracker.mark(topic, partition, next, -1, "")
}

/// What a commit asks for: (topic, partition, offset).
fn asked(commit: &Commit) -> Vec<(String, i32, i64)> {
    let topics = commit.request.topics.iter();
    topics
        .flat_map(|topic| topic.partitions.iter().map(|p| (topic.name.clone(), p.partition_index, p.committed_offset)))
        .collect()
}

/// An answer that gives each asked partition the code that `code` returns; `None` leaves it out.
fn answer(commit: &Commit, code: impl Fn(&str, i32) -> Option<ErrorCode>) -> Result<OffsetCommitResponse> {
    let topics = commit.request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().filter_map(|p| {
            let error_code = code(&topic.name, p.partition_index)?.0;
            Some(OffsetCommitResponsePartition { partition_index: p.partition_index, error_code })
        });
        OffsetCommitResponseTopic { name: topic.name.clone(), partitions: partitions.collect(), ..Default::default() }
    });
    Ok(OffsetCommitResponse { topics: topics.collect(), ..Default::default() })
}

fn all(commit: &Commit, code: ErrorCode) -> Result<OffsetCommitResponse> {
    answer(commit, |_, _| Some(code))
}

#[test]
fn only_what_is_marked_and_new_is_committed() {
    let mut tracker = tracker();
    assert!(tracker.begin_commit().is_none(), "nothing is marked");
    assert!(mark(&mut tracker, "a", 0, 11));
    let commit = tracker.begin_commit().unwrap();
    assert_eq!(asked(&commit), [("a".into(), 0, 11)]);
    assert_eq!(tracker.complete(&commit, all(&commit, ErrorCode::NONE)).stored, 1);
    assert_eq!(tracker.committed("a", 0), Some(&position(11)));
    assert!(!tracker.is_dirty() && tracker.begin_commit().is_none());
    // The same offset with other metadata is something new.
    assert!(mark(&mut tracker, "a", 0, 12));
    let commit = tracker.begin_commit().unwrap();
    tracker.complete(&commit, all(&commit, ErrorCode::NONE));
    assert!(tracker.reset_offset("a", 0, 12, "again"));
    assert_eq!(
        tracker.begin_commit().unwrap().request.topics[0].partitions[0].committed_metadata,
        Some("again".into())
    );
}

#[test]
fn the_request_names_the_session_and_fits_every_version() {
    for (retention, expected) in [(None, -1), (Some(Duration::from_secs(9)), 9000)] {
        let mut tracker = OffsetTracker { retention, ..tracker() };
        tracker.mark("a", 0, 11, 3, "note");
        let request = tracker.begin_commit().unwrap().request;
        assert_eq!((request.generation_id_or_member_epoch, request.member_id.as_str()), (5, "m"));
        for version in 7..=MAX_OFFSET_VERSION {
            let mut writer = Writer::new();
            request.encode(&mut writer, version).unwrap();
            let read = OffsetCommitRequest::decode(&mut Reader::new(writer.into_bytes()), version).unwrap();
            assert_eq!(read.topics[0].partitions[0].committed_leader_epoch, 3);
            assert_eq!((read.group_instance_id.as_deref(), read.topics[0].name.as_str()), (Some("i"), "a"));
        }
        // Old brokers know the retention time, but no instance id.
        let request = OffsetCommitRequest { group_instance_id: None, ..request };
        let mut writer = Writer::new();
        request.encode(&mut writer, 2).unwrap();
        let read = OffsetCommitRequest::decode(&mut Reader::new(writer.into_bytes()), 2).unwrap();
        assert_eq!(read.retention_time_ms, expected);
    }
}

#[test]
fn m1_a_rebalance_does_not_end_the_session_and_the_commit_can_be_tried_again() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    let commit = tracker.begin_commit().unwrap();
    let outcome = tracker.complete(&commit, all(&commit, ErrorCode::REBALANCE_IN_PROGRESS));
    assert_eq!((outcome.stored, outcome.next), (0, AfterCommit::Rebalance));
    assert!(!tracker.is_lost());
    let again = tracker.begin_commit().unwrap();
    assert_eq!((asked(&again), again.request.generation_id_or_member_epoch), (vec![("a".into(), 0, 11)], 5));
}

#[test]
fn m2_a_commit_without_an_answer_is_repeated_and_never_goes_back() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    let lost = tracker.begin_commit().unwrap();
    let timeout = Error::new(ErrorKind::Timeout, "no answer");
    let outcome = tracker.complete(&lost, Err(timeout));
    assert_eq!((outcome.next, outcome.errors.len()), (AfterCommit::FindCoordinator, 1));
    assert_eq!(tracker.committed("a", 0), None);
    mark(&mut tracker, "a", 0, 15);
    let again = tracker.begin_commit().unwrap();
    assert_eq!(asked(&again), [("a".into(), 0, 15)]);
    // The answer to the first one comes after all: it counts for nothing.
    assert_eq!(tracker.complete(&lost, all(&lost, ErrorCode::NONE)).stored, 0);
    assert_eq!(tracker.committed("a", 0), None);
    tracker.complete(&again, all(&again, ErrorCode::NONE));
    assert_eq!(tracker.committed("a", 0), Some(&position(15)));
}

#[test]
fn an_error_that_no_other_coordinator_would_cure_goes_to_the_user() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    let commit = tracker.begin_commit().unwrap();
    let outcome = tracker.complete(&commit, Err(Error::new(ErrorKind::Unsupported, "too old")));
    assert_eq!((outcome.next, outcome.errors.len()), (AfterCommit::Nothing, 1));
}

#[test]
fn m3_marks_after_the_end_of_the_claim_or_the_loss_of_the_session_are_refused() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    tracker.end_claim("a", 0);
    assert!(!mark(&mut tracker, "a", 0, 12));
    assert!(!tracker.reset_offset("a", 0, 3, ""));
    assert!(!mark(&mut tracker, "a", 7, 1), "not our partition");
    assert!(!mark(&mut tracker, "a", 1, -1), "not an offset");
    assert_eq!(asked(&tracker.begin_commit().unwrap()), [("a".into(), 0, 11)]);
    tracker.lose();
    assert!(!mark(&mut tracker, "a", 1, 21));
    assert_eq!(tracker.refused_marks(), 5);
}

#[test]
fn m4_after_the_final_commit_ticks_send_nothing() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    let last = tracker.begin_commit().unwrap();
    tracker.complete(&last, Err(Error::new(ErrorKind::Network, "cut")));
    tracker.close();
    assert!(tracker.is_dirty() && tracker.begin_commit().is_none());
    assert!(!mark(&mut tracker, "a", 0, 12));
}

#[test]
fn m5_a_second_commit_waits_for_the_first() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    let first = tracker.begin_commit().unwrap();
    mark(&mut tracker, "a", 0, 12);
    assert!(tracker.begin_commit().is_none(), "one is under way");
    tracker.complete(&first, all(&first, ErrorCode::NONE));
    let second = tracker.begin_commit().unwrap();
    assert_eq!(asked(&second), [("a".into(), 0, 12)]);
}

#[test]
fn m6_of_marks_out_of_order_the_highest_counts() {
    let mut tracker = tracker();
    assert!(mark(&mut tracker, "a", 0, 13));
    assert!(mark(&mut tracker, "a", 0, 12), "taken, but without effect");
    assert_eq!(asked(&tracker.begin_commit().unwrap()), [("a".into(), 0, 13)]);
}

#[test]
fn reset_moves_backward_only() {
    let mut tracker = tracker();
    assert!(tracker.reset_offset("a", 1, 25, ""));
    assert!(tracker.begin_commit().is_none(), "forward is mark's");
    assert!(tracker.reset_offset("a", 1, 15, "back"));
    assert_eq!(asked(&tracker.begin_commit().unwrap()), [("a".into(), 1, 15)]);
}

#[test]
fn m8_only_the_refused_partition_fails() {
    let mut tracker = tracker();
    for (topic, partition, next) in [("a", 0, 11), ("a", 1, 21), ("b", 0, 31)] {
        mark(&mut tracker, topic, partition, next);
    }
    let commit = tracker.begin_commit().unwrap();
    let mixed = answer(&commit, |topic, partition| {
        Some(match (topic, partition) {
            ("a", 0) => ErrorCode::OFFSET_METADATA_TOO_LARGE,
            ("b", 0) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            _ => ErrorCode::NONE,
        })
    });
    let outcome = tracker.complete(&commit, mixed);
    assert_eq!(outcome.stored, 1);
    let named: Vec<_> = outcome.errors.iter().map(|e| (e.topic().unwrap(), e.partition().unwrap())).collect();
    assert_eq!(named, [("a", 0), ("b", 0)]);
    assert_eq!(asked(&tracker.begin_commit().unwrap()), [("a".into(), 0, 11), ("b".into(), 0, 31)]);
}

#[test]
fn m10_a_partition_that_the_answer_lacks_has_failed() {
    let mut tracker = tracker();
    mark(&mut tracker, "a", 0, 11);
    mark(&mut tracker, "b", 0, 31);
    let commit = tracker.begin_commit().unwrap();
    let outcome = tracker.complete(&commit, answer(&commit, |topic, _| (topic == "a").then_some(ErrorCode::NONE)));
    assert_eq!((outcome.stored, outcome.next), (1, AfterCommit::Retry));
    assert_eq!((outcome.errors[0].topic(), outcome.errors[0].partition()), (Some("b"), Some(0)));
    assert_eq!(asked(&tracker.begin_commit().unwrap()), [("b".into(), 0, 31)]);
}

#[test]
fn g7_fenced_commits_lose_the_session_at_once() {
    for code in [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::ILLEGAL_GENERATION, ErrorCode::FENCED_INSTANCE_ID] {
        let mut tracker = tracker();
        mark(&mut tracker, "a", 0, 11);
        mark(&mut tracker, "b", 0, 31);
        let commit = tracker.begin_commit().unwrap();
        let first = answer(&commit, |topic, _| Some(if topic == "a" { code } else { ErrorCode::NOT_COORDINATOR }));
        assert_eq!(tracker.complete(&commit, first).next, AfterCommit::Lost(code));
        assert!(tracker.is_lost() && tracker.begin_commit().is_none() && !mark(&mut tracker, "a", 1, 21));
    }
}

#[test]
fn g2_coordinator_errors_are_tried_again() {
    for (code, next) in [
        (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, AfterCommit::Retry),
        (ErrorCode::NOT_COORDINATOR, AfterCommit::FindCoordinator),
        (ErrorCode::COORDINATOR_NOT_AVAILABLE, AfterCommit::FindCoordinator),
        (ErrorCode::REQUEST_TIMED_OUT, AfterCommit::Retry),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, AfterCommit::Nothing),
        (ErrorCode(9999), AfterCommit::Nothing),
    ] {
        assert_eq!(classify_commit(code), next, "{code}");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Mark(i64),
    Begin,
    Stored,
    Refused,
    NoAnswer { stored: bool },
    End,
    Lose,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..60i64).prop_map(Step::Mark),
        4 => Just(Step::Begin),
        4 => Just(Step::Stored),
        1 => Just(Step::Refused),
        2 => any::<bool>().prop_map(|stored| Step::NoAnswer { stored }),
        1 => Just(Step::End),
        1 => Just(Step::Lose),
    ]
}

proptest! {
    #[test]
    fn what_the_broker_stores_never_goes_back_and_never_passes_the_marks(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut tracker = tracker();
        let (mut broker, mut highest, mut open) = (10, 10, true);
        let mut under_way: Option<Commit> = None;
        for step in steps {
            match step {
                Step::Mark(next) => {
                    prop_assert_eq!(mark(&mut tracker, "a", 0, next), open);
                    if open {
                        highest = highest.max(next);
                    }
                }
                Step::Begin => under_way = tracker.begin_commit().or(under_way),
                Step::End => {
                    tracker.end_claim("a", 0);
                    open = false;
                }
                Step::Lose => {
                    tracker.lose();
                    open = false;
                }
                Step::Stored | Step::Refused | Step::NoAnswer { .. } => {
                    let Some(commit) = under_way.take() else { continue };
                    let stored = matches!(step, Step::Stored | Step::NoAnswer { stored: true });
                    if stored {
                        let offset = asked(&commit)[0].2;
                        prop_assert!(offset >= broker && offset <= highest, "{} {} {}", offset, broker, highest);
                        broker = offset;
                    }
                    let answer = match step {
                        Step::Stored => all(&commit, ErrorCode::NONE),
                        Step::Refused => all(&commit, ErrorCode::REBALANCE_IN_PROGRESS),
                        _ => Err(Error::new(ErrorKind::Timeout, "no answer")),
                    };
                    tracker.complete(&commit, answer);
                }
            }
        }
        // As long as the session is ours, one commit more makes the broker know every mark.
        if let Some(commit) = under_way {
            tracker.complete(&commit, all(&commit, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS));
        }
        if !tracker.is_lost() && highest > broker {
            prop_assert_eq!(asked(&tracker.begin_commit().unwrap()), [("a".to_owned(), 0, highest)]);
        }
    }
}
