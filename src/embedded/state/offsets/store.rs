//! Where committed offsets are kept, those of open transactions as well.

use super::super::Time;
use std::collections::BTreeMap;

/// An offset as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::embedded) struct Committed {
    pub(in crate::embedded) offset: i64,
    /// -1 if it was not said.
    pub(in crate::embedded) leader_epoch: i32,
    pub(in crate::embedded) metadata: String,
    pub(in crate::embedded) at: Time,
    /// When it expires if the commit itself says so (before OffsetCommit version 5).
    pub(in crate::embedded) expires: Option<Time>,
    /// Its place among all commits, in the order in which they were made.
    order: u64,
}

impl Committed {
    pub(in crate::embedded) fn new(offset: i64, leader_epoch: i32, metadata: Option<String>, at: Time) -> Self {
        Self { offset, leader_epoch, metadata: metadata.unwrap_or_default(), at, expires: None, order: 0 }
    }
}

/// One group's offsets by topic and partition.
pub(in crate::embedded) type GroupOffsets = BTreeMap<(String, i32), Committed>;

/// All committed offsets.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Offsets {
    groups: BTreeMap<String, GroupOffsets>,
    /// Those of open transactions, by producer id and group.
    pending: BTreeMap<i64, BTreeMap<String, GroupOffsets>>,
    commits: u64,
    /// Whether the timer for retention is set.
    pub(super) watched: bool,
}

impl Offsets {
    pub(in crate::embedded) fn of_group(&self, group: &str) -> Option<&GroupOffsets> {
        self.groups.get(group)
    }

    pub(in crate::embedded) fn get(&self, group: &str, topic: &str, partition: i32) -> Option<&Committed> {
        self.groups.get(group)?.get(&(topic.to_owned(), partition))
    }

    pub(in crate::embedded) fn commit(&mut self, group: &str, topic: &str, partition: i32, mut committed: Committed) {
        self.commits += 1;
        committed.order = self.commits;
        self.groups.entry(group.to_owned()).or_default().insert((topic.to_owned(), partition), committed);
    }

    /// Keeps an offset until its producer's transaction ends.
    pub(in crate::embedded) fn pend(
        &mut self,
        producer_id: i64,
        group: &str,
        topic: &str,
        partition: i32,
        mut committed: Committed,
    ) {
        self.commits += 1;
        committed.order = self.commits;
        let groups = self.pending.entry(producer_id).or_default();
        groups.entry(group.to_owned()).or_default().insert((topic.to_owned(), partition), committed);
    }

    /// A producer's transaction has ended: its offsets are committed, except where a later commit has come meanwhile, or
    /// dropped.
    pub(in crate::embedded) fn end_pending(&mut self, producer_id: i64, commit: bool) {
        let ended = self.pending.remove(&producer_id).unwrap_or_default();
        for (group, offsets) in ended.into_iter().filter(|_| commit) {
            let kept = self.groups.entry(group).or_default();
            for (partition, committed) in offsets {
                if kept.get(&partition).is_none_or(|other| other.order < committed.order) {
                    kept.insert(partition, committed);
                }
            }
        }
    }

    /// Whether a partition's offset hangs on an open transaction.
    pub(in crate::embedded) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        let key = (topic.to_owned(), partition);
        self.pending.values().filter_map(|groups| groups.get(group)).any(|offsets| offsets.contains_key(&key))
    }

    /// Whether a group has a part in an open transaction.
    pub(in crate::embedded) fn is_group_pending(&self, group: &str) -> bool {
        self.pending.values().any(|groups| groups.contains_key(group))
    }

    /// Forgets one partition's offset, the pending one as well.
    pub(in crate::embedded) fn remove(&mut self, group: &str, topic: &str, partition: i32) {
        self.retain(group, |key| *key != (topic.to_owned(), partition));
    }

    /// Forgets all offsets of a group.
    pub(in crate::embedded) fn remove_group(&mut self, group: &str) {
        self.retain(group, |_| false);
    }

    /// Forgets what was committed for a topic that is deleted.
    pub(in crate::embedded) fn remove_topic(&mut self, topic: &str) {
        let pending = self.pending.values_mut().flat_map(BTreeMap::values_mut);
        for offsets in self.groups.values_mut().chain(pending) {
            offsets.retain(|(name, _), _| name != topic);
        }
        self.drop_empty();
    }

    fn retain(&mut self, group: &str, keep: impl Fn(&(String, i32)) -> bool) {
        let pending = self.pending.values_mut().filter_map(|groups| groups.get_mut(group));
        for offsets in self.groups.get_mut(group).into_iter().chain(pending) {
            offsets.retain(|key, _| keep(key));
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        self.groups.retain(|_, offsets| !offsets.is_empty());
        self.pending.values_mut().for_each(|groups| groups.retain(|_, offsets| !offsets.is_empty()));
        self.pending.retain(|_, groups| !groups.is_empty());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.pending.is_empty()
    }
}
