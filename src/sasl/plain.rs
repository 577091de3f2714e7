//! PLAIN (RFC 4616): user and password in one message.

use super::Secret;
use crate::{Error, ErrorKind, Result};
use zeroize::Zeroizing;

/// What a client said in PLAIN.
#[derive(Debug)]
pub(crate) struct PlainMessage {
    /// Whom the client wants to act for; empty for the user itself.
    pub(crate) authorization_id: String,
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// The client's only message.
pub(crate) fn message(user: &str, password: &Secret) -> Result<Zeroizing<Vec<u8>>> {
    if user.is_empty() || password.is_empty() {
        return Err(Error::new(ErrorKind::Authentication, "PLAIN needs a user and a password"));
    }
    if user.contains('\0') || password.expose().contains('\0') {
        return Err(Error::new(ErrorKind::Authentication, "PLAIN can't carry a zero byte"));
    }
    // `concat` allocates once, so that no shorter copy of it stays behind.
    Ok(Zeroizing::new([&[0], user.as_bytes(), &[0], password.expose().as_bytes()].concat()))
}

/// Reads a client's message, as a server. Whether the password is right, and whether the user may act for another one, is
/// for the caller to decide; Kafka refuses an authorization id other than the user.
pub(crate) fn parse(message: &[u8]) -> Result<PlainMessage> {
    let malformed = |why: &str| Error::new(ErrorKind::Authentication, format!("the PLAIN message {why}"));
    let text = std::str::from_utf8(message).map_err(|_| malformed("is not UTF-8"))?;
    let mut parts = text.split('\0');
    let (Some(authorization_id), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("is not three parts with a zero byte between them"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(malformed("lacks a user or a password"));
    }
    Ok(PlainMessage {
        authorization_id: authorization_id.to_owned(),
        user: user.to_owned(),
        password: Secret::new(password),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        // The example of RFC 4616, section 4.
        let sent = message("tim", &Secret::new("tanstaaftanstaaf")).unwrap();
        assert_eq!(&sent[..], b"\0tim\0tanstaaftanstaaf");
        let read = parse(&sent).unwrap();
        assert_eq!((&*read.authorization_id, &*read.user, read.password.expose()), ("", "tim", "tanstaaftanstaaf"));
        assert_eq!(parse(b"Ursel\0Kurt\0xipj3plmq").unwrap().authorization_id, "Ursel");
        assert!(!format!("{read:?}").contains("tans"));
    }

    #[test]
    fn what_cannot_be_carried_or_read_is_refused() {
        for (user, password) in [("", "p"), ("u", ""), ("u\0", "p"), ("u", "p\0q")] {
            let error = message(user, &Secret::new(password)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication);
            assert!(!error.to_string().contains('q'), "{error}");
        }
        let error = parse(b"\0u\0hunter2\0").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
        for bad in [&b""[..], b"\0", b"u\0p", b"\0u\0", b"\0\0p", b"\0u\0p\0", b"\0u\0\xff", b"a\0b\0c\0d"] {
            assert_eq!(parse(bad).unwrap_err().kind(), ErrorKind::Authentication, "{bad:?}");
        }
    }
}
