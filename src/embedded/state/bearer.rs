//! OAUTHBEARER's side of the broker (RFC 7628, KIP-255), with tokens that nobody has signed: what Kafka takes where no other
//! validator is configured. Anybody can make such a token, so it is for tests only.
//!
//! A token is a JSON Web Token without a signature: `alg` is `none`, `sub` the user, `exp` and `iat` times in seconds.

use base64ct::{Base64Url, Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

/// What separates the parts of a message.
const SEPARATOR: char = '\u{1}';
/// The answer to a token that is not accepted. The client says that it has seen it by a single separator.
pub(super) const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;

/// Whom a token stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: String,
    /// When the token expires, in milliseconds since 1970-01-01T00:00:00Z.
    pub(super) expires_ms: i64,
}

/// Why a client's message is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It is none of this mechanism, or asks for another user; as the client is told.
    Message(String),
    /// The token is invalid or has expired.
    Token,
}

/// Reads the client's only message.
pub(super) fn read(message: &[u8], now_ms: i64) -> Result<Bearer, Rejected> {
    let malformed = || Rejected::Message("Invalid OAUTHBEARER client first message".to_owned());
    let text = std::str::from_utf8(message).map_err(|_| malformed())?;
    let (header, pairs) = text.split_once(SEPARATOR).ok_or_else(malformed)?;
    let authorization_id = header.strip_prefix("n,").and_then(|rest| rest.strip_suffix(',')).ok_or_else(malformed)?;
    let authorization_id = match authorization_id {
        "" => None,
        named => Some(named.strip_prefix("a=").ok_or_else(malformed)?),
    };
    // Each pair ends with a separator, and so does the whole.
    let pairs = pairs.strip_suffix(SEPARATOR).and_then(|pairs| pairs.strip_suffix(SEPARATOR)).ok_or_else(malformed)?;
    let pairs: Option<Vec<(&str, &str)>> = pairs.split(SEPARATOR).map(|pair| pair.split_once('=')).collect();
    let auth = pairs.ok_or_else(malformed)?.into_iter().find(|(key, _)| *key == "auth").ok_or_else(malformed)?.1;
    let (scheme, token) = auth.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    let bearer = unsecured(token.trim_start(), now_ms).ok_or(Rejected::Token)?;
    match authorization_id {
        Some(other) if other != bearer.user => Err(Rejected::Message(format!(
            "Authentication failed: Client requested an authorization id ({other}) that is different from the token's \
             principal name ({})",
            bearer.user
        ))),
        _ => Ok(bearer),
    }
}

/// A token without a signature; `None` if it is none, not yet, or not any more.
fn unsecured(token: &str, now_ms: i64) -> Option<Bearer> {
    let mut parts = token.split('.');
    let (header, claims) = (object(parts.next()?)?, object(parts.next()?)?);
    // The signature has to be there, and empty.
    if parts.next() != Some("") || parts.next().is_some() || header.get("alg")? != "none" {
        return None;
    }
    let seconds = |name: &str| claims.get(name).map(Value::as_f64);
    let expires = seconds("exp")??;
    let issued = match seconds("iat") {
        Some(issued) => Some(issued?),
        None => None,
    };
    // A time in milliseconds is exact as a float for the next 280,000 years.
    let now = now_ms as f64;
    if issued.is_some_and(|issued| issued * 1000.0 > now || issued >= expires) || now >= expires * 1000.0 {
        return None;
    }
    let user = claims.get("sub")?.as_str().filter(|user| !user.trim().is_empty())?;
    Some(Bearer { user: user.to_owned(), expires_ms: (expires * 1000.0) as i64 })
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = if part.ends_with('=') { Base64Url::decode_vec(part) } else { Base64UrlUnpadded::decode_vec(part) };
    serde_json::from_slice(&bytes.ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn token(header: &str, claims: &str) -> String {
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        format!("{}.{}.", encode(header), encode(claims))
    }

    fn valid() -> String {
        token(r#"{"alg":"none"}"#, r#"{"sub":"alice","iat":1700000000,"exp":1700003600.5}"#)
    }

    fn message(header: &str, token: &str) -> Vec<u8> {
        format!("{header}\u{1}auth=Bearer {token}\u{1}host=a b\u{1}\u{1}").into_bytes()
    }

    #[test]
    fn a_token_names_its_user_and_its_end() {
        let alice = Bearer { user: "alice".into(), expires_ms: 1_700_003_600_500 };
        assert_eq!(read(&message("n,,", &valid()), NOW), Ok(alice));
        assert!(read(&message("n,a=alice,", &valid()), NOW).is_ok());
        let other = read(&message("n,a=bob,", &valid()), NOW).unwrap_err();
        assert!(matches!(&other, Rejected::Message(why) if why.contains("authorization id (bob)")), "{other:?}");
        assert!(read(&message("n,,", &valid()), 1_700_003_600_499).is_ok());
        assert_eq!(read(&message("n,,", &valid()), 1_700_003_600_500), Err(Rejected::Token));
        assert_eq!(read(&message("n,,", &valid()), NOW - 1), Err(Rejected::Token), "it has not been issued yet");
    }

    #[test]
    fn what_is_no_valid_token_is_rejected() {
        let none = r#"{"alg":"none"}"#;
        for bad in [
            String::new(),
            "a.b.".into(),
            format!("{}x", valid()),
            format!("{}.", valid()),
            valid().replacen('.', "..", 1),
            token(r#"{"alg":"HS256"}"#, r#"{"sub":"a","exp":1700003600}"#),
            token("{}", r#"{"sub":"a","exp":1700003600}"#),
            token(none, r#"{"sub":"a"}"#),
            token(none, r#"{"exp":1700003600}"#),
            token(none, r#"{"sub":" ","exp":1700003600}"#),
            token(none, r#"{"sub":7,"exp":1700003600}"#),
            token(none, r#"{"sub":"a","exp":"1700003600"}"#),
            token(none, r#"{"sub":"a","iat":"x","exp":1700003600}"#),
            token(none, r#"{"sub":"a","iat":1700003600,"exp":1700003600}"#),
            token(none, "[]"),
        ] {
            assert_eq!(read(&message("n,,", &bad), NOW), Err(Rejected::Token), "{bad}");
        }
    }

    #[test]
    fn what_is_no_message_of_this_mechanism_is_rejected() {
        let bearer = format!("auth=Bearer {}", valid());
        for bad in [
            "".to_owned(),
            "n,,".to_owned(),
            format!("n,,\u{1}{bearer}\u{1}"),
            format!("y,,\u{1}{bearer}\u{1}\u{1}"),
            format!("n,alice,\u{1}{bearer}\u{1}\u{1}"),
            format!("n,,\u{1}auth=Basic {}\u{1}\u{1}", valid()),
            format!("n,,\u{1}auth={}\u{1}\u{1}", valid()),
            "n,,\u{1}host=a\u{1}\u{1}".to_owned(),
            format!("n,,\u{1}{bearer}\u{1}host\u{1}\u{1}"),
        ] {
            assert!(matches!(read(bad.as_bytes(), NOW), Err(Rejected::Message(_))), "{bad:?}");
        }
        assert!(matches!(read(b"n,,\x01\xff\x01\x01", NOW), Err(Rejected::Message(_))));
    }
}
