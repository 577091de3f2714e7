//! The memory records may take until their fate is known, and the buffers it is made of.

use crate::{Error, ErrorKind};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Bytes for batches. Whoever waits longest is served first; a buffer that comes back is kept for the next batch, within
/// the same limit.
#[derive(Debug)]
pub(super) struct Budget {
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Capacity of buffers in use and of those reserved for waiters that have not come back yet.
    used: usize,
    /// Buffers that wait to be used again; their capacity counts as free.
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    waiters: VecDeque<Arc<Waiter>>,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    bytes: usize,
    grant: Mutex<Grant>,
    changed: Condvar,
}

#[derive(Debug)]
enum Grant {
    Waiting,
    /// A used buffer, with its whole capacity, or none: then one of the bytes asked for is to be made.
    Granted(Option<Vec<u8>>),
    Closed,
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

    /// Takes a buffer of at least `bytes`, a used one if there is one, if that is free and nobody waits.
    pub(super) fn try_take_buffer(&self, bytes: usize) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if !state.waiters.is_empty() {
            return None;
        }
        let used_before = state.take_bytes(bytes, self.total)?;
        drop(state);
        Some(used_before.unwrap_or_else(|| Vec::with_capacity(bytes)))
    }

    /// Waits until a buffer of at least `bytes` could be taken, at most until `deadline`. It is taken then.
    pub(super) fn take_buffer(&self, bytes: usize, deadline: Instant) -> Result<Vec<u8>, Error> {
        let waiter = {
            let mut state = self.lock();
            if bytes > self.total {
                let message = format!("a record needs {bytes} bytes, more than the {} that all may take", self.total);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            if state.closed {
                return Err(closed());
            }
            if state.waiters.is_empty()
                && let Some(buffer) = state.take_bytes(bytes, self.total)
            {
                drop(state);
                return Ok(buffer.unwrap_or_else(|| Vec::with_capacity(bytes)));
            }
            let waiter = Arc::new(Waiter { bytes, grant: Mutex::new(Grant::Waiting), changed: Condvar::new() });
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
            Grant::Granted(buffer) => {
                drop(state);
                return Ok(buffer.take().unwrap_or_else(|| Vec::with_capacity(waiter.bytes)));
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
        state.spare.push(buffer);
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

impl State {
    /// Counts a buffer of at least `bytes` as used, and hands it out if there is such a one. `None` if nothing is free.
    fn take_bytes(&mut self, bytes: usize, total: usize) -> Option<Option<Vec<u8>>> {
        let free = total.saturating_sub(self.used);
        // What came back last is in a cache, perhaps.
        let fits = |buffer: &Vec<u8>| (bytes..=free).contains(&buffer.capacity());
        let spare = self.spare.iter().rposition(fits).map(|at| self.spare.swap_remove(at));
        if spare.is_none() && bytes > free {
            return None;
        }
        let taken = spare.as_ref().map_or(bytes, Vec::capacity);
        self.spare_bytes -= spare.as_ref().map_or(0, Vec::capacity);
        self.used += taken;
        self.trim(total);
        Some(spare)
    }

    /// Serves those who wait, in their order.
    fn grant(&mut self, total: usize) {
        while let Some(first) = self.waiters.pop_front() {
            let Some(buffer) = self.take_bytes(first.bytes, total) else {
                self.waiters.push_front(first);
                return;
            };
            first.set(Grant::Granted(buffer));
        }
    }

    /// Drops spare buffers that no longer fit beside what is used.
    fn trim(&mut self, total: usize) {
        while self.used + self.spare_bytes > total {
            let Some(buffer) = self.spare.pop() else { break };
            self.spare_bytes -= buffer.capacity();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn p9_a_full_budget_ends_in_an_error_that_names_the_setting() {
        let budget = Budget::new(100);
        assert!(budget.try_take(100));
        let error = budget.take_buffer(1, Instant::now() + Duration::from_millis(5)).unwrap_err();
        assert_eq!((error.kind(), error.setting()), (ErrorKind::QueueFull, Some("buffer.memory")));
        budget.give(100);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.take_buffer(101, Instant::now()).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn who_waits_longest_is_served_first_and_newcomers_queue_up() {
        let budget = Arc::new(Budget::new(100));
        assert!(budget.try_take(100));
        let waiting = |bytes: usize| {
            let budget = budget.clone();
            let before = budget.lock().waiters.len();
            let clone = budget.clone();
            let thread = std::thread::spawn(move || clone.take_buffer(bytes, Instant::now() + Duration::from_secs(60)));
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
        let buffer = budget.try_take_buffer(400).unwrap();
        let address = buffer.as_ptr();
        budget.give_buffer(buffer);
        assert_eq!(budget.used(), 0);
        let again = budget.try_take_buffer(100).unwrap();
        assert_eq!((again.as_ptr(), again.capacity()), (address, 400));
        budget.give_buffer(again);
        assert!(budget.try_take(900), "the spare buffer makes room");
        assert!(budget.lock().spare.is_empty());
    }

    #[test]
    fn who_waits_gets_the_buffer_that_comes_back() {
        let budget = Arc::new(Budget::new(1000));
        let buffer = budget.try_take_buffer(1000).unwrap();
        let address = buffer.as_ptr().addr();
        let clone = budget.clone();
        let waiter = std::thread::spawn(move || clone.take_buffer(10, Instant::now() + Duration::from_secs(60)));
        while budget.lock().waiters.is_empty() {
            std::thread::yield_now();
        }
        budget.give_buffer(buffer);
        let again = waiter.join().unwrap().unwrap();
        assert_eq!((again.as_ptr().addr(), again.capacity(), budget.used()), (address, 1000, 1000));
    }

    #[test]
    fn closing_ends_waits() {
        let budget = Arc::new(Budget::new(10));
        assert!(budget.try_take(10));
        let clone = budget.clone();
        let waiter = std::thread::spawn(move || clone.take_buffer(1, Instant::now() + Duration::from_secs(60)));
        while budget.lock().waiters.is_empty() {
            std::thread::yield_now();
        }
        budget.close();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    }
}
