//! The end of an embedded cluster, in a process of its own, since threads are counted.
#![cfg(target_os = "linux")]

use sarameya::embedded::{Cluster, Intercept};
use sarameya::protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The cluster's threads in this process. The system keeps 15 letters of a name.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("kafka-embedded")).count()
}

/// How many connections this process has descriptors for, of both ends, a thousand at most.
fn many() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let soft = files.split_whitespace().nth(3).unwrap().parse().unwrap_or(usize::MAX);
    (soft.saturating_sub(100) / 2).min(1000)
}

/// A request without a client id, in a version that is not flexible.
fn frame(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = (10 + body.len() as u32).to_be_bytes().to_vec();
    frame.extend(api.0.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend([0, 0, 0, 7, 255, 255]);
    frame.extend(body);
    frame
}

#[test]
fn a_cluster_that_is_dropped_ends_its_threads_and_ports_whatever_its_clients_do() {
    let cluster = Cluster::builder(2).start().unwrap();
    let addresses: Vec<String> = cluster.bootstrap_servers().split(',').map(str::to_owned).collect();
    let connect = |broker: usize| {
        let socket = TcpStream::connect(&addresses[broker - 1]).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let sending = |broker: usize, bytes: &[u8]| {
        let mut socket = connect(broker);
        socket.write_all(bytes).unwrap();
        socket
    };
    let versions = frame(ApiKey::API_VERSIONS, 0, &[]);
    let mut clients: Vec<TcpStream> = Vec::new();

    // As many idle clients as there is room for, each of which is served.
    for _ in 0..many() {
        let mut socket = sending(1, &versions);
        socket.read_exact(&mut [0; 4]).unwrap();
        clients.push(socket);
    }
    assert_eq!(cluster.connections(1), clients.len());
    // Half a length, half a small request, half a large one.
    clients.push(sending(1, &[0, 0]));
    clients.push(sending(1, &[0, 0, 0, 100, 0, 18]));
    clients.push(sending(1, &[1, 0, 0, 0, 0, 18]));
    // A request that is parked.
    cluster.delay(ApiKey::METADATA, HOUR);
    clients.push(sending(1, &frame(ApiKey::METADATA, 1, &[0, 0, 0, 0])));
    cluster.wait_for_requests(ApiKey::METADATA, 1, LIMIT).unwrap();
    // An answer that nobody reads, and one that takes for ever.
    cluster.intercept(|_: &MetadataRequest, _| Intercept::Raw(vec![0; 64 << 20].into()));
    cluster.delay(ApiKey::METADATA, Duration::ZERO);
    clients.push(sending(1, &frame(ApiKey::METADATA, 1, &[0, 0, 0, 0])));
    cluster.slow_drip(ApiKey::API_VERSIONS, 1, HOUR);
    let mut dripped = sending(1, &versions);
    dripped.read_exact(&mut [0]).unwrap();
    clients.push(dripped);
    // A broker that does nothing.
    cluster.pause_broker(2);
    clients.push(sending(2, &versions));
    cluster.wait_for_requests(ApiKey::METADATA, 2, LIMIT).unwrap();
    assert!(threads() > clients.len());
    assert!(cluster.requests_of::<ApiVersionsRequest>().len() > many());

    let (done, ended) = crossbeam_channel::bounded(1);
    let dropper = std::thread::spawn(move || {
        drop(cluster);
        done.send(()).unwrap();
    });
    ended.recv_timeout(LIMIT).expect("the cluster has not ended");
    dropper.join().unwrap();
    assert_eq!(threads(), 0);

    // Its clients are told, and its ports are free.
    for client in &mut clients {
        client.set_nonblocking(false).unwrap();
        let mut rest = Vec::new();
        let end = client.read_to_end(&mut rest);
        assert!(end.is_ok() || end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
    let port = addresses[0].rsplit(':').next().unwrap().parse().unwrap();
    for address in &addresses {
        drop(std::net::TcpListener::bind(address).unwrap());
    }
    drop(clients);
    assert!(Cluster::builder(1).port(port).start().is_ok());
}
