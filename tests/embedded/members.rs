//! Members that come, go, hang, fail and are fenced; coordinators that move.

use crate::support::*;
use sarameya::embedded::{Cluster, Intercept};
use sarameya::protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest};
use sarameya::{
    ConsumerGroupClaim, ConsumerGroupHandler, ConsumerGroupSession, ErrorCode, ErrorKind, HandlerResult, StartOffset,
};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A cluster with a topic `t` of so many partitions, each with `n` records.
fn filled(brokers: usize, partitions: i32, n: usize) -> Cluster {
    let cluster = Cluster::start(brokers).unwrap();
    cluster.create_topic("t", partitions).unwrap();
    fill(&cluster, partitions, n);
    cluster
}

fn fill(cluster: &Cluster, partitions: i32, n: usize) {
    let producer = sync_producer(&client(cluster), |builder| builder);
    for partition in 0..partitions {
        (0..n).for_each(|_| drop(send_all(&producer, "t", partition, &["v"])));
    }
}

fn all_of(partitions: i32) -> BTreeSet<(String, i32)> {
    (0..partitions).map(|partition| ("t".to_owned(), partition)).collect()
}

fn committed(cluster: &Cluster, group: &str, partition: i32) -> Option<i64> {
    cluster.committed(group).get(&("t".to_owned(), partition)).map(|committed| committed.offset)
}

#[test]
fn g1_a_coordinator_that_stops_costs_no_rebalance_and_commits_go_on() {
    let cluster = filled(3, 1, 10);
    let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
    wait_until("the first commit", || committed(&cluster, "g1", 0) == Some(10));
    for _ in 0..3 {
        let coordinator = cluster.coordinator("g1").unwrap();
        cluster.stop_broker(coordinator);
        let end = cluster.log_end_offset("t", 0).unwrap();
        fill(&cluster, 1, 5);
        wait_until("the next commit", || committed(&cluster, "g1", 0) == Some(end + 5));
        cluster.start_broker(coordinator).unwrap();
    }
    assert_eq!(member.seen.offsets("t", 0), (0..25).collect::<Vec<_>>());
    assert_eq!(member.seen.generations().len(), 1, "one session all the time");
    member.stop().unwrap();
}

#[test]
fn g2_a_coordinator_that_is_loading_or_elsewhere_is_waited_for_in_every_request() {
    let codes =
        [ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE];
    let apis = [
        ApiKey::FIND_COORDINATOR,
        ApiKey::JOIN_GROUP,
        ApiKey::SYNC_GROUP,
        ApiKey::OFFSET_FETCH,
        ApiKey::HEARTBEAT,
        ApiKey::OFFSET_COMMIT,
    ];
    for api in apis {
        let cluster = filled(1, 1, 3);
        for code in codes {
            cluster.fail_next_n(api, code, 2);
        }
        let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
        wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(3));
        assert_eq!(member.seen.offsets("t", 0), [0, 1, 2], "{api:?}");
        if api != ApiKey::OFFSET_COMMIT {
            cluster.wait_for_requests(api, 7, LIMIT).unwrap();
        }
        member.stop().unwrap();
    }
}

#[test]
fn g3_a_storm_of_members_reads_every_record_and_settles() {
    let cluster = filled(1, 8, 50);
    let client = client(&cluster);
    let mut members: Vec<Member> = Vec::new();
    let mut finished = Vec::new();
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..12 {
        if members.len() < 2 || random.bool() {
            members.push(Member::start(group(&client, "g1"), &["t"]));
        } else {
            let member = members.swap_remove(random.usize(..members.len()));
            finished.push(std::sync::Arc::clone(&member.seen));
            member.stop().unwrap();
        }
        std::thread::sleep(Duration::from_millis(random.u64(..80)));
    }
    let seen = |partition| {
        let all = members.iter().map(|member| &member.seen).chain(&finished);
        all.flat_map(|seen| seen.offsets("t", partition)).collect::<BTreeSet<i64>>()
    };
    wait_until("all is read", || (0..8).all(|partition| seen(partition).len() == 50));
    let claims = || members.iter().flat_map(|member| member.seen.claims()).collect::<Vec<_>>();
    wait_until("each partition has one owner", || {
        claims().len() == 8 && claims().into_iter().collect::<BTreeSet<_>>() == all_of(8)
    });
    members.into_iter().for_each(|member| member.stop().unwrap());
    for partition in 0..8 {
        assert_eq!(committed(&cluster, "g1", partition), Some(50));
    }
}

