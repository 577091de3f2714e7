//! A client's side of an exchange, whatever the mechanism.

use super::scram::{ScramClient, ScramVerifier};
use super::settings::{Proof, Sasl};
use super::{Secret, oauth, plain};
use crate::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// Before the server's next message.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: State,
    /// Who this client says it is, for errors.
    who: String,
    /// What must not come back in an error.
    secret: Secret,
}

#[derive(Debug)]
enum State {
    /// Everything is said; whatever the server answers without an error is success.
    Said,
    OAuthBearer,
    /// The server has told why it refuses the token.
    OAuthRefused(String),
    ScramFirst(ScramClient),
    ScramFinal(ScramVerifier),
}

/// What a server's message leads to.
#[derive(Debug)]
pub(crate) enum Step {
    /// This is to be sent, and another message of the server to be handled.
    Reply(Exchange, Zeroizing<Vec<u8>>),
    /// The client is authenticated, and the server as far as the mechanism does that.
    Done,
}

impl Exchange {
    /// Begins one with credentials or a token as they are now: its first message.
    pub(crate) fn start(sasl: &Sasl) -> Result<(Self, Zeroizing<Vec<u8>>)> {
        let (state, who, secret, message) = match sasl.proof()? {
            Proof::Plain(credentials) => {
                let message = plain::message(credentials.user(), credentials.password())?;
                (State::Said, credentials.user().to_owned(), credentials.password().clone(), message)
            }
            Proof::Scram { hash, credentials, token } => {
                let (client, message) = ScramClient::start(hash, credentials.user(), credentials.password(), token)?;
                let state = State::ScramFirst(client);
                (state, credentials.user().to_owned(), credentials.password().clone(), Zeroizing::new(message))
            }
            Proof::OAuthBearer(token) => {
                let message = oauth::message(&token)?;
                (State::OAuthBearer, "the bearer of a token".to_owned(), token.token().clone(), message)
            }
        };
        Ok((Self { state, who, secret }, message))
    }

    /// Handles a message of the server that came without an error code.
    pub(crate) fn step(self, message: &[u8]) -> Result<Step> {
        let Self { state, who, secret } = self;
        let reply = |state, message| Ok(Step::Reply(Self { state, who: who.clone(), secret: secret.clone() }, message));
        match state {
            State::Said => Ok(Step::Done),
            State::OAuthBearer if message.is_empty() => Ok(Step::Done),
            State::OAuthBearer => {
                let why = withhold(&String::from_utf8_lossy(message), &secret);
                reply(State::OAuthRefused(why), Zeroizing::new(oauth::END.to_vec()))
            }
            State::OAuthRefused(why) => {
                Err(Error::new(ErrorKind::Authentication, format!("the broker refuses the token: {why}")))
            }
            State::ScramFirst(client) => {
                let (verifier, message) = client.server_first(message).map_err(|error| without(error, &secret))?;
                reply(State::ScramFinal(verifier), Zeroizing::new(message))
            }
            State::ScramFinal(verifier) => {
                verifier.server_final(message).map(|()| Step::Done).map_err(|error| without(error, &secret))
            }
        }
    }

    /// What the server's words for an error mean: who was refused, and why. It never holds the secret.
    pub(crate) fn explain(&self, words: &str) -> String {
        let words = withhold(words, &self.secret);
        match &self.state {
            State::OAuthRefused(why) => format!("refused as {}: {words} {why}", self.who),
            _ => format!("refused as {}: {words}", self.who),
        }
    }
}

/// A server that knows the secret must not get it into a log.
fn withhold(words: &str, secret: &Secret) -> String {
    if secret.is_in(words) {
        return "(its words hold the secret and are withheld)".into();
    }
    words.to_owned()
}

/// The error, unless it holds what the server should not have said.
fn without(error: Error, secret: &Secret) -> Error {
    let words = error.to_string();
    match withhold(&words, secret) {
        same if same == words => error,
        withheld => Error::new(ErrorKind::Authentication, withheld),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::OAuthBearerToken;
    use super::*;

    #[test]
    fn plain_is_said_at_once() {
        let (exchange, message) = Exchange::start(&Sasl::plain("alice", "hunter2")).unwrap();
        assert_eq!(&message[..], b"\0alice\0hunter2");
        assert_eq!(exchange.explain("no"), "refused as alice: no");
        assert!(!exchange.explain("wrong: hunter2").contains("hunter2"));
        assert!(!format!("{exchange:?}").contains("hunter2"));
        assert!(matches!(exchange.step(b"").unwrap(), Step::Done));
    }

    #[test]
    fn s6_a_server_that_says_the_password_does_not_get_it_into_an_error() {
        let said = |in_the_first: bool| {
            let (exchange, first) = Exchange::start(&Sasl::scram_sha_256("alice", "hunter2")).unwrap();
            let nonce = std::str::from_utf8(&first).unwrap().rsplit_once("r=").unwrap().1.to_owned();
            if in_the_first {
                return exchange.step(format!("r={nonce}x,s=AAAA,i=hunter2").as_bytes()).unwrap_err();
            }
            let Step::Reply(exchange, _) = exchange.step(format!("r={nonce}x,s=AAAA,i=4096").as_bytes()).unwrap()
            else {
                panic!("not challenged");
            };
            exchange.step(b"e=it is not hunter2").unwrap_err()
        };
        for error in [said(true), said(false)] {
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(!error.to_string().contains("hunter2") && error.to_string().contains("withheld"), "{error}");
        }
    }

    #[test]
    fn s3_saying_nothing_is_no_proof_at_any_step_of_scram() {
        let start = || Exchange::start(&Sasl::scram_sha_256("alice", "hunter2")).unwrap();
        for nothing in [&b""[..], b","] {
            assert_eq!(start().0.step(nothing).unwrap_err().kind(), ErrorKind::Authentication);
            let (exchange, first) = start();
            let nonce = std::str::from_utf8(&first).unwrap().rsplit_once("r=").unwrap().1;
            let challenge = format!("r={nonce}x,s=AAAA,i=4096");
            let Step::Reply(exchange, _) = exchange.step(challenge.as_bytes()).unwrap() else {
                panic!("not challenged");
            };
            assert_eq!(exchange.step(nothing).unwrap_err().kind(), ErrorKind::Authentication);
        }
    }

    #[test]
    fn a_refused_token_is_answered_once_and_never_taken_for_success() {
        let start = || Exchange::start(&Sasl::oauthbearer(OAuthBearerToken::new("hunter2"))).unwrap().0;
        assert!(matches!(start().step(b"").unwrap(), Step::Done));
        let Step::Reply(refused, message) = start().step(b"{\"status\":\"invalid_token\"}").unwrap() else {
            panic!("taken for success");
        };
        assert_eq!(&message[..], b"\x01");
        assert!(refused.explain("failed").contains("invalid_token"));
        assert_eq!(refused.step(b"").unwrap_err().kind(), ErrorKind::Authentication);
        let Step::Reply(echoing, _) = start().step(b"what is hunter2?").unwrap() else { panic!("taken for success") };
        assert!(!echoing.explain("").contains("hunter2"));
    }
}
