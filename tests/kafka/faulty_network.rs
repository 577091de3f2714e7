//! The harness itself: the fault proxy and the scripted broker do what their verbs say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::support::proxy::{Action, Direction, Proxy};
use crate::support::scripted::{Reply, Request, ScriptedBroker};
use crate::support::{wait_until, wire};

const LIMIT: Duration = Duration::from_secs(20);
/// Long enough that what was let through would have come, short enough to wait for it in a test.
const A_WHILE: Duration = Duration::from_millis(200);

/// A broker that answers each request with the request's body.
fn echo() -> ScriptedBroker {
    ScriptedBroker::start(|request| vec![Reply::Body(request.body.clone())])
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("a read limit");
    stream
}

fn request(api_key: i16, id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(api_key.to_be_bytes());
    frame.extend(7i16.to_be_bytes());
    frame.extend(id.to_be_bytes());
    wire::put_string(&mut frame, "tester");
    frame.extend(body);
    wire::framed(&frame)
}

fn ask(stream: &mut TcpStream, api_key: i16, id: i32, body: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    stream.write_all(&request(api_key, id, body))?;
    wire::read_frame(stream)
}

fn answer(id: i32, body: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], body].concat()
}

fn is_reset<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> bool {
    outcome.is_err_and(|error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

#[test]
fn the_scripted_broker_records_and_answers() {
    let broker = echo();
    let mut stream = connect(broker.address());
    assert_eq!(ask(&mut stream, 3, 41, b"hello").expect("an answer"), Some(answer(41, b"hello")));
    let Request { connection, api_key, api_version, correlation_id, client_id, body, .. } =
        broker.wait_requests(3, 1, LIMIT).remove(0);
    assert_eq!((connection, api_key, api_version, correlation_id), (0, 3, 7, 41));
    assert_eq!((client_id.as_deref(), body.as_slice()), (Some("tester"), &b"hello"[..]));
}

#[test]
fn the_scripted_broker_misbehaves_as_told() {
    let broker = ScriptedBroker::start(|request| match request.api_key {
        0 => vec![Reply::Delay(A_WHILE), Reply::Frame(b"other".to_vec()), Reply::Raw(b"tail".to_vec()), Reply::Close],
        1 => vec![Reply::Reset],
        2 => vec![Reply::Hang, Reply::Body(Vec::new())],
        _ => Vec::new(),
    });
    let start = Instant::now();
    let mut stream = connect(broker.address());
    assert_eq!(ask(&mut stream, 0, 1, b"").expect("a frame"), Some(b"other".to_vec()));
    assert!(start.elapsed() >= A_WHILE);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end");
    assert_eq!(rest, b"tail");

    assert!(is_reset(ask(&mut connect(broker.address()), 1, 1, b"")));
    for silent in [2, 3] {
        let mut stream = connect(broker.address());
        stream.set_read_timeout(Some(A_WHILE)).expect("a read limit");
        let outcome = ask(&mut stream, silent, 1, b"").expect_err("no answer");
        assert!(matches!(outcome.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{outcome}");
    }
    assert_eq!(broker.accepted().len(), 4);
    wait_until("only silent connections are open", LIMIT, || broker.open() <= 1);
}

#[test]
fn the_proxy_forwards_and_delays_without_loss_of_throughput() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());
    let mut stream = connect(proxy.address());
    assert_eq!(ask(&mut stream, 0, 1, b"x").expect("an answer"), Some(answer(1, b"x")));

    proxy.set_delay(A_WHILE);
    let start = Instant::now();
    for id in 0..20 {
        stream.write_all(&request(0, id, b"many")).expect("a write");
    }
    for id in 0..20 {
        assert_eq!(wire::read_frame(&mut stream).expect("an answer"), Some(answer(id, b"many")));
    }
    let taken = start.elapsed();
    assert!(taken >= 2 * A_WHILE, "{taken:?}");
    assert!(taken < 10 * A_WHILE, "twenty in flight took {taken:?}, as if one waited for the other");

    proxy.heal();
    stream.shutdown(Shutdown::Write).expect("an end");
    assert_eq!(wire::read_frame(&mut stream).expect("an end"), None);
    wait_until("the broker sees the end", LIMIT, || broker.open() == 0 && proxy.open() == 0);
}

#[test]
fn the_proxy_resets_refuses_and_takes_connections_again() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());
    let mut stream = connect(proxy.address());
    ask(&mut stream, 0, 1, b"x").expect("an answer");
    proxy.refuse();
    let refused = TcpStream::connect(proxy.address()).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(ask(&mut stream, 0, 2, b"x").is_ok(), "open connections stay");
    proxy.reset_all();
    assert!(is_reset(stream.read(&mut [0])));
    wait_until("the broker sees the reset", LIMIT, || broker.open() == 0);
    proxy.listen();
    assert!(ask(&mut connect(proxy.address()), 0, 3, b"x").is_ok());
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn the_proxy_pauses_and_lets_go() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());
    let mut stream = connect(proxy.address());
    ask(&mut stream, 0, 1, b"x").expect("an answer");
    proxy.pause();
    stream.set_read_timeout(Some(A_WHILE)).expect("a read limit");
    ask(&mut stream, 0, 2, b"held").expect_err("no answer");
    assert_eq!(broker.requests().len(), 1, "nothing got through");
    proxy.resume();
    stream.set_read_timeout(Some(LIMIT)).expect("a read limit");
    assert_eq!(wire::read_frame(&mut stream).expect("an answer"), Some(answer(2, b"held")));
}

