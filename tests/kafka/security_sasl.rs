//! SASL on real Kafka 4.3.0: every mechanism with the right and the wrong secret, renewed sessions under load, delegation
//! tokens, and nothing secret in what is printed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sarameya::{
    Client, ConsumerGroup, ConsumerGroupClaim, ConsumerGroupSession, Credentials, ErrorCode, ErrorKind,
    OAuthBearerToken, Producer, ProducerRecord, Result, Sasl, StartOffset, StopHandle, Tls,
};

use crate::security_tls::send;
use crate::support::examples;
use crate::support::kafka::loopback;
use crate::support::pki::write;
use crate::support::proxy::Proxy;
use crate::support::secured::{ALICE, BOB, REAUTH, Secured, escaped, properties_escaped};
use crate::support::{heavy, unique, wait_until};

const SETUP: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(120);

fn connect(address: &str, tls: Option<Tls>, sasl: Sasl) -> Result<Client> {
    let builder = Client::builder().bootstrap_servers(address).connection_setup_timeout(SETUP).sasl(sasl);
    match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    }
    .build()
}

/// A token that nobody has signed, valid for an hour from `issued` on.
pub(crate) fn token(subject: &str, issued: SystemTime) -> OAuthBearerToken {
    let seconds = issued.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"sub\":\"{subject}\",\"iat\":{seconds},\"exp\":{}}}", seconds + 3600);
    OAuthBearerToken::new(format!("{}.{}.", base64url(b"{\"alg\":\"none\"}"), base64url(claims.as_bytes())))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char;
            text.push(if i > chunk.len() { '=' } else { digit });
        }
    }
    text
}

fn base64url(bytes: &[u8]) -> String {
    base64(bytes).replace('+', "-").replace('/', "_").replace('=', "")
}

pub(crate) fn mechanisms(user: &str, password: &str) -> [Sasl; 3] {
    [Sasl::plain(user, password), Sasl::scram_sha_256(user, password), Sasl::scram_sha_512(user, password)]
}

#[test]
fn s1_each_mechanism_is_accepted_with_the_right_secret_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let tls = || Tls::new().ca_file(&secured.ca);
    for (listener, tls) in [("SASL", None), ("SASLTLS", Some(tls()))] {
        let all = mechanisms("alice", ALICE).into_iter().chain(mechanisms("bob", BOB));
        for sasl in all.chain([Sasl::oauthbearer(token("alice", SystemTime::now()))]) {
            let what = format!("{listener}: {sasl:?}");
            let client = connect(&secured.address(listener), tls.clone(), sasl);
            let client = client.unwrap_or_else(|error| panic!("{what}: {error}"));
            send(&client).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

#[test]
fn s1_wrong_secrets_are_refused_once_and_do_not_show_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let wrong = mechanisms("alice", "hunter2").into_iter().chain(mechanisms("mallory", "hunter2"));
    let expired = token("hunter2", SystemTime::now() - Duration::from_secs(7200));
    for sasl in wrong.chain([Sasl::oauthbearer(expired)]) {
        let what = sasl.mechanism();
        let proxy = Proxy::start(loopback(secured.cluster.port("SASL")));
        let start = Instant::now();
        let address = format!("localhost:{}", proxy.address().port());
        let error = connect(&address, None, sasl).expect_err(what);
        assert!(start.elapsed() < SETUP, "{what}: {:?}", start.elapsed());
        assert_eq!(error.kind(), ErrorKind::Authentication, "{what}: {error}");
        assert_eq!(error.code(), Some(ErrorCode::SASL_AUTHENTICATION_FAILED), "{what}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(what) && !text.contains("hunter2"), "{what}: {text}");
        assert_eq!(proxy.accepted(), 1, "{what}");
    }
}

#[test]
fn s2_a_listener_with_other_mechanisms_or_none_is_named_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let error = connect(&secured.address("ONLYPLAIN"), None, Sasl::scram_sha_256("alice", ALICE)).unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Authentication, Some("sasl.mechanism")));
    assert!(error.to_string().contains("it takes: PLAIN"), "{error}");
    let plaintext = secured.cluster.bootstrap();
    let error = connect(&plaintext, None, Sasl::plain("alice", ALICE)).unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Authentication, Some("security.protocol")), "{error}");
    let error = connect(&secured.address("SASLTLS"), None, Sasl::plain("alice", ALICE)).unwrap_err();
    assert!(error.to_string().contains("looks like a TLS port"), "{error}");
    let setup = Duration::from_secs(3);
    let without = Client::builder().bootstrap_servers(secured.address("SASL")).connection_setup_timeout(setup);
    let error = without.build().unwrap_err();
    assert!(error.to_string().contains("SASL"), "{error}");
}

