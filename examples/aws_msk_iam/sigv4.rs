//! AWS's Signature Version 4 for a URL that carries its signature in the query. Pure: no I/O, no clock.

use crate::support::Outcome;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::Duration;
use zeroize::Zeroizing;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Whose signature it is.
pub(crate) struct Credentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
}

/// A GET request that is to be signed.
pub(crate) struct Request<'a> {
    pub(crate) host: &'a str,
    /// As it stands in the URL.
    pub(crate) path: &'a str,
    pub(crate) parameters: &'a [(&'a str, &'a str)],
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) body_sha256: &'a str,
    pub(crate) lifetime: Duration,
}

impl Credentials {
    pub(crate) fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Self {
        Self {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            session_token: session_token.map(|token| Zeroizing::new(token.to_owned())),
        }
    }

    /// By the names that all of AWS's tools use.
    pub(crate) fn from_env() -> Outcome<Self> {
        let get = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(Zeroizing::new);
        let needed = |name: &str| get(name).ok_or_else(|| format!("{name} is not set"));
        let (id, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
        let token = get("AWS_SESSION_TOKEN");
        Ok(Self::new(&id, &secret, token.as_ref().map(|token| token.as_str())))
    }
}

/// The request's URL with its signature.
pub(crate) fn presigned_url(request: &Request<'_>, credentials: &Credentials, now: Timestamp) -> String {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = &time[..8];
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let credential = format!("{}/{scope}", credentials.access_key_id);
    let lifetime = request.lifetime.as_secs().to_string();
    let mut parameters = request.parameters.to_vec();
    parameters.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &time),
        ("X-Amz-Expires", &lifetime),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    if let Some(token) = &credentials.session_token {
        parameters.push(("X-Amz-Security-Token", token));
    }
    let mut pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    pairs.sort_unstable();
    let query = pairs.join("&");
    let Request { host, path, body_sha256, .. } = request;
    let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\n{body_sha256}");
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let first = Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.as_str()));
    let parts = [day, request.region, request.service, "aws4_request"];
    let key = parts.iter().fold(Zeroizing::new(first.as_bytes().to_vec()), |key, part| sign(&key, part));
    let signature = hex(&sign(&key, &to_sign));
    format!("https://{host}{path}?{query}&X-Amz-Signature={signature}")
}

fn sign(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// All but what a URL takes as it is (RFC 3986) as `%` and two digits.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_example_in_amazons_documentation() {
        // "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", of Amazon S3.
        let request = Request {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            parameters: &[],
            service: "s3",
            region: "us-east-1",
            body_sha256: "UNSIGNED-PAYLOAD",
            lifetime: Duration::from_secs(86_400),
        };
        let credentials = Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
        let url = presigned_url(&request, &credentials, "2013-05-24T00:00:00Z".parse().unwrap());
        assert_eq!(
            url,
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }
}
