//! This crate's client against the listeners with TLS and SASL.

use super::{Bare, LIMIT, eventually};
use crate::embedded::{Cluster, Listener};
use crate::protocol::messages::ApiKey;
use crate::{Client, ErrorKind, Sasl, SyncProducer, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::time::Duration;

/// An authority's certificate, and one that it has issued for the brokers with its key.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn issue(&self, name: &str) -> (String, String) {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn listener(&self, name: &str) -> Listener {
        let (certificate, key) = self.issue("127.0.0.1");
        Listener::new(name).tls(&certificate, &key)
    }

    fn trusted(&self) -> Tls {
        Tls::new().ca_pem(self.authority.pem())
    }
}

fn client(cluster: &Cluster, listener: &str, tls: Tls) -> crate::Result<Client> {
    let servers = cluster.bootstrap_servers_of(listener)?;
    Client::builder().bootstrap_servers(servers).tls(tls).request_timeout(Duration::from_secs(20)).build()
}

#[test]
fn a_client_produces_over_tls_and_the_answers_to_parked_requests_come() {
    let certificates = Certificates::new();
    let cluster = Cluster::builder(2).listener(certificates.listener("SSL")).start().unwrap();
    cluster.create_topic("t", 2).unwrap();
    cluster.delay(ApiKey::PRODUCE, Duration::from_millis(5));
    let client = client(&cluster, "SSL", certificates.trusted()).unwrap();
    let producer = SyncProducer::builder(&client).build_sync().unwrap();
    let large = vec![7; 700_000];
    for _ in 0..3 {
        producer.send(&crate::ProducerRecord::new("t").partition(0).value(&large)).unwrap();
    }
    assert_eq!(cluster.records("t", 0).unwrap().len(), 3);
    // A slow answer is cut into records of its own and is whole all the same.
    cluster.slow_drip(ApiKey::PRODUCE, 5, Duration::from_millis(1));
    producer.send(&crate::ProducerRecord::new("t").partition(0).value("v")).unwrap();
    producer.close(LIMIT).unwrap();
    drop(client);
    eventually("the end of all connections", || cluster.connections(1) + cluster.connections(2) == 0);
}

#[test]
fn plain_text_and_strangers_certificates_do_not_get_in() {
    let (certificates, strangers) = (Certificates::new(), Certificates::new());
    let mutual = certificates.listener("MUTUAL").client_ca(&certificates.authority.pem());
    let cluster = Cluster::builder(1).listener(certificates.listener("SSL")).listener(mutual).start().unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    assert_eq!(bare.ask(18, 0, &[]).map(|answer| answer.len()), None);
    assert_eq!(client(&cluster, "SSL", strangers.trusted()).unwrap_err().kind(), ErrorKind::Tls);
    assert!(client(&cluster, "SSL", certificates.trusted()).is_ok());
    assert!(client(&cluster, "MUTUAL", certificates.trusted()).is_err(), "without a certificate");
    let (certificate, key) = strangers.issue("stranger");
    assert!(client(&cluster, "MUTUAL", certificates.trusted().identity_pem(certificate, key)).is_err());
    let (certificate, key) = certificates.issue("friend");
    client(&cluster, "MUTUAL", certificates.trusted().identity_pem(certificate, key)).unwrap();
}

#[test]
fn a_client_authenticates_over_tls_and_again_when_its_session_ends() {
    let certificates = Certificates::new();
    let listener = certificates.listener("SASL_SSL").sasl(&["PLAIN", "SCRAM-SHA-512"]);
    let cluster = Cluster::builder(1).listener(listener).user("alice", "secret");
    let cluster = cluster.set("connections.max.reauth.ms", "300").start().unwrap();
    cluster.create_topic("t", 1).unwrap();
    let with = |sasl| {
        let builder = Client::builder().bootstrap_servers(cluster.bootstrap_servers()).tls(certificates.trusted());
        builder.sasl(sasl).build()
    };
    assert_eq!(with(Sasl::plain("alice", "wrong")).unwrap_err().kind(), ErrorKind::Authentication);
    assert_eq!(with(Sasl::scram_sha_256("alice", "secret")).unwrap_err().kind(), ErrorKind::Authentication);
    for sasl in [Sasl::plain("alice", "secret"), Sasl::scram_sha_512("alice", "secret")] {
        let client = with(sasl).unwrap();
        let producer = SyncProducer::builder(&client).build_sync().unwrap();
        // Until the producer's connection has authenticated a second time.
        cluster.clear_requests();
        eventually("a second authentication on one connection", || {
            producer.send(&crate::ProducerRecord::new("t").value("v")).unwrap();
            let produce = cluster.requests(ApiKey::PRODUCE);
            let by = produce.last().map(|request| request.connection());
            let handshakes = cluster.requests(ApiKey::SASL_HANDSHAKE);
            handshakes.iter().filter(|request| Some(request.connection()) == by).count() >= 2
        });
        producer.close(LIMIT).unwrap();
    }
}

#[test]
fn certificates_that_can_not_be_used_are_refused_at_the_start() {
    let certificates = Certificates::new();
    let (certificate, key) = certificates.issue("127.0.0.1");
    let refused = |listener| Cluster::builder(1).listener(listener).start().unwrap_err().to_string();
    assert!(refused(Listener::new("L").tls("nonsense", &key)).contains("ssl.keystore.certificate.chain"));
    assert!(refused(Listener::new("L").tls(&certificate, "nonsense")).contains("ssl.keystore.key"));
    assert!(refused(Listener::new("L").tls(&certificate, &certificates.issue("x").1)).contains("ssl.keystore.key"));
    assert!(refused(Listener::new("L").client_ca(&certificates.authority.pem())).contains("ssl.client.auth"));
    assert!(refused(certificates.listener("L").client_ca("x")).contains("ssl.truststore.certificates"));
}
