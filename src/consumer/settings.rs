//! Settings that the partition consumer and the consumer group share.

use crate::config::Setting;
use crate::{Error, Result};
use std::time::Duration;

/// Where to begin in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartOffset {
    /// Behind the last record there is: only what is written from now on.
    Latest,
    /// At the first record there still is.
    Earliest,
    /// At this offset.
    Offset(i64),
    /// At the first record whose timestamp is this or later, in milliseconds since 1970-01-01T00:00:00Z; if there is
    /// none, behind the last record.
    Timestamp(i64),
}

/// Where to go on when the broker no longer has, or not yet has, the offset that is to be read next: after retention
/// has deleted it, after an unclean election, or in a topic that was deleted and created again.
///
/// Only then: no other error moves the offset. Every reset is logged as a warning and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the first record there still is.
    Earliest,
    /// Behind the last record there is. What lies between is not read.
    Latest,
    /// Nowhere: the partition ends with an error of kind [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange).
    Fail,
}

/// Which transactional records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// All, also those of transactions that are open or were aborted.
    ReadUncommitted,
    /// Those of committed transactions only, and those without a transaction. Reading stops before the first record of
    /// a transaction that is still open.
    ReadCommitted,
}

impl IsolationLevel {
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// How to fetch. Builders that have one in a field `fetch` get its setters from [`fetch_setters`].
#[derive(Debug, Clone)]
pub(crate) struct FetchConfig {
    pub(crate) max_wait: Duration,
    pub(crate) min_bytes: i32,
    pub(crate) max_bytes: i32,
    pub(crate) max_partition_bytes: i32,
    pub(crate) isolation: IsolationLevel,
    pub(crate) check_crcs: bool,
    pub(crate) reset: OffsetReset,
    pub(crate) max_batch_bytes: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 * 1024 * 1024,
            max_partition_bytes: 1024 * 1024,
            isolation: IsolationLevel::ReadUncommitted,
            check_crcs: true,
            reset: OffsetReset::Latest,
            max_batch_bytes: 128 * 1024 * 1024,
        }
    }
}

