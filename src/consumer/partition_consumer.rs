//! Reads one partition without a group.

use super::core::{ConsumerCore, StartPartition};
use super::fetched::FetchedBatch;
use super::settings::{FetchConfig, StartOffset, fetch_setters};
use super::stream::{Next, PartitionStream};
use crate::cluster::Client;
use crate::config::Properties;
use crate::net::Deadline;
use crate::{ConsumerRecord, Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

/// Reads one partition, from where it is told, without a group and without committing anything.
///
/// It has two threads of its own, `kafka-router` and `kafka-fetch-{broker}`, and one connection. Records are fetched
/// ahead: two portions of `max.partition.fetch.bytes` at most. While the partition has no leader, or the
/// broker is away, the calls below just wait.
///
/// An error is either one after which reading goes on by itself when its cause has gone, such as a missing right; or it
/// ends the partition ([`is_stopped`](Self::is_stopped)), such as a batch that is damaged in the log. No error
/// skips a record, and none but an offset that the broker does not have moves the position.
///
/// ```no_run
/// # fn main() -> sarameya::Result<()> {
/// use sarameya::{Client, PartitionConsumer, StartOffset};
///
/// let client = Client::connect("localhost:9092")?;
/// let mut consumer = PartitionConsumer::builder(&client, "test3", 0).start(StartOffset::Earliest).build()?;
/// for record in &mut consumer {
///     let record = record?;
///     println!("{}: {:?}", record.offset(), record.value());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PartitionConsumer {
    // Before the core, so that the partition ends first.
    stream: PartitionStream,
    core: ConsumerCore,
}

/// Settings of a [`PartitionConsumer`].
#[derive(Debug, Clone)]
#[must_use]
pub struct PartitionConsumerBuilder {
    client: Client,
    topic: String,
    partition: i32,
    start: StartOffset,
    fetch: FetchConfig,
}

impl PartitionConsumer {
    /// Settings first.
    pub fn builder(client: &Client, topic: impl Into<String>, partition: i32) -> PartitionConsumerBuilder {
        PartitionConsumerBuilder {
            client: client.clone(),
            topic: topic.into(),
            partition,
            start: StartOffset::Latest,
            fetch: FetchConfig::default(),
        }
    }

    /// The next record; `None` if none came within the timeout. A timeout of zero returns what is there already.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<ConsumerRecord>> {
        let deadline = Deadline::after(timeout).instant();
        ready(self.stream.next_record(None, Some(deadline))?)
    }

    /// The next batch as it is in the log, whose records are borrowed and cost no reference count; `None` if none came
    /// within the timeout. The position moves behind the batch at once.
    pub fn next_batch(&mut self, timeout: Duration) -> Result<Option<FetchedBatch>> {
        let deadline = Deadline::after(timeout).instant();
        ready(self.stream.next_batch(None, Some(deadline))?)
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.stream.topic()
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.stream.partition()
    }

    /// The offset of the next record, or of the first one after it that there is; `None` while the start is looked up.
    pub fn position(&self) -> Option<i64> {
        self.stream.position()
    }

    /// The offset behind the last record that consumers may read, as of the last answer; `None` before the first.
    pub fn high_watermark(&self) -> Option<i64> {
        self.stream.high_watermark()
    }

    /// How many offsets lie between the position and the high watermark; `None` while either is unknown.
    pub fn lag(&self) -> Option<u64> {
        self.stream.lag()
    }

    /// How often the reset policy has moved the position.
    pub fn offset_resets(&self) -> u64 {
        self.stream.resets()
    }

    /// Whether an error has ended the partition: every call from then on returns it.
    pub fn is_stopped(&self) -> bool {
        self.stream.is_stopped()
    }

    /// Goes on from elsewhere; what was fetched ahead is thrown away. Does not wait. A partition that was ended by a batch
    /// that can't be read can be made to go on behind it.
    ///
    /// # Errors
    /// The error that ended the partition, unless it was found in a batch: then nothing fetches it any more.
    pub fn seek(&mut self, start: StartOffset) -> Result<()> {
        self.stream.seek(start.into())
    }

    /// Ends its threads; waits for them, at most for the timeout. Dropping the consumer does the same within 5 s.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) if a thread did not end in time; it ends later.
    pub fn close(self, timeout: Duration) -> Result<()> {
        let Self { stream, core } = self;
        drop(stream);
        core.close(Deadline::after(timeout))
    }
}

