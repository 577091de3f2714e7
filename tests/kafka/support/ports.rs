//! Free ports for servers.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports below the range from which Linux takes the local ports of outgoing connections (32768 on). In that range a
/// stopped broker's port could go to any client, and a client that dials a dead port could even meet itself.
const FIRST: u16 = 11_000;
const LAST: u16 = 31_999;

/// `count` ports on which nobody listens. Another process may still be faster: who starts a server on them tries again.
pub(crate) fn free(count: usize) -> Vec<u16> {
    /// Each port is handed out once before any comes again: a server that is down for a while keeps its own.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time start at different places.
    let _ = NEXT.compare_exchange(0, fastrand::u16(FIRST..=LAST), Ordering::Relaxed, Ordering::Relaxed);
    let mut found = Vec::new();
    for _ in FIRST..=LAST {
        if found.len() == count {
            break;
        }
        let step = |port: u16| Some(if port >= LAST { FIRST } else { port + 1 });
        let port = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).expect("the step has no end");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
    }
    assert_eq!(found.len(), count, "no {count} free ports between {FIRST} and {LAST}");
    found
}
