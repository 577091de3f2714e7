//! Which configs there are in Kafka 4.3.0, what values they take, and their defaults.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a config belongs to, with Kafka's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::embedded) enum Resource {
    Topic = 2,
    Broker = 4,
    BrokerLogger = 8,
    ClientMetrics = 16,
    Group = 32,
}

impl Resource {
    pub(super) const ALL: [Self; 5] = [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group];

    pub(super) fn of(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|resource| *resource as i8 == number)
    }
}

/// The type of a value, with Kafka's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// A config.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) kind: Kind,
    /// Can't be changed while the broker runs.
    pub(super) read_only: bool,
    pub(super) sensitive: bool,
    min: Option<&'static str>,
    max: Option<&'static str>,
    /// The only values, or parts of a list.
    among: Option<Vec<&'static str>>,
    /// The broker's config that is in force where this one is not set.
    pub(super) broker: Option<&'static str>,
    pub(super) default: Option<&'static str>,
}

type Definitions = BTreeMap<&'static str, Definition>;

/// One line for each config: the resource, the name, the type; `r` for read-only and `s` for sensitive; limits; the
/// broker's config; and after `default=`, to the end of the line, the default, which some do not have.
static TABLE: LazyLock<BTreeMap<Resource, Definitions>> = LazyLock::new(|| {
    let mut table: BTreeMap<Resource, Definitions> = BTreeMap::new();
    for line in include_str!("table.txt").lines() {
        if let Some((resource, name, definition)) = parse(line) {
            table.entry(resource).or_default().insert(name, definition);
        }
    }
    table
});

static NOTHING: Definitions = Definitions::new();

pub(super) fn definitions(resource: Resource) -> &'static Definitions {
    TABLE.get(&resource).unwrap_or(&NOTHING)
}

/// A broker config's default in Kafka.
pub(in crate::embedded) fn broker_default(name: &str) -> Option<&'static str> {
    definitions(Resource::Broker).get(name)?.default
}

fn parse(line: &'static str) -> Option<(Resource, &'static str, Definition)> {
    let (line, default) = match line.split_once(" default=") {
        Some((line, default)) => (line, Some(default)),
        None => (line, None),
    };
    let mut words = line.split(' ');
    let resource = match words.next()? {
        "topic" => Resource::Topic,
        "broker" => Resource::Broker,
        "group" => Resource::Group,
        "client-metrics" => Resource::ClientMetrics,
        _ => return None,
    };
    let name = words.next()?;
    let kind = match words.next()? {
        "BOOLEAN" => Kind::Boolean,
        "STRING" => Kind::String,
        "INT" => Kind::Int,
        "SHORT" => Kind::Short,
        "LONG" => Kind::Long,
        "DOUBLE" => Kind::Double,
        "LIST" => Kind::List,
        "CLASS" => Kind::Class,
        "PASSWORD" => Kind::Password,
        _ => return None,
    };
    let rest: Vec<&str> = words.collect();
    let field = |field: &str| rest.iter().find_map(|word| word.strip_prefix(field));
    let flag = |flag: char| rest.iter().any(|word| !word.contains('=') && word.contains(flag));
    let definition = Definition {
        kind,
        read_only: flag('r'),
        sensitive: flag('s'),
        min: field("min="),
        max: field("max="),
        among: field("in=").map(|values| values.split('|').collect()),
        broker: field("broker="),
        default,
    };
    Some((resource, name, definition))
}

impl Definition {
    /// Whether a value may be set; else why not, in Kafka's words.
    pub(super) fn check(&self, name: &str, value: &str) -> Result<(), String> {
        let refused = |value: &str, why: &str| Err(format!("Invalid value {value} for configuration {name}: {why}"));
        let value = value.trim();
        match self.kind {
            Kind::Boolean if !["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
                refused(value, "Expected value to be either true or false")
            }
            Kind::Int => match value.parse::<i32>() {
                Ok(number) => self.check_whole(name, number.into()),
                Err(_) => refused(value, "Not a number of type INT"),
            },
            Kind::Short => match value.parse::<i16>() {
                Ok(number) => self.check_whole(name, number.into()),
                Err(_) => refused(value, "Not a number of type SHORT"),
            },
            Kind::Long => match value.parse::<i64>() {
                Ok(number) => self.check_whole(name, number),
                Err(_) => refused(value, "Not a number of type LONG"),
            },
            Kind::Double => {
                let Ok(number) = value.parse::<f64>() else { return refused(value, "Not a number of type DOUBLE") };
                let limit = |limit: Option<&str>| limit.and_then(|limit| limit.parse::<f64>().ok());
                let shown = java_double(number);
                match (limit(self.min), limit(self.max)) {
                    (Some(min), _) if number < min => refused(&shown, &format!("Value must be at least {min}")),
                    (_, Some(max)) if number > max => refused(&shown, &format!("Value must be no more than {max}")),
                    _ => Ok(()),
                }
            }
            Kind::List => {
                let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
                let stranger = parts.into_iter().find(|part| !self.allows(part));
                stranger.map_or(Ok(()), |part| refused(part, &self.choices()))
            }
            Kind::String if name == "share.auto.offset.reset" && !is_share_reset(value) => refused(
                value,
                &format!(
                    "Invalid value `{value}` for configuration {name}. The value must be either 'earliest', 'latest' or \
                     of the format 'by_duration:<PnDTnHnMn.nS>'."
                ),
            ),
            _ if !self.allows(value) => refused(value, &self.choices()),
            _ => Ok(()),
        }
    }

