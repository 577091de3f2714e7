//! Whether what a connection authenticates with leaves copies in memory.

use super::authentication_tests::{APIS, auth_bytes, begin, say};
use super::scripted::{Asked, Scripted, Session};
use super::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Security};
use crate::config::Properties;
use crate::copies::{self, Masked, secret};
use crate::sasl::scram::{MIN_ITERATIONS, ScramClient, ScramCredential, ScramFirst, ScramMechanism};
use crate::sasl::{OAuthBearerToken, Sasl, Secret};
use crossbeam_channel::bounded;
use std::any::Any;
use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const PEER: &str = "SARAMEYA_WIPED_PEER";
const FILE: &str = "SARAMEYA_WIPED_FILE";
const KEYS: &str = "SARAMEYA_WIPED_KEYS";
const CA: &str = "SARAMEYA_WIPED_CA";
const OWN: &str = "net::wiped_tests::x10_no_copy_of_a_secret_stays_in_memory";
const SALT: [u8; 1] = [1];

fn sasl(case: &str) -> Sasl {
    match case {
        "PLAIN" | "PLAIN over TLS" => Sasl::plain("alice", secret()),
        "SCRAM-SHA-256" => Sasl::scram_sha_256("alice", secret()),
        "OAUTHBEARER" => Sasl::oauthbearer(OAuthBearerToken::new(secret())),
        "a file" => Sasl::from_properties(&Properties::from_file(env::var(FILE).unwrap()).unwrap()).unwrap(),
        other => panic!("{other}"),
    }
}

fn security(case: &str) -> Security {
    #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "nothing else is set"))]
    let mut security = Security { sasl: Some(sasl(case)), ..Default::default() };
    #[cfg(feature = "tls")]
    if case.ends_with("TLS") {
        let tls = crate::Tls::new().ca_pem(env::var(CA).unwrap());
        security.tls = Some(Arc::new(super::TlsConnector::new(&tls).unwrap()));
    }
    security
}

/// What SCRAM's work leaves behind on the stack, which keeps it as long as nothing else is called there.
fn hashing() {
    let keys: Vec<Masked> = env::var(KEYS).unwrap().split(' ').map(Masked::from_hex).collect();
    let password = Secret::new(secret());
    let mechanism = ScramMechanism::Sha256;
    let check = |work: fn(ScramClient) -> Box<dyn Any>, expected: [usize; 5]| {
        let client = ScramClient::start_with(mechanism, "alice", &password, false, "nonce".into()).unwrap().0;
        let ((done, is_done), (end, ends)) = (bounded(1), bounded::<()>(1));
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let result = work(client);
                done.send(()).unwrap();
                let _ = ends.recv();
                drop(result);
            });
            is_done.recv().unwrap();
            let copies: Vec<usize> = keys.iter().map(Masked::copies).collect();
            assert_eq!(copies, expected);
            drop(end);
        });
    };
    check(|_| Box::new(ScramMechanism::Sha256.salted_password(&secret(), &SALT, MIN_ITERATIONS)), [0, 1, 0, 0, 0]);
    let challenged = |client: ScramClient| -> Box<dyn Any> {
        let challenge = format!("r=noncemore,s=AQ==,i={MIN_ITERATIONS}");
        Box::new(client.server_first(challenge.as_bytes()).unwrap())
    };
    check(challenged, [0; 5]);
}

/// The client's process.
fn client(case: &str) {
    let looked_for = Masked::secret();
    let security = security(case);
    assert_eq!(looked_for.copies(), 1, "the one that is used");
    let address: SocketAddr = env::var(PEER).unwrap().parse().unwrap();
    let peer = Peer { node_id: 7, host: Arc::from(address.ip().to_string()), port: address.port() };
    let config = NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: Duration::from_secs(30),
        max_response_bytes: 1024 * 1024,
        dialer: Dialer::default(),
        epoch: Epoch::default(),
        security,
    };
    let deadline = Deadline::after(Duration::from_secs(30));
    let connection = Connection::dial(&peer, &config, &Interrupt::new().unwrap(), deadline).unwrap();
    assert_eq!(looked_for.copies(), 1, "the one that is used, for what was sent is wiped");
    for (at, key) in env::var(KEYS).unwrap().split(' ').enumerate() {
        assert_eq!(Masked::from_hex(key).copies(), 0, "key {at} of SCRAM");
    }
    drop((connection, config));
    assert_eq!(looked_for.copies(), 0, "nobody needs it any more");
}

/// The broker's side, from the first request of the exchange on.
fn serve(session: &mut Session, first: &Asked) {
    let message = auth_bytes(first);
    if let Ok(first_message) = ScramFirst::read(ScramMechanism::Sha256, &message) {
        let mechanism = ScramMechanism::Sha256;
        let credential = ScramCredential::from_password(mechanism, &secret(), SALT.into(), MIN_ITERATIONS);
        let (challenge, answer) = first_message.challenge(credential).unwrap();
        say(session, first, &answer, 0);
        let last = session.request().unwrap();
        say(session, &last, &challenge.finish(&auth_bytes(&last)).unwrap(), 0);
    } else {
        assert!(Masked::secret().is_in(&message), "the secret has come");
        say(session, first, b"", 0);
    }
    session.fall_silent();
}

#[test]
fn x10_no_copy_of_a_secret_stays_in_memory() {
    match copies::case().as_deref() {
        None => {}
        Some("hashing") => return hashing(),
        Some(case) => return client(case),
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.properties");
    let jaas = format!("PlainLoginModule required username=\"alice\" password=\"{}\";", secret());
    std::fs::write(&file, format!("sasl.mechanism=PLAIN\nsasl.jaas.config={jaas}\n")).unwrap();
    let keys = copies::keys(&SALT, MIN_ITERATIONS).map(|key| key.to_hex()).join(" ");
    copies::run(OWN, "hashing", &[(KEYS, &keys)]);
    let over_tls = cfg!(feature = "tls").then_some("PLAIN over TLS");
    for case in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "a file"].into_iter().chain(over_tls) {
        let peer = Scripted::new(|session| {
            session.handshake(APIS);
            if let Some(first) = begin(session) {
                serve(session, &first);
            }
        });
        #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "nothing stands in front of it"))]
        let (mut address, mut ca) = (peer.address(), String::new());
        #[cfg(feature = "tls")]
        if case.ends_with("TLS") {
            (address, ca) = super::tls_in_front_of(address);
        }
        let variables = [(PEER, &*address.to_string()), (FILE, file.to_str().unwrap()), (KEYS, &keys), (CA, &ca)];
        copies::run(OWN, case, &variables);
    }
}
