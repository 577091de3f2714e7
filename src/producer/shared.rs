//! What a producer's callers, senders and router share.

use super::budget::Budget;
use super::builder::ProducerConfig;
use super::partition::{Dropped, Due, Limits, PartitionQueue, Unsealed};
use super::partitioner::Partitioner;
use super::producer_id::ProducerIds;
use super::sender::{self, SenderHandle};
use super::topics::{TopicQueue, Topics};
use crate::batch::{Compression, Compressor, Decompressor, SealedBatch};
use crate::cluster::{Client, Core};
use crate::net::Interrupt;
use crate::{Error, ErrorKind, Result};
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// One per producer.
pub(super) struct Shared {
    pub(super) config: ProducerConfig,
    pub(super) client: Client,
    pub(super) partitioner: Box<dyn Partitioner>,
    pub(super) budget: Budget,
    pub(super) ids: ProducerIds,
    /// Ends every thread and wait of this producer.
    pub(super) interrupt: Interrupt,
    /// No more records are taken.
    pub(super) closing: AtomicBool,
    /// Bound 1: a token asks the router to look after leaders and deadlines, and a second one would say no more.
    router: Sender<()>,
    /// Tells this producer's topics from those of others in the program.
    pub(super) number: u64,
    topics: RwLock<Topics>,
    senders: Mutex<HashMap<i32, Arc<SenderHandle>>>,
    /// Compression contexts, as many as were ever used at once.
    compressors: Mutex<Vec<Compressor>>,
    /// What ended the producer, for all who ask later.
    fatal: Mutex<Option<Error>>,
    /// Nothing is sent any more: what is appended from now on is to be resolved by who appends it.
    ended: AtomicBool,
}

impl Shared {
    /// With the receiving end of the router's tokens.
    pub(super) fn new(
        config: ProducerConfig,
        client: Client,
        partitioner: Box<dyn Partitioner>,
    ) -> Result<(Self, Receiver<()>)> {
        let (router, tokens) = crossbeam_channel::bounded(1);
        let topics = Topics::new();
        let shared = Self {
            budget: Budget::new(config.buffer_memory),
            config,
            client,
            partitioner,
            ids: ProducerIds::default(),
            interrupt: Interrupt::new().map_err(|error| Error::io(error, "making a socket pair"))?,
            closing: AtomicBool::new(false),
            router,
            number: topics.producer(),
            topics: RwLock::new(topics),
            senders: Mutex::default(),
            compressors: Mutex::default(),
            fatal: Mutex::default(),
            ended: AtomicBool::new(false),
        };
        Ok((shared, tokens))
    }

    /// Lets the router look at leaders and deadlines.
    pub(super) fn wake_router(&self) {
        // A full channel holds the token already; without a router the producer is ending.
        let _ = self.router.try_send(());
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.client.core()
    }

