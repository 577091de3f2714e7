//! The topics a producer has been given records for.

use super::partition::{Limits, PartitionQueue};
use crate::cluster::TopicUse;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Looked into for every record. They never get fewer.
#[derive(Debug)]
pub(super) struct Topics {
    /// Tells this producer's topics from those of others in the program.
    producer: u64,
    all: Vec<Arc<TopicQueue>>,
    /// Keeps the metadata of each fresh.
    in_use: Vec<TopicUse>,
    /// Where a topic stands in `all`. The hash is a fast one, with a random seed.
    places: HashMap<Arc<str>, usize, RandomState>,
    /// Where the topic stands that was asked for last: most often it is asked for again, and then needs no hash.
    last: AtomicUsize,
}

/// One topic's partitions as they are known; one with more takes its place when the topic has grown.
#[derive(Debug)]
pub(super) struct TopicQueue {
    pub(super) name: Arc<str>,
    /// Whose it is, as in [`Topics`].
    producer: u64,
    partitions: Vec<Arc<PartitionQueue>>,
    /// Where records go that could go anywhere.
    sticky: AtomicUsize,
    /// One with more partitions has its place. What is appended here goes its way all the same.
    replaced: AtomicBool,
}

/// A topic that is kept by who sends to it again and again: then it is found without a lock and without a hash.
#[derive(Debug, Default)]
pub(super) struct LastTopic {
    topic: Option<Arc<TopicQueue>>,
    /// Where the topic lies that another one was asked for last. It is kept when it is asked for twice in a row: keeping
    /// one costs more than finding it does.
    seen: usize,
}

impl LastTopic {
    /// The topic kept, if it is this one.
    #[inline]
    pub(super) fn get(&self, producer: u64, name: &str) -> Option<&TopicQueue> {
        let is_it = |topic: &&TopicQueue| {
            topic.producer == producer && *topic.name == *name && !topic.replaced.load(Ordering::Relaxed)
        };
        self.topic.as_deref().filter(is_it)
    }

    /// Another topic had to be found.
    #[inline]
    pub(super) fn found(&mut self, topic: &Arc<TopicQueue>) {
        let place = Arc::as_ptr(topic).addr();
        if self.seen == place {
            self.topic = Some(topic.clone());
        }
        self.seen = place;
    }
}

impl Topics {
    pub(super) fn new() -> Self {
        static PRODUCERS: AtomicU64 = AtomicU64::new(0);
        Self {
            producer: PRODUCERS.fetch_add(1, Ordering::Relaxed),
            all: Vec::new(),
            in_use: Vec::new(),
            places: HashMap::default(),
            last: AtomicUsize::new(0),
        }
    }

    pub(super) fn producer(&self) -> u64 {
        self.producer
    }

    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&Arc<TopicQueue>> {
        let last = self.all.get(self.last.load(Ordering::Relaxed));
        if let Some(last) = last.filter(|last| *last.name == *name) {
            return Some(last);
        }
        self.find(name)
    }

    fn find(&self, name: &str) -> Option<&Arc<TopicQueue>> {
        let place = *self.places.get(name)?;
        self.last.store(place, Ordering::Relaxed);
        self.all.get(place)
    }

    pub(super) fn all(&self) -> &[Arc<TopicQueue>] {
        &self.all
    }

    /// Adds a topic whose partitions are not known yet.
    pub(super) fn add(&mut self, name: &str, in_use: TopicUse) -> Arc<TopicQueue> {
        let topic = Arc::new(TopicQueue {
            name: Arc::from(name),
            producer: self.producer,
            partitions: Vec::new(),
            sticky: AtomicUsize::new(0),
            replaced: AtomicBool::new(false),
        });
        self.places.insert(topic.name.clone(), self.all.len());
        self.all.push(topic.clone());
        self.in_use.push(in_use);
        topic
    }

    /// Puts one with `count` partitions, which must not be fewer, into the topic's place.
    pub(super) fn grow(&mut self, topic: &TopicQueue, count: usize, limits: &Limits) -> Arc<TopicQueue> {
        let grown = Arc::new(topic.grown(count, limits));
        if let Some(place) = self.places.get(&topic.name).and_then(|place| self.all.get_mut(*place)) {
            *place = grown.clone();
        }
        topic.replaced.store(true, Ordering::Relaxed);
        grown
    }
}

impl TopicQueue {
    fn grown(&self, count: usize, limits: &Limits) -> Self {
        let mut partitions = self.partitions.clone();
        for index in partitions.len()..count {
            partitions.push(Arc::new(PartitionQueue::new(self.name.clone(), index as i32, limits.clone())));
        }
        Self {
            name: self.name.clone(),
            producer: self.producer,
            partitions,
            sticky: AtomicUsize::new(self.sticky()),
            replaced: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(super) fn partitions(&self) -> &[Arc<PartitionQueue>] {
        &self.partitions
    }

    /// The partition that records without a key stick to.
    #[inline]
    pub(super) fn sticky(&self) -> usize {
        self.sticky.load(Ordering::Relaxed)
    }

    /// Another one, with a leader if there is such a one.
    pub(super) fn switch_sticky(&self) -> usize {
        let partitions = &self.partitions;
        let start = fastrand::usize(..partitions.len());
        let order = (0..partitions.len()).map(|i| (start + i) % partitions.len());
        let next = order.into_iter().find(|i| partitions[*i].leader().is_some()).unwrap_or(start);
        self.sticky.store(next, Ordering::Relaxed);
        next
    }
}
