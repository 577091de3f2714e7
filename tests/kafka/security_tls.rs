//! TLS on real Kafka 4.3.0: each certificate and each mistake gives success or the error that names it, in time and once.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sarameya::{Client, ErrorKind, ProducerRecord, Properties, Result, SyncProducer, Tls, TlsVersion};

use crate::support::examples;
use crate::support::kafka::loopback;
use crate::support::pki::{Stores, write};
use crate::support::secured::Secured;
use crate::support::unique;

/// By when a connection that can't be made must have failed.
const SETUP: Duration = Duration::from_secs(10);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(120);

/// Sends a record and returns its offset, or why it could not be sent.
pub(crate) fn send(client: &Client) -> Result<i64> {
    let producer = SyncProducer::builder(client).build_sync()?;
    let topic = "security";
    let sent = producer.send(&ProducerRecord::new(topic).value("v")).map_err(|error| error.error().clone())?;
    Ok(sent.offset().expect("acks=all"))
}

fn connect(address: &str, tls: Tls) -> Result<Client> {
    Client::builder().bootstrap_servers(address).connection_setup_timeout(SETUP).tls(tls).build()
}

fn trusting(secured: &Secured) -> Tls {
    Tls::new().ca_file(&secured.ca)
}

/// Connects through a proxy that counts: refused with this kind and these words, once and in time.
#[track_caller]
fn assert_refused(secured: &Secured, listener: &str, tls: Tls, kind: ErrorKind, words: &str) {
    let relay = Relay::start(loopback(secured.cluster.port(listener)));
    let start = Instant::now();
    let error = connect(&format!("localhost:{}", relay.port), tls).expect_err(listener);
    assert!(start.elapsed() < SETUP + SLACK, "{listener}: {:?}", start.elapsed());
    assert_eq!(error.kind(), kind, "{listener}: {error}");
    assert!(error.to_string().contains(words), "{listener}: {error}");
    // Errors that pass are tried again with a pause, which makes some in ten seconds; others never.
    let at_most = if error.is_retriable() { 40 } else { 1 };
    let accepted = relay.accepted.load(Ordering::SeqCst);
    assert!(accepted <= at_most, "{listener}: {accepted} connections");
}

/// Counts connections and passes on their bytes, whatever they are. Its threads end with their connections, and with the
/// process.
struct Relay {
    port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Relay {
    fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        std::thread::spawn(move || {
            for outside in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(inside) = TcpStream::connect(target) else { continue };
                for (mut from, mut to) in [(&outside, &inside), (&inside, &outside)]
                    .map(|(from, to)| (from.try_clone().expect("a socket"), to.try_clone().expect("a socket")))
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
            }
        });
        Self { port, accepted }
    }
}

#[test]
fn l2_good_certificates_are_accepted_for_names_and_addresses_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let port = secured.cluster.port("TLS");
    for host in ["localhost", "127.0.0.1"] {
        send(&connect(&format!("{host}:{port}"), trusting(secured)).unwrap()).unwrap();
    }
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        send(&connect(&secured.address("TLS"), trusting(secured).versions([version])).unwrap()).unwrap();
    }
    let suites = trusting(secured).cipher_suites(["TLS_CHACHA20_POLY1305_SHA256"]);
    send(&connect(&secured.address("TLS"), suites).unwrap()).unwrap();
}

