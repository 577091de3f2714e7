//! Sessions against rustls as a server, in memory and over sockets.

use super::TlsConnector;
use super::session::Session;
use crate::config::{Tls, TlsVersion};
#[cfg(target_os = "linux")]
use crate::copies::{self, Masked};
use crate::logged::logged;
use crate::net::scripted::{Reply, Scripted};
use crate::net::{Connection, Deadline, Dialer, Epoch, Interrupt, NetConfig, Peer, Readiness, Security, Waker};
use crate::protocol::Request;
use crate::protocol::messages::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use crate::{Error, ErrorKind, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const METADATA: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 12)];

/// A certificate authority and what it issues.
pub(in crate::net) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(in crate::net) struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    pub(in crate::net) fn new() -> Self {
        Self::named(&format!("authority {}", fastrand::u64(..)))
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(in crate::net) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(in crate::net) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Issued { certificate: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// A server with this certificate; with `clients` it wants one from the client too, issued by that authority.
pub(in crate::net) fn server(issued: &Issued, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = super::provider::provider().unwrap();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// Speaks TLS for a plaintext peer, one request and answer after the other, until the test's process ends. Returns where, and
/// the authority to trust for it.
pub(crate) fn in_front_of(peer: SocketAddr) -> (SocketAddr, String) {
    fn frame(from: &mut impl Read) -> std::io::Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        from.read_exact(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        frame.resize(4 + length as usize, 0);
        from.read_exact(&mut frame[4..])?;
        Ok(frame)
    }
    let authority = Authority::new();
    let config = server(&authority.issue(&["127.0.0.1"]), None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut upstream = TcpStream::connect(peer).unwrap();
            let mut tls = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket.unwrap());
            std::thread::spawn(move || -> std::io::Result<()> {
                loop {
                    upstream.write_all(&frame(&mut tls)?)?;
                    tls.write_all(&frame(&mut upstream)?)?;
                }
            });
        }
    });
    (address, authority.pem())
}

/// Shows a certificate without having its key.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl Impostor {
    fn server(shown: &Issued, own: &Issued) -> Arc<ServerConfig> {
        let provider = super::provider::provider().unwrap();
        let chain = vec![CertificateDer::from_pem_slice(shown.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let key = provider.key_provider.load_private_key(key).unwrap();
        let impostor = Self(Arc::new(CertifiedKey::new(chain, key)));
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_cert_resolver(Arc::new(impostor)))
    }
}

/// A client's session and a server's, with the network between them in memory.
struct Pair {
    client: Session,
    server: ServerConnection,
    /// How many bytes the network carries at a time.
    step: usize,
    to_client: Vec<u8>,
    received: Vec<u8>,
}

impl Pair {
    fn new(tls: &Tls, host: &str, server: Arc<ServerConfig>, step: usize) -> Self {
        let client = TlsConnector::new(tls).unwrap().session(host).unwrap();
        let server = ServerConnection::new(server).unwrap();
        Self { client, server, step, to_client: Vec::new(), received: Vec::new() }
    }

    /// Moves bytes until neither side has any left. What the client sent is appended to `received`.
    fn pump(&mut self) -> Result<()> {
        loop {
            let mut moved = false;
            let outgoing = self.client.outgoing();
            let n = outgoing.len().min(self.step);
            if n > 0 {
                let n = self.server.read_tls(&mut &outgoing[..n]).unwrap();
                self.client.written(n);
                // An error is the client's to find out, from the alert.
                if self.server.process_new_packets().is_ok() {
                    let _ = self.server.reader().read_to_end(&mut self.received);
                }
                moved = true;
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut self.to_client).unwrap();
            }
            let incoming = self.client.incoming();
            let n = self.to_client.len().min(self.step).min(incoming.capacity() - incoming.len());
            incoming.extend(self.to_client.drain(..n));
            moved |= n > 0;
            let has_plain = self.client.has_plain()?;
            if has_plain || (!moved && self.client.outgoing().is_empty()) {
                return Ok(());
            }
        }
    }

    /// What the server has sent and sends, as far as it has come.
    fn read(&mut self, capacity: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            self.pump()?;
            let mut buffer = Vec::with_capacity(capacity);
            if self.client.take_plain(&mut buffer)? == 0 {
                return Ok(all);
            }
            assert!(buffer.len() <= capacity.max(buffer.capacity()));
            all.extend(buffer);
        }
    }

    fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Result<()> {
        let mut slices = slices;
        while !slices.is_empty() {
            self.client.encrypt(&mut slices)?;
            self.pump()?;
        }
        Ok(())
    }
}

