//! Connections against a scripted peer, by the names of the failure scenarios.

use super::scripted::{Asked, REFUSING, Reply, Scripted, Session, body, framed};
use super::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Readiness, Security, Waker};
use crate::protocol::Request;
use crate::protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, ScramCredentialUpsertion,
};
use crate::protocol::messages::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
};
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const METADATA: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 12)];
/// Without flexible encoding.
const METADATA_5: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 5)];
/// Nothing that is expected to end sooner may take this long.
const LONG: Duration = Duration::from_secs(5);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config() -> NetConfig {
    NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: LONG,
        max_response_bytes: 100 * 1024 * 1024,
        dialer: Dialer::default(),
        epoch: Epoch::default(),
        security: Security::default(),
    }
}

fn peer_at(address: SocketAddr) -> Peer {
    Peer { node_id: 7, host: Arc::from(address.ip().to_string()), port: address.port() }
}

fn dial_within(address: SocketAddr, timeout: Duration) -> Result<Connection> {
    Connection::dial(&peer_at(address), &config(), &Interrupt::new().unwrap(), Deadline::after(timeout))
}

fn dial(peer: &Scripted) -> Connection {
    dial_within(peer.address(), LONG).unwrap()
}

fn ask(connection: &mut Connection, timeout: Duration) -> Result<MetadataResponse> {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    connection.call(&request, Deadline::after(timeout))
}

/// Sends the request, so that it can be received in another order.
fn send(connection: &mut Connection) {
    let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
    connection.send(&request, Deadline::after(LONG)).unwrap();
}

fn cluster(id: &str) -> MetadataResponse {
    MetadataResponse { cluster_id: Some(id.into()), ..Default::default() }
}

/// A peer that negotiates and then does `script` with the first request.
fn answering(
    apis: &'static [(i16, i16, i16)],
    script: impl Fn(&mut Session, &Asked) + Send + Sync + 'static,
) -> Scripted {
    Scripted::new(move |session| {
        session.handshake(apis);
        if let Some(asked) = session.request() {
            script(session, &asked);
        }
    })
}

/// What a call says whose whole answer is these bytes.
fn answered_with(apis: &'static [(i16, i16, i16)], bytes: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Error {
    let peer = answering(apis, move |session, asked| {
        session.write(&bytes(asked));
        session.fall_silent();
    });
    let mut connection = dial(&peer);
    let error = ask(&mut connection, LONG).unwrap_err();
    assert!(connection.is_broken() && !connection.is_reusable());
    error
}

/// What dialling a peer says that greets with these bytes.
fn greeted_with(bytes: &'static [u8]) -> Error {
    let peer = Scripted::new(|session| {
        session.request();
        session.write(bytes);
        session.fall_silent();
    });
    dial_within(peer.address(), LONG).unwrap_err()
}

#[test]
fn c2_a_refused_connection_names_the_broker_and_the_address() {
    let error = dial_within(REFUSING.parse().unwrap(), LONG).unwrap_err();
    assert_eq!((error.kind(), error.broker(), error.address()), (ErrorKind::Network, Some(7), Some(REFUSING)));
    assert!(error.is_retriable());
}