#[test]
fn l1_l2_l3_certificates_that_prove_nothing_are_refused_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let refused = |listener, tls, words| assert_refused(secured, listener, tls, ErrorKind::Tls, words);
    refused("EXPIRED", trusting(secured), "expired");
    refused("FUTURE", trusting(secured), "not valid yet");
    refused("OTHER", trusting(secured), "another name");
    refused("COMMON", trusting(secured), "another name");
    refused("FOREIGN", trusting(secured), "not trusted");
    refused("TLS", Tls::new().ca_file(&secured.foreign_ca), "not trusted");
    refused("TLS", Tls::new(), "not trusted");
    refused("FOREIGN", trusting(secured).danger_accept_any_host_name(), "not trusted");
    for (listener, tls) in [
        ("OTHER", trusting(secured).danger_accept_any_host_name()),
        ("COMMON", trusting(secured).danger_accept_any_host_name()),
        ("EXPIRED", Tls::new().danger_accept_any_certificate()),
        ("FOREIGN", Tls::new().danger_accept_any_certificate()),
    ] {
        send(&connect(&secured.address(listener), tls).unwrap()).unwrap_or_else(|error| panic!("{listener}: {error}"));
    }
}

#[test]
fn l2_a_broker_is_verified_by_the_name_it_advertises_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    // Its certificate is for localhost, and it says of itself that it is 127.0.0.1.
    let client = connect(&secured.address("NAMED"), trusting(secured)).unwrap();
    let error = send(&client).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    assert!(error.to_string().contains("another name"), "{error}");
    assert_eq!((error.broker(), error.address().map(|a| a.starts_with("127.0.0.1:"))), (Some(1), Some(true)));
}

#[test]
fn l5_client_certificates_are_shown_missed_and_refused_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let (good, foreign) = (&secured.client, &secured.foreign_client);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let tls = || trusting(secured).versions([version]);
        let shown = tls().identity_pem(good.certificate.clone(), good.key.clone());
        send(&connect(&secured.address("MUTUAL"), shown).unwrap()).unwrap();
        let refused = |tls| assert_refused(secured, "MUTUAL", tls, ErrorKind::Tls, "certificate");
        refused(tls());
        refused(tls().identity_pem(foreign.certificate.clone(), foreign.key.clone()));
    }
    // Nobody asked for it.
    let shown = trusting(secured).identity_pem(good.certificate.clone(), good.key.clone());
    send(&connect(&secured.address("TLS"), shown).unwrap()).unwrap();
}

#[test]
fn l4_plaintext_and_tls_do_not_meet_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let plaintext = secured.cluster.addresses()[0].port();
    let setup = Duration::from_secs(3);
    let builder =
        |port: u16| Client::builder().bootstrap_servers(format!("localhost:{port}")).connection_setup_timeout(setup);
    let start = Instant::now();
    let error = builder(plaintext).tls(trusting(secured)).build().unwrap_err();
    assert!(error.to_string().contains("is this a TLS port?"), "{error}");
    for listener in ["TLS", "MUTUAL", "SASLTLS"] {
        let error = builder(secured.cluster.port(listener)).build().unwrap_err();
        assert!(error.to_string().contains("looks like a TLS port"), "{error}");
    }
    assert!(start.elapsed() < 4 * setup + SLACK, "{:?}", start.elapsed());
}

#[test]
fn s8_certificates_are_rotated_while_the_client_runs_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let path = |name: &str| secured.directory.join(format!("{}-{name}", unique("rotated")));
    let (certificate, key) = (path("client.pem"), path("client.key"));
    let put = |issued: &crate::support::pki::Issued| {
        std::fs::write(&certificate, &issued.certificate).unwrap();
        std::fs::write(&key, &issued.key).unwrap();
    };
    put(&secured.client);
    let client = connect(&secured.address("MUTUAL"), trusting(secured).identity_files(&certificate, &key)).unwrap();
    send(&client).unwrap();
    // A new producer dials again: with what the files hold now.
    put(&secured.foreign_client);
    assert_eq!(send(&client).unwrap_err().kind(), ErrorKind::Tls);
    put(&secured.client);
    send(&client).unwrap();
    std::fs::write(&key, "half").unwrap();
    send(&client).unwrap();
}

