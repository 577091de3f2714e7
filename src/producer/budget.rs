//! The memory records may take until their fate is known, and the buffers it is made of.

use crate::{Error, ErrorKind};
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes for batches. Whoever waits longest is served first; a buffer that comes back is kept for the next batch, within
/// the same limit.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    state: Mutex<State>,
}

/// How much memory is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Need {
    /// Less is of no use.
    pub(super) least: usize,
    /// What would serve best, not below `least`.
    pub(super) wanted: usize,
}

#[derive(Debug, Default)]
struct State {
    /// Capacity of buffers in use and of those reserved for waiters that have not come back yet.
    used: usize,
    /// Buffers that wait to be used again, by their capacity, which counts as free. Of equal ones the last to come back,
    /// which is in a cache, perhaps, goes first.
    spare: BTreeMap<usize, Vec<Vec<u8>>>,
    spare_bytes: usize,
    waiters: VecDeque<Arc<Waiter>>,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    need: Need,
    grant: Mutex<Grant>,
    changed: Condvar,
}

#[derive(Debug)]
enum Grant {
    Waiting,
    Granted(Taken),
    Closed,
}

/// What is counted as used from now on.
#[derive(Debug)]
enum Taken {
    /// A used buffer, with its whole capacity.
    Spare(Vec<u8>),
    /// One of so many bytes is to be made, by who asked.
    Fresh(usize),
}

impl Taken {
    fn buffer(&mut self) -> Vec<u8> {
        match self {
            Self::Spare(buffer) => std::mem::take(buffer),
            Self::Fresh(bytes) => Vec::with_capacity(*bytes),
        }
    }
}

impl Waiter {
    fn set(&self, grant: Grant) {
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = grant;
        self.changed.notify_all();
    }
}

