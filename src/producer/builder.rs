//! The producer's settings.

use super::gathering::GatherLimits;
use super::partitioner::{Murmur2Partitioner, Partitioner, RoundRobinPartitioner};
use super::producer::Producer;
use super::shared::Shared;
use super::sync_producer::SyncProducer;
use crate::batch::{Compression, CompressionLevels};
use crate::cluster::Client;
use crate::config::{Properties, Setting};
use crate::{Error, Result};
use crossbeam_channel::Receiver;
use std::time::Duration;

/// When a send counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// When the request is written to the socket; the broker does not answer, so records can be lost unseen.
    None,
    /// When the partition's leader has written it; lost if that leader fails before others have copied it.
    Leader,
    /// When all in-sync replicas have it.
    All,
}

impl Acks {
    pub(super) fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }

    pub(super) fn answered(self) -> bool {
        self != Self::None
    }
}

/// Checked settings.
#[derive(Debug, Clone)]
pub(super) struct ProducerConfig {
    pub(super) acks: Acks,
    pub(super) idempotence: bool,
    pub(super) linger: Duration,
    pub(super) batch_size: usize,
    pub(super) max_request_size: usize,
    pub(super) buffer_memory: usize,
    pub(super) max_block: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) compression: Compression,
    pub(super) compression_levels: CompressionLevels,
    pub(super) max_in_flight: usize,
    /// Of these, how many may have a batch of the same partition.
    pub(super) max_in_flight_of_partition: usize,
    pub(super) retries: u32,
    pub(super) gather_limits: GatherLimits,
}

impl ProducerConfig {
    /// The lowest version of Produce that may carry this compression.
    pub(super) fn compression_floor(&self) -> i16 {
        // Brokers before 2.1 do not know zstd (KIP-110).
        if self.compression == Compression::Zstd { 7 } else { 3 }
    }
}

/// Settings of a [`Producer`] or a [`SyncProducer`].
#[must_use]
#[derive(Debug)]
pub struct ProducerBuilder {
    client: Client,
    acks: Acks,
    idempotence: Option<bool>,
    linger: Option<Duration>,
    batch_size: usize,
    max_request_size: usize,
    buffer_memory: usize,
    max_block: Duration,
    delivery_timeout: Duration,
    compression: Compression,
    compression_levels: CompressionLevels,
    max_in_flight: Option<usize>,
    retries: u32,
    pub(super) gather_limits: GatherLimits,
    partitioner: Box<dyn Partitioner>,
}