#[test]
#[cfg_attr(not(feature = "stores"), ignore = "takes --features stores")]
fn a_file_of_settings_works_with_kafkas_tools_and_with_the_examples_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let store = secured.client.write(&secured.directory, &unique("store"));
    let inline = |text: &str| text.trim().replace('\n', " ");
    let stores = |kind: &str, key: &str| {
        let stores = Stores::make(kind, &secured.directory, &secured.ca, &secured.client, "store-secret", key);
        format!(
            "ssl.truststore.location={}\nssl.truststore.password=store-secret\nssl.keystore.location={}\n\
             ssl.keystore.password=store-secret\nssl.key.password={key}\n",
            stores.trusted.display(),
            stores.identity.display()
        )
    };
    for (what, settings) in [
        ("jks", stores("JKS", "key-secret")),
        (
            "pkcs12",
            format!("{}ssl.truststore.type=PKCS12\nssl.keystore.type=PKCS12\n", stores("PKCS12", "store-secret")),
        ),
        (
            "files",
            format!(
                "ssl.truststore.type=PEM\nssl.truststore.location={}\nssl.keystore.type=PEM\nssl.keystore.location={}\n",
                secured.ca.display(),
                store.display()
            ),
        ),
        (
            "inline",
            format!(
                "ssl.truststore.type=PEM\nssl.truststore.certificates={}\nssl.keystore.type=PEM\n\
                 ssl.keystore.certificate.chain={}\nssl.keystore.key={}\nssl.enabled.protocols=TLSv1.2,TLSv1.3\n\
                 ssl.protocol=TLSv1.3\nssl.endpoint.identification.algorithm=https\n",
                inline(&std::fs::read_to_string(&secured.ca).unwrap()),
                inline(&secured.client.certificate),
                inline(&secured.client.key)
            ),
        ),
    ] {
        let file = write(&secured.directory, &unique(what), &format!("security.protocol=SSL\n{settings}"));
        let (file, topic) = (file.display().to_string(), unique("settings"));
        // As it stands in listeners, which Kafka's tools take.
        let address = format!("SSL://{}", secured.address("MUTUAL"));
        let arguments = ["--bootstrap-server", &address, "--command-config", &file, "--topic", &topic];
        secured.cluster.create_topic(&topic, 1);
        let sent = examples::spawn("sync_producer", &[&arguments[..], &["--key", "k", "--value", "ours"]].concat());
        sent.finish(LIMIT).success();
        secured.cluster.tools().console_producer(&arguments, "theirs\n");
        let read = [&arguments[..], &["--from-beginning", "--max-messages", "2"]].concat();
        let theirs = secured.cluster.tools().console_consumer(&read);
        let ours = examples::spawn("console_consumer", &read).finish(LIMIT).success();
        for output in [theirs, ours] {
            assert_eq!(output.lines().collect::<Vec<_>>(), ["ours", "theirs"], "{what}");
        }
        let client = Client::builder().bootstrap_servers(&address).properties(&Properties::from_file(&file).unwrap());
        send(&client.unwrap().build().unwrap()).unwrap();
    }
}

#[test]
#[cfg_attr(not(feature = "stores"), ignore = "takes --features stores")]
fn l5_an_encrypted_key_in_pem_is_shown_with_its_password_4_3_0() {
    require_kafka!();
    let secured = Secured::shared();
    let store = format!("{}{}", secured.client.encrypted_key("key-secret"), secured.client.certificate);
    let store = write(&secured.directory, &unique("encrypted"), &store);
    let settings = |password: &str| -> Properties {
        let text = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\nssl.keystore.type=PEM\n\
             ssl.keystore.location={}\nssl.key.password={password}\n",
            secured.ca.display(),
            store.display()
        );
        text.parse().unwrap()
    };
    let build = |password: &str| {
        let builder = Client::builder().bootstrap_servers(secured.address("MUTUAL"));
        builder.properties(&settings(password)).unwrap().build()
    };
    send(&build("key-secret").unwrap()).unwrap();
    let error = build("hunter2").unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Config, Some("ssl.keystore.location")), "{error}");
    assert!(error.to_string().contains("ssl.key.password") && !error.to_string().contains("hunter2"), "{error}");
}
