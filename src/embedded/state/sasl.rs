//! SaslHandshake, versions 0 and 1, and SaslAuthenticate, versions 0 to 2 (KIP-43, KIP-152, KIP-368).
//!
//! On a listener with SASL a connection begins with at most one ApiVersions and a SaslHandshake; then come the tokens of
//! the mechanism, each in a SaslAuthenticate, or bare ones after a SaslHandshake of version 0. Anything else closes the
//! connection, as does a failure after its answer. With `connections.max.reauth.ms` a session ends after that time, and
//! the client is told so; it begins anew with a SaslHandshake, with the same mechanism and user. A session never outlives the
//! token that it was opened with.

use super::bearer::{self, Bearer, Rejected};
use super::users::Users;
use super::{ConnectionId, Context, Reply, State, Time};
use crate::config::Secret;
use crate::protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::sasl::plain;
use crate::sasl::scram::{MIN_ITERATIONS, ScramChallenge, ScramCredential, ScramFirst, ScramMechanism};
use crate::{Error, ErrorCode, Result};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::Duration;

/// The mechanisms that a listener can have.
pub(in crate::embedded) const MECHANISMS: &[&str] = &[PLAIN, "SCRAM-SHA-256", "SCRAM-SHA-512", OAUTHBEARER];
const PLAIN: &str = "PLAIN";
const OAUTHBEARER: &str = "OAUTHBEARER";

/// What Kafka takes.
const SALT_BYTES: usize = 16;

/// Who may ask, on which listener.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Security {
    /// The mechanisms of each listener; none: there is no authentication.
    pub(in crate::embedded) mechanisms: Vec<Vec<String>>,
    pub(in crate::embedded) users: Users,
    sessions: HashMap<ConnectionId, Session>,
}

/// How far a connection is.
#[derive(Debug, Default)]
struct Session {
    asked_versions: bool,
    exchange: Option<Exchange>,
    /// Whether tokens come without a Kafka header, as after a SaslHandshake of version 0.
    bare_tokens: bool,
    authenticated: Option<Authenticated>,
}

#[derive(Debug)]
struct Authenticated {
    mechanism: &'static str,
    user: String,
    expires: Option<Time>,
}

/// What the next token has to be.
#[derive(Debug)]
struct Exchange {
    mechanism: &'static str,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Plain,
    ScramFirst(ScramMechanism),
    ScramFinal(String, Box<ScramChallenge>),
    Bearer,
    /// The client has been told that its token is invalid, and is to say that it knows.
    BearerRefused,
}

/// What a token has led to.
enum Outcome {
    /// Another token is to come, in answer to this.
    Go(Step, Vec<u8>),
    Done {
        user: String,
        last: Vec<u8>,
        /// When what the client showed expires, in milliseconds since 1970-01-01T00:00:00Z.
        expires_ms: Option<i64>,
    },
}

/// Why authentication has failed, as the client is told.
struct Refused(String);

impl Security {
    /// Someone who may come in by any mechanism that a listener has.
    pub(in crate::embedded) fn add_user(&mut self, user: &str, password: &Secret) -> Result<()> {
        for mechanism in MECHANISMS.iter().filter(|name| self.mechanisms.iter().flatten().any(|has| has == **name)) {
            match ScramMechanism::from_name(mechanism) {
                None if *mechanism == PLAIN => self.users.set_password(user, password.clone()),
                // Whom a token names, needs no password.
                None => {}
                Some(mechanism) => {
                    let mut salt = vec![0; SALT_BYTES];
                    getrandom::fill(&mut salt).map_err(|error| {
                        Error::io(std::io::Error::other(error.to_string()), "asking for randomness")
                    })?;
                    let credential = ScramCredential::from_password(mechanism, password.expose(), salt, MIN_ITERATIONS);
                    self.users.set_scram(user, mechanism, credential);
                }
            }
        }
        Ok(())
    }
}

impl Session {
    fn is_open(&self, now: Time) -> bool {
        let expired = |session: &Authenticated| session.expires.is_some_and(|at| at < now);
        self.authenticated.as_ref().is_some_and(|session| !expired(session))
    }
}

impl Exchange {
    fn of(mechanism: &str) -> Option<Self> {
        let mechanism = MECHANISMS.iter().find(|known| **known == mechanism)?;
        let step = match *mechanism {
            OAUTHBEARER => Step::Bearer,
            name => ScramMechanism::from_name(name).map_or(Step::Plain, Step::ScramFirst),
        };
        Some(Self { mechanism, step })
    }

