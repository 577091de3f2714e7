//! Several listeners, and who may come in by them.

use super::Bare;
use crate::embedded::{Cluster, Listener};
use crate::protocol::messages::{MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use crate::{Client, ErrorKind, OAuthBearerToken, Sasl};
use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use std::time::{SystemTime, UNIX_EPOCH};

fn cluster() -> Cluster {
    let clients = Listener::new("CLIENTS").sasl(&["PLAIN"]);
    let builder = Cluster::builder(2).listener(Listener::new("INTERNAL")).listener(clients);
    builder.user("alice", "secret").start().unwrap()
}

fn by(cluster: &Cluster, listener: &str) -> Bare {
    Bare::to(cluster.bootstrap_servers_of(listener).unwrap().split(',').next().unwrap())
}

/// The ports of the brokers, as Metadata tells them.
fn told(bare: &mut Bare) -> Vec<String> {
    let response = bare.call(9, &MetadataRequest::default()).unwrap();
    response.brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port)).collect()
}

#[test]
fn a_client_is_told_the_ports_of_the_listener_it_asked() {
    let cluster = cluster();
    let of = |listener| cluster.bootstrap_servers_of(listener).unwrap();
    assert_eq!(cluster.bootstrap_servers(), of("INTERNAL"));
    assert!(cluster.bootstrap_servers_of("OTHER").is_err());
    assert_eq!(told(&mut by(&cluster, "INTERNAL")).join(","), of("INTERNAL"));
    let mut bare = by(&cluster, "CLIENTS");
    bare.call(1, &SaslHandshakeRequest { mechanism: "PLAIN".into() }).unwrap();
    let auth_bytes = Bytes::from_static(b"\0alice\0secret");
    assert_eq!(bare.call(2, &SaslAuthenticateRequest { auth_bytes }).unwrap().error_code, 0);
    assert_eq!(told(&mut bare).join(","), of("CLIENTS"));
    assert_ne!(of("CLIENTS"), of("INTERNAL"));
    cluster.stop_broker(1);
    assert!(bare.is_closed());
    cluster.start_broker(1).unwrap();
    assert_eq!(told(&mut by(&cluster, "INTERNAL")).len(), 2);
}

#[test]
fn who_does_not_authenticate_is_closed_and_so_is_who_fails() {
    let cluster = cluster();
    assert_eq!(by(&cluster, "CLIENTS").call(9, &MetadataRequest::default()), None);
    let mut bare = by(&cluster, "CLIENTS");
    bare.call(1, &SaslHandshakeRequest { mechanism: "PLAIN".into() }).unwrap();
    let auth_bytes = Bytes::from_static(b"\0alice\0wrong");
    assert_eq!(bare.call(2, &SaslAuthenticateRequest { auth_bytes }).unwrap().error_code, 58);
    assert!(bare.is_closed(), "after the answer");
    let mut bare = by(&cluster, "CLIENTS");
    assert_eq!(bare.call(1, &SaslHandshakeRequest { mechanism: "SCRAM-SHA-256".into() }).unwrap().error_code, 33);
    assert!(bare.is_closed());
}

#[test]
fn bare_tokens_follow_a_handshake_of_version_0() {
    let cluster = cluster();
    let mut bare = by(&cluster, "CLIENTS");
    bare.call(0, &SaslHandshakeRequest { mechanism: "PLAIN".into() }).unwrap();
    bare.write(b"\0\0\0\x0d\0alice\0secret");
    assert!(bare.read().unwrap().is_empty());
    assert_eq!(told(&mut bare).len(), 2);
    let mut bare = by(&cluster, "CLIENTS");
    bare.call(0, &SaslHandshakeRequest { mechanism: "PLAIN".into() }).unwrap();
    bare.write(b"\0\0\0\x0c\0alice\0wrong");
    assert_eq!(bare.read(), None);
}

#[test]
fn what_can_not_be_served_is_refused_at_the_start() {
    let setting = |mechanisms: &[&str]| {
        let started = Cluster::builder(1).listener(Listener::new("L").sasl(mechanisms)).start();
        started.unwrap_err().to_string()
    };
    assert!(setting(&["GSSAPI"]).contains("GSSAPI"));
    assert!(setting(&[]).contains("no mechanism"));
    assert!(Cluster::builder(3).port(65_534).start().unwrap_err().to_string().contains("ports"));
}

#[test]
fn a_token_without_a_signature_lets_in_by_oauthbearer_until_it_expires() {
    let clients = Listener::new("CLIENTS").sasl(&["OAUTHBEARER"]);
    let cluster = Cluster::builder(1).listener(clients).start().unwrap();
    let connect = |expires: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        let claims = encode(&format!(r#"{{"sub":"alice","exp":{}}}"#, now.saturating_add_signed(expires)));
        let token = format!("{}.{claims}.", encode(r#"{"alg":"none"}"#));
        let provider = move || -> crate::Result<_> { Ok(OAuthBearerToken::new(token.clone())) };
        let builder = Client::builder().bootstrap_servers(cluster.bootstrap_servers());
        builder.sasl(Sasl::oauthbearer(provider)).build()
    };
    let client = connect(3600).unwrap();
    cluster.create_topic("t", 1).unwrap();
    assert_eq!(client.partition_count("t").unwrap(), 1);
    let error = connect(-1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    assert!(error.to_string().contains("invalid_token"), "{error}");
}