#[test]
fn c4_a_peer_that_never_answers_costs_the_deadline_and_no_more() {
    let peer = Scripted::broker(METADATA, |_| Reply::Silence);
    let mut connection = dial(&peer);
    let start = Instant::now();
    let error = ask(&mut connection, ms(100)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.broker(), Some(7));
    assert!((ms(100)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(connection.is_broken(), "its late answer must not be taken for another's");

    let mute = Scripted::new(Session::fall_silent);
    let error = dial_within(mute.address(), ms(50)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(mute.connections(), 1, "silence is no reason to try version 0");
}

#[test]
fn c5_a_connection_that_ends_in_a_request_is_a_network_error() {
    let peer = Scripted::broker(METADATA, |_| Reply::Close);
    let mut connection = dial(&peer);
    assert_eq!(ask(&mut connection, LONG).unwrap_err().kind(), ErrorKind::Network);
    assert!(connection.is_broken());
    let again = ask(&mut connection, LONG).unwrap_err();
    assert!(again.to_string().contains("broken"), "{again}");
}

#[test]
fn c6_an_idle_connection_that_was_closed_is_not_reused() {
    let peer = Scripted::broker(METADATA, |asked| asked.reply::<MetadataRequest>(&cluster("c")));
    let mut connection = dial(&peer);
    ask(&mut connection, LONG).unwrap();
    assert!(connection.is_reusable());
    peer.close_connections();
    assert_eq!(connection.wait_readable(None, Deadline::after(LONG)).unwrap(), Readiness::Ready);
    assert!(!connection.is_reusable());
}

#[test]
fn c8_a_drip_of_bytes_does_not_move_the_deadline() {
    let peer = answering(METADATA, |session, asked| {
        for byte in asked.answer::<MetadataRequest>(&cluster("a cluster id long enough for many drops")) {
            session.write(&[byte]);
            std::thread::sleep(ms(20));
        }
    });
    let mut connection = dial(&peer);
    let start = Instant::now();
    assert_eq!(ask(&mut connection, ms(200)).unwrap_err().kind(), ErrorKind::Timeout);
    assert!((ms(200)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[test]
fn c9_a_peer_that_stops_reading_costs_the_deadline() {
    let peer = Scripted::new(|session| {
        session.handshake(METADATA);
        session.play_dead();
    });
    let mut connection = dial(&peer);
    // More than all the buffers on the way hold.
    let topic = MetadataRequestTopic { name: Some("t".repeat(30_000)), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic; 1000]), ..Default::default() };
    let start = Instant::now();
    let error = connection.send(&request, Deadline::after(ms(200))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    // Encoding 30 MB takes its time on a busy machine; a deadline that is not kept has no end at all.
    assert!((ms(200)..ms(30_000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(connection.is_broken(), "half a request is never resumed");
}

#[test]
fn the_shortest_answer_tells_how_far_a_broker_is() {
    let peer = Scripted::new(|session| {
        std::thread::sleep(ms(200));
        session.handshake(METADATA);
        while let Some(asked) = session.request() {
            session.write(&asked.answer::<MetadataRequest>(&cluster("c")));
        }
    });
    let mut connection = dial(&peer);
    let first = connection.round_trip_at_most().unwrap();
    assert!(first >= ms(200));
    let deadline = Deadline::after(LONG);
    while connection.round_trip_at_most().unwrap() >= first {
        ask(&mut connection, LONG).unwrap();
        assert!(!deadline.has_passed());
    }
}

#[test]
fn c15_all_addresses_of_a_name_are_tried() {
    // On most machines localhost is ::1 as well, where nobody listens.
    let broker = Scripted::broker(METADATA, |asked| asked.reply::<MetadataRequest>(&cluster("c")));
    let peer = Peer { node_id: -1, host: Arc::from("localhost"), port: broker.address().port() };
    let dialled = Connection::dial(&peer, &config(), &Interrupt::new().unwrap(), Deadline::after(LONG));
    ask(&mut dialled.unwrap(), LONG).unwrap();
}

#[test]
fn c17_a_throttled_connection_keeps_silent_until_the_time_is_over() {
    let peer = Scripted::broker(METADATA, |asked| {
        asked.reply::<MetadataRequest>(&MetadataResponse { throttle_time_ms: 150, ..Default::default() })
    });
    let mut connection = dial(&peer);
    ask(&mut connection, LONG).unwrap();
    assert!(connection.throttled_until().is_some());
    let error = ask(&mut connection, ms(30)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(!connection.is_broken(), "nothing was sent");
    ask(&mut connection, LONG).unwrap();
    let times: Vec<Instant> = peer.requests().iter().filter(|r| r.1 == MetadataRequest::KEY).map(|r| r.0).collect();
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= ms(145), "{:?}", times[1] - times[0]);
}

#[test]
fn w1_an_end_within_an_answer_is_a_network_error() {
    let peer = answering(METADATA, |session, asked| {
        let frame = asked.answer::<MetadataRequest>(&cluster("c"));
        session.write(&frame[..frame.len() / 2]);
    });
    assert_eq!(ask(&mut dial(&peer), LONG).unwrap_err().kind(), ErrorKind::Network);
}

#[test]
fn w2_silence_within_an_answer_costs_the_deadline() {
    let peer = answering(METADATA, |session, asked| {
        let frame = asked.answer::<MetadataRequest>(&cluster("c"));
        session.write(&frame[..frame.len() / 2]);
        session.fall_silent();
    });
    assert_eq!(ask(&mut dial(&peer), ms(80)).unwrap_err().kind(), ErrorKind::Timeout);
}

#[test]
fn w3_other_protocols_are_recognized() {
    for (bytes, hint) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "HTTP"),
        (&[0x15, 3, 3, 0, 2, 2, 40], "TLS"),
        (&[0x16, 3, 1, 2, 0, 1, 0], "TLS"),
    ] {
        let error = greeted_with(bytes);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.broker(), Some(7));
        assert!(error.to_string().contains(hint), "{error}");
    }
    assert_eq!(greeted_with(b"SSH-2.0-OpenSSH_9.9\r\n").kind(), ErrorKind::TooLarge);
}

#[test]
fn w3_a_server_that_only_hangs_up_is_asked_whether_it_is_kafka() {
    let peer = Scripted::new(|session| {
        session.request();
    });
    let error = dial_within(peer.address(), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("is this a Kafka port"), "{error}");
    assert_eq!(peer.connections(), 2, "once more with version 0, and no more");
    assert_eq!(peer.requests()[1].2, 0);
}

#[test]
fn w4_impossible_lengths_are_refused_at_once() {
    for (length, kind) in [
        (-1, ErrorKind::Protocol),
        (0, ErrorKind::Protocol),
        (3, ErrorKind::Protocol),
        (i32::MIN, ErrorKind::Protocol),
        (i32::MAX, ErrorKind::TooLarge),
        (100 * 1024 * 1024 + 1, ErrorKind::TooLarge),
    ] {
        let error = answered_with(METADATA, move |_| length.to_be_bytes().to_vec());
        assert_eq!(error.kind(), kind, "{length}: {error}");
    }
}

#[test]
fn w4_a_peer_that_has_proved_nothing_gets_less_memory() {
    let length = 512 * 1024 + 1;
    let peer = Scripted::new(move |session| {
        if session.request().is_some() {
            session.write(&i32::to_be_bytes(length));
            session.fall_silent();
        }
    });
    let error = dial_within(peer.address(), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    assert_eq!(peer.connections(), 1, "it is not asked again");
}

#[test]
fn w4_a_long_answer_comes_whole_and_the_next_one_after_it() {
    let broker = MetadataResponseBroker { node_id: 1, host: "h".repeat(30_000), port: 1, ..Default::default() };
    let large = MetadataResponse { brokers: vec![broker; 100], ..cluster("large") };
    assert!(body(&large, 12).len() > 2 * 1024 * 1024);
    let expected = large.clone();
    let peer = answering(METADATA, move |session, asked| {
        let second = session.request().unwrap();
        let mut bytes = asked.answer::<MetadataRequest>(&large);
        bytes.extend(second.answer::<MetadataRequest>(&cluster("small")));
        session.write(&bytes);
        session.fall_silent();
    });
    let mut connection = dial(&peer);
    send(&mut connection);
    send(&mut connection);
    let deadline = Deadline::after(LONG);
    assert_eq!(connection.receive::<MetadataRequest>(deadline).unwrap(), expected);
    assert_eq!(connection.receive::<MetadataRequest>(deadline).unwrap().cluster_id.as_deref(), Some("small"));
    assert!(connection.is_reusable());
}

#[test]
fn w5_w7_an_answer_is_never_given_to_another_request() {
    let error = answered_with(METADATA, |asked| framed(asked.correlation_id + 1, true, &body(&cluster("c"), 12)));
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("correlation id"), "{error}");

    let reordering = answering(METADATA, |session, first| {
        let second = session.request().unwrap();
        session.write(&second.answer::<MetadataRequest>(&cluster("2")));
        session.write(&first.answer::<MetadataRequest>(&cluster("1")));
        session.fall_silent();
    });
    let mut connection = dial(&reordering);
    send(&mut connection);
    send(&mut connection);
    let deadline = Deadline::after(LONG);
    assert_eq!(connection.receive::<MetadataRequest>(deadline).unwrap_err().kind(), ErrorKind::Protocol);
    assert!(connection.receive::<MetadataRequest>(deadline).is_err(), "broken for good");
}

#[test]
fn w6_what_comes_unasked_ends_the_connection() {
    let peer = answering(METADATA, |session, asked| {
        let answer = asked.answer::<MetadataRequest>(&cluster("c"));
        session.write(&answer);
        session.write(&answer);
        session.fall_silent();
    });
    let mut connection = dial(&peer);
    ask(&mut connection, LONG).unwrap();
    assert_eq!(connection.wait_readable(None, Deadline::after(LONG)).unwrap(), Readiness::Ready);
    assert!(!connection.is_reusable());
    assert_eq!(ask(&mut connection, LONG).unwrap_err().kind(), ErrorKind::Protocol);

    // Of an owner who asked for something else, the answer is not given to the wrong question.
    let peer = answering(METADATA, |session, asked| session.write(&asked.answer::<MetadataRequest>(&cluster("c"))));
    let mut mistaken = dial(&peer);
    send(&mut mistaken);
    let error = mistaken.receive::<ApiVersionsRequest>(Deadline::after(LONG)).unwrap_err();
    assert!(error.to_string().contains("the next answer is one to Metadata"), "{error}");

    let mut idle = dial(&Scripted::broker(METADATA, |_| Reply::Silence));
    let error = idle.receive::<MetadataRequest>(Deadline::after(LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "nothing was asked");
}

#[test]
fn w8_an_unknown_error_code_keeps_its_number() {
    let peer = Scripted::new(|session| {
        let asked = session.request().unwrap();
        let refusal = ApiVersionsResponse { error_code: 9999, ..Default::default() };
        session.write(&asked.answer::<ApiVersionsRequest>(&refusal));
        session.fall_silent();
    });
    let error = dial_within(peer.address(), LONG).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode(9999)));
    assert_eq!(error.broker(), Some(7));
    assert!(!error.is_retriable());
}

#[test]
fn w9_a_body_too_short_or_too_long_is_refused() {
    for cut in [true, false] {
        let error = answered_with(METADATA, move |asked| {
            let mut body = body(&cluster("c"), asked.version);
            if cut {
                body.pop();
            } else {
                body.push(0);
            }
            framed(asked.correlation_id, true, &body)
        });
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("Metadata v12"), "{error}");
    }
}

#[test]
fn w9_bytes_after_the_versions_are_refused() {
    let peer = Scripted::new(|session| {
        let asked = session.request().unwrap();
        let mut body = body(&ApiVersionsResponse::default(), asked.version);
        body.push(0);
        session.write(&framed(asked.correlation_id, false, &body));
        session.fall_silent();
    });
    let error = dial_within(peer.address(), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("1 bytes too many"), "{error}");
}

#[test]
fn w9_unknown_tagged_fields_are_accepted() {
    let peer = answering(METADATA, |session, asked| {
        let mut body = body(&cluster("c"), asked.version);
        assert_eq!(body.pop(), Some(0), "the empty section at the end");
        body.extend([1, 99, 3, 1, 2, 3]);
        // In the header as well.
        body.splice(0..0, [1, 98, 1, 42]);
        session.write(&framed(asked.correlation_id, false, &body));
        session.fall_silent();
    });
    assert_eq!(ask(&mut dial(&peer), LONG).unwrap(), cluster("c"));
}

#[test]
fn w10_hostile_counts_and_strings_are_refused() {
    // The throttle time, then the count of brokers.
    for count in [i32::MAX, -2] {
        let error = answered_with(METADATA_5, move |asked| {
            framed(asked.correlation_id, false, &[[0; 4], count.to_be_bytes()].concat())
        });
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
    for varint in [&[0xff; 10][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error =
            answered_with(METADATA, move |asked| framed(asked.correlation_id, true, &[&[0; 4], varint].concat()));
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    }
    // One broker with the node id 1 and a host of two bytes that are no text.
    let error = answered_with(METADATA_5, |asked| {
        framed(asked.correlation_id, false, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 2, 0xff, 0xfe])
    });
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    // A tagged field of 2 GiB in the header.
    let error =
        answered_with(METADATA, |asked| framed(asked.correlation_id, false, &[1, 0, 0xff, 0xff, 0xff, 0xff, 0x07]));
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[test]
fn w11_an_old_broker_answers_in_version_0_and_is_asked_in_what_it_knows() {
    for (named, fallback) in [(None, 0), (Some(2), 2), (Some(i16::MAX), 3), (Some(-1), 0)] {
        let peer = Scripted::new(move |session| {
            let asked = session.request().unwrap();
            let own = |max_version| ApiVersion { api_key: ApiVersionsRequest::KEY, min_version: 0, max_version };
            let refusal = ApiVersionsResponse {
                error_code: ErrorCode::UNSUPPORTED_VERSION.0,
                api_keys: named.map(own).into_iter().collect(),
                ..Default::default()
            };
            session.write(&framed(asked.correlation_id, false, &body(&refusal, 0)));
            session.handshake(METADATA_5);
            session.fall_silent();
        });
        let connection = dial(&peer);
        assert_eq!(connection.version::<MetadataRequest>().unwrap(), 5);
        let versions: Vec<i16> = peer.requests().iter().map(|r| r.2).collect();
        assert_eq!(versions, [ApiVersionsRequest::MAX_VERSION, fallback]);
        assert_eq!(peer.connections(), 1);
    }
}

#[test]
fn w11_a_broker_that_refuses_every_version_is_given_up() {
    let peer = Scripted::new(|session| {
        while let Some(asked) = session.request() {
            let refusal = ApiVersionsResponse { error_code: ErrorCode::UNSUPPORTED_VERSION.0, ..Default::default() };
            session.write(&framed(asked.correlation_id, false, &body(&refusal, 0)));
        }
    });
    let error = dial_within(peer.address(), LONG).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UNSUPPORTED_VERSION));
    assert_eq!(peer.requests().len(), 2);
}

#[test]
fn w11_a_server_that_resets_on_the_new_version_is_asked_in_version_0() {
    let peer = Scripted::new(|session| {
        if session.nth == 0 {
            session.request();
            return;
        }
        session.handshake(METADATA_5);
        session.fall_silent();
    });
    let connection = dial(&peer);
    assert_eq!(connection.version::<MetadataRequest>().unwrap(), 5);
    assert_eq!((peer.connections(), peer.requests()[1].2), (2, 0));
}

#[test]
fn w11_missing_apis_and_ranges_that_do_not_meet_are_named() {
    let apis = &[(MetadataRequest::KEY, 9, 3), (FindCoordinatorRequest::KEY, 100, 101)];
    let peer = Scripted::broker(apis, |_| Reply::Silence);
    let connection = dial(&peer);
    let error = connection.version::<MetadataRequest>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Metadata: the broker has 9 to 3"), "{error}");
    let error = connection.version::<FindCoordinatorRequest>().unwrap_err();
    assert!(error.to_string().contains("FindCoordinator: the broker has 100 to 101"), "{error}");

    let peer = Scripted::broker(&[], |_| Reply::Silence);
    let error = dial(&peer).version::<MetadataRequest>().unwrap_err();
    assert_eq!((error.kind(), error.broker()), (ErrorKind::Unsupported, Some(7)));
    assert!(error.to_string().contains("the API Metadata"), "{error}");
}

#[test]
fn answers_to_pipelined_requests_come_in_order() {
    let peer = answering(METADATA, |session, first| {
        let asked = [first.clone(), session.request().unwrap(), session.request().unwrap()];
        let frames = asked.iter().enumerate();
        let bytes: Vec<u8> =
            frames.flat_map(|(i, asked)| asked.answer::<MetadataRequest>(&cluster(&i.to_string()))).collect();
        // In pieces that have nothing to do with the frames.
        for piece in bytes.chunks(7) {
            session.write(piece);
        }
        session.fall_silent();
    });
    let mut connection = dial(&peer);
    for n in 1..=3 {
        send(&mut connection);
        assert_eq!(connection.in_flight(), n);
    }
    for i in 0..3 {
        let answer = connection.receive::<MetadataRequest>(Deadline::after(LONG)).unwrap();
        assert_eq!(answer.cluster_id, Some(i.to_string()));
    }
    assert!(connection.is_reusable());
}

#[test]
fn a_call_while_an_answer_is_outstanding_would_take_that_answer_and_is_refused() {
    let peer = Scripted::broker(METADATA, |asked| asked.reply::<MetadataRequest>(&cluster("c")));
    let mut connection = dial(&peer);
    send(&mut connection);
    assert_eq!(ask(&mut connection, LONG).unwrap_err().kind(), ErrorKind::Protocol);
}

#[test]
fn a_request_that_cannot_be_encoded_leaves_the_connection_usable() {
    let peer = Scripted::broker(METADATA_5, |asked| asked.reply::<MetadataRequest>(&cluster("c")));
    let mut connection = dial(&peer);
    let topic = MetadataRequestTopic { name: Some("t".repeat(40_000)), ..Default::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
    let error = connection.call(&request, Deadline::after(LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    ask(&mut connection, LONG).unwrap();
}

/// Triggers an interrupt while `wait` waits, and returns what it says, which must come soon.
fn interrupted<T: std::fmt::Debug>(interrupt: &Interrupt, wait: impl FnOnce() -> Result<T>) -> Error {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(ms(50));
            interrupt.trigger();
        });
        let start = Instant::now();
        let error = wait().unwrap_err();
        assert!((ms(40)..ms(2000)).contains(&start.elapsed()), "{:?}", start.elapsed());
        error
    })
}

#[test]
fn the_interrupt_ends_connecting() {
    // A queue of one that nobody takes from: Linux answers no further connection.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let _first = std::net::TcpStream::connect(address).unwrap();
    let interrupt = Interrupt::new().unwrap();
    let error =
        interrupted(&interrupt, || Connection::dial(&peer_at(address), &config(), &interrupt, Deadline::after(LONG)));
    assert_eq!(error.kind(), ErrorKind::Closed);
    let error = dial_within(address, ms(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "C3");
}

#[test]
fn the_interrupt_ends_reading_and_a_throttled_wait() {
    let peer = Scripted::broker(METADATA, |asked| {
        if asked.correlation_id > 1 {
            return Reply::Silence;
        }
        asked.reply::<MetadataRequest>(&MetadataResponse { throttle_time_ms: 60_000, ..Default::default() })
    });
    let interrupt = Interrupt::new().unwrap();
    let mut connection = dial(&peer);
    connection.set_interrupt(&interrupt);
    ask(&mut connection, LONG).unwrap();
    let error = interrupted(&interrupt, || ask(&mut connection, LONG));
    assert_eq!(error.kind(), ErrorKind::Closed);

    let peer = Scripted::broker(METADATA, |_| Reply::Silence);
    let interrupt = Interrupt::new().unwrap();
    let mut connection = dial(&peer);
    connection.set_interrupt(&interrupt);
    let error = interrupted(&interrupt, || ask(&mut connection, LONG));
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(connection.is_broken());
}

#[test]
fn a_waker_ends_one_wait_and_leaves_nothing_behind() {
    let waker = Waker::new().unwrap();
    let interrupt = Interrupt::new().unwrap();
    for _ in 0..3 {
        waker.wake();
        waker.wake();
        assert_eq!(waker.wait(&interrupt, Deadline::after(LONG)).unwrap(), Readiness::Ready);
        waker.drain();
        assert_eq!(waker.wait(&interrupt, Deadline::after(ms(5))).unwrap(), Readiness::TimedOut);
    }
}

#[test]
fn wakes_from_another_thread_are_neither_lost_nor_stuck() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const WAKES: u64 = 20_000;
    let waker = Arc::new(Waker::new().unwrap());
    let work = Arc::new(AtomicU64::new(0));
    let (to, adder) = (waker.clone(), work.clone());
    let thread = std::thread::spawn(move || {
        for _ in 0..WAKES {
            adder.fetch_add(1, Ordering::Relaxed);
            to.wake();
        }
    });
    let interrupt = Interrupt::new().unwrap();
    while work.load(Ordering::Relaxed) < WAKES {
        let readiness = waker.wait(&interrupt, Deadline::after(LONG)).unwrap();
        assert_ne!(readiness, Readiness::TimedOut, "a wake was lost at {}", work.load(Ordering::Relaxed));
        waker.drain();
    }
    thread.join().unwrap();
    waker.drain();
    assert_eq!(waker.wait(&interrupt, Deadline::after(ms(5))).unwrap(), Readiness::TimedOut);
}

#[test]
fn a_request_of_more_pieces_than_one_write_takes_arrives_whole() {
    const SECRETS: usize = 3000;
    let upsertion = |at: usize| ScramCredentialUpsertion {
        name: format!("user {at}"),
        salted_password: at.to_be_bytes().to_vec().into(),
        ..Default::default()
    };
    let peer = Scripted::broker(&[(AlterUserScramCredentialsRequest::KEY, 0, 0)], move |asked| {
        let request: AlterUserScramCredentialsRequest = asked.decode();
        assert!(request.upsertions.into_iter().eq((0..SECRETS).map(upsertion)));
        asked.reply::<AlterUserScramCredentialsRequest>(&AlterUserScramCredentialsResponse::default())
    });
    // Each secret is written from where it is, beside what stands between them.
    let upsertions = (0..SECRETS).map(upsertion).collect();
    let request = AlterUserScramCredentialsRequest { upsertions, ..Default::default() };
    dial(&peer).call(&request, Deadline::after(LONG)).unwrap();
}
