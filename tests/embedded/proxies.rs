//! Proxies and diallers between the library and a cluster whose names mean something behind them only.

use crate::proxy_server::{ProxyServer, Speaks};
use crate::support::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sarameya::embedded::{Cluster, Listener};
use sarameya::protocol::messages::{FindCoordinatorRequest, MetadataRequest};
use sarameya::{Client, ClientBuilder, ErrorKind, Proxy, Tls};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Has the brokers call themselves `broker-N.invalid`, and says where these names are.
fn hide(cluster: &Cluster, bootstrap: &str) -> Vec<(String, SocketAddr)> {
    cluster.rewrite::<MetadataRequest>(|response| {
        for broker in &mut response.brokers {
            broker.host = format!("broker-{}.invalid", broker.node_id);
        }
    });
    cluster.rewrite::<FindCoordinatorRequest>(|response| {
        for coordinator in &mut response.coordinators {
            coordinator.host = format!("broker-{}.invalid", coordinator.node_id);
        }
    });
    let addresses: Vec<SocketAddr> = bootstrap.split(',').map(|address| address.parse().unwrap()).collect();
    let name = |(i, address): (usize, &SocketAddr)| (format!("broker-{}.invalid:{}", i + 1, address.port()), *address);
    let mut names: Vec<(String, SocketAddr)> = addresses.iter().enumerate().map(name).collect();
    names.push(("bootstrap.invalid:9092".to_owned(), addresses[0]));
    names
}

fn hidden_client() -> ClientBuilder {
    settings("bootstrap.invalid:9092")
}

fn proxy(server: &ProxyServer, speaks: Speaks) -> Proxy {
    let (host, port) = (server.address().ip().to_string(), server.address().port());
    match speaks {
        Speaks::Socks5 => Proxy::socks5(host, port),
        Speaks::Http => Proxy::http(host, port),
    }
}

/// Writes, reads, and runs a group.
fn use_all(client: &Client, topic: &str) {
    let producer = sync_producer(client, |builder| builder);
    for partition in 0..2 {
        assert_eq!(send_all(&producer, topic, partition, &["a", "b"]), [0, 1]);
        assert_eq!(read(&mut reader(client, topic, partition), 2), ["a", "b"]);
    }
    let member = Member::start(group(client, "g"), &[topic]);
    wait_until("the group has read all", || member.seen.count() == 4);
    member.stop().unwrap();
}

#[test]
fn all_that_a_client_does_goes_through_the_proxy_which_looks_names_up() {
    for speaks in [Speaks::Socks5, Speaks::Http] {
        for credentials in [None, Some(("alice", "alice-secret"))] {
            let cluster = Cluster::start(2).unwrap();
            cluster.create_topic("t", 2).unwrap();
            cluster.move_leader("t", 0, 1).unwrap();
            cluster.move_leader("t", 1, 2).unwrap();
            let server = ProxyServer::start(speaks, credentials, hide(&cluster, cluster.bootstrap_servers()));
            let mut proxy = proxy(&server, speaks);
            if let Some((user, password)) = credentials {
                proxy = proxy.credentials(user, password);
            }
            use_all(&hidden_client().proxy(proxy).build().unwrap(), "t");
            let asked = server.asked();
            assert_eq!(asked[0], "bootstrap.invalid:9092", "{speaks:?}");
            for broker in ["broker-1.invalid:", "broker-2.invalid:"] {
                assert!(asked.iter().any(|name| name.starts_with(broker)), "{asked:?}");
            }
        }
    }
}

#[test]
fn a_wrong_or_missing_password_for_the_proxy_is_told_at_once() {
    for speaks in [Speaks::Socks5, Speaks::Http] {
        let server = ProxyServer::start(speaks, Some(("alice", "alice-secret")), []);
        for proxy in [proxy(&server, speaks), proxy(&server, speaks).credentials("alice", "hunter2")] {
            let start = Instant::now();
            let error = hidden_client().proxy(proxy.clone()).build().unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
            let text = error.to_string();
            assert!(text.contains(&proxy.to_string()) && text.contains("bootstrap.invalid:9092"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn c2_a_broker_that_the_proxy_does_not_reach_is_named_with_the_proxy() {
    for (speaks, why) in [(Speaks::Socks5, "host unreachable"), (Speaks::Http, "502 Unknown host")] {
        let server = ProxyServer::start(speaks, None, []);
        let proxy = proxy(&server, speaks);
        let error = hidden_client().proxy(proxy.clone()).connection_setup_timeout(SHORT).build().unwrap_err();
        let text = error.to_string();
        assert!(error.is_retriable(), "{text}");
        assert!(text.contains(&proxy.to_string()) && text.contains(why), "{text}");
        assert!(text.contains("bootstrap.invalid:9092"), "{text}");
    }
}

#[test]
fn l2_through_a_proxy_the_brokers_own_name_is_what_its_certificate_must_be_valid_for() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let listener = |name: &str, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (params, key) = (CertificateParams::new(names).unwrap(), KeyPair::generate().unwrap());
        Listener::new(name).tls(&params.signed_by(&key, &authority).unwrap().pem(), &key.serialize_pem())
    };
    let cluster = Cluster::builder(1)
        .listener(listener("OWN", &["bootstrap.invalid", "broker-1.invalid"]))
        // The proxy's own address, and that of the socket behind it, are not the broker's name.
        .listener(listener("OTHER", &["127.0.0.1", "localhost"]))
        .start()
        .unwrap();
    cluster.create_topic("t", 2).unwrap();
    for speaks in [Speaks::Socks5, Speaks::Http] {
        let client = |listener| {
            let server =
                ProxyServer::start(speaks, None, hide(&cluster, cluster.bootstrap_servers_of(listener).unwrap()));
            let tls = Tls::new().ca_pem(authority.pem());
            let built = hidden_client().proxy(proxy(&server, speaks)).tls(tls).build();
            (built, server)
        };
        let (own, _server) = client("OWN");
        assert_eq!(own.unwrap().partition_count("t").unwrap(), 2);
        let (other, _server) = client("OTHER");
        let error = other.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{error}");
        assert!(error.to_string().contains("another name"), "{error}");
    }
}

/// Copies both ways, until one side ends.
fn join(mut inside: UnixStream, mut outside: TcpStream) {
    let (mut from, mut to) = (outside.try_clone().unwrap(), inside.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut inside, &mut outside);
        let _ = outside.shutdown(Shutdown::Both);
    });
}

#[test]
fn a_dialler_of_the_users_makes_all_connections_by_sockets_of_any_family() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 2).unwrap();
    cluster.move_leader("t", 0, 1).unwrap();
    cluster.move_leader("t", 1, 2).unwrap();
    let names = hide(&cluster, cluster.bootstrap_servers());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let dialer = move |host: &str, port: u16, deadline: Instant| {
        assert!(deadline > Instant::now());
        let name = format!("{host}:{port}");
        lock(&kept).push(name.clone());
        let address = names.iter().find(|(known, _)| *known == name).ok_or(std::io::ErrorKind::NotFound)?.1;
        let (ours, theirs) = UnixStream::pair()?;
        join(ours, TcpStream::connect(address)?);
        Ok::<_, std::io::Error>(theirs)
    };
    use_all(&hidden_client().dialer(dialer).build().unwrap(), "t");
    assert_eq!(lock(&asked)[0], "bootstrap.invalid:9092");
}

