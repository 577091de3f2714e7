//! SASL over connections, against a scripted broker that plays the server's side, or cheats.

use super::scripted::{Asked, Scripted, Session, framed};
use super::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Readiness, Security};
use crate::logged::logged;
use crate::protocol::Request;
use crate::protocol::messages::metadata::{MetadataRequest, MetadataResponse};
use crate::protocol::messages::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::protocol::messages::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::sasl::scram::{MIN_ITERATIONS, ScramCredential, ScramFirst, ScramMechanism};
use crate::sasl::{OAuthBearerToken, Sasl, plain};
use crate::{Error, ErrorCode, ErrorKind, Result};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
pub(super) const APIS: &[(i16, i16, i16)] =
    &[(MetadataRequest::KEY, 0, 12), (SaslHandshakeRequest::KEY, 0, 1), (SaslAuthenticateRequest::KEY, 0, 2)];
const PASSWORD: &str = "alice-secret";

fn dial_within(peer: &Scripted, sasl: Sasl, timeout: Duration) -> Result<Connection> {
    let config = NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: LONG,
        max_response_bytes: 100 * 1024 * 1024,
        dialer: Dialer::default(),
        epoch: Epoch::default(),
        security: Security { sasl: Some(sasl), ..Default::default() },
    };
    let address = peer.address();
    let peer = Peer { node_id: 7, host: Arc::from(address.ip().to_string()), port: address.port() };
    Connection::dial(&peer, &config, &Interrupt::new().unwrap(), Deadline::after(timeout))
}

fn dial(peer: &Scripted, sasl: Sasl) -> Result<Connection> {
    dial_within(peer, sasl, LONG)
}

fn scram() -> Sasl {
    Sasl::scram_sha_256("alice", PASSWORD)
}

/// The APIs that were asked, without ApiVersions.
fn asked(peer: &Scripted) -> Vec<i16> {
    peer.requests().iter().map(|request| request.1).filter(|key| *key != 18).collect()
}

/// Answers the handshake; returns the first request of the exchange.
pub(super) fn begin(session: &mut Session) -> Option<Asked> {
    let asked = session.request()?;
    agree(session, &asked);
    session.request()
}

fn agree(session: &mut Session, asked: &Asked) {
    let mechanism = asked.decode::<SaslHandshakeRequest>().mechanism;
    let known = ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"];
    let code = if known.contains(&&*mechanism) { ErrorCode::NONE } else { ErrorCode::UNSUPPORTED_SASL_MECHANISM };
    let mechanisms = known.iter().map(ToString::to_string).collect();
    session.write(&asked.answer::<SaslHandshakeRequest>(&SaslHandshakeResponse { error_code: code.0, mechanisms }));
}

pub(super) fn say(session: &mut Session, asked: &Asked, bytes: &[u8], lifetime_ms: i64) {
    let response = SaslAuthenticateResponse {
        auth_bytes: bytes.to_vec().into(),
        session_lifetime_ms: lifetime_ms,
        ..Default::default()
    };
    session.write(&asked.answer::<SaslAuthenticateRequest>(&response));
}

fn refuse(session: &mut Session, asked: &Asked, message: &str) {
    let response = SaslAuthenticateResponse {
        error_code: ErrorCode::SASL_AUTHENTICATION_FAILED.0,
        error_message: Some(message.into()),
        ..Default::default()
    };
    session.write(&asked.answer::<SaslAuthenticateRequest>(&response));
}

pub(super) fn auth_bytes(asked: &Asked) -> bytes::Bytes {
    asked.decode::<SaslAuthenticateRequest>().auth_bytes
}

/// An honest broker's side of SCRAM, from the first request of the exchange on.
fn serve_scram(session: &mut Session, first: &Asked, lifetime_ms: i64) -> Option<()> {
    let mechanism = ScramMechanism::Sha256;
    let credential = ScramCredential::from_password(mechanism, PASSWORD, b"salt".to_vec(), MIN_ITERATIONS);
    let message = ScramFirst::read(mechanism, &auth_bytes(first)).unwrap();
    assert_eq!(message.user(), "alice");
    let (challenge, message) = message.challenge(credential).unwrap();
    say(session, first, &message, 0);
    let last = session.request()?;
    match challenge.finish(&auth_bytes(&last)) {
        Ok(message) => say(session, &last, &message, lifetime_ms),
        Err(_) => refuse(session, &last, "Authentication failed during authentication due to invalid credentials"),
    }
    Some(())
}