    fn token(self, users: &Users, token: &[u8], now_ms: i64) -> Result<Outcome, Refused> {
        let name = self.mechanism;
        let refused =
            || Refused(format!("Authentication failed due to invalid credentials with SASL mechanism {name}"));
        match self.step {
            Step::Plain => {
                let message = plain::parse(token).map_err(|error| Refused(error.to_string()))?;
                if !users.has_password(&message.user, &message.password) {
                    return Err(Refused("Authentication failed: Invalid username or password".into()));
                }
                if ![&message.user, ""].contains(&message.authorization_id.as_str()) {
                    return Err(Refused("Authentication failed: the authorization id is not the user".into()));
                }
                Ok(Outcome::Done { user: message.user, last: Vec::new(), expires_ms: None })
            }
            Step::ScramFirst(mechanism) => {
                let first = ScramFirst::read(mechanism, token).map_err(|_| refused())?;
                let user = first.user().to_owned();
                if first.is_token() || first.authorization_id().is_some_and(|id| id != user) {
                    return Err(refused());
                }
                let credential = users.scram(&user, mechanism).cloned().ok_or_else(refused)?;
                let (challenge, message) = first.challenge(credential).map_err(|_| refused())?;
                Ok(Outcome::Go(Step::ScramFinal(user, Box::new(challenge)), message))
            }
            Step::ScramFinal(user, challenge) => {
                let last = challenge.finish(token).map_err(|_| refused())?;
                Ok(Outcome::Done { user, last, expires_ms: None })
            }
            Step::Bearer => match bearer::read(token, now_ms) {
                Ok(Bearer { user, expires_ms }) => {
                    Ok(Outcome::Done { user, last: Vec::new(), expires_ms: Some(expires_ms) })
                }
                Err(Rejected::Token) => Ok(Outcome::Go(Step::BearerRefused, bearer::INVALID_TOKEN.into())),
                Err(Rejected::Message(why)) => Err(Refused(why)),
            },
            Step::BearerRefused => Err(Refused(bearer::INVALID_TOKEN.to_owned())),
        }
    }
}

impl State {
    /// The mechanisms of the listener that was asked; `None` if it has no SASL.
    fn mechanisms(&self, context: &Context) -> Option<&[String]> {
        let mechanisms = self.security.mechanisms.get(context.listener)?;
        (!mechanisms.is_empty()).then_some(mechanisms)
    }

    /// Whether a request may be served now; else what becomes of it.
    pub(super) fn admit(&mut self, context: &Context) -> Result<(), Reply> {
        if self.mechanisms(context).is_none() {
            return Ok(());
        }
        let session = self.security.sessions.entry(context.connection).or_default();
        let admitted = match context.api.key {
            ApiKey::SASL_AUTHENTICATE => session.exchange.is_some() || session.is_open(context.now),
            ApiKey::SASL_HANDSHAKE => true,
            _ if session.exchange.is_some() => false,
            ApiKey::API_VERSIONS if session.authenticated.is_none() => {
                !std::mem::replace(&mut session.asked_versions, true)
            }
            _ => session.is_open(context.now),
        };
        if admitted { Ok(()) } else { Err(Reply::Close) }
    }

    pub(super) fn sasl_handshake(&mut self, context: &Context, request: SaslHandshakeRequest) -> Reply {
        let Some(mechanisms) = self.mechanisms(context).map(<[String]>::to_vec) else {
            let error_code = ErrorCode::ILLEGAL_SASL_STATE.0;
            return Reply::of(SaslHandshakeResponse { error_code, ..Default::default() });
        };
        let session = self.security.sessions.entry(context.connection).or_default();
        let answer = |code: ErrorCode, mechanisms| SaslHandshakeResponse { error_code: code.0, mechanisms };
        if session.exchange.is_some() {
            return Reply::last(answer(ErrorCode::ILLEGAL_SASL_STATE, Vec::new()));
        }
        // Without an end of the session there is nothing to begin anew.
        if session.authenticated.as_ref().is_some_and(|session| session.expires.is_none()) {
            return Reply::of(answer(ErrorCode::ILLEGAL_SASL_STATE, Vec::new()));
        }
        let offered = mechanisms.contains(&request.mechanism);
        let Some(exchange) = Exchange::of(&request.mechanism).filter(|_| offered) else {
            return Reply::last(answer(ErrorCode::UNSUPPORTED_SASL_MECHANISM, mechanisms));
        };
        session.exchange = Some(exchange);
        session.bare_tokens = context.version == 0;
        Reply::of(answer(ErrorCode::NONE, mechanisms))
    }