fn ready<T>(next: Next<T>) -> Result<Option<T>> {
    match next {
        Next::Ready(thing) => Ok(Some(thing)),
        Next::TimedOut => Ok(None),
        Next::Ended => Err(Error::new(ErrorKind::Closed, "the consumer is closed")),
    }
}

/// Records of a [`PartitionConsumer`], as they come.
#[derive(Debug)]
pub struct PartitionRecords<'a> {
    consumer: &'a mut PartitionConsumer,
}

impl<'a> IntoIterator for &'a mut PartitionConsumer {
    type Item = Result<ConsumerRecord>;
    type IntoIter = PartitionRecords<'a>;

    /// Waits for records without limit. Ends after the error that ended the partition.
    fn into_iter(self) -> PartitionRecords<'a> {
        PartitionRecords { consumer: self }
    }
}

impl Iterator for PartitionRecords<'_> {
    type Item = Result<ConsumerRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.consumer.stream.is_stopped() {
            return None;
        }
        match self.consumer.stream.next_record(None, None) {
            Ok(Next::Ready(record)) => Some(Ok(record)),
            Ok(Next::TimedOut | Next::Ended) => None,
            Err(error) => Some(Err(error)),
        }
    }
}

impl PartitionConsumerBuilder {
    /// Where to begin.
    ///
    /// Defaults to [`StartOffset::Latest`]. Kafka's `auto.offset.reset`, given through
    /// [`properties`](Self::properties), sets it as well.
    pub fn start(mut self, start: StartOffset) -> Self {
        self.start = start;
        self
    }

    fetch_setters!();

    /// Takes the settings that are a partition consumer's from a list of settings by their Kafka names.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), naming a setting whose value can't be read.
    pub fn properties(mut self, properties: &Properties) -> Result<Self> {
        for setting in properties.iter() {
            self.fetch.set(&setting)?;
            if setting.name() == "auto.offset.reset" {
                self.start = self.fetch.reset_start().unwrap_or(self.start);
            }
        }
        Ok(self)
    }

    /// Makes the consumer, which begins to fetch at once. Blocks while the topic's metadata is fetched, at most the
    /// client's request timeout.
    ///
    /// # Errors
    /// If the topic or the partition does not exist, or the settings contradict each other.
    pub fn build(self) -> Result<PartitionConsumer> {
        let core = self.client.core();
        let in_use = core.use_topic(&self.topic, false);
        let deadline = Deadline::after(core.config().request_timeout);
        let count = core.wait_for_partitions(&self.topic, core.interrupt(), deadline)?;
        if usize::try_from(self.partition).map_or(true, |partition| partition >= count) {
            let message = format!("partition {} of a topic with {count} partitions", self.partition);
            return Err(Error::new(ErrorKind::InvalidArgument, message).with_topic(self.topic));
        }
        if matches!(self.start, StartOffset::Offset(..0)) {
            let message = "a start offset must not be negative";
            return Err(Error::new(ErrorKind::InvalidArgument, message).with_topic(self.topic));
        }
        let core = ConsumerCore::start(&self.client, self.fetch)?;
        let topic: Arc<str> = Arc::from(self.topic);
        let start = StartPartition { topic, partition: self.partition, start: self.start.into() };
        let stream = core.add(vec![start]).pop();
        drop(in_use);
        let stream = stream.ok_or_else(|| Error::new(ErrorKind::Closed, "the consumer is closed"))?;
        Ok(PartitionConsumer { stream, core })
    }
}
