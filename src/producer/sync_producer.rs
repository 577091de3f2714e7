//! The synchronous producer.

use super::builder::ProducerBuilder;
use super::delivery::{RecordMetadata, SendError};
use super::partition::Due;
use super::producer::Producer;
use crate::cluster::Client;
use crate::{ProducerRecord, Result};
use std::time::{Duration, Instant};

/// Sends records and waits for each: [`send`](Self::send) returns the partition and offset of the written record.
///
/// It can be shared by any number of threads; records of threads that wait at the same time go out in one request.
/// A thread that is alone with it writes to the socket and reads the answer itself.
///
/// ```no_run
/// use sarameya::{Acks, Client, ProducerRecord, SyncProducer};
///
/// let client = Client::connect("localhost:9092")?;
/// let producer = SyncProducer::builder(&client).acks(Acks::All).build_sync()?;
/// let sent = producer.send(&ProducerRecord::new("test3").key("k1").value("v1"))?;
/// println!("produce {}/{:?}", sent.partition(), sent.offset());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SyncProducer {
    producer: Producer,
}

impl SyncProducer {
    /// Settings first; end with [`build_sync`](ProducerBuilder::build_sync).
    pub fn builder(client: &Client) -> ProducerBuilder {
        ProducerBuilder::new(client)
    }

    pub(super) fn new(producer: Producer) -> Self {
        Self { producer }
    }

    /// Sends a record and blocks until its fate is known: at most
    /// [`max_block`](ProducerBuilder::max_block) and [`delivery_timeout`](ProducerBuilder::delivery_timeout) together.
    pub fn send(&self, record: &ProducerRecord<'_>) -> Result<RecordMetadata, SendError> {
        let shared = self.producer.shared();
        let (delivery, opened) =
            self.producer.append_unscheduled(record, None, true).map_err(SendError::NotPersisted)?;
        let Some(partition) = opened else { return delivery.wait() };
        let due = partition.due(Instant::now());
        let lone = matches!(due, Due::Now | Due::Unfilled);
        match shared.schedule_due(&partition, due, !lone) {
            Some(sender) if lone => sender.try_drive(shared, &|| delivery.batch.is_resolved()),
            _ => {}
        }
        delivery.wait()
    }

    /// Sends records together and blocks until the fate of all is known. The answers are in the records' order.
    pub fn send_all(&self, records: &[ProducerRecord<'_>]) -> Vec<Result<RecordMetadata, SendError>> {
        let deliveries: Vec<_> = records.iter().map(|record| self.producer.send(record)).collect();
        deliveries.into_iter().map(|delivery| delivery?.wait()).collect()
    }

    /// Ends it; see [`Producer::close`].
    pub fn close(self, timeout: Duration) -> Result<()> {
        self.producer.close(timeout)
    }
}
