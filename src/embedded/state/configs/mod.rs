//! The configs of topics, brokers, groups and client metrics: which there are, what is in force, and how clients see and
//! change them.

mod alter;
mod definitions;
mod describe;
#[cfg(test)]
mod tests;

pub(in crate::embedded) use definitions::{Resource, broker_default};

use super::{Refusal, State};
use crate::ErrorCode;
use definitions::definitions;
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) type Values = BTreeMap<String, String>;

/// What clients have set for things that the state keeps no other record of: groups, client metrics, loggers.
pub(super) type Configs = BTreeMap<(Resource, String), Values>;

/// Where a value comes from, as on the wire.
mod source {
    pub(super) const TOPIC: i8 = 1;
    pub(super) const DYNAMIC_BROKER: i8 = 2;
    pub(super) const DYNAMIC_DEFAULT_BROKER: i8 = 3;
    pub(super) const STATIC_BROKER: i8 = 4;
    pub(super) const DEFAULT: i8 = 5;
    pub(super) const BROKER_LOGGER: i8 = 6;
    pub(super) const CLIENT_METRICS: i8 = 7;
    pub(super) const GROUP: i8 = 8;
}

/// Broker configs that stand for the same, the finest unit first, with its milliseconds. The first that is set counts.
const FAMILIES: &[&[(&str, i64)]] = &[
    &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)],
    &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)],
    &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
    &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
];

/// A config with its value and where that comes from, as it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) value: Option<String>,
    pub(super) read_only: bool,
    pub(super) is_sensitive: bool,
    pub(super) source: i8,
    /// The values that would count one after another, the one in force first.
    synonyms: Vec<Synonym>,
    kind: i8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Synonym {
    name: String,
    value: Option<String>,
    source: i8,
}

