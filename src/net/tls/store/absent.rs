//! What is said of Java's stores without the feature that reads them.

use super::{Certificates, Format};
use crate::config::Secret;
use rustls::pki_types::PrivateKeyDer;

pub(super) fn trusted(format: Format, _: &[u8], _: Option<&Secret>) -> Result<Certificates, String> {
    Err(refusal(format))
}

pub(super) fn chain(format: Format, _: &[u8], _: Option<&Secret>) -> Result<Certificates, String> {
    Err(refusal(format))
}

pub(super) fn private_key(
    format: Format,
    _: &[u8],
    _: Option<&Secret>,
    _: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    Err(refusal(format))
}

pub(in crate::net::tls) fn decrypted(_: &[u8], _: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    Err("the private key is encrypted, which needs sarameya's feature stores; or decrypt it: openssl pkcs8 -in key.pem \
         -out plain.pem"
        .into())
}

fn refusal(format: Format) -> String {
    let name = match format {
        Format::Jks => "JKS",
        Format::Jceks => "JCEKS",
        Format::Pkcs12 | Format::Pem => "PKCS#12",
    };
    format!(
        "this is a {name} store: PKCS#12 and JKS need sarameya's feature stores; or convert it to PEM: keytool -importkeystore \
         -srckeystore STORE -destkeystore store.p12 -deststoretype PKCS12, then openssl pkcs12 -in store.p12 -nodes -out \
         store.pem (ssl.truststore.type, ssl.keystore.type)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_is_named_with_the_feature_that_reads_it() {
        for (format, name) in [(Format::Jks, "JKS"), (Format::Jceks, "JCEKS"), (Format::Pkcs12, "PKCS#12")] {
            let all = [
                trusted(format, b"", None).map(drop),
                chain(format, b"", None).map(drop),
                private_key(format, b"", None, None).map(drop),
            ];
            for refused in all {
                let why = refused.unwrap_err();
                assert!(why.contains(&format!("a {name} store")) && why.contains("feature stores"), "{why}");
            }
        }
        assert!(decrypted(b"", None).unwrap_err().contains("feature stores"));
    }
}
