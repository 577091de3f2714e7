//! What became of the records a producer sent.

use std::sync::{Arc, Mutex};

use rdkafka::ClientContext;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, NoCustomPartitioner, ProducerContext};

/// A record's value, and its place or why it has none.
type Delivery = (String, String);

/// Given to a producer; its thread writes down each delivery.
pub(crate) struct Deliveries(Arc<Mutex<Vec<Delivery>>>);

/// The other end.
pub(crate) struct Delivered(Arc<Mutex<Vec<Delivery>>>);

impl Deliveries {
    pub(crate) fn new() -> (Self, Delivered) {
        let all = Arc::default();
        (Self(Arc::clone(&all)), Delivered(all))
    }
}

impl Delivered {
    /// The deliveries since the last call.
    pub(crate) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut self.0.lock().expect("no panic under the lock"))
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext<NoCustomPartitioner> for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let value = |payload: Option<&[u8]>| String::from_utf8_lossy(payload.unwrap_or_default()).into_owned();
        let delivery = match result {
            Ok(record) => (value(record.payload()), format!("to {}@{}", record.partition(), record.offset())),
            Err((error, record)) => (value(record.payload()), format!("failed: {error}")),
        };
        self.0.lock().expect("no panic under the lock").push(delivery);
    }
}
