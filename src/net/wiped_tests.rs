//! Whether a secret leaves copies in memory. The client runs in a process of its own, and looks through all of that memory;
//! its peer is in another one, since what has come to a peer stays there.

use super::authentication_tests::{APIS, auth_bytes, begin, say};
use super::scripted::{Asked, Scripted, Session};
use super::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Security};
use crate::config::Properties;
use crate::sasl::scram::{MIN_ITERATIONS, ScramCredential, ScramFirst, ScramMechanism};
use crate::sasl::{OAuthBearerToken, Sasl};
use std::env;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const CASE: &str = "SARAMEYA_WIPED_CASE";
const PEER: &str = "SARAMEYA_WIPED_PEER";
const FILE: &str = "SARAMEYA_WIPED_FILE";
/// As long as tokens are; no buffer that had other things in it before has room for it.
const LENGTH: usize = 2000;
/// Memory that was given back has the allocator's marks at its beginning, so a part from the middle is looked for.
const PART: std::ops::Range<usize> = LENGTH / 2..LENGTH / 2 + 24;
/// So much is looked through at a time.
const STEP: usize = 1024 * 1024;

/// A letter of the secret, which nothing but the code that is tested ever holds as a whole.
fn letter(at: usize) -> u8 {
    let scattered = (at as u32).wrapping_mul(2_654_435_761) >> 16;
    b'a' + (scattered % 26) as u8
}

fn secret() -> String {
    let mut secret = String::with_capacity(LENGTH);
    secret.extend((0..LENGTH).map(|at| char::from(letter(at))));
    secret
}

/// How often the part stands in the memory of this process.
fn copies() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let memory = File::open("/proc/self/mem").unwrap();
    let mut window = vec![0; STEP + PART.len() - 1];
    // What is read is itself in this memory, and is left out.
    let own = window.as_ptr() as u64..window.as_ptr() as u64 + window.len() as u64;
    let mut copies = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (start, rest) = line.split_once('-').unwrap();
        let end = u64::from_str_radix(rest.split(' ').next().unwrap(), 16).unwrap();
        let start = u64::from_str_radix(start, 16).unwrap();
        for (start, end) in [(start, end.min(own.start)), (start.max(own.end), end)] {
            for at in (start..end).step_by(STEP) {
                let length = window.len().min((end - at) as usize);
                let window = &mut window[..length];
                if memory.read_exact_at(window, at).is_ok() {
                    copies += window.windows(PART.len()).filter(|bytes| is_part(bytes)).count();
                }
            }
        }
    }
    // Nor may it be found by the next look, in memory that was given back.
    window.fill(0);
    copies
}

fn is_part(bytes: &[u8]) -> bool {
    bytes[0] == letter(PART.start) && bytes.iter().zip(PART).all(|(byte, at)| *byte == letter(at))
}

fn sasl(case: &str) -> Sasl {
    match case {
        "PLAIN" => Sasl::plain("alice", secret()),
        "SCRAM-SHA-256" => Sasl::scram_sha_256("alice", secret()),
        "OAUTHBEARER" => Sasl::oauthbearer(OAuthBearerToken::new(secret())),
        "a file" => Sasl::from_properties(&Properties::from_file(env::var(FILE).unwrap()).unwrap()).unwrap(),
        other => panic!("{other}"),
    }
}

/// The client's process.
fn client(case: &str) {
    let sasl = sasl(case);
    assert_eq!(copies(), 1, "the one that is used");
    let address: SocketAddr = env::var(PEER).unwrap().parse().unwrap();
    let peer = Peer { node_id: 7, host: Arc::from(address.ip().to_string()), port: address.port() };
    let config = NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: Duration::from_secs(30),
        max_response_bytes: 1024 * 1024,
        dialer: Dialer::default(),
        epoch: Epoch::default(),
        security: Security { sasl: Some(sasl), ..Default::default() },
    };
    let deadline = Deadline::after(Duration::from_secs(30));
    let connection = Connection::dial(&peer, &config, &Interrupt::new().unwrap(), deadline).unwrap();
    assert_eq!(copies(), 1, "the one that is used, for what was sent is wiped");
    drop((connection, config));
    assert_eq!(copies(), 0, "nobody needs it any more");
}

/// The broker's side, from the first request of the exchange on.
fn serve(session: &mut Session, first: &Asked) {
    let message = auth_bytes(first);
    if let Ok(first_message) = ScramFirst::read(ScramMechanism::Sha256, &message) {
        let credential = ScramCredential::from_password(ScramMechanism::Sha256, &secret(), vec![1], MIN_ITERATIONS);
        let (challenge, answer) = first_message.challenge(credential).unwrap();
        say(session, first, &answer, 0);
        let last = session.request().unwrap();
        say(session, &last, &challenge.finish(&auth_bytes(&last)).unwrap(), 0);
    } else {
        assert!(message.windows(PART.len()).any(is_part), "the secret has come");
        say(session, first, b"", 0);
    }
    session.fall_silent();
}

#[test]
fn x10_no_copy_of_a_secret_stays_in_memory() {
    if let Ok(case) = env::var(CASE) {
        return client(&case);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.properties");
    let jaas = format!("PlainLoginModule required username=\"alice\" password=\"{}\";", secret());
    std::fs::write(&file, format!("sasl.mechanism=PLAIN\nsasl.jaas.config={jaas}\n")).unwrap();
    for case in ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "a file"] {
        let peer = Scripted::new(|session| {
            session.handshake(APIS);
            if let Some(first) = begin(session) {
                serve(session, &first);
            }
        });
        let child = Command::new(env::current_exe().unwrap())
            .args(["net::wiped_tests::x10_no_copy_of_a_secret_stays_in_memory", "--exact"])
            .envs([(CASE, case), (PEER, &peer.address().to_string())])
            .env(FILE, &file)
            .output()
            .unwrap();
        let said = [child.stdout, child.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(child.status.success() && said.contains("1 passed"), "{case}: {said}");
    }
}