/// A broker that authenticates with SCRAM, whenever it is asked to, and counts Metadata requests.
fn honest(lifetime_ms: i64) -> Scripted {
    Scripted::new(move |session| {
        session.handshake(APIS);
        let mut authenticated = false;
        let mut answered = 0;
        while let Some(asked) = session.request() {
            match asked.key {
                SaslHandshakeRequest::KEY => {
                    agree(session, &asked);
                    let Some(first) = session.request() else { return };
                    if serve_scram(session, &first, lifetime_ms).is_none() {
                        return;
                    }
                    authenticated = true;
                }
                _ => {
                    assert!(authenticated);
                    let response = MetadataResponse { cluster_id: Some(answered.to_string()), ..Default::default() };
                    answered += 1;
                    session.write(&asked.answer::<MetadataRequest>(&response));
                }
            }
        }
    })
}

/// Runs `script` after the handshake, with the first request of the exchange.
fn broker(script: impl Fn(&mut Session, &Asked) + Send + Sync + 'static) -> Scripted {
    Scripted::new(move |session| {
        session.handshake(APIS);
        if let Some(first) = begin(session) {
            script(session, &first);
        }
    })
}

#[track_caller]
fn assert_refused(error: &Error, why: &str) {
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(error.to_string().contains(why), "{error}");
    assert!(!error.to_string().contains(PASSWORD), "{error}");
    assert!(!error.is_retriable());
    assert_eq!(error.broker(), Some(7));
}

#[test]
fn each_mechanism_authenticates_before_anything_else_is_asked() {
    let peer = honest(0);
    let mut connection = dial(&peer, scram()).unwrap();
    assert!(connection.is_reusable());
    connection.call(&MetadataRequest::default(), Deadline::after(LONG)).unwrap();

    let plain = broker(|session, first| {
        let message = plain::parse(&auth_bytes(first)).unwrap();
        assert_eq!((&*message.user, message.password.expose()), ("alice", PASSWORD));
        say(session, first, b"", 0);
        session.fall_silent();
    });
    dial(&plain, Sasl::plain("alice", PASSWORD)).unwrap();
    assert_eq!(asked(&plain), [SaslHandshakeRequest::KEY, SaslAuthenticateRequest::KEY]);

    let oauth = broker(|session, first| {
        assert_eq!(&auth_bytes(first)[..], b"n,,\x01auth=Bearer token\x01\x01");
        say(session, first, b"", 0);
        session.fall_silent();
    });
    dial(&oauth, Sasl::oauthbearer(OAuthBearerToken::new("token"))).unwrap();
}

#[test]
fn s1_wrong_credentials_are_refused_with_the_brokers_words_and_without_the_password() {
    let error = dial(&honest(0), Sasl::scram_sha_256("alice", "wrong")).unwrap_err();
    assert_refused(&error, "SCRAM-SHA-256: refused as alice: Authentication failed");
    assert_eq!(error.code(), Some(ErrorCode::SASL_AUTHENTICATION_FAILED));
    let echoing = broker(|session, first| refuse(session, first, &format!("{PASSWORD} is wrong")));
    assert_refused(&dial(&echoing, Sasl::plain("alice", PASSWORD)).unwrap_err(), "refused as alice");
    assert_eq!(echoing.connections(), 1);
    let oauth = broker(|session, first| {
        say(session, first, b"{\"status\":\"invalid_token\"}", 0);
        let last = session.request().unwrap();
        assert_eq!(&auth_bytes(&last)[..], b"\x01");
        refuse(session, &last, "no");
    });
    let error = dial(&oauth, Sasl::oauthbearer(OAuthBearerToken::new(PASSWORD))).unwrap_err();
    assert_refused(&error, "invalid_token");
}