    /// Runs `f` on a known topic without taking a reference count.
    #[inline]
    pub(super) fn with_topic<T>(&self, name: &str, f: impl FnOnce(&Arc<TopicQueue>) -> T) -> Option<T> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).map(f)
    }

    pub(super) fn topics(&self) -> Vec<Arc<TopicQueue>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).all().to_vec()
    }

    /// Adds a topic that is in use from now on; its partitions come with the metadata.
    pub(super) fn add_topic(&self, name: &str) -> Arc<TopicQueue> {
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(topic) = topics.get(name) {
            return topic.clone();
        }
        topics.add(name, self.core().use_topic(name, true))
    }

    /// Adds the partitions that a topic misses up to `count`; they never get fewer. Returns the topic as it is now.
    pub(super) fn grow(&self, topic: &Arc<TopicQueue>, count: usize) -> Arc<TopicQueue> {
        if topic.partitions().len() >= count {
            return topic.clone();
        }
        let limits = self.limits();
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        let current = topics.get(&topic.name).unwrap_or(topic).clone();
        if current.partitions().len() >= count {
            return current;
        }
        topics.grow(&current, count, &limits)
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            batch_size: self.config.batch_size,
            linger: self.config.linger,
            max_in_flight: self.config.max_in_flight_of_partition,
            idempotent: self.config.idempotence,
            compressed: self.config.compression != Compression::None,
            retry_backoff: self.core().config().retry_backoff.clone(),
        }
    }

    /// Tells the partition's sender, or the router if there is no leader, that something may be due.
    pub(super) fn schedule(self: &Arc<Self>, partition: &Arc<PartitionQueue>, wake: bool) {
        let due = partition.due(Instant::now());
        self.schedule_due(partition, due, wake);
    }

    /// Like [`schedule`](Self::schedule) if it is known when something is due; returns the sender that was told.
    pub(super) fn schedule_due(
        self: &Arc<Self>,
        partition: &Arc<PartitionQueue>,
        due: Due,
        wake: bool,
    ) -> Option<Arc<SenderHandle>> {
        let Some(node) = partition.leader() else {
            self.wake_router();
            return None;
        };
        if due == Due::Later {
            return None;
        }
        // A sender that has just retired is replaced; the new one can't retire before it has looked at its lists.
        while !self.interrupt.is_triggered() {
            let sender = self.sender(node)?;
            if sender.schedule(partition, due, wake) {
                return Some(sender);
            }
        }
        None
    }

    /// The sender of a node, started if there is none. `None` if no thread can be had: then the producer has ended.
    fn sender(self: &Arc<Self>, node: i32) -> Option<Arc<SenderHandle>> {
        let mut senders = self.lock_senders();
        if let Some(sender) = senders.get(&node).filter(|sender| !sender.is_retired()) {
            return Some(sender.clone());
        }
        match sender::start(self, node) {
            Ok(sender) => {
                senders.insert(node, sender.clone());
                Some(sender)
            }
            Err(error) => {
                drop(senders);
                self.fail_all(&error);
                None
            }
        }
    }

    pub(super) fn senders(&self) -> Vec<Arc<SenderHandle>> {
        self.lock_senders().values().cloned().collect()
    }

    fn lock_senders(&self) -> MutexGuard<'_, HashMap<i32, Arc<SenderHandle>>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compresses and checksums a batch, on whatever thread calls. A batch that can't be is an error of its records.
    pub(super) fn seal(&self, unsealed: Unsealed) -> Result<SealedBatch, ()> {
        let Unsealed { builder, outcome, .. } = unsealed;
        let before = builder.capacity();
        let mut compressor = self.compressor();
        // A codec that panics must not leave the batch's place in the queue taken for ever.
        let sealed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let sealed = builder.seal(self.config.compression, &mut compressor);
            (sealed, compressor)
        }));
        let (sealed, mut compressor) = sealed.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Unsupported, format!("{} panicked", self.config.compression));
            (Err(error), Compressor::default())
        });
        if let Ok(sealed) = &sealed
            && sealed.compression() != Compression::None
        {
            // Compressed into memory of its own: that counts now, and the first buffer is free for the next batch.
            self.budget.adjust(0, sealed.capacity());
            self.budget.give_buffer(compressor.take_spare());
        }
        self.compressors.lock().unwrap_or_else(PoisonError::into_inner).push(compressor);
        sealed.map_err(|error| {
            self.budget.give(before);
            // It was never sent, whatever the doubt it was taken out with.
            outcome.clear_doubt();
            outcome.fail(error);
        })
    }

    fn compressor(&self) -> Compressor {
        let pooled = self.compressors.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // The levels were checked when the producer was built.
        pooled.or_else(|| Compressor::new(self.config.compression_levels).ok()).unwrap_or_default()
    }

    /// Divides a batch that the broker finds too large.
    pub(super) fn split(&self, sealed: &SealedBatch) -> Result<[(Range<u32>, SealedBatch); 2]> {
        let mut compressor = self.compressor();
        let parts = sealed.split(&mut compressor, &mut Decompressor::new());
        drop(compressor.take_spare());
        self.compressors.lock().unwrap_or_else(PoisonError::into_inner).push(compressor);
        if let Ok(parts) = &parts {
            // Its records are already taken in, so this may go beyond the limit for a moment.
            self.budget.adjust(0, parts.iter().map(|(_, part)| part.capacity()).sum());
        }
        parts
    }

    /// Seals a full batch that still has its place in the queue, and lets its sender know.
    pub(super) fn seal_in_place(self: &Arc<Self>, partition: &Arc<PartitionQueue>, full: Unsealed) {
        let slot = full.slot();
        let outcome = full.outcome.clone();
        match self.seal(full) {
            Ok(sealed) => {
                if let Some(expired) = partition.sealed(slot, sealed, outcome) {
                    self.recycle(expired);
                }
            }
            Err(()) => partition.abandon(slot, &outcome),
        }
        self.schedule(partition, true);
    }

    /// Ends the producer for good: every record fails with this error, now and later.
    pub(super) fn fail_all(self: &Arc<Self>, error: &Error) {
        log::error!("the producer can't go on: {error}");
        self.fatal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        self.closing.store(true, Ordering::SeqCst);
        self.budget.close();
        self.resolve_all(error);
    }

    /// Resolves everything that is unresolved, for good.
    pub(super) fn resolve_all(&self, error: &Error) {
        self.ended.store(true, Ordering::SeqCst);
        let mut dropped = Dropped::default();
        for topic in self.topics() {
            for partition in topic.partitions() {
                let named = error.clone().with_topic(topic.name.clone()).with_partition(partition.index);
                partition.expire(None, &mut |outcome| _ = outcome.fail(named.clone()), &mut dropped);
            }
        }
        self.free(dropped);
    }

    /// To be called after a batch was opened: if everything has been resolved before that, nobody else will resolve it.
    pub(super) fn resolve_if_ended(&self) {
        if self.ended.load(Ordering::SeqCst) {
            let error = self.check_open().err();
            self.resolve_all(&error.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the producer is closed")));
        }
    }

    /// Gives back the memory of batches that were given up.
    pub(super) fn free(&self, dropped: Dropped) {
        for builder in dropped.builders {
            self.budget.give_buffer(builder.into_buffer());
        }
        for sealed in dropped.sealed {
            self.recycle(sealed);
        }
    }

    /// Whether no more records are taken.
    #[inline]
    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Why no more records are taken, if so.
    pub(super) fn check_open(&self) -> Result<()> {
        if !self.is_closing() {
            return Ok(());
        }
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(fatal.unwrap_or_else(|| Error::new(ErrorKind::Closed, "the producer is closed")))
    }

    pub(super) fn recycle(&self, sealed: SealedBatch) {
        let counted = sealed.capacity();
        match sealed.into_buffer() {
            Some(buffer) => {
                // Stamping may have copied it into a buffer of another size.
                if buffer.capacity() != counted {
                    self.budget.adjust(counted, buffer.capacity());
                }
                self.budget.give_buffer(buffer);
            }
            None => self.budget.give(counted),
        }
    }
}