impl State {
    /// The value of a topic's config that is in force: the topic's own, else the brokers'. Of a topic that there is not,
    /// the brokers'. `None` for a name that Kafka has no topic config of.
    #[cfg(test)]
    pub(in crate::embedded) fn topic_config(&self, topic: &str, name: &str) -> Option<Cow<'_, str>> {
        let own = self.topics.get(topic).and_then(|topic| topic.configs.get(name));
        own.map(|value| Cow::Borrowed(value.as_str())).or_else(|| self.topic_default(name))
    }

    /// A number of a topic's configs; 0 where there is none.
    #[cfg(test)]
    pub(in crate::embedded) fn topic_number(&self, topic: &str, name: &str) -> i64 {
        self.topic_config(topic, name).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// What topics have that say nothing themselves.
    fn topic_default(&self, name: &str) -> Option<Cow<'_, str>> {
        let definition = definitions(Resource::Topic).get(name)?;
        let Some(broker) = definition.broker else { return definition.default.map(Cow::Borrowed) };
        let alone: &[(&str, i64)] = &[(broker, 1)];
        let family = FAMILIES.iter().copied().find(|family| family.first().is_some_and(|(first, _)| *first == broker));
        for (synonym, unit) in family.unwrap_or(alone) {
            let Some(value) = self.settings.get(synonym) else { continue };
            return Some(match value.parse::<i64>() {
                // Negative stands for "without a limit" in every unit.
                Ok(number) if *unit > 1 && number >= 0 => Cow::Owned(number.saturating_mul(*unit).to_string()),
                _ => Cow::Borrowed(value),
            });
        }
        definition.default.map(Cow::Borrowed)
    }

    /// A group's config that is in force: its own, else the brokers'.
    pub(in crate::embedded) fn group_config(&self, group: &str, name: &str) -> Option<&str> {
        let own = self.configs.get(&(Resource::Group, group.to_owned())).and_then(|values| values.get(name));
        own.map(String::as_str).or_else(|| {
            let definition = definitions(Resource::Group).get(name)?;
            definition.broker.and_then(|broker| self.settings.get(broker)).or(definition.default)
        })
    }

    /// A number of a group's configs; 0 where there is none.
    pub(in crate::embedded) fn group_number(&self, group: &str, name: &str) -> i64 {
        self.group_config(group, name).and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// All configs of a topic that has these of its own, by name.
    pub(super) fn topic_config_entries(&self, own: &Values) -> Vec<Entry> {
        let entry = |name: &str| {
            let definition = definitions(Resource::Topic).get(name)?;
            let mut synonyms: Vec<Synonym> = Vec::new();
            if let Some(value) = own.get(name) {
                synonyms.push(Synonym { name: name.to_owned(), value: Some(value.clone()), source: source::TOPIC });
            }
            if let Some(broker) = definition.broker {
                synonyms.extend(self.broker_synonyms(None, broker));
            }
            let value = own.get(name).cloned().or_else(|| self.topic_default(name).map(Cow::into_owned));
            Some(Entry {
                name: name.to_owned(),
                value,
                read_only: definition.read_only,
                is_sensitive: definition.sensitive,
                source: synonyms.first().map_or(source::DEFAULT, |first| first.source),
                synonyms,
                kind: definition.kind as i8,
            })
        };
        definitions(Resource::Topic).keys().filter_map(|name| entry(name)).collect()
    }

    /// Whether a topic may have these configs.
    pub(super) fn check_topic_configs(&self, configs: &Values) -> Result<(), Refusal> {
        let refused = |words: String| Err(Refusal::new(ErrorCode::INVALID_CONFIG, words));
        for (name, value) in configs {
            let Some(definition) = definitions(Resource::Topic).get(name.as_str()) else {
                return refused(format!("Unknown topic config name: {name}"));
            };
            definition.check(name, value).or_else(refused)?;
            if name.ends_with(".replication.throttled.replicas") && !is_replica_list(value) {
                return refused(format!(
                    "Invalid value [{value}] for configuration {name}: {name} must be the literal '*' or a list of \
                     replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
                ));
            }
        }
        let number = |name: &str| {
            let value = configs.get(name).map(|value| Cow::Borrowed(value.as_str()));
            value.or_else(|| self.topic_default(name)).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0)
        };
        let (least, most) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"));
        if least > most {
            let words = format!("min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})");
            return refused(format!("conflict topic config setting {words}"));
        }
        if configs.get("remote.storage.enable").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let words = "Topic cannot be configured with remote log storage.";
            return refused(format!("Tiered Storage functionality is disabled in the broker. {words}"));
        }
        Ok(())
    }

    /// The values of a broker config that count one after another, for one broker or for all.
    fn broker_synonyms(&self, broker: Option<i32>, name: &str) -> Vec<Synonym> {
        let alone: &[(&str, i64)] = &[(name, 1)];
        let family = FAMILIES.iter().copied().find(|family| family.iter().any(|(member, _)| *member == name));
        let family = family.unwrap_or(alone);
        let mut synonyms = Vec::new();
        let sensitive = |name: &str| definitions(Resource::Broker).get(name).is_some_and(|d| d.sensitive);
        let mut add = |source: i8, value: &dyn Fn(&str) -> Option<String>| {
            for (name, _) in family {
                if let Some(value) = value(name) {
                    let value = Some(value).filter(|_| !sensitive(name));
                    synonyms.push(Synonym { name: (*name).to_owned(), value, source });
                }
            }
        };
        let dynamic = |broker, name: &str| self.settings.dynamic(broker).and_then(|values| values.get(name).cloned());
        if broker.is_some() {
            add(source::DYNAMIC_BROKER, &|name| dynamic(broker, name));
        }
        add(source::DYNAMIC_DEFAULT_BROKER, &|name| dynamic(None, name));
        add(source::STATIC_BROKER, &|name| self.static_value(broker, name));
        add(source::DEFAULT, &|name| broker_default(name).map(str::to_owned));
        // What stands before the config itself is another one's.
        synonyms.into_iter().skip_while(|synonym| synonym.name != name).collect()
    }

    /// What a broker was started with.
    fn static_value(&self, broker: Option<i32>, name: &str) -> Option<String> {
        let broker = broker.and_then(|id| self.brokers.get(id));
        match (name, broker) {
            ("node.id" | "broker.id", Some(broker)) => Some(broker.id.to_string()),
            ("listeners" | "advertised.listeners", Some(broker)) => {
                Some(format!("PLAINTEXT://{}:{}", broker.host, broker.port(0)))
            }
            ("broker.rack", Some(broker)) => broker.rack.clone(),
            _ => self.settings.started_with(name).map(str::to_owned),
        }
    }
}

/// `*`, or `partition:broker` any number of times.
fn is_replica_list(value: &str) -> bool {
    let pair = |pair: &str| {
        pair.split_once(':').is_some_and(|(a, b)| [a, b].iter().all(|id| id.trim().parse::<u32>().is_ok()))
    };
    matches!(value.trim(), "" | "*") || value.split(',').all(|part| pair(part.trim()))
}