/// Bytes that differ at each place.
fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    (0..len).map(|_| random.u8(..)).collect()
}

#[test]
fn data_of_any_size_and_cut_goes_both_ways() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let tls = Tls::new().ca_pem(authority.pem()).versions([version]);
        for step in [1, 1000, 17_000, 1 << 20] {
            let mut pair = Pair::new(&tls, "localhost", config.clone(), step);
            pair.pump().unwrap();
            assert!(!pair.client.is_handshaking());
            let sizes: &[usize] = if step == 1 { &[1, 20_000] } else { &[1, 100, 16_383, 16_384, 16_385, 300_000] };
            for &size in sizes {
                let sent = noise(size);
                // Small slices, as requests have them, and large ones.
                for cut in [1, 7, size / 2 + 1, size].into_iter().filter(|cut| *cut == size || size / cut < 2000) {
                    let mut slices: Vec<_> = sent.chunks(cut).map(IoSlice::new).collect();
                    pair.received.clear();
                    pair.write(&mut slices).unwrap();
                    assert!(pair.received == sent, "{size} in {cut}, {step} at a time");
                }
                let mut left = sent.as_slice();
                let mut got = Vec::new();
                while got.len() < size {
                    let n = pair.server.writer().write(left).unwrap();
                    left = &left[n..];
                    got.extend(pair.read(8 * 1024).unwrap());
                }
                assert!(got == sent, "{size}, {step} at a time");
            }
        }
    }
}

#[test]
fn many_small_slices_become_few_records() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    let mut pair = Pair::new(&Tls::new().ca_pem(authority.pem()), "localhost", config, 1 << 20);
    pair.pump().unwrap();
    let sent = noise(16_000);
    let mut slices: Vec<_> = sent.chunks(16).map(IoSlice::new).collect();
    pair.client.encrypt(&mut slices.as_mut_slice()).unwrap();
    assert!(pair.client.outgoing().len() < 16_100, "{}", pair.client.outgoing().len());
}

#[cfg(target_os = "linux")]
#[test]
fn x10_a_session_keeps_no_copy_of_what_was_written_or_taken() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    let mut pair = Pair::new(&Tls::new().ca_pem(authority.pem()), "localhost", config, 1 << 20);
    pair.pump().unwrap();
    let (looked_for, secret) = (Masked::secret(), copies::secret().into_bytes());
    let found = |pair: &Pair| pair.client.buffers().map(|buffer| looked_for.in_memory_of(buffer));

    for slices in [&mut [&b"before"[..], &secret, b"after"][..], &mut [&secret, &noise(40_000)]] {
        let sent = slices.concat();
        let mut slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        pair.received.clear();
        pair.write(&mut slices).unwrap();
        assert!(pair.received == sent);
        assert_eq!(found(&pair), [0; 4], "written");
        let [_, _, staged, _] = pair.client.buffers();
        assert_eq!(staged.capacity(), 16 * 1024, "it never grows");
    }

    let sent = [noise(5000), secret, noise(20_000)].concat();
    pair.server.writer().write_all(&sent).unwrap();
    pair.pump().unwrap();
    let mut taken = Vec::with_capacity(8 * 1024);
    pair.client.take_plain(&mut taken).unwrap();
    assert!(matches!(found(&pair), [(1..), (1..), 0, 0]), "{:?}", found(&pair));
    pair.client.wipe_taken();
    assert_eq!(found(&pair), [0; 4], "taken");
    taken.extend(pair.read(8 * 1024).unwrap());
    assert!(taken == sent, "what was ahead is lost");
}

#[test]
fn new_keys_in_mid_stream_lose_nothing() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    let mut pair = Pair::new(&Tls::new().ca_pem(authority.pem()), "localhost", config, 1000);
    pair.pump().unwrap();
    for _ in 0..5 {
        pair.server.writer().write_all(b"before").unwrap();
        pair.server.refresh_traffic_keys().unwrap();
        pair.server.writer().write_all(b"after").unwrap();
        assert_eq!(pair.read(100).unwrap(), b"beforeafter");
        pair.write(&mut [IoSlice::new(b"request")]).unwrap();
    }
    assert_eq!(pair.received, b"request".repeat(5));
}