impl Budget {
    pub(super) fn new(total: usize) -> Self {
        Self { total, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` if they are free and nobody waits.
    pub(super) fn try_take(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let free = state.waiters.is_empty() && state.used + bytes <= self.total;
        if free {
            state.used += bytes;
            state.trim(self.total);
        }
        free
    }

    /// Takes a buffer, a used one if there is one that fits, if there is enough memory and nobody waits.
    pub(super) fn try_take_buffer(&self, need: Need) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if !state.waiters.is_empty() {
            return None;
        }
        let mut taken = state.take(need, self.total)?;
        drop(state);
        Some(taken.buffer())
    }

    /// Takes a used buffer of `bytes` or some more, if there is such a one and nobody waits.
    pub(super) fn try_take_spare(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if !state.waiters.is_empty() {
            return None;
        }
        let free = self.total.saturating_sub(state.used);
        state.take_spare(bytes..=free.min(loosest(bytes)))
    }

    /// Waits until a buffer could be taken, at most until `deadline`. It is taken then.
    pub(super) fn take_buffer(&self, need: Need, deadline: Instant) -> Result<Vec<u8>, Error> {
        let waiter = {
            let mut state = self.lock();
            if need.least > self.total {
                let (least, total) = (need.least, self.total);
                let message = format!("a record needs {least} bytes, more than the {total} that all may take");
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            if state.closed {
                return Err(closed());
            }
            if state.waiters.is_empty()
                && let Some(mut taken) = state.take(need, self.total)
            {
                drop(state);
                return Ok(taken.buffer());
            }
            let waiter = Arc::new(Waiter { need, grant: Mutex::new(Grant::Waiting), changed: Condvar::new() });
            state.waiters.push_back(waiter.clone());
            waiter
        };
        let mut grant = waiter.grant.lock().unwrap_or_else(PoisonError::into_inner);
        while matches!(*grant, Grant::Waiting) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            grant = waiter.changed.wait_timeout(grant, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(grant);
        self.end_wait(&waiter)
    }

    fn end_wait(&self, waiter: &Arc<Waiter>) -> Result<Vec<u8>, Error> {
        let mut state = self.lock();
        // It may have been granted at the last moment.
        match &mut *waiter.grant.lock().unwrap_or_else(PoisonError::into_inner) {
            Grant::Granted(taken) => {
                drop(state);
                return Ok(taken.buffer());
            }
            Grant::Closed => return Err(closed()),
            Grant::Waiting => {}
        }
        state.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        state.grant(self.total);
        let message =
            format!("the {} bytes for unsent records stayed used up for as long as a send may block", self.total);
        Err(Error::new(ErrorKind::QueueFull, message).with_setting("buffer.memory"))
    }

    /// Counts a buffer that changed its size by other means.
    pub(super) fn adjust(&self, from: usize, to: usize) {
        let mut state = self.lock();
        state.used = (state.used + to).saturating_sub(from);
        state.trim(self.total);
        state.grant(self.total);
    }

    /// Gives back `bytes` that have no buffer.
    pub(super) fn give(&self, bytes: usize) {
        self.adjust(bytes, 0);
    }

    /// Gives back a buffer with its whole capacity.
    pub(super) fn give_buffer(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut state = self.lock();
        state.used = state.used.saturating_sub(buffer.capacity());
        state.spare_bytes += buffer.capacity();
        state.spare.entry(buffer.capacity()).or_default().push(buffer);
        state.grant(self.total);
        state.trim(self.total);
    }

    /// Lets all waits end with an error.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for waiter in std::mem::take(&mut state.waiters) {
            waiter.set(Grant::Closed);
        }
    }

    #[cfg(test)]
    pub(super) fn has_waiters(&self) -> bool {
        !self.lock().waiters.is_empty()
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.lock().used
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the producer is closed")
}

/// A used buffer that is larger than this would be a waste: it counts with its whole capacity.
fn loosest(wanted: usize) -> usize {
    wanted.saturating_mul(8)
}

impl State {
    /// Counts a buffer as used, and hands it out if it is one that came back. `None` if too little is free.
    fn take(&mut self, Need { least, wanted }: Need, total: usize) -> Option<Taken> {
        let free = total.saturating_sub(self.used);
        if let Some(spare) = self.take_spare(wanted..=free.min(loosest(wanted))) {
            return Some(Taken::Spare(spare));
        }
        // For as much as is wanted, spare buffers are dropped if need be: they seem to be of no use.
        let never_made = free.saturating_sub(self.spare_bytes);
        if free < wanted
            && let Some(spare) = self.take_largest_spare(least.max(never_made)..=free)
        {
            return Some(Taken::Spare(spare));
        }
        let bytes = if free < wanted && never_made >= least { never_made } else { free.min(wanted) };
        (bytes >= least).then(|| {
            self.used += bytes;
            self.trim(total);
            Taken::Fresh(bytes)
        })
    }

    /// The smallest in the range.
    fn take_spare(&mut self, capacity: RangeInclusive<usize>) -> Option<Vec<u8>> {
        let found = if capacity.is_empty() { None } else { self.spare.range(capacity).next().map(|(found, _)| *found) };
        self.use_spare(found?)
    }

    fn take_largest_spare(&mut self, capacity: RangeInclusive<usize>) -> Option<Vec<u8>> {
        let found =
            if capacity.is_empty() { None } else { self.spare.range(capacity).next_back().map(|(found, _)| *found) };
        self.use_spare(found?)
    }

    fn use_spare(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let spare = self.pop_spare(capacity)?;
        self.used += spare.capacity();
        Some(spare)
    }

    fn pop_spare(&mut self, capacity: usize) -> Option<Vec<u8>> {
        let equal = self.spare.get_mut(&capacity)?;
        let spare = equal.pop()?;
        if equal.is_empty() {
            self.spare.remove(&capacity);
        }
        self.spare_bytes -= spare.capacity();
        Some(spare)
    }

    /// Serves those who wait, in their order.
    fn grant(&mut self, total: usize) {
        while let Some(first) = self.waiters.pop_front() {
            let Some(taken) = self.take(first.need, total) else {
                self.waiters.push_front(first);
                return;
            };
            first.set(Grant::Granted(taken));
        }
    }

    /// Drops spare buffers that no longer fit beside what is used, the smallest first.
    fn trim(&mut self, total: usize) {
        while self.used + self.spare_bytes > total {
            let Some(smallest) = self.spare.keys().next().copied() else { break };
            drop(self.pop_spare(smallest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn need(bytes: usize) -> Need {
        Need { least: bytes, wanted: bytes }
    }

    #[test]
    fn p9_a_full_budget_ends_in_an_error_that_names_the_setting() {
        let budget = Budget::new(100);
        assert!(budget.try_take(100));
        let error = budget.take_buffer(need(1), Instant::now() + Duration::from_millis(5)).unwrap_err();
        assert_eq!((error.kind(), error.setting()), (ErrorKind::QueueFull, Some("buffer.memory")));
        budget.give(100);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.take_buffer(need(101), Instant::now()).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn who_waits_longest_is_served_first_and_newcomers_queue_up() {
        let budget = Arc::new(Budget::new(100));
        assert!(budget.try_take(100));
        let waiting = |bytes: usize| {
            let budget = budget.clone();
            let before = budget.lock().waiters.len();
            let clone = budget.clone();
            let thread =
                std::thread::spawn(move || clone.take_buffer(need(bytes), Instant::now() + Duration::from_secs(60)));
            while budget.lock().waiters.len() == before {
                std::thread::yield_now();
            }
            thread
        };
        let large = waiting(80);
        let small = waiting(10);
        budget.give(50);
        assert!(!budget.try_take(1), "others wait");
        assert_eq!(budget.lock().waiters.len(), 2, "the large one is first and does not fit yet");
        budget.give(50);
        large.join().unwrap().unwrap();
        small.join().unwrap().unwrap();
        assert_eq!(budget.used(), 90);
    }

    #[test]
    fn spare_buffers_are_used_again_and_stay_within_the_limit() {
        let budget = Budget::new(1000);
        let buffer = budget.try_take_buffer(need(400)).unwrap();
        let address = buffer.as_ptr();
        budget.give_buffer(buffer);
        assert_eq!(budget.used(), 0);
        let again = budget.try_take_buffer(need(100)).unwrap();
        assert_eq!((again.as_ptr(), again.capacity()), (address, 400));
        budget.give_buffer(again);
        assert!(budget.try_take(900), "the spare buffer makes room");
        assert!(budget.lock().spare.is_empty());
    }

    #[test]
    fn who_waits_gets_the_buffer_that_comes_back() {
        let budget = Arc::new(Budget::new(1000));
        let buffer = budget.try_take_buffer(need(1000)).unwrap();
        let address = buffer.as_ptr().addr();
        let clone = budget.clone();
        let waiter = std::thread::spawn(move || {
            clone.take_buffer(Need { least: 10, wanted: 900 }, Instant::now() + Duration::from_secs(60))
        });
        while budget.lock().waiters.is_empty() {
            std::thread::yield_now();
        }
        budget.give_buffer(buffer);
        let again = waiter.join().unwrap().unwrap();
        assert_eq!((again.as_ptr().addr(), again.capacity(), budget.used()), (address, 1000, 1000));
    }

    #[test]
    fn a_buffer_of_the_right_size_comes_before_one_that_would_waste_memory() {
        let budget = Budget::new(1000);
        let made = [500, 90, 300].map(|bytes| budget.try_take_buffer(need(bytes)).unwrap());
        made.into_iter().for_each(|buffer| budget.give_buffer(buffer));
        let small = budget.try_take_buffer(need(50)).unwrap();
        assert_eq!(small.capacity(), 90, "the smallest that fits");
        assert_eq!(budget.try_take_buffer(need(20)).unwrap().capacity(), 20, "300 would be a waste");
        assert_eq!(budget.used(), 110);
        assert!(budget.try_take_spare(550).is_none() && budget.try_take_spare(30).is_none());
        assert_eq!(budget.try_take_spare(200).unwrap().capacity(), 300);
        assert_eq!((budget.used(), budget.lock().spare_bytes), (410, 500));
        assert_eq!(budget.try_take_buffer(need(60)).unwrap().capacity(), 60, "what was never made");
        assert_eq!(budget.try_take_buffer(need(40)).unwrap().capacity(), 40, "the last spare one makes room");
        assert_eq!((budget.used(), budget.lock().spare_bytes), (510, 0));
    }

    #[test]
    fn who_wants_more_than_is_free_gets_the_most_that_there_is() {
        let budget = Budget::new(1000);
        let most = Need { least: 10, wanted: 900 };
        let made = [300, 200].map(|bytes| budget.try_take_buffer(need(bytes)).unwrap());
        made.into_iter().for_each(|buffer| budget.give_buffer(buffer));
        assert!(budget.try_take(240));
        assert_eq!(budget.try_take_buffer(most).unwrap().capacity(), 300, "a spare one before 260 fresh ones");
        assert_eq!(budget.try_take_buffer(most).unwrap().capacity(), 260);
        assert_eq!(budget.try_take_buffer(need(150)).unwrap().capacity(), 200);
        assert!(budget.try_take_buffer(most).is_none());
        budget.give(5);
        assert!(budget.try_take_buffer(most).is_none());
    }

    #[test]
    fn closing_ends_waits() {
        let budget = Arc::new(Budget::new(10));
        assert!(budget.try_take(10));
        let clone = budget.clone();
        let waiter = std::thread::spawn(move || clone.take_buffer(need(1), Instant::now() + Duration::from_secs(60)));
        while budget.lock().waiters.is_empty() {
            std::thread::yield_now();
        }
        budget.close();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
}