#[test]
fn g4_a_member_that_the_coordinator_took_for_dead_joins_again_and_its_late_commit_is_not_stored() {
    let cluster = filled(1, 1, 5);
    let client = client(&cluster);
    let lost = std::sync::Arc::new(AtomicUsize::new(0));
    let late = std::sync::Arc::clone(&lost);
    let frozen = AtomicBool::new(true);
    let member = Member::with_handler(group(&client, "g1").auto_commit(false), &["t"], move |session, record| {
        if frozen.swap(false, Ordering::SeqCst) {
            // The handler does not notice anything until the session is over.
            while !session.is_lost() {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert!(!session.mark(record), "a mark after the loss is refused");
            assert!(session.commit().is_err());
            late.fetch_add(1, Ordering::SeqCst);
        } else {
            session.mark(record);
        }
    });
    wait_until("the claim runs", || member.seen.count() == 1);
    cluster.fail_next(ApiKey::HEARTBEAT, ErrorCode::UNKNOWN_MEMBER_ID);
    wait_until("the session was lost", || lost.load(Ordering::SeqCst) == 1);
    assert_eq!(committed(&cluster, "g1", 0), None);
    wait_until("all is read in the next session", || member.seen.count() == 6);
    assert_eq!(member.seen.offsets("t", 0), [0, 0, 1, 2, 3, 4]);
    member.stop().unwrap();
}

#[test]
fn g5_of_two_static_members_with_one_id_the_older_is_fenced_and_stops_for_good() {
    let cluster = filled(1, 2, 5);
    let client = client(&cluster);
    let with_id = || group(&client, "g1").group_instance_id("i1");
    let mut older = Member::start(with_id(), &["t"]);
    wait_until("it owns all", || older.seen.claims() == all_of(2));
    let newer = Member::start(with_id(), &["t"]);
    let error = older.join().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    wait_until("the newer owns all", || newer.seen.claims() == all_of(2));
    newer.stop().unwrap();
}

#[test]
fn g5_a_static_member_that_comes_back_causes_no_rebalance() {
    let cluster = filled(1, 2, 5);
    let client = client(&cluster);
    let other = Member::start(group(&client, "g1").group_instance_id("other"), &["t"]);
    let first = Member::start(group(&client, "g1").group_instance_id("i1"), &["t"]);
    wait_until("they share", || other.seen.claims().len() == 1 && first.seen.claims().len() == 1);
    let (sessions, mine) = (other.seen.generations().len(), first.seen.claims());
    first.stop().unwrap();
    let again = Member::start(group(&client, "g1").group_instance_id("i1"), &["t"]);
    wait_until("it has the same again", || again.seen.claims() == mine);
    assert_eq!(other.seen.generations().len(), sessions, "nobody else noticed");
    again.stop().unwrap();
    other.stop().unwrap();
}

#[test]
fn g6_a_join_whose_answer_is_lost_makes_one_member_and_not_two() {
    let cluster = filled(1, 1, 3);
    cluster.drop_next_response(ApiKey::JOIN_GROUP);
    let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
    wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(3));
    assert_eq!(cluster.group_members("g1").len(), 1);
    member.stop().unwrap();
}

#[test]
fn g7_a_generation_that_is_over_ends_the_session_once_and_the_member_joins_again() {
    for (api, code) in [
        (ApiKey::HEARTBEAT, ErrorCode::ILLEGAL_GENERATION),
        (ApiKey::HEARTBEAT, ErrorCode::UNKNOWN_MEMBER_ID),
        (ApiKey::OFFSET_COMMIT, ErrorCode::ILLEGAL_GENERATION),
        (ApiKey::OFFSET_COMMIT, ErrorCode::UNKNOWN_MEMBER_ID),
    ] {
        let cluster = filled(1, 1, 3);
        let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
        wait_until("all is read", || member.seen.count() == 3);
        cluster.fail_next(api, code);
        fill(&cluster, 1, 1);
        wait_until("a second session", || member.seen.generations().len() == 2);
        wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(4));
        assert_eq!(member.seen.generations().len(), 2, "{api:?} {code}");
        member.stop().unwrap();
    }
}

