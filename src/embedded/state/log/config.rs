//! What a topic's settings say about its logs.

use super::super::settings::Settings;
use super::super::topics::Topic;
use crate::batch::Compression;

/// A topic's settings, each from the topic, else from the brokers, else Kafka's default.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct LogConfig {
    /// `max.message.bytes`, of a batch.
    pub(in crate::embedded) max_message_bytes: usize,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub(in crate::embedded) append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub(in crate::embedded) timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub(in crate::embedded) timestamp_after_max_ms: i64,
    /// `cleanup.policy` has `compact`.
    pub(in crate::embedded) compact: bool,
    /// `cleanup.policy` has `delete`.
    pub(in crate::embedded) delete: bool,
    /// `compression.type`; `None` leaves batches as their producer made them.
    pub(in crate::embedded) compression: Option<Compression>,
    /// `retention.ms`; negative: for ever.
    pub(in crate::embedded) retention_ms: i64,
    /// `retention.bytes`; negative: without limit.
    pub(in crate::embedded) retention_bytes: i64,
    /// `delete.retention.ms`, of tombstones.
    pub(in crate::embedded) delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub(in crate::embedded) min_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, from 0 to 1.
    pub(in crate::embedded) min_cleanable_dirty_ratio: f64,
    /// `min.insync.replicas`.
    pub(in crate::embedded) min_insync_replicas: usize,
}

impl LogConfig {
    pub(in crate::embedded) fn of(topic: &Topic, settings: &Settings) -> Self {
        let text = |name: &str, broker_name: &str| {
            topic.configs.get(name).map(String::as_str).or_else(|| settings.get(broker_name)).unwrap_or_default()
        };
        let number = |name: &str, broker_name: &str| text(name, broker_name).trim().parse().unwrap_or(0);
        let policy = text("cleanup.policy", "log.cleanup.policy");
        let has = |wanted: &str| policy.split(',').any(|policy| policy.trim().eq_ignore_ascii_case(wanted));
        let append_time = text("message.timestamp.type", "log.message.timestamp.type");
        Self {
            max_message_bytes: usize::try_from(number("max.message.bytes", "message.max.bytes")).unwrap_or(0),
            append_time: append_time.eq_ignore_ascii_case("LogAppendTime"),
            timestamp_before_max_ms: number("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
            timestamp_after_max_ms: number("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
            compact: has("compact"),
            delete: has("delete"),
            compression: compression(text("compression.type", "compression.type")),
            retention_ms: match topic.configs.get("retention.ms") {
                Some(_) => number("retention.ms", ""),
                None => broker_retention_ms(settings),
            },
            retention_bytes: number("retention.bytes", "log.retention.bytes"),
            delete_retention_ms: number("delete.retention.ms", "log.cleaner.delete.retention.ms"),
            min_compaction_lag_ms: number("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio")
                .trim()
                .parse()
                .unwrap_or(0.0),
            min_insync_replicas: usize::try_from(number("min.insync.replicas", "min.insync.replicas")).unwrap_or(1),
        }
    }
}

/// The finest unit that is set goes, as in Kafka.
fn broker_retention_ms(settings: &Settings) -> i64 {
    const UNITS: [(&str, i64); 3] =
        [("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)];
    let set = UNITS.iter().find(|(name, _)| settings.get(name).is_some());
    set.map_or(-1, |(name, unit)| settings.number(name).saturating_mul(*unit))
}

/// `producer` leaves batches as they are, `uncompressed` is an older name for `none`.
fn compression(name: &str) -> Option<Compression> {
    let name = name.to_ascii_lowercase();
    if name == "uncompressed" { Some(Compression::None) } else { name.parse().ok() }
}
