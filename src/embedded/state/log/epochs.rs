//! Where in a log each leader began to write (KIP-101).

/// A leader's epoch and the first offset that it may have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    epoch: i32,
    start_offset: i64,
}

/// The epochs of a log, rising in epoch and in start offset.
#[derive(Debug, Default)]
pub(in crate::embedded) struct Epochs(Vec<Entry>);

impl Epochs {
    /// A leader of this epoch writes from this offset on. Says nothing new if it is the latest one already.
    pub(super) fn assign(&mut self, epoch: i32, start_offset: i64) {
        if self.0.last().is_some_and(|last| last.epoch == epoch) {
            return;
        }
        // Leaders that wrote nothing leave no trace.
        while self.0.pop_if(|last| last.epoch >= epoch || last.start_offset >= start_offset).is_some() {}
        self.0.push(Entry { epoch, start_offset });
    }

    /// The largest epoch up to this one, and the offset where the next larger began. `None` if this log knows of no
    /// such epoch.
    pub(super) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        let higher = self.0.partition_point(|entry| entry.epoch <= epoch);
        match (higher.checked_sub(1).and_then(|at| self.0.get(at)), self.0.get(higher)) {
            (Some(last), None) if last.epoch == epoch => Some((epoch, log_end_offset)),
            (_, None) => None,
            (Some(floor), Some(higher)) => Some((floor.epoch, higher.start_offset)),
            // What older leaders wrote has been deleted.
            (None, Some(higher)) => Some((epoch, higher.start_offset)),
        }
    }

    /// The epoch that the record at this offset has.
    pub(super) fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.0.partition_point(|entry| entry.start_offset <= offset);
        after.checked_sub(1).and_then(|at| self.0.get(at)).map(|entry| entry.epoch)
    }

    /// The log starts here now.
    pub(super) fn truncate_start(&mut self, start_offset: i64) {
        let gone = self.0.partition_point(|entry| entry.start_offset <= start_offset);
        if let Some(last) = gone.checked_sub(1) {
            self.0.drain(..last);
            if let Some(first) = self.0.first_mut() {
                first.start_offset = start_offset;
            }
        }
    }

    /// The log ends here now.
    pub(super) fn truncate_end(&mut self, end_offset: i64) {
        self.0.retain(|entry| entry.start_offset < end_offset);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        entries.iter().for_each(|(epoch, start)| epochs.assign(*epoch, *start));
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let epochs = epochs(&[(2, 10), (4, 20), (4, 25), (7, 30)]);
        let ends: Vec<_> = [-1, 1, 2, 3, 4, 6, 7, 8].map(|epoch| epochs.end_offset_for(epoch, 99)).into();
        let expected =
            [None, Some((1, 10)), Some((2, 20)), Some((2, 20)), Some((4, 30)), Some((4, 30)), Some((7, 99)), None];
        assert_eq!(ends, expected);
        assert_eq!([9, 10, 19, 30].map(|offset| epochs.epoch_at(offset)), [None, Some(2), Some(2), Some(7)]);
    }

    #[test]
    fn a_leader_that_wrote_nothing_leaves_no_trace() {
        assert_eq!(epochs(&[(0, 0), (1, 5), (2, 5)]).0, epochs(&[(0, 0), (2, 5)]).0);
    }

    #[test]
    fn the_ends_of_the_log_cut_the_epochs() {
        let mut epochs = epochs(&[(0, 0), (1, 10), (2, 20)]);
        epochs.truncate_start(15);
        assert_eq!(epochs.end_offset_for(0, 99), Some((0, 15)));
        assert_eq!(epochs.end_offset_for(1, 99), Some((1, 20)));
        epochs.truncate_end(20);
        assert_eq!(epochs.end_offset_for(1, 18), Some((1, 18)));
        assert_eq!(epochs.end_offset_for(2, 18), None);
    }
}