/// Remembers how its sessions went.
#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<String>>,
    panics_at: Option<i64>,
    fails_at: Option<i64>,
    returns_at: Option<i64>,
    setup_fails: bool,
}

impl ConsumerGroupHandler for Recorder {
    fn setup(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.events).push("setup".into());
        if self.setup_fails { Err("setup does not want to".into()) } else { Ok(()) }
    }

    fn consume_claim(&self, session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim) -> HandlerResult {
        for record in claim {
            let record = record?;
            assert_ne!(self.panics_at, Some(record.offset()), "it does not like this record");
            if self.fails_at == Some(record.offset()) {
                return Err("it does not want this record".into());
            }
            session.mark(&record);
            if self.returns_at == Some(record.offset()) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn cleanup(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.events).push("cleanup".into());
        Ok(())
    }

    fn lost(&self, _: &ConsumerGroupSession) -> HandlerResult {
        lock(&self.events).push("lost".into());
        Ok(())
    }
}

#[test]
fn g9_a_handler_that_panics_ends_consume_with_what_came_before_committed() {
    let cluster = filled(1, 1, 5);
    let handler = Recorder { panics_at: Some(3), ..Recorder::default() };
    let mut group = group(&client(&cluster), "g1").build().unwrap();
    let error = group.consume(&["t"], &handler).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HandlerPanic, "{error}");
    assert_eq!(committed(&cluster, "g1", 0), Some(3));
    assert_eq!(*lock(&handler.events), ["setup", "cleanup"]);
    assert!(cluster.group_members("g1").is_empty(), "it has left");
}

#[test]
fn g10_a_handler_that_fails_ends_consume_and_one_that_returns_early_ends_the_session() {
    let cluster = filled(1, 1, 5);
    let handler = Recorder { fails_at: Some(2), ..Recorder::default() };
    let error = group(&client(&cluster), "g1").build().unwrap().consume(&["t"], &handler).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler, "{error}");
    assert_eq!(committed(&cluster, "g1", 0), Some(2));

    let handler = Recorder { returns_at: Some(3), ..Recorder::default() };
    let client = client(&cluster);
    let mut group = group(&client, "g1").build().unwrap();
    let stop = group.stop_handle();
    std::thread::scope(|scope| {
        scope.spawn(|| group.consume(&["t"], &handler).unwrap());
        wait_until("the rest is committed in a second session", || committed(&cluster, "g1", 0) == Some(5));
        stop.stop();
    });
    let setups = lock(&handler.events).iter().filter(|event| *event == "setup").count();
    assert!(setups >= 2, "{setups}");
}

#[test]
fn g11_a_slow_handler_is_not_evicted_while_heartbeats_go_on() {
    let cluster = filled(1, 1, 3);
    let slow = AtomicBool::new(true);
    let member = Member::with_handler(group(&client(&cluster), "g1"), &["t"], move |session, record| {
        if slow.swap(false, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(700));
        }
        session.mark(record);
    });
    wait_until("all is committed", || committed(&cluster, "g1", 0) == Some(3));
    assert_eq!(member.seen.generations().len(), 1);
    assert!(cluster.requests(ApiKey::HEARTBEAT).len() >= 5, "heartbeats went on");
    member.stop().unwrap();
}

