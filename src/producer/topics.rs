//! The topics a producer has been given records for.

use super::partition::{Limits, PartitionQueue};
use crate::cluster::TopicUse;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Looked into for every record. They never get fewer.
#[derive(Debug, Default)]
pub(super) struct Topics {
    all: Vec<Arc<TopicQueue>>,
    /// Where a topic stands in `all`. The hash is a fast one, with a random seed.
    places: HashMap<Arc<str>, usize, RandomState>,
    /// Where the topic stands that was asked for last: most often it is asked for again, and then needs no hash.
    last: AtomicUsize,
}

/// One topic's partitions as they are known; one with more takes its place when the topic has grown.
#[derive(Debug)]
pub(super) struct TopicQueue {
    pub(super) name: Arc<str>,
    partitions: Vec<Arc<PartitionQueue>>,
    /// Where records go that could go anywhere.
    sticky: AtomicUsize,
    /// Keeps the topic's metadata fresh.
    in_use: Arc<TopicUse>,
}

impl Topics {
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

    /// Adds the topic, or puts it into the place of the one with its name.
    pub(super) fn insert(&mut self, topic: Arc<TopicQueue>) {
        match self.places.get(&topic.name) {
            Some(place) => self.all[*place] = topic,
            None => {
                self.places.insert(topic.name.clone(), self.all.len());
                self.all.push(topic);
            }
        }
    }
}

impl TopicQueue {
    /// One whose partitions are not known yet.
    pub(super) fn new(name: &str, in_use: Arc<TopicUse>) -> Self {
        Self { name: Arc::from(name), partitions: Vec::new(), sticky: AtomicUsize::new(0), in_use }
    }

    /// The same with `count` partitions, which must not be fewer.
    pub(super) fn grown(&self, count: usize, limits: &Limits) -> Self {
        let mut partitions = self.partitions.clone();
        for index in partitions.len()..count {
            partitions.push(Arc::new(PartitionQueue::new(self.name.clone(), index as i32, limits.clone())));
        }
        let sticky = AtomicUsize::new(self.sticky());
        Self { name: self.name.clone(), partitions, sticky, in_use: self.in_use.clone() }
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
