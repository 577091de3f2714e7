//! OAUTHBEARER (RFC 7628): a bearer token in one message.

use super::settings::{OAuthBearerToken, OAuthBearerTokenProvider};
use crate::config::{Jaas, Properties};
use crate::{Error, ErrorKind, Result};
use base64ct::{Base64UrlUnpadded, Encoding};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

/// What separates the parts of a message.
const SEPARATOR: char = '\u{1}';
/// What a client answers to a refusal, so that the server can end the exchange.
pub(super) const END: &[u8] = &[1];
/// How long a token made here is valid, as with Kafka's own.
const UNSECURED_LIFETIME: Duration = Duration::from_secs(3600);

/// The client's only message.
pub(super) fn message(token: &OAuthBearerToken) -> Result<Zeroizing<Vec<u8>>> {
    let refused = |why: &str| Error::new(ErrorKind::Authentication, format!("OAUTHBEARER: {why}"));
    let secret = token.token().expose();
    // RFC 6750's characters of a token.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    if secret.is_empty() || !secret.bytes().all(allowed) {
        return Err(refused("the token is empty or holds a character that no token can have"));
    }
    let texts = token.extensions().iter().flat_map(|(name, value)| [name.len(), value.len(), 2]);
    let room = texts.chain([secret.len(), 32]).fold(0, usize::saturating_add);
    let mut message = Zeroizing::new(String::with_capacity(room));
    message.push_str("n,,");
    message.push(SEPARATOR);
    message.push_str("auth=Bearer ");
    message.push_str(secret);
    for (name, value) in token.extensions() {
        if name == "auth" || name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
            return Err(refused(&format!("{name:?} can't be the name of an extension")));
        }
        if value.is_empty() || !value.bytes().all(|b| matches!(b, 0x20..=0x7e | b'\t' | b'\r' | b'\n')) {
            return Err(refused(&format!("the extension {name} is empty or holds a character it can't have")));
        }
        message.push(SEPARATOR);
        message.push_str(name);
        message.push('=');
        message.push_str(value);
    }
    message.push(SEPARATOR);
    message.push(SEPARATOR);
    Ok(Zeroizing::new(message.as_bytes().to_vec()))
}

/// The provider that the settings ask for.
pub(super) fn from_properties(
    _properties: &Properties,
    jaas: Option<&Jaas>,
) -> Result<Arc<dyn OAuthBearerTokenProvider>> {
    let refused = |why: &str| Error::config("sasl.jaas.config", why);
    let jaas = jaas.ok_or_else(|| refused("OAUTHBEARER needs it"))?;
    if jaas.module != "OAuthBearerLoginModule" {
        return Err(refused(&format!("OAUTHBEARER needs an OAuthBearerLoginModule, not a {}", jaas.module)));
    }
    let subject = jaas.get("unsecuredLoginStringClaim_sub").filter(|subject| !subject.is_empty());
    let subject = subject.ok_or_else(|| refused("OAUTHBEARER needs a token: give a provider in code"))?.to_owned();
    log::warn!("OAUTHBEARER with tokens that are not signed: anybody can make one, so this is for tests only");
    Ok(Arc::new(move || unsecured(&subject, SystemTime::now())))
}

/// A token that nobody has signed, as Kafka's own login module makes them for tests.
fn unsecured(subject: &str, now: SystemTime) -> Result<OAuthBearerToken> {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let subject: String = subject.chars().flat_map(escape).collect();
    let (issued, expires) = (seconds(now), seconds(now).saturating_add(UNSECURED_LIFETIME.as_secs()));
    let claims = format!("{{\"sub\":\"{subject}\",\"iat\":{issued},\"exp\":{expires}}}");
    let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
    Ok(OAuthBearerToken::new(format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&claims))))
}

/// A character in a JSON string.
fn escape(c: char) -> Vec<char> {
    match c {
        '"' | '\\' => vec!['\\', c],
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)).chars().collect(),
        c => vec![c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_the_rfc_has_it() {
        let token = OAuthBearerToken::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==").extension("host", "a b");
        assert_eq!(
            &message(&token).unwrap()[..],
            b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01host=a b\x01\x01"
        );
    }

    #[test]
    fn what_would_break_out_of_the_message_is_refused() {
        for token in [
            OAuthBearerToken::new(""),
            OAuthBearerToken::new("a\u{1}b"),
            OAuthBearerToken::new("hunter2 b"),
            OAuthBearerToken::new("t").extension("auth", "x"),
            OAuthBearerToken::new("t").extension("a=b", "x"),
            OAuthBearerToken::new("t").extension("", "x"),
            OAuthBearerToken::new("t").extension("a", ""),
            OAuthBearerToken::new("t").extension("a", "x\u{1}y"),
        ] {
            let error = message(&token).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{token:?}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn tokens_for_tests_are_json() {
        let token = unsecured("a\"\\\n", UNIX_EPOCH + Duration::from_secs(5)).unwrap();
        let parts: Vec<&str> = token.token().expose().split('.').collect();
        let decode = |part| String::from_utf8(Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap();
        assert_eq!((decode(parts[0]).as_str(), parts[2]), ("{\"alg\":\"none\"}", ""));
        let claims: serde_json::Value = serde_json::from_str(&decode(parts[1])).unwrap();
        assert_eq!(claims, serde_json::json!({ "sub": "a\"\\\n", "iat": 5, "exp": 3605 }));
        let properties = Properties::new();
        let jaas = Jaas::parse("x.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"alice\";").unwrap();
        assert!(from_properties(&properties, Some(&jaas)).unwrap().token().is_ok());
        let without = Jaas::parse("x.OAuthBearerLoginModule required;").unwrap();
        assert!(from_properties(&properties, Some(&without)).is_err());
        let of_another = Jaas::parse("x.PlainLoginModule required unsecuredLoginStringClaim_sub=\"alice\";").unwrap();
        assert!(from_properties(&properties, Some(&of_another)).is_err());
        assert!(from_properties(&properties, None).is_err());
    }
}