impl FetchConfig {
    /// Takes a setting if it is one of these.
    pub(crate) fn set(&mut self, setting: &Setting<'_>) -> Result<()> {
        match setting.name() {
            "fetch.max.wait.ms" => self.max_wait = setting.milliseconds()?,
            "fetch.min.bytes" => self.min_bytes = setting.number()?,
            "fetch.max.bytes" => self.max_bytes = setting.number()?,
            "max.partition.fetch.bytes" => self.max_partition_bytes = setting.number()?,
            "check.crcs" => self.check_crcs = setting.boolean()?,
            "isolation.level" => {
                self.isolation = match setting.text() {
                    "read_uncommitted" => IsolationLevel::ReadUncommitted,
                    "read_committed" => IsolationLevel::ReadCommitted,
                    _ => return Err(setting.refuse("must be read_uncommitted or read_committed")),
                }
            }
            "auto.offset.reset" => {
                self.reset = match setting.text() {
                    "earliest" => OffsetReset::Earliest,
                    "latest" => OffsetReset::Latest,
                    "none" => OffsetReset::Fail,
                    _ => return Err(setting.refuse("must be earliest, latest or none")),
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Where `auto.offset.reset` says to begin without an offset; `None` if it says nowhere.
    pub(crate) fn reset_start(&self) -> Option<StartOffset> {
        match self.reset {
            OffsetReset::Earliest => Some(StartOffset::Earliest),
            OffsetReset::Latest => Some(StartOffset::Latest),
            OffsetReset::Fail => None,
        }
    }

    /// Refuses what can't work. `max_response_bytes` is the client's limit for an answer.
    pub(crate) fn check(&self, max_response_bytes: usize) -> Result<()> {
        for (name, bytes) in [
            ("fetch.min.bytes", self.min_bytes),
            ("fetch.max.bytes", self.max_bytes),
            ("max.partition.fetch.bytes", self.max_partition_bytes),
        ] {
            if bytes < 1 {
                return Err(Error::config(name, "must be at least 1"));
            }
        }
        if self.max_bytes as usize >= max_response_bytes {
            return Err(Error::config("fetch.max.bytes", "must be below receive.message.max.bytes"));
        }
        if self.max_wait > Duration::from_secs(60) {
            return Err(Error::config("fetch.max.wait.ms", "must not be more than 60 s"));
        }
        Ok(())
    }
}

/// The public setters of a builder with a [`FetchConfig`] in its field `fetch`.
macro_rules! fetch_setters {
    () => {
        /// How long a broker may keep a fetch request that it has too little data for. A partition that is added
        /// while a broker keeps a request waits for as long. Range: up to 60 s.
        ///
        /// Kafka: `fetch.max.wait.ms`. Defaults to 500 ms.
        pub fn fetch_max_wait(mut self, wait: std::time::Duration) -> Self {
            self.fetch.max_wait = wait;
            self
        }

        /// How many bytes a broker waits for, within [`fetch_max_wait`](Self::fetch_max_wait), before it answers.
        ///
        /// Kafka: `fetch.min.bytes`. Defaults to 1: answer as soon as there is anything.
        pub fn fetch_min_bytes(mut self, bytes: i32) -> Self {
            self.fetch.min_bytes = bytes;
            self
        }

        /// How many bytes one answer may have. A single batch that is larger comes all the same. Must be below the
        /// client's `receive.message.max.bytes`.
        ///
        /// Kafka: `fetch.max.bytes`. Defaults to 50 MiB.
        pub fn fetch_max_bytes(mut self, bytes: i32) -> Self {
            self.fetch.max_bytes = bytes;
            self
        }

        /// How many bytes of one partition one answer may have. A single batch that is larger comes all the same.
        ///
        /// A partition has up to two such portions queued, and one being read: that bounds a slow reader's memory.
        ///
        /// Kafka: `max.partition.fetch.bytes`. Defaults to 1 MiB.
        pub fn max_partition_fetch_bytes(mut self, bytes: i32) -> Self {
            self.fetch.max_partition_bytes = bytes;
            self
        }

        /// Which transactional records are read.
        ///
        /// Kafka: `isolation.level`. Defaults to `read_uncommitted`.
        pub fn isolation_level(mut self, level: $crate::IsolationLevel) -> Self {
            self.fetch.isolation = level;
            self
        }

        /// Whether the checksum of every batch is compared with its bytes.
        ///
        /// Kafka: `check.crcs`. Defaults to true.
        pub fn check_crcs(mut self, check: bool) -> Self {
            self.fetch.check_crcs = check;
            self
        }

        /// Where to go on when the broker does not have the offset that is to be read next.
        ///
        /// Kafka: `auto.offset.reset`. Defaults to latest.
        pub fn offset_reset(mut self, reset: $crate::OffsetReset) -> Self {
            self.fetch.reset = reset;
            self
        }

        /// How large a compressed batch may get when it is decompressed, in bytes. One that gets larger ends its
        /// partition with an error of kind [`TooLarge`](crate::ErrorKind::TooLarge): a few kilobytes can be made to
        /// unpack to gigabytes.
        ///
        /// Kafka has no such setting. Defaults to 128 MiB.
        pub fn max_decompressed_batch_bytes(mut self, bytes: usize) -> Self {
            self.fetch.max_batch_bytes = bytes;
            self
        }
    };
}
pub(crate) use fetch_setters;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Properties;

    fn config(properties: &str) -> Result<FetchConfig> {
        let properties: Properties = properties.parse()?;
        let mut config = FetchConfig::default();
        for setting in properties.iter() {
            config.set(&setting)?;
        }
        config.check(100 * 1024 * 1024)?;
        Ok(config)
    }

    #[test]
    fn f9_settings_by_their_kafka_names() {
        let c = config(
            "fetch.max.wait.ms=7\nfetch.min.bytes=2\nfetch.max.bytes=3000\nmax.partition.fetch.bytes=4\n\
             check.crcs=false\nisolation.level=read_committed\nauto.offset.reset=earliest\n",
        )
        .unwrap();
        assert_eq!(c.max_wait, Duration::from_millis(7));
        assert_eq!((c.min_bytes, c.max_bytes, c.max_partition_bytes), (2, 3000, 4));
        assert_eq!((c.check_crcs, c.isolation), (false, IsolationLevel::ReadCommitted));
        assert_eq!((c.reset, c.reset_start()), (OffsetReset::Earliest, Some(StartOffset::Earliest)));
        assert_eq!(config("auto.offset.reset=none").unwrap().reset_start(), None);
    }

    #[test]
    fn f9_what_can_t_work_is_refused_by_name() {
        for (text, name) in [
            ("fetch.min.bytes=0", "fetch.min.bytes"),
            ("fetch.max.bytes=-1", "fetch.max.bytes"),
            ("fetch.max.bytes=104857600", "fetch.max.bytes"),
            ("max.partition.fetch.bytes=0", "max.partition.fetch.bytes"),
            ("isolation.level=committed", "isolation.level"),
            ("auto.offset.reset=by_duration:PT1H", "auto.offset.reset"),
            ("fetch.max.wait.ms=60001", "fetch.max.wait.ms"),
        ] {
            assert_eq!(config(text).unwrap_err().setting(), Some(name), "{text}");
        }
    }
}
