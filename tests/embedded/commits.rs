//! Commits that are refused, lost, late, doubled or only partly stored.

use crate::support::*;
use sarameya::embedded::Cluster;
use sarameya::protocol::messages::{ApiKey, OffsetCommitRequest};
use sarameya::{ConsumerGroupClaim, ConsumerGroupSession, ErrorCode, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn filled(partitions: i32, n: usize) -> Cluster {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", partitions).unwrap();
    let producer = sync_producer(&client(&cluster), |builder| builder);
    for partition in 0..partitions {
        (0..n).for_each(|_| drop(send_all(&producer, "t", partition, &["v"])));
    }
    cluster
}

fn committed(cluster: &Cluster, group: &str, partition: i32) -> Option<i64> {
    cluster.committed(group).get(&("t".to_owned(), partition)).map(|committed| committed.offset)
}

/// What the handler's own commits came to.
type Outcomes = Arc<Mutex<Vec<sarameya::Result<()>>>>;

/// A member that commits by hand after each record.
fn committing(cluster: &Cluster, name: &str) -> (Member, Outcomes) {
    let outcomes = Outcomes::default();
    let results = Arc::clone(&outcomes);
    let builder = group(&client(cluster), name).auto_commit(false);
    let member = Member::with_handler(builder, &["t"], move |session, record| {
        session.mark(record);
        lock(&results).push(session.commit());
    });
    (member, outcomes)
}

#[test]
fn m1_a_commit_during_a_rebalance_is_tried_again_in_its_generation() {
    let cluster = filled(1, 3);
    cluster.fail_next_n(ApiKey::OFFSET_COMMIT, ErrorCode::REBALANCE_IN_PROGRESS, 2);
    let (member, outcomes) = committing(&cluster, "g1");
    wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(3));
    assert_eq!(member.seen.offsets("t", 0), [0, 1, 2]);
    let failed: Vec<_> = lock(&outcomes).iter().filter_map(|outcome| outcome.clone().err()).collect();
    assert!(failed.iter().all(|error| error.is_retriable()), "{failed:?}");
    member.stop().unwrap();
}

#[test]
fn m2_a_commit_whose_answer_is_lost_is_repeated_and_never_goes_back() {
    let cluster = filled(1, 20);
    for _ in 0..5 {
        cluster.drop_next_response(ApiKey::OFFSET_COMMIT);
    }
    let (member, outcomes) = committing(&cluster, "g1");
    wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(20));
    member.stop().unwrap();
    assert!(lock(&outcomes).iter().all(Result::is_ok), "{outcomes:?}");
    let mut stored = Vec::new();
    for request in cluster.requests_of::<OffsetCommitRequest>() {
        stored.extend(request.topics.iter().flat_map(|t| &t.partitions).map(|p| p.committed_offset));
    }
    assert!(stored.is_sorted(), "{stored:?}");
}

#[test]
fn m3_a_mark_after_the_end_of_its_claim_is_refused() {
    let cluster = filled(1, 3);
    let client = client(&cluster);
    let kept: Mutex<Option<(ConsumerGroupSession, sarameya::ConsumerRecord)>> = Mutex::default();
    let mut group = group(&client, "g1").build().unwrap();
    let stop = group.stop_handle();
    group
        .consume(&["t"], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            for record in claim {
                *lock(&kept) = Some((session.clone(), record?));
                stop.stop();
            }
            Ok(())
        })
        .unwrap();
    let (session, record) = lock(&kept).take().unwrap();
    assert!(!session.mark(&record));
    assert!(session.commit().is_err());
    assert!(session.refused_marks() >= 1);
    assert_eq!(committed(&cluster, "g1", 0), None);
}

#[test]
fn m4_the_last_commit_comes_before_the_member_leaves_and_nothing_after_it() {
    let cluster = filled(1, 10);
    let member = Member::start(group(&client(&cluster), "g1").auto_commit_interval(Duration::from_millis(1)), &["t"]);
    wait_until("all is read", || member.seen.count() == 10);
    member.stop().unwrap();
    let last = |api| cluster.requests(api).iter().map(|request| request.received_at()).max().unwrap();
    assert!(last(ApiKey::OFFSET_COMMIT) <= last(ApiKey::LEAVE_GROUP));
    assert_eq!(committed(&cluster, "g1", 0), Some(10));
}

#[test]
fn m5_commits_by_hand_and_by_the_clock_together_only_move_forward() {
    let cluster = filled(2, 100);
    let builder = group(&client(&cluster), "g1").auto_commit_interval(Duration::from_millis(1));
    let member = Member::with_handler(builder, &["t"], |session, record| {
        session.mark(record);
        if record.offset() % 3 == 0 {
            session.commit().unwrap();
        }
    });
    wait_until("all is committed", || (0..2).all(|partition| committed(&cluster, "g1", partition) == Some(100)));
    member.stop().unwrap();
    for partition in 0..2 {
        let stored: Vec<i64> = (cluster.requests_of::<OffsetCommitRequest>().iter())
            .flat_map(|request| &request.topics)
            .flat_map(|topic| &topic.partitions)
            .filter(|asked| asked.partition_index == partition)
            .map(|asked| asked.committed_offset)
            .collect();
        assert!(stored.is_sorted(), "{stored:?}");
    }
}

