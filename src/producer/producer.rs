//! The pipelined producer.

use super::budget::Need;
use super::builder::ProducerBuilder;
use super::deliveries::Deliveries;
use super::delivery::{BatchOutcome, Delivery, SendError};
use super::partition::{Appended, Opened, PartitionQueue, max_size};
use super::router;
use super::shared::Shared;
use super::topics::TopicQueue;
use crate::batch::HEADER_BYTES;
use crate::cluster::Client;
use crate::net::Deadline;
use crate::{Error, ErrorKind, ProducerRecord, Result};
use crossbeam_channel::Receiver;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long dropping a producer may take: what is unsent then fails.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends records without waiting for each: [`send`](Self::send) puts a record into a batch and returns a
/// [`Delivery`] to wait on, now, later or never.
///
/// It can be shared by any number of threads. It has one thread per broker in use, `kafka-produce-{broker}`, and
/// one `kafka-produce-router`. Dropping it is [`close`](Self::close) with 5 s.
///
/// ```no_run
/// use sarameya::{Client, Producer, ProducerRecord};
/// use std::time::Duration;
///
/// let client = Client::connect("localhost:9092")?;
/// let producer = Producer::builder(&client).build()?;
/// let delivery = producer.send(&ProducerRecord::new("test3").key("k1").value("v1"))?;
/// // ... many more ...
/// let written = delivery.wait()?;
/// println!("produce {}/{:?}", written.partition(), written.offset());
/// producer.close(Duration::from_secs(10))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Producer {
    shared: Arc<Shared>,
    router: Mutex<Option<JoinHandle<()>>>,
}

impl Producer {
    /// Settings first.
    pub fn builder(client: &Client) -> ProducerBuilder {
        ProducerBuilder::new(client)
    }

    pub(super) fn start(shared: Shared, tokens: Receiver<()>) -> Result<Self> {
        let shared = Arc::new(shared);
        let router = router::start(&shared, tokens)?;
        Ok(Self { shared, router: Mutex::new(Some(router)) })
    }

    /// Hands over a record: copies it into a batch and returns.
    ///
    /// Blocks only for memory, and for the metadata of a topic or a partition that is new to this producer, at most
    /// [`max_block`](ProducerBuilder::max_block). Fails with [`SendError::NotPersisted`] if the record is too large,
    /// the topic or partition does not exist, memory stays used up, or the producer is closed.
    pub fn send(&self, record: &ProducerRecord<'_>) -> Result<Delivery, SendError> {
        self.append(record, true).map_err(SendError::NotPersisted)
    }

    /// Like [`send`](Self::send), but adds the record's delivery to those the caller keeps: the cheapest way to send many
    /// records and to know what became of each. Nothing is added if it fails.
    pub fn send_to(&self, record: &ProducerRecord<'_>, deliveries: &mut Deliveries) -> Result<(), SendError> {
        match self.append_and_keep(record, deliveries) {
            Ok(()) => Ok(()),
            Err(chosen) => {
                let delivery = self.append_and_schedule(record, chosen, true).map_err(SendError::NotPersisted)?;
                deliveries.push(delivery);
                Ok(())
            }
        }
    }

    /// Like [`send`](Self::send) but never blocks: without memory it fails with an error of kind
    /// [`QueueFull`](ErrorKind::QueueFull), and until the topic's metadata is there with one of kind
    /// [`Timeout`](ErrorKind::Timeout). Both are retriable.
    pub fn try_send(&self, record: &ProducerRecord<'_>) -> Result<Delivery, SendError> {
        self.append(record, false).map_err(SendError::NotPersisted)
    }