#[test]
fn l7_the_end_is_told_from_a_cut() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    let mut pair = Pair::new(&Tls::new().ca_pem(authority.pem()), "localhost", config, 1000);
    pair.pump().unwrap();
    assert!(!pair.client.is_closed());
    pair.server.writer().write_all(b"last").unwrap();
    pair.server.send_close_notify();
    assert_eq!(pair.read(100).unwrap(), b"last");
    assert!(pair.client.is_closed());
    pair.client.queue_close();
    assert!(!pair.client.outgoing().is_empty());
}

#[test]
fn a_changed_byte_ends_the_session() {
    let authority = Authority::new();
    let config = server(&authority.issue(&["localhost"]), None);
    let mut pair = Pair::new(&Tls::new().ca_pem(authority.pem()), "localhost", config, 1 << 20);
    pair.pump().unwrap();
    pair.server.writer().write_all(b"good").unwrap();
    assert_eq!(pair.read(100).unwrap(), b"good");
    pair.server.writer().write_all(b"changed on the way").unwrap();
    pair.server.write_tls(&mut pair.to_client).unwrap();
    *pair.to_client.last_mut().unwrap() ^= 1;
    let error = pair.pump().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    assert!(pair.client.has_plain().is_err(), "for good");
}

/// Why the client refuses the server.
fn refusal(tls: &Tls, host: &str, issued: &Issued, clients: Option<&Authority>) -> Error {
    let mut pair = Pair::new(tls, host, server(issued, clients), 1 << 20);
    let error = match pair.pump() {
        Err(error) => error,
        // TLS 1.3 tells of a refused client only after the handshake.
        Ok(()) => pair.read(1).unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
    error
}

#[test]
fn l1_l2_l3_certificates_that_prove_nothing_are_refused_with_the_reason() {
    let authority = Authority::named("ca");
    let tls = Tls::new().ca_pem(authority.pem());
    let past = authority.issue_with(&["localhost"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let future = authority.issue_with(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(2200, 1, 1));
    let common_name = authority.issue_with(&[], |params| {
        params.distinguished_name.push(DnType::CommonName, "localhost");
    });
    let foreign = Authority::new().issue(&["localhost"]);
    let alike = Authority::named("ca").issue(&["localhost"]);
    let address = authority.issue(&["127.0.0.1", "::1"]);
    let other = authority.issue(&["other", "*.example.com"]);
    for (host, issued, why) in [
        ("localhost", &past, "has expired"),
        ("localhost", &future, "not valid yet"),
        ("localhost", &common_name, "another name"),
        ("localhost", &foreign, "not trusted"),
        ("localhost", &alike, "not trusted"),
        ("localhost", &address, "another name"),
        ("127.0.0.2", &address, "another name"),
        ("localhost", &other, "another name"),
        ("a.b.example.com", &other, "another name"),
        ("example.com", &other, "another name"),
    ] {
        let error = refusal(&tls, host, issued, None);
        assert!(error.to_string().contains(why), "{host}: {error}");
        assert!(!error.is_retriable());
    }
    for (host, issued) in [("127.0.0.1", &address), ("[::1]", &address), ("b.example.com", &other), ("other.", &other)]
    {
        let mut pair = Pair::new(&tls, host, server(issued, None), 1 << 20);
        pair.pump().unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    for (tls, issued) in
        [(tls.clone().danger_accept_any_host_name(), &other), (tls.danger_accept_any_certificate(), &foreign)]
    {
        Pair::new(&tls, "localhost", server(issued, None), 1 << 20).pump().unwrap();
    }
    let any_name = Tls::new().ca_pem(authority.pem()).danger_accept_any_host_name();
    assert!(refusal(&any_name, "localhost", &foreign, None).to_string().contains("not trusted"));
    assert!(refusal(&any_name, "localhost", &past, None).to_string().contains("expired"));
}

#[test]
fn l1_a_certificate_proves_nothing_without_its_key_whatever_else_is_not_checked() {
    let authority = Authority::new();
    let (shown, own) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let trusting = || Tls::new().ca_pem(authority.pem());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for tls in [trusting(), trusting().danger_accept_any_host_name(), trusting().danger_accept_any_certificate()] {
            let tls = tls.versions([version]);
            Pair::new(&tls, "localhost", Impostor::server(&own, &own), 1 << 20).pump().unwrap();
            let error = Pair::new(&tls, "localhost", Impostor::server(&shown, &own), 1 << 20).pump().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Tls, "{version:?} {tls:?}: {error}");
        }
    }
}

#[test]
fn l2_a_check_that_is_left_out_is_warned_of_when_the_client_is_built() {
    let authority = Authority::new();
    let warnings = |tls: Tls| {
        let (connector, lines) = logged(|| TlsConnector::new(&tls).unwrap());
        // Not again for each connection.
        let (_, again) = logged(|| connector.session("localhost").unwrap());
        assert!(!again.iter().any(|line| line.starts_with("WARN")), "{again:?}");
        lines.into_iter().filter(|line| line.starts_with("WARN")).collect::<Vec<_>>()
    };
    let trusting = || Tls::new().ca_pem(authority.pem());
    assert_eq!(warnings(trusting()), [""; 0]);
    let [name] = &warnings(trusting().danger_accept_any_host_name())[..] else { panic!("not one warning") };
    assert!(name.contains("not checked for the brokers' names"), "{name}");
    let [all] = &warnings(Tls::new().danger_accept_any_certificate())[..] else { panic!("not one warning") };
    assert!(all.contains("certificates are not checked"), "{all}");
}

#[test]
fn l1_no_authority_is_trusted_beside_the_given_ones_and_no_session_is_resumed() {
    let (authority, others) = (Authority::new(), Authority::new());
    let connector = TlsConnector::new(&Tls::new().ca_pem(authority.pem())).unwrap();
    let config = server(&authority.issue(&["localhost"]), None);
    for _ in 0..2 {
        let client = connector.session("localhost").unwrap();
        let server = ServerConnection::new(config.clone()).unwrap();
        let mut pair = Pair { client, server, step: 1 << 20, to_client: Vec::new(), received: Vec::new() };
        pair.pump().unwrap();
        assert_eq!(pair.server.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    let text = format!("{:?} {connector:?}", connector.session("localhost").unwrap());
    assert!(!text.contains("outgoing") && !text.contains("BEGIN"), "{text}");
    let foreign = others.issue(&["localhost"]);
    refusal(&Tls::new().ca_pem(authority.pem()), "localhost", &foreign, None);
}

#[test]
fn x10_neither_a_key_nor_what_a_session_carries_shows() {
    let authority = Authority::new();
    let client = authority.issue(&["client"]);
    let tls = Tls::new().ca_pem(authority.pem()).identity_pem(client.certificate.clone(), client.key.clone());
    let connector = TlsConnector::new(&tls).unwrap();
    let loaded = format!("{connector:?} {connector:#?}");
    // As text or as the numbers of its bytes.
    let bytes = format!("{:?}", &client.key.as_bytes()[40..60]);
    assert!(!loaded.contains(&client.key[40..60]) && !loaded.contains(bytes.trim_matches(['[', ']'])), "{loaded}");
    let mut pair = Pair::new(
        &Tls::new().ca_pem(authority.pem()),
        "localhost",
        server(&authority.issue(&["localhost"]), None),
        1 << 20,
    );
    pair.pump().unwrap();
    pair.server.writer().write_all(b"hunter2 of the broker").unwrap();
    assert!(pair.pump().is_ok() && pair.client.has_plain().unwrap(), "it has come and is not taken");
    let shown = format!("{:?} {:#?}", pair.client, pair.client);
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
}

#[test]
fn l5_a_client_certificate_is_shown_and_a_missing_one_is_named() {
    let authority = Authority::named("ca");
    let broker = authority.issue(&["localhost"]);
    let client = authority.issue(&["client"]);
    let trusting = || Tls::new().ca_pem(authority.pem());
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let good = trusting().identity_pem(client.certificate.clone(), client.key.clone()).versions([version]);
        let mut pair = Pair::new(&good, "localhost", server(&broker, Some(&authority)), 1 << 20);
        pair.pump().unwrap();
        assert_eq!(pair.server.peer_certificates().map(<[_]>::len), Some(1));
        let foreign = [Authority::new(), Authority::named("ca")].map(|other| other.issue(&["client"]));
        let foreign = foreign.map(|issued| trusting().identity_pem(issued.certificate, issued.key));
        for tls in foreign.into_iter().chain([trusting()]) {
            let tls = tls.versions([version]);
            let error = refusal(&tls, "localhost", &broker, Some(&authority));
            assert_eq!(error.setting(), Some("ssl.keystore.location"), "{error}");
        }
    }
    let mixed = trusting().identity_pem(client.certificate, broker.key);
    assert_eq!(TlsConnector::new(&mixed).unwrap_err().setting(), Some("ssl.keystore.key"));
}

#[test]
fn s8_rotated_files_are_used_by_the_next_session_and_broken_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let (old, new) = (Authority::new(), Authority::new());
    let broker = server(&new.issue(&["localhost"]), None);
    std::fs::write(&path, old.pem()).unwrap();
    let connector = TlsConnector::new(&Tls::new().ca_file(&path)).unwrap();
    let trusts = || {
        let server = ServerConnection::new(broker.clone()).unwrap();
        let client = connector.session("localhost").unwrap();
        Pair { client, server, step: 1 << 20, to_client: Vec::new(), received: Vec::new() }.pump().is_ok()
    };
    assert!(!trusts());
    std::fs::write(&path, new.pem()).unwrap();
    assert!(trusts());
    for broken in [&b"half"[..], b""] {
        std::fs::write(&path, broken).unwrap();
        assert!(trusts(), "the last good one stands");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(trusts());
    std::fs::write(&path, old.pem()).unwrap();
    assert!(!trusts());
}

/// A TLS server in front of a scripted broker; one thread per connection.
struct Front {
    address: SocketAddr,
    /// Dropped after the threads were told to end.
    broker: Arc<Scripted>,
}

impl Front {
    fn new(config: Arc<ServerConfig>, broker: Scripted) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let broker = Arc::new(broker);
        let behind = broker.address();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, config) = (socket.unwrap(), config.clone());
                std::thread::spawn(move || forward(socket, ServerConnection::new(config).unwrap(), behind));
            }
        });
        Self { address, broker }
    }
}

