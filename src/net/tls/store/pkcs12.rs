//! PKCS#12 (RFC 7292), as Java and OpenSSL write it.

use super::Certificates;
use crate::config::Secret;
use p12_keystore::{KeyStore, Pkcs12Archive, Pkcs12ImportPolicy, error::Error};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// The number 3, and the names of what is in a store, in DER.
const VERSION_3: &[u8] = &[0x02, 0x01, 0x03];
const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
const SHROUDED_KEY_BAG: &[u8] = &[0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x02];

/// Every certificate that is not one of a key. Java marks those it trusts; other tools don't, and mean the same.
pub(super) fn trusted(bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, given(password)).map_err(|error| refused(&error, password))?;
    let others = archive.certs.iter().filter(|bag| bag.local_key_id.is_none());
    let certificates: Certificates = others.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    if certificates.is_empty() {
        return Err("this PKCS#12 store holds no certificate but that of a key".into());
    }
    Ok(certificates)
}

/// The first key with its certificates.
pub(super) fn identity(
    bytes: &[u8],
    password: Option<&Secret>,
) -> Result<(Certificates, PrivatePkcs8KeyDer<'static>), String> {
    let store = KeyStore::from_pkcs12(bytes, given(password), Pkcs12ImportPolicy::Strict);
    let store = store.map_err(|error| refused(&error, password))?;
    let (_, chain) = store.private_key_chain().ok_or("this PKCS#12 store holds no private key with its certificate")?;
    let certificates = chain.certs().iter().map(|certificate| CertificateDer::from(certificate.as_der().to_vec()));
    Ok((certificates.collect(), PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec())))
}

/// A key in PKCS#8 that is encrypted. The schemes are those of a store, so it is read as one with this key alone.
pub(super) fn decrypted(encrypted: &[u8], password: &Secret) -> Result<PrivatePkcs8KeyDer<'static>, String> {
    let key = tlv(0x30, &[SHROUDED_KEY_BAG, &tlv(0xa0, encrypted)].concat());
    let contents = data(&tlv(0x30, &key));
    let store = tlv(0x30, &[VERSION_3, &data(&tlv(0x30, &contents))].concat());
    let archive = Pkcs12Archive::from_pkcs12(&store, password.expose())
        .map_err(|error| format!("the private key can't be decrypted, is ssl.key.password right? {error}"))?;
    let key = archive.keys.first().ok_or("the encrypted private key can't be read")?;
    Ok(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec()))
}

/// A part of a store that is not encrypted as a whole.
fn data(contents: &[u8]) -> Vec<u8> {
    tlv(0x30, &[DATA, &tlv(0xa0, &tlv(0x04, contents))].concat())
}

/// DER: tag, length, value.
fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let digits = value.len().to_be_bytes().into_iter().skip_while(|byte| *byte == 0);
            // At most eight, the size of a length here.
            bytes.push(0x80 | digits.clone().count() as u8);
            bytes.extend(digits);
        }
    }
    bytes.extend_from_slice(value);
    bytes
}

fn given(password: Option<&Secret>) -> &str {
    password.map_or("", Secret::expose)
}

fn refused(error: &Error, password: Option<&Secret>) -> String {
    let hint = match (error, password) {
        (Error::MacError(_), None) => "the PKCS#12 store needs its password",
        (Error::MacError(_), Some(_)) => "the password of the PKCS#12 store is wrong",
        _ => "the PKCS#12 store can't be read",
    };
    format!("{hint} (ssl.truststore.password, ssl.keystore.password): {error}")
}
