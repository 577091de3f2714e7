//! Clients that mean harm, or are broken: none of them costs more than its own connection.

use super::{Bare, LIMIT, eventually};
use crate::embedded::Cluster;
use crate::protocol::messages::ApiKey;
use std::io::Write;
use std::time::Duration;

fn serves(cluster: &Cluster) -> bool {
    Bare::connect(cluster, 1).ask(18, 0, &[]).is_some()
}

#[test]
fn garbage_and_lengths_that_can_not_be_close_the_connection() {
    let cluster = Cluster::start(1).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let mut hostile: Vec<Vec<u8>> = vec![
        i32::MAX.to_be_bytes().to_vec(),
        i32::MIN.to_be_bytes().to_vec(),
        (-1i32).to_be_bytes().to_vec(),
        // Shorter than a header; a body that is cut short.
        vec![0, 0, 0, 2, 0, 18],
        Bare::frame(3, 1, &[0, 0, 0, 9]),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    // A length that is right, then noise.
    for _ in 0..50 {
        let mut noise: Vec<u8> = (0..random.usize(8..300)).map(|_| random.u8(..)).collect();
        let length = (noise.len() as u32 - 4).to_be_bytes();
        noise[..4].copy_from_slice(&length);
        hostile.push(noise);
    }
    for bytes in hostile {
        let mut bare = Bare::connect(&cluster, 1);
        bare.write(&bytes);
        assert!(bare.is_closed(), "{bytes:?}");
    }
    assert!(serves(&cluster));
    eventually("the end of all connections", || cluster.connections(1) == 0);
}

#[test]
fn memory_follows_the_bytes_that_come_and_has_a_limit() {
    // Room for one step, not for two.
    let cluster = Cluster::builder(1).set("queued.max.request.bytes", "1500000").start().unwrap();
    let claim = 90_000_000u32.to_be_bytes();
    let mut first = Bare::connect(&cluster, 1);
    first.write(&claim);
    let memory = &cluster.core.memory;
    eventually("the first step", || memory.in_use() > 0);
    assert!(memory.in_use() < 2_000_000, "{}", memory.in_use());
    let mut second = Bare::connect(&cluster, 1);
    second.write(&claim);
    // Small requests need none.
    assert!(serves(&cluster));
    first.shut_down();
    // The second one has its turn, and is ended.
    drop(first);
    eventually("one connection", || cluster.connections(1) == 1);
    eventually("the second's first step", || memory.in_use() > 0);
    cluster.drop_connections(1);
    assert!(second.is_closed());
    eventually("all memory back", || memory.in_use() == 0);
}

#[test]
fn a_large_request_is_read_in_steps_and_what_follows_it_is_not_lost() {
    let cluster = Cluster::start(1).unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    // Metadata version 1 for a topic whose name no broker would take, many times.
    let mut body = 60_000u32.to_be_bytes().to_vec();
    for _ in 0..60_000 {
        body.extend([0, 50]);
        body.extend([b'/'; 50]);
    }
    let mut bytes = Bare::frame(3, 1, &body);
    bytes.extend(Bare::frame(18, 0, &[]));
    let mut writer = Bare(bare.0.try_clone().unwrap());
    let sender = std::thread::spawn(move || writer.write(&bytes));
    assert!(bare.read().unwrap().len() > 60_000 * 50);
    assert!(bare.read().is_some(), "the request behind it");
    sender.join().unwrap();
    assert_eq!(cluster.requests(ApiKey::API_VERSIONS).len(), 1);
}

#[test]
fn a_request_that_comes_byte_by_byte_is_served() {
    let cluster = Cluster::start(1).unwrap();
    let mut bare = Bare::connect(&cluster, 1);
    for byte in Bare::frame(18, 0, &[]) {
        bare.write(&[byte]);
    }
    assert!(bare.read().is_some());
}

#[test]
fn connections_beyond_the_limit_are_closed_and_room_comes_back() {
    let cluster = Cluster::builder(1).max_connections(20).start().unwrap();
    let mut connections: Vec<Bare> = (0..20).map(|_| Bare::connect(&cluster, 1)).collect();
    for bare in &mut connections {
        assert!(bare.ask(18, 0, &[]).is_some());
    }
    assert!(Bare::connect(&cluster, 1).is_closed());
    connections.truncate(10);
    eventually("room", || cluster.connections(1) == 10);
    assert!(serves(&cluster));
}

#[test]
fn a_silent_client_is_closed_after_the_idle_time_and_a_half_sent_request_too() {
    let cluster = Cluster::builder(1).set("connections.max.idle.ms", "50").start().unwrap();
    let mut silent = Bare::connect(&cluster, 1);
    assert!(silent.is_closed());
    let mut half = Bare::connect(&cluster, 1);
    half.write(&[0, 0]);
    assert!(half.is_closed());
    let mut half = Bare::connect(&cluster, 1);
    half.write(&[0, 0, 0, 100, 1, 2]);
    assert!(half.is_closed());
}

#[test]
fn a_client_that_asks_and_never_reads_is_closed_after_the_idle_time() {
    let cluster = Cluster::builder(1).set("connections.max.idle.ms", "300").start().unwrap();
    cluster.create_topic("t", 1000).unwrap();
    let bare = Bare::connect(&cluster, 1);
    // Each answer is about 30 KB; the last are more than the buffers on the way take.
    let asking = Bare::frame(3, 1, &[255; 4]);
    let sender = std::thread::spawn(move || while (&bare.0).write_all(&asking).is_ok() {});
    eventually("the end of the connection", || {
        cluster.requests(ApiKey::METADATA).len() > 1 && cluster.connections(1) == 0
    });
    sender.join().unwrap();
}

#[test]
fn the_threads_of_connections_that_have_ended_are_forgotten() {
    let cluster = Cluster::start(1).unwrap();
    for _ in 0..50 {
        assert!(Bare::connect(&cluster, 1).ask(18, 0, &[]).is_some());
    }
    eventually("the end of most threads", || {
        assert!(Bare::connect(&cluster, 1).ask(18, 0, &[]).is_some());
        cluster.core.kept_threads() < 10
    });
}

#[test]
fn a_client_that_goes_while_its_request_is_parked_frees_its_connection() {
    let cluster = Cluster::builder(1).manual_clock().start().unwrap();
    cluster.delay(ApiKey::METADATA, Duration::from_secs(1));
    let mut bare = Bare::connect(&cluster, 1);
    bare.write(&Bare::frame(3, 1, &[0, 0, 0, 0]));
    // Another request behind it, so that there is something to read before the end.
    bare.write(&Bare::frame(18, 0, &[]));
    cluster.wait_for_requests(ApiKey::METADATA, 1, LIMIT).unwrap();
    assert_eq!(cluster.connections(1), 1);
    drop(bare);
    eventually("the end of the connection", || cluster.connections(1) == 0);
    cluster.advance_clock(Duration::from_secs(2));
    assert_eq!(cluster.requests(ApiKey::API_VERSIONS).len(), 0, "nobody waits for it any more");
}