#[test]
fn g12_a_handler_that_overruns_the_rebalance_timeout_loses_its_partitions_and_its_marks() {
    let cluster = filled(1, 2, 3);
    let client = client(&cluster);
    let release = std::sync::Arc::new(AtomicBool::new(false));
    let (hold, refused) = (std::sync::Arc::clone(&release), std::sync::Arc::new(AtomicUsize::new(0)));
    let late = std::sync::Arc::clone(&refused);
    let settings = || group(&client, "g1").rebalance_timeout(Duration::from_millis(800));
    let stuck = Member::with_handler(settings(), &["t"], move |session, record| {
        if record.partition() == 0 {
            while !hold.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        if !session.mark(record) {
            late.fetch_add(1, Ordering::SeqCst);
        }
    });
    wait_until("both claims run", || stuck.seen.claims() == all_of(2));
    let other = Member::start(settings(), &["t"]);
    wait_until("the other one owns all", || other.seen.claims() == all_of(2));
    wait_until("it reads all of the stuck partition", || other.seen.offsets("t", 0) == [0, 1, 2]);
    release.store(true, Ordering::SeqCst);
    wait_until("the late mark is refused", || refused.load(Ordering::SeqCst) >= 1);
    let _ = stuck.stop();
    other.stop().unwrap();
}

#[test]
fn g13_a_handler_that_never_returns_does_not_hold_up_a_stop_beyond_its_timeout() {
    let cluster = filled(1, 1, 1);
    let client = client(&cluster);
    let release = AtomicBool::new(false);
    let mut group = group(&client, "g1").close_timeout(SHORT).build().unwrap();
    let stop = group.stop_handle();
    let running = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let consuming = scope.spawn(|| {
            group.consume(&["t"], &|_: &ConsumerGroupSession, _: &mut ConsumerGroupClaim| {
                running.store(true, Ordering::SeqCst);
                while !release.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(())
            })
        });
        wait_until("the handler runs", || running.load(Ordering::SeqCst));
        assert_eq!(stop.stop_and_wait(2 * SHORT).unwrap_err().kind(), ErrorKind::Timeout);
        wait_until("it has left the group all the same", || cluster.group_members("g1").is_empty());
        release.store(true, Ordering::SeqCst);
        assert_eq!(consuming.join().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    });
}

#[test]
fn g14_a_setup_that_fails_starts_no_claim_and_gives_the_partitions_back() {
    let cluster = filled(1, 1, 3);
    let handler = Recorder { setup_fails: true, ..Recorder::default() };
    let error = group(&client(&cluster), "g1").build().unwrap().consume(&["t"], &handler).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Handler, "{error}");
    assert_eq!(committed(&cluster, "g1", 0), None);
    assert!(cluster.group_members("g1").is_empty());
}

#[test]
fn g15_a_stop_in_every_state_of_the_membership_is_over_and_leaves_the_group_empty() {
    for api in [
        ApiKey::FIND_COORDINATOR,
        ApiKey::JOIN_GROUP,
        ApiKey::SYNC_GROUP,
        ApiKey::OFFSET_FETCH,
        ApiKey::HEARTBEAT,
        ApiKey::FETCH,
    ] {
        let cluster = filled(1, 1, 1);
        cluster.delay(api, Duration::from_millis(300));
        let member = Member::start(group(&client(&cluster), "g1"), &["t"]);
        cluster.wait_for_requests(api, 1, LIMIT).unwrap();
        member.stop().unwrap_or_else(|error| panic!("{api:?}: {error}"));
        cluster.clear_faults();
        assert!(cluster.group_members("g1").is_empty(), "{api:?}");
    }
}

#[test]
fn g16_a_stop_with_all_brokers_gone_or_hanging_is_over_by_its_deadline() {
    for hangs in [false, true] {
        let cluster = filled(2, 1, 1);
        let member = Member::start(group(&client(&cluster), "g1").close_timeout(SHORT), &["t"]);
        wait_until("the claim runs", || member.seen.count() == 1);
        for id in 1..=2 {
            if hangs {
                cluster.pause_broker(id);
            } else {
                cluster.stop_broker(id);
            }
        }
        // What it returns is whatever it could find out; that it returns is what counts.
        let _ = member.stop();
    }
}

#[test]
fn g17_a_stop_may_come_twice_and_from_the_handler_itself() {
    let cluster = filled(1, 1, 3);
    let mut group = group(&client(&cluster), "g1").build().unwrap();
    let stop = group.stop_handle();
    let count = AtomicUsize::new(0);
    group
        .consume(&["t"], &|session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            for record in claim {
                session.mark(&record?);
                count.fetch_add(1, Ordering::SeqCst);
                stop.stop();
                stop.stop();
            }
            Ok(())
        })
        .unwrap();
    assert!(count.load(Ordering::SeqCst) >= 1);
    assert!(committed(&cluster, "g1", 0).is_some());
    group.consume(&["t"], &Recorder::default()).unwrap();
}

