//! The outcomes to come of many records, in little memory.

use super::delivery::{BatchOutcome, Delivery, RecordMetadata, SendError};
use super::topics::LastTopic;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The outcomes to come of records, in the order the records were handed over: a queue of [`Delivery`]s in which
/// neighbours that are in one batch take a single entry.
///
/// [`Producer::send_to`](super::Producer::send_to) adds to it, and is cheaper than [`send`](super::Producer::send): for
/// nearly all records a number is counted up. It is owned by who sends; each thread has its own. Dropping it changes
/// nothing for the records.
///
/// ```no_run
/// use sarameya::{Client, Deliveries, Producer, ProducerRecord};
///
/// let client = Client::connect("localhost:9092")?;
/// let producer = Producer::builder(&client).build()?;
/// let mut deliveries = Deliveries::new();
/// for value in ["a", "b", "c"] {
///     producer.send_to(&ProducerRecord::new("test3").value(value), &mut deliveries)?;
///     // What is known by now is taken off, so that the queue stays short.
///     while let Some(written) = deliveries.poll() {
///         println!("produce {:?}", written?.offset());
///     }
/// }
/// while let Some(written) = deliveries.wait() {
///     println!("produce {:?}", written?.offset());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Deliveries {
    pub(super) queue: Queue,
    /// So that the next record, most often for the same topic, need not look for it.
    pub(super) last_topic: LastTopic,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    runs: VecDeque<Run>,
    len: usize,
}

/// Records of one batch with indexes in a row.
#[derive(Debug)]
struct Run {
    batch: Arc<BatchOutcome>,
    first: u32,
    count: u32,
}

impl Deliveries {
    /// An empty queue; it does not allocate.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.queue.len
    }

    /// Whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.queue.len == 0
    }

    /// Adds a record behind the others.
    pub fn push(&mut self, delivery: Delivery) {
        self.queue.add(&delivery.batch, delivery.index);
    }

    /// Takes off the first record if its fate is known; does not block. `None` if it is not, or if there is no record.
    #[inline]
    pub fn poll(&mut self) -> Option<Result<RecordMetadata, SendError>> {
        let first = self.queue.runs.front()?;
        let result = first.batch.poll(first.first)?;
        self.queue.take_off();
        Some(result)
    }

    /// Takes off the first record and blocks until its fate is known, like [`Delivery::wait`]. `None` if there is no
    /// record.
    pub fn wait(&mut self) -> Option<Result<RecordMetadata, SendError>> {
        if let Some(result) = self.poll() {
            return Some(result);
        }
        let result = self.queue.first()?.wait();
        self.queue.take_off();
        Some(result)
    }

    /// Like [`wait`](Self::wait), for at most `timeout`; a record whose fate is not known by then stays, and the result
    /// is `None`.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<RecordMetadata, SendError>> {
        let result = self.queue.first()?.wait_timeout(timeout)?;
        self.queue.take_off();
        Some(result)
    }
}

impl Queue {
    #[inline]
    pub(super) fn add(&mut self, batch: &Arc<BatchOutcome>, index: u32) {
        self.len += 1;
        match self.runs.back_mut() {
            Some(run) if Arc::ptr_eq(&run.batch, batch) && run.first + run.count == index => run.count += 1,
            _ => self.runs.push_back(Run { batch: batch.clone(), first: index, count: 1 }),
        }
    }

    fn first(&self) -> Option<Delivery> {
        self.runs.front().map(|run| Delivery { batch: run.batch.clone(), index: run.first })
    }

    #[inline]
    fn take_off(&mut self) {
        let Some(first) = self.runs.front_mut() else { return };
        self.len -= 1;
        first.first += 1;
        first.count -= 1;
        if first.count == 0 {
            self.runs.pop_front();
        }
    }
}

impl Extend<Delivery> for Deliveries {
    fn extend<T: IntoIterator<Item = Delivery>>(&mut self, deliveries: T) {
        deliveries.into_iter().for_each(|delivery| self.push(delivery));
    }
}

#[cfg(test)]
mod tests {
    use super::super::delivery::Outcome;
    use super::*;
    use std::time::Instant;

    fn batch(partition: i32) -> Arc<BatchOutcome> {
        Arc::new(BatchOutcome::new(partition, Instant::now()))
    }

    fn write(batch: &BatchOutcome, base_offset: i64) {
        assert!(batch.resolve(Outcome::Written { base_offset, log_append_time: -1 }));
    }

    fn place(result: Result<RecordMetadata, SendError>) -> (i32, i64) {
        result.map(|written| (written.partition(), written.offset().unwrap())).unwrap()
    }

    #[test]
    fn neighbours_in_one_batch_share_an_entry_and_keep_their_order() {
        let (a, b) = (batch(0), batch(1));
        let mut deliveries = Deliveries::new();
        // The last one is of the first batch again, and another record than the next in its row.
        let sent = [(&a, 0), (&a, 1), (&b, 0), (&b, 1), (&b, 2), (&a, 4)];
        deliveries.extend(sent.map(|(batch, index)| Delivery { batch: batch.clone(), index }));
        assert_eq!((deliveries.len(), deliveries.queue.runs.len()), (6, 3));
        write(&b, 20);
        assert!(deliveries.poll().is_none(), "the first record's fate is not known");
        write(&a, 10);
        let places: Vec<_> = std::iter::from_fn(|| deliveries.poll()).map(place).collect();
        assert_eq!(places, [(0, 10), (0, 11), (1, 20), (1, 21), (1, 22), (0, 14)]);
        assert!(deliveries.is_empty() && deliveries.wait().is_none());
    }

    #[test]
    fn records_that_are_not_in_a_row_are_not_taken_for_a_run() {
        let a = batch(0);
        let mut deliveries = Deliveries::new();
        for index in [0, 2, 1] {
            deliveries.queue.add(&a, index);
        }
        write(&a, 0);
        let places: Vec<_> = std::iter::from_fn(|| deliveries.wait()).map(place).collect();
        assert_eq!(places, [(0, 0), (0, 2), (0, 1)]);
    }

    #[test]
    fn waiting_in_vain_leaves_the_record() {
        let a = batch(3);
        let mut deliveries = Deliveries::new();
        deliveries.queue.add(&a, 7);
        assert!(deliveries.wait_timeout(Duration::ZERO).is_none());
        assert_eq!(deliveries.len(), 1);
        write(&a, 100);
        assert_eq!(deliveries.wait_timeout(Duration::ZERO).map(place), Some((3, 107)));
        assert!(deliveries.is_empty());
    }

    #[test]
    fn records_of_a_split_batch_find_their_part() {
        let (whole, parts) = (batch(0), [batch(0), batch(0)]);
        let mut deliveries = Deliveries::new();
        (0..3).for_each(|index| deliveries.queue.add(&whole, index));
        whole.resolve(Outcome::Split(vec![(0, parts[0].clone()), (2, parts[1].clone())]));
        write(&parts[0], 50);
        assert_eq!([deliveries.poll(), deliveries.poll()].map(|result| place(result.unwrap())), [(0, 50), (0, 51)]);
        assert!(deliveries.poll().is_none());
        write(&parts[1], 80);
        assert_eq!(deliveries.poll().map(place), Some((0, 80)));
    }
}
