//! Text in PEM format (RFC 7468), as forgiving as Kafka: line breaks may be missing, and text between sections is skipped.

use super::store;
use crate::config::Secret;
use base64ct::{Base64, Encoding};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// One section: its label, such as `CERTIFICATE`, and the bytes in it.
struct Section<'a> {
    label: &'a str,
    der: Zeroizing<Vec<u8>>,
}

/// All certificates, in their order. The error says what is wrong.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let sections = sections(text)?;
    let certificates: Vec<_> = sections
        .iter()
        .filter(|section| matches!(section.label, "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|section| CertificateDer::from(section.der.to_vec()))
        .collect();
    if certificates.is_empty() {
        return Err(nothing("certificate", &sections));
    }
    Ok(certificates)
}

/// The first private key; one that is encrypted, with the key's own password. The error says what is wrong.
pub(crate) fn private_key(text: &[u8], password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    let sections = sections(text)?;
    for section in &sections {
        let der = section.der.to_vec();
        match section.label {
            "PRIVATE KEY" => return Ok(PrivatePkcs8KeyDer::from(der).into()),
            "RSA PRIVATE KEY" => return Ok(PrivatePkcs1KeyDer::from(der).into()),
            "EC PRIVATE KEY" => return Ok(PrivateSec1KeyDer::from(der).into()),
            "ENCRYPTED PRIVATE KEY" => return store::decrypted(&section.der, password),
            _ => {}
        }
    }
    Err(nothing("private key", &sections))
}

fn nothing(wanted: &str, sections: &[Section<'_>]) -> String {
    let labels: Vec<_> = sections.iter().map(|section| section.label).collect();
    match labels.as_slice() {
        [] => format!("holds no {wanted} in PEM format"),
        labels => format!("holds no {wanted}, only: {}", labels.join(", ")),
    }
}

fn sections(text: &[u8]) -> Result<Vec<Section<'_>>, String> {
    // Notes between sections may be in any encoding, so the text is cut before it is read.
    let mut sections = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = split(rest, BEGIN) {
        let label = split(after, DASHES).and_then(|(label, after)| Some((std::str::from_utf8(label).ok()?, after)));
        let label = label.filter(|(label, _)| !label.contains(['\n', '\r']));
        let (label, after) = label.ok_or("a BEGIN line does not end")?;
        let last = format!("{END}{label}{DASHES}");
        let (body, after) = split(after, &last).ok_or_else(|| format!("a section {label} has no end"))?;
        sections.push(Section { label, der: decode(label, body)? });
        rest = after;
    }
    Ok(sections)
}

fn decode(label: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let compact: Zeroizing<Vec<u8>> =
        Zeroizing::new(body.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect());
    if compact.contains(&b':') {
        return Err(format!("the section {label} has headers: encrypted keys are supported in PKCS#8 only"));
    }
    let text = std::str::from_utf8(&compact).map_err(|_| format!("the section {label} is not base64"))?;
    let der = Base64::decode_vec(text).map_err(|_| format!("the section {label} is not base64"))?;
    Ok(Zeroizing::new(der))
}

/// What is before and what is after it.
fn split<'a>(text: &'a [u8], what: &str) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(what.len()).position(|window| window == what.as_bytes())?;
    let (before, rest) = text.split_at_checked(at)?;
    Some((before, rest.get(what.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn certificates_are_found_in_order_and_between_other_text() {
        let text = format!(
            "subject=\u{fc}\n{}{}\r\n{}",
            section("CERTIFICATE", "AAEC\r\nAwQ="),
            section("PRIVATE KEY", "/w=="),
            section("CERTIFICATE", "BQ==").replace('\n', " "),
        );
        let found = certificates(text.as_bytes()).unwrap();
        assert_eq!(found, [CertificateDer::from(vec![0, 1, 2, 3, 4]), CertificateDer::from(vec![5])]);
        assert!(matches!(private_key(text.as_bytes(), None).unwrap(), PrivateKeyDer::Pkcs8(_)));
    }

    #[test]
    fn keys_of_each_format_are_told_apart() {
        let key = |label| private_key(section(label, "AA==").as_bytes(), None);
        assert!(matches!(key("RSA PRIVATE KEY"), Ok(PrivateKeyDer::Pkcs1(_))));
        assert!(matches!(key("EC PRIVATE KEY"), Ok(PrivateKeyDer::Sec1(_))));
        assert!(key("ENCRYPTED PRIVATE KEY").unwrap_err().contains("encrypted"));
        assert!(key("PUBLIC KEY").unwrap_err().contains("only: PUBLIC KEY"));
        let old = section("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAA==");
        assert!(private_key(old.as_bytes(), None).unwrap_err().contains("encrypted"));
    }

    #[test]
    fn what_is_no_pem_is_refused_with_a_reason() {
        for (text, why) in [
            (&b""[..], "no certificate in PEM"),
            (b"-----BEGIN CERTIFICATE", "does not end"),
            (b"-----BEGIN CERTIFICATE-----\nAA==", "has no end"),
            (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", "not base64"),
            (b"-----BEGIN CERTIFICATE-----\n\xff\n-----END CERTIFICATE-----", "not base64"),
            (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END X-----", "has no end"),
        ] {
            let error = certificates(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    proptest! {
        #[test]
        fn f9_any_text_is_read_or_refused(text in any::<Vec<u8>>(), lines in "(-----|BEGIN |END |CERTIFICATE|AA==|\n){0,20}") {
            let _ = (certificates(&text), private_key(&text, None));
            let _ = (certificates(lines.as_bytes()), private_key(lines.as_bytes(), None));
        }
    }
}
