//! JKS, Java's first store: a list of entries and a digest of it all with the password. Certificates are in plain; a key is
//! hidden by a stream of SHA-1 digests, which hides it from nobody who can guess the password.

use super::Certificates;
use crate::config::Secret;
use pkcs8::der::asn1::{AnyRef, OctetStringRef};
use pkcs8::der::{Decode, Reader as _, SliceReader};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const DIGEST_BYTES: usize = 20;
const KEY_ENTRY: u32 = 1;
const CERTIFICATE_ENTRY: u32 = 2;
/// Between the password and what is digested, by whoever made the format.
const PHRASE: &[u8] = b"Mighty Aphrodite";

enum Entry<'a> {
    /// A hidden key, and its certificate with those that lead to an authority.
    Key(&'a [u8], Vec<&'a [u8]>),
    Certificate(&'a [u8]),
}

/// Every certificate that is not one of a key.
pub(super) fn trusted(bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    let entries = entries(bytes, password)?;
    let alone = entries.iter().filter_map(|entry| match entry {
        Entry::Certificate(der) => Some(CertificateDer::from(der.to_vec())),
        Entry::Key(..) => None,
    });
    let certificates: Certificates = alone.collect();
    if certificates.is_empty() {
        return Err("this JKS store holds no certificate but those of keys".into());
    }
    Ok(certificates)
}

/// The certificates of the first key.
pub(super) fn chain(bytes: &[u8], password: Option<&Secret>) -> Result<Certificates, String> {
    let (_, chain) = first_key(bytes, password)?;
    Ok(chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect())
}

/// The first key.
pub(super) fn private_key(
    bytes: &[u8],
    password: Option<&Secret>,
    own: Option<&Secret>,
) -> Result<PrivateKeyDer<'static>, String> {
    let (hidden, _) = first_key(bytes, password)?;
    let own = own.ok_or("the key in the JKS store needs its password (ssl.key.password, ssl.keystore.password)")?;
    let plain = revealed(hidden, own).ok_or("the password of the key in the JKS store is wrong (ssl.key.password)")?;
    Ok(PrivatePkcs8KeyDer::from(plain.to_vec()).into())
}

fn first_key<'a>(bytes: &'a [u8], password: Option<&Secret>) -> Result<(&'a [u8], Vec<&'a [u8]>), String> {
    let key = entries(bytes, password)?.into_iter().find_map(|entry| match entry {
        Entry::Key(hidden, chain) => Some((hidden, chain)),
        Entry::Certificate(_) => None,
    });
    key.ok_or_else(|| "this JKS store holds no private key".into())
}

fn entries<'a>(bytes: &'a [u8], password: Option<&Secret>) -> Result<Vec<Entry<'a>>, String> {
    let mut rest = Rest(bytes);
    let entries = rest.entries().ok_or("the JKS store is cut or broken")?;
    let digest = rest.0;
    // Without a password nothing can be checked, as with Java.
    if let Some(password) = password {
        let mut hash = Sha1::new();
        hash.update(utf16(password).as_slice());
        hash.update(PHRASE);
        hash.update(bytes.strip_suffix(digest).unwrap_or_default());
        if !bool::from(hash.finalize().as_slice().ct_eq(digest)) {
            return Err("the password of the JKS store is wrong, or the store was changed \
                        (ssl.truststore.password, ssl.keystore.password)"
                .into());
        }
    }
    Ok(entries)
}

/// What is left of the store. `None` from its methods is a store that ends too soon, or is not one.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn entries(&mut self) -> Option<Vec<Entry<'a>>> {
        let _magic = self.u32()?;
        let version = self.u32().filter(|version| matches!(version, 1 | 2))?;
        let count = self.u32()?;
        // Grows with what is really there.
        let mut entries = Vec::new();
        for _ in 0..count {
            let tag = self.u32()?;
            let _alias = self.text()?;
            let _date = self.take(8)?;
            entries.push(match tag {
                KEY_ENTRY => {
                    let hidden = self.block()?;
                    let mut chain = Vec::new();
                    for _ in 0..self.u32()? {
                        chain.push(self.certificate(version)?);
                    }
                    Entry::Key(hidden, chain)
                }
                CERTIFICATE_ENTRY => Entry::Certificate(self.certificate(version)?),
                _ => return None,
            });
        }
        (self.0.len() == DIGEST_BYTES).then_some(entries)
    }

    fn certificate(&mut self, version: u32) -> Option<&'a [u8]> {
        if version == 2 {
            self.text().filter(|kind| *kind == b"X.509")?;
        }
        self.block()
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        self.take(usize::from(u16::from_be_bytes(*length)))
    }

    fn u32(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

/// The key in PKCS#8, if the password is right.
fn revealed(hidden: &[u8], password: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    // The algorithm, which is always the one, then what it has made.
    let mut reader = SliceReader::new(hidden).ok()?;
    let protected = reader.sequence(|reader| {
        AnyRef::decode(reader)?;
        <&OctetStringRef>::decode(reader)
    });
    let (salt, rest) = protected.ok()?.as_bytes().split_at_checked(DIGEST_BYTES)?;
    let (encrypted, check) = rest.split_at_checked(rest.len().checked_sub(DIGEST_BYTES)?)?;
    let password = utf16(password);
    let digest = |with: &[u8]| Sha1::new().chain_update(password.as_slice()).chain_update(with).finalize();
    let mut plain = Zeroizing::new(Vec::with_capacity(encrypted.len()));
    let mut stream = Zeroizing::new(digest(salt).to_vec());
    for block in encrypted.chunks(DIGEST_BYTES) {
        plain.extend(block.iter().zip(stream.iter()).map(|(byte, mask)| byte ^ mask));
        stream = Zeroizing::new(digest(&stream).to_vec());
    }
    bool::from(digest(&plain).as_slice().ct_eq(check)).then_some(plain)
}

fn utf16(password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(password.expose().len().saturating_mul(2)));
    bytes.extend(password.expose().encode_utf16().flat_map(u16::to_be_bytes));
    bytes
}
