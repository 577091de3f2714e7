//! What a server says in a SASL exchange, and what a client says to the embedded cluster.
//!
//! Input: the peer's first message, a line feed, and its last one.

use crate::sasl::scram::{Key, ScramClient, ScramCredential, ScramFirst, ScramMechanism, ScramVerifier};
use crate::sasl::{Exchange, OAuthBearerToken, Sasl, Secret, Step};
use crate::{Error, Result};

const MECHANISM: ScramMechanism = ScramMechanism::Sha256;
/// The corpus has challenges that extend it.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const PASSWORD: &str = "pencil-and-paper";
/// The signature that is the right one in the server's last message, and how that has it.
const SIGNATURE: [u8; 32] = [7; 32];
const SIGNED: &str = "v=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
/// More are allowed, but they only cost time.
const COSTLY: std::ops::RangeInclusive<u32> = 5000..=1_000_000;

fn messages(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}

fn takes_long(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let mut counts = text.split(',').filter_map(|attribute| attribute.strip_prefix("i=")?.parse().ok());
    counts.any(|count| COSTLY.contains(&count))
}

fn asked() -> Result<ScramClient> {
    let password = Secret::new(PASSWORD);
    ScramClient::start_with(MECHANISM, "user", &password, false, NONCE.to_owned()).map(|(client, _)| client)
}

/// Whether the challenge is taken. The work that it asks for is only done if nothing follows, and not if it is much.
fn server_first(message: &[u8], alone: bool) -> bool {
    let taken = asked().is_ok_and(|client| client.takes(message));
    if taken && alone && !takes_long(message) {
        let _ = asked().and_then(|client| client.server_first(message));
    }
    taken
}

fn server_final(message: &[u8]) -> Result<()> {
    ScramVerifier::expecting(MECHANISM, Key::new(SIGNATURE.to_vec())).server_final(message)
}

/// The broker's side, for a user whose password nobody knows.
fn client(first: &[u8], last: &[u8]) -> Result<Vec<u8>> {
    let key = || Key::new(vec![0; 32]);
    let credential = ScramCredential { salt: b"salt".to_vec(), iterations: 4096, stored_key: key(), server_key: key() };
    let (challenge, _) = ScramFirst::read(MECHANISM, first)?.challenge_with(credential, "more");
    challenge.finish(last)
}

fn bearer(message: &[u8]) -> Result<Step> {
    Exchange::start(&Sasl::oauthbearer(OAuthBearerToken::new(PASSWORD)))?.0.step(message)
}

pub(super) fn decode(data: &[u8]) {
    let (first, last) = messages(data);
    let _ = (server_first(first, last.is_empty()), server_final(last), client(first, last), bearer(first));
}

pub(super) fn check(data: &[u8]) {
    let (first, last) = messages(data);
    let taken = server_first(first, false);
    assert!(!taken || first.starts_with(format!("r={NONCE}").as_bytes()), "an answer to another client");
    let signed = std::str::from_utf8(last).is_ok_and(|text| text.split(',').next() == Some(SIGNED));
    assert!(server_final(last).is_err() || signed, "believed without the signature");
    assert!(client(first, last).is_err(), "believed without the password");
    match bearer(first) {
        Ok(Step::Done) => assert!(first.is_empty(), "a refusal taken for success"),
        Ok(Step::Reply(exchange, _)) => {
            let said = exchange.explain(&String::from_utf8_lossy(last));
            assert!(!said.contains(PASSWORD), "the secret in {said}");
            exchange
                .step(last)
                .map_or_else(|error| keeps_the_secret(&error), |_| panic!("a refusal taken for success"));
        }
        Err(error) => keeps_the_secret(&error),
    }
}

/// A server that knows the secret may say it.
fn keeps_the_secret(error: &Error) {
    assert!(!error.to_string().contains(PASSWORD), "the secret in an error");
}