/// Moves bytes between a client that speaks TLS and a broker that does not, until either side ends.
fn forward(mut outside: TcpStream, mut tls: ServerConnection, behind: SocketAddr) -> Option<()> {
    let mut inside = TcpStream::connect(behind).ok()?;
    for socket in [&outside, &inside] {
        socket.set_read_timeout(Some(Duration::from_millis(1))).ok()?;
    }
    let waits =
        |error: &std::io::Error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match tls.read_tls(&mut outside) {
            Ok(0) => return None,
            Err(error) if !waits(&error) => return None,
            _ => {}
        }
        let processed = tls.process_new_packets();
        while let Ok(n) = tls.reader().read(&mut buffer) {
            if n == 0 {
                return None;
            }
            inside.write_all(&buffer[..n]).ok()?;
        }
        match inside.read(&mut buffer) {
            Ok(0) => {
                tls.send_close_notify();
                let _ = tls.write_tls(&mut outside);
                return None;
            }
            Ok(n) => tls.writer().write_all(&buffer[..n]).ok()?,
            Err(error) if !waits(&error) => return None,
            Err(_) => {}
        }
        while tls.wants_write() {
            tls.write_tls(&mut outside).ok()?;
        }
        processed.ok()?;
    }
}

fn config(tls: &Tls) -> NetConfig {
    NetConfig {
        client_id: Arc::from("test"),
        connection_setup_timeout: LONG,
        max_response_bytes: 100 * 1024 * 1024,
        dialer: Dialer::default(),
        epoch: Epoch::default(),
        security: Security { tls: Some(Arc::new(TlsConnector::new(tls).unwrap())), sasl: None },
    }
}