#[test]
fn m6_of_marks_out_of_order_the_highest_counts() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    send_all(&sync_producer(&client, |builder| builder), &topic, 0, &["a", "b", "c"]);
    let name = unique("g");
    let mut member = group(&client, &name).build().unwrap();
    let stop = member.stop_handle();
    member
        .consume(&[&topic], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            let records: Vec<_> = claim.into_iter().take(3).collect::<sarameya::Result<_>>()?;
            records.iter().rev().for_each(|record| assert!(session.mark(record)));
            session.commit()?;
            assert_eq!(session.committed(&topic, 0), Some(3));
            stop.stop();
            Ok(())
        })
        .unwrap();
}

#[test]
fn m7_without_auto_commit_marks_alone_store_nothing() {
    let cluster = filled(1, 3);
    let member = Member::start(group(&client(&cluster), "g1").auto_commit(false), &["t"]);
    wait_until("all is read", || member.seen.count() == 3);
    member.stop().unwrap();
    assert_eq!(committed(&cluster, "g1", 0), None);
    assert!(cluster.requests(ApiKey::OFFSET_COMMIT).is_empty());
}

#[test]
fn m8_of_a_commit_only_the_partition_that_was_refused_fails() {
    let cluster = filled(2, 3);
    cluster.fail_partition("t", 1, ApiKey::OFFSET_COMMIT, ErrorCode::OFFSET_METADATA_TOO_LARGE);
    let errors = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&errors);
    let builder = group(&client(&cluster), "g1").auto_commit(false);
    let member = Member::with_handler(builder, &["t"], move |session, record| {
        session.mark(record);
        if let Err(error) = session.commit() {
            assert_eq!(error.partition(), Some(1), "{error}");
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    wait_until("all is read", || member.seen.count() == 6);
    wait_until("the other partition is committed", || committed(&cluster, "g1", 0) == Some(3));
    assert!(errors.load(Ordering::SeqCst) > 0);
    assert_eq!(committed(&cluster, "g1", 1), None);
    member.stop().unwrap();
}

#[test]
fn m8_metadata_over_the_brokers_limit_is_refused_by_the_cluster_itself() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    send_all(&sync_producer(&client, |builder| builder), &topic, 0, &["a"]);
    let mut member = group(&client, &unique("g")).auto_commit(false).build().unwrap();
    let stop = member.stop_handle();
    member
        .consume(&[&topic], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            for record in claim {
                let record = record?;
                assert!(session.mark_offset(&topic, 0, record.offset() + 1, &"x".repeat(5000)));
                let error = session.commit().unwrap_err();
                assert_eq!(error.code(), Some(ErrorCode::OFFSET_METADATA_TOO_LARGE), "{error}");
                stop.stop();
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn m9_a_member_that_dies_before_its_commit_leaves_exactly_the_rest_to_the_next() {
    let cluster = filled(1, 10);
    // It commits up to 4, reads on, and is cut off for good: no commit, no goodbye.
    let builder = group(&client(&cluster), "g1").auto_commit(false).close_timeout(SHORT);
    let dying = Member::with_handler(builder, &["t"], |session, record| {
        session.mark(record);
        if record.offset() == 3 {
            session.commit().unwrap();
        }
    });
    wait_until("it has read all", || dying.seen.count() == 10);
    cluster.fail_always(ApiKey::OFFSET_COMMIT, ErrorCode::UNKNOWN_MEMBER_ID);
    let _ = dying.stop();
    cluster.clear_faults();
    assert_eq!(committed(&cluster, "g1", 0), Some(4));
    let next = Member::start(group(&client(&cluster), "g1"), &["t"]);
    wait_until("the rest is read", || next.seen.count() == 6);
    assert_eq!(next.seen.offsets("t", 0), [4, 5, 6, 7, 8, 9]);
    next.stop().unwrap();
}

#[test]
fn m10_a_partition_that_the_answer_to_a_commit_lacks_has_failed() {
    let cluster = filled(1, 1);
    cluster.rewrite::<OffsetCommitRequest>(|response| response.topics.clear());
    let (member, outcomes) = committing(&cluster, "g1");
    wait_until("the commit has an outcome", || !lock(&outcomes).is_empty());
    let error = lock(&outcomes)[0].clone().unwrap_err();
    assert_eq!(error.partition(), Some(0), "{error}");
    cluster.clear_faults();
    member.stop().unwrap();
}

#[test]
fn m2_an_error_of_a_background_commit_reaches_the_error_stream() {
    let cluster = filled(1, 1);
    let client = client(&cluster);
    cluster.fail_always(ApiKey::OFFSET_COMMIT, ErrorCode::GROUP_AUTHORIZATION_FAILED);
    let mut member = group(&client, "g1").build().unwrap();
    let (stop, errors) = (member.stop_handle(), member.errors());
    std::thread::scope(|scope| {
        let consuming = scope.spawn(|| {
            member.consume(&["t"], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
                for record in claim {
                    session.mark(&record?);
                }
                Ok(())
            })
        });
        let error = errors.next_within(LIMIT).expect("an error in time");
        assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
        stop.stop();
        let _ = consuming.join().unwrap();
    });
}
