//! Java's stores by their format.

use super::{Certificates, Format, jks, pkcs12};
use crate::config::Secret;
use rustls::pki_types::PrivateKeyDer;

pub(super) fn trusted(format: Format, bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    match format {
        Format::Jks => jks::trusted(bytes, password),
        Format::Jceks => Err(jceks()),
        Format::Pkcs12 | Format::Pem => pkcs12::trusted(bytes, password),
    }
}

pub(super) fn chain(format: Format, bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    match format {
        Format::Jks => jks::chain(bytes, password),
        Format::Jceks => Err(jceks()),
        Format::Pkcs12 | Format::Pem => pkcs12::identity(bytes, password).map(|(chain, _)| chain),
    }
}

pub(super) fn private_key(
    format: Format,
    bytes: &[u8],
    password: Option<&Secret>,
    own: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    match format {
        Format::Jks => jks::private_key(bytes, password, own.or(password)),
        Format::Jceks => Err(jceks()),
        Format::Pkcs12 | Format::Pem => pkcs12::identity(bytes, password).map(|(_, key)| key.into()),
    }
}

/// A key in PKCS#8 that is encrypted, by PBES2 or, as Kafka on Java 17 needs it, by PKCS#12's older schemes.
pub(in crate::net::tls) fn decrypted(der: &[u8], password: Option<&Secret>) -> Result<PrivateKeyDer<'static>, String> {
    let password = password.ok_or("the private key is encrypted: ssl.key.password is needed")?;
    pkcs12::decrypted(der, password).map(Into::into)
}

fn jceks() -> String {
    "this is a JCEKS store; convert it: keytool -importkeystore -deststoretype PKCS12".into()
}