#[test]
fn g18_a_leader_survives_members_whose_subscription_is_rubbish() {
    let cluster = filled(1, 2, 3);
    let client = client(&cluster);
    let member = Member::start(group(&client, "g1"), &["t"]);
    wait_until("it owns all", || member.seen.claims() == all_of(2));
    let rubbish = RawMember::join(&cluster, "g1", &[255; 7]);
    wait_until("the sane one owns all again", || {
        member.seen.generations().len() >= 3 && member.seen.claims() == all_of(2)
    });
    drop(rubbish);
    member.stop().unwrap();
}

#[test]
fn g19_refusals_that_do_not_pass_end_consume_and_name_the_reason() {
    for (code, setting) in [
        (ErrorCode::INVALID_SESSION_TIMEOUT, "INVALID_SESSION_TIMEOUT"),
        (ErrorCode::INCONSISTENT_GROUP_PROTOCOL, "INCONSISTENT_GROUP_PROTOCOL"),
        (ErrorCode::GROUP_MAX_SIZE_REACHED, "GROUP_MAX_SIZE_REACHED"),
        (ErrorCode::INVALID_GROUP_ID, "INVALID_GROUP_ID"),
    ] {
        let cluster = filled(1, 1, 1);
        cluster.fail_always(ApiKey::JOIN_GROUP, code);
        let error = group(&client(&cluster), "g1").build().unwrap().consume(&["t"], &Recorder::default()).unwrap_err();
        assert_eq!(error.code(), Some(code), "{error}");
        assert!(error.to_string().contains(setting), "{error}");
    }
}

#[test]
fn g19_a_session_timeout_outside_the_brokers_bounds_is_refused_by_the_cluster_itself() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let builder = group(&target.client(), &unique("g")).session_timeout(Duration::from_millis(1000));
    let error = builder.build().unwrap().consume(&[&topic], &Recorder::default()).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::INVALID_SESSION_TIMEOUT), "{error}");
}

#[test]
fn g20_a_member_more_than_partitions_stands_by_and_takes_over() {
    let target = Target::new(1);
    let topic = target.topic(1);
    let client = target.client();
    let name = unique("g");
    let first = Member::start(group(&client, &name), &[&topic]);
    wait_until("the first owns it", || first.seen.claims().len() == 1);
    let second = Member::start(group(&client, &name), &[&topic]);
    wait_until("one of them owns it again", || first.seen.claims().len() + second.seen.claims().len() == 1);
    let (owner, idle) = if first.seen.claims().is_empty() { (second, first) } else { (first, second) };
    owner.stop().unwrap();
    wait_until("the other one takes over", || idle.seen.claims().len() == 1);
    idle.stop().unwrap();
}

#[test]
fn g21_a_topic_that_does_not_exist_yet_is_read_from_its_start_once_it_does() {
    let cluster = Cluster::builder(1).set("auto.create.topics.enable", "false").start().unwrap();
    let client = settings(cluster.bootstrap_servers()).metadata_max_age(Duration::from_millis(50)).build().unwrap();
    let member = Member::start(group(&client, "g1").start(StartOffset::Earliest), &["t"]);
    wait_until("it is a member", || cluster.group_members("g1").len() == 1);
    cluster.create_topic("t", 2).unwrap();
    fill(&cluster, 2, 2);
    wait_until("all is read", || member.seen.count() == 4);
    member.stop().unwrap();
}