    pub(super) fn sasl_authenticate(&mut self, context: &Context, request: SaslAuthenticateRequest) -> Reply {
        let failed = |code: ErrorCode, why: &str| SaslAuthenticateResponse {
            error_code: code.0,
            error_message: Some(why.to_owned()),
            ..Default::default()
        };
        match self.take_token(context.connection, &request.auth_bytes, context.now) {
            None => Reply::of(failed(ErrorCode::ILLEGAL_SASL_STATE, "SaslAuthenticate without a SaslHandshake")),
            Some(Err(Refused(why))) => Reply::last(failed(ErrorCode::SASL_AUTHENTICATION_FAILED, &why)),
            Some(Ok((token, lifetime))) => Reply::of(SaslAuthenticateResponse {
                auth_bytes: token.into(),
                session_lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
                ..Default::default()
            }),
        }
    }

    /// Whether the next message of a connection is a token without a Kafka header.
    pub(in crate::embedded) fn expects_bare_token(&self, connection: ConnectionId) -> bool {
        let session = self.security.sessions.get(&connection);
        session.is_some_and(|session| session.bare_tokens && session.exchange.is_some())
    }

    /// What becomes of a token without a Kafka header. A failure has no answer but the end.
    pub(in crate::embedded) fn bare_token(&mut self, connection: ConnectionId, token: &[u8], now: Time) -> Reply {
        let Some(Ok((answer, _))) = self.take_token(connection, token, now) else { return Reply::Close };
        let Ok(length) = u32::try_from(answer.len()) else { return Reply::Close };
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(answer);
        Reply::Raw(Bytes::from(bytes))
    }