#[test]
fn c13_a_broker_that_moves_behind_its_name_is_found_by_the_next_connection() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 1).unwrap();
    let names = hide(&cluster, cluster.bootstrap_servers());
    let broker = names[0].1;
    // Where every name leads to, as a resolver would say.
    let place = Arc::new(Mutex::new(broker));
    let looked_up = Arc::clone(&place);
    let dialer = move |_: &str, _: u16, _: Instant| TcpStream::connect(*lock(&looked_up));
    let client = hidden_client().dialer(dialer).build().unwrap();
    let producer = sync_producer(&client, |builder| builder);
    assert_eq!(send_all(&producer, "t", 0, &["before"]), [0]);

    // It is somewhere else now, and nobody listens where it was.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let new_place = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (ours, theirs) = UnixStream::pair().unwrap();
            join(ours, socket.unwrap());
            join(theirs, TcpStream::connect(broker).unwrap());
        }
    });
    *lock(&place) = (Ipv4Addr::LOCALHOST, 1).into();
    cluster.drop_connections(1);
    let late = std::thread::spawn(move || {
        std::thread::sleep(SHORT);
        *lock(&place) = new_place;
    });
    assert_eq!(send_all(&producer, "t", 0, &["after"]), [1]);
    late.join().unwrap();
}

#[test]
fn a_dialler_reaches_the_proxy_if_there_is_one() {
    let cluster = Cluster::start(1).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let server = ProxyServer::start(Speaks::Socks5, None, hide(&cluster, cluster.bootstrap_servers()));
    let address = server.address();
    let dialer = move |host: &str, port: u16, _: Instant| {
        assert_eq!((host, port), ("proxy.invalid", 1080));
        TcpStream::connect(address)
    };
    let client = hidden_client().proxy(Proxy::socks5("proxy.invalid", 1080)).dialer(dialer).build().unwrap();
    use_all(&client, "t");
}

#[test]
fn a_dialler_that_fails_panics_or_hangs_costs_the_deadline_and_is_named_with_the_host() {
    fn failing(_: &str, _: u16, _: Instant) -> Result<TcpStream, String> {
        Err("the tunnel is down".into())
    }
    fn late(_: &str, _: u16, _: Instant) -> std::io::Result<TcpStream> {
        Err(std::io::ErrorKind::TimedOut.into())
    }
    fn panicking(_: &str, _: u16, _: Instant) -> std::io::Result<TcpStream> {
        panic!("on purpose")
    }
    let words = |builder: ClientBuilder| {
        let error = builder.connection_setup_timeout(6 * SHORT).build().unwrap_err();
        assert!(error.is_retriable(), "{error}");
        let text = error.to_string();
        assert!(text.contains("bootstrap.invalid port 9092"), "{text}");
        text
    };
    assert!(words(hidden_client().dialer(failing)).contains("the tunnel is down"));
    assert!(words(hidden_client().dialer(late)).contains("timed out"));
    assert!(words(hidden_client().dialer(panicking)).contains("panicked"));

    // Neither the deadline nor the end of a client waits for it.
    let gate = Arc::new(Mutex::new(()));
    let shut = lock(&gate);
    let waiting = Arc::clone(&gate);
    let hanging = move |_: &str, _: u16, _: Instant| -> std::io::Result<TcpStream> {
        drop(lock(&waiting));
        TcpStream::connect((Ipv4Addr::LOCALHOST, 9))
    };
    let start = Instant::now();
    assert!(words(hidden_client().dialer(hanging)).contains("took too long"));
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
    drop(shut);
}