#[test]
fn x10_of_an_exchange_names_and_sizes_are_logged_and_nothing_of_what_was_said() {
    let plain = || {
        broker(|session, first| {
            say(session, first, b"the broker's words", 0);
            session.fall_silent();
        })
    };
    let oauth = || {
        broker(|session, first| {
            say(session, first, b"the broker's words", 0);
            let last = session.request().unwrap();
            refuse(session, &last, "no");
        })
    };
    for (peer, sasl) in [
        (plain(), Sasl::plain("alice", PASSWORD)),
        (honest(0), scram()),
        (honest(0), Sasl::scram_sha_256("alice", "alice-secret-of-old")),
        (oauth(), Sasl::oauthbearer(OAuthBearerToken::new(PASSWORD))),
    ] {
        let (_, lines) = logged(|| dial(&peer, sasl));
        assert!(
            lines.iter().any(|line| line.starts_with("TRACE") && line.contains("SaslAuthenticate v2 #")),
            "{lines:?}"
        );
        for line in lines {
            let told = [PASSWORD, "words", ",r=", ",p=", "v="].iter().any(|part| line.contains(part));
            assert!(!told, "{line}");
        }
    }
}

#[test]
fn s2_a_mechanism_the_broker_lacks_is_named_with_those_it_has() {
    let peer = broker(|_, _| {});
    let error = dial(&peer, Sasl::scram_sha_512("alice", PASSWORD)).unwrap_err();
    assert_refused(&error, "PLAIN, SCRAM-SHA-256, OAUTHBEARER");
    assert_eq!(error.setting(), Some("sasl.mechanism"));
    let plaintext = Scripted::new(|session| {
        session.handshake(APIS);
        let asked = session.request().unwrap();
        let refusal = SaslHandshakeResponse { error_code: ErrorCode::ILLEGAL_SASL_STATE.0, ..Default::default() };
        session.write(&asked.answer::<SaslHandshakeRequest>(&refusal));
    });
    assert_eq!(dial(&plaintext, scram()).unwrap_err().setting(), Some("security.protocol"));
}

#[test]
fn s3_s4_s5_a_broker_that_cheats_is_told_nothing_more() {
    let nonce = |first: &Asked| {
        let message = auth_bytes(first);
        std::str::from_utf8(&message).unwrap().rsplit_once("r=").unwrap().1.to_owned()
    };
    // Its first message.
    for (rest, why) in [
        ("x,s=c2FsdA==,i=1", "iterations"),
        ("x,s=c2FsdA==,i=2147483647", "iterations"),
        (",s=c2FsdA==,i=4096", "nonce"),
        ("x,s=,i=4096", "salt"),
    ] {
        let peer = broker(move |session, first| {
            say(session, first, format!("r={}{rest}", nonce(first)).as_bytes(), 0);
            assert_eq!(session.socket.read(&mut [0; 16]).unwrap_or(0), 0, "something more was said");
        });
        assert_refused(&dial(&peer, scram()).unwrap_err(), why);
        assert_eq!(asked(&peer), [SaslHandshakeRequest::KEY, SaslAuthenticateRequest::KEY]);
    }
    let foreign = broker(|session, first| say(session, first, b"r=foreign,s=c2FsdA==,i=4096", 0));
    assert_refused(&dial(&foreign, scram()).unwrap_err(), "nonce");
    // Its final message, without knowing the password.
    for last in ["v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "v=", "", "e=other-error"] {
        let peer = broker(move |session, first| {
            say(session, first, format!("r={}x,s=c2FsdA==,i=4096", nonce(first)).as_bytes(), 0);
            let asked = session.request().unwrap();
            say(session, &asked, last.as_bytes(), 0);
            assert_eq!(session.socket.read(&mut [0; 16]).unwrap_or(0), 0, "something more was said");
        });
        assert_refused(&dial(&peer, scram()).unwrap_err(), "SCRAM-SHA-256");
        assert_eq!(asked(&peer).len(), 3);
    }
}