#[test]
fn the_proxy_loses_and_cuts_what_it_is_told() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());

    // The broker acts, the client does not learn it: once, and only for this API.
    proxy.reset_at(Direction::Response, 0, 1);
    let mut stream = connect(proxy.address());
    assert!(ask(&mut stream, 3, 1, b"x").is_ok());
    assert!(is_reset(ask(&mut stream, 0, 2, b"x")));
    assert_eq!(broker.requests_of(0).len(), 1);
    assert!(ask(&mut connect(proxy.address()), 0, 3, b"x").is_ok());

    // An answer is 4 + 4 + 10 bytes: the first passes whole, the second in part.
    proxy.cut_after(Direction::Response, 18 + 6);
    let mut stream = connect(proxy.address());
    assert!(ask(&mut stream, 0, 4, b"0123456789").is_ok());
    stream.write_all(&request(0, 5, b"0123456789")).expect("a write");
    let mut got = [0; 6];
    stream.read_exact(&mut got).expect("the part before the cut");
    assert_eq!(got, [0, 0, 0, 14, 0, 0]);
    assert!(is_reset(stream.read(&mut got)));

    proxy.swallow_responses_after(1);
    let mut stream = connect(proxy.address());
    assert!(ask(&mut stream, 0, 6, b"x").is_ok());
    stream.set_read_timeout(Some(A_WHILE)).expect("a read limit");
    ask(&mut stream, 0, 7, b"x").expect_err("no answer");
    assert_eq!(broker.requests().last().map(|request| request.correlation_id), Some(7));
}

#[test]
fn the_proxy_drips() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());
    proxy.on_frame(|frame| if frame.direction == Direction::Response { Action::Drip(20) } else { Action::Forward });
    let mut stream = connect(proxy.address());
    let start = Instant::now();
    ask(&mut stream, 0, 1, b"12").expect("an answer");
    // Ten bytes, two at a time, ten times a second.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
}

#[test]
fn the_proxy_delays_and_replaces_single_frames() {
    let broker = echo();
    let proxy = Proxy::start(broker.address());
    proxy.on_frame(|frame| match (frame.direction, frame.correlation_id) {
        (Direction::Response, 1) => Action::Delay(A_WHILE),
        (Direction::Response, 2) => Action::Replace(wire::framed(&answer(9, b"false"))),
        _ => Action::Forward,
    });
    let mut stream = connect(proxy.address());
    let start = Instant::now();
    assert_eq!(ask(&mut stream, 0, 1, b"late").expect("an answer"), Some(answer(1, b"late")));
    assert!(start.elapsed() >= A_WHILE);
    assert_eq!(ask(&mut stream, 0, 2, b"true").expect("an answer"), Some(answer(9, b"false")));
    assert!(start.elapsed() < 10 * A_WHILE, "only one was delayed");
}