    fn check_whole(&self, name: &str, number: i64) -> Result<(), String> {
        let refused = |why: String| Err(format!("Invalid value {number} for configuration {name}: {why}"));
        let limit = |limit: Option<&str>| limit.and_then(|limit| limit.parse::<i64>().ok());
        // The one config with a gap in its range.
        if name == "compression.gzip.level" && !(number == -1 || (1..=9).contains(&number)) {
            return refused("Value must be between 1 and 9 or equal to -1".into());
        }
        match (limit(self.min), limit(self.max)) {
            (Some(min), _) if number < min => refused(format!("Value must be at least {min}")),
            (_, Some(max)) if number > max => refused(format!("Value must be no more than {max}")),
            _ => Ok(()),
        }
    }

    fn allows(&self, value: &str) -> bool {
        self.among.as_ref().is_none_or(|among| among.contains(&value))
    }

    fn choices(&self) -> String {
        format!("String must be one of: {}", self.among.iter().flatten().copied().collect::<Vec<_>>().join(", "))
    }
}

/// Where share groups begin; how long a duration is does not matter here.
fn is_share_reset(value: &str) -> bool {
    matches!(value, "earliest" | "latest")
        || value.strip_prefix("by_duration:").is_some_and(|rest| rest.starts_with('P'))
}

/// A number as Java prints it: from ten million on, and below a thousandth, with an exponent.
fn java_double(number: f64) -> String {
    if number == 0.0 || (1e-3..1e7).contains(&number.abs()) {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood_and_its_defaults_are_allowed() {
        let text = include_str!("table.txt");
        assert_eq!(TABLE.values().map(BTreeMap::len).sum::<usize>(), text.lines().count());
        for (name, definition) in TABLE.values().flatten() {
            if let Some(default) = definition.default {
                assert_eq!(definition.check(name, default), Ok(()));
            }
        }
        for (name, definition) in definitions(Resource::Topic) {
            let broker = definition.broker.map(|broker| definitions(Resource::Broker).contains_key(broker));
            assert_ne!(broker, Some(false), "{name}");
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_or_size_is_refused_in_the_words_of_kafka() {
        let check = |name: &str, value: &str| {
            let refused = definitions(Resource::Topic)[name].check(name, value);
            refused.map_err(|words| words.replace(&format!(" for configuration {name}"), ""))
        };
        for (name, value, words) in [
            ("retention.ms", "x", "Invalid value x: Not a number of type LONG"),
            ("retention.ms", "-2", "Invalid value -2: Value must be at least -1"),
            ("segment.bytes", "99999999999", "Invalid value 99999999999: Not a number of type INT"),
            ("preallocate", "1", "Invalid value 1: Expected value to be either true or false"),
            ("min.cleanable.dirty.ratio", "-100", "Invalid value -100.0: Value must be at least 0"),
            ("min.cleanable.dirty.ratio", "2", "Invalid value 2.0: Value must be no more than 1"),
            ("min.cleanable.dirty.ratio", "1e20", "Invalid value 1.0E20: Value must be no more than 1"),
            ("min.cleanable.dirty.ratio", "2147483647", "Invalid value 2.147483647E9: Value must be no more than 1"),
            ("cleanup.policy", "compact,foo", "Invalid value foo: String must be one of: compact, delete"),
            ("compression.gzip.level", "0", "Invalid value 0: Value must be between 1 and 9 or equal to -1"),
            ("compression.lz4.level", "18", "Invalid value 18: Value must be no more than 17"),
        ] {
            assert_eq!(check(name, value), Err(words.to_owned()), "{name}={value}");
        }
        for (name, value) in [
            ("cleanup.policy", "compact, delete"),
            ("cleanup.policy", ""),
            ("retention.ms", "-1"),
            ("preallocate", "True"),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
    }
}
