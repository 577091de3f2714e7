//! The requests that have come.

use crate::protocol::messages::ApiKey;
use crate::protocol::{Reader, Request};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// This many requests are kept, of all APIs together; then the oldest go.
const KEPT: usize = 10_000;
/// The bodies that are kept have so many bytes together at most.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// A request that has come to a broker.
#[derive(Clone)]
pub struct ReceivedRequest {
    pub(in crate::embedded) api: ApiKey,
    pub(in crate::embedded) version: i16,
    pub(in crate::embedded) broker: i32,
    pub(in crate::embedded) connection: u64,
    pub(in crate::embedded) client_id: String,
    pub(in crate::embedded) received_at: Duration,
    /// As it came.
    pub(in crate::embedded) bytes: Bytes,
}

impl ReceivedRequest {
    /// Which API was asked.
    pub fn api(&self) -> ApiKey {
        self.api
    }

    /// The version of the request.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The node id of the broker that was asked.
    pub fn broker(&self) -> i32 {
        self.broker
    }

    /// The number of the connection it came by. Numbers grow in the order of connecting, over all brokers, and none is
    /// used twice.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// The client's name; empty if it gave none. Kafka: `client.id`.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// When it had come, since the cluster was started, by the cluster's clock.
    pub fn received_at(&self) -> Duration {
        self.received_at
    }

    /// The request itself; `None` if it is another than an `R`.
    pub fn body<R: Request>(&self) -> Option<R> {
        let of_this_api = ApiKey(R::KEY) == self.api;
        of_this_api.then(|| R::decode(&mut Reader::new(self.bytes.clone()), self.version).ok()).flatten()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedRequest")
            .field("api", &self.api.name().unwrap_or("unknown"))
            .field("version", &self.version)
            .field("broker", &self.broker)
            .field("connection", &self.connection)
            .field("client_id", &self.client_id)
            .field("received_at", &self.received_at)
            // Their number only: they may be long, or hold a password.
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// What has come, bounded in number and bytes.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Observed {
    seen: Mutex<Seen>,
    /// Tells those who wait for requests.
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    requests: VecDeque<ReceivedRequest>,
    bytes: usize,
    /// How many have come of each API, those that are no longer kept as well.
    counts: HashMap<ApiKey, usize>,
}

impl Observed {
    pub(in crate::embedded) fn add(&self, request: ReceivedRequest) {
        let mut seen = self.seen();
        *seen.counts.entry(request.api).or_default() += 1;
        seen.bytes += request.bytes.len();
        seen.requests.push_back(request);
        while seen.requests.len() > KEPT || (seen.bytes > KEPT_BYTES && seen.requests.len() > 1) {
            let oldest = seen.requests.pop_front();
            seen.bytes -= oldest.map_or(0, |oldest| oldest.bytes.len());
        }
        self.arrived.notify_all();
    }

    pub(in crate::embedded) fn of(&self, api: ApiKey) -> Vec<ReceivedRequest> {
        self.seen().of(api)
    }

    /// How many requests of an API have come.
    pub(in crate::embedded) fn count(&self, api: ApiKey) -> usize {
        self.seen().count(api)
    }

    /// Waits until so many have come; false if it takes longer than the limit.
    pub(in crate::embedded) fn wait(&self, api: ApiKey, count: usize, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut seen = self.seen();
        while seen.count(api) < count {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            seen = self.arrived.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    pub(in crate::embedded) fn clear(&self) {
        *self.seen() = Seen::default();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn of(&self, api: ApiKey) -> Vec<ReceivedRequest> {
        self.requests.iter().filter(|request| request.api == api).cloned().collect()
    }

    fn count(&self, api: ApiKey) -> usize {
        self.counts.get(&api).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api: ApiKey, bytes: usize) -> ReceivedRequest {
        ReceivedRequest {
            api,
            version: 0,
            broker: 1,
            connection: 0,
            client_id: String::new(),
            received_at: Duration::ZERO,
            bytes: vec![0; bytes].into(),
        }
    }

    #[test]
    fn x10_the_bytes_of_a_request_do_not_show() {
        let request = ReceivedRequest { bytes: b"hunter2".to_vec().into(), ..request(ApiKey::SASL_AUTHENTICATE, 0) };
        let shown = format!("{request:?}");
        assert!(shown.contains("SaslAuthenticate") && shown.contains("bytes: 7"), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes_and_all_are_counted() {
        let observed = Observed::default();
        for _ in 0..KEPT + 5 {
            observed.add(request(ApiKey::METADATA, 1));
        }
        assert_eq!((observed.of(ApiKey::METADATA).len(), observed.count(ApiKey::METADATA)), (KEPT, KEPT + 5));
        observed.add(request(ApiKey::PRODUCE, KEPT_BYTES));
        assert_eq!((observed.of(ApiKey::METADATA).len(), observed.of(ApiKey::PRODUCE).len()), (0, 1));
        observed.add(request(ApiKey::PRODUCE, 2 * KEPT_BYTES));
        observed.add(request(ApiKey::PRODUCE, 3));
        assert_eq!(observed.of(ApiKey::PRODUCE).len(), 1);
        assert!(observed.wait(ApiKey::PRODUCE, 3, Duration::ZERO));
        assert!(!observed.wait(ApiKey::PRODUCE, 4, Duration::from_millis(1)));
        observed.clear();
        assert_eq!(observed.count(ApiKey::PRODUCE), 0);
    }
}