impl ProducerBuilder {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            acks: Acks::All,
            idempotence: None,
            linger: None,
            batch_size: 1_000_000,
            max_request_size: 1024 * 1024,
            buffer_memory: 32 * 1024 * 1024,
            max_block: Duration::from_secs(60),
            delivery_timeout: Duration::from_secs(120),
            compression: Compression::None,
            compression_levels: CompressionLevels::default(),
            max_in_flight: None,
            retries: u32::MAX,
            gather_limits: GatherLimits::default(),
            partitioner: Box::new(Murmur2Partitioner),
        }
    }

    /// When a send counts as done. `None` and `Leader` turn idempotence off, unless it was asked for.
    ///
    /// Kafka: `acks`. Defaults to all.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// Whether the broker drops duplicates of retried batches and keeps their order (KIP-98). Needs acks all, at
    /// most 5 requests in flight and retries; without one of them it is off unless asked for here, and then building fails.
    ///
    /// Kafka: `enable.idempotence`. Defaults to true.
    pub fn idempotence(mut self, idempotence: bool) -> Self {
        self.idempotence = Some(idempotence);
        self
    }

    /// How long a batch waits for more records. A full batch never waits. One with room waits longer while an answer of its
    /// broker is outstanding, since that broker would not look at it sooner: until the answer, another batch that has to
    /// go, or a flush, and for 5 ms at most; for 1 ms if the broker has never answered in less than that.
    ///
    /// Kafka: `linger.ms`. Defaults to 5 ms for a [`Producer`] and 0 for a [`SyncProducer`], whose waiting callers
    /// form batches by themselves.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// The size in bytes, before compression, at which a batch is closed. A larger record gets a batch of its own.
    /// Buffers grow with what is in them, so a large value costs slow partitions nothing.
    ///
    /// Kafka: `batch.size`. Defaults to 1,000,000. Range: 1 to 2^30.
    pub fn batch_size(mut self, bytes: usize) -> Self {
        self.batch_size = bytes;
        self
    }

    /// The largest record in bytes, before compression. The broker has a limit of its own, `message.max.bytes`, for
    /// the batch as it is sent.
    ///
    /// Kafka: `max.request.size`. Defaults to 1 MiB. Range: 1 to 2^30.
    pub fn max_request_size(mut self, bytes: usize) -> Self {
        self.max_request_size = bytes;
        self
    }

    /// The memory in bytes that records may take until their fate is known. When it is used up, sends block. Beside it each
    /// thread that compresses at the same time has room for one compressed batch.
    ///
    /// Kafka: `buffer.memory`. Defaults to 32 MiB. At least the batch size and the largest record.
    pub fn buffer_memory(mut self, bytes: usize) -> Self {
        self.buffer_memory = bytes;
        self
    }

    /// How long a send may block for memory, and for the metadata of a topic that is new to the producer.
    ///
    /// Kafka: `max.block.ms`. Defaults to 60 s.
    pub fn max_block(mut self, timeout: Duration) -> Self {
        self.max_block = timeout;
        self
    }

    /// How long after its send a record's fate is known at the latest: linger, all retries and their answers.
    ///
    /// Kafka: `delivery.timeout.ms`. Defaults to 120 s. At least linger and the client's request timeout together.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// How batches are compressed.
    ///
    /// Kafka: `compression.type`. Defaults to none.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How much work compression puts in.
    ///
    /// Kafka: `compression.gzip.level`, `compression.zstd.level`. Defaults to each codec's own default.
    pub fn compression_levels(mut self, levels: CompressionLevels) -> Self {
        self.compression_levels = levels;
        self
    }

    /// How many requests may be on their way to one broker. With idempotence a partition may have a batch in each of them,
    /// and its order is kept.
    ///
    /// Without idempotence nothing but waiting keeps the order, so a partition has one batch on its way at a time,
    /// unless this is set: then it may have as many as that, which counts over long distances, and a batch that has to be
    /// sent again may come after later ones, as with Kafka's own client. Set to 1, it keeps the order.
    ///
    /// Kafka: `max.in.flight.requests.per.connection`. Defaults to 5. Range: 1 to 1000; with idempotence 1 to 5.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = Some(requests);
        self
    }

    /// How often a batch is sent again before its records fail, each attempt after a growing pause. The
    /// [delivery timeout](Self::delivery_timeout) limits the same thing in a way that is easier to predict, so this is
    /// best left alone. With 0 idempotence is off unless asked for, and then building fails.
    ///
    /// Kafka: `retries`. Defaults to no limit of its own.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Who chooses partitions for records that name none.
    ///
    /// Kafka: `partitioner.class`. Defaults to [`Murmur2Partitioner`].
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> Self {
        self.partitioner = Box::new(partitioner);
        self
    }

    /// Takes the settings that are the producer's from a list of settings by their Kafka names.
    ///
    /// An error names a setting whose value can't be read.
    pub fn properties(mut self, properties: &Properties) -> Result<Self> {
        for setting in properties.iter() {
            self.set(&setting)?;
        }
        Ok(self)
    }

    fn set(&mut self, setting: &Setting<'_>) -> Result<()> {
        match setting.name() {
            "acks" => {
                self.acks = match setting.text() {
                    "0" => Acks::None,
                    "1" => Acks::Leader,
                    "-1" | "all" => Acks::All,
                    other => return Err(setting.refuse(&format!("{other:?} is none of 0, 1, all"))),
                }
            }
            "enable.idempotence" => self.idempotence = Some(setting.boolean()?),
            "linger.ms" => self.linger = Some(setting.milliseconds()?),
            "batch.size" => self.batch_size = setting.number()?,
            "max.request.size" => self.max_request_size = setting.number()?,
            "buffer.memory" => self.buffer_memory = setting.number()?,
            "max.block.ms" => self.max_block = setting.milliseconds()?,
            "delivery.timeout.ms" => self.delivery_timeout = setting.milliseconds()?,
            "compression.type" => {
                self.compression = setting.text().parse().map_err(|error: Error| setting.refuse(&error.to_string()))?;
            }
            "compression.gzip.level" => self.compression_levels.gzip = setting.number()?,
            "compression.zstd.level" => self.compression_levels.zstd = setting.number()?,
            "max.in.flight.requests.per.connection" => self.max_in_flight = Some(setting.number()?),
            "retries" => self.retries = setting.number()?,
            "partitioner.class" => match setting.text().rsplit('.').next() {
                Some("" | "DefaultPartitioner" | "UniformStickyPartitioner") => {}
                Some("RoundRobinPartitioner") => self.partitioner = Box::new(RoundRobinPartitioner::default()),
                _ => return Err(setting.refuse("a Java class can't be used here; set a partitioner in code")),
            },
            _ => {}
        }
        Ok(())
    }

    /// Starts a pipelined producer. Does not block; an error names the settings that are out of range or in conflict.
    pub fn build(self) -> Result<Producer> {
        let linger = self.linger.unwrap_or(Duration::from_millis(5));
        let (shared, tokens) = self.check(linger)?;
        Producer::start(shared, tokens)
    }

    /// Starts a synchronous producer. Does not block; an error names the settings that are out of range or in conflict.
    pub fn build_sync(self) -> Result<SyncProducer> {
        let linger = self.linger.unwrap_or(Duration::ZERO);
        let (shared, tokens) = self.check(linger)?;
        Ok(SyncProducer::new(Producer::start(shared, tokens)?))
    }

    fn check(self, linger: Duration) -> Result<(Shared, Receiver<()>)> {
        const MAX_BYTES: usize = 1 << 30;
        let max_in_flight = self.max_in_flight.unwrap_or(5);
        for (name, value, range) in [
            ("batch.size", self.batch_size, 1..=MAX_BYTES),
            ("max.request.size", self.max_request_size, 1..=MAX_BYTES),
            ("max.in.flight.requests.per.connection", max_in_flight, 1..=1000),
        ] {
            if !range.contains(&value) {
                return Err(Error::config(name, format!("must lie between {} and {}", range.start(), range.end())));
            }
        }
        if self.buffer_memory < self.batch_size.max(self.max_request_size) {
            return Err(Error::config("buffer.memory", "must not be below batch.size and max.request.size"));
        }
        let request_timeout = self.client.core().config().request_timeout;
        if self.delivery_timeout < linger + request_timeout {
            let message = "must not be below linger.ms and request.timeout.ms together";
            return Err(Error::config("delivery.timeout.ms", message));
        }
        if !self.compression.is_supported() {
            let message = format!("{} is not compiled in: enable the feature of that name", self.compression);
            return Err(Error::config("compression.type", message));
        }
        self.compression_levels.validate()?;
        let missing = match () {
            () if self.acks != Acks::All => Some("acks=all"),
            () if max_in_flight > 5 => Some("max.in.flight.requests.per.connection of at most 5"),
            () if self.retries == 0 => Some("retries of at least 1"),
            () => None,
        };
        if let (Some(true), Some(other)) = (self.idempotence, missing) {
            return Err(Error::config("enable.idempotence", format!("needs {other}")));
        }
        let idempotence = self.idempotence.unwrap_or(missing.is_none());
        let config = ProducerConfig {
            acks: self.acks,
            idempotence,
            linger,
            batch_size: self.batch_size,
            max_request_size: self.max_request_size,
            buffer_memory: self.buffer_memory,
            max_block: self.max_block,
            delivery_timeout: self.delivery_timeout,
            compression: self.compression,
            compression_levels: self.compression_levels,
            max_in_flight,
            max_in_flight_of_partition: self.max_in_flight.unwrap_or(if idempotence { max_in_flight } else { 1 }),
            retries: self.retries,
            gather_limits: self.gather_limits,
        };
        Shared::new(config, self.client, self.partitioner)
    }
}
