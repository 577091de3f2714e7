//! Clusters that move away, and connections nobody uses.

use super::*;
use crate::MetadataRecovery;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const APIS_13: &[(i16, i16, i16)] = &[(MetadataRequest::KEY, 0, 13), (FindCoordinatorRequest::KEY, 0, 4)];

fn empty() -> MetadataRequest {
    MetadataRequest { topics: Some(Vec::new()), ..Default::default() }
}

fn nodes(core: &Core) -> Vec<i32> {
    let mut nodes: Vec<i32> = core.snapshot().brokers.keys().copied().collect();
    nodes.sort_unstable();
    nodes
}

/// A broker that answers as the world does while the flag is not set, and else with this code.
fn refusing(world: &World, code: ErrorCode, flag: &Arc<AtomicBool>) -> Scripted {
    let (world, flag) = (world.clone(), flag.clone());
    Scripted::broker(APIS_13, move |asked| {
        if asked.key != MetadataRequest::KEY || !flag.load(Ordering::SeqCst) {
            return world.reply(asked);
        }
        if code == ErrorCode::NONE {
            return Reply::Close;
        }
        asked.reply::<MetadataRequest>(&MetadataResponse { error_code: code.0, ..Default::default() })
    })
}

#[test]
fn b13_a_client_that_is_sent_back_to_its_bootstrap_addresses_leaves_the_brokers_it_knows() {
    let world = World::default();
    let seed = world.broker();
    let moved = Arc::new(AtomicBool::new(false));
    let old = refusing(&world, ErrorCode::REBOOTSTRAP_REQUIRED, &moved);
    world.advertise(1, old.address());
    let client = connect(&[&seed.address()]);
    let core = client.core();
    let mut held = core.dial(1, core.interrupt(), Deadline::after(LONG)).unwrap();
    held.call(&empty(), Deadline::after(LONG)).unwrap();
    call(core, 1, &empty()).unwrap();

    moved.store(true, Ordering::SeqCst);
    world.forget(1);
    let _new = world.node(2);
    // The next one to be asked is the node.
    seed.close_connections();
    refresh(core);
    until(core, |snapshot| snapshot.brokers.contains_key(&2));
    assert_eq!(nodes(core), [2]);
    let error = held.call(&empty(), Deadline::after(LONG)).unwrap_err();
    assert!(error.to_string().contains("begun again"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Network);
    let asked = old.count(MetadataRequest::KEY);
    refresh(core);
    assert_eq!(old.count(MetadataRequest::KEY), asked);
    call(core, 2, &empty()).unwrap();
}

#[test]
fn b13_without_the_strategy_the_bootstrap_addresses_are_asked_only_at_first() {
    let world = World::default();
    let seed = world.broker();
    let failing = Arc::new(AtomicBool::new(false));
    let known = refusing(&world, ErrorCode::REBOOTSTRAP_REQUIRED, &failing);
    world.advertise(1, known.address());
    let client = builder(&[&seed.address()]).metadata_recovery(MetadataRecovery::None).build().unwrap();
    let core = client.core();
    failing.store(true, Ordering::SeqCst);
    seed.close_connections();
    core.refresh_since(core.snapshot().generation);
    let deadline = Deadline::after(LONG);
    while known.count(MetadataRequest::KEY) < 3 {
        assert!(!deadline.has_passed());
        std::thread::sleep(ms(5));
    }
    assert_eq!(seed.count(MetadataRequest::KEY), 1);
    assert_eq!(nodes(core), [1]);
    failing.store(false, Ordering::SeqCst);
    refresh(core);
}

#[test]
fn b13_all_brokers_are_forgotten_once_the_trigger_has_passed() {
    let world = World::default();
    let failing = Arc::new(AtomicBool::new(false));
    let seed = refusing(&world, ErrorCode::NONE, &failing);
    let known = refusing(&world, ErrorCode::NONE, &failing);
    world.advertise(1, known.address());
    world.topic("t", ErrorCode::NONE, &[1]);
    let client = builder(&[&seed.address()]).rebootstrap_trigger(ms(200)).build().unwrap();
    let core = client.core();
    let _in_use = core.use_topic("t", false);
    until(core, |snapshot| snapshot.leader("t", 0).is_some());
    failing.store(true, Ordering::SeqCst);
    core.refresh_since(core.snapshot().generation);
    until(core, |snapshot| snapshot.brokers.is_empty());
    assert_eq!((core.snapshot().partition_count("t"), core.snapshot().leader("t", 0)), (Some(1), None));
    failing.store(false, Ordering::SeqCst);
    until(core, |snapshot| snapshot.leader("t", 0).is_some());
}

#[test]
fn b13_another_cluster_by_the_same_addresses_ends_the_connections_to_the_old_one() {
    let world = World::default();
    let broker = world.node(1);
    let client = connect(&[&broker.address()]);
    let core = client.core();
    let mut held = core.dial(1, core.interrupt(), Deadline::after(LONG)).unwrap();
    held.call(&empty(), Deadline::after(LONG)).unwrap();
    world.0.lock().unwrap().replaced += 1;
    refresh(core);
    until(core, |snapshot| snapshot.cluster_id.as_deref() == Some("scripted."));
    assert!(held.call(&empty(), Deadline::after(LONG)).unwrap_err().to_string().contains("begun again"));
    call(core, 1, &empty()).unwrap();
}

#[test]
fn c6_idle_connections_are_closed_from_this_end() {
    let world = World::default();
    let seed = world.broker();
    let open = Arc::new(AtomicUsize::new(0));
    let (count, served) = (open.clone(), world.clone());
    let node = Scripted::new(move |session| {
        count.fetch_add(1, Ordering::SeqCst);
        session.handshake(APIS);
        while let Some(asked) = session.request() {
            if let Reply::Bytes(bytes) = served.reply(&asked) {
                session.write(&bytes);
            }
        }
        count.fetch_sub(1, Ordering::SeqCst);
    });
    world.advertise(1, node.address());
    let client = builder(&[&seed.address()]).connections_max_idle(ms(150)).build().unwrap();
    for _ in 0..2 {
        call(client.core(), 1, &empty()).unwrap();
        assert_eq!(open.load(Ordering::SeqCst), 1);
        let deadline = Deadline::after(LONG);
        while open.load(Ordering::SeqCst) > 0 {
            assert!(!deadline.has_passed(), "it stays open");
            std::thread::sleep(ms(5));
        }
    }
    assert_eq!(node.connections(), 2);
}
