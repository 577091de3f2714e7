//! Stores that `keytool` of Java 17 and OpenSSL 3 made, whole and broken. All hold the same key or its certificate.

use super::*;
use crate::config::Secret;
use proptest::prelude::*;
use sha1::{Digest, Sha1};

const KEY_JKS: &[u8] = include_bytes!("testdata/key.jks");
const KEY_P12: &[u8] = include_bytes!("testdata/key.p12");
/// 3DES and RC2, as OpenSSL 1 wrote it.
const LEGACY_P12: &[u8] = include_bytes!("testdata/legacy.p12");
const TRUST_JKS: &[u8] = include_bytes!("testdata/trust.jks");
const TRUST_P12: &[u8] = include_bytes!("testdata/trust.p12");
/// Without Java's mark on what is trusted.
const CERTS_P12: &[u8] = include_bytes!("testdata/certs.p12");
const CLIENT_PEM: &[u8] = include_bytes!("testdata/client.pem");
const PLAIN_PEM: &[u8] = include_bytes!("testdata/plain.pem");

const STORE: &str = "store-secret";
const KEY: &str = "key-secret";

fn passwords(store: Option<&str>, key: Option<&str>) -> StorePasswords {
    StorePasswords { store: store.map(Secret::new), key: key.map(Secret::new) }
}

fn expected() -> (Certificates, PrivateKeyDer<'static>) {
    (pem::certificates(CLIENT_PEM).unwrap(), pem::private_key(PLAIN_PEM, None).unwrap())
}

/// The key itself: what stands around it may have more parts in one file than in another.
fn scalar(key: &PrivateKeyDer<'_>) -> Vec<u8> {
    let der = key.secret_der();
    // ECPrivateKey: version 1, then 32 bytes.
    let at = der.windows(5).position(|window| window == [2, 1, 1, 4, 32]).expect("a key of P-256") + 5;
    der[at..at + 32].to_vec()
}

#[test]
fn keys_and_their_certificates_are_read_from_each_format() {
    let (certificates, key) = expected();
    for (name, store, passwords) in [
        ("JKS", KEY_JKS, passwords(Some(STORE), Some(KEY))),
        ("JKS, unchecked", KEY_JKS, passwords(None, Some(KEY))),
        ("PKCS#12 of Java", KEY_P12, passwords(Some(STORE), None)),
        ("PKCS#12 of OpenSSL 1", LEGACY_P12, passwords(Some(STORE), None)),
    ] {
        assert_eq!(chain(store, &passwords).unwrap(), certificates, "{name}");
        assert_eq!(scalar(&private_key(store, &passwords).unwrap()), scalar(&key), "{name}");
    }
}

#[test]
fn trusted_certificates_are_read_from_each_format() {
    let (expected, _) = expected();
    let password = Secret::new(STORE);
    for (name, store, password) in [
        ("JKS", TRUST_JKS, Some(&password)),
        ("JKS, unchecked", TRUST_JKS, None),
        ("PKCS#12 of Java", TRUST_P12, Some(&password)),
        ("PKCS#12 of OpenSSL", CERTS_P12, Some(&password)),
        ("PEM", CLIENT_PEM, None),
    ] {
        assert_eq!(certificates(store, password).unwrap(), expected, "{name}");
    }
}

#[test]
fn encrypted_keys_in_pem_are_read_with_their_own_password() {
    let (_, plain) = expected();
    let all: [&[u8]; 4] = [
        // What Kafka on Java 17 reads.
        include_bytes!("testdata/pbes1.pem"),
        include_bytes!("testdata/aes.pem"),
        include_bytes!("testdata/des3.pem"),
        include_bytes!("testdata/scrypt.pem"),
    ];
    for encrypted in all {
        assert_eq!(scalar(&private_key(encrypted, &passwords(None, Some(KEY))).unwrap()), scalar(&plain));
        let wrong = private_key(encrypted, &passwords(Some(KEY), Some(STORE))).unwrap_err();
        assert!(wrong.contains("ssl.key.password"), "{wrong}");
        assert!(!wrong.contains(STORE) && !wrong.contains(KEY), "{wrong}");
        let missing = private_key(encrypted, &passwords(Some(KEY), None)).unwrap_err();
        assert!(missing.contains("ssl.key.password is needed"), "{missing}");
    }
}