    /// Sends everything now, without waiting for the end of linger, and blocks until the fate of all records handed
    /// over before is known. Fails with an error of kind [`Timeout`](ErrorKind::Timeout) if `timeout` passes first; the
    /// records stay on their way. That single records failed is said by their deliveries only.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now().checked_add(timeout);
        let mut waiting = Vec::new();
        for topic in self.shared.topics() {
            for partition in topic.partitions() {
                let unresolved = partition.hurry();
                if !unresolved.is_empty() {
                    self.shared.schedule(partition, true);
                    waiting.extend(unresolved);
                }
            }
        }
        for (done, batch) in waiting.iter().enumerate() {
            if !batch.wait_for_all(deadline) {
                let message = format!("{} batches are not acknowledged yet", waiting.len() - done);
                return Err(Error::new(ErrorKind::Timeout, message));
            }
        }
        Ok(())
    }

    /// Takes no more records, sends what it has, and ends its threads: blocks until that is done, at most `timeout`
    /// and a moment. Records that are unresolved by then fail; the error says so.
    ///
    /// May be called from any thread, also while others send: their sends fail with kind [`Closed`](ErrorKind::Closed).
    pub fn close(self, timeout: Duration) -> Result<()> {
        self.close_impl(timeout)
    }

    pub(super) fn close_impl(&self, timeout: Duration) -> Result<()> {
        let Some(router) = self.router.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.budget.close();
        let flushed = self.flush(timeout);
        self.shared.interrupt.trigger();
        // Threads wait for nothing but what the interrupt ends.
        let deadline = Deadline::after(Duration::from_secs(1));
        let mut ended = true;
        for sender in self.shared.senders() {
            ended &= sender.join(deadline);
        }
        while !router.is_finished() && !deadline.has_passed() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        ended &= router.is_finished();
        self.shared.resolve_all(&Error::new(ErrorKind::Closed, "the producer was closed"));
        if !ended {
            return Err(Error::new(ErrorKind::Thread, "a thread of the producer did not end in time"));
        }
        flushed
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    #[inline]
    fn append(&self, record: &ProducerRecord<'_>, block: bool) -> Result<Delivery> {
        let keep = |batch: &Arc<BatchOutcome>, index| Delivery { batch: batch.clone(), index };
        let append = |topic: &Arc<TopicQueue>| self.append_in_place(topic, record, keep);
        match self.shared.with_topic(record.topic, append).unwrap_or(Err(None)) {
            Ok(delivery) => Ok(delivery),
            Err(chosen) => self.append_and_schedule(record, chosen, block),
        }
    }

    #[cold]
    fn append_and_schedule(&self, record: &ProducerRecord<'_>, chosen: Option<u32>, block: bool) -> Result<Delivery> {
        let (delivery, scheduled) = self.append_unscheduled(record, chosen, block)?;
        if let Some(partition) = scheduled {
            self.shared.schedule(&partition, true);
        }
        Ok(delivery)
    }

    /// The way of nearly all records: into a batch that is open and has room. Else nothing is changed, and all the rest,
    /// errors too, is [`append_unscheduled`](Self::append_unscheduled)'s; the error is the partition, if it was chosen,
    /// since a partitioner is not asked twice.
    #[inline]
    fn append_in_place<T>(
        &self,
        topic: &TopicQueue,
        record: &ProducerRecord<'_>,
        keep: impl FnOnce(&Arc<BatchOutcome>, u32) -> T,
    ) -> Result<T, Option<u32>> {
        let shared = &self.shared;
        let partitions = topic.partitions();
        if partitions.is_empty() || shared.is_closing() || max_size(record) > shared.config.max_request_size {
            return Err(None);
        }
        let chosen = self.choose(record, partitions.len()).map_err(|_| None)?;
        let partition = partitions.get(chosen.unwrap_or_else(|| topic.sticky())).ok_or(None)?;
        partition.append_in_place(record, keep).ok_or(chosen.map(|index| index as u32))
    }

    #[inline]
    fn append_and_keep(&self, record: &ProducerRecord<'_>, deliveries: &mut Deliveries) -> Result<(), Option<u32>> {
        let Deliveries { queue, last_topic } = deliveries;
        let keep = |batch: &Arc<BatchOutcome>, index| queue.add(batch, index);
        if let Some(topic) = last_topic.get(self.shared.number, record.topic) {
            return self.append_in_place(topic, record, keep);
        }
        let append = |topic: &Arc<TopicQueue>| {
            last_topic.found(topic);
            self.append_in_place(topic, record, keep)
        };
        self.shared.with_topic(record.topic, append).unwrap_or(Err(None))
    }

    /// Appends to the partition that has been chosen, if one was; returns it if its sender must be told, which a
    /// synchronous caller may spare itself.
    pub(super) fn append_unscheduled(
        &self,
        record: &ProducerRecord<'_>,
        chosen: Option<u32>,
        block: bool,
    ) -> Result<(Delivery, Option<Arc<PartitionQueue>>)> {
        self.shared.check_open()?;
        self.check_size(record)?;
        let shared = &self.shared;
        let mut deadline = None;
        // The clock is read only by those who have to wait.
        let mut until = || *deadline.get_or_insert_with(|| Deadline::after(shared.config.max_block));
        let mut looked_again = false;
        let mut granted = None;
        loop {
            let attempt = shared.with_topic(record.topic, |topic| self.try_append(topic, record, chosen, &mut granted));
            if let Some(buffer) = granted.take() {
                shared.budget.give_buffer(buffer);
            }
            match attempt {
                Some(Ok(Appended::Done(delivery))) => return Ok((delivery, None)),
                Some(Ok(Appended::Opened(opened))) => {
                    let Opened { delivery, partition, full } = opened;
                    if let Some(full) = full {
                        shared.seal_in_place(&partition, full);
                    }
                    shared.resolve_if_ended();
                    return Ok((delivery, Some(partition)));
                }
                Some(Ok(Appended::NeedsMemory(need))) => {
                    granted = Some(self.wait_for_memory(record, need, block, until())?);
                }
                Some(Ok(Appended::Refused(error))) => return Err(error.with_topic(record.topic)),
                // Not known, or known to have no partitions yet.
                None | Some(Ok(Appended::WouldOpen)) => self.learn_topic(record.topic, block, until())?,
                // The topic may have grown since its metadata was fetched.
                Some(Err(error)) if block && !looked_again && is_beyond(record, &error) => {
                    looked_again = true;
                    self.look_again(record.topic, until(), &error)?;
                }
                Some(Err(error)) => return Err(error),
            }
        }
    }

    fn check_size(&self, record: &ProducerRecord<'_>) -> Result<()> {
        let size = max_size(record) + HEADER_BYTES;
        let limit = self.shared.config.max_request_size;
        if size <= limit.saturating_add(HEADER_BYTES) {
            return Ok(());
        }
        let message = format!("a record of up to {size} bytes is over the limit of {limit}");
        Err(Error::new(ErrorKind::TooLarge, message).with_topic(record.topic).with_setting("max.request.size"))
    }

    /// Appends to the record's partition. [`Appended::WouldOpen`] if the topic has no partitions yet.
    fn try_append(
        &self,
        topic: &TopicQueue,
        record: &ProducerRecord<'_>,
        chosen: Option<u32>,
        granted: &mut Option<Vec<u8>>,
    ) -> Result<Appended> {
        let partitions = topic.partitions();
        if partitions.is_empty() {
            return Ok(Appended::WouldOpen);
        }
        let mut append =
            |index: usize, may_open: bool| partitions[index].append(record, &self.shared.budget, granted, may_open);
        let chosen = match chosen {
            // Partitions never get fewer.
            Some(index) => Some(index as usize),
            None => self.choose(record, partitions.len())?,
        };
        if let Some(index) = chosen {
            return Ok(append(index, true));
        }
        match append(topic.sticky(), partitions.len() == 1) {
            // A batch has just been closed here: the next one goes to another partition.
            Appended::WouldOpen => Ok(append(topic.switch_sticky(), true)),
            appended => Ok(appended),
        }
    }

    /// The partition the record names or the partitioner chooses; `None` for the sticky one.
    fn choose(&self, record: &ProducerRecord<'_>, count: usize) -> Result<Option<usize>> {
        let invalid = |message: String| Error::new(ErrorKind::InvalidArgument, message).with_topic(record.topic);
        if let Some(partition) = record.partition {
            return match usize::try_from(partition) {
                Ok(index) if index < count => Ok(Some(index)),
                _ => Err(invalid(format!("there are {count} partitions")).with_partition(partition)),
            };
        }
        let chosen =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.shared.partitioner.partition(record, count)));
        match chosen {
            Ok(Some(index)) if index >= count => Err(invalid(format!("the partitioner chose {index} of {count}"))),
            Ok(chosen) => Ok(chosen),
            Err(_) => Err(invalid("the partitioner panicked".into())),
        }
    }

    /// Takes a topic into use and waits for its partitions.
    #[cold]
    fn learn_topic(&self, topic: &str, block: bool, deadline: Deadline) -> Result<()> {
        if topic.is_empty() || topic.len() > 249 {
            return Err(
                Error::new(ErrorKind::InvalidArgument, "a topic's name has 1 to 249 characters").with_topic(topic)
            );
        }
        let queue = self.shared.add_topic(topic);
        let core = self.shared.core();
        let count = if block {
            core.wait_for_partitions(topic, &self.shared.interrupt, deadline)?
        } else {
            let snapshot = core.snapshot();
            snapshot.partition_count(topic).ok_or_else(|| match snapshot.topic(topic).map(|topic| topic.error) {
                Some(code) if !code.is_none() && !code.is_retriable() => {
                    Error::from_code(code, "the topic can't be used").with_topic(topic)
                }
                _ => Error::new(ErrorKind::Timeout, "the topic's metadata is being fetched").with_topic(topic),
            })?
        };
        let queue = self.shared.grow(&queue, count);
        let snapshot = core.snapshot();
        for partition in queue.partitions().iter().filter(|partition| partition.leader().is_none()) {
            // The router would do it as well, a moment later. What another thread has appended meanwhile is waiting.
            if let Some(leader) = snapshot.leader(topic, partition.index)
                && partition.set_leader(Some(leader.node_id))
            {
                self.shared.schedule(partition, true);
            }
        }
        Ok(())
    }

    /// Waits for newer metadata of a topic, and takes over what partitions it has. Without any, `error` stands.
    #[cold]
    fn look_again(&self, topic: &str, deadline: Deadline, error: &Error) -> Result<()> {
        let core = self.shared.core();
        let generation = core.snapshot().generation;
        let newer = core.wait_for(deadline, &self.shared.interrupt, "newer metadata of the topic", |snapshot| {
            Ok((snapshot.generation > generation).then_some(()))
        });
        newer.map_err(|_| error.clone())?;
        self.learn_topic(topic, true, deadline)
    }

    #[cold]
    fn wait_for_memory(
        &self,
        record: &ProducerRecord<'_>,
        need: Need,
        block: bool,
        deadline: Deadline,
    ) -> Result<Vec<u8>> {
        // Memory in open batches comes back by itself soon, unless they are told to wait for long.
        if self.shared.config.linger >= Duration::from_millis(20) {
            for topic in self.shared.topics() {
                for partition in topic.partitions() {
                    if !partition.hurry().is_empty() {
                        self.shared.schedule(partition, true);
                    }
                }
            }
        }
        let deadline = if block { deadline.instant() } else { Instant::now() };
        self.shared.budget.take_buffer(need, deadline).map_err(|error| match self.shared.check_open() {
            // What ended the producer says more than that it has ended.
            Err(fatal) if error.kind() == ErrorKind::Closed => fatal,
            _ => error.with_topic(record.topic),
        })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Err(error) = self.close_impl(DROP_TIMEOUT) {
            log::warn!("dropping a producer: {error}");
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

/// Whether the error is that the record names a partition beyond those known.
fn is_beyond(record: &ProducerRecord<'_>, error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidArgument
        && record.partition.is_some_and(|p| p >= 0 && error.partition() == Some(p))
}