fn dial(tls: &Tls, host: &str, port: u16, timeout: Duration) -> Result<Connection> {
    let peer = Peer { node_id: 7, host: Arc::from(host), port };
    Connection::dial(&peer, &config(tls), &Interrupt::new().unwrap(), Deadline::after(timeout))
}

fn cluster(bytes: usize) -> MetadataResponse {
    MetadataResponse { cluster_id: Some("x".repeat(bytes)), ..Default::default() }
}

#[test]
fn a_connection_over_tls_is_like_any_other() {
    let authority = Authority::new();
    let broker = Scripted::broker(METADATA, |asked| {
        let topics = asked.decode::<MetadataRequest>().topics.unwrap_or_default();
        asked.reply::<MetadataRequest>(&cluster(topics.len()))
    });
    let front = Front::new(server(&authority.issue(&["127.0.0.1"]), None), broker);
    let tls = Tls::new().ca_pem(authority.pem());
    let mut connection = dial(&tls, "127.0.0.1", front.address.port(), LONG).unwrap();
    let deadline = Deadline::after(LONG);
    let ask = |topics: usize| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic::default(); topics]),
        ..Default::default()
    };
    // The session tickets that a server sends are no input.
    assert!(connection.is_reusable());
    let waker = Waker::new().unwrap();
    assert_eq!(
        connection.wait_readable(Some(&waker), Deadline::after(Duration::from_millis(50))).unwrap(),
        Readiness::TimedOut
    );
    waker.wake();
    assert_eq!(connection.wait_readable(Some(&waker), deadline).unwrap(), Readiness::Woken);
    for topics in [0, 1, 30_000, 0] {
        for _ in 0..3 {
            connection.send(&ask(topics), deadline).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(connection.wait_readable(None, deadline).unwrap(), Readiness::Ready);
            let answer = connection.receive::<MetadataRequest>(deadline).unwrap();
            assert_eq!(answer.cluster_id.unwrap().len(), topics);
        }
        assert!(connection.is_reusable());
    }
    front.broker.close_connections();
    assert_eq!(connection.wait_readable(None, deadline).unwrap(), Readiness::Ready);
    assert!(!connection.is_reusable());
    assert_eq!(connection.call(&ask(0), deadline).unwrap_err().kind(), ErrorKind::Network);
}

