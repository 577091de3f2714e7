//! Certificates and keys in whatever format they come: PEM, or one of Java's stores, which are told apart by how they begin.

#[cfg(any(test, not(feature = "stores")))]
mod absent;
#[cfg(feature = "stores")]
mod java;
#[cfg(feature = "stores")]
mod jks;
#[cfg(feature = "stores")]
mod pkcs12;
#[cfg(all(test, feature = "stores"))]
mod tests;

use super::pem;
use crate::config::{Secret, StorePasswords};
#[cfg(not(feature = "stores"))]
use absent as java;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

pub(super) use java::decrypted;

type Certificates = Vec<CertificateDer<'static>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Pem,
    Pkcs12,
    Jks,
    /// Java's older store for secret keys.
    Jceks,
}

impl Format {
    fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xfe, 0xed, 0xfe, 0xed, ..] => Self::Jks,
            [0xce, 0xce, 0xce, 0xce, ..] => Self::Jceks,
            // A sequence of DER or BER with a length of several bytes, or an open one.
            [0x30, 0x80..=0x84, ..] => Self::Pkcs12,
            _ => Self::Pem,
        }
    }
}

/// All certificates that are trusted. The error says what is wrong.
pub(super) fn certificates(bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    match Format::of(bytes) {
        Format::Pem => pem::certificates(bytes),
        store => java::trusted(store, bytes, password),
    }
}

/// The client's certificate, and those that lead from it to an authority.
pub(super) fn chain(bytes: &[u8], passwords: &StorePasswords) -> Result<Certificates, String> {
    match Format::of(bytes) {
        Format::Pem => pem::certificates(bytes),
        store => java::chain(store, bytes, passwords.store.as_ref()),
    }
}

/// The client's private key.
pub(super) fn private_key(bytes: &[u8], passwords: &StorePasswords) -> Result<PrivateKeyDer<'static>, String> {
    let own = passwords.key.as_ref();
    match Format::of(bytes) {
        Format::Pem => pem::private_key(bytes, own),
        store => java::private_key(store, bytes, passwords.store.as_ref(), own),
    }
}
