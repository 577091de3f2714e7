//! Proxies that answer well, badly and not at all.

use super::super::scripted::{Scripted, Session};
use super::super::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Security};
use super::*;
use crate::logged::logged;
use crate::protocol::Request;
use crate::protocol::messages::metadata::MetadataRequest;
use proptest::prelude::*;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::Duration;

const USER: &str = "al:ce";
const PASSWORD: &str = "hunter2";
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";

fn credentials() -> ProxyCredentials {
    ProxyCredentials { user: Secret::new(USER), password: Secret::new(PASSWORD) }
}

/// Runs an exchange in which the proxy gives these answers, one for each message; returns the messages.
fn run(mut exchange: impl Exchange, answers: &[&[u8]]) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut sent = Vec::new();
    let mut answers = answers.iter();
    let mut inbox: Vec<u8> = Vec::new();
    loop {
        let mut rest = &inbox[..];
        let step = exchange.advance(&mut rest)?;
        let taken = inbox.len() - rest.len();
        inbox.drain(..taken);
        match step {
            Step::Send(bytes) => sent.push(bytes.to_vec()),
            Step::Receive => inbox.extend_from_slice(answers.next().expect("an answer for each message")),
            Step::Done => return Ok(sent),
        }
    }
}

#[test]
fn socks5_messages_are_those_of_the_rfcs() {
    let ok = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let sent = run(Socks5::new("b.example", 9092, None), &[&[5, 0], &ok]).unwrap();
    assert_eq!(sent, [b"\x05\x01\x00".to_vec(), b"\x05\x01\x00\x03\x09b.example\x23\x84".to_vec()]);

    let own = credentials();
    let sent = run(Socks5::new("::1", 1, Some(&own)), &[&[5, 2], &[1, 0], &ok]).unwrap();
    let mut request = vec![5, 1, 0, 4];
    request.extend([0; 15]);
    request.extend([1, 0, 1]);
    assert_eq!(sent, [b"\x05\x02\x00\x02".to_vec(), b"\x01\x05al:ce\x07hunter2".to_vec(), request]);

    // One that wants no authentication is not told the password.
    let sent = run(Socks5::new("127.0.0.1", 258, Some(&own)), &[&[5, 0], &ok]).unwrap();
    assert_eq!(sent[1..], [b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\x02".to_vec()]);
}

#[test]
fn socks5_answers_may_come_in_pieces_and_name_any_kind_of_address() {
    for (kind, address) in [(1, vec![0; 4]), (4, vec![0; 16]), (3, vec![3, b'a', b'b', b'c'])] {
        let mut reply = vec![5, 0, 0, kind];
        reply.extend(address);
        reply.extend([0, 80]);
        let pieces: Vec<&[u8]> = [&b"\x05"[..], b"\x00"].into_iter().chain(reply.chunks(1)).collect();
        run(Socks5::new("b", 1, None), &pieces).unwrap();
    }
}

#[test]
fn socks5_refusals_say_why() {
    let own = credentials();
    let with = Some(&own);
    for (credentials, answers, kind, why) in [
        (None, &[&[4, 0][..]][..], ErrorKind::Protocol, "SOCKS4"),
        (None, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], ErrorKind::Protocol, "speaks HTTP"),
        (None, &[&[0x15, 3]], ErrorKind::Protocol, "first byte is 21"),
        (None, &[&[5, 0xff]], ErrorKind::Authentication, "wants authentication"),
        (None, &[&[5, 2]], ErrorKind::Protocol, "chose authentication 2"),
        (with, &[&[5, 1]], ErrorKind::Protocol, "chose authentication 1"),
        (with, &[&[5, 0xff]], ErrorKind::Authentication, "neither"),
        (with, &[&[5, 2], &[1, 1]], ErrorKind::Authentication, "refuses this user"),
        (with, &[&[5, 2], &[7, 0]], ErrorKind::Protocol, "version 7"),
        (None, &[&[5, 0], &[4, 90]], ErrorKind::Protocol, "SOCKS4"),
        (None, &[&[5, 0], &[5, 0, 0, 9, 0]], ErrorKind::Protocol, "kind 9"),
        (None, &[&[5, 0], &[5, 1]], ErrorKind::Network, "general failure"),
        (None, &[&[5, 0], &[5, 2]], ErrorKind::Network, "rules"),
        (None, &[&[5, 0], &[5, 3]], ErrorKind::Network, "network unreachable"),
        (None, &[&[5, 0], &[5, 4]], ErrorKind::Network, "host unreachable"),
        (None, &[&[5, 0], &[5, 5]], ErrorKind::Network, "connection refused"),
        (None, &[&[5, 0], &[5, 6]], ErrorKind::Network, "time to live"),
        (None, &[&[5, 0], &[5, 7]], ErrorKind::Network, "no CONNECT"),
        (None, &[&[5, 0], &[5, 8]], ErrorKind::Network, "no addresses of this kind"),
        (None, &[&[5, 0], &[5, 77]], ErrorKind::Network, "reply 77"),
    ] {
        let refusal = run(Socks5::new("b", 1, credentials), answers).unwrap_err();
        assert_eq!(refusal.kind, kind, "{answers:?}: {}", refusal.why);
        assert!(refusal.why.contains(why), "{answers:?}: {}", refusal.why);
    }
    let long = "x".repeat(256);
    assert!(run(Socks5::new(&long, 1, None), &[&[5, 0]]).unwrap_err().why.contains("255"));
}

#[test]
fn http_requests_name_the_broker_and_the_user() {
    let sent = run(HttpConnect::new("b.example", 9092, None), &[ESTABLISHED]).unwrap();
    assert_eq!(sent, [b"CONNECT b.example:9092 HTTP/1.1\r\nHost: b.example:9092\r\n\r\n".to_vec()]);
    let own = ProxyCredentials { user: Secret::new("Aladdin"), password: Secret::new("open sesame") };
    let sent = run(HttpConnect::new("::1", 1, Some(&own)), &[ESTABLISHED]).unwrap();
    let text = String::from_utf8(sent[0].clone()).unwrap();
    assert!(text.starts_with("CONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\n"), "{text}");
    // The example of RFC 7617.
    assert!(text.ends_with("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"), "{text}");
}

#[test]
fn http_answers_may_come_in_pieces_and_in_version_1_0() {
    for answer in [ESTABLISHED, b"HTTP/1.0 200\r\n\r\n", b"HTTP/1.1 204 \xff\r\nContent-Length: 99\r\n\r\n"] {
        run(HttpConnect::new("b", 1, None), &answer.chunks(1).collect::<Vec<_>>()).unwrap();
    }
}

#[test]
fn http_refusals_say_why() {
    let own = credentials();
    for (credentials, answer, kind, why) in [
        (None, "\u{5}\0", ErrorKind::Protocol, "SOCKS5"),
        (None, "SSH-2.0-OpenSSH\r\n", ErrorKind::Protocol, "HTTP proxy"),
        (None, "HTTP/2", ErrorKind::Protocol, "HTTP proxy"),
        (None, "HTTP/1.1 2000\r\n\r\n", ErrorKind::Protocol, "without a status"),
        (None, "HTTP/1.1\r\n\r\n", ErrorKind::Protocol, "without a status"),
        (None, "HTTP/1.1 100 Continue\r\n\r\n", ErrorKind::Network, "status 100"),
        (None, "HTTP/1.1 403 Forbidden port\r\n\r\n", ErrorKind::Network, "status 403 Forbidden port"),
        (None, "HTTP/1.1 407 x\r\n\r\n", ErrorKind::Authentication, "wants authentication"),
        (Some(&own), "HTTP/1.1 407 x\r\n\r\n", ErrorKind::Authentication, "refuses this user"),
        (None, "HTTP/1.1 502 Bad Gateway\r\n\r\n", ErrorKind::Network, "status 502 Bad Gateway"),
    ] {
        let refusal = run(HttpConnect::new("b", 1, credentials), &[answer.as_bytes()]).unwrap_err();
        assert_eq!(refusal.kind, kind, "{answer:?}: {}", refusal.why);
        assert!(refusal.why.contains(why), "{answer:?}: {}", refusal.why);
    }
    for host in ["a b", "a\r\nX: y", "a/b", "ü", "a@b"] {
        assert!(run(HttpConnect::new(host, 1, None), &[]).unwrap_err().why.contains("can't stand"), "{host:?}");
    }
}

#[test]
fn f9_urls_are_read_as_people_write_them() {
    for (url, shown, user) in [
        ("socks5://p:1", "socks5://p:1", None),
        ("SOCKS5H://p", "socks5://p:1080", None),
        ("socks5://[::1]", "socks5://[::1]:1080", None),
        ("http://p:3128/", "http://p:3128", None),
        (" http://al%3Ace:a%40b@[::1]:8080 ", "http://[::1]:8080", Some(("al:ce", "a@b"))),
        ("socks5://u:p@w@p:1", "socks5://p:1", Some(("u", "p@w"))),
        ("socks5://u@p:1", "socks5://p:1", Some(("u", ""))),
    ] {
        let proxy = Proxy::from_url(url).unwrap();
        assert_eq!(proxy.to_string(), shown);
        let own = proxy.credentials.as_ref().map(|own| (own.user.expose(), own.password.expose()));
        assert_eq!(own, user, "{url}");
    }
    for url in [
        "",
        "p:1",
        "://p:1",
        "http://p",
        "http://",
        "socks5://",
        "socks4://p:1",
        "https://hunter2@p:1",
        "socks5://a:1,b:2",
        "socks5://PLAINTEXT://a:1",
        "socks5://hunter2:%4@p:1",
        "socks5://hunter2:%ff@p:1",
        "socks5://p:0",
        "http://hunter2:x@p",
        "http://p:1/hunter2",
    ] {
        let error = Proxy::from_url(url).unwrap_err();
        assert_eq!(error.setting(), Some("proxy.url"), "{url}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn settings_a_proxy_can_not_be_told_are_refused_by_name() {
    let refused = |proxy: Proxy| proxy.check().unwrap_err().setting().unwrap().to_owned();
    assert_eq!(refused(Proxy::http("", 1)), "proxy.url");
    assert_eq!(refused(Proxy::socks5("p", 0)), "proxy.url");
    assert_eq!(refused(Proxy::socks5("p", 1).credentials("", "x")), "proxy.username");
    assert_eq!(refused(Proxy::socks5("p", 1).credentials("x", "y".repeat(256))), "proxy.password");
    assert_eq!(refused(Proxy::http("p", 1).credentials("a:b", "c")), "proxy.username");
    Proxy::http("p", 1).credentials("", "").check().unwrap();
}

#[test]
fn x10_user_and_password_do_not_show() {
    let proxy = Proxy::socks5("p", 1).credentials(USER, PASSWORD);
    for shown in [format!("{proxy:?}"), format!("{proxy:#?}"), proxy.to_string(), format!("{:?}", proxy.credentials)] {
        assert!(!shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
    }
}

/// The credentials as an HTTP proxy is told them.
const ENCODED: &str = "YWxpY2U6b3BlbiBzZXNhbWUsIG9yIGVsc2U=";

#[test]
fn x10_a_proxy_that_sends_user_and_password_back_does_not_get_them_into_an_error() {
    let (user, password) = ("alice", "open sesame, or else");
    let padding = "x".repeat(115);
    let words = [
        format!("no {password} here"),
        format!("{user}:{password}"),
        format!("not with Proxy-Authorization: Basic {ENCODED}"),
        format!("not with Basic {}", &ENCODED[..20]),
        format!("not with ...{}", &ENCODED[16..]),
        // What is shown ends within them.
        format!("{padding} {password}"),
        format!("{padding} {ENCODED}"),
        "alice is not welcome".into(),
        "lice:ope".into(),
    ];
    for words in &words {
        for status in [400, 403, 407, 502] {
            let answer = format!("HTTP/1.1 {status} {words}\r\nX-Echo: Basic {ENCODED}\r\n\r\n<p>{password} {ENCODED}");
            let peer = saying(&[answer.as_bytes()]);
            let (outcome, lines) = logged(|| dial(http(&peer).credentials(user, password)));
            let error = outcome.unwrap_err();
            let shown = format!("{error} {error:?} {}", lines.join("\n"));
            let tells = ["YWxp", "ZSwg", "b3Bl", "open", "sesame", "alice", "lice:ope"]
                .iter()
                .find(|part| shown.contains(**part));
            assert_eq!(tells, None, "{words}: {shown}");
            let why =
                if status == 407 { "refuses this user".into() } else { format!("status {status} (its words hold") };
            assert!(shown.contains(&why), "{words}: {shown}");
        }
    }
}

#[test]
fn x10_a_short_password_is_not_repeated_either() {
    let own = ProxyCredentials { user: Secret::new("al"), password: Secret::new("sesame") };
    for (words, held) in [("no sesame", true), ("not al", true), ("not for YWw6c2VzYW1l", true), ("no same", false)] {
        assert_eq!(own.are_in(words), held, "{words}");
    }
}

#[test]
fn x10_a_socks5_proxy_that_sends_everything_back_gets_none_of_it_into_an_error() {
    let own = credentials();
    let told = [b"\x01\x05".as_slice(), USER.as_bytes(), b"\x07", PASSWORD.as_bytes()].concat();
    for answers in [
        // After the method, which must be one, whatever it was told.
        &[&[5, 2][..], &told][..],
        &[&[5, 2], &[1, 0], &told],
        &[&[5, 2], &[1, 0], &[&[5, 0, 0, 3][..], &told].concat(), &told],
        &[&[5, 2], &[1, 0], &[&[5, 1, 0, 3][..], &told].concat()],
        &[&told],
        &[PASSWORD.as_bytes()],
    ] {
        let peer = saying(answers);
        let (outcome, lines) = logged(|| {
            let proxy = socks5(&peer).credentials(own.user.expose(), own.password.expose());
            dial_within(proxy, "broker.invalid", Duration::from_millis(300))
        });
        let error = outcome.unwrap_err();
        let shown = format!("{error} {error:?} {}", lines.join("\n"));
        assert!(!shown.contains(USER) && !shown.contains("hunt"), "{answers:?}: {shown}");
    }
}

proptest! {
    #[test]
    fn any_answer_is_taken_or_refused(answer in any::<Vec<u8>>(), split in 0usize..20, known in 0usize..4) {
        let own = credentials();
        let begin: &[u8] = [&b""[..], b"\x05\x00\x05", b"\x05\x02\x01\x00", b"HTTP/1.1 "][known];
        let all: Vec<u8> = begin.iter().copied().chain(answer).collect();
        let exchanges: [Box<dyn Exchange>; 2] =
            [Box::new(Socks5::new("b", 1, Some(&own))), Box::new(HttpConnect::new("b", 1, Some(&own)))];
        for mut exchange in exchanges {
            let mut inbox = all[..split.min(all.len())].to_vec();
            // Each step sends, takes, waits or ends: with all bytes there, no more than these.
            for _ in 0..10 {
                let mut rest = &inbox[..];
                match exchange.advance(&mut rest) {
                    Ok(Step::Send(_)) => {}
                    Ok(Step::Receive) if inbox.len() == all.len() => break,
                    Ok(Step::Receive) => inbox = all.clone(),
                    Ok(Step::Done) | Err(_) => break,
                }
            }
        }
    }
}

const LONG: Duration = Duration::from_secs(5);

fn dial_within(proxy: Proxy, host: &str, timeout: Duration) -> Result<Connection> {
    let config = NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: LONG,
        max_response_bytes: 1024 * 1024,
        dialer: Dialer { proxy: Some(Arc::new(proxy)), ..Dialer::default() },
        security: Security::default(),
        epoch: Epoch::default(),
    };
    let peer = Peer { node_id: 7, host: Arc::from(host), port: 9092 };
    Connection::dial(&peer, &config, &Interrupt::new().unwrap(), Deadline::after(timeout))
}

fn dial(proxy: Proxy) -> Result<Connection> {
    dial_within(proxy, "broker.invalid", LONG)
}

/// Reads one message, as far as it comes in one piece.
fn hear(session: &mut Session) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let n = session.socket.read(&mut buffer).unwrap_or_default();
    buffer[..n].to_vec()
}

/// A proxy that says these things, one after each message, and then keeps silent.
fn saying(answers: &[&[u8]]) -> Scripted {
    let answers: Vec<Vec<u8>> = answers.iter().map(|answer| answer.to_vec()).collect();
    Scripted::new(move |session| {
        for answer in &answers {
            hear(session);
            session.write(answer);
        }
        session.fall_silent();
    })
}

fn socks5(proxy: &Scripted) -> Proxy {
    Proxy::socks5(proxy.address().ip().to_string(), proxy.address().port())
}

fn http(proxy: &Scripted) -> Proxy {
    Proxy::http(proxy.address().ip().to_string(), proxy.address().port())
}

#[test]
fn a_broker_is_reached_by_a_name_that_only_the_proxy_knows() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = heard.clone();
    let proxy = Scripted::new(move |session| {
        hear(session);
        session.write(&[5, 0]);
        kept.lock().unwrap().extend(hear(session));
        session.write(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        // From here on it is the broker.
        session.handshake(&[(MetadataRequest::KEY, 0, 12)]);
        session.fall_silent();
    });
    dial(socks5(&proxy)).unwrap();
    assert_eq!(*heard.lock().unwrap(), b"\x05\x01\x00\x03\x0ebroker.invalid\x23\x84");

    let proxy = Scripted::new(|session| {
        assert!(hear(session).starts_with(b"CONNECT broker.invalid:9092 HTTP/1.1\r\n"));
        session.write(ESTABLISHED);
        session.handshake(&[(MetadataRequest::KEY, 0, 12)]);
        session.fall_silent();
    });
    dial(http(&proxy)).unwrap();
}

#[test]
fn hostile_answers_end_the_attempt_with_an_error_that_names_the_proxy() {
    let oversized = [b"HTTP/1.1 200 ".to_vec(), vec![b'x'; 20_000]].concat();
    for (protocol, answers, kind, why) in [
        ("socks5", &[&[5, 0][..], &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]][..], ErrorKind::Protocol, "goes on after"),
        ("socks5", &[&[5, 0, 5]], ErrorKind::Protocol, "broker.invalid"),
        ("socks5", &[&[5, 0], &[5, 5, 0, 1]], ErrorKind::Network, "connection refused"),
        ("socks5", &[b"HTTP/1.1 400 Bad Request\r\n\r\n"], ErrorKind::Protocol, "speaks HTTP"),
        ("http", &[b"HTTP/1.1 200 OK\r\n\r\nmore"], ErrorKind::Protocol, "goes on after"),
        ("http", &[&oversized[..]], ErrorKind::Protocol, "8 KiB"),
        ("http", &[b"HTTP/1.1 502 \x1b[2J\r\n\r\n"], ErrorKind::Network, "status 502"),
    ] {
        // The second of them sends the start of what it is not asked for yet, and then nothing.
        let patience = if why == "broker.invalid" { Duration::from_millis(100) } else { LONG };
        let kind = if why == "broker.invalid" { ErrorKind::Timeout } else { kind };
        let peer = saying(answers);
        let proxy = if protocol == "http" { http(&peer) } else { socks5(&peer) };
        let name = proxy.to_string();
        let error = dial_within(proxy, "broker.invalid", patience).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(&name) && text.contains(why) && text.contains("broker.invalid:9092"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert_eq!(error.broker(), Some(7));
    }
}

#[test]
fn c4_a_proxy_that_never_answers_or_drips_costs_the_deadline_and_no_more() {
    let mute = Scripted::new(Session::fall_silent);
    let dripping = Scripted::new(|session| {
        for byte in b"HTTP/1.1 200 a very long reason that comes slowly" {
            if session.socket.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for proxy in [socks5(&mute), http(&mute), http(&dripping)] {
        let name = proxy.to_string();
        let start = std::time::Instant::now();
        let error = dial_within(proxy, "b", Duration::from_millis(150)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains(&name), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn c2_a_proxy_that_refuses_or_hangs_up_is_named_beside_the_broker() {
    let closing = Scripted::new(|session| {
        hear(session);
    });
    let error = dial(http(&closing)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains("ended the connection"), "{error}");

    let error = dial(Proxy::socks5("127.0.0.9", 9)).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(text.contains("socks5://127.0.0.9:9") && text.contains("broker.invalid:9092"), "{text}");
}