#[test]
fn what_is_wrong_is_said_by_the_name_of_the_setting() {
    let wrong = Secret::new("hunter2");
    for store in [TRUST_JKS, TRUST_P12, CERTS_P12] {
        let error = certificates(store, Some(&wrong)).unwrap_err();
        assert!(error.contains("is wrong") && error.contains("ssl.truststore.password"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let needed = certificates(TRUST_P12, None).unwrap_err();
    assert!(needed.contains("needs its password"), "{needed}");
    let other = private_key(KEY_JKS, &passwords(Some(STORE), None)).unwrap_err();
    assert!(other.contains("ssl.key.password"), "the key's own one is another: {other}");
    let other = private_key(KEY_JKS, &passwords(Some(STORE), Some("hunter2"))).unwrap_err();
    assert!(other.contains("ssl.key.password") && !other.contains("hunter2"), "{other}");
    for store in [KEY_JKS, KEY_P12] {
        let error = chain(store, &passwords(Some("hunter2"), Some(KEY))).unwrap_err();
        assert!(error.contains("is wrong") && !error.contains("hunter2"), "{error}");
    }
    let none = private_key(KEY_JKS, &passwords(None, None)).unwrap_err();
    assert!(none.contains("needs its password"), "{none}");
    for (store, words) in [(TRUST_JKS, "no private key"), (TRUST_P12, "no private key")] {
        let error = chain(store, &passwords(Some(STORE), None)).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let password = Secret::new(STORE);
    for store in [KEY_JKS, KEY_P12] {
        let error = certificates(store, Some(&password)).unwrap_err();
        assert!(error.contains("no certificate but"), "{error}");
    }
    let jceks = certificates(&[0xce, 0xce, 0xce, 0xce, 0, 0, 0, 2], None).unwrap_err();
    assert!(jceks.contains("keytool -importkeystore"), "{jceks}");
}

/// What stands around the entries of a JKS store.
const JKS_BEGIN: usize = 12;
const JKS_DIGEST: usize = 20;

/// The entry of a store that has one.
fn jks_entry(store: &[u8]) -> &[u8] {
    &store[JKS_BEGIN..store.len() - JKS_DIGEST]
}

/// A store with these entries, as many as `count` says or not, and the digest that belongs to it.
fn jks(version: u8, count: u32, entries: &[&[u8]]) -> Vec<u8> {
    let mut store = [&KEY_JKS[..4], &[0, 0, 0, version], &count.to_be_bytes()].concat();
    store.extend(entries.concat());
    let mut hash = Sha1::new();
    hash.update(STORE.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>());
    hash.update(b"Mighty Aphrodite");
    hash.update(&store);
    store.extend(hash.finalize());
    store
}

/// The same entry with the last byte of what begins with this changed.
fn changed(entry: &[u8], what: &[u8], to: u8) -> Vec<u8> {
    let at = entry.windows(what.len()).position(|window| window == what).expect("it is there") + what.len() - 1;
    let mut entry = entry.to_vec();
    entry[at] = to;
    entry
}

#[test]
fn the_first_key_of_a_jks_store_is_the_clients_and_certificates_of_keys_are_not_trusted() {
    let all = passwords(Some(STORE), Some(KEY));
    let (certificates_of_key, key) = expected();
    let (own, trusted) = (jks_entry(KEY_JKS), jks_entry(TRUST_JKS));
    // A second one that its password does not open: its first encrypted byte, behind the salt, is another.
    let octets = own.windows(2).rposition(|window| window == [0x30, 0x0e]).expect("the algorithm") + 20;
    let mut foreign = own.to_vec();
    foreign[octets + JKS_DIGEST + 5] ^= 1;
    let store = jks(2, 3, &[trusted, own, &foreign]);
    assert_eq!(scalar(&private_key(&store, &all).unwrap()), scalar(&key));
    assert_eq!(chain(&store, &all).unwrap(), certificates_of_key);
    let password = Secret::new(STORE);
    assert_eq!(certificates(&store, Some(&password)).unwrap().len(), 1, "that of the key is not trusted");
    let error = private_key(&jks(2, 2, &[&foreign, own]), &all).unwrap_err();
    assert!(error.contains("ssl.key.password"), "{error}");
}

#[test]
fn a_jks_store_that_lies_is_refused_although_its_digest_is_right() {
    let (own, trusted) = (jks_entry(KEY_JKS), jks_entry(TRUST_JKS));
    let of_another_kind = changed(trusted, b"X.509", b'8');
    let of_no_kind = changed(trusted, &[0, 0, 0, 2], 3);
    let trailing = [trusted, &[0]].concat();
    for (name, store) in [
        ("version", jks(3, 1, &[trusted])),
        ("kind of certificate", jks(2, 1, &[&of_another_kind])),
        ("kind of entry", jks(2, 1, &[&of_no_kind])),
        ("fewer entries", jks(2, 1, &[trusted, trusted])),
        ("more entries", jks(2, 2, &[trusted])),
        ("endless entries", jks(2, u32::MAX, &[trusted])),
        ("a byte more", jks(2, 1, &[&trailing])),
    ] {
        for password in [Some(Secret::new(STORE)), None] {
            let error = certificates(&store, password.as_ref()).unwrap_err();
            assert!(error.contains("cut or broken"), "{name}: {error}");
        }
    }
    assert!(certificates(&jks(2, 2, &[own, trusted]), Some(&Secret::new(STORE))).is_ok(), "this one does not");
}

#[test]
fn a_store_is_told_by_its_first_bytes() {
    for (bytes, format) in [
        (KEY_JKS, Format::Jks),
        (KEY_P12, Format::Pkcs12),
        (&[0x30, 0x80, 0x02][..], Format::Pkcs12),
        (&[0x30, 0x81, 0xff], Format::Pkcs12),
        (&[0xce, 0xce, 0xce, 0xce], Format::Jceks),
        (CLIENT_PEM, Format::Pem),
        // What a digit in the text of a PEM begins with.
        (b"0 note", Format::Pem),
        (b"", Format::Pem),
    ] {
        assert_eq!(Format::of(bytes), format, "{:?}", bytes.get(..4));
    }
}

#[test]
fn a_store_that_is_cut_or_changed_is_refused() {
    let password = Secret::new(STORE);
    let all = passwords(Some(STORE), Some(KEY));
    for store in [TRUST_JKS, KEY_JKS, TRUST_P12, KEY_P12] {
        for end in 0..store.len() {
            assert!(certificates(&store[..end], Some(&password)).is_err(), "{end}");
            assert!(private_key(&store[..end], &all).is_err(), "{end}");
        }
    }
    for at in 0..TRUST_JKS.len() {
        let mut changed = TRUST_JKS.to_vec();
        changed[at] ^= 1;
        assert!(certificates(&changed, Some(&password)).is_err(), "{at}");
    }
}

proptest! {
    #[test]
    fn f9_any_bytes_are_read_or_refused(of_key: bool, bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>()) {
        let store = if of_key { KEY_JKS } else { TRUST_JKS };
        let mut changed = store.to_vec();
        let at = at.index(store.len());
        let end = (at + bytes.len().min(8)).min(store.len());
        changed[at..end].copy_from_slice(&bytes[..end - at]);
        for bytes in [changed, [&store[..4], &bytes].concat(), [&KEY_P12[..4], &bytes].concat()] {
            let _ = (certificates(&bytes, None), chain(&bytes, &passwords(None, None)));
            let _ = private_key(&bytes, &passwords(None, Some(KEY)));
        }
    }
}
