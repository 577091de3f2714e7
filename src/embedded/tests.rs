//! The cluster as its clients see it.

use super::Cluster;
use crate::Client;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A bare request, so that a client can't be helpful.
fn ask(socket: &mut TcpStream, key: i16, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let mut frame = Vec::new();
    frame.extend(((10 + body.len()) as u32).to_be_bytes());
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7u32.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    frame.extend(body);
    socket.write_all(&frame).ok()?;
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_client_connects_and_a_broker_that_stops_closes_its_connections() {
    let cluster = Cluster::start(2).unwrap();
    cluster.create_topic("t", 2).unwrap();
    let client = Client::connect(cluster.bootstrap_servers()).unwrap();
    drop(client);
    let addresses = cluster.bootstrap_servers();
    let second = addresses.split(',').nth(1).unwrap();
    let mut socket = TcpStream::connect(second).unwrap();
    assert!(ask(&mut socket, 18, 0, &[]).is_some());
    cluster.stop_broker(2);
    assert_eq!(socket.read(&mut [0]).unwrap_or(0), 0);
    assert!(TcpStream::connect(second).is_err());
    cluster.start_broker(2).unwrap();
    assert!(ask(&mut TcpStream::connect(second).unwrap(), 18, 0, &[]).is_some());
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0_and_any_other_api_closes() {
    let cluster = Cluster::start(1).unwrap();
    let mut socket = TcpStream::connect(cluster.bootstrap_servers()).unwrap();
    let answer = ask(&mut socket, 18, 99, &[]).unwrap();
    // Correlation id, UNSUPPORTED_VERSION, one API: ApiVersions.
    assert_eq!(&answer[..12], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18]);
    assert!(ask(&mut socket, 18, 0, &[]).is_some(), "the connection goes on");
    assert_eq!(ask(&mut socket, 3, 99, &[]), None);
    let mut socket = TcpStream::connect(cluster.bootstrap_servers()).unwrap();
    assert_eq!(ask(&mut socket, 4, 0, &[]), None, "LeaderAndIsr is not served");
}