#[test]
fn s6_a_broker_that_hangs_in_the_exchange_is_left_at_the_deadline() {
    let peer = broker(|session, _| session.fall_silent());
    let error = dial_within(&peer, scram(), Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
}

#[test]
fn a_broker_that_has_proved_nothing_gets_no_memory() {
    let peer = broker(|session, _| {
        session.write(&(600 * 1024_u32).to_be_bytes());
        session.fall_silent();
    });
    assert_eq!(dial(&peer, scram()).unwrap_err().kind(), ErrorKind::TooLarge);
    // Afterwards the limit is the usual one.
    let peer = broker(|session, first| {
        say(session, first, b"", 0);
        let asked = session.request().unwrap();
        session.write(&framed(asked.correlation_id, true, &vec![0; 600 * 1024]));
    });
    let mut connection = dial(&peer, Sasl::plain("alice", PASSWORD)).unwrap();
    let error = connection.call(&MetadataRequest::default(), Deadline::after(LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
}

#[test]
fn s7_a_session_is_renewed_between_requests_and_no_answer_is_lost() {
    // So short that every request comes after its end.
    let peer = honest(1);
    let mut connection = dial(&peer, scram()).unwrap();
    let deadline = Deadline::after(LONG);
    let mut expected = 0;
    for pipelined in 1..=4 {
        for _ in 0..pipelined {
            std::thread::sleep(Duration::from_millis(2));
            connection.send(&MetadataRequest::default(), deadline).unwrap();
        }
        assert_eq!(connection.in_flight(), pipelined);
        assert!(!connection.is_reusable());
        for _ in 0..pipelined {
            assert_eq!(connection.wait_readable(None, deadline).unwrap(), Readiness::Ready);
            let answer = connection.receive::<MetadataRequest>(deadline).unwrap();
            assert_eq!(answer.cluster_id, Some(expected.to_string()));
            expected += 1;
        }
        assert!(connection.is_reusable());
    }
    let exchanges = asked(&peer).iter().filter(|key| **key == SaslHandshakeRequest::KEY).count();
    assert_eq!(exchanges, 1 + 10, "once at first, and before each of ten requests");
    assert_eq!(peer.connections(), 1);
}

#[test]
fn s7_after_a_renewal_answers_may_be_as_large_as_before() {
    let peer = Scripted::new(|session| {
        session.handshake(APIS);
        while let Some(asked) = session.request() {
            if asked.key == SaslHandshakeRequest::KEY {
                agree(session, &asked);
                let Some(first) = session.request() else { return };
                say(session, &first, b"", 1);
            } else {
                session.write(&framed(asked.correlation_id, true, &vec![0; 600 * 1024]));
            }
        }
    });
    let mut connection = dial(&peer, Sasl::plain("alice", PASSWORD)).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    // It is read as a whole, and is no Metadata.
    let error = connection.call(&MetadataRequest::default(), Deadline::after(LONG)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert_eq!(peer.count(SaslHandshakeRequest::KEY), 2);
}

#[test]
fn a_broker_that_knows_only_tokens_without_headers_is_told_nothing() {
    const OLD: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 12), (SaslHandshakeRequest::KEY, 0, 0)];
    let peer = Scripted::new(|session| {
        session.handshake(OLD);
        assert!(session.request().is_none(), "something was said");
    });
    let error = dial(&peer, Sasl::plain("alice", PASSWORD)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert_eq!(asked(&peer), [0_i16; 0]);
}

#[test]
fn s7_credentials_that_were_changed_are_used_for_the_renewal() {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let sasl = Sasl::scram_sha_256_with(move || -> Result<_, std::convert::Infallible> {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        Ok(crate::Credentials::new("alice", if first { PASSWORD } else { "revoked" }))
    });
    let peer = honest(1);
    let mut connection = dial(&peer, sasl).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    let error = connection.call(&MetadataRequest::default(), Deadline::after(LONG)).unwrap_err();
    assert_refused(&error, "refused as alice");
    assert!(connection.is_broken());
}
