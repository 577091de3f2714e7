//! Each fault as a client meets it.

use super::{Bare, LIMIT, eventually};
use crate::ErrorCode;
use crate::embedded::{Cluster, Garble, Intercept};
use crate::protocol::messages::metadata::MetadataRequestTopic;
use crate::protocol::messages::{ApiKey, MetadataRequest, MetadataResponse};
use bytes::Bytes;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

const METADATA: ApiKey = ApiKey::METADATA;
const VERSION: i16 = 9;

fn asking(topic: &str) -> MetadataRequest {
    let topic = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    MetadataRequest { topics: Some(vec![topic]), ..Default::default() }
}

fn code(response: &MetadataResponse) -> i16 {
    response.topics[0].error_code
}

fn with_topic() -> (Cluster, Bare) {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let bare = Bare::connect(&cluster, 1);
    (cluster, bare)
}

#[test]
fn requests_fail_as_often_as_was_said_and_without_effect() {
    let (cluster, mut bare) = with_topic();
    cluster.fail_next_n(METADATA, ErrorCode::LEADER_NOT_AVAILABLE, 2);
    cluster.fail_next(METADATA, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let mut next = |topic| code(&bare.call(VERSION, &asking(topic)).unwrap());
    assert_eq!([next("t"), next("new"), next("t"), next("new"), next("t")], [5, 5, 17, 3, 0]);
    cluster.fail_always(METADATA, ErrorCode::LEADER_NOT_AVAILABLE);
    assert_eq!([next("t"), next("t")], [5, 5]);
    cluster.clear_faults();
    assert_eq!(next("t"), 0);
}

#[test]
fn a_dropped_response_has_taken_effect_and_a_dropped_request_has_not() {
    let (cluster, mut bare) = with_topic();
    cluster.drop_next_response(METADATA);
    assert_eq!(bare.call(VERSION, &asking("made")), None);
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(code(&bare.call(VERSION, &asking("made")).unwrap()), 0, "made by the request before");
    cluster.drop_next_request(METADATA);
    assert_eq!(bare.call(VERSION, &asking("other")), None);
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(code(&bare.call(VERSION, &asking("other")).unwrap()), 3, "not made before");
}

#[test]
fn a_delayed_answer_comes_by_the_clusters_clock_and_others_are_not_held_up() {
    let cluster = Cluster::builder(1).manual_clock().start().unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    cluster.delay(METADATA, Duration::from_secs(5));
    bare.send(VERSION, &asking("t"));
    cluster.wait_for_requests(METADATA, 1, LIMIT).unwrap();
    cluster.advance_clock(Duration::from_secs(4));
    assert!(Bare::connect(&cluster, 1).ask(18, 0, &[]).is_some());
    bare.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(bare.0.read(&mut [0]).is_err(), "nothing has come");
    bare.0.set_read_timeout(Some(LIMIT)).unwrap();
    // The answer may be put off only now, by the clock that has been moved: once more as far is enough.
    cluster.advance_clock(Duration::from_secs(5));
    assert!(bare.receive::<MetadataRequest>(VERSION).is_some());
    cluster.delay(METADATA, Duration::ZERO);
    assert!(bare.call(VERSION, &asking("t")).is_some());
}

#[test]
fn a_delay_passes_by_itself_with_a_running_clock() {
    let (cluster, mut bare) = with_topic();
    cluster.delay(METADATA, Duration::from_millis(5));
    assert!(bare.call(VERSION, &asking("t")).is_some());
}

#[test]
fn a_paused_broker_accepts_and_says_nothing_until_it_goes_on() {
    let cluster = Cluster::start(2).unwrap();
    cluster.pause_broker(1);
    let mut bare = Bare::connect(&cluster, 1);
    bare.send(VERSION, &asking("t"));
    assert!(Bare::connect(&cluster, 2).call(VERSION, &asking("t")).is_some(), "the other one serves");
    assert_eq!(cluster.requests(METADATA).iter().filter(|request| request.broker() == 1).count(), 0);
    bare.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    assert!(bare.0.read(&mut [0]).is_err(), "nothing has come");
    bare.0.set_read_timeout(Some(LIMIT)).unwrap();
    cluster.resume_broker(1);
    assert!(bare.receive::<MetadataRequest>(VERSION).is_some());
    // A stop ends a pause.
    cluster.pause_broker(1);
    bare.send(VERSION, &asking("t"));
    cluster.stop_broker(1);
    assert!(bare.is_closed());
    cluster.start_broker(1).unwrap();
    assert!(Bare::connect(&cluster, 1).call(VERSION, &asking("t")).is_some());
}

#[test]
fn dropped_connections_are_those_of_one_broker_and_it_listens_on() {
    let cluster = Cluster::start(2).unwrap();
    let (mut first, mut second) = (Bare::connect(&cluster, 1), Bare::connect(&cluster, 2));
    assert!(first.ask(18, 0, &[]).is_some() && second.ask(18, 0, &[]).is_some());
    assert_eq!((cluster.connections(1), cluster.connections(2)), (1, 1));
    cluster.drop_connections(1);
    assert!(first.is_closed());
    assert!(second.ask(18, 0, &[]).is_some());
    assert!(Bare::connect(&cluster, 1).ask(18, 0, &[]).is_some());
}

#[test]
fn a_garbled_answer_is_garbled_once() {
    let (cluster, mut bare) = with_topic();
    let whole = bare.ask(3, 1, &[0, 0, 0, 0]).unwrap();
    cluster.garble_next(METADATA, Garble::CorrelationId);
    cluster.garble_next(METADATA, Garble::HugeLength);
    let wrong = bare.ask(3, 1, &[0, 0, 0, 0]).unwrap();
    assert_eq!((&wrong[..4], &wrong[4..]), (&[255, 255, 255, 248][..], &whole[4..]));
    bare.write(&Bare::frame(3, 1, &[0, 0, 0, 0]));
    let mut length = [0; 4];
    bare.0.read_exact(&mut length).unwrap();
    assert_eq!(length, i32::MAX.to_be_bytes());
    assert_eq!(bare.ask(3, 1, &[0, 0, 0, 0]).unwrap(), whole);
    cluster.garble_next(METADATA, Garble::Truncated);
    assert_eq!(bare.ask(3, 1, &[0, 0, 0, 0]), None);
}

#[test]
fn dripped_and_throttled_answers_are_whole() {
    let (cluster, mut bare) = with_topic();
    cluster.slow_drip(METADATA, 7, Duration::from_millis(1));
    cluster.throttle(METADATA, Duration::from_millis(250));
    let response = bare.call(VERSION, &asking("t")).unwrap();
    assert_eq!((code(&response), response.throttle_time_ms), (0, 250));
    cluster.slow_drip(METADATA, 0, Duration::ZERO);
    cluster.throttle(METADATA, Duration::ZERO);
    assert_eq!(bare.call(VERSION, &asking("t")).unwrap().throttle_time_ms, 0);
    // Nobody waits for the end of an answer whose client has gone.
    cluster.slow_drip(METADATA, 1, Duration::from_secs(3600));
    bare.send(VERSION, &asking("t"));
    bare.0.read_exact(&mut [0]).unwrap();
    drop(bare);
    eventually("the end of the connection", || cluster.connections(1) == 0);
}

#[test]
fn a_script_answers_closes_is_silent_or_passes() {
    let (cluster, mut bare) = with_topic();
    cluster.intercept(|request: &MetadataRequest, received| {
        assert_eq!((received.broker(), received.version(), received.client_id()), (1, VERSION, "bare"));
        let name = request.topics.as_ref().and_then(|topics| topics[0].name.clone()).unwrap();
        let answer = MetadataResponse { cluster_id: Some(name.clone()), ..Default::default() };
        match name.as_str() {
            "answer" => Intercept::Answer(answer),
            "later" => Intercept::AnswerAfter(Duration::from_millis(1), answer),
            "close" => Intercept::Close,
            "silence" => Intercept::Silence,
            "raw" => Intercept::Raw(Bytes::from_static(&[0, 0, 0, 1, 42])),
            _ => Intercept::Pass,
        }
    });
    let mut id = |topic| bare.call(VERSION, &asking(topic)).unwrap().cluster_id.unwrap();
    assert_eq!((id("answer"), id("later")), ("answer".into(), "later".into()));
    assert_eq!(id("t").len(), 22);
    bare.send(VERSION, &asking("raw"));
    assert_eq!(bare.read().unwrap(), [42]);
    bare.send(VERSION, &asking("silence"));
    assert!(bare.call(VERSION, &asking("answer")).is_some());
    assert_eq!(bare.call(VERSION, &asking("close")), None);
    cluster.clear_faults_of(METADATA);
    assert_eq!(code(&Bare::connect(&cluster, 1).call(VERSION, &asking("close")).unwrap()), 3);
}

#[test]
fn answers_are_edited_and_a_script_may_use_the_cluster_even_to_stop_its_own_broker() {
    let cluster = Arc::new(Cluster::start(1).unwrap());
    cluster.rewrite::<MetadataRequest>(|response| response.brokers.clear());
    let mut bare = Bare::connect(&cluster, 1);
    assert!(bare.call(VERSION, &asking("t")).unwrap().brokers.is_empty());
    let handle = Arc::downgrade(&cluster);
    cluster.intercept(move |_: &MetadataRequest, _| {
        handle.upgrade().unwrap().stop_broker(1);
        Intercept::Pass
    });
    assert_eq!(bare.call(VERSION, &asking("t")), None);
    cluster.start_broker(1).unwrap();
}

#[test]
fn a_script_that_waits_or_panics_holds_up_its_own_connection_only() {
    let cluster = Cluster::start(1).unwrap();
    // Bound 1: each carries one message.
    let (enter, entered) = crossbeam_channel::bounded(1);
    let (go, go_on) = crossbeam_channel::bounded(1);
    cluster.intercept(move |_: &MetadataRequest, _| {
        enter.send(()).unwrap();
        go_on.recv_timeout(LIMIT).unwrap();
        panic!("on purpose, by a test");
    });
    let mut bare = Bare::connect(&cluster, 1);
    bare.send(VERSION, &asking("t"));
    entered.recv_timeout(LIMIT).unwrap();
    assert!(Bare::connect(&cluster, 1).ask(18, 0, &[]).is_some());
    go.send(()).unwrap();
    assert!(bare.is_closed());
    eventually("the end of the connections", || cluster.connections(1) == 0);
}

#[test]
fn requests_are_seen_with_what_is_known_of_them() {
    let (cluster, mut bare) = with_topic();
    assert!(bare.call(VERSION, &asking("t")).is_some());
    let mut other = Bare::connect(&cluster, 1);
    assert!(other.call(7, &asking("u")).is_some());
    let seen = cluster.wait_for_requests(METADATA, 2, LIMIT).unwrap();
    let known: Vec<_> = seen.iter().map(|r| (r.api(), r.version(), r.broker(), r.client_id())).collect();
    assert_eq!(known, [(METADATA, 9, 1, "bare"), (METADATA, 7, 1, "bare")]);
    assert!(seen[0].connection() < seen[1].connection() && seen[0].received_at() <= seen[1].received_at());
    assert_eq!(cluster.requests_of::<MetadataRequest>(), [asking("t"), asking("u")]);
    assert!(seen[0].body::<crate::protocol::messages::FetchRequest>().is_none());
    let error = cluster.wait_for_requests(METADATA, 3, Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Timeout);
    cluster.clear_requests();
    assert!(cluster.requests(METADATA).is_empty());
}