#[test]
fn l5_a_refused_client_learns_why_and_is_not_dialled_twice() {
    let authority = Authority::new();
    let front = Front::new(
        server(&authority.issue(&["localhost"]), Some(&authority)),
        Scripted::broker(METADATA, |_| Reply::Silence),
    );
    let error = dial(&Tls::new().ca_pem(authority.pem()), "localhost", front.address.port(), LONG).unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Tls, Some("ssl.keystore.location")), "{error}");
    assert_eq!(error.broker(), Some(7));
    assert!(front.broker.connections() <= 1);
}

#[test]
fn l4_plaintext_where_tls_was_expected_is_named_and_takes_no_time() {
    let tls = Tls::new().danger_accept_any_certificate();
    // A broker that reads a TLS hello as a length closes at once; other servers say something.
    let closing = Scripted::new(|session| {
        let _ = session.socket.read(&mut [0; 64]);
    });
    let error = dial(&tls, "127.0.0.1", closing.address().port(), LONG).unwrap_err();
    assert!(error.to_string().contains("is this a TLS port?"), "{error}");
    assert_eq!(closing.connections(), 1);
    let talking = Scripted::new(|session| {
        let _ = session.socket.read(&mut [0; 64]);
        session.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        session.fall_silent();
    });
    let error = dial(&tls, "127.0.0.1", talking.address().port(), LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(error.to_string().contains("is it a TLS port?"), "{error}");
}

#[test]
fn l6_a_server_with_old_versions_only_is_named() {
    let old = Scripted::new(|session| {
        let _ = session.socket.read(&mut [0; 1024]);
        // A fatal alert "protocol version" in a TLS 1.1 record, as such a server answers.
        session.write(&[0x15, 3, 2, 0, 2, 2, 70]);
        session.fall_silent();
    });
    let tls = Tls::new().danger_accept_any_certificate();
    let error = dial(&tls, "127.0.0.1", old.address().port(), LONG).unwrap_err();
    assert_eq!((error.kind(), error.setting()), (ErrorKind::Tls, Some("ssl.enabled.protocols")), "{error}");
}

#[test]
fn s6_a_handshake_that_hangs_or_drips_ends_at_the_deadline() {
    let tls = Tls::new().danger_accept_any_certificate();
    let silent = Scripted::new(crate::net::scripted::Session::fall_silent);
    let dripping = Scripted::new(|session| {
        session.write(&[0x16, 3, 3, 0x40, 0]);
        while session.socket.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for peer in [silent, dripping] {
        let error = dial(&tls, "127.0.0.1", peer.address().port(), Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
}