#[test]
fn s8_a_provider_is_asked_for_each_connection_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    static GOOD: AtomicBool = AtomicBool::new(true);
    let provider = || -> std::result::Result<Credentials, std::convert::Infallible> {
        Ok(Credentials::new("alice", if GOOD.load(Ordering::SeqCst) { ALICE } else { "rotated away" }))
    };
    let client = connect(&secured.address("SASL"), None, Sasl::scram_sha_512_with(provider)).unwrap();
    send(&client).unwrap();
    GOOD.store(false, Ordering::SeqCst);
    assert_eq!(send(&client).unwrap_err().kind(), ErrorKind::Authentication);
    GOOD.store(true, Ordering::SeqCst);
    send(&client).unwrap();
}

/// Ends the consumption of a group when it is dropped.
struct StopAtEnd<'a>(&'a StopHandle);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn s7_sessions_are_renewed_under_load_and_nobody_notices_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let _heavy = heavy();
    let address = secured.address("REAUTH");
    for sasl in [Sasl::scram_sha_256("alice", ALICE), Sasl::oauthbearer(token("alice", SystemTime::now()))] {
        let topic = unique("reauth");
        secured.cluster.create_topic(&topic, 3);
        let client = connect(&address, None, sasl).unwrap();
        let group_id = unique("reauth");
        let mut group = ConsumerGroup::builder(&client, &group_id).start(StartOffset::Earliest).build().unwrap();
        let (stop, errors) = (group.stop_handle(), group.errors());
        let (ready, read) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let handler = |session: &ConsumerGroupSession, claim: &mut ConsumerGroupClaim| {
            ready.fetch_add(1, Ordering::SeqCst);
            for record in claim {
                session.mark(&record?);
                read.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            // Also when an assertion fails, or the scope would wait for the consumer.
            let stop = StopAtEnd(&stop);
            let consuming = scope.spawn(|| group.consume(&[&topic], &handler));
            wait_until("three claims", LIMIT, || ready.load(Ordering::SeqCst) == 3);
            let producer = Producer::builder(&client).linger(Duration::ZERO).build().unwrap();
            let mut deliveries = Vec::new();
            let end = Instant::now() + 4 * REAUTH;
            while Instant::now() < end {
                let record = ProducerRecord::new(&topic).partition(deliveries.len() as i32 % 3).value("v");
                deliveries.push(producer.send(&record).unwrap());
                std::thread::sleep(Duration::from_micros(500));
            }
            let sent = deliveries.len();
            for delivery in deliveries {
                delivery.wait().unwrap();
            }
            wait_until("all records read", LIMIT, || read.load(Ordering::SeqCst) >= sent);
            drop(stop);
            consuming.join().unwrap().unwrap();
            assert_eq!(read.load(Ordering::SeqCst), sent, "each record once");
        });
        assert!(errors.try_next().is_none(), "no error in the background");
    }
}

#[test]
fn s7_a_renewed_connection_lives_on_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let text = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config={}\n",
        jaas("scram.ScramLoginModule", "alice", ALICE, "")
    );
    let file = write(&secured.directory, &unique("renewed"), &text).display().to_string();
    let address = secured.address("REAUTH");
    // 20 s, four times as long as a session.
    let arguments = ["--bootstrap-server", &address, "--command-config", &file, "--topic", "security"];
    let arguments = [&arguments[..], &["--max-messages", "2000", "--throughput", "100"]].concat();
    let producer = examples::spec("verifiable_producer").args(arguments).env("RUST_LOG", "debug");
    let output = producer.spawn().finish(LIMIT).success();
    let count = |words: &str| output.stderr.lines().filter(|line| line.contains(words)).count();
    let (connected, authenticated) = (count("connected to"), count("authenticated with"));
    // A broker closes a connection whose session has ended at its next request, and another one would be made.
    assert!(connected <= 4, "{connected} connections\n{}", output.stderr);
    assert!(authenticated >= connected + 3, "{authenticated} authentications of {connected} connections");
}