#[test]
fn g22_members_share_and_each_record_is_read_once_on_any_cluster() {
    let target = Target::new(3);
    let topic = target.topic(6);
    let client = target.client();
    let name = unique("g");
    let members: Vec<Member> = (0..3).map(|_| Member::start(group(&client, &name), &[&topic])).collect();
    wait_until("they share evenly", || members.iter().all(|member| member.seen.claims().len() == 2));
    let producer = sync_producer(&client, |builder| builder);
    for partition in 0..6 {
        send_all(&producer, &topic, partition, &["a", "b", "c"]);
    }
    wait_until("all is read", || members.iter().map(|member| member.seen.count()).sum::<usize>() >= 18);
    for partition in 0..6 {
        let offsets: Vec<i64> = members.iter().flat_map(|member| member.seen.offsets(&topic, partition)).collect();
        assert_eq!(offsets, [0, 1, 2]);
    }
    members.into_iter().for_each(|member| member.stop().unwrap());
}

#[test]
fn g8_an_answer_about_an_old_generation_says_nothing_about_the_new_one() {
    let cluster = filled(1, 1, 3);
    let client = client(&cluster);
    let late = AtomicBool::new(true);
    // A heartbeat of the first generation is answered late, when the second one has begun.
    cluster.intercept(move |request: &HeartbeatRequest, _| {
        if request.generation_id == 1 && late.swap(false, Ordering::SeqCst) {
            let error_code = ErrorCode::ILLEGAL_GENERATION.0;
            let response = HeartbeatResponse { error_code, ..Default::default() };
            return Intercept::AnswerAfter(Duration::from_millis(200), response);
        }
        Intercept::Pass
    });
    let first = Member::start(group(&client, "g1"), &["t"]);
    wait_until("it reads", || first.seen.count() == 3);
    let second = Member::start(group(&client, "g1"), &["t"]);
    wait_until("there are two", || cluster.group_members("g1").len() == 2);
    fill(&cluster, 1, 1);
    wait_until("the group goes on", || committed(&cluster, "g1", 0) == Some(4));
    first.stop().unwrap();
    second.stop().unwrap();
}

#[test]
fn x3_a_member_that_stops_has_committed_and_left() {
    let cluster = filled(1, 3, 10);
    let member = Member::start(group(&client(&cluster), "g1").auto_commit_interval(LIMIT), &["t"]);
    wait_until("all is read", || member.seen.count() == 30);
    member.stop().unwrap();
    for partition in 0..3 {
        assert_eq!(committed(&cluster, "g1", partition), Some(10));
    }
    assert_eq!(cluster.requests_of::<LeaveGroupRequest>().len(), 1);
    assert!(cluster.group_members("g1").is_empty());
}

#[test]
fn a2_a_group_that_must_not_be_read_is_named_by_consume() {
    for api in [ApiKey::FIND_COORDINATOR, ApiKey::JOIN_GROUP, ApiKey::OFFSET_FETCH] {
        let cluster = filled(1, 1, 1);
        cluster.fail_always(api, ErrorCode::GROUP_AUTHORIZATION_FAILED);
        let error = group(&client(&cluster), "g1").build().unwrap().consume(&["t"], &Recorder::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authorization, "{api:?}: {error}");
        assert!(error.to_string().contains("g1"), "{api:?}: {error}");
    }
}

/// A member that speaks for itself: it joins with any bytes for a subscription.
struct RawMember(std::net::TcpStream);

impl RawMember {
    fn join(cluster: &Cluster, group: &str, metadata: &'static [u8]) -> Self {
        use sarameya::protocol::messages::join_group::JoinGroupRequestProtocol;
        use sarameya::protocol::{Request, Writer};
        use std::io::Write;
        let coordinator = cluster.coordinator(group).unwrap();
        let addresses: Vec<&str> = cluster.bootstrap_servers().split(',').collect();
        let mut socket = std::net::TcpStream::connect(addresses[coordinator as usize - 1]).unwrap();
        let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata: metadata.into() };
        let request = JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: 6000,
            rebalance_timeout_ms: 6000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        // Version 3 wants no member id first.
        let mut writer = Writer::new();
        writer.i32(0);
        writer.i16(JoinGroupRequest::KEY);
        writer.i16(3);
        writer.i32(1);
        writer.nullable_string(Some("rubbish"), false);
        request.encode(&mut writer, 3).unwrap();
        let frame = writer.into_frame();
        for slice in frame.slices() {
            socket.write_all(&slice).unwrap();
        }
        Self(socket)
    }
}

impl Drop for RawMember {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
