//! The two sides against the RFC's vectors, against each other, and against peers that cheat.

use super::*;
use proptest::prelude::*;

const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

struct Vector {
    mechanism: ScramMechanism,
    server_first: &'static str,
    client_final: &'static str,
    server_final: &'static str,
}

/// The first is RFC 7677, section 3; the second the same exchange with SHA-512, computed with Python's hashlib.
const VECTORS: [Vector; 2] = [
    Vector {
        mechanism: ScramMechanism::Sha256,
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        server_final: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    },
    Vector {
        mechanism: ScramMechanism::Sha512,
        server_first: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        client_final: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        server_final: "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    },
];

fn client(mechanism: ScramMechanism) -> ScramClient {
    let password = Secret::new("pencil");
    ScramClient::start_with(mechanism, "user", &password, false, CLIENT_NONCE.into()).unwrap().0
}

fn credential(mechanism: ScramMechanism, password: &str) -> ScramCredential {
    let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramCredential::from_password(mechanism, password, salt, MIN_ITERATIONS)
}

/// Refused for the reason that `why` is part of.
#[track_caller]
fn assert_refused<T: fmt::Debug>(outcome: Result<T>, why: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains(why), "{error}");
    assert!(!error.to_string().contains("pencil"), "{error}");
}

#[test]
fn the_vectors_of_the_rfc_hold_for_the_client() {
    for vector in &VECTORS {
        let password = Secret::new("pencil");
        let (client, first) =
            ScramClient::start_with(vector.mechanism, "user", &password, false, CLIENT_NONCE.into()).unwrap();
        assert_eq!(first, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (verifier, last) = client.server_first(vector.server_first.as_bytes()).unwrap();
        assert_eq!(str::from_utf8(&last).unwrap(), vector.client_final);
        verifier.server_final(vector.server_final.as_bytes()).unwrap();
    }
}

#[test]
fn the_vectors_of_the_rfc_hold_for_the_server() {
    for vector in &VECTORS {
        let first = ScramFirst::read(vector.mechanism, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((first.user(), first.authorization_id(), first.is_token()), ("user", None, false));
        let credential = credential(vector.mechanism, "pencil");
        let (challenge, message) = first.challenge_with(credential, SERVER_NONCE);
        assert_eq!(str::from_utf8(&message).unwrap(), vector.server_first);
        let last = challenge.finish(vector.client_final.as_bytes()).unwrap();
        assert_eq!(str::from_utf8(&last).unwrap(), vector.server_final);
    }
}

/// Runs an exchange of the two sides.
fn exchange(mechanism: ScramMechanism, user: &str, password: &str, servers: &str, token: bool) -> Result<ScramFirst> {
    let (client, message) = ScramClient::start(mechanism, user, &Secret::new(password), token)?;
    let first = ScramFirst::read(mechanism, &message)?;
    let again = ScramFirst::read(mechanism, &message)?;
    let (challenge, message) = first.challenge(credential(mechanism, servers))?;
    let (verifier, message) = client.server_first(&message)?;
    verifier.server_final(&challenge.finish(&message)?)?;
    Ok(again)
}

#[test]
fn the_two_sides_agree_only_on_one_password() {
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        for (user, password) in [("alice", "alice-secret"), ("a=b,c=2C=3D", "p,=ä\u{aa}\u{a0}"), ("ünï", " ")] {
            let first = exchange(mechanism, user, password, password, false).unwrap();
            assert_eq!((first.user(), first.is_token()), (user, false));
            assert_refused(exchange(mechanism, user, "pencil", password, false).map(|_| ()), "the proof is wrong");
        }
        assert!(exchange(mechanism, "id", "aG1hYw==", "aG1hYw==", true).unwrap().is_token());
    }
}

#[test]
fn the_iterations_are_those_the_server_asks_for() {
    let (client, message) = ScramClient::start(ScramMechanism::Sha256, "u", &Secret::new("pencil"), false).unwrap();
    let first = ScramFirst::read(ScramMechanism::Sha256, &message).unwrap();
    let credential = ScramCredential::from_password(ScramMechanism::Sha256, "pencil", vec![1], MIN_ITERATIONS + 1);
    let (challenge, message) = first.challenge(credential).unwrap();
    let (verifier, message) = client.server_first(&message).unwrap();
    verifier.server_final(&challenge.finish(&message).unwrap()).unwrap();
}

#[test]
fn two_exchanges_never_share_a_nonce() {
    let start = || ScramClient::start(ScramMechanism::Sha256, "u", &Secret::new("p"), false).unwrap().0.nonce;
    let (one, other) = (start(), start());
    assert_ne!(one, other);
    assert_eq!(one.len(), 32, "24 bytes in base64");
    // Every byte is random: that one stays the same by chance in so many is not to be expected in the life of the universe.
    let nonces: Vec<_> = (0..40).map(|_| Base64::decode_vec(&start()).unwrap()).collect();
    for at in 0..NONCE_BYTES {
        assert!(nonces.iter().any(|nonce| nonce[at] != nonces[0][at]), "byte {at}");
    }
    let challenge = || {
        let first = ScramFirst::read(ScramMechanism::Sha256, b"n,,n=u,r=n").unwrap();
        let (_, message) = first.challenge(credential_for_reading()).unwrap();
        String::from_utf8(message).unwrap()
    };
    let (one, other) = (challenge(), challenge());
    assert!(one.starts_with("r=n") && one.find(',') == Some(2 + 1 + 32), "{one}");
    assert_ne!(one, other);
}

#[test]
fn s4_a_nonce_that_does_not_extend_ours_is_refused() {
    for nonce in [
        "",
        "foreign",
        "rOprNGfwEbeRWgbNEkqO",
        "rOprNGfwEbeRWgbNEkq",
        "xrOprNGfwEbeRWgbNEkqOx",
        "rOprNGfwEbeRWgbNEkqO\u{7f}",
    ] {
        let message = format!("r={nonce},s=c2FsdA==,i=4096");
        assert_refused(client(ScramMechanism::Sha256).server_first(message.as_bytes()), "nonce");
    }
}

#[test]
fn s5_iterations_out_of_bounds_are_refused_before_the_password_is_worked_on() {
    for iterations in [
        "",
        "0",
        "1",
        "4095",
        "1000001",
        "2147483647",
        "4294967296",
        "99999999999999999999",
        "4096x",
        "+4096",
        "-1",
        " 4096",
        "４０９６",
    ] {
        let message = format!("r={CLIENT_NONCE}x,s=c2FsdA==,i={iterations}");
        let client = client(ScramMechanism::Sha512);
        // Reading the challenge alone: the work is done after it.
        assert!(client.read_challenge(message.as_bytes()).is_err(), "{iterations}");
        assert_refused(client.server_first(message.as_bytes()), "iterations");
    }
}

#[test]
fn s5_a_malformed_challenge_is_refused() {
    for (rest, why) in [
        ("", "attribute s"),
        (",s=,i=4096", "salt is empty"),
        (",s=c2FsdA,i=4096", "salt is not base64"),
        (",s=c2Fs dA==,i=4096", "salt is not base64"),
        (",s=c2FsdA==", "attribute i"),
        (",i=4096,s=c2FsdA==", "attribute s"),
        (",s=c2FsdA==,i=4096,", "extension"),
        (",s=c2FsdA==,i=4096,=x", "extension"),
        (",s=c2FsdA==,i=4096,x", "extension"),
        (",s=c2FsdA==,i=4096,1x=y", "extension"),
        (",s=c2FsdA==,i=4096,x=", "extension"),
    ] {
        let message = format!("r={CLIENT_NONCE}x{rest}");
        assert_refused(client(ScramMechanism::Sha256).server_first(message.as_bytes()), why);
    }
    for (message, why) in [
        (&b""[..], "attribute r"),
        (b"m=must,r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4096", "attribute r"),
        (b"e=other-error", "attribute r"),
        (b"\xff\xfe", "UTF-8"),
        (&[b'r'; MESSAGE_BYTES_MAX + 1], "65537 bytes"),
    ] {
        assert_refused(client(ScramMechanism::Sha256).server_first(message), why);
    }
    let extended = format!("r={CLIENT_NONCE}x,s=c2FsdA==,i=4096,ext=1,more=a=b");
    assert!(
        client(ScramMechanism::Sha256).server_first(extended.as_bytes()).is_ok(),
        "unknown extensions are optional"
    );
}

#[test]
fn s3_only_the_right_signature_is_success() {
    let signature = &VECTORS[0].server_final[2..];
    let mut forged = Base64::decode_vec(signature).unwrap();
    forged[31] ^= 1;
    let cut = Base64::encode_string(&forged[..31]);
    let forged = Base64::encode_string(&forged);
    for (message, why) in [
        (format!("v={forged}"), "signature is wrong"),
        (format!("v={cut}"), "signature is wrong"),
        (format!("v={signature}{signature}"), "signature is not base64"),
        ("v=".into(), "signature is wrong"),
        ("v".into(), "attribute v"),
        (String::new(), "attribute v"),
        (signature.to_owned(), "attribute v"),
        (format!("x=1,v={signature}"), "attribute v"),
        ("e=invalid-proof".into(), "the server says invalid-proof"),
        (format!("e=other-error,v={signature}"), "the server says other-error"),
        (format!("v={signature},x"), "extension"),
    ] {
        let (verifier, _) = client(ScramMechanism::Sha256).server_first(VECTORS[0].server_first.as_bytes()).unwrap();
        assert_refused(verifier.server_final(message.as_bytes()), why);
    }
    // The signature of another exchange with the same password.
    let other = format!("r={CLIENT_NONCE}other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let (verifier, _) = client(ScramMechanism::Sha256).server_first(other.as_bytes()).unwrap();
    assert_refused(verifier.server_final(VECTORS[0].server_final.as_bytes()), "signature is wrong");
}

#[test]
fn a_server_refuses_what_is_no_first_message() {
    for (message, why) in [
        ("", "channel binding"),
        ("y,,n=u,r=n", "channel binding"),
        ("p=tls-unique,,n=u,r=n", "channel binding"),
        ("n,n=u", "not complete"),
        ("n,b=u,n=u,r=n", "authorization id"),
        ("n,,n=u", "attribute r"),
        ("n,,r=n,n=u", "attribute n"),
        ("n,,m=x,n=u,r=n", "attribute n"),
        ("n,,n=,r=n", "empty"),
        ("n,,n=u,r=", "empty"),
        ("n,,n=a=b,r=n", "2C or 3D"),
        ("n,,n=u,r=n,", "extension"),
        ("n,,n=u,r=n\u{e4}", "not printable"),
        ("n,,n=u,r=n n", "not printable"),
    ] {
        assert_refused(ScramFirst::read(ScramMechanism::Sha256, message.as_bytes()), why);
    }
    let first = ScramFirst::read(ScramMechanism::Sha256, b"n,a=bob,n=u,r=n,TOKENAUTH=true").unwrap();
    assert_eq!((first.authorization_id(), first.is_token()), (Some("bob"), true));
}

#[test]
fn a_server_refuses_a_final_message_that_was_changed() {
    let sent = VECTORS[0].client_final;
    for (message, why) in [
        (sent.replace("biws", "eSws"), "channel binding"),
        (sent.replace("NlF$k0", "NlF$k1"), "nonce"),
        (sent.replace(",p=", ",ext=1,p="), "proof is wrong"),
        (sent.replace("p=dHz", "p=dHy"), "proof is wrong"),
        (sent.replace("p=dHzb", "p="), "proof has a wrong length"),
        (sent.replace("p=dHz", "p=*"), "proof is not base64"),
        (sent.replace(",p=", ",q="), "attribute p"),
    ] {
        let first = ScramFirst::read(ScramMechanism::Sha256, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        let credential = credential(ScramMechanism::Sha256, "pencil");
        let (challenge, _) = first.challenge_with(credential, SERVER_NONCE);
        assert_refused(challenge.finish(message.as_bytes()), why);
    }
}

#[test]
fn x10_nothing_secret_shows() {
    let (verifier, _) = client(ScramMechanism::Sha256).server_first(VECTORS[0].server_first.as_bytes()).unwrap();
    let credential = credential(ScramMechanism::Sha256, "pencil");
    let shown = format!("{:?} {verifier:?} {:?}", client(ScramMechanism::Sha256), credential.stored_key);
    assert!(!shown.contains("pencil") && shown.matches("[hidden]").count() == 3, "{shown}");
}

#[test]
fn users_and_passwords_must_be_given() {
    for (user, password) in [("", "p"), ("u", "")] {
        let error = ScramClient::start(ScramMechanism::Sha256, user, &Secret::new(password), false).unwrap_err();
        assert!(error.to_string().contains("SCRAM-SHA-256 needs"), "{error}");
    }
}

proptest! {
    #[test]
    fn f7_no_bytes_are_taken_for_the_right_signature(message in any::<Vec<u8>>(), text in "[ve]=[A-Za-z0-9+/=,]{0,60}") {
        for message in [&message[..], text.as_bytes()] {
            let verifier = ScramVerifier { mechanism: ScramMechanism::Sha256, expected: Key::new(vec![7; 32]) };
            prop_assert!(verifier.server_final(message).is_err());
        }
    }

    #[test]
    fn f7_any_message_is_read_or_refused(message in any::<Vec<u8>>(), text in "[rsicnpva=,0-9A-Z]{0,60}") {
        for message in [&message[..], text.as_bytes()] {
            let _ = client(ScramMechanism::Sha256).read_challenge(message);
            let _ = ScramFirst::read(ScramMechanism::Sha256, message);
            let signed = credential_for_reading();
            let (challenge, _) = ScramFirst::read(ScramMechanism::Sha256, b"n,,n=u,r=n").unwrap().challenge_with(signed, "m");
            prop_assert!(challenge.finish(message).is_err());
        }
    }

    #[test]
    fn f7_names_survive_escaping(user in "\\PC{1,20}|[=,23CD]{1,20}") {
        let (_, message) = ScramClient::start(ScramMechanism::Sha256, &user, &Secret::new("p"), false).unwrap();
        let read = ScramFirst::read(ScramMechanism::Sha256, &message).unwrap();
        prop_assert_eq!(read.user(), user.as_str());
    }
}

/// A credential that cost no iterations.
fn credential_for_reading() -> ScramCredential {
    let key = Key::new(vec![1; 32]);
    ScramCredential { salt: vec![1], iterations: MIN_ITERATIONS, stored_key: key.clone(), server_key: key }
}