#[test]
fn a_delegation_token_authenticates_by_scram_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let settings = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config={}\n",
        jaas("scram.ScramLoginModule", "alice", ALICE, "")
    );
    let file = write(&secured.directory, &unique("alice"), &settings).display().to_string();
    let address = secured.address("SASL");
    let arguments =
        ["--create", "--max-life-time-period", "-1", "--bootstrap-server", &address, "--command-config", &file];
    let tool = "org.apache.kafka.tools.DelegationTokenCommand";
    let made = secured.cluster.tools().run(tool, &arguments).success();
    let row = made.lines().last().expect("a token").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let sasl = Sasl::scram_sha_256(&row[0], &row[1]).delegation_token();
    // The broker that made it is not the one to know it first.
    wait_until("the token is known", LIMIT, || connect(&address, None, sasl.clone()).is_ok());
    send(&connect(&address, None, sasl).unwrap()).unwrap();
    let unmarked = connect(&address, None, Sasl::scram_sha_256(&row[0], &row[1]));
    assert_eq!(unmarked.unwrap_err().kind(), ErrorKind::Authentication);
    // By Kafka's setting for it.
    let text = format!(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config={}\n",
        jaas("scram.ScramLoginModule", &row[0], &row[1], " tokenauth=true")
    );
    let client = Client::builder().bootstrap_servers(&address).properties(&text.parse().unwrap()).unwrap();
    send(&client.build().unwrap()).unwrap();
}

/// A value of `sasl.jaas.config` in a properties file.
fn jaas(module: &str, user: &str, password: &str, more: &str) -> String {
    let package = "org.apache.kafka.common.security";
    let (user, password) = (escaped(user), escaped(password));
    properties_escaped(&format!("{package}.{module} required username=\"{user}\" password=\"{password}\"{more};"))
}

/// Every way in which a secret could be written.
pub(crate) fn encodings(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list = format!("{bytes:?}");
    // Base64 at each place in a group of three, without the characters that its neighbours change.
    let inside = (0..3).map(|shift| {
        let shifted = base64(&[&vec![0; shift], bytes].concat());
        shifted.trim_end_matches('=')[4..shifted.len() - 4].to_owned()
    });
    let plain = [secret.to_owned(), hex.to_uppercase(), hex, list[1..list.len() - 1].to_owned()];
    plain.into_iter().chain(inside).collect()
}

#[test]
fn x10_nothing_secret_is_printed_at_trace_level_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let tls = format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", secured.ca.display());
    for (mechanism, module) in [
        ("PLAIN", "plain.PlainLoginModule"),
        ("SCRAM-SHA-256", "scram.ScramLoginModule"),
        ("SCRAM-SHA-512", "scram.ScramLoginModule"),
    ] {
        for (listener, protocol) in [("SASL", "SASL_PLAINTEXT"), ("SASLTLS", "SASL_SSL")] {
            for (password, succeeds) in [(ALICE, true), ("hunter2-hunter2-hunter2", false)] {
                let text = format!(
                    "security.protocol={protocol}\nsasl.mechanism={mechanism}\n{tls}sasl.jaas.config={}\n",
                    jaas(module, "alice", password, "")
                );
                let file = write(&secured.directory, &unique("secret"), &text).display().to_string();
                let address = secured.address(listener);
                let arguments = ["--bootstrap-server", &address, "--command-config", &file];
                let arguments = [&arguments[..], &["--topic", "security", "--key", "k", "--value", "v"]].concat();
                let example = examples::spec("sync_producer").args(arguments).env("RUST_LOG", "trace");
                let output = example.spawn().finish(LIMIT);
                assert_eq!(output.status.success(), succeeds, "{mechanism} {protocol}: {output:?}");
                let printed = format!("{}{}", output.stdout, output.stderr);
                assert!(printed.contains("TRACE") && printed.contains("SaslAuthenticate"), "{printed}");
                for encoded in encodings(password) {
                    assert!(!printed.contains(&encoded), "{mechanism} {protocol} printed {encoded}");
                }
            }
        }
    }
}