    /// Takes the client's next token. `None` if none is due; else what to answer, and for how long the client may go on,
    /// zero for no limit.
    fn take_token(
        &mut self,
        connection: ConnectionId,
        token: &[u8],
        now: Time,
    ) -> Option<Result<(Vec<u8>, Duration), Refused>> {
        let lifetime = u64::try_from(self.settings.number("connections.max.reauth.ms")).unwrap_or(0);
        let lifetime = Some(Duration::from_millis(lifetime)).filter(|lifetime| !lifetime.is_zero());
        let now_ms = self.wall_ms(now);
        let session = self.security.sessions.get_mut(&connection)?;
        let exchange = session.exchange.take()?;
        let mechanism = exchange.mechanism;
        Some(match exchange.token(&self.security.users, token, now_ms) {
            Err(refused) => Err(refused),
            Ok(Outcome::Go(step, answer)) => {
                session.exchange = Some(Exchange { mechanism, step });
                Ok((answer, Duration::ZERO))
            }
            Ok(Outcome::Done { user, last, expires_ms }) => {
                let before = session.authenticated.as_ref();
                if before.is_some_and(|before| before.user != user || before.mechanism != mechanism) {
                    return Some(Err(Refused(format!("the session of {user} can't go on with {mechanism}"))));
                }
                let left = |at: i64| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms)).unwrap_or(0));
                let lifetime = lifetime.into_iter().chain(expires_ms.map(left)).min();
                let expires = lifetime.map(|lifetime| now.saturating_add(lifetime));
                session.authenticated = Some(Authenticated { mechanism, user, expires });
                Ok((last, lifetime.unwrap_or_default()))
            }
        })
    }

    /// Forgets who was there.
    pub(super) fn end_session(&mut self, connection: ConnectionId) {
        self.security.sessions.remove(&connection);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_support::Harness;
    use super::*;
    use crate::protocol::messages::{ApiVersionsRequest, MetadataRequest, MetadataResponse};
    use crate::sasl::scram::ScramClient;

    fn harness(settings: &[(&str, &str)]) -> Harness {
        let mut harness = Harness::with(1, settings);
        let security = &mut harness.state.security;
        security.mechanisms = vec![MECHANISMS.iter().map(|name| (*name).to_owned()).collect()];
        security.users.set_password("alice", Secret::new("secret"));
        let mechanism = ScramMechanism::Sha256;
        let credential = ScramCredential::from_password(mechanism, "secret", b"salt".to_vec(), 4096);
        security.users.set_scram("alice", mechanism, credential);
        harness
    }

    fn handshake(harness: &mut Harness, connection: ConnectionId, mechanism: &str) -> (i16, usize) {
        let request = SaslHandshakeRequest { mechanism: mechanism.into() };
        let response = harness.send(connection, 1, 1, request).unwrap();
        (response.error_code, response.mechanisms.len())
    }

    fn token(harness: &mut Harness, connection: ConnectionId, token: &[u8]) -> SaslAuthenticateResponse {
        let request = SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(token) };
        harness.send(connection, 1, 2, request).unwrap()
    }

    /// Whether Metadata is answered; the other way is the end of the connection.
    fn is_served(harness: &mut Harness, connection: ConnectionId) -> bool {
        let request = MetadataRequest::default();
        harness
            .try_send(connection, 1, 9, request)
            .is_some_and(|response: MetadataResponse| response.brokers.len() == 1)
    }

    #[test]
    fn plain_lets_in_who_knows_the_password_and_nothing_is_served_before() {
        let mut harness = harness(&[]);
        let connection = harness.connect();
        assert!(!is_served(&mut harness, connection));
        let connection = harness.connect();
        assert!(harness.try_send(connection, 1, 3, ApiVersionsRequest::default()).is_some());
        assert!(harness.try_send(connection, 1, 3, ApiVersionsRequest::default()).is_none(), "only once");
        assert_eq!(handshake(&mut harness, connection, "PLAIN"), (0, 4));
        assert_eq!(handshake(&mut harness, connection, "PLAIN"), (34, 0), "in the middle of an exchange");
        assert!(!is_served(&mut harness, connection));
        assert_eq!(token(&mut harness, connection, b"\0alice\0secret").error_code, 0);
        assert!(is_served(&mut harness, connection));
        assert!(harness.try_send(connection, 1, 3, ApiVersionsRequest::default()).is_some());
        assert_eq!(token(&mut harness, connection, b"").error_code, 34);
        for wrong in [&b"\0alice\0wrong"[..], b"\0bob\0secret", b"bob\0alice\0secret", b"nonsense", b""] {
            let connection = harness.connect();
            assert_eq!(handshake(&mut harness, connection, "PLAIN").0, 0);
            assert_eq!(token(&mut harness, connection, wrong).error_code, 58);
            assert!(!is_served(&mut harness, connection));
        }
        let connection = harness.connect();
        assert_eq!(handshake(&mut harness, connection, "GSSAPI"), (33, 4));
    }

    #[test]
    fn scram_proves_both_sides_and_a_wrong_password_fails_at_the_proof() {
        let mut harness = harness(&[]);
        for (user, password, code) in [("alice", "secret", 0), ("alice", "wrong", 58)] {
            let connection = harness.connect();
            assert_eq!(handshake(&mut harness, connection, "SCRAM-SHA-256").0, 0);
            let password = Secret::new(password);
            let (client, first) = ScramClient::start(ScramMechanism::Sha256, user, &password, false).unwrap();
            let challenge = token(&mut harness, connection, &first);
            let (verifier, last) = client.server_first(&challenge.auth_bytes).unwrap();
            let answer = token(&mut harness, connection, &last);
            assert_eq!(answer.error_code, code);
            assert_eq!(is_served(&mut harness, connection), code == 0);
            assert_eq!(verifier.server_final(&answer.auth_bytes).is_ok(), code == 0);
        }
        let connection = harness.connect();
        handshake(&mut harness, connection, "SCRAM-SHA-512");
        let (_, first) = ScramClient::start(ScramMechanism::Sha512, "alice", &Secret::new("secret"), false).unwrap();
        assert_eq!(token(&mut harness, connection, &first).error_code, 58, "there is no such credential");
    }

    #[test]
    fn a_session_ends_after_its_time_and_goes_on_with_the_same_user_only() {
        let mut harness = harness(&[("connections.max.reauth.ms", "1000")]);
        harness.state.security.users.set_password("bob", Secret::new("other"));
        let connection = harness.connect();
        handshake(&mut harness, connection, "PLAIN");
        assert_eq!(token(&mut harness, connection, b"\0alice\0secret").session_lifetime_ms, 1000);
        harness.pass(Duration::from_millis(900));
        assert!(is_served(&mut harness, connection));
        assert_eq!(handshake(&mut harness, connection, "PLAIN").0, 0);
        assert_eq!(token(&mut harness, connection, b"\0alice\0secret").error_code, 0);
        harness.pass(Duration::from_millis(900));
        assert!(is_served(&mut harness, connection));
        harness.pass(Duration::from_millis(900));
        assert!(!is_served(&mut harness, connection));
        // Late, but not too late.
        assert_eq!(handshake(&mut harness, connection, "PLAIN").0, 0);
        assert_eq!(token(&mut harness, connection, b"\0bob\0other").error_code, 58);
        // Nor by another mechanism, were it the same user.
        let connection = harness.connect();
        handshake(&mut harness, connection, "PLAIN");
        assert_eq!(token(&mut harness, connection, b"\0alice\0secret").error_code, 0);
        assert_eq!(handshake(&mut harness, connection, "OAUTHBEARER").0, 0);
        assert_eq!(token(&mut harness, connection, &bearer(1_700_003_600)).error_code, 58);
    }

    #[test]
    fn a_mechanism_that_the_listener_does_not_have_is_refused_although_it_is_known() {
        let mut harness = harness(&[]);
        harness.state.security.mechanisms = vec![vec!["SCRAM-SHA-256".to_owned()]];
        let connection = harness.connect();
        assert_eq!(handshake(&mut harness, connection, "PLAIN"), (33, 1));
        assert!(!is_served(&mut harness, connection));
    }

    /// What a client sends whose token is for `alice` until `expires`, in seconds by the cluster's wall clock.
    fn bearer(expires: u64) -> Vec<u8> {
        use base64ct::Encoding;
        let encode = |text: &str| base64ct::Base64UrlUnpadded::encode_string(text.as_bytes());
        let claims = encode(&format!(r#"{{"sub":"alice","exp":{expires}}}"#));
        format!("n,,\u{1}auth=Bearer {}.{claims}.\u{1}\u{1}", encode(r#"{"alg":"none"}"#)).into_bytes()
    }

    #[test]
    fn a_token_lets_in_as_long_as_it_is_valid_and_its_end_is_the_end_of_the_session() {
        for (settings, lifetime) in [(&[][..], 5_000), (&[("connections.max.reauth.ms", "3000")], 3_000)] {
            let mut harness = harness(settings);
            let connection = harness.connect();
            assert_eq!(handshake(&mut harness, connection, "OAUTHBEARER").0, 0);
            let answer = token(&mut harness, connection, &bearer(1_700_000_005));
            assert_eq!((answer.error_code, answer.session_lifetime_ms), (0, lifetime));
            harness.pass(Duration::from_millis(lifetime as u64));
            assert!(is_served(&mut harness, connection));
            harness.pass(Duration::from_millis(1));
            assert!(!is_served(&mut harness, connection));
        }
    }

    #[test]
    fn a_token_that_is_not_valid_is_refused_once_the_client_has_seen_why() {
        let mut harness = harness(&[]);
        let connection = harness.connect();
        handshake(&mut harness, connection, "OAUTHBEARER");
        let answer = token(&mut harness, connection, &bearer(1_700_000_000));
        assert_eq!((answer.error_code, &answer.auth_bytes[..]), (0, &br#"{"status":"invalid_token"}"#[..]));
        assert!(!is_served(&mut harness, connection));
        let answer = token(&mut harness, connection, &[1]);
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (58, Some(bearer::INVALID_TOKEN)));
        let connection = harness.connect();
        handshake(&mut harness, connection, "OAUTHBEARER");
        assert_eq!(token(&mut harness, connection, b"\0alice\0secret").error_code, 58);
    }

    #[test]
    fn a_handshake_of_version_0_is_followed_by_bare_tokens() {
        let mut harness = harness(&[]);
        let connection = harness.connect();
        let request = SaslHandshakeRequest { mechanism: "PLAIN".into() };
        assert_eq!(harness.send(connection, 1, 0, request).unwrap().error_code, 0);
        assert!(harness.state.expects_bare_token(connection));
        let reply = harness.state.bare_token(connection, b"\0alice\0secret", Duration::ZERO);
        assert!(matches!(reply, Reply::Raw(bytes) if bytes[..] == [0; 4]));
        assert!(!harness.state.expects_bare_token(connection));
        assert!(is_served(&mut harness, connection));
    }

    #[test]
    fn a_listener_without_sasl_refuses_handshakes_and_serves() {
        let mut harness = Harness::new(1);
        let connection = harness.connect();
        assert_eq!(handshake(&mut harness, connection, "PLAIN"), (34, 0));
        assert_eq!(token(&mut harness, connection, b"x").error_code, 34);
        assert!(is_served(&mut harness, connection));
    }
}
